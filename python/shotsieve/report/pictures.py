"""The pictures of a report, drawn by matplotlib and put into the page as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import UnreadableData
from ..pages import new_figure
from ..table import ModuleStatus
from ..write.output import SIDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..geometry import PixelMap
    from .reduced import Reduced

MOST_POINTS = 20_000
"""Shots of a colour in a scatter plot; of more, every n-th is drawn."""
MOST_FRAMES = 100
"""Frames in a mean image."""
STRONGEST = 4
KEPT, DROPPED, LIMIT = "tab:red", "0.6", "tab:blue"


def score_over_time(run: Reduced) -> Figure:
    """Draw the score of every shot against its train, and the limit of the rule."""
    name, score = run.score
    every = slice(None, None, -(-len(score) // MOST_POINTS) or 1)
    train = (run.table.train_id - run.table.train_id[:1]).astype("f8") if len(score) else score
    kept = run.kept
    drawn = new_figure(7, 3, "report")
    ax = drawn.subplots()
    for which, colour, label in ((~kept, DROPPED, "not kept"), (kept, KEPT, "kept")):
        # A few hits among very many shots are all drawn.
        shown = np.flatnonzero(which)
        shown = shown[:: -(-len(shown) // MOST_POINTS) or 1]
        ax.plot(train[shown], score[shown], ".", ms=2, color=colour, label=label)
    if run.limit is not None:
        order = np.argsort(train, kind="stable")[every]
        constant = np.nanmin(run.limit) == np.nanmax(run.limit) if np.isfinite(run.limit).any() else False
        style = {"lw": 1} if constant else {"ls": "none", "marker": "_", "ms": 3}
        ax.plot(train[order], run.limit[order], color=LIMIT, label=run.comparison.words[2], zorder=1, **style)
    if np.nanmax(score, initial=0) > 50 * max(np.nanmedian(score) if np.isfinite(score).any() else 0, 1e-300):
        ax.set_yscale("symlog", linthresh=max(float(np.nanpercentile(score, 90)), 1e-12))
    ax.set(xlabel="train of the run", ylabel=name)
    ax.legend(loc="upper right", markerscale=3, fontsize="small")
    return drawn


def score_histogram(run: Reduced) -> Figure:
    """Draw how many shots have which score, beside the limit, or which distance from a limit that moves."""
    name, score = run.score
    limit = run.limit
    at, label = None, name
    if limit is not None and np.isfinite(limit).any():
        at = float(np.nanmin(limit))
        if at != np.nanmax(limit):
            at, label, score = 0.0, f"{name} - ({run.comparison.words[2]})", score - limit
    drawn = new_figure(4.2, 3, "report")
    ax = drawn.subplots()
    known = np.isfinite(score)
    if known.any():
        least, most = np.percentile(score[known], [0, 99.9])
        most = max(most, at if at is not None else most)
        bins = np.linspace(least, most if most > least else least + 1, 60)
        clipped = np.clip(score, bins[0], bins[-1])
        parts = [clipped[known & ~run.kept], clipped[known & run.kept]]
        ax.hist(parts, bins, stacked=True, color=[DROPPED, KEPT], label=["not kept", "kept"], log=True)
        if at is not None:
            ax.axvline(at, color=LIMIT, lw=1, label="limit")
        ax.legend(fontsize="small")
    ax.set(xlabel=label, ylabel="shots")
    return drawn


def hit_rate(run: Reduced) -> Figure:
    """Draw the share of kept shots in stretches of the run."""
    _, train = np.unique(run.table.train_id, return_inverse=True)
    stretches = min(int(train.max(initial=0)) + 1, 60)
    group = train * stretches // max(int(train.max(initial=0)) + 1, 1)
    shots, kept = (np.bincount(group, weights, stretches) for weights in (None, run.kept & ~run.by_chance))
    drawn = new_figure(7, 2, "report")
    ax = drawn.subplots()
    rate = np.divide(100 * kept, shots, out=np.zeros(stretches), where=shots > 0)
    edges = np.linspace(0, int(train.max(initial=0)) + 1, stretches + 1)
    ax.stairs(rate, edges, fill=True, color=KEPT)
    ax.set(xlabel="train of the run, counted", ylabel="kept (%)", ylim=(0, None))
    return drawn


def images(run: Reduced) -> list[tuple[str, Figure]]:
    """Draw the mean of kept shots, the mean of misses kept by chance, and the strongest shots with peaks."""
    if run.frames is None:
        return []
    rows = run.frames.rows
    chance = run.by_chance[rows]
    score = np.where(np.isfinite(run.score[1][rows]), run.score[1][rows], -np.inf)
    groups = [("mean of the shots kept", np.flatnonzero(~chance))]
    groups += [("mean of the misses kept by chance", np.flatnonzero(chance))] if chance.any() else []
    found = []
    for title, shots in groups:
        if len(shots):
            some = shots[np.unique(np.linspace(0, len(shots) - 1, MOST_FRAMES).astype(int))]
            found.append((f"{title} ({len(some)} of {len(shots)})", _image(run, run.frames.mean(some), None)))
    for shot in np.argsort(-score, kind="stable")[:STRONGEST].tolist():
        row = int(rows[shot])
        where = f"train {run.table.train_id[row]}, cell {run.table.cell_id[row]}"
        peaks = None if run.peaks is None else run.peaks.records(row)
        found.append(
            (f"{where}: {run.score[0]} {score[shot]:.4g}", _image(run, run.frames.read(shot), peaks))
        )
    return found


def _image(run: Reduced, frame: np.ndarray, peaks: np.ndarray | None) -> Figure:
    return frame_image(frame, run.pixels, peaks)


def frame_image(
    frame: np.ndarray, pixels: PixelMap | None, peaks: np.ndarray | None = None, what: str = "report"
) -> Figure:
    """Draw a frame (M, ss, fs) as the detector stands, or module beside module where that is not known."""
    from ..plot import image

    drawn = new_figure(4.4, 3.8, what)
    ax = drawn.subplots()
    finite = frame[np.isfinite(frame)]
    least, most = np.percentile(finite, [1, 99.8]) if len(finite) else (0.0, 1.0)
    log = most > 100 * max(np.median(finite) if len(finite) else 0.0, 1e-6)
    if log:  # four decades show what is weak, and not what is noise
        least = max(least, most / 1e4)
    if pixels is not None and pixels.shape == (frame.shape[0] * frame.shape[1], frame.shape[2]):
        image(frame, pixels, ax, peaks=peaks, log=log, vmin=least, vmax=most)
    else:
        shown = np.concatenate(list(frame), axis=1 if frame.shape[1] >= frame.shape[2] else 0)
        norm = {"norm": "log" if log else "linear", "vmin": least, "vmax": most}
        drawn.colorbar(ax.imshow(shown, aspect="auto", **norm), ax=ax)
        ax.set(xlabel="modules side by side", xticks=[], yticks=[])
    # A page has fewer points than the detector pixels: the mean of what falls on one is shown.
    ax.images[0].set_interpolation("auto")
    return drawn


def mean_profile(run: Reduced) -> Figure | None:
    """Draw the average profile of the run, where there is one."""
    path = run.out / SIDE / run.label / "profiles.h5"
    if not path.is_file():
        return None
    try:
        with h5py.File(path) as file:
            if "entry/average" not in file:
                return None
            group = file["entry/average"]
            axis = str(group.attrs["axes"][-1] if np.ndim(group.attrs["axes"]) else group.attrs["axes"])
            x, y, errors = group[axis][()], group["intensity"][()], group["intensity_errors"][()]
    except (OSError, KeyError) as err:
        raise UnreadableData(f"{path}: the profiles cannot be read ({err})") from err
    drawn = new_figure(5.5, 3, "report")
    ax = drawn.subplots()
    ax.plot(x, y, color=LIMIT, lw=1)
    ax.fill_between(x, y - errors, y + errors, alpha=0.3, lw=0)
    ax.set(xlabel=axis, ylabel="mean intensity")
    return drawn


def health(run: Reduced) -> Figure:
    """Draw what share of the pixels counts, and how many are lit, by module and by memory cell."""
    table = run.table
    ok = table.module_status == ModuleStatus.OK
    drawn = new_figure(8.5, 4.4, "report")
    grid = drawn.subplots(2, 2, sharey="row")
    cells, cell = np.unique(table.cell_id, return_inverse=True)
    unmasked, lit = (table.measures.get(name) for name in ("unmasked_pixels", "lit_pixels"))
    for row, (values, scale, label) in enumerate(
        (
            (unmasked, 100 / table.module_pixels, "pixels that count (%)"),
            (lit, 1.0, "mean lit pixels a module"),
        )
    ):
        if values is None:
            continue
        by_module = np.divide((values * ok).sum(0), ok.sum(0), out=np.zeros(ok.shape[1]), where=ok.any(0))
        sums, counts = (np.bincount(cell, part.sum(1).astype("f8"), len(cells)) for part in (values * ok, ok))
        by_cell = np.divide(sums, counts, out=np.zeros(len(cells)), where=counts > 0)
        grid[row, 0].bar([str(m) for m in table.modules], by_module * scale, color="tab:blue")
        grid[row, 1].plot(cells, by_cell * scale, ".-", lw=0.5, ms=3, color="tab:blue")
        grid[row, 0].set_ylabel(label)
    grid[1, 0].set_xlabel("module")
    grid[1, 1].set_xlabel("memory cell")
    return drawn


def shares_of_status(run: Reduced) -> list[tuple[int, dict[str, Any]]]:
    """Return for each module that was not complete how many shots it lacks, by reason."""
    read = (run.table.module_status != ModuleStatus.NOT_READ).any(axis=1)
    found = []
    for place, module in enumerate(run.table.modules):
        status = run.table.module_status[read, place]
        reasons = {
            one.name.lower().replace("_", " "): int((status == one).sum())
            for one in ModuleStatus
            if one not in (ModuleStatus.OK, ModuleStatus.NOT_READ) and (status == one).any()
        }
        if reasons:
            found.append((int(module), reasons))
    return found
