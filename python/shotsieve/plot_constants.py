"""Pictures of constants: maps, histograms, trends over cells. They need matplotlib (``shotsieve[plot]``).

One PNG file per constant: a row for each gain, and in it the mean over cells of every pixel, all modules
side by side; the histogram of all values; and the median of every cell, a line for each module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .constants.examine import median_and_mad, planes_of
from .pages import colours, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .constants import Constants
    from .constants.differ import Comparison

__all__ = ["draw_map", "figure", "plot_comparison", "plot_constants", "side_by_side"]

UNITS = {"offset": "ADU", "noise": "ADU", "thresholds": "ADU", "mg_baseline": "ADU", "adu_per_kev": "ADU/keV"}
BINS = 200
WIDTHS = 10.0  # the histogram reaches so many MAD around the median of the first module, at least
GAP = 4  # pixels between modules


def plot_constants(constants: Constants, folder: Path, modules: Iterable[int] | None = None) -> list[Path]:
    """Draw every constant.

    Parameters
    ----------
    constants : Constants
    folder : Path
        There already; files of the same names are replaced.
    modules : iterable of int or None
        None: all.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    BadInput
        If matplotlib is not installed.
    OutputError
        If a file cannot be written.

    Examples
    --------
    >>> plot_constants(Constants.open("constants.h5"), Path("pictures"))  # doctest: +SKIP
    """
    wanted = constants.modules if modules is None else tuple(modules)
    files = []
    for name in constants.names:
        there = [module for module in wanted if constants.has(name, module)]
        if there:
            label, array_of = name, lambda module, name=name: _floats(constants.load(name, module))
            if name == "bad_pixels":
                label = "bad_pixels: share of values with a bit"
            made = _draw(label, UNITS.get(name, ""), there, constants.cell_ids, array_of)
            files.append(save_figure(made, folder / f"{name}.png"))
    return files


def plot_comparison(a: Constants, b: Constants, found: Comparison, folder: Path) -> list[Path]:
    """Draw the differences of every constant that differs.

    Parameters
    ----------
    a, b : Constants
    found : Comparison
        Of these two.
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
    >>> plot_comparison(a, b, differ.compare(a, b), Path("pictures"))  # doctest: +SKIP
    """
    files = []
    for name in dict.fromkeys(one.name for one in found.planes if one.changed):
        modules = list(dict.fromkeys(one.module for one in found.planes if one.name == name))

        def array_of(module: int, name: str = name) -> np.ndarray:
            one, two = (constants.load(name, module, found.cell_ids) for constants in (a, b))
            return (one != two).astype("f4") if name == "bad_pixels" else _floats(two) - _floats(one)

        label = "bad_pixels: share of values that differ" if name == "bad_pixels" else f"{name}: B - A"
        made = _draw(label, UNITS.get(name, ""), modules, found.cell_ids, array_of)
        files.append(save_figure(made, folder / f"difference_{name}.png"))
    return files


def _floats(array: np.ndarray) -> np.ndarray:
    """Return values as floats; of a mask whether there is any bit."""
    return (array != 0).astype("f4") if array.dtype.kind == "u" else array


def _draw(
    label: str, unit: str, modules: list[int], cell_ids: np.ndarray, array_of: Callable[[int], np.ndarray]
) -> Any:
    """Draw one constant; `array_of` gives (gain, cell, ss, fs) of a module, one at a time."""
    maps: list[list[np.ndarray]] = []
    trends: list[list[np.ndarray]] = []
    edges: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for module in modules:
        array = planes_of(array_of(module))
        if not edges:
            edges = [_edges(plane) for plane in array]
            counts = [np.zeros(BINS, np.int64) for _ in array]
            maps, trends = [[] for _ in array], [[] for _ in array]
        for gain, plane in enumerate(array):
            good = np.isfinite(plane)
            number = good.sum(axis=0)
            total = np.where(good, plane, 0).sum(axis=0, dtype="f8")
            maps[gain].append(np.where(number > 0, total / np.maximum(number, 1), np.nan))
            line = [np.median(c[g]) if g.any() else np.nan for c, g in zip(plane, good, strict=True)]
            # A table has many rows for each cell.
            trends[gain].append(np.mean(np.reshape(line, (-1, len(cell_ids))), axis=0))
            inside = np.clip(plane[good], edges[gain][0], edges[gain][-1])
            counts[gain] += np.histogram(inside, edges[gain])[0]
    made = figure(len(edges), 3, label)
    for gain, row in enumerate(made.subplots(len(edges), 3, squeeze=False)):
        draw_map(
            row[0],
            side_by_side(maps[gain]),
            f"gain {gain}: mean over cells ({unit})" if unit else f"gain {gain}",
        )
        row[1].stairs(counts[gain], edges[gain], fill=True)
        row[1].set(xlabel=f"value ({unit})" if unit else "value", ylabel="values", yscale="symlog")
        for module, line in zip(modules, trends[gain], strict=True):
            row[2].plot(
                cell_ids, line, lw=1, marker="." if len(cell_ids) < 20 else "", label=f"module {module}"
            )
        row[2].set(xlabel="memory cell", ylabel="median")
        if gain == 0 and len(modules) <= 16:
            row[2].legend(fontsize="x-small", ncols=2)
    return made


def _edges(plane: np.ndarray) -> np.ndarray:
    """Return edges of the histogram; what lies outside is counted in the first and the last bin."""
    finite = plane[np.isfinite(plane)]
    if not finite.size:
        return np.linspace(-1.0, 1.0, BINS + 1)
    median, mad = median_and_mad(finite)
    low, high = float(finite.min()), float(finite.max())
    half = max(WIDTHS * mad, 1e-6 * abs(median), 1e-12)
    if mad == 0:  # nearly all are the same: what is not shows only if all of it is in the picture
        return np.linspace(low - half, high + half, BINS + 1)
    return np.linspace(max(median - half, low - half), min(median + half, high + half), BINS + 1)


def side_by_side(maps: list[np.ndarray]) -> np.ndarray:
    """Put the maps of modules side by side, so that the whole is about as wide as high.

    Parameters
    ----------
    maps : list of ndarray, shape (ss, fs) each

    Returns
    -------
    ndarray
        NaN between them.

    Examples
    --------
    >>> side_by_side([np.zeros((4, 1))] * 4).shape
    (4, 16)
    """
    ss, fs = maps[0].shape
    columns = min(len(maps), max(1, math.ceil(math.sqrt(len(maps) * ss / fs))))
    rows = math.ceil(len(maps) / columns)
    whole = np.full((rows * (ss + GAP) - GAP, columns * (fs + GAP) - GAP), np.nan)
    for at, one in enumerate(maps):
        row, column = divmod(at, columns)
        y, x = row * (ss + GAP), column * (fs + GAP)
        whole[y : y + ss, x : x + fs] = one
    return whole


def figure(rows: int, columns: int, title: str) -> Any:
    """Make a figure that needs no display.

    Parameters
    ----------
    rows, columns : int
        Of axes it will have.
    title : str

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    BadInput
        If matplotlib is not installed.

    Examples
    --------
    >>> figure(1, 2, "offset").get_suptitle()  # doctest: +SKIP
    'offset'
    """
    made = new_figure(4.6 * columns, 3.4 * rows + 0.6)
    made.suptitle(title)
    return made


def draw_map(ax: Axes, picture: np.ndarray, title: str) -> None:
    """Draw a map of pixels, with colours from the 1st to the 99th percentile.

    Parameters
    ----------
    ax : matplotlib Axes
    picture : ndarray, shape (rows, columns)
        NaN is grey.
    title : str

    Examples
    --------
    >>> draw_map(figure(1, 1, "").subplots(), np.eye(3), "three pixels")  # doctest: +SKIP
    """
    finite = picture[np.isfinite(picture)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0, 1)
    if low == high and finite.size:
        low, high = finite.min(), finite.max()
    shown = np.ma.masked_invalid(picture)
    drawn = ax.imshow(shown, cmap=colours(), vmin=low, vmax=high, interpolation="nearest", origin="lower")
    ax.figure.colorbar(drawn, ax=ax)
    ax.set(xticks=[], yticks=[], title=title)
