"""Which axis of a facility's array is which: from its ``dims``, or from a shape that leaves no doubt."""

from __future__ import annotations

from collections.abc import Sequence

from ..detectors import Detector
from ..errors import BadInput

__all__ = ["PLANES", "axes_of"]

PLANES = {
    "offset": (3,),
    "noise": (3,),
    "thresholds": (5, 2),
    "relative_gain": (10, 11, 3),
    "ff_map": (0, 1, 3),
    "gain_amp_map": (0, 1, 3),
    "adu_per_kev": (0, 1, 3),
    "bad_pixels": (0, 1, 3),
    "linearisation": (4096,),
}
"""How long the axis beside pixels and cells may be in the facility's arrays; 0: there is none."""

_NAMES = {
    "fast_scan": "fs",
    "fs": "fs",
    "slow_scan": "ss",
    "ss": "ss",
    "cell": "cell",
    "cells": "cell",
    "memory_cell": "cell",
    "memory_cells": "cell",
    "strip": "fs",
    "strips": "fs",
}

# Orders met in files without dims: as the store writes them, that reversed, and for SlopesPC with its planes
# in front of either order of the pixels.
_ORDERS = (("fs", "ss", "cell", "plane"), ("plane", "cell", "ss", "fs"))
_ORDERS_SLOPES = (("plane", "fs", "ss", "cell"), ("plane", "cell", "fs", "ss"))

# A detector in one dimension: its tables of words may have the cells first.
_ORDERS_LINE = (("fs", "cell", "plane"), ("plane", "cell", "fs"), ("cell", "fs", "plane"))

_HOW = (
    "Name the axes in modules.toml: a table [dims] with a line such as "
    'Offset = ["fast_scan", "slow_scan", "cell", "gain"], under the name of the calibration.'
)


def axes_of(
    shape: tuple[int, ...], dims: Sequence[str] | None, detector: Detector, target: str, where: str
) -> tuple[str, ...]:
    """Return what each axis of an array is.

    Parameters
    ----------
    shape : tuple of int
    dims : sequence of str or None
        The names of the axes, in any order, as the file or ``[dims]`` of ``modules.toml`` gives them.
    detector : Detector
    target : str
        Name of the constant in the container.
    where : str
        File and dataset, for the error.

    Returns
    -------
    tuple of str
        Of ``"fs"``, ``"ss"``, ``"cell"`` and at most one ``"plane"``.

    Raises
    ------
    BadInput
        If the shape does not fit, or fits in more than one way.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> axes_of((128, 512, 352, 3), None, detectors.load("AGIPD1M"), "offset", "file.h5: Offset")
    ('fs', 'ss', 'cell', 'plane')
    """
    if dims is not None:
        return _named(shape, dims, detector, target, where)
    orders = _ORDERS + (_ORDERS_SLOPES if target == "relative_gain" else ())
    orders = _ORDERS_LINE if detector.dimensions == 1 else orders
    whole = len(orders[0])
    orders = tuple(dict.fromkeys(tuple(a for a in o if a != "plane" or len(shape) == whole) for o in orders))
    if detector.shape[0] == detector.shape[1]:
        raise BadInput(
            f"{where}: the pixel axes are both {detector.shape[0]} long and the file does not name them (no "
            f"attribute dims), so their order cannot be known. {_HOW}"
        )
    fitting = [
        order for order in orders if len(order) == len(shape) and _fits(shape, order, detector, target)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BadInput(
            f"{where}: the shape {shape} can be read as {' and as '.join(map(str, fitting))}, and the file "
            f"does not name its axes (no attribute dims). {_HOW}"
        )
    raise BadInput(
        f"{where}: the shape is {shape}, but {target!r} of {detector.name} needs "
        f"{_expected(detector, target)}, or all of it reversed. {_HOW}"
    )


def _named(shape, dims, detector, target, where) -> tuple[str, ...]:
    axes = tuple(_NAMES.get(name.lower(), "plane") for name in dims)
    if len(axes) != len(shape):
        raise BadInput(f"{where}: dims names {len(axes)} axes ({', '.join(dims)}), but the shape is {shape}.")
    needed = _needed(detector)
    if sorted(set(axes)) != sorted(axes) or not needed <= set(axes) <= needed | {"plane"}:
        named = "strip and cell" if detector.dimensions == 1 else "fast_scan, slow_scan and cell"
        raise BadInput(
            f"{where}: dims must name {named} once each, and at most one more axis; got {', '.join(dims)}."
        )
    if not _fits(shape, axes, detector, target):
        raise BadInput(
            f"{where}: dims says {', '.join(dims)} for the shape {shape}, but {target!r} of {detector.name} "
            f"needs {_expected(detector, target)} in that order of names."
        )
    return axes


def _needed(detector: Detector) -> set[str]:
    return {"fs", "cell"} if detector.dimensions == 1 else {"fs", "ss", "cell"}


def _planes(detector: Detector, target: str) -> tuple[int, ...]:
    return PLANES[target] if detector.stages == 3 else (0, 1)


def _fits(shape: tuple[int, ...], axes: tuple[str, ...], detector: Detector, target: str) -> bool:
    sizes = dict(zip(axes, shape, strict=True))
    pixels = (sizes.get("ss", 1), sizes["fs"]) == detector.shape
    return pixels and sizes["cell"] > 0 and sizes.get("plane", 0) in _planes(detector, target)


def _expected(detector: Detector, target: str) -> str:
    planes = " or ".join(str(n) if n else "no" for n in _planes(detector, target))
    if detector.dimensions == 1:
        return f"(strips {detector.shape[1]}, cells, {planes} planes)"
    return f"(fast_scan {detector.shape[1]}, slow_scan {detector.shape[0]}, cells, {planes} planes)"
