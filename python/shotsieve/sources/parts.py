"""One module's frames in one file: index, labels, and whether the datasets are what they have to be."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from ..detectors import Detector
from ..errors import BadInput, UnreadableData
from .corrected import UNITS
from .exdf import DAMAGE, RunFile, opened, reason, train_text
from .plan import Part

NO_CELL = 255
"""Memory cell of a place in a train that no shot has, in runs that were reduced cell by cell."""


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
    lead : int
        Axes of its datasets that count frames.
    """

    name: str
    unit: str | None
    strange_unit: str
    dtype: str
    lacking: frozenset[str]
    lead: int


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
    single = d.layout == "frames" and len(d.planes) == 1
    return dtype.kind == "f" or (single and len(shape) == 3 and shape[1:] == d.shape)


def read_part(
    d: Detector, file: RunFile, source: str, module: int, trains: np.ndarray | None
) -> tuple[Part, PartForm | None]:
    """Read index and labels of one module in one file, and what it says of corrected frames.

    Parameters
    ----------
    d : Detector
        Of raw words, or its `Detector.corrected`.
    file : RunFile
    source : str
    module : int
        Place of the module on axis 1 of the source.
    trains : ndarray of uint64 or None
        Selected trains.

    Raises
    ------
    BadInput, UnreadableData
        If a dataset is not what it has to be, or damaged.
    """
    group = f"INSTRUMENT/{source}/{d.group}"
    with opened(file.path) as f:
        form = None
        if d.is_corrected:
            per_row, form = _check_corrected(d, file, f, group)
        else:
            per_row = _check_words(d, file, f, group)
        first, count = file.index(f, source, d.group)
        try:
            rows = len(f[f"{group}/{d.planes[0]}"])
        except DAMAGE as e:
            raise UnreadableData(f"{file.path}: {group} cannot be read ({reason(e)})") from e
        beyond = (first + count > rows) & (count > 0)
        if beyond.any():
            raise UnreadableData(
                f"{file.path}: INDEX/{source}/{d.group} speaks of {int((first + count).max())} rows, but "
                f"{group}/{d.planes[0]} has {rows}: the data of trains {train_text(file.train_id[beyond])} "
                "is missing"
            )
        # Rows behind the last train are padding: their labels may be missing or nonsense.
        frames = int((first + count)[count > 0].max(initial=0)) * per_row
        pulse = file.label(f, f"{group}/{d.pulse_key}", frames).astype(np.uint64) if d.pulse_key else None
        cell = file.label(f, f"{group}/{d.cell_key}", frames).astype(np.int32)
    if d.is_corrected and d.layout == "trains" and (cell[:frames] == NO_CELL).any():
        raise BadInput(
            f"{file.path}: {group}/{d.cell_key} has places without a frame ({NO_CELL}): the run was reduced "
            "with [write] drop_cells, and such runs cannot be reduced again; reduce the run that it is of"
        )
    use = slice(None) if trains is None else np.isin(file.train_id, trains)
    part = Part(
        module=module,
        train_id=file.train_id[use],
        timestamp=file.timestamp[use],
        good=file.good[use],
        first=first[use] * per_row,
        count=count[use] * per_row,
        pulse_id=pulse,
        cell_id=cell,
        frames=rows * per_row,
    )
    return part, form


def _check_words(d: Detector, file: RunFile, f: h5py.File, group: str) -> int:
    """Check that the datasets hold raw words of this detector; return the frames per row."""
    per_row = 1
    for plane in d.planes:
        path = f"{group}/{plane}"
        shape, dtype = _shape_of(file, f, path)
        if d.layout == "frames":
            want: tuple[int, ...] = (d.plane_count, *d.shape) if len(d.planes) == 1 else d.shape
            fits = shape[1:] == want
        else:
            want = d.shape
            fits = len(shape) == 4 and shape[2:] == want
            per_row = shape[1] if fits else 1
        if dtype.kind == "f" or (not fits and len(shape) == 3 and shape[1:] == d.shape):
            raise BadInput(
                f"{file.path}: {path} has shape {shape} and dtype {dtype}: this is corrected data, and other "
                "files of the run, or the recipe, say raw words: give files of one kind"
            )
        if not fits or dtype.kind != "u" or dtype.itemsize > 2:
            raise BadInput(
                f"{file.path}: {path} has shape {shape} and dtype {dtype}; raw data of {d.name} has (rows"
                f"{'' if d.layout == 'frames' else ', cells'}, {', '.join(map(str, want))}) and uint16"
            )
    return per_row


def _check_corrected(d: Detector, file: RunFile, f: h5py.File, group: str) -> tuple[int, PartForm]:
    """Check that the datasets hold corrected frames; return the frames per row, and what they say."""
    path = f"{group}/{d.planes[0]}"
    shape, dtype = _shape_of(file, f, path)
    axes = (1,) if d.layout == "frames" else (1, 2)
    lead = len(shape) - 2
    wanted = f"{d.name} has (rows{'' if d.layout == 'frames' else ', cells'}, {d.shape[0]}, {d.shape[1]})"
    if lead not in axes or shape[lead:] != d.shape:
        raise BadInput(
            f"{file.path}: {path} has shape {shape} and dtype {dtype}; corrected data of {wanted}. Give "
            "files of one kind, raw or corrected"
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
        if its_shape[: lead + 2] == shape and len(its_shape) == lead + 3:
            raise BadInput(
                f"{file.path}: {beside} has shape {its_shape} and dtype {its_dtype}: one mask for each gain "
                "stage, as corrected files of before 2019 have them; shotsieve does not read these: reduce "
                "the raw run"
            )
        if its_shape != shape or its_dtype.kind not in "iu" or its_dtype.itemsize > size:
            raise BadInput(
                f"{file.path}: {beside} has shape {its_shape} and dtype {its_dtype}; expected {shape}, as "
                f"{d.planes[0]} has, and {'uint32' if size == 4 else 'uint8'}"
            )
    unit = _unit_of(f[path])
    known = unit if unit in UNITS else None
    little = dtype.newbyteorder("<").str
    form = PartForm(file.path.name, known, "" if known else unit, little, frozenset(lacking), lead)
    return (shape[1] if lead == 2 else 1), form


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
