"""Writing constants in the layout of the facility's store, for simulations and for exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..detectors import Detector
from ..errors import BadInput
from ..toml_text import dumps_toml
from .axes import axes_of
from .layout import DTYPES

__all__ = ["MODULES_FILE", "write_facility"]

MODULES_FILE = "modules.toml"

_LINE_DIMS = ("strip", "cell", "gain")
_DIMS = ("fast_scan", "slow_scan", "cell", "gain")


def write_facility(
    folder: str | Path,
    detector: Detector,
    arrays_by_type: Mapping[str, Mapping[str, np.ndarray]] | Iterable[tuple[str, Mapping[str, np.ndarray]]],
    modules: Mapping[str, int],
    conditions: Mapping[str, Any],
    dims: bool = True,
    dtype: str = "f4",
) -> list[Path]:
    """Write constants as the facility's store has them, with the ``modules.toml`` that says whose they are.

    The same arrays give the same bytes.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    detector : Detector
    arrays_by_type : mapping or iterable of pairs
        PDU -> calibration (e.g. ``"Offset"``) -> array in the order (fs, ss, cell, gain), or (strip, cell,
        gain) of a detector in one dimension; the last axis is
        absent where a constant has no gains. Pairs may come from a generator, so that only one module is in
        memory at a time.
    modules : mapping
        PDU -> module number.
    conditions : mapping
        Operating mode the constants are for, as `Constants.conditions`.
    dims : bool
        Whether to name the axes in the attribute ``dims``, as newer files do.
    dtype : str
        Of all arrays but bad pixels, which are uint32, and tables of words, which are uint16.

    Returns
    -------
    list of Path
        The files, in the order written.

    Raises
    ------
    BadInput
        If a calibration is not one of the detector's, or an array does not fit.

    Examples
    --------
    >>> write_facility("store", detector, {"PDU1": {"Offset": offset}}, {"PDU1": 0}, {})  # doctest: +SKIP
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = arrays_by_type.items() if isinstance(arrays_by_type, Mapping) else arrays_by_type
    files: list[Path] = []
    for pdu, arrays in pairs:
        if pdu not in modules:
            raise BadInput(f"The PDU {pdu!r} has no module number; modules are {dict(modules)}.")
        for calibration, array in arrays.items():
            if calibration not in detector.facility_constants:
                known = ", ".join(detector.facility_constants)
                raise BadInput(f"{detector.name} has no calibration {calibration!r}; there are {known}.")
            target = detector.facility_constants[calibration]
            array = np.asarray(array, dtype if DTYPES[target].kind == "f" else DTYPES[target])
            names = (_DIMS if detector.dimensions == 2 else _LINE_DIMS)[: array.ndim]
            axes_of(array.shape, names, detector, target, f"{pdu} {calibration}")
            path = folder / f"xfel/cal/{detector.facility_type}-type/{pdu.lower()}/cal.{len(files) + 1}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w", libver=("v110", "v110")) as file:
                dataset = file.create_dataset(
                    f"{pdu}/{calibration}/0/data",
                    data=array,
                    chunks=tuple(
                        1 if name == "cell" else n for name, n in zip(names, array.shape, strict=True)
                    ),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
                if dims:
                    dataset.attrs["dims"] = list(names)
            files.append(path)
    settings = {
        "detector": detector.name,
        "modules": dict(modules),
        "conditions": {key: value for key, value in conditions.items() if value is not None},
    }
    (folder / MODULES_FILE).write_text(dumps_toml(settings), "utf-8")
    return files
