"""The container of calibration constants: fixed axes (module, gain, cell, ss, fs), read only where needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import detectors, shown
from ..detectors import Detector
from ..errors import BadInput
from .conditions import disagreements
from .layout import DTYPES, GAIN_AXIS, Store, as_words, check_name, check_shape
from .memory_store import MemoryStore

__all__ = ["Constants"]


class Constants:
    """Calibration constants of one detector.

    Made by `open` or `from_arrays`. Nothing but shapes is read before `load`.

    Attributes
    ----------
    detector : Detector
    modules : tuple of int
        Modules that the constants are for. One of them may lack some or all constants: see `has`.
    cell_ids : ndarray of int32, shape (cells,)
        The memory cell of each entry of the cell axis.
    conditions : dict
        The operating mode they were taken in: ``gain_mode``, ``cells``, ``rate_mhz``, ``integration_time``,
        ``bias_voltage`` ... as far as known; ``gain_mode`` of several fixed modes is a list.
    provenance : dict
        Where they come from; plain values, lists and dicts.

    Notes
    -----
    Names, gain axis, dtype and unit of the arrays; of a detector with one gain stage the axis is 1:

    - ``offset`` (3) float32, ADU; ``noise`` (3) float32, ADU
    - ``thresholds`` (2) float32, digital level above which a pixel left high gain, and is in low gain
    - ``relative_gain`` (3) float32, multiplier to ADU of high gain
    - ``mg_baseline`` (1) float32, ADU added to medium gain after the relative gain
    - ``ff_map``, ``gain_amp_map`` (1 or 3) float32, further multipliers, of LPD
    - ``adu_per_kev`` (1 or 3) float32, divisor to keV, with its sign
    - ``bad_pixels`` (3) uint32, bits of `BadPixels`
    - ``linearisation`` (4096) uint16, the linear word that stands for each raw word
    """

    def __init__(
        self,
        detector: Detector,
        modules: Iterable[int],
        cell_ids: np.ndarray,
        store: Store,
        conditions: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ):
        self.detector = detector
        self.modules = tuple(int(module) for module in modules)
        self.cell_ids = np.ascontiguousarray(cell_ids, np.int32)
        self.conditions = dict(conditions or {})
        self.provenance = dict(provenance or {})
        self._store = store
        if len(set(self.cell_ids.tolist())) != len(self.cell_ids) or (self.cell_ids < 0).any():
            raise BadInput(f"cell_ids of the constants must be different and not negative; got {cell_ids}.")
        # One entry per possible cell id, so that looking up a whole run is one take.
        self._row_of_cell = np.full(int(self.cell_ids.max(initial=-1)) + 1, -1, np.int32)
        self._row_of_cell[self.cell_ids] = np.arange(len(self.cell_ids), dtype=np.int32)

    def __repr__(self) -> str:
        return (
            f"<Constants of {self.detector.name}: {', '.join(self.names)}; "
            f"{len(self.modules)} modules, {len(self.cell_ids)} cells>"
        )

    def _repr_html_(self) -> str:
        return shown.constants(self)

    @classmethod
    def open(cls, path: str | os.PathLike[str], detector: Detector | None = None) -> Constants:
        """Open constants: our own HDF5 form, or a folder in the facility's layout with a ``modules.toml``.

        Parameters
        ----------
        path : path-like
        detector : Detector or None
            The detector they are meant for; None takes the one that they name.

        Returns
        -------
        Constants

        Raises
        ------
        BadInput
            If there are no constants, or they are of another detector, cell count or shape.
        UnreadableData
            If a file is damaged.

        Examples
        --------
        >>> Constants.open("constants.h5").load("offset", 3, [0, 1])  # doctest: +SKIP
        """
        from . import facility, own_file

        path = Path(path)
        if not path.exists():
            raise BadInput(
                f"There are no constants at {path}: give a file that `shotsieve constants convert` wrote, "
                f"or a folder in the facility's layout with a modules.toml."
            )
        if path.suffix in (".yml", ".yaml"):
            raise BadInput(
                f"{path} names constants, and holds none: make a file of them with `shotsieve constants "
                "convert "
                f"{path.name} --store FOLDER -o constants.h5`."
            )
        return (facility if path.is_dir() else own_file).open_constants(path, detector)

    @classmethod
    def from_arrays(
        cls,
        detector: Detector | str,
        arrays: Mapping[str, np.ndarray | Mapping[int, np.ndarray]],
        *,
        modules: Iterable[int] | None = None,
        cell_ids: np.ndarray | None = None,
        conditions: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Constants:
        """Make constants of arrays.

        Parameters
        ----------
        detector : Detector or str
        arrays : mapping
            Name -> (module, gain, cell, ss, fs), or a mapping from module to (gain, cell, ss, fs). A single
            module may be given without the module axis. The mappings of a detector in one dimension may do
            without ss.
        modules : iterable of int or None
            Module numbers of the module axis; None means those of the mappings, or the detector's own.
        cell_ids : array of int or None
            Memory cell of each entry of the cell axis; None means the detector's rule (0 ... n-1; a single
            cell is the one of single-cell operation).
        conditions, provenance : mapping
            As the attributes.

        Returns
        -------
        Constants
            Holds the arrays without a copy where they have the container's dtype already.

        Raises
        ------
        BadInput
            If a name is not known, or a shape does not fit the detector or the others.

        Examples
        --------
        >>> pedestal = np.zeros((3, 1, 512, 1024))
        >>> constants = Constants.from_arrays("JUNGFRAU", {"offset": pedestal}, modules=[1])
        >>> constants.row_of_cell([15, 0])
        array([ 0, -1], dtype=int32)
        """
        detector = detectors.load(detector) if isinstance(detector, str) else detector
        modules = None if modules is None else tuple(modules)
        parts: dict[tuple[str, int], np.ndarray] = {}
        for name, value in arrays.items():
            check_name(name)
            for module, array in _by_module(name, value, modules, detector).items():
                array = np.asarray(array)
                if detector.dimensions == 1 and array.ndim == 3:
                    array = array[:, :, np.newaxis]
                words = name == "linearisation"
                made = as_words(array, f"{name} of module {module}") if words else array
                parts[name, module] = made.astype(DTYPES[name], copy=False)
        if not parts:
            raise BadInput("Constants need at least one array; got none.")
        cells = next(iter(parts.values())).shape[1] if next(iter(parts.values())).ndim == 4 else 0
        for (name, module), array in parts.items():
            check_shape(detector, name, array.shape, cells, f"{name} of module {module}")
        if cell_ids is None:
            cell_ids = detector.default_cell_ids(cells)
        elif len(cell_ids) != cells:
            raise BadInput(f"cell_ids has {len(cell_ids)} entries for {cells} cells of the constants.")
        modules = modules or tuple(sorted({module for _, module in parts}))
        return cls(detector, modules, np.asarray(cell_ids), MemoryStore(parts), conditions, provenance)

    @property
    def names(self) -> tuple[str, ...]:
        """The constants that at least one module has."""
        return tuple(name for name in GAIN_AXIS if self._store.modules(name))

    def has(self, name: str, module: int | None = None) -> bool:
        """Return whether a constant is there, for one module or for any.

        Parameters
        ----------
        name : str
        module : int or None

        Returns
        -------
        bool

        Raises
        ------
        BadInput
            If there is no constant of that name.

        Examples
        --------
        >>> Constants.open("constants.h5").has("thresholds", 3)  # doctest: +SKIP
        """
        check_name(name)
        holders = self._store.modules(name)
        return bool(holders) if module is None else module in holders

    def row_of_cell(self, cell_ids: np.ndarray) -> np.ndarray:
        """Return where cells lie on the cell axis.

        Parameters
        ----------
        cell_ids : array of int, any shape

        Returns
        -------
        ndarray of int32, same shape
            -1 for a cell that has no constants.

        Examples
        --------
        See `from_arrays`.
        """
        cell_ids = np.asarray(cell_ids).astype(np.int64, copy=False)
        if not self._row_of_cell.size:
            return np.full(cell_ids.shape, -1, np.int32)
        known = (cell_ids >= 0) & (cell_ids < self._row_of_cell.size)
        return np.where(known, self._row_of_cell[np.where(known, cell_ids, 0)], np.int32(-1))

    def load(self, name: str, module: int, cell_ids: np.ndarray | None = None) -> np.ndarray:
        """Read one constant of one module for some cells.

        Parameters
        ----------
        name : str
        module : int
        cell_ids : array of int or None
            Memory cells; None means all of `self.cell_ids`.

        Returns
        -------
        ndarray, shape (gain, len(cell_ids), ss, fs)
            float32, or uint32 for ``bad_pixels``.

        Raises
        ------
        BadInput
            If the constant, the module or a cell is not there.
        UnreadableData
            If a file is damaged.

        Examples
        --------
        >>> Constants.open("constants.h5").load("offset", 3, [0, 1]).shape  # doctest: +SKIP
        (3, 2, 512, 128)
        """
        if not self.has(name, module):
            found = ", ".join(map(str, self._store.modules(name))) or "none"
            raise BadInput(f"The constants have no {name!r} for module {module}; modules with it: {found}.")
        rows = self.row_of_cell(self.cell_ids if cell_ids is None else cell_ids)
        if (rows < 0).any():
            missing = np.asarray(cell_ids)[rows < 0].tolist()
            raise BadInput(f"The constants have no cell {', '.join(map(str, missing[:5]))} (of {name!r}).")
        return self._store.load(name, module, rows)

    def check_detector(self, detector: Detector) -> None:
        """Raise `BadInput` if the constants are of another detector.

        Parameters
        ----------
        detector : Detector

        Examples
        --------
        >>> Constants.open("constants.h5").check_detector(detectors.load("AGIPD1M"))  # doctest: +SKIP
        """
        if self.detector.name != detector.name:
            raise BadInput(f"The constants are of {self.detector.name}, but the detector is {detector.name}.")

    def check_conditions(self, mode: object, who: str = "the run has") -> list[str]:
        """Return where the operating mode of a run disagrees with the conditions of the constants.

        Parameters
        ----------
        mode : OperatingMode
            Or anything with attributes named as the conditions; None and absent ones are not compared.
        who : str
            Who tells the mode, as the sentences say it.

        Returns
        -------
        list of str
            One sentence for each disagreement; empty when there is none.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> arrays = {"offset": np.zeros((3, 1, 512, 1024))}
        >>> constants = Constants.from_arrays("JUNGFRAU", arrays, modules=[1], conditions={"cells": 1})
        >>> constants.check_conditions(SimpleNamespace(cells=16))
        ['cells: the run has 16, the constants were taken with 1']
        """
        return disagreements(self.conditions, mode, who)

    def save(self, path: str | os.PathLike[str], *, compression: str | None = "gzip") -> Path:
        """Write our own HDF5 form.

        The same constants give the same bytes. Written to a temporary name, then renamed.

        Parameters
        ----------
        path : path-like
            A file there is replaced.
        compression : {"gzip", None}
            gzip takes about half the room; without it cells are read several times faster.

        Returns
        -------
        Path

        Raises
        ------
        OutputError
            If it cannot be written; nothing stands at `path` then.

        Examples
        --------
        >>> Constants.open("caldb_store").save("constants.h5")  # doctest: +SKIP
        """
        from . import own_file

        return own_file.save(self, Path(path), compression)


def _by_module(name, value, modules, detector) -> dict[int, np.ndarray]:
    """Return the arrays of a constant by module number."""
    if isinstance(value, Mapping):
        return {int(module): array for module, array in value.items()}
    value = np.asarray(value)
    modules = modules or detector.modules
    if value.ndim == 4 and len(modules) == 1:
        value = value[np.newaxis]
    if value.ndim != 5 or len(value) != len(modules):
        raise BadInput(
            f"{name}: the shape is {value.shape}; expected (module, gain, cell, ss, fs) "
            f"with {len(modules)} modules."
        )
    return dict(zip(map(int, modules), value, strict=True))
