"""The page of a survey: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.place import geometry_of, pixels_of
from ..errors import ShotsieveError
from ..measure.peaks import FILTERS
from ..pages import figure, page, section, table, write_whole
from ..report.pictures import frame_image
from . import figures
from .grid import PERMISSIVE, RECIPE, RULE
from .intervals import LEVEL
from .judge import compared

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.job import Job
    from ..geometry import PixelMap
    from .judge import Outcome
    from .run import Survey
    from .scan import Example, Scanner

_STYLE = """
.sum { font-size: 1.2em; margin: .4em 0 } table { font-size: .85em } td.n { white-space: nowrap }
"""


def write_page(found: Survey, job: Job, scanner: Scanner, truth: bool) -> Path:
    """Write the page, whole or not at all.

    Parameters
    ----------
    found : Survey
    job : Job
        Of the sample.
    scanner : Scanner
        With the frames that are drawn.
    truth : bool
        Whether the truth was given.

    Raises
    ------
    OutputError
        If the disk refuses.
    """
    name = job.source.name
    parts = [
        f"<h1>{escape(name)} <small class=note>survey</small></h1>",
        _headline(found),
        section("What is suggested, and why", _suggestions(found)),
        section("What a reduction with this recipe will take", _prediction(found)),
        section("What each setting costs", _costs(found, scanner, truth)),
    ]
    parts += [section("What kept frames are written as", _forms(found, job))]
    parts += [section("What was kept and what was not, seen", _frames(found, job, scanner))]
    parts += [section("All settings", _settings(found, truth))]
    if any(outcome.peaks is not None for outcome in found.outcomes):
        parts += [section("Why components were no peaks", _rejected(found))]
    if found.notes:
        lines = [f"<li>{escape(note)}</li>" for note in dict.fromkeys(found.notes)]
        parts += [section("Notes", ["<ul>", *lines, "</ul>"])]
    text = page(f"{name}: survey", "\n".join(parts), _STYLE)
    return write_whole(found.path, text, "the page of the survey")


def _headline(found: Survey) -> str:
    mine = found.outcomes[0]
    unsure = int((mine.verdict == -1).sum())
    undecided = ""
    if unsure:
        fate = "kept" if found.grid.recipe.keep.undecided == "keep" else "not kept"
        undecided = f" Of {unsure:,} of {len(mine.verdict):,} shots nothing can be said: these are {fate}."
    lost = ""
    if mine.missed is not None:
        lost = f" Of the true hits {mine.missed} are lost; of the true misses {mine.false} are kept."
    if found.false_negatives is not None:
        lost += f" The earlier reduction lost {found.false_negatives[0]} of the hits."
    return (
        f"<p class=sum>Hits by this recipe: <b>{mine.rate}</b>.{escape(undecided + lost)}</p>"
        f"<p>Rule <code>{escape(found.grid.recipe.keep.rule)}</code>, asked of "
        f"{escape(found.sample.told())}. Numbers in brackets are intervals of {100 * LEVEL:g} % (Clopper and "
        "Pearson). Every frame was read and calibrated once.</p>"
    )


def _suggestions(found: Survey) -> list[str]:
    rows = (
        [f"{one.key} = {one.value}", "as it is" if not one.changes else "changed", one.reason]
        for one in found.suggestions
    )
    if not found.suggestions:
        return ["<p>Nothing; the notes say why.</p>"]
    return [table(("recipe", "", "reason"), rows)]


def _prediction(found: Survey) -> list[str]:
    told = found.prediction
    kept = f"{told.kept:,.0f} ({told.kept_low:,.0f} to {told.kept_high:,.0f})"
    rows = [
        ["shots kept", kept, f"of {told.shots:,}; the interval is that of the sample"],
        ["raw bytes read", _bytes(told.bytes_in), ""],
    ]
    if np.isfinite(told.bytes_out):
        low, high = (_bytes(size) for size in (told.bytes_low, told.bytes_high))
        beside = f"of these {_bytes(told.bytes_beside)} beside the frames"
        smaller = f"{told.ratio:.3g} times smaller" if told.bytes_out else "only the table is written"
        if told.ratio < 1:
            smaller = f"{1 / told.ratio:.3g} times larger than what is read"
        rows.append(["output", f"{_bytes(told.bytes_out)} ({low} to {high})", f"{smaller}; {beside}"])
    else:
        rows.append(["output", "not known", "no frame was encoded in this form"])
    rows += [
        ["memory", _bytes(told.memory), "of arrays, beside what Python and its libraries take"],
        ["time", f"{told.seconds:,.3g} s", "on this machine, if it is as busy as now"],
    ]
    return [table((), rows, numbers=(1,))]


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _costs(found: Survey, scanner: Scanner, truth: bool) -> list[str]:
    grid, mine = found.grid, found.outcomes[0]
    reference = (
        "Loss is that of true hits which are not kept."
        if truth
        else "Loss is relative to the most permissive setting, at which every varied key lets most through; "
        "its hits may be false: look at what is lost before trusting either number."
    )
    loose = next(outcome for outcome in found.outcomes if outcome.setting.key == PERMISSIVE).rate
    if not truth and loose.of and loose.value > 0.5:
        reference += (
            f" <b>There {loose} of all shots are hits, most of them false by all likelihood: that they are "
            "lost elsewhere says little.</b> Scan a narrower range (--scan), or give a --truth."
        )
    parts = [f"<p>{reference} Each key is varied alone, the others stay as the recipe has them.</p>"]
    parts.append(figure(figures.cost(found), "bytes kept against what is lost, setting by setting"))
    if grid.compared:
        counts = compared(scanner, mine.setting, grid.compared)
        suggested = next((one.number for one in found.suggestions if one.key == RULE), None)
        drawn = figures.scores(counts, grid.compared, grid.number, suggested)
        parts.append(figure(drawn, "shots with at least n; hits make the flat part"))
    keys = [outcome.setting.key for outcome in found.outcomes]
    for key in dict.fromkeys(keys):
        if key in (RECIPE, PERMISSIVE) or keys.count(key) < 2:
            continue
        parts.append(figure(figures.along(found, key), f"{key}: hits and losses"))
        if key != RULE and (drawn := figures.peaks(found, key)) is not None:
            parts.append(figure(drawn, f"{key}: peaks"))
    return parts


def _forms(found: Survey, job: Job) -> list[str]:
    hits = len(found.forms[0].bytes)
    parts = [
        f"<p>{hits} frames were encoded in every form. Black: the recipe's; blue: no pixel changes; orange: "
        "values are rounded or counted.</p>",
        figure(figures.forms(found), "size of a kept shot"),
    ]
    rows = (
        [
            coded.name + (" (recipe)" if coded.is_recipe else ""),
            _bytes(size.hit) if np.isfinite(size.hit) else "not known",
            _bytes(size.miss) if np.isfinite(size.miss) else "not known",
            "none" if coded.lossless else f"{coded.error:.3g}",
        ]
        for coded, size in zip(found.forms, found.sizes, strict=True)
    )
    unit = job.unit if job.unit != "photon" else "photons"
    head = ("form", "kept shot", "other shot", f"largest change met ({unit})")
    return [*parts, table(head, rows, numbers=(1, 2, 3))]


def _frames(found: Survey, job: Job, scanner: Scanner) -> list[str]:
    if scanner.decides_late:
        return ["<p>The rule asks for columns that follow from all shots: no frames are shown.</p>"]
    pixels = _pixels(job, found)
    name = found.outcomes[0].setting.rule.text
    parts = []
    for title, one in (("hits", scanner.hits), ("misses", scanner.misses)):
        if one.frame is not None:
            caption = f"largest value of every pixel in the {one.shots} {title}"
            parts.append(figure(frame_image(one.frame, pixels, what="survey", unit=job.unit), caption))
    if parts:
        parts.append("<p>A crystal that was lost shows as a spot among the misses.</p>")
    groups: list[tuple[str, list[Example], int]] = [
        ("strong hit", scanner.strongest, 1),
        ("hit near the limit", scanner.above, -1),
        ("miss near the limit", scanner.below, 1),
    ]
    drawn: set[int] = set()
    for title, examples, sign in groups:
        for one in examples:
            if one.row in drawn:
                continue
            drawn.add(one.row)
            where = f"train {job.table.train_id[one.row]}, cell {job.table.cell_id[one.row]}"
            score = f"{sign * one.score:.4g}" if np.isfinite(one.score) else "unknown"
            caption = f"{title}: {where}; left side of {name}: {score}"
            found_peaks = one.peaks if len(one.peaks) else None
            parts.append(
                figure(frame_image(one.frame, pixels, found_peaks, "survey", unit=job.unit), caption)
            )
    return parts


def _pixels(job: Job, found: Survey) -> PixelMap | None:
    """Return where the pixels are, if the recipe names a geometry that fits."""
    if job.recipe.detector.geometry is None:
        return None
    try:
        return pixels_of(job, geometry_of(job) if job.peaks is None else job.peaks.geometry)
    except ShotsieveError as error:
        found.notes.append(f"images show the modules side by side: {error}")
        return None


def _settings(found: Survey, truth: bool) -> list[str]:
    head = ["setting", "value", "hits", "undecided", "kept", "lost of the most permissive"]
    head += ["true hits lost", "true misses kept"] if truth else []
    head += ["lost by the earlier reduction"] if found.false_negatives is not None else []
    head += ["peaks a shot", "a hit", "a miss", "MB a shot"]
    rows = []
    for at, outcome in enumerate(found.outcomes):
        row: list[Any] = [outcome.setting.key, outcome.setting.value, outcome.rate]
        row += [int((outcome.verdict == -1).sum()), int(outcome.kept.sum()), outcome.lost]
        row += [outcome.missed, outcome.false] if truth else []
        row += [found.false_negatives[at]] if found.false_negatives is not None else []
        row += [_mean(value) for value in _means(outcome)]
        row.append(_mean(outcome.bytes_per_shot / 1e6))
        rows.append(row)
    return [table(head, rows, numbers=range(2, len(head)))]


def _means(outcome: Outcome) -> tuple[float, float, float]:
    return outcome.mean_peaks, outcome.mean_of(outcome.hit), outcome.mean_of(~outcome.hit)


def _mean(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "-"


def _rejected(found: Survey) -> list[str]:
    """List components that each filter rejected, a shot; settings that measure the same stand once."""
    seen: set[Any] = set()
    rows = []
    for outcome in found.outcomes:
        if outcome.setting.measured in seen:
            continue
        seen.add(outcome.setting.measured)
        told = [_mean(value) for value in outcome.rejected.tolist()]
        rows.append([outcome.setting.key, outcome.setting.value, _mean(outcome.mean_peaks), *told])
    head = ("setting", "value", "peaks a shot", *(name.replace("_", " ") for name in FILTERS))
    return [table(head, rows, numbers=range(2, len(head)))]
