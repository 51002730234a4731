"""Calibration files of Cheetah: one HDF5 file per module of an AGIPD, or one for all of them.

``AnalogOffset``, ``DigitalGainLevel``, ``RelativeGain`` and ``Badpixel``, each (3, cells, 512, 128), in the
order of the raw words. Of the digital gain levels, 1 and 2 are the thresholds that Cheetah compares with; 0
is not used. ``Badpixel`` does not say why a pixel is bad: it becomes the bit USER1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from ... import detectors
from ...detectors import Detector
from ...errors import BadInput, UnreadableData
from ..bad_pixels import BadPixels
from ..container import Constants
from .datasets import DatasetStore, Part

__all__ = ["DATASETS", "is_cheetah", "open_cheetah"]

DATASETS = ("AnalogOffset", "DigitalGainLevel", "RelativeGain", "Badpixel")
GAINS = 3
_NUMBER = re.compile(r"AGIPD(\d+)", re.IGNORECASE)


def is_cheetah(file: h5py.File) -> bool:
    """Whether an HDF5 file has Cheetah's datasets of offsets and thresholds.

    Parameters
    ----------
    file : h5py.File

    Returns
    -------
    bool

    Examples
    --------
    >>> is_cheetah(h5py.File("Cheetah-AGIPD00-calib.h5"))  # doctest: +SKIP
    True
    """
    return all(isinstance(file.get(name), h5py.Dataset) for name in DATASETS[:2])


def open_cheetah(files: Mapping[int, Path] | list[Path], detector: Detector | None = None) -> Constants:
    """Open Cheetah's calibration files.

    Parameters
    ----------
    files : mapping of int to Path, or list of Path
        By module number; of a list the names tell it (``Cheetah-AGIPD03-calib.h5``). A single file may hold
        all modules, on an axis in front.
    detector : Detector or None
        Of AGIPD's kind; None: AGIPD-1M.

    Returns
    -------
    Constants
        Without a baseline of medium gain: the step ``adjust_mg_baseline`` has to be off.

    Raises
    ------
    BadInput
        If it is not told which module a file is of, or shapes do not fit.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> open_cheetah([Path("Cheetah-AGIPD03-calib.h5")]).modules  # doctest: +SKIP
    (3,)
    """
    detector = detector or detectors.load("AGIPD1M")
    parts: dict[tuple[str, int], Part] = {}
    cells: dict[Path, int] = {}
    for module, path in (files if isinstance(files, Mapping) else _numbered(files)).items():
        _add(parts, cells, path, module, detector)
    if len(set(cells.values())) > 1:
        told = ", ".join(f"{path.name}: {number}" for path, number in cells.items())
        raise BadInput(f"these files have different numbers of memory cells: {told}.")
    modules = sorted({module for _, module in parts})
    if wrong := [module for module in modules if detector.modules and module not in detector.modules]:
        raise BadInput(f"{next(iter(cells))}: there is no module {wrong[0]} in {detector.name}.")
    provenance = {"layout": "Cheetah", "files": [path.name for path in cells]}
    ids = detector.default_cell_ids(next(iter(cells.values())))
    return Constants(detector, modules, ids, DatasetStore(parts), {}, provenance)


def _numbered(files: list[Path]) -> dict[int, Path]:
    """Return files by the module number of their names; a single one may be without."""
    found: dict[int, Path] = {}
    for path in files:
        numbers = {int(number) for number in _NUMBER.findall(path.name)}
        if len(numbers) != 1 and len(files) > 1:
            raise BadInput(
                f"{path}: its name does not tell one module (as in Cheetah-AGIPD03-calib.h5): give the "
                "number "
                "with --module NAME=NUMBER."
            )
        number = numbers.pop() if len(numbers) == 1 else -1
        if number in found:
            raise BadInput(f"{found[number]} and {path} are both of module {number}: keep one.")
        found[number] = path
    return found


def _add(parts: dict, cells: dict, path: Path, module: int, detector: Detector) -> None:
    """Add the constants of one file."""
    try:
        with h5py.File(path, "r") as file:
            shapes = {name: file[name].shape for name in DATASETS if name in file}
    except OSError as error:
        raise UnreadableData(f"{path} is not a whole HDF5 file ({error}).") from error
    if lacking := [name for name in DATASETS[:2] if name not in shapes]:
        raise BadInput(f"{path} has no {lacking[0]}: it is no calibration file of Cheetah.")
    shape = shapes["AnalogOffset"]
    whole = len(shape) == 5
    want = (*shape[:1], GAINS, shape[2], *detector.shape) if whole else (GAINS, *shape[1:2], *detector.shape)
    for name, found in shapes.items():
        if found != want or not 4 <= len(shape) <= 5:
            raise BadInput(
                f"{path}: {name} has shape {found}; expected ({GAINS} gains, cells, {detector.shape[0]}, "
                f"{detector.shape[1]}), with the same cells everywhere, or the same behind an axis of "
                "modules."
            )
    if whole and shape[0] != detector.module_count:
        raise BadInput(f"{path} has {shape[0]} modules, {detector.name} has {detector.module_count}.")
    if not whole and module < 0:
        raise BadInput(
            f"{path}: its name does not tell the module (as in Cheetah-AGIPD03-calib.h5): give the number "
            "with "
            "--module NAME=NUMBER."
        )
    cells[path] = want[-3]
    for number, at in [(m, (i,)) for i, m in enumerate(detector.modules)] if whole else [(module, ())]:
        parts["offset", number] = Part(path, "AnalogOffset", at)
        parts["thresholds", number] = Part(path, "DigitalGainLevel", at, (1, 2))
        if "RelativeGain" in shapes:
            parts["relative_gain", number] = Part(path, "RelativeGain", at)
        if "Badpixel" in shapes:
            parts["bad_pixels", number] = Part(path, "Badpixel", at, convert=_bits)


def _bits(flags: np.ndarray) -> np.ndarray:
    return np.where(flags != 0, np.uint32(BadPixels.USER1), np.uint32(0))
