"""The table of a survey: settings and forms as CSV, and what was counted of every shot as HDF5."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .._version import __version__
from ..errors import BadInput, OutputError
from ..measure.peaks import FILTERS
from ..pages import write_whole
from .intervals import LEVEL

if TYPE_CHECKING:
    from pathlib import Path

    from .intervals import Share
    from .run import Survey
    from .scan import Scanner

COLUMNS = {
    "key": "what is varied, as a key of the recipe",
    "value": "what it is set to",
    "shots": "shots of the sample that were looked at",
    "hits": "shots of which the rule is true",
    "hit_rate": "hits among the shots",
    "hit_rate_low": f"least it may be, {100 * LEVEL:g} %",
    "hit_rate_high": f"most it may be, {100 * LEVEL:g} %",
    "undecided": "shots of which the rule is unknown",
    "kept": "shots that are kept, undecided ones included where the recipe keeps them, misses by chance not",
    "lost": "share of the hits of the most permissive setting that are none here",
    "lost_low": "least it may be",
    "lost_high": "most it may be",
    "missed": "share of the true hits that are not kept; nan without a truth",
    "missed_low": "least it may be",
    "missed_high": "most it may be",
    "false": "share of the true misses that are kept; nan without a truth",
    "false_low": "least it may be",
    "false_high": "most it may be",
    "false_negative": "share of the hits that an earlier reduction did not keep by its rule; nan unknown",
    "false_negative_low": "least it may be",
    "false_negative_high": "most it may be",
    "peaks_per_shot": "mean over all shots; nan where none are searched",
    "peaks_per_hit": "mean over the hits",
    "peaks_per_miss": "mean over the others",
    "peaks_lost": "share of the most permissive setting's peaks in the recipe's hits that are not found",
    "kept_bytes_per_shot": "bytes of kept frames over all shots of the sample, in the recipe's form",
    **{f"rejected_{name}": "components of a shot that this filter rejected, mean" for name in FILTERS},
}
"""Columns of the table of settings, and what they mean."""


def rows_of(found: Survey) -> list[dict[str, Any]]:
    """Return the table of settings: one row each, by `COLUMNS`."""
    rows = []
    for at, outcome in enumerate(found.outcomes):
        hit = outcome.hit
        row: dict[str, Any] = {
            "key": outcome.setting.key,
            "value": outcome.setting.value,
            "shots": len(hit),
            "hits": int(hit.sum()),
            **_share("hit_rate", outcome.rate),
            "undecided": int((outcome.verdict == -1).sum()),
            "kept": int(outcome.kept.sum()),
            **_share("lost", outcome.lost),
            **_share("missed", outcome.missed),
            **_share("false", outcome.false),
            **_share("false_negative", found.false_negatives[at] if found.false_negatives else None),
            "peaks_per_shot": outcome.mean_peaks,
            "peaks_per_hit": outcome.mean_of(hit),
            "peaks_per_miss": outcome.mean_of(~hit),
            "peaks_lost": outcome.lost_peaks,
            "kept_bytes_per_shot": outcome.bytes_per_shot,
        }
        row |= {
            f"rejected_{name}": value for name, value in zip(FILTERS, outcome.rejected.tolist(), strict=True)
        }
        rows.append(row)
    return rows


def _share(name: str, share: Share | None) -> dict[str, float]:
    if share is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}


def refuse_neighbours(page: Path) -> None:
    """Refuse a page beside which files stand that the table would replace, and no survey has written.

    Raises
    ------
    BadInput
        If the page has the ending of one of the table's files.
    OutputError
        If such a file is something else, ``constants.h5`` beside ``constants.html`` say.
    """
    if page.suffix in (".csv", ".h5"):
        raise BadInput(f"{page}: the page cannot end with {page.suffix}, as its table does: take .html")
    for suffix, ours in ((".csv", _our_text), (".h5", _our_counts)):
        beside = page.with_suffix(suffix)
        if beside.exists() and not ours(beside):
            raise OutputError(
                f"{beside} stands where the table of the survey would, and no survey has written it: "
                "give the page another name, or move that file away"
            )


def _our_text(path: Path) -> bool:
    begin = b",".join(name.encode() for name in list(COLUMNS)[:4])
    try:
        with open(path, "rb") as file:
            return file.read(len(begin)) == begin
    except OSError:
        return False


def _our_counts(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return {"writer", "sample"} <= set(file.attrs) and "settings" in file
    except OSError:
        return False


def write_table(found: Survey, scanner: Scanner) -> list[Path]:
    """Write both files beside the page, each whole or not at all.

    Raises
    ------
    OutputError
        If the disk refuses.
    """
    rows = rows_of(found)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _shown(value) for key, value in row.items()} for row in rows)
    table = write_whole(found.path.with_suffix(".csv"), text.getvalue(), "the table of the survey")
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        _fill(file, found, scanner, rows)
    data = image.getvalue()
    counts = write_whole(found.path.with_suffix(".h5"), lambda to: to.write(data), "the counts of the survey")
    return [table, counts]


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _fill(file: h5py.File, found: Survey, scanner: Scanner, rows: list[dict[str, Any]]) -> None:
    file.attrs["writer"] = f"shotsieve {__version__}"
    file.attrs["recipe"] = found.grid.recipe.dumps_toml()
    file.attrs["sample"] = found.sample.told()
    file.attrs["level"] = LEVEL
    settings = file.create_group("settings")
    for name, meaning in COLUMNS.items():
        values = [row[name] for row in rows]
        kind = h5py.string_dtype() if isinstance(values[0], str) else None
        settings.create_dataset(name, data=np.array(values, dtype=object) if kind else values, dtype=kind)
        settings[name].attrs["meaning"] = meaning
    forms = file.create_group("forms")
    text = h5py.string_dtype()
    names = [coded.name for coded in found.forms]
    forms.create_dataset("name", data=np.array(names, dtype=object), dtype=text)
    keys = [json.dumps(coded.keys, sort_keys=True, default=str) for coded in found.forms]
    forms.create_dataset("write", data=np.array(keys, dtype=object), dtype=text)
    for kind in ("hit", "miss"):
        forms.create_dataset(f"bytes_per_{kind}", data=[getattr(one, kind) for one in found.sizes])
    forms.create_dataset("largest_change", data=[coded.error for coded in found.forms])
    shots, table = file.create_group("shots"), scanner.table(found.grid.settings[0].measured)
    for name in ("train_id", "pulse_id", "cell_id"):
        shots.create_dataset(name, data=getattr(table, name))
    shots.create_dataset("verdict", data=np.stack([one.verdict for one in found.outcomes]))
    for name in ("peaks", "lit"):
        counts = [getattr(one, name) for one in found.outcomes]
        if counts[0] is not None:
            shots.create_dataset(name, data=np.stack(counts).astype("i8"))
    shots["verdict"].attrs["meaning"] = "(setting, shot) 1 true, 0 false, -1 unknown"
    prediction = file.create_group("prediction")
    prediction.attrs.update(
        {name: value for name, value in vars(found.prediction).items() if name not in ("seconds", "memory")}
    )
