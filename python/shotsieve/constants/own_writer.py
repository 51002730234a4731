"""Writes constants module by module, in our own form, for those who never have all of them in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..detectors import Detector
from ..errors import BadInput, OutputError
from ..steady_file import SteadyHdf5
from .layout import DTYPES, check_name, check_shape
from .own_file import FORMAT, FORMAT_VERSION

__all__ = ["ConstantsWriter"]


class ConstantsWriter:
    """Makes a file of constants; it gets its name when all is in it, and nothing stands there before.

    Promise: exact; the same arrays in the same order give the same bytes.

    Parameters
    ----------
    path : Path
    detector : Detector
    modules : iterable of int
    cell_ids : ndarray of int, shape (C,)
    conditions : mapping
        As `Constants.conditions`.

    Attributes
    ----------
    provenance : dict
        As `Constants.provenance`; written at the end.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> with ConstantsWriter(path, detector, [3], cells, {}) as file:  # doctest: +SKIP
    ...     file.add("offset", 3, offset)
    """

    def __init__(
        self,
        path: Path,
        detector: Detector,
        modules: Iterable[int],
        cell_ids: np.ndarray,
        conditions: Mapping[str, Any],
    ) -> None:
        self.path, self.detector = Path(path), detector
        self.modules = [int(module) for module in modules]
        self.cell_ids = np.asarray(cell_ids, np.int32)
        self.conditions, self.provenance = dict(conditions), {}
        self._temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            self._out = SteadyHdf5(self._temporary, ("v110", "v110"))
        except OSError as error:
            raise OutputError(f"The constants cannot be written to {self.path}: {error}.") from error

    def add(self, name: str, module: int, array: np.ndarray) -> None:
        """Write one constant of one module.

        Parameters
        ----------
        name : str
        module : int
        array : ndarray, shape (gain, C, ss, fs) or (gain, C, pixels)

        Raises
        ------
        BadInput
            If name, module or shape is not what it has to be.
        OutputError
            If the disk refuses.
        """
        check_name(name)
        if module not in self.modules:
            raise BadInput(f"{name}: module {module} is none of {self.modules}.")
        shape = self.detector.shape
        array = array.reshape(*array.shape[:2], *shape)
        check_shape(self.detector, name, array.shape, len(self.cell_ids), f"{name} of module {module}")
        try:
            group = self._out.file.require_group("constants")
            if name not in group:
                dataset = group.create_dataset(
                    name,
                    (len(self.modules), *array.shape),
                    DTYPES[name],
                    # A table of words is read as a whole, so it is one chunk of each cell.
                    chunks=(1, array.shape[0] if name == "linearisation" else 1, 1, *shape),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
                dataset.attrs["present"] = np.zeros(len(self.modules), "u1")
                dataset.attrs["axes"] = "module, gain, cell, ss, fs"
            dataset, at = group[name], self.modules.index(module)
            if dataset.shape[1] != len(array):
                raise BadInput(f"{name}: module {module} has {len(array)} gains, others {dataset.shape[1]}.")
            dataset[at] = array
            present = dataset.attrs["present"]
            present[at] = 1
            dataset.attrs["present"] = present
            # What HDF5 holds back is written now: a full disk is heard of before the next module is computed.
            self._out.file.flush()
            self._out.check()
        except (OSError, RuntimeError) as error:
            raise OutputError(f"The constants cannot be written to {self.path}: {error}.") from error

    def __enter__(self) -> ConstantsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except (OSError, RuntimeError) as failed:
            raise OutputError(f"The constants cannot be written to {self.path}: {failed}.") from failed
        finally:
            self._out.give_up()
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        file = self._out.file
        attributes = file.attrs
        attributes["format"], attributes["format_version"] = FORMAT, FORMAT_VERSION
        attributes["detector"] = self.detector.name
        attributes["conditions"] = json.dumps(self.conditions, sort_keys=True)
        attributes["provenance"] = json.dumps(self.provenance, sort_keys=True)
        file["modules"] = np.array(self.modules, "<i4")
        file["cell_ids"] = self.cell_ids.astype("<i4")
        file.require_group("constants")
        self._out.close()
        with open(self._temporary, "rb") as done:
            os.fsync(done.fileno())
        os.replace(self._temporary, self.path)
