"""In which order the trains of a run fill memory cells: what its frames tell of the operating mode."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..cell_order import order_of
from ..detectors import Detector
from .base import OperatingMode
from .exdf import RunFile, opened, train_text
from .groups import auxiliary_groups
from .plan import Part

FIELD = "memory_cell_order"


def tell_cell_order(
    mode: OperatingMode, detector: Detector, parts: Sequence[Part], files: Sequence[RunFile], notes: list[str]
) -> OperatingMode:
    """Add the order of memory cells to an operating mode that does not have it.

    Promise: exact.

    Parameters
    ----------
    mode : OperatingMode
    detector : Detector
        One whose constants do not depend on it (`Detector.cell_order`) leaves the mode as it is.
    parts : sequence of Part
        Of the run; the first module that has frames tells the order, and of its trains the most.
    files : sequence of RunFile
        Of the parts. A file out of which frames were dropped tells nothing: what is left is in another order.
    notes : list of str
        Told of trains with as many frames in another order.

    Returns
    -------
    OperatingMode

    Examples
    --------
    >>> tell_cell_order(mode, detector, parts, files, []).memory_cell_order    # doctest: +SKIP
    '12-511,0-11'
    """
    if not detector.cell_order or detector.is_corrected or mode.memory_cell_order is not None:
        return mode
    told = min((part.module for part in parts if (part.count > 0).any()), default=None)
    if told is None or any(map(_frames_dropped, files)):
        return mode
    orders: dict[int, bytes] = {}
    for part in parts:
        if part.module == told:
            for train, first, count in zip(part.train_id, part.first, part.count, strict=True):
                if count > 0:
                    orders.setdefault(int(train), part.cell_id[first : first + count].tobytes())
    usual = Counter(orders.values()).most_common(1)[0][0]
    other = [train for train, order in orders.items() if len(order) == len(usual) and order != usual]
    if other:
        notes.append(
            f"memory cells are filled in another order than in most trains in {train_text(np.array(other))}"
        )
    kept = order_of(np.frombuffer(usual, parts[0].cell_id.dtype).tolist())
    origin = {**mode.origin, FIELD: f"{detector.cell_key} of most trains"}
    return dataclasses.replace(mode, memory_cell_order=kept, origin=origin)


def _frames_dropped(file: RunFile) -> bool:
    """Whether a file tells of a reduction of its frames."""
    with opened(file.path) as f:
        return any(section == "REDUCTION" for section, _, _ in auxiliary_groups(f))
