"""Constants that are arrays in memory."""

from __future__ import annotations

import numpy as np

__all__ = ["MemoryStore"]


class MemoryStore:
    """Arrays of a container, (gain, cell, ss, fs) for each name and module."""

    def __init__(self, arrays: dict[tuple[str, int], np.ndarray]):
        self.arrays = arrays

    def modules(self, name: str) -> tuple[int, ...]:
        """Return the modules that have the constant."""
        return tuple(sorted(module for key, module in self.arrays if key == name))

    def load(self, name: str, module: int, rows: np.ndarray) -> np.ndarray:
        """Return (gain, len(rows), ss, fs), a copy."""
        return self.arrays[name, module][:, rows]

    def cells_apart(self, module: int) -> bool:
        """Return whether a cell's pixels lie together, as they don't in views of the facility's order."""
        own = (array.strides for (_, one), array in self.arrays.items() if one == module)
        return not any(0 < cell < max(pixel) for _, cell, *pixel in own)
