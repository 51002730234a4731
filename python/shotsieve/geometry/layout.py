"""From the data layout of a geometry file to the slab: one shot with the modules below one another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .panel import Panel
from .text import GeometryText

EXTENT = ("min_ss", "max_ss", "min_fs", "max_fs")
MAX_PIXELS = 2**28
"""Beyond this a row number is surely a slip of the pen; the largest detectors have a sixteenth of it."""


@dataclass(frozen=True)
class Layout:
    """How the data of a file lie in the slab.

    Attributes
    ----------
    kind : str
        ``"slab"`` (frames, ss, fs), ``"4d"`` (frames, module, ss, fs) or ``"other"``.
    module_shape : (int, int)
    modules : int
    places : dict of str to (int, int)
        Per panel: its module, and the slab row of its data's row 0.
    extents : dict of str to (int, int, int, int)
        Per panel: min_ss, max_ss, min_fs, max_fs of the file, inclusive.
    dims : dict of str to tuple
        Per panel.
    """

    kind: str
    module_shape: tuple[int, int]
    modules: int
    places: dict[str, tuple[int, int]]
    extents: dict[str, tuple[int, int, int, int]]
    dims: dict[str, tuple[str | int, ...]]


def find_layout(text: GeometryText, module_shape: tuple[int, int] | None) -> Layout:
    """Return where the panels of a file lie in the slab.

    Parameters
    ----------
    text : GeometryText
    module_shape : (int, int) or None
        Slow-scan and fast-scan size of a module. None: the panels' extents where the file tells modules
        apart (by an index or by their dataset); else the whole slab is one module.

    Returns
    -------
    Layout

    Raises
    ------
    BadInput
        If dimensions are missing or differ, min is above max, or a panel does not fit into one module.
    """
    dims = {name: _dims(text, name) for name in text.panels}
    extents = {name: _extent(text, name) for name in text.panels}
    shapes = {tuple("#" if isinstance(d, int) else d for d in found): name for name, found in dims.items()}
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise text.error(
            text.mentioned[second],
            f"panel {second!r} has the dimensions {', '.join(other)}, panel {first!r} has {', '.join(one)} "
            "(# an index); expected the same for all panels.",
        )
    structure = next(iter(shapes))
    if structure.index("fs") < structure.index("ss"):
        text.notes.append("in the data fs comes before ss: the slab is the transpose of the frames")
    datasets = list(dict.fromkeys(_dataset(text, name) for name in text.panels))
    indexed = "#" in structure or len(datasets) > 1
    kind = {("%", "ss", "fs"): "slab", ("%", "#", "ss", "fs"): "4d"}.get(structure, "other")
    if len(datasets) > 1:
        kind = "other"
        text.notes.append(
            f"{len(datasets)} datasets: each holds modules of its own, in the order {_short(datasets)}"
        )
    size = _module_shape(text, extents, module_shape)
    if indexed:
        number = _module_numbers(dims, {name: datasets.index(_dataset(text, name)) for name in dims})
    elif module_shape is None:
        number = dict.fromkeys(dims, 0)
    else:
        number = {name: extent[0] // size[0] for name, extent in extents.items()}
    places = {}
    for name, extent in extents.items():
        first = 0 if indexed else number[name] * size[0]
        if extent[0] < first or extent[1] >= first + size[0] or extent[3] >= size[1]:
            raise text.error(
                text.panels[name]["max_ss"].line,
                f"panel {name!r} has ss {extent[0]} to {extent[1]} and fs {extent[2]} to {extent[3]}, which "
                f"do not fit into one module of {size[0]} x {size[1]} (ss x fs) pixels, module_shape.",
            )
        places[name] = (number[name], number[name] * size[0] if indexed else 0)
    modules = max(number.values()) + 1
    if modules * size[0] * size[1] > MAX_PIXELS:
        raise BadInput(
            f"{text.name}: {modules} modules of {size[0]} x {size[1]} pixels are more than {MAX_PIXELS} "
            "pixels; is a min_ss, max_ss or dim of a panel wrong?"
        )
    return Layout(kind, size, modules, places, extents, dims)


def paint(
    panels: tuple[Panel, ...],
    shape: tuple[int, int],
    name: str = "geometry",
    lines: dict[str, int] | None = None,
) -> np.ndarray:
    """Return which panel each pixel of the slab belongs to.

    Parameters
    ----------
    panels : tuple of Panel
    shape : (int, int)
        Rows and columns of the slab.
    name : str
        The file, for the message.
    lines : dict of str to int, or None
        Line of each panel in that file, for the message.

    Returns
    -------
    ndarray of int32, shape (rows, columns)
        Index of the panel; -1 where there is none.

    Raises
    ------
    BadInput
        If panels overlap.
    """
    out = np.full(shape, -1, "i4")
    for index, panel in enumerate(panels):
        part = out[panel.slices]
        if part.max(initial=-1) >= 0:
            other = panels[part[part >= 0][0]]
            where = f"{name}, line {lines[panel.name]}" if lines else name
            raise BadInput(
                f"{where}: panel {panel.name!r} overlaps panel {other.name!r}: slab rows and columns "
                f"[ss_start, ss_stop, fs_start, fs_stop) are {list(panel.rect)} and {list(other.rect)}. "
                "max_ss and max_fs are inclusive; panels in modules of their own need an index dimension."
            )
        part[...] = index
    return out


def _dims(text: GeometryText, name: str) -> tuple[str | int, ...]:
    found = {key: value for key, value in text.panels[name].items() if key.startswith("dim")}
    if not found:
        note = "no dimensions are given: the data are taken as (ss, fs)"
        if note not in text.notes:
            text.notes.append(note)
        return ("ss", "fs")
    out = [found[key].value if (key := f"dim{i}") in found else None for i in range(len(found))]
    shown = ", ".join(f"{key} = {value.value}" for key, value in sorted(found.items()))
    line = max(value.line for value in found.values())
    for word in ("ss", "fs"):
        if out.count(word) != 1:
            raise text.error(
                line, f"panel {name!r}: {shown}; expected {word} in exactly one of dim0, dim1, ..."
            )
    if None in out:
        raise text.error(line, f"panel {name!r}: {shown}; dim{out.index(None)} is missing.")
    return tuple(out)


def _extent(text: GeometryText, name: str) -> tuple[int, int, int, int]:
    panel = text.panels[name]
    for key in EXTENT:
        if key not in panel:
            raise text.error(text.mentioned[name], f"panel {name!r} has no {key}.")
    for axis in ("ss", "fs"):
        low, high = panel[f"min_{axis}"], panel[f"max_{axis}"]
        if low.value > high.value:
            raise text.error(
                high.line,
                f"panel {name!r}: min_{axis} = {low.value} is above max_{axis} = {high.value}; both are "
                "inclusive.",
            )
    return tuple(panel[key].value for key in EXTENT)


def _dataset(text: GeometryText, name: str) -> str | None:
    found = text.panels[name].get("data")
    return found.value if found else None


def _module_shape(
    text: GeometryText, extents: dict[str, tuple[int, int, int, int]], given: tuple[int, int] | None
) -> tuple[int, int]:
    if given is None:
        return max(e[1] for e in extents.values()) + 1, max(e[3] for e in extents.values()) + 1
    return checked_module_shape(given)


def checked_module_shape(given: object) -> tuple[int, int]:
    """Return a module shape as two ints, or refuse it."""
    try:
        ss, fs = (int(n) for n in given)
        good = ss > 0 and fs > 0 and (ss, fs) == tuple(given)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise BadInput(
            f"module_shape = {given!r}: expected two whole numbers above 0, (ss, fs), such as (512, 128)"
        )
    return ss, fs


def _module_numbers(dims: dict[str, tuple[str | int, ...]], dataset: dict[str, int]) -> dict[str, int]:
    """Count indices row by row, the first dimension slowest; datasets slowest of all."""
    index = {name: tuple(d for d in found if isinstance(d, int)) for name, found in dims.items()}
    size = [max(column) + 1 for column in zip(*index.values(), strict=True)]
    each = math.prod(size)
    if each * (max(dataset.values()) + 1) > MAX_PIXELS:
        return dict.fromkeys(dims, MAX_PIXELS)  # the caller says that this cannot be
    return {
        name: dataset[name] * each + (int(np.ravel_multi_index(found, size)) if found else 0)
        for name, found in index.items()
    }


def _short(names: list[str | None]) -> str:
    shown = ", ".join(str(name) for name in names[:3])
    return shown + (" ..." if len(names) > 3 else "")
