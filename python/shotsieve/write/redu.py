"""Lit pixels and hits of every shot as the facility's own tools write them: ``<detector>/REDU/...``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..derive import FEWEST, per_train
from ..errors import BadInput
from ..table import FATES
from .exdf_file import ExdfFile
from .litpx import COLUMNS, counts_per_train, distinct

if TYPE_CHECKING:
    from ..recipe_scores import Derived
    from ..sources.base import Source
    from ..table import Table

COUNTER, HITFINDER = "REDU/LITPX_COUNTER", "REDU/SPI_HITFINDER"
AGGREGATOR = "REDU00"
UNKNOWN_SCORE = -1
"""Hit score of a shot of which no unmasked pixel is known."""

LISTED = 16
"""Places in the list of modules; as many as modules where a detector has more."""

SMOOTHED = 200  # trains of the running hit rate that readers of the facility draw; nothing here depends on it
_MODE, _BASE = h5py.string_dtype("ascii", len("adaptive")), h5py.string_dtype("ascii", len("miss"))


@dataclass(frozen=True)
class HitFinding:
    """How hits were found, in the words of the facility's hit finder.

    Attributes
    ----------
    modules : tuple of int
        Numbers of the modules whose lit pixels make the score.
    threshold : float
        Fixed threshold of the score; NaN where there is none.
    adaptive : tuple of (str, Derived) or None
        Name and section of a column of kind ``"adaptive"`` of the lit fraction of these modules; it goes
        before `threshold`.
    misses : float
        Share of the misses that is kept at random.

    Examples
    --------
    >>> HitFinding((3, 4)).mode
    'fixed'
    """

    modules: tuple[int, ...]
    threshold: float = float("nan")
    adaptive: tuple[str, Derived] | None = None
    misses: float = 0.0

    @property
    def mode(self) -> str:
        """``"adaptive"`` or ``"fixed"``."""
        return "fixed" if self.adaptive is None else "adaptive"


def file_name(run: int) -> str:
    """Return the name of the file.

    Examples
    --------
    >>> file_name(35)
    'CORR-R0035-REDU00-S00000.h5'
    """
    return f"CORR-R{run:04d}-{AGGREGATOR}-S00000.h5"


def hit_scores(table: Table, modules: tuple[int, ...]) -> np.ndarray:
    """Return the hit score of every row of a table.

    Parameters
    ----------
    table : Table
        With ``lit_pixels`` and ``unmasked_pixels``.
    modules : tuple of int
        Numbers of the modules that count.

    Returns
    -------
    ndarray of int64 (S,)
        Lit over unmasked pixels, times the pixels of these modules, truncated; modules without counts are
        left out of both sums. `UNKNOWN_SCORE` where no unmasked pixel is known.

    Notes
    -----
    Promise: exact. The score of EXtra-redu's ``SpiHitfinder`` without normalisation by pulse energy.

    Examples
    --------
    >>> from shotsieve.table import Table
    >>> table = Table([7], [0], [0], modules=(3, 4), module_pixels=100)
    >>> table.set_module_status(0, [0, 0])
    >>> table.set_measure("lit_pixels", 0, [9, 1])
    >>> table.set_measure("unmasked_pixels", 0, [90, 70])
    >>> hit_scores(table, (3,)).tolist(), hit_scores(table, (3, 4)).tolist()
    ([10], [12])
    """
    places = [table.modules.index(module) for module in modules]
    ok = table.ok()[:, places]
    lit, unmasked = (
        np.where(ok, table.measures[name][:, places], 0).sum(axis=1)
        for name in ("lit_pixels", "unmasked_pixels")
    )
    share = np.divide(lit, unmasked, where=unmasked > 0, out=np.zeros(len(table)))
    scores = (share * (len(places) * table.module_pixels)).astype("i8")
    return np.where(unmasked > 0, scores, UNKNOWN_SCORE)


def write_redu(
    folder: str | os.PathLike[str],
    source: Source,
    table: Table,
    *,
    lit_threshold: float,
    unit: str,
    hits: HitFinding | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write one file with what the facility's lit-pixel counter and hit finder would write of the run.

    Every distinct shot of the table is a row, whatever became of it; trains are those that have one.

    Parameters
    ----------
    folder : path-like
        An existing folder.
    source : Source
        Name, run, dates and timestamps are taken from it.
    table : Table
        Decided, with lit pixels. Where a module was not measured its counts are 0 of 0.
    lit_threshold : float
        Above which a pixel is lit, in `unit`.
    unit : str
        Of the intensities.
    hits : HitFinding or None
        How the rule found hits; None writes the counts alone.
    settings : mapping, optional
        Attributes of the file's root: what it was made from.

    Returns
    -------
    Path
        The file: ``CORR-R<run>-REDU00-S00000.h5``.

    Raises
    ------
    BadInput
        If the table has no lit pixels, or not the modules.
    OutputError
        If the file cannot be written, or is there already.

    Notes
    -----
    Promise: exact; the same table gives the same bytes. Names, shapes and types are those of EXtra-redu 1.1.

    Examples
    --------
    >>> write_redu(folder, source, table, lit_threshold=0.7, unit="photon")    # doctest: +SKIP
    """
    if lacking := set(COLUMNS.values()) - table.measures.keys():
        raise BadInput(f"a REDU file counts lit pixels, and the table has no {', '.join(sorted(lacking))}")
    if hits is not None and (strange := [m for m in hits.modules if m not in table.modules]):
        raise BadInput(
            f"the hit score asks for module {strange[0]}; there are {', '.join(map(str, table.modules))}"
        )
    rows = distinct(table)
    rows = rows[table.train_id[rows] > 0]  # train 0 is padding for every reader of the format
    trains = np.unique(table.train_id[rows])
    stamps = source.trains.timestamp[np.searchsorted(source.trains.train_id, trains)]
    path = Path(folder) / file_name(source.meta.run)
    good = ~np.isin(trains, table.train_id[table.fate == FATES.index("suspect")])
    with ExdfFile(path, train_ids=trains, timestamps=stamps, meta=source.meta, flags=good) as file:
        _write_counts(file, source.name, table, rows, lit_threshold, unit)
        if hits is not None:
            _write_hits(file, source.name, table, rows, hits)
        file.root_attributes(settings or {})
    return path


def compare_redu(path: Path, table: Table) -> list[str]:
    """Return what a file of `write_redu` and a table tell differently, in words.

    Parameters
    ----------
    path : Path
    table : Table

    Returns
    -------
    list of str
        Empty where they agree on the shots, their lit pixels and their flags.

    Raises
    ------
    OSError, KeyError, ValueError
        If the file is damaged.

    Examples
    --------
    >>> compare_redu(Path("red/r0001/CORR-R0001-REDU00-S00000.h5"), table)    # doctest: +SKIP
    []
    """
    rows = distinct(table)
    rows = rows[table.train_id[rows] > 0]
    want = {"trainId": table.train_id[rows], "pulseId": table.pulse_id[rows]}
    faults = []
    with h5py.File(path) as file:
        listed = file["METADATA/dataSources/dataSourceId"].asstr()[:]
        for name, columns in ((COUNTER, _counts), (HITFINDER, _flags)):
            for source in (s for s in listed if s.endswith(f"/{name}:output/data")):
                for key, expected in chain(want.items(), columns(table, rows)):
                    if not np.array_equal(file[source][key][:], expected):
                        faults.append(f"{path.name}: {name} {key} is not what the table tells")
    return faults


def _counts(table: Table, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the counts by module one after the other: of a long run each is nearly a gigabyte."""
    ok = table.ok()[rows]
    for key, column in COLUMNS.items():
        yield key, np.trunc(np.where(ok, table.measures[column][rows], 0)).astype("i8")


def _flags(table: Table, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    verdict, kept = table.verdict[rows], table.fate[rows] == FATES.index("kept")
    # An undecided shot that is kept is no miss: nobody knows what it is.
    flags = {"hitFlag": verdict == 1, "missFlag": kept & (verdict == 0), "dataFlag": kept}
    yield from ((key, values.astype("u1")) for key, values in flags.items())


def _write_counts(
    file: ExdfFile, detector: str, table: Table, rows: np.ndarray, lit_threshold: float, unit: str
) -> None:
    group = _shots(file, f"{detector}/{COUNTER}:output", table, rows)
    for key, values in _counts(table, rows):
        group[key] = values
    # `units` for people and general tools, `unitSymbol` is where EXtra-data looks.
    group["totalIntensity"].attrs["units"] = group["totalIntensity"].attrs["unitSymbol"] = unit
    file.control(
        f"{detector}/{COUNTER}", {"threshold": float(lit_threshold), **_modules(file, table.modules)}
    )


def _write_hits(file: ExdfFile, detector: str, table: Table, rows: np.ndarray, hits: HitFinding) -> None:
    source = f"{detector}/{HITFINDER}"
    group = _shots(file, f"{source}:output", table, rows)
    group["hitscore"] = hit_scores(table, hits.modules)[rows]
    for key, values in _flags(table, rows):
        group[key] = values
    trains = file.train_ids
    levels = {"value": np.full(len(trains), hits.threshold)}
    levels |= {key: np.full(len(trains), np.nan) for key in ("mu", "sig")}
    snr, fewest, lower = 0.0, 0, False
    if hits.adaptive is not None:
        name, section = hits.adaptive
        # The column is a fraction; a score counts pixels.
        pixels = len(hits.modules) * table.module_pixels
        found = per_train(table, name, section, trains)
        levels = {key: values * pixels for key, values in found.items()}
        snr, fewest = float(section.k), section.around or FEWEST
        lower = section.width == "lower_quartile"
    per = file.instrument(f"{source}:output", "threshold", np.ones(len(trains)))
    for key, values in levels.items():
        per[key] = values
    parameters = {
        "mode": np.array(hits.mode, _MODE),
        "snr": snr,
        "minScores": fewest,
        "lqr": np.uint8(lower),
        "fixedThreshold": float(hits.threshold),
        "hitrateWindowSize": SMOOTHED,
        "xgmNormalization": np.uint8(0),
        "xgmMinimalEnergy": 0.0,
        "missFraction": float(hits.misses),
        "missFractionBase": np.array("miss", _BASE),
        "missFractionAbs": 0.0,
    }
    file.control(source, {**parameters, **_modules(file, hits.modules, len(table.modules))})


def _shots(file: ExdfFile, source: str, table: Table, rows: np.ndarray) -> h5py.Group:
    """Make the group ``data`` of a source, with the keys of the shots."""
    train = table.train_id[rows]
    group = file.instrument(source, "data", counts_per_train(file.train_ids, train))
    group["trainId"], group["pulseId"] = train, table.pulse_id[rows]
    return group


def _modules(file: ExdfFile, modules: tuple[int, ...], most: int = 0) -> dict[str, Any]:
    """List modules as control values: the list has a fixed length, the number says how many count."""
    listed = np.zeros(max(LISTED, most, len(modules)), "i1")
    listed[: len(modules)] = modules
    return {"numModules": len(modules), "modules": np.tile(listed, (len(file.train_ids), 1))}
