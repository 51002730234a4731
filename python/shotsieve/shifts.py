"""What is subtracted from frames beside their offsets: baselines and common mode, found frame by frame.

Shifts are whole numbers of 1/256 ADU. They are added to the offset of every gain stage, x = (adc - (offset +
shift)) * gain, and so come before every gain. A stage that finds some writes them into these arrays, and
`shotsieve.calibrate.queue_calibration` reads them; without shifts nothing is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["SHIFT_SCALE", "Shifts", "Tiles"]

SHIFT_SCALE = 256
"""Units of a shift per ADU."""


@dataclass(frozen=True)
class Tiles:
    """How a frame is cut into tiles that are shifted as one, counted along its rows.

    Attributes
    ----------
    tile_rows, tile_columns : int
        Pixels of a tile; the columns are a multiple of 8.
    row_pixels : int
        Pixels of a row of the frame.

    Examples
    --------
    >>> Tiles(64, 64, 128).count(65536)
    16
    """

    tile_rows: int
    tile_columns: int
    row_pixels: int

    def count(self, n_pixels: int) -> int:
        """Return the number of tiles of a frame of so many pixels."""
        return n_pixels // (self.tile_rows * self.tile_columns)


@dataclass(frozen=True)
class Shifts:
    """Shifts of the frames of one call, on the backend's device.

    Attributes
    ----------
    tile : int32 (F, n_tiles) or None
        Of each tile of each frame.
    tiles : Tiles or None
        Needed with `tile`.
    pixel : int32 (U, n_pixels) or None
        Of every pixel of the frames that share a row.
    pixel_row : int32 (F,) or None
        Row of `pixel` for each frame; -1 is none.

    Examples
    --------
    >>> Shifts(tile=tile, tiles=Tiles(64, 64, 128))  # doctest: +SKIP
    """

    tile: Any = None
    tiles: Tiles | None = None
    pixel: Any = None
    pixel_row: Any = None

    def kernel_args(self) -> dict[str, Any]:
        """Return the keyword arguments of ``calibrate_count``."""
        args = {"shift": self.tile, "pixel_shift": self.pixel, "pixel_shift_row": self.pixel_row}
        return args if self.tiles is None else args | vars(self.tiles)
