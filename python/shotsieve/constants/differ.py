"""Two sets of constants side by side: what differs, by constant, module, gain and cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadInput
from .container import Constants
from .examine import BITS, median_and_mad, planes_of
from .layout import check_name

__all__ = ["Comparison", "PlaneDifference", "compare"]


@dataclass(frozen=True)
class PlaneDifference:
    """How one gain of one constant of one module differs; B minus A.

    Attributes
    ----------
    name : str
    module, gain : int
    values : int
        Pixels times cells in common.
    changed : int
        Values that are not equal; a NaN equals a NaN.
    only_a, only_b : int
        Values that are finite in one alone.
    median, mad, largest : float
        Of the differences of values that are finite in both; the largest by its size, with its sign.
    at : tuple of int or None
        (cell, slow scan, fast scan) of the largest difference.
    cells : ndarray of float64, shape (cells, 2)
        Median of the differences, and share of changed values, of each cell in common.
    bits : dict of int to tuple of int
        Of bad pixels: bit -> how many have it in A only, in B only, in both.
    """

    name: str
    module: int
    gain: int
    values: int
    changed: int
    only_a: int = 0
    only_b: int = 0
    median: float = np.nan
    mad: float = np.nan
    largest: float = 0.0
    at: tuple[int, int, int] | None = None
    cells: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)), repr=False)
    bits: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the values that are not equal."""
        return self.changed / self.values if self.values else 0.0

    def within(self, tolerance: float) -> bool:
        """Whether no value differs by more; of bad pixels, whether no larger share of them differs."""
        if self.name == "bad_pixels":
            return self.share <= tolerance
        return not (self.only_a or self.only_b) and abs(self.largest) <= tolerance


@dataclass(frozen=True)
class Comparison:
    """What two sets of constants have in common and what not.

    Attributes
    ----------
    planes : list of PlaneDifference
        By constant, then by module, then by gain.
    cell_ids : ndarray of int32
        Memory cells in common.
    other : list of str
        What is in one of them alone, and conditions that differ, in words.
    """

    planes: list[PlaneDifference]
    cell_ids: np.ndarray
    other: list[str]

    def differing(self, tolerances: Mapping[str, float] | None = None) -> list[PlaneDifference]:
        """Return what differs by more than it may.

        Parameters
        ----------
        tolerances : mapping of str to float or None
            Constant -> largest difference in its unit; of ``bad_pixels`` the largest share. Without one a
            constant has to be equal.

        Returns
        -------
        list of PlaneDifference

        Raises
        ------
        BadInput
            If there is no constant of a name.
        """
        tolerances = tolerances or {}
        for name in tolerances:
            check_name(name)
        return [
            one for one in self.planes
            if not (one.within(tolerances[one.name]) if one.name in tolerances else one.changed == 0)
        ]  # fmt: skip


def compare(a: Constants, b: Constants, modules: Iterable[int] | None = None) -> Comparison:
    """Compare two sets of constants of one detector.

    One constant of one module of each is in memory at a time.

    Parameters
    ----------
    a, b : Constants
    modules : iterable of int or None
        None: those in common.

    Returns
    -------
    Comparison

    Raises
    ------
    BadInput
        If they are of two detectors, or have no module, cell or constant in common.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> arrays = {"offset": np.full((3, 1, 512, 1024), 5000.0)}
    >>> a = Constants.from_arrays("JUNGFRAU", arrays, modules=[1])
    >>> arrays["offset"][2, 0, 5, 7] += 2
    >>> b = Constants.from_arrays("JUNGFRAU", arrays, modules=[1])
    >>> [one.gain for one in compare(a, b).differing()]
    [2]
    """
    if a.detector.name != b.detector.name:
        raise BadInput(
            f"A has constants of {a.detector.name}, B of {b.detector.name}: they cannot be compared."
        )
    both = sorted(set(a.modules) & set(b.modules))
    wanted = both if modules is None else sorted(modules)
    cells = np.intersect1d(a.cell_ids, b.cell_ids).astype(np.int32)
    if not set(wanted) <= set(both) or not wanted:
        raise BadInput(
            f"modules: A has {a.modules}, B has {b.modules}; asked for {modules or 'those of both'}."
        )
    if not cells.size:
        raise BadInput(f"A has cells {_listed(a.cell_ids)}, B has {_listed(b.cell_ids)}: none in common.")
    planes = []
    for name in a.names:
        for module in wanted:
            if a.has(name, module) and b.has(name, module):
                one, two = (planes_of(constants.load(name, module, cells)) for constants in (a, b))
                if len(one) != len(two):
                    raise BadInput(f"{name} has {len(one)} gains in A and {len(two)} in B.")
                make = _bits if name == "bad_pixels" else _values
                planes += [
                    make(name, module, gain, *pair) for gain, pair in enumerate(zip(one, two, strict=True))
                ]
    if not planes:
        raise BadInput(
            f"A has {_listed(a.names) or 'nothing'}, B has {_listed(b.names) or 'nothing'}: no constant of "
            f"modules {wanted} is in both."
        )
    planes = [_by_cell(one, len(cells)) for one in planes]
    return Comparison(planes, cells, _others(a, b, wanted))


def _by_cell(one: PlaneDifference, cells: int) -> PlaneDifference:
    """Return a difference of a table, which has many rows for a cell, with one for each."""
    if len(one.cells) == cells:
        return one
    at = None if one.at is None else (one.at[0] % cells, *one.at[1:])
    return dataclasses.replace(one, at=at, cells=one.cells.reshape(-1, cells, 2).mean(axis=0))


def _values(name: str, module: int, gain: int, a: np.ndarray, b: np.ndarray) -> PlaneDifference:
    """Compare floats (cell, ss, fs)."""
    there_a, there_b = np.isfinite(a), np.isfinite(b)
    changed = (a != b) & ~(np.isnan(a) & np.isnan(b))
    number = int(np.count_nonzero(changed))
    alone = int(np.count_nonzero(there_a & ~there_b)), int(np.count_nonzero(there_b & ~there_a))
    told = {"name": name, "module": module, "gain": gain, "values": a.size, "changed": number}
    told |= {"only_a": alone[0], "only_b": alone[1]}
    good = there_a & there_b
    shares = changed.reshape(len(a), -1).mean(axis=1)
    if not number:
        cells = np.stack([np.zeros(len(a)), shares], axis=1)
        return PlaneDifference(**told, median=0.0, mad=0.0, cells=cells)
    difference = np.where(good, b.astype(np.float64) - a, np.nan)
    medians = [
        np.median(row[there]) if there.any() else np.nan for row, there in zip(difference, good, strict=True)
    ]
    cells = np.stack([np.array(medians), shares], axis=1)
    if not good.any():
        return PlaneDifference(**told, cells=cells)
    median, mad = median_and_mad(difference[good])
    at = np.unravel_index(int(np.argmax(np.where(good, np.abs(difference), -1))), a.shape)
    return PlaneDifference(
        **told, median=median, mad=mad, largest=float(difference[at]), at=tuple(map(int, at)), cells=cells
    )


def _bits(name: str, module: int, gain: int, a: np.ndarray, b: np.ndarray) -> PlaneDifference:
    """Compare masks (cell, ss, fs)."""
    changed = a != b
    there = int(np.bitwise_or.reduce(a | b, axis=None))
    bits = {}
    for bit in range(BITS):
        if there >> bit & 1:
            one, two = (mask & np.uint32(1 << bit) != 0 for mask in (a, b))
            sets = (one & ~two, two & ~one, one & two)
            bits[bit] = tuple(int(np.count_nonzero(which)) for which in sets)
    shares = changed.reshape(len(a), -1).mean(axis=1)
    cells = np.stack([np.zeros(len(a)), shares], axis=1)
    number = int(np.count_nonzero(changed))
    return PlaneDifference(name, module, gain, a.size, number, cells=cells, bits=bits)


def _others(a: Constants, b: Constants, wanted: list[int]) -> list[str]:
    """Say what is in one of two alone."""
    found = []
    for name, one, two in (("A", a, b), ("B", b, a)):
        parts: dict[str, Any] = {
            "constants": [n for n in one.names if n not in two.names],
            "modules": sorted(set(one.modules) - set(two.modules)),
            "cells": sorted(set(one.cell_ids.tolist()) - set(two.cell_ids.tolist())),
        }
        found += [f"{what} in {name} only: {_listed(values)}" for what, values in parts.items() if values]
        for constant in set(one.names) & set(two.names):
            alone = [m for m in wanted if one.has(constant, m) and not two.has(constant, m)]
            if alone:
                found.append(f"{constant} in {name} only: modules {_listed(alone)}")
    for key in sorted(set(a.conditions) | set(b.conditions)):
        values = [constants.conditions.get(key, "not told") for constants in (a, b)]
        if values[0] != values[1]:
            found.append(f"condition {key}: {values[0]} in A, {values[1]} in B")
    return found


def _listed(values: Iterable[Any], most: int = 8) -> str:
    values = list(values)
    return ", ".join(map(str, values[:most])) + (f", ... ({len(values)})" if len(values) > most else "")
