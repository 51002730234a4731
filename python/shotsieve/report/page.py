"""The report: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..pages import figure, page, section, table, write_whole
from ..shown import FATES
from ..write.ledger import REPORT
from . import pictures
from .reduced import Reduced, labels

_STYLE = """
.sum { font-size: 1.25em; margin: .4em 0 } .sum b { color: #b2182b }
"""
NUMBERS = (1, 2)  # columns of tables


def write_report(
    out: str | os.PathLike, path: str | os.PathLike | None = None, geometry: str | os.PathLike | None = None
) -> Path:
    """Write a page about a reduced run: what was kept and why, and what it looks like.

    Parameters
    ----------
    out : path
        Output of `shotsieve.reduce`.
    path : path or None
        HTML file to write, replaced if it exists; None writes ``report.html`` into `out`.
    geometry : path or None
        CrystFEL geometry file, for images of the whole detector; None takes the recipe's.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        If `out` is no output of shotsieve, the geometry cannot be used, or matplotlib is missing.
    UnreadableData
        If a file of it is damaged.
    OutputError
        If the disk refuses.

    Notes
    -----
    Nothing of the reduced run is changed. Mean images are those of at most 100 shots, evenly chosen. The
    ledger leaves the report out, since pictures are another program's: it may be made again at any time.

    Examples
    --------
    >>> shotsieve.write_report("red/r0001")    # doctest: +SKIP
    PosixPath('red/r0001/report.html')
    """
    runs = [Reduced.open(out, label, geometry if not label else None) for label in labels(out)]
    target = Path(out) / REPORT if path is None else Path(path)
    if not target.parent.is_dir():
        raise OutputError(f"{target}: the report cannot be written: there is no folder {target.parent}")
    text = _page(runs)
    return write_whole(target, text, "the report")


def _page(runs: list[Reduced]) -> str:
    first = runs[0]
    title = f"{first.accounts['source']}: {first.out.name}"
    body = "".join(_detector(run) for run in runs)
    return page(title, body, _STYLE)


def _detector(run: Reduced) -> str:
    told = run.accounts
    parts = [
        f"<h1>{escape(told['source'])} <small class=note>{escape(run.out.name)}</small></h1>",
        _headline(run),
    ]
    if len(run.table):
        parts += [
            section("Score", [figure(pictures.score_over_time(run), "score of every shot over time"),
                               figure(pictures.score_histogram(run), "shots by score"),
                               figure(pictures.hit_rate(run), "share of shots kept, hits alone")]),
            section("Images", [figure(drawn, title) for title, drawn in pictures.images(run)]),
        ]  # fmt: skip
        profile = pictures.mean_profile(run)
        parts += [section("Profile", [figure(profile, "average over the run")])] if profile else []
        parts += [section("Modules and cells", [figure(pictures.health(run), "health"), _modules(run)])]
    parts += [section("What became of every shot", [_accounts(told)])]
    parts += [section("Recipe, where it differs from the defaults", [_recipe(run)])]
    parts += [section("Speed", [_speed(run)])]
    notes = [*told.get("notes", ()), *run.notes]
    parts += (
        [section("Notes", ["<ul>", *(f"<li>{escape(note)}</li>" for note in notes), "</ul>"])]
        if notes
        else []
    )
    return "\n".join(parts)


def _headline(run: Reduced) -> str:
    told = run.accounts
    expected, kept = told["expected"], told["kept"]
    share = f"{100 * kept / expected:.3g} %" if expected else "none"
    size = ""
    if told.get("bytes_in") and told.get("bytes_out"):
        ratio = told["bytes_in"] / told["bytes_out"]
        size = f"; {ratio:.1f} times smaller" if ratio >= 1 else f"; {1 / ratio:.1f} times larger"
    rule = run.recipe.get("keep", {}).get("rule")
    why = f"kept where <code>{escape(str(rule))}</code>" if rule else "no rule of columns"
    chance = f", {told['misses']:,} of them misses by chance" if told.get("misses") else ""
    undecided = sum(told["undecided"].values())
    unsure = f" {undecided:,} could not be decided." if undecided else ""
    return (
        f"<p class=sum><b>{kept:,}</b> of {expected:,} shots kept ({share}){chance}{size}.{unsure}</p>"
        f"<p>{why}; {told['trains']:,} trains.</p>"
    )


def _accounts(told: dict[str, Any]) -> str:
    rows = [("expected", told["expected"], "trains times pulses, by the run's own index")]
    rows += [(name, told[name], meaning) for name, meaning in FATES]
    total = max(told["expected"], 1)
    return table(
        (),
        ([name, f"{number:,}", f"{100 * number / total:.1f} %", meaning] for name, number, meaning in rows),
        NUMBERS,
    )


def _modules(run: Reduced) -> str:
    lacking = pictures.shares_of_status(run)
    if not lacking:
        return "<p>Every module was there in every shot that was read.</p>"
    rows = (
        [
            f"module {module}",
            f"{sum(reasons.values()):,}",
            "",
            ", ".join(f"{n:,} {why}" for why, n in reasons.items()),
        ]
        for module, reasons in lacking
    )
    return table((), rows, NUMBERS)


def _recipe(run: Reduced) -> str:
    rows = ([key, "", shown(value), f"default {shown(default)}"] for key, value, default in run.changed())
    return table((), rows, NUMBERS)


def _speed(run: Reduced) -> str:
    told = run.machine
    seconds = told.get("run_s") or float("nan")
    lines = [f"{len(run.table):,} shots in {seconds:,.1f} s on {told.get('backend')} ({told.get('device')})"]
    steps = told.get("steps_s") or {}
    longest = sorted(steps.items(), key=lambda step: -step[1])[:6]
    lines += [f"{name}: {value:.2f} s" for name, value in longest if value > 0.005]
    if longest:
        lines.append("read and write go on beside the other steps")
    return f"<p>{escape('; '.join(lines))}</p>" if np.isfinite(seconds) else "<p>not known</p>"


def shown(value: Any) -> str:
    """Return a value of a recipe as a recipe has it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
