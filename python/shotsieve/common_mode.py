"""Common mode: what all pixels of an ASIC in a frame, or a pixel in a row of memory cells, share beside their
signal.

Two corrections, found on the dark pixels of a group - in high gain, not masked, and within a range around 0
after the offset - and subtracted from the whole group: the mean over an ASIC of a frame, and the mean of one
pixel over the cells of a row in one train. They alternate, and every iteration looks at what the one before
left. A group with too few dark pixels is left as it is. The result are `shotsieve.shifts.Shifts`.

Promise: exact. Values are whole numbers of 1/256 ADU and sums are integers, so that the same words and
constants give the same bits on every backend, block size and thread count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .detectors import ENCODINGS
from .errors import BadInput
from .shifts import SHIFT_SCALE, Tiles

if TYPE_CHECKING:
    from .backend import Backend
    from .baseline import BaselineParams
    from .constants.steps import Steps
    from .detectors import Detector

__all__ = ["CommonModeParams", "Units", "list_units", "queue_cell_common_mode", "queue_common_mode"]


@dataclass(frozen=True)
class CommonModeParams:
    """What the common mode of a detector is made of.

    Attributes
    ----------
    encoding, fixed_stage : int
        As in `shotsieve.calibrate.CalibrateParams`.
    low, high : int
        Dark range in 1/256 ADU, both ends included.
    fraction : float
        A group is corrected if strictly more than this share of it is dark.
    n_itr : int
        Iterations; 0 where the baseline alone is subtracted.
    cells : bool
        Whether pixels are corrected over rows of cells too, before their ASICs.
    tiles : Tiles
        ASICs.
    row_cells : int
        Cells of a row.
    baseline : BaselineParams or None
        What is subtracted before.
    """

    encoding: int
    fixed_stage: int
    low: int
    high: int
    fraction: float
    n_itr: int
    cells: bool
    tiles: Tiles
    row_cells: int
    baseline: BaselineParams | None = None

    @classmethod
    def from_steps(cls, steps: Steps, detector: Detector, gain_mode: str) -> CommonModeParams | None:
        """Return what the switches of a recipe say, None without a common mode.

        Raises
        ------
        BadInput
            If the run has no pixels in high gain.
        """
        steps = steps.for_detector(detector)
        if not (steps.common_mode or steps.blc_noise):
            return None
        stage = detector.fixed_stage(gain_mode)
        if stage > 0 and steps.common_mode:
            raise BadInput(
                f"common_mode = true looks at dark pixels in high gain, and the gain mode is {gain_mode}: "
                "set [calibrate] common_mode = false"
            )
        low, high = (round(bound * SHIFT_SCALE) for bound in steps.dark_range())
        rows, columns = detector.asic
        return cls(
            encoding=ENCODINGS.index(detector.encoding),
            fixed_stage=stage,
            low=low,
            high=high,
            fraction=steps.cm_dark_fraction,
            n_itr=steps.cm_n_itr if steps.common_mode else 0,
            cells=steps.cell_common_mode,
            tiles=Tiles(rows, columns, detector.shape[1]),
            row_cells=detector.row_cells,
        )

    def least(self, members: int) -> int:
        """Return the number of dark members that a group of so many needs more than."""
        return math.floor(self.fraction * members)

    def kernel_args(self) -> dict[str, Any]:
        """Return the keyword arguments that both native functions take."""
        named = {name: getattr(self, name) for name in ("encoding", "fixed_stage", "low", "high")}
        return named | vars(self.tiles)


@dataclass(frozen=True)
class Units:
    """Whole rows of memory cells among the frames of a block.

    Attributes
    ----------
    frames, rows : ndarray of int32, shape (U, row_cells)
        Frames of the cells of a row of one module in one train, and the rows of their constants.
    of_frame : ndarray of int32, shape (F,)
        The unit of a frame; -1 where its row is not whole.
    """

    frames: np.ndarray
    rows: np.ndarray
    of_frame: np.ndarray


def list_units(
    present: np.ndarray, rows: np.ndarray, train_id: np.ndarray, cell_id: np.ndarray, row_cells: int
) -> Units:
    """Find the whole rows of cells of a block: all cells of a row recorded in a train, with constants.

    Parameters
    ----------
    present : ndarray of bool, shape (n, M)
    rows : ndarray of int32, shape (n, M)
        Rows of the constants, -1 without.
    train_id, cell_id : ndarray of int, shape (n,)
    row_cells : int
        Cells of a row.

    Returns
    -------
    Units

    Examples
    --------
    >>> two = np.zeros((3, 1), "i4")
    >>> units = list_units(two == 0, two, np.array([7, 7, 7]), np.array([0, 1, 2]), 2)
    >>> units.frames.tolist(), units.of_frame.tolist()
    ([[0, 1]], [0, 0, -1])
    """
    shots, modules = rows.shape
    shot, module = np.nonzero(present & (rows >= 0))
    train = np.unique(train_id, return_inverse=True)[1].reshape(-1)
    cell = np.asarray(cell_id).astype(np.int64)
    row = cell // row_cells
    key = (train * (row.max(initial=0) + 1) + row)[shot] * modules + module
    order = np.lexsort((cell[shot], key))
    shot, module, key = shot[order], module[order], key[order]
    _, first, number = np.unique(key, return_index=True, return_counts=True)
    frame = (shot * modules + module).astype("i4")
    found = [frame[at : at + row_cells] for at in first[number == row_cells]]
    # Cells that came twice are no row.
    found = [unit for unit in found if len(np.unique(cell[unit // modules])) == row_cells]
    frames = np.array(found, "i4").reshape(-1, row_cells)
    of_frame = np.full(shots * modules, -1, "i4")
    of_frame[frames] = np.arange(len(frames), dtype="i4")[:, None]
    return Units(frames, rows.reshape(-1)[frames].astype("i4").reshape(-1, row_cells), of_frame)


def queue_common_mode(
    backend: Backend,
    raw: Any,
    frames: Any,
    groups: Any,
    table: Any,
    shift: Any,
    params: CommonModeParams,
    *,
    n_itr: int | None = None,
    pixel_shift: Any = None,
    pixel_shift_row: Any = None,
    add: bool = False,
    stream: Any = None,
) -> None:
    """Queue the common mode of the ASICs of listed frames on a stream; returns at once and never waits.

    Promise: exact.

    Parameters
    ----------
    backend : Backend
    raw, frames, groups, table
        As for `shotsieve.calibrate.queue_calibration`.
    shift : int32 (F, n_tiles)
        Written for listed frames with constants.
    params : CommonModeParams
    n_itr : int or None
        Iterations; None: those of `params`.
    pixel_shift, pixel_shift_row
        Shifts of pixels that are subtracted before; see `Shifts`.
    add : bool
        Start from what stands in `shift`.
    stream : object

    Raises
    ------
    ValueError, TypeError
        If an array is not what it has to be; the text names it.

    Examples
    --------
    >>> queue_common_mode(backend, raw, frames, groups, table, shift, params)  # doctest: +SKIP
    """
    backend.native.common_mode(
        raw,
        frames,
        groups,
        table,
        shift,
        **params.kernel_args(),
        least=params.least(params.tiles.tile_rows * params.tiles.tile_columns),
        n_itr=params.n_itr if n_itr is None else n_itr,
        pixel_shift=pixel_shift,
        pixel_shift_row=pixel_shift_row,
        add=add,
        **backend.on(stream),
    )


def queue_cell_common_mode(
    backend: Backend,
    raw: Any,
    unit_frames: Any,
    unit_rows: Any,
    table: Any,
    pixel_shift: Any,
    params: CommonModeParams,
    *,
    shift: Any = None,
    add: bool = False,
    stream: Any = None,
) -> None:
    """Queue the common mode of the pixels over rows of cells; returns at once and never waits.

    Promise: exact.

    Parameters
    ----------
    backend : Backend
    raw, table
        As for `shotsieve.calibrate.queue_calibration`.
    unit_frames, unit_rows : int32 (U, row_cells)
        From `list_units`.
    pixel_shift : int32 (U, n_pixels)
        Written.
    params : CommonModeParams
    shift : int32 (F, n_tiles) or None
        Shifts of ASICs that are subtracted before.
    add : bool
        Add to what stands in `pixel_shift`.
    stream : object

    Raises
    ------
    ValueError, TypeError
        If an array is not what it has to be; the text names it.

    Examples
    --------
    >>> queue_cell_common_mode(backend, raw, *units, table, pixel_shift, params)  # doctest: +SKIP
    """
    backend.native.cell_common_mode(
        raw,
        unit_frames,
        unit_rows,
        table,
        pixel_shift,
        **params.kernel_args(),
        least=params.least(params.row_cells),
        shift=shift,
        add=add,
        **backend.on(stream),
    )
