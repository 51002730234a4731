"""What one file holds of one module's corrected frames, and whether it is what it has to be."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from ..detectors import Detector
from ..errors import DAMAGE, BadInput, UnreadableData
from .corrected import UNITS
from .exdf import RunFile, opened, reason, train_text

LISTS = "photonList"
"""Group beside that of the frames in a run that was reduced to photon lists."""


@dataclass(frozen=True)
class PartForm:
    """What a file says of its corrected frames.

    Attributes
    ----------
    name : str
        Of the file.
    unit : str or None
    strange_unit : str
        What stands in place of a unit that is known; empty where nothing does.
    dtype : str
        Of the values, little-endian.
    lacking : frozenset of str
        Of ``mask`` and ``gain``: those that it does not have.
    lead, per_row : int
        Axes of its datasets that count frames, and frames in a row.
    """

    name: str
    unit: str | None
    strange_unit: str
    dtype: str
    lacking: frozenset[str]
    lead: int
    per_row: int


def holds_corrected(d: Detector, file: RunFile, source: str) -> bool:
    """Whether a file under the name of raw words holds corrected frames, as those of before 2020 do.

    Parameters
    ----------
    d : Detector
        As the files of raw words have it.
    file : RunFile
    source : str
    """
    path = f"INSTRUMENT/{source}/{d.group}/{d.planes[0]}"
    with opened(file.path) as f:
        try:
            shape, dtype = f[path].shape, f[path].dtype
        except DAMAGE as e:
            raise UnreadableData(f"{file.path}: dataset {path} cannot be read ({reason(e)})") from e
    inner = shape[1 if d.layout == "frames" else 2 :]
    # Whole numbers without the planes of raw words: photons, as some corrected files have them.
    return dtype.kind == "f" or (inner == d.frame_shape and inner not in d.recorded_shapes())


def check_corrected(d: Detector, file: RunFile, f: h5py.File, group: str) -> PartForm:
    """Check that the datasets hold corrected frames, and return what they say."""
    if f"{group.rpartition('/')[0]}/{LISTS}" in f:
        raise BadInput(
            f"{file.path} holds photon lists, and frames of a few shots beside them: it is not read as a run "
            "of frames, which would be without most shots. Reduce the raw run, or take shotsieve.PhotonLists"
        )
    path = f"{group}/{d.planes[0]}"
    shape, dtype = _shape_of(file, f, path)
    axes = (1,) if d.layout == "frames" else (1, 2)
    lead = len(shape) - d.dimensions
    wanted = ", ".join(map(str, ("rows", *(("cells",) if axes[-1] == 2 else ()), *d.frame_shape)))
    if lead not in axes or shape[lead:] != d.frame_shape:
        raise BadInput(
            f"{file.path}: {path} has shape {shape} and dtype {dtype}; corrected data of {d.name} "
            f"has ({wanted}). Give files of one kind, raw or corrected"
        )
    if not (dtype.kind in "fiu" and dtype.itemsize <= 4):
        raise BadInput(
            f"{file.path}: {path} has values of {dtype}; corrected data has float32, float16 or whole "
            "numbers of 8 to 32 bits, which a block can hold"
        )
    lacking = []
    for plane, size in ((d.planes[1], 4), (d.planes[2], 1)):
        beside = f"{group}/{plane}"
        if beside not in f:
            lacking.append(plane)
            continue
        its_shape, its_dtype = _shape_of(file, f, beside)
        if its_shape[:-1] == shape:
            raise BadInput(
                f"{file.path}: {beside} has shape {its_shape} and dtype {its_dtype}: one mask for each gain "
                "stage, as corrected files of before 2019 have them; shotsieve does not read these: reduce "
                "the raw run"
            )
        if len(its_shape) == len(shape) and its_shape[1:] == shape[1:] and its_shape[0] != shape[0]:
            raise UnreadableData(
                f"{file.path}: {beside} has {its_shape[0]} rows, but {d.planes[0]} has {shape[0]}: the file "
                f"is damaged; this affects trains {train_text(file.train_id)}"
            )
        if its_shape != shape or its_dtype.kind not in "iu" or its_dtype.itemsize > size:
            raise BadInput(
                f"{file.path}: {beside} has shape {its_shape} and dtype {its_dtype}; expected {shape}, as "
                f"{d.planes[0]} has, and {'uint32' if size == 4 else 'uint8'}"
            )
    unit = _unit_of(f[path])
    known = unit if unit in UNITS else None
    little = dtype.newbyteorder("<").str
    per_row = shape[1] if lead == 2 else 1
    return PartForm(file.path.name, known, "" if known else unit, little, frozenset(lacking), lead, per_row)


def _unit_of(dataset: h5py.Dataset) -> str:
    for name in ("units", "unitSymbol"):
        if name in dataset.attrs:
            value = dataset.attrs[name]
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return ""


def _shape_of(file: RunFile, f: h5py.File, path: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        return f[path].shape, f[path].dtype
    except DAMAGE as e:
        raise UnreadableData(f"{file.path}: dataset {path} cannot be read ({reason(e)})") from e
