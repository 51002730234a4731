"""Constants in datasets of HDF5 files whose axes are known: (module,) plane, cell, slow scan, fast scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ...errors import UnreadableData
from ..layout import DTYPES

__all__ = ["DatasetStore", "Part"]


@dataclass(frozen=True)
class Part:
    """Where one constant of one module lies.

    Attributes
    ----------
    path : Path
    dataset : str
    at : tuple of int
        Index into the axes before planes and cells.
    planes : tuple of int
        Planes that are taken, in order.
    convert : callable or None
        Turns (plane, cell, ss, fs) into what the container holds.
    """

    path: Path
    dataset: str
    at: tuple[int, ...] = ()
    planes: tuple[int, ...] = (0, 1, 2)
    convert: Callable[[np.ndarray], np.ndarray] | None = None


class DatasetStore:
    """Arrays of a container that are read from such files when they are asked for."""

    def __init__(self, parts: dict[tuple[str, int], Part]):
        self._parts = parts

    def modules(self, name: str) -> tuple[int, ...]:
        """Return the modules that have the constant."""
        return tuple(sorted(module for key, module in self._parts if key == name))

    def load(self, name: str, module: int, rows: np.ndarray) -> np.ndarray:
        """Return (gain, len(rows), ss, fs) in the container's dtype."""
        part = self._parts[name, module]
        wanted, back = np.unique(rows, return_inverse=True)
        try:
            with h5py.File(part.path, "r") as file:
                dataset = file[part.dataset]
                planes = [dataset[(*part.at, plane, wanted)] for plane in part.planes]
        except (OSError, KeyError, ValueError) as error:
            raise UnreadableData(f"{part.path}: {part.dataset} cannot be read ({error}).") from error
        array = np.stack(planes)
        array = array if part.convert is None else part.convert(array)
        return np.take(array, back, axis=1).astype(DTYPES[name], copy=False)
