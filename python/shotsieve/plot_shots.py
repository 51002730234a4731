"""Pictures of a table of shots: scores and their limit, hit rate, modules and memory cells.

`shotsieve.plot` has them for notebooks; the report of a reduced run is made of the same ones.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput, UnreadableData
from .judged import Judged
from .pages import need_matplotlib
from .table import ModuleStatus, Table
from .write.output import SIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 20_000
"""Shots of a colour in a scatter plot; of more, every n-th is drawn."""
KEPT, DROPPED, LIMIT = "tab:red", "0.6", "tab:blue"


def new_axes(ax: Axes | None) -> Axes:
    """Return the axes that were given, or new ones of pyplot's."""
    if ax is not None:
        return ax
    need_matplotlib()
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def judged(run: Any, by: str | None = None) -> Judged:
    """Return the shots of a run with what they are judged by.

    Parameters
    ----------
    run : Table, Result, Reduced, Judged, or path of a reduced run
    by : str or None
        A rule or a column; None takes the rule of the reduced run.

    Raises
    ------
    BadInput
        If it is none of these, or `by` is neither a rule nor a column of the table.
    UnreadableData
        If a file of the reduced run is damaged.

    Examples
    --------
    >>> judged(Table([7], [0], [0], modules=(0,), module_pixels=100), "train_id").score[1].tolist()
    [7.0]
    """
    if by is None and isinstance(run, Judged):
        return run
    if by is None and isinstance(getattr(run, "judged", None), Judged):
        return run.judged
    if isinstance(run, (str, os.PathLike)):
        out = Path(run)
        if not (out / SIDE / "table.h5").is_file():
            raise BadInput(f"{out} is not an output of shotsieve: {out / SIDE / 'table.h5'} is missing")
        table = Table.open(out / SIDE / "table.h5")
    else:
        table = run if isinstance(run, Table) else getattr(run, "table", None)
        out = getattr(run, "out", None)
        if not isinstance(table, Table):
            raise BadInput(
                f"plot: {type(run).__name__} was given: expected a table, a result or a reduced run"
            )
    if by is not None:
        return Judged(table, by, asked=True)
    return Judged(table, None if out is None else _rule(Path(out)))


def _rule(out: Path) -> str | None:
    path = out / SIDE / "recipe.toml"
    try:
        return tomllib.loads(path.read_text("utf-8")).get("keep", {}).get("rule")
    except (OSError, ValueError) as err:
        raise UnreadableData(f"{path}: the recipe of the reduced run cannot be read ({err})") from err


def scores(run: Any, by: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the score of every shot against its train, and the limit of the rule.

    Parameters
    ----------
    run : Table, Result, or path of a reduced run
    by : str or None
        A rule such as ``"n_peaks >= 15"``, asked now of the table: red is what it would keep, and its first
        comparison gives score and limit; or a column. None takes the rule of the reduced run, or the first of
        peaks, lit pixels, photons that was measured; red is then what was kept.
    ax : matplotlib Axes or None

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If `by` is neither a rule nor a column, or matplotlib is not installed.

    Examples
    --------
    >>> shotsieve.plot.scores("red/r0001", "n_peaks >= 15")    # doctest: +SKIP
    """
    shots, ax = judged(run, by), new_axes(ax)
    name, score = shots.score
    table, kept, limit = shots.table, shots.kept, shots.limit
    every = slice(None, None, -(-len(score) // MOST_POINTS) or 1)
    train = (table.train_id - table.train_id[:1]).astype("f8") if len(score) else score
    for which, colour, label in ((~kept, DROPPED, "not kept"), (kept, KEPT, "kept")):
        # A few hits among very many shots are all drawn.
        shown = np.flatnonzero(which)
        shown = shown[:: -(-len(shown) // MOST_POINTS) or 1]
        ax.plot(train[shown], score[shown], ".", ms=2, color=colour, label=label)
    if limit is not None:
        order = np.argsort(train, kind="stable")[every]
        constant = np.nanmin(limit) == np.nanmax(limit) if np.isfinite(limit).any() else False
        style = {"lw": 1} if constant else {"ls": "none", "marker": "_", "ms": 3}
        ax.plot(train[order], limit[order], color=LIMIT, label=shots.comparison.words[2], zorder=1, **style)
    known = score[np.isfinite(score)]
    if known.max(initial=0) > 50 * max(np.median(known) if len(known) else 0, 1e-300):
        ax.set_yscale("symlog", linthresh=max(float(np.percentile(known, 90)), 1e-12))
    ax.set(xlabel="train of the run", ylabel=shorten(name, 30, placeholder=" ..."))
    ax.locator_params(axis="x", integer=True)
    ax.legend(loc="upper right", markerscale=3, fontsize="small")
    if not len(known):
        _tell_unknown(ax, name)
    return ax


def histogram(run: Any, by: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how many shots have which score, beside the limit, or which distance from a limit that moves.

    Parameters
    ----------
    run, by, ax
        As of `scores`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        As `scores`.

    Examples
    --------
    >>> shotsieve.plot.histogram(result.table, "lit_fraction > 0.01")    # doctest: +SKIP
    """
    shots, ax = judged(run, by), new_axes(ax)
    name, score = shots.score
    limit, at, label = shots.limit, None, name
    if limit is not None and np.isfinite(limit).any():
        at = float(np.nanmin(limit))
        if at != np.nanmax(limit):
            at, label, score = 0.0, f"{name} - ({shots.comparison.words[2]})", score - limit
    known = np.isfinite(score)
    if known.any():
        least, most = np.percentile(score[known], [0, 99.9])
        most = max(most, at if at is not None else most)
        bins = np.linspace(least, most if most > least else least + 1, 60)
        clipped = np.clip(score, bins[0], bins[-1])
        parts = [clipped[known & ~shots.kept], clipped[known & shots.kept]]
        ax.hist(parts, bins, stacked=True, color=[DROPPED, KEPT], label=["not kept", "kept"], log=True)
        if at is not None:
            ax.axvline(at, color=LIMIT, lw=1, label="limit")
        ax.legend(fontsize="small")
    else:
        _tell_unknown(ax, name)
    ax.set(xlabel=shorten(label, 44, placeholder=" ..."), ylabel="shots")
    return ax


def _tell_unknown(ax: Axes, name: str) -> None:
    """Say in place of points why there are none."""
    short = shorten(name, 40, placeholder=" ...")
    told = f"{short} is known of no shot:\na module is missing, or has no constants"
    where = {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": "small"}
    ax.text(0.5, 0.75, told if name else "nothing was measured", **where)


def hit_rate(run: Any, by: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the share of shots kept, misses kept by chance not among them, in stretches of the run.

    Parameters
    ----------
    run, by, ax
        As of `scores`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        As `scores`.

    Examples
    --------
    >>> shotsieve.plot.hit_rate(result)    # doctest: +SKIP
    """
    shots, ax = judged(run, by), new_axes(ax)
    _, train = np.unique(shots.table.train_id, return_inverse=True)
    trains = int(train.max(initial=0)) + 1
    stretches = min(trains, 60)
    group = train * stretches // trains
    among, kept = (np.bincount(group, one, stretches) for one in (None, shots.kept & ~shots.by_chance))
    rate = np.divide(100 * kept, among, out=np.zeros(stretches), where=among > 0)
    ax.stairs(rate, np.linspace(0, trains, stretches + 1), fill=True, color=KEPT)
    ax.set(xlabel="train of the run, counted", ylabel="kept (%)", ylim=(0, None))
    ax.locator_params(axis="x", integer=True)
    return ax


def health(run: Any, axes: Any = None) -> np.ndarray:
    """Draw what share of the pixels counts, and how many are lit, by module and by memory cell.

    Without lit pixels it is peaks, or photons: what was measured.

    Parameters
    ----------
    run : Table, Result, or path of a reduced run
    axes : array of matplotlib Axes, shape (2, 2), or None
        Rows are pixels that count, and lit pixels or what was measured; columns modules and cells.

    Returns
    -------
    ndarray of matplotlib Axes, shape (2, 2)
        They say so where the run has no such measure. A module that was never there has no bar.

    Raises
    ------
    BadInput
        If axes of another shape were given, or matplotlib is not installed.

    Examples
    --------
    >>> shotsieve.plot.health(result)    # doctest: +SKIP
    """
    table = judged(run).table
    if axes is None:
        need_matplotlib()
        import matplotlib.pyplot as plt

        axes = plt.subplots(2, 2, sharey="row", figsize=(8.5, 4.4), layout="constrained")[1]
    axes = np.asarray(axes)
    if axes.shape != (2, 2):
        raise BadInput(f"plot.health: axes of shape {axes.shape} were given: expected (2, 2)")
    ok = table.module_status == ModuleStatus.OK
    cells, cell = np.unique(table.cell_id, return_inverse=True)
    measured = next((name for name in ("lit_pixels", "n_peaks", "photons") if name in table.measures), "")
    names = {"n_peaks": "mean peaks a module", "photons": "mean photons a module"}
    for row, (values, scale, label, lacking) in enumerate(
        (
            (
                table.measures.get("unmasked_pixels"), 100 / table.module_pixels, "pixels that count (%)",
                "pixels that count are not known:\n[measure.lit] counts them",
            ),
            (
                table.measures.get(measured), 1.0, names.get(measured, "mean lit pixels a module"),
                "neither lit pixels, peaks nor photons\nwere measured",
            ),
        )
    ):  # fmt: skip
        if values is None:
            for ax in axes[row]:
                ax.set_axis_off()
                ax.text(0.5, 0.5, lacking, transform=ax.transAxes, ha="center", va="center", fontsize="small")
            continue
        by_module = np.divide((values * ok).sum(0), ok.sum(0), out=np.zeros(ok.shape[1]), where=ok.any(0))
        sums, counts = (np.bincount(cell, part.sum(1).astype("f8"), len(cells)) for part in (values * ok, ok))
        by_cell = np.divide(sums, counts, out=np.zeros(len(cells)), where=counts > 0)
        axes[row, 0].bar([str(m) for m in table.modules], by_module * scale, color="tab:blue")
        axes[row, 1].plot(cells, by_cell * scale, ".-", lw=0.5, ms=3, color="tab:blue")
        axes[row, 0].set_ylabel(label)
        axes[row, 1].locator_params(axis="x", integer=True)
    axes[1, 0].set_xlabel("module")
    axes[1, 1].set_xlabel("memory cell")
    return axes
