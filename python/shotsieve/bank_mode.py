"""Common mode by medians: what the pixels of a bank share in a frame, then those of its rows and columns.

As at LCLS for the ePix100: banks of 352 x 96 pixels, rows of 96, columns of 352, in this order, each on what
the one before left; and all once more, since the medians of rows saw what columns share as noise (the median
polish of Tukey, Exploratory Data Analysis, 1977). Only good pixels in high gain have a say, a median counts
where it is of at least ten of them and nearer to 0 than a limit, and it is subtracted from its whole group.
The result are `shotsieve.shifts.Shifts`.

Promise: exact. Values are whole numbers of 1/256 ADU; a median is one of them, or half the sum of two,
rounded down. The same words and constants give the same bits on every backend, block size and thread count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .shifts import SHIFT_SCALE, Shifts

if TYPE_CHECKING:
    from .backend import Backend
    from .constants.steps import Steps
    from .detectors import Detector

__all__ = ["BankFinder", "BankModeParams", "queue_bank_mode"]

NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class BankModeParams:
    """What the common mode of a detector with banks is made of.

    Attributes
    ----------
    row_pixels, bank_rows, bank_columns : int
        Pixels of a row of a frame, and of a bank.
    limit : int
        A median counts if it is nearer to 0, in 1/256 ADU.
    banks, rows, columns : bool
        Which medians are subtracted.
    passes : int
        How often all of them are, 1 or 2.
    """

    row_pixels: int
    bank_rows: int
    bank_columns: int
    limit: int
    banks: bool = True
    rows: bool = True
    columns: bool = True
    passes: int = 1

    # What the other common mode has: frames do not depend on each other, and no tiles are shifted as one.
    cells = False
    tiles = None

    @classmethod
    def from_steps(cls, steps: Steps, detector: Detector) -> BankModeParams | None:
        """Return what the switches of a recipe say, None without a common mode."""
        steps = steps.for_detector(detector)
        if not steps.common_mode:
            return None
        limit = NO_LIMIT if steps.cm_limit is None else round(steps.cm_limit * SHIFT_SCALE)
        wanted = {name: name in steps.cm_medians.split() for name in ("banks", "rows", "columns")}
        return cls(detector.shape[1], *detector.bank, min(limit, NO_LIMIT), **wanted, passes=steps.cm_passes)


def queue_bank_mode(
    backend: Backend,
    raw: Any,
    frames: Any,
    groups: Any,
    table: Any,
    shift: Any,
    params: BankModeParams,
    stream: Any = None,
) -> None:
    """Queue the common mode of the banks of listed frames on a stream; returns at once and never waits.

    Promise: exact.

    Parameters
    ----------
    backend : Backend
    raw : uint16 (F, 1, n_pixels)
    frames, groups : int32
        From `shotsieve.calibrate.list_frames`.
    table : float32 (R, 2, n_pixels)
        Of a detector with one gain stage, from `shotsieve.folded_tables.make_tables`.
    shift : int32 (F, n_pixels)
        Receives the shifts of listed frames with constants; 0 for bad pixels.
    params : BankModeParams
    stream : object

    Raises
    ------
    ValueError, TypeError
        If an array is not what it has to be; the text names it.

    Examples
    --------
    >>> queue_bank_mode(backend, raw, frames, groups, table, shift, params)    # doctest: +SKIP
    """
    backend.native.bank_mode(raw, frames, groups, table, shift, **vars(params), **backend.on(stream))


class BankFinder:
    """A buffer for the shifts of so many frames; one for each block in flight. See `ShiftFinder`.

    Parameters
    ----------
    backend : Backend
    params : BankModeParams
    n_pixels, n_frames : int
        Of a frame; most frames of a block.

    Examples
    --------
    >>> finder = BankFinder(backend, params, 704 * 768, 64)    # doctest: +SKIP
    """

    def __init__(self, backend: Backend, params: BankModeParams, n_pixels: int, n_frames: int) -> None:
        self.backend, self.params = backend, params
        device = backend.device
        self._pixel = device.empty((n_frames, n_pixels), "i4")
        every, stream = device.empty_pinned((n_frames,), "i4"), device.stream()
        every[:] = np.arange(n_frames)
        self._row = device.twin(every)
        device.to_device(self._row, every, stream)
        device.wait(device.record(stream))
        self._every = every

    @property
    def of_frame(self) -> np.ndarray:
        """Row of the shifts of pixels for each frame, int32."""
        return self._every

    def queue(self, raw: Any, frames: Any, groups: Any, table: Any, *of_shots: Any) -> Shifts:
        """Queue all that finds the shifts of a block; as `ShiftFinder.queue`, and the last is the stream."""
        n, stream = raw.shape[0], of_shots[-1]
        queue_bank_mode(self.backend, raw, frames, groups, table, self._pixel[:n], self.params, stream)
        return Shifts(pixel=self._pixel[:n], pixel_row=self._row[:n])
