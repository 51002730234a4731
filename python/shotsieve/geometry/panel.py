"""What a detector is made of: panels, their masks, regions without use."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Mask:
    """One mask of a panel.

    A pixel is bad if ``(m & good) != good`` or ``(m & bad) != 0``.

    Attributes
    ----------
    index : int
        0 to 7.
    data : str
        Where it stands in its file.
    file : str or None
        Its file; None is the file of the data.
    good, bad : int
        Bits that must be set, and bits that must not.
    """

    index: int
    data: str
    file: str | None = None
    good: int = 0
    bad: int = 0


@dataclass(frozen=True)
class PanelOptions:
    """What a geometry file says of a panel beside its place.

    Attributes
    ----------
    data : str or None
        Dataset of the frames; may hold the placeholder ``%``.
    dims : tuple of (str or int)
        Meaning of the dataset's dimensions: ``"%"``, ``"ss"``, ``"fs"`` or an index.
    masks : tuple of Mask
    no_index : bool
        The panel is not to be used.
    mask_edge_pixels : int
        Width of the border that is not to be used, in pixels.
    adu_per_ev, adu_per_photon : float or None
        Gain.
    max_adu : float or None
        Saturation, in the unit of the data.
    saturation_map, saturation_map_file : str or None
    flag_lessthan, flag_morethan, flag_equal : float or None
        Pixels strictly below, strictly above or equal to these values are bad.
    badrow_direction, rail_direction, clen_for_centering
        Of older files; kept, not used.
    """

    data: str | None = None
    dims: tuple[str | int, ...] = field(default=("%", "ss", "fs"), compare=False)
    masks: tuple[Mask, ...] = ()
    no_index: bool = False
    mask_edge_pixels: int = 0
    adu_per_ev: float | None = None
    adu_per_photon: float | None = None
    max_adu: float | None = None
    saturation_map: str | None = None
    saturation_map_file: str | None = None
    flag_lessthan: float | None = None
    flag_morethan: float | None = None
    flag_equal: float | None = None
    badrow_direction: str | None = None
    rail_direction: tuple[float, float, float] | None = None
    clen_for_centering: float | None = None


@dataclass(frozen=True)
class Panel:
    """One plane of pixels.

    The file's own numbers are kept, in pixels, because a radius that is cut to whole pixels depends on their
    last digit; metres are derived.

    Attributes
    ----------
    name : str
    module : int
        Place of its module in the slab, from 0.
    rect : (int, int, int, int)
        ss_start, ss_stop, fs_start, fs_stop in the slab, stop exclusive.
    corner_px : (float, float)
        x and y of the outer corner of the first pixel.
    fs_px, ss_px : (float, float, float)
        Step of one pixel along the fast and the slow scan direction, as x, y, z.
    res : float
        Pixels per metre.
    coffset_m : float
        z of the corner in m, counted from the camera length.
    options : PanelOptions

    Examples
    --------
    >>> p = Panel("p0", 0, (0, 64, 0, 128), (10.0, 20.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 5000.0)
    >>> p.shape, p.corner.tolist()
    ((64, 128), [0.002, 0.004, 0.0])
    """

    name: str
    module: int
    rect: tuple[int, int, int, int]
    corner_px: tuple[float, float]
    fs_px: tuple[float, float, float]
    ss_px: tuple[float, float, float]
    res: float
    coffset_m: float = 0.0
    options: PanelOptions = field(default_factory=PanelOptions)

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along slow scan and fast scan."""
        return self.rect[1] - self.rect[0], self.rect[3] - self.rect[2]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where the panel lies in a slab."""
        return slice(self.rect[0], self.rect[1]), slice(self.rect[2], self.rect[3])

    @property
    def pixel_size_m(self) -> float:
        """Pixel pitch in m."""
        return 1 / self.res

    @property
    def corner(self) -> np.ndarray:
        """x, y, z of the outer corner of the first pixel in m, float64 (3,)."""
        return np.array([self.corner_px[0] / self.res, self.corner_px[1] / self.res, self.coffset_m])

    @property
    def fs_vec(self) -> np.ndarray:
        """Step of one pixel along fast scan in m, float64 (3,)."""
        return np.array(self.fs_px) / self.res

    @property
    def ss_vec(self) -> np.ndarray:
        """Step of one pixel along slow scan in m, float64 (3,)."""
        return np.array(self.ss_px) / self.res


@dataclass(frozen=True)
class BadRegion:
    """A rectangle that is not to be used: in the laboratory, or in the pixels of one panel.

    Attributes
    ----------
    name : str
        Starts with ``bad``.
    xy : (float, float, float, float) or None
        min_x, max_x, min_y, max_y in pixels, inclusive; holds for pixel centres.
    panel : str or None
        The panel of `rect`.
    rect : (int, int, int, int) or None
        ss_start, ss_stop, fs_start, fs_stop in the slab, stop exclusive.
    """

    name: str
    xy: tuple[float, float, float, float] | None = None
    panel: str | None = None
    rect: tuple[int, int, int, int] | None = None
