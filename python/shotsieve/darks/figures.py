"""Pictures of the report on dark constants: maps, histograms, trends over cells. They need matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..pages import colours, new_figure
from .runs import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("tab:blue", "tab:orange", "tab:green")
BINS = 200
LABELS = {
    "offset": "offset (ADU)",
    "noise": "noise (ADU)",
    "levels": "digital level (ADU)",
    "thresholds": "threshold (ADU)",
}


def _axes(columns: int, height: float) -> tuple[Figure, Any]:
    """Return a figure of pictures side by side, and their axes."""
    figure = new_figure(4.6 * columns, height)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def maps(values: np.ndarray, bad: np.ndarray, name: str) -> Figure:
    """Draw a constant over the pixels of a module: the mean over cells, bad pixels grey.

    Parameters
    ----------
    values : ndarray of float32, shape (gains, cells, ss, fs)
    bad : ndarray of bool, shape (gains, cells, ss, fs)
    name : str
        Of the constant.
    """
    good = ~bad[: len(values)] & np.isfinite(values)
    n = good.sum(axis=1)
    total = np.where(good, values, 0).sum(axis=1, dtype=np.float64)
    mean = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    return _pictures(mean, LABELS[name], None)


def bad_maps(bad: np.ndarray) -> Figure:
    """Draw in which share of the memory cells each pixel is bad; `bad` as in `maps`."""
    return _pictures(bad.mean(axis=1), "share of cells in which it is bad", (0.0, 1.0))


def _pictures(planes: np.ndarray, label: str, limits: tuple[float, float] | None) -> Figure:
    tall = planes.shape[1] > planes.shape[2]
    shown = [plane.T if tall else plane for plane in planes]  # long side across, to fit a page
    figure, axes = _axes(len(shown), 1.9 if tall else 2.9)
    for g, (ax, plane) in enumerate(zip(axes, shown, strict=True)):
        finite = plane[np.isfinite(plane)]
        low, high = limits or (np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 1.0))
        drawn = ax.imshow(plane, origin="lower", cmap=colours(), vmin=low, vmax=high, interpolation="none")
        figure.colorbar(drawn, ax=ax, label=label)
        ax.set_title(_title(g, len(shown), label), fontsize=9)
    return figure


def _title(g: int, planes: int, label: str) -> str:
    if planes == 1:
        return label
    return f"{STAGES[g]} to {STAGES[g + 1]}" if label.startswith("threshold") else f"{STAGES[g]} gain"


def histograms(arrays: dict[str, np.ndarray]) -> Figure:
    """Draw how each constant is distributed over pixels and cells, one colour for each stage.

    Parameters
    ----------
    arrays : dict of str to ndarray, shape (gains, cells, ss, fs)
    """
    figure, axes = _axes(len(arrays), 3.4)
    for ax, (name, values) in zip(axes, arrays.items(), strict=True):
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, [0.02, 99.98]) if finite.size else (0.0, 1.0)
        edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
        for g, plane in enumerate(values):
            ax.hist(
                np.clip(plane[np.isfinite(plane)], edges[0], edges[-1]),
                edges,
                histtype="step",
                color=COLOURS[g],
                label=_title(g, len(values), LABELS[name]),
            )
        ax.set(xlabel=LABELS[name], ylabel="pixels and cells", yscale="log")
        ax.legend(fontsize=8)
    return figure


def trends(arrays: dict[str, np.ndarray], bad: np.ndarray, cell_ids: np.ndarray) -> Figure:
    """Draw medians over the pixels, and the share of bad pixels, against the memory cell.

    Parameters
    ----------
    arrays : dict of str to ndarray, shape (gains, cells, ss, fs)
    bad : ndarray of bool, shape (gains, cells, ss, fs)
    cell_ids : ndarray of int, shape (cells,)
    """
    figure, axes = _axes(len(arrays) + 1, 3.0)
    for ax, (name, values) in zip(axes, arrays.items(), strict=False):
        for g, plane in enumerate(values):
            flat = plane.reshape(len(plane), -1)
            known = np.isfinite(flat).any(axis=1)
            middle = [np.nanmedian(row) if there else np.nan for row, there in zip(flat, known, strict=True)]
            reference = np.nanmean(middle) if known.any() else 0.0
            ax.plot(cell_ids, np.array(middle) - reference, ".-", color=COLOURS[g], ms=3, lw=0.8)
        ax.set(xlabel="memory cell", ylabel=f"{LABELS[name]} - mean", title=f"median {name}")
    for g, plane in enumerate(bad):
        axes[-1].plot(
            cell_ids, 100 * plane.reshape(len(plane), -1).mean(axis=1), ".-", color=COLOURS[g], ms=3, lw=0.8
        )
    axes[-1].set(xlabel="memory cell", ylabel="bad pixels (%)", title="bad pixels")
    return figure
