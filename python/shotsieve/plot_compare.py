"""Pictures of a comparison of two runs; they need matplotlib (``shotsieve[plot]``).

``stages.png``: histograms of differences and of relative differences by gain stage. ``maps.png``: the mean
difference of every pixel, the share of frames in which it differs, and in which its gain does.
``cells.png``: the mean difference over memory cells, a line for each module. ``masks.png``: gains and mask
bits here and there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .compare.findings import STAGE_NAMES
from .compare.spread import EDGES
from .compare.statistics import STAGES
from .constants.examine import bit_name
from .pages import save_figure
from .plot_constants import draw_map, figure, side_by_side

if TYPE_CHECKING:
    from .compare import RunComparison

__all__ = ["plot_runs"]


def plot_runs(found: RunComparison, folder: Path) -> list[Path]:
    """Draw a comparison.

    Parameters
    ----------
    found : RunComparison
    folder : Path
        There already; files of the same names are replaced.

    Returns
    -------
    list of Path

    Raises
    ------
    BadInput
        If matplotlib is not installed.
    OutputError
        If a file cannot be written.

    Examples
    --------
    >>> plot_runs(compare_runs("raw/r0022", "proc/r0022", "constants.h5"), Path("out"))  # doctest: +SKIP
    """
    pictures = {"stages": _stages, "maps": _maps, "cells": _cells, "masks": _masks}
    return [save_figure(draw(found), folder / f"{name}.png") for name, draw in pictures.items()]


def _stages(found: RunComparison) -> Any:
    made = figure(STAGES, 2, f"{found.name}: ours - theirs")
    labels = (f"difference ({found.unit})", "difference / theirs")
    linear = (found.tolerance, 1e-5)
    for stage, row in enumerate(made.subplots(STAGES, 2, squeeze=False)):
        both = (found.statistics.spread, found.statistics.relative)
        counts = [one[:, stage].sum(axis=0) for one in both]
        for ax, number, label, near in zip(row, counts, labels, linear, strict=True):
            at = np.flatnonzero(number)
            if len(at):
                part = slice(max(at[0] - 2, 0), at[-1] + 3)
                edges = EDGES[part.start : part.stop + 1]
                ax.stairs(number[part][: len(edges) - 1], edges, fill=True)
                ax.set_xscale("symlog", linthresh=max(near, 1e-9))
            ax.set(xlabel=label, ylabel="values", yscale="symlog", title=STAGE_NAMES[stage])
    return made


def _maps(found: RunComparison) -> Any:
    sums = found.statistics
    frames = np.maximum(sums.pixel_frames, 1)
    compared = np.where(sums.pixel_frames > 0, 1.0, np.nan)
    pictures = {
        f"mean difference ({found.unit})": sums.pixel_sum / frames * compared,
        f"share of frames beyond {found.tolerance:g} {found.unit}": sums.pixel_differ / frames * compared,
        "share of frames in another stage": sums.pixel_gains / np.maximum(sums.frames, 1)[:, None, None],
    }
    made = figure(1, len(pictures), f"{found.name}: {len(found.modules)} modules side by side")
    for ax, (title, values) in zip(made.subplots(1, len(pictures)), pictures.items(), strict=True):
        draw_map(ax, side_by_side(list(values)), title)
    return made


def _cells(found: RunComparison) -> Any:
    sums = found.statistics
    made = figure(1, STAGES, f"{found.name}: mean of ours - theirs over memory cells")
    for stage, ax in enumerate(made.subplots(1, STAGES)):
        n, total = sums.moments[:, :, stage, 0], sums.moments[:, :, stage, 2]
        means = np.where(n > 0, total / np.maximum(n, 1), np.nan)
        marker = "." if len(sums.cell_ids) < 20 else ""
        for module, line in zip(found.modules, means, strict=True):
            ax.plot(sums.cell_ids, line, lw=1, marker=marker, label=f"module {module}")
        ax.set(xlabel="memory cell", ylabel=f"difference ({found.unit})", title=STAGE_NAMES[stage])
        if stage == 0 and len(found.modules) <= 16:
            ax.legend(fontsize="x-small", ncols=2)
    return made


def _masks(found: RunComparison) -> Any:
    sums = found.statistics
    made = figure(1, 2, f"{found.name}: stages and masks")
    left, right = made.subplots(1, 2)
    counts = sums.gains.sum(axis=0)
    left.imshow(np.log10(np.maximum(counts, 1)), cmap="Blues", aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        left.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize="x-small")
    left.set(xticks=range(4), xticklabels=["high", "medium", "low", "other"], xlabel="theirs", title="pixels")
    left.set(yticks=range(STAGES), yticklabels=["high", "medium", "low"], ylabel="ours")
    bits = sums.bits.sum(axis=0)
    there = np.flatnonzero(bits.any(axis=1))
    for shift, (side, label) in enumerate(((0, "here only"), (1, "there only"), (2, "both"))):
        right.barh(np.arange(len(there)) + 0.27 * (shift - 1), bits[there, side], 0.25, label=label)
    names = [bit_name(bit) for bit in there.tolist()]
    right.set(xscale="symlog", xlabel="pixels", yticks=range(len(there)), yticklabels=names)
    right.tick_params(axis="y", labelsize="x-small")
    right.invert_yaxis()
    right.legend(fontsize="x-small")
    return made
