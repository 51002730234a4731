"""Finding the shifts of the frames of a block: buffers on the device, and the order of the steps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .bank_mode import BankFinder, BankModeParams
from .baseline import BaselineParams, queue_baseline
from .common_mode import CommonModeParams, list_units, queue_cell_common_mode, queue_common_mode
from .errors import BadInput
from .shifts import Shifts

if TYPE_CHECKING:
    from .backend import Backend
    from .common_mode import Units
    from .constants.container import Constants
    from .constants.steps import Steps
    from .detectors import Detector
    from .folded_tables import Tables

__all__ = ["ShiftFinder", "make_finder", "mode_of"]


def mode_of(
    steps: Steps,
    detector: Detector,
    gain_mode: str,
    constants: Constants,
    tables: Tables,
    modules: tuple[int, ...],
) -> CommonModeParams | BankModeParams | None:
    """Return the common mode that the switches of a recipe ask for; None without one.

    Parameters
    ----------
    steps : Steps
    detector : Detector
        One with banks has its common mode by medians, others that of dark pixels.
    gain_mode : str
    constants, tables, modules
        Those of the run: a baseline is looked for with the noise of its cells.

    Raises
    ------
    BadInput
        If the run has no pixels in high gain, the constants no noise where it is needed, or constants are
        packed and the common mode is that of banks.
    """
    if any(detector.bank):
        if steps.common_mode and steps.packed_constants:
            raise BadInput(
                f"common_mode = true of {detector.name} is not done with packed constants, which save "
                "megabytes there: set [calibrate] packed_constants = false"
            )
        return BankModeParams.from_steps(steps, detector)
    mode = CommonModeParams.from_steps(steps, detector, gain_mode)
    baseline = BaselineParams.make(steps, detector, gain_mode, constants, tables, modules)
    return mode if baseline is None else dataclasses.replace(mode, baseline=baseline)


def make_finder(
    backend: Backend, params: CommonModeParams | BankModeParams, n_pixels: int, n_frames: int
) -> ShiftFinder | BankFinder:
    """Return the finder of a common mode with buffers for so many frames."""
    kind = BankFinder if isinstance(params, BankModeParams) else ShiftFinder
    return kind(backend, params, n_pixels, n_frames)


class ShiftFinder:
    """Buffers for the shifts of so many frames, and the way to them; one for each block in flight.

    Promise: exact, as `shotsieve.common_mode`.

    Parameters
    ----------
    backend : Backend
    params : CommonModeParams
    n_pixels : int
        Of a frame.
    n_frames : int
        Most frames of a block.

    Attributes
    ----------
    units : Units or None
        Rows of cells of the block that was queued last, where pixels are corrected over them.

    Examples
    --------
    >>> finder = ShiftFinder(backend, params, 65536, 16 * 64)  # doctest: +SKIP
    """

    def __init__(self, backend: Backend, params: CommonModeParams, n_pixels: int, n_frames: int) -> None:
        device = backend.device
        self.backend, self.params, self.n_pixels = backend, params, n_pixels
        self.units: Units | None = None
        self._tile = device.empty((n_frames, params.tiles.count(n_pixels)), "i4")
        if params.baseline is not None:
            self._wavelets = params.baseline.on(backend)
        if params.cells:
            units = max(1, n_frames // params.row_cells)
            self._pixel = device.empty((units, n_pixels), "i4")
            self._host = {
                "frames": device.empty_pinned((units, params.row_cells), "i4"),
                "rows": device.empty_pinned((units, params.row_cells), "i4"),
                "of_frame": device.empty_pinned((n_frames,), "i4"),
            }
            self._device = {name: device.twin(array) for name, array in self._host.items()}

    @property
    def of_frame(self) -> np.ndarray:
        """Row of the shifts of pixels for each frame of the block that was queued last, int32; -1: none."""
        return self.units.of_frame

    def queue(
        self,
        raw: Any,
        frames: Any,
        groups: Any,
        table: Any,
        present: np.ndarray,
        rows: np.ndarray,
        train_id: np.ndarray,
        cell_id: np.ndarray,
        stream: Any,
    ) -> Shifts:
        """Queue all that finds the shifts of a block on a stream; waits for nothing.

        Parameters
        ----------
        raw, frames, groups, table
            As for `shotsieve.calibrate.queue_calibration`; F = n * M frames.
        present, rows : ndarray of bool and int32, shape (n, M)
            Frames that were recorded, and rows of their constants.
        train_id, cell_id : ndarray of int, shape (n,)
        stream : object

        Returns
        -------
        Shifts
            Of the F frames; valid once the stream is done, and until the next call.
        """
        params, n = self.params, rows.size
        tile = self._tile[:n]
        words = (raw, frames, groups, table, tile, params)
        add = params.baseline is not None
        if add:
            queue_baseline(
                self.backend,
                *words[:4],
                *self._wavelets,
                tile,
                encoding=params.encoding,
                fixed_stage=params.fixed_stage,
                lowest=params.baseline.lowest,
                stream=stream,
            )
        if params.n_itr == 0:
            return Shifts(tile, params.tiles)
        if not params.cells:
            queue_common_mode(self.backend, *words, add=add, stream=stream)
            return Shifts(tile, params.tiles)
        self.units = units = list_units(present, rows, train_id, cell_id, params.row_cells)
        number = len(units.frames)
        for name, array in vars(units).items():
            self._host[name][: len(array)] = array
            self.backend.device.to_device(
                self._device[name][: len(array)], self._host[name][: len(array)], stream
            )
        pixel, of_frame = self._pixel[: max(1, number)], self._device["of_frame"][:n]
        in_units = (self._device["frames"][:number], self._device["rows"][:number])
        if number == 0:
            queue_common_mode(self.backend, *words, add=add, stream=stream)
            return Shifts(tile, params.tiles)
        for itr in range(params.n_itr):
            queue_cell_common_mode(
                self.backend,
                raw,
                *in_units,
                table,
                pixel,
                params,
                shift=tile if itr or add else None,
                add=itr > 0,
                stream=stream,
            )
            queue_common_mode(
                self.backend,
                *words,
                n_itr=1,
                pixel_shift=pixel,
                pixel_shift_row=of_frame,
                add=itr > 0 or add,
                stream=stream,
            )
        return Shifts(tile, params.tiles, pixel, of_frame)
