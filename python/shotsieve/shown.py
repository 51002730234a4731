"""How objects look in a notebook: short HTML without scripts, of texts that cannot become markup.

Nothing here needs matplotlib, or knows more of an object than what it says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from .pages import table as html_table

MOST_ROWS = 30
"""Rows of a table; of more, the number of the others is told."""
FATES = (
    ("kept", "written"),
    ("dropped", "measured, and not kept"),
    ("suspect", "of trains that are flagged"),
    ("duplicate", "of trains that another file holds too"),
    ("inconsistent", "modules disagree on what was recorded"),
    ("unreadable", "no module could be read"),
    ("missing", "expected, and recorded by no module"),
)

_COMPUTED = {"n_modules": "modules that were measured", "lit_fraction": "lit over unmasked pixels"}


def card(title: str, rows: Iterable[Sequence[Any]] = (), *, head: Sequence[str] = (), more: str = "") -> str:
    """Return a title over a table; `more` is HTML that follows.

    Examples
    --------
    >>> card("a < b", [["n", 2]])
    '<div><b>a &lt; b</b><table><tr><td>n</td><td>2</td></tr></table></div>'
    """
    rows = list(rows)
    if len(rows) > MOST_ROWS:
        rows = [*rows[:MOST_ROWS], [f"and {len(rows) - MOST_ROWS} more"]]
    inner = html_table(head, rows) if rows else ""
    above = f"<b>{escape(title)}</b>" if title else ""
    return f"<div>{above}{inner}{more}</div>"


def number(value: Any) -> str:
    """Return a number as people read it; what is not known, or has no end, in words.

    Examples
    --------
    >>> number(12345), number(0.000123456), number(float("nan")), number(None)
    ('12,345', '0.0001235', 'unknown', 'unknown')
    """
    if value is None or not np.isfinite(value):
        return "unknown"
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def accounts(told: Any) -> str:
    """Return what became of every shot (`Accounts`).

    Examples
    --------
    >>> from shotsieve.accounts import Accounts
    >>> "1 of 2 shots kept" in accounts(Accounts("AGIPD1M", "DET", trains=1, expected=2, kept=1, dropped=1))
    True
    """
    every = max(told.expected, 1)
    rows = [["expected", number(told.expected), "", "trains times pulses, by the run's own index"]]
    for name, meaning in FATES:
        count = getattr(told, name)
        if count or name in ("kept", "dropped"):
            rows.append([name, number(count), f"{100 * count / every:.1f} %", meaning])
    for name in ("undecided", "partial"):
        if count := getattr(told, name).total:
            rows.append(
                [name, number(count), f"{100 * count / every:.1f} %", "among the kept and the dropped"]
            )
    return card(
        f"{told.source}: {told.kept:,} of {told.expected:,} shots kept", rows, more=_notes(told.notes)
    )


def result(found: Any) -> str:
    """Return what a reduction gave (`Result`): its accounts, and where its files are.

    Examples
    --------
    >>> result(shotsieve.reduce("raw/r0001", "recipe.toml", "out"))    # doctest: +SKIP
    """
    told = found.performance
    rows = [["output", found.out], ["files", len(found.files)], ["digest", found.digest]]
    if told.get("shots_per_s"):
        rows.append(["speed", f"{told['shots_per_s']:,.0f} shots/s on {told.get('backend', 'unknown')}"])
    others = "".join(f"<p>{escape(name)}:</p>{accounts(one.accounts)}" for name, one in found.others.items())
    return f"<div>{accounts(found.accounts)}{card('', rows)}{others}</div>"


def table(shots: Any) -> str:
    """Return the columns of a table of shots (`Table`): their range, and how many values are unknown.

    Examples
    --------
    >>> from shotsieve.table import Table
    >>> "2 shots" in table(Table([7, 7], [0, 4], [0, 1], modules=(0,), module_pixels=100))
    True
    """
    described, rows = shots.describe(), []
    own = [name for name in shots.names() if "[" not in name]
    for name in own:
        low, high = shots.bounds(name)
        known = low[(low == high) & np.isfinite(low)]
        if name not in shots.describe() and not len(known):
            continue  # a name of the table that this run has nothing of
        ends = [known.min(), known.mean(), known.max()] if len(known) else [None] * 3
        about = described.get(name)
        unit, meaning = (about.unit, about.meaning) if about else ("", _COMPUTED.get(name, ""))
        # Numbers of trains are names, and have no mean.
        shown = [str(int(end)) for end in (ends[0], ends[2])] if name.endswith("_id") and len(known) else None
        least, mean, most = (shown[0], "", shown[1]) if shown else map(number, ends)
        rows.append([name, least, mean, most, unit, number(len(shots) - len(known)), meaning])
    fates = ", ".join(f"{count:,} {fate}" for fate, count in shots.counts().items() if count)
    title = f"{len(shots):,} shots of {len(shots.modules)} modules" + (f": {fates}" if fates else "")
    return card(title, rows, head=("column", "least", "mean", "greatest", "unit", "unknown", "meaning"))


def constants(held: Any) -> str:
    """Return which constants there are (`Constants`), for what, and the conditions they were taken in.

    Examples
    --------
    >>> constants(shotsieve.Constants.open("constants.h5"))    # doctest: +SKIP
    """
    rows = [
        [name, f"{sum(held.has(name, module) for module in held.modules)} of {len(held.modules)} modules"]
        for name in held.names
    ]
    rows += [[name.replace("_", " "), _text(value)] for name, value in sorted(held.conditions.items())]
    return card(f"constants of {held.detector.name}, {len(held.cell_ids)} memory cells", rows)


def recipe(asked: Any, given: str) -> str:
    """Return a recipe (`Recipe`) as it was written, and folded away with every default.

    Parameters
    ----------
    asked : Recipe
    given : str
        TOML text without the defaults.

    Examples
    --------
    >>> recipe(shotsieve.Recipe.load("spi.toml"), "[calibrate]")    # doctest: +SKIP
    """
    full = escape(asked.dumps_toml())
    return (
        f"<div><b>recipe</b><pre>{escape(given)}</pre>"
        f"<details><summary>with every default</summary><pre>{full}</pre></details></div>"
    )


def curves(found: Any) -> str:
    """Return what was integrated (`AzintResult`), and the curve, or the mean of many, as a small drawing.

    Examples
    --------
    >>> curves(shotsieve.AzimuthalIntegrator("agipd.geom")(frame))    # doctest: +SKIP
    """
    values = np.asarray(found.intensity, "f8")
    cake = found.chi_edges is not None
    single = values.ndim == (2 if cake else 1)
    what = ("cake", "cakes") if cake else ("profile", "profiles")
    rows = [
        ["radial axis", f"{len(found.radial)} bins, {number(found.edges[0])} to {number(found.edges[-1])} "
                        f"{found.unit}"],
        ["azimuthal bins", len(found.chi)] if cake else ["errors", "none" if found.sigma is None else "sem"],
        ["bins without a pixel", number(np.count_nonzero(np.asarray(found.count) == 0))],
    ]  # fmt: skip
    many = f"1 {what[0]}" if single else f"{len(values):,} {what[1]}"
    drawn = "" if cake or not values.size else line(found.radial, _mean(values))
    return card(many, rows, more=drawn)


def regions(found: Any) -> str:
    """Return what frames hold in regions (`RoiResult`): means over the frames.

    Examples
    --------
    >>> regions(shotsieve.RegionSums(...)(frames))    # doctest: +SKIP
    """
    rows = []
    for place, name in enumerate(found.names):
        total, count, most = (
            np.atleast_1d(np.asarray(part)[..., place]) for part in (found.sum, found.count, found.max)
        )
        pixels = count.sum()
        row = [total.mean(), count.mean()] if total.size else [None, None]
        row += [total.sum() / pixels if pixels else None, np.max(most[np.isfinite(most)], initial=-np.inf)]
        rows.append([name, *map(number, row)])
    frames = 1 if np.ndim(found.sum) == 1 else len(found.sum)
    head = ("region", "sum", "pixels", "mean of a pixel", "greatest")
    return card(f"{len(found.names)} regions of {frames:,} frames", rows, head=head)


def peaks(n_peaks: Any, unit: str = "") -> str:
    """Return how many peaks shots have (`Peaks`, `PeakList`).

    Examples
    --------
    >>> peaks([3, 0, 5])[:28]
    '<div><b>3 shots, 8 peaks</b>'
    """
    found = np.asarray(n_peaks)
    rows = [
        ["shots with peaks", number(np.count_nonzero(found))],
        ["most in a shot", number(found.max(initial=0))],
    ]
    rows += [["unit of values", unit]] if unit else []
    return card(f"{len(found):,} shots, {int(found.sum()):,} peaks", rows)


def comparison(found: Any) -> str:
    """Return how two runs differ (`RunComparison`): shares, and every finding in words.

    Examples
    --------
    >>> comparison(shotsieve.compare_runs("raw/r0001", "proc/r0001", "constants.h5"))    # doctest: +SKIP
    """
    names = {"values": f"values beyond {number(found.tolerance)} {found.unit}", "gains": "gain stages",
             "bad": "bad pixels"}  # fmt: skip
    rows = [[f"{names[name]} that differ", f"{100 * share:.4g} %"] for name, share in found.shares().items()]
    told = [str(getattr(one, "text", one)) for one in found.findings]
    return card(f"{found.name}: {found.shots:,} shots compared", rows, more=_notes([*told, *found.notes]))


def source(run: Any) -> str:
    """Return what a run holds: trains, shots, modules, and how the detector was driven.

    Examples
    --------
    >>> source(shotsieve.open_run("raw/r0001"))    # doctest: +SKIP
    """
    mode = run.mode
    rows = [
        ["detector", run.detector.name],
        ["trains", number(len(run.trains))],
        ["shots", f"{len(run.shots):,}, of which {len(run.readable):,} can be read"],
        ["missing shots", number(run.missing_shots)],
        ["modules", ", ".join(map(str, run.modules))],
        ["files", len(run.paths)],
    ]
    named = ("gain_mode", "cells", "rate_mhz", "integration_time", "photon_energy_kev", "distance_m")
    rows += [
        [name.replace("_", " "), _text(getattr(mode, name))]
        for name in named
        if getattr(mode, name) is not None
    ]
    return card(run.name, rows, more=_notes(run.notes))


def line(x: Any, y: Any, width: int = 320, height: int = 90) -> str:
    """Return a curve as a small SVG; gaps where there is no value, nothing where there are none.

    Examples
    --------
    >>> line([0, 1, 2], [1, float("nan"), 3]).count("<polyline")
    2
    """
    x, y = np.asarray(x, "f8"), np.asarray(y, "f8")
    there = np.isfinite(x) & np.isfinite(y)
    if not there.any():
        return ""
    at = [
        4 + (values - values[there].min()) / (np.ptp(values[there]) or 1.0) * (size - 8)
        for values, size in ((x, width), (y, height))
    ]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype("i1")))
    lines = []
    for start, stop in edges.reshape(-1, 2):
        points = " ".join(
            f"{a:.1f},{height - b:.1f}" for a, b in zip(*(part[start:stop] for part in at), strict=True)
        )
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-linecap="round"/>'
        )
    return f'<svg width="{width}" height="{height}">{"".join(lines)}</svg>'


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over frames, NaN where no frame has a value."""
    if values.ndim == 1:
        return values
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=0)
    return np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan)


def _notes(notes: Iterable[str]) -> str:
    said = list(notes)
    more = [f"and {len(said) - MOST_ROWS} more"] if len(said) > MOST_ROWS else []
    items = "".join(f"<li>{escape(note)}</li>" for note in [*said[:MOST_ROWS], *more])
    return f"<ul>{items}</ul>" if items else ""


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return number(value)
    return str(value)
