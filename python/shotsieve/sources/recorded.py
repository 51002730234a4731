"""What one file holds of one module: index, labels, and whether its words are those of the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..detectors import Detector
from ..errors import DAMAGE, BadInput, UnreadableData
from .corrected_files import PartForm, check_corrected
from .exdf import RunFile, opened, reason, train_text
from .plan import Part

NO_CELL = 255
"""Memory cell of a place in a train that no shot has, in runs that were reduced cell by cell."""

DROPPED = "REDUCTION/SHOTSIEVE/{}/checksum/slot"
"""What files say the places of stored frames in, where cells of their trains were dropped."""


@dataclass(frozen=True)
class Recorded:
    """One module's data in one file.

    Attributes
    ----------
    file : RunFile
    group : str
        Of the datasets.
    frames : int
    form : PartForm or None
        Of corrected frames.
    step : ndarray of int64, shape (frames,), or None
        In parallel gain: from a frame to that of the next stage.
    """

    file: RunFile
    group: str
    frames: int
    form: PartForm | None
    step: np.ndarray | None


def read_part(
    d: Detector, file: RunFile, source: str, module: int, trains: np.ndarray | None
) -> tuple[Part, PartForm | None]:
    """Read index and labels of one module in one file.

    Promise: exact.

    Parameters
    ----------
    d : Detector
        Of raw words, or its `Detector.corrected`.
    file : RunFile
    source : str
        Name of the module's source.
    module : int
        Its place on axis 1 of the source of shots.
    trains : ndarray or None
        Trains to take; None: all.

    Returns
    -------
    part : Part
    form : PartForm or None
        What the file says of corrected frames; None for raw words.

    Raises
    ------
    BadInput
        If the datasets are not raw words, or corrected frames, of this detector.
    UnreadableData
        If the file is damaged, or holds less than its index says.

    Examples
    --------
    >>> read_part(detector, file, "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf", 3, None)[0].frames    # doctest: +SKIP
    704
    """
    group = f"INSTRUMENT/{source}/{d.group}"
    with opened(file.path) as f:
        form = check_corrected(d, file, f, group) if d.is_corrected else None
        per_row = _check_words(d, file, f, group) if form is None else form.per_row
        first, count = file.index(f, source, d.group)
        for plane in d.planes[: 1 if form else None]:  # those of corrected frames are of one length
            try:
                rows = len(f[f"{group}/{plane}"])
            except DAMAGE as e:
                raise UnreadableData(f"{file.path}: {group} cannot be read ({reason(e)})") from e
            beyond = (first + count > rows) & (count > 0)
            if beyond.any():
                raise UnreadableData(
                    f"{file.path}: INDEX/{source}/{d.group} speaks of {int((first + count).max())} rows, but "
                    f"{group}/{plane} has {rows}: the data of trains {train_text(file.train_id[beyond])} "
                    "is missing"
                )
        # Rows behind the last train are padding: their labels may be missing or nonsense.
        frames = int((first + count)[count > 0].max(initial=0)) * per_row
        pulse = file.label(f, f"{group}/{d.pulse_key}", frames).astype(np.uint64) if d.pulse_key else None
        if d.cell_key:
            cell = file.label(f, f"{group}/{d.cell_key}", frames).astype(np.int32)
        else:
            cell = _cells_by_turns(first * per_row, count * per_row, frames, d.cell_cycle)
        dropped = (cell[:frames] == NO_CELL).any() or DROPPED.format(source) in f
    if form is not None and d.layout == "trains" and dropped:
        raise BadInput(
            f"{file.path}: {group} has places without a frame: the run was reduced "
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


def _cells_by_turns(first: np.ndarray, count: np.ndarray, frames: int, cycle: int) -> np.ndarray:
    """Memory cell of every frame where the files do not tell it: in turns from the start of each train."""
    cell = np.zeros(frames, np.int32)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    cell[np.repeat(first, count) + within] = within % cycle
    return cell


def _check_words(d: Detector, file: RunFile, f, group: str) -> int:
    """Check that the datasets hold raw words of this detector; return the frames per row."""
    per_row = 1
    for plane in d.planes:
        path = f"{group}/{plane}"
        try:
            data = f[path]
            shape, dtype = data.shape, data.dtype
        except DAMAGE as e:
            raise UnreadableData(f"{file.path}: dataset {path} cannot be read ({reason(e)})") from e
        want = d.recorded_shape
        lead = 1 if d.layout == "frames" else 2
        fits = shape[lead:] in d.recorded_shapes()
        per_row = shape[1] if fits and lead == 2 else 1
        if dtype.kind == "f" or (not fits and len(shape) == 3 and shape[1:] == d.shape):
            raise BadInput(
                f"{file.path}: {path} has shape {shape} and dtype {dtype}: this is corrected data, and "
                "other files of the run, or the recipe, say raw words: give files of one kind"
            )
        # A receiver that knows of one stage may declare its words signed: the bits are the same.
        kinds = "ui" if d.encoding == "plain" else "u"
        if not fits or dtype.kind not in kinds or dtype.itemsize > 2:
            raise BadInput(
                f"{file.path}: {path} has shape {shape} and dtype {dtype}; raw data of {d.name} has (rows"
                f"{'' if d.layout == 'frames' else ', cells'}, {', '.join(map(str, want))}) and uint16"
            )
    return per_row
