"""Bragg peaks: the parameters of peakfinder8, and what can be prepared before the first frame.

peakfinder8 (Barty et al. 2014, J. Appl. Cryst. 47, 1118; as in CrystFEL with its corrected flood fill) takes
the pixels at one radius together, clips their distribution five times, and calls a pixel strong that lies
above the mean plus `min_snr` standard deviations, and above `threshold` in any case. Strong pixels of one
panel that touch are a component; one of the right size that stands out of its local background is a peak.
``docs/peaks.md`` has every step.

Promise: exact. The same peaks in the same order with the same numbers on every backend, batch and thread
count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadInput
from .arrays import on_host

PEAK_DTYPE = np.dtype(
    [
        ("fs", "f8"),
        ("ss", "f8"),
        ("total", "f8"),
        ("max", "f8"),
        ("snr", "f8"),
        ("background", "f8"),
        ("sigma", "f8"),
        ("panel", "i4"),
        ("n_pixels", "i4"),
    ]
)
"""One peak. fs, ss: position in the slab, the centre of its first pixel is 0; total and max above the local
background; snr: total over the sigma of one background pixel, as peakfinder8 defines it."""

FILTERS = (
    "too_few_pixels",
    "too_many_pixels",
    "no_weight",
    "low_snr",
    "background_higher",
    "outside_panel",
)
"""Why a component is no peak; each is counted in the first filter that rejects it."""

MIN_BIN_PIXELS = 30
"""A radial bin with fewer good pixels has statistics that nobody should trust."""

MAX_RADIUS = 65534
MAX_COUNT = 2**31 - 1

PLAN_ARRAYS = ("good", "bin_of", "order", "place", "bin_start", "panels", "ring")
"""What the native function takes of a plan, in its order; see there."""


@dataclass(frozen=True)
class PeakParams:
    """Parameters of peakfinder8 under the field's names.

    Attributes
    ----------
    threshold : float
        Lowest value of a strong pixel, in the unit of the frames; rounded to float32.
    min_snr : float
        Least ratio of a peak's total to the sigma of its local background; also the multiplier of the
        radial clipping.
    min_pix_count, max_pix_count : int
        Size of a peak in pixels, both inclusive.
    local_bg_radius : int
        The local background comes from a disc of twice this radius, in pixels.
    min_res, max_res : float
        Range of radii that is searched, in pixels, both exclusive as in CrystFEL; 0 is no limit.
    max_num_peaks : int
        Peaks of a frame that are stored, the first in panel order; all are counted.
    noise_floor : float
        Noise added in quadrature to the sigma of bins and rings, in the unit of the frames. 0 is the original
        algorithm; for photon counts, whose background may have no variance at all, about 0.1 photon.

    Raises
    ------
    BadInput
        If a value is out of its range.

    Examples
    --------
    >>> PeakParams(threshold=40.0, min_snr=5.0, min_pix_count=2).max_pix_count
    200
    """

    threshold: float
    min_snr: float = 5.0
    min_pix_count: int = 2
    max_pix_count: int = 200
    local_bg_radius: int = 3
    min_res: float = 0.0
    max_res: float = 0.0
    max_num_peaks: int = 2048
    noise_floor: float = 0.0

    def __post_init__(self) -> None:
        for name in ("threshold", "min_snr", "min_res", "max_res", "noise_floor"):
            given = getattr(self, name)
            value = float(given) if isinstance(given, (int, float, np.number)) else np.nan
            if not np.isfinite(value) or (name != "threshold" and value < 0):
                least = "a finite number" if name == "threshold" else "a finite number of at least 0"
                raise BadInput(f"peaks: {name} = {given!r}: expected {least}")
            object.__setattr__(self, name, value)
        with np.errstate(over="ignore"):
            rounded = float(np.float32(self.threshold))
        if not np.isfinite(rounded):
            raise BadInput(f"peaks: threshold = {self.threshold!r} is beyond the range of float32")
        object.__setattr__(self, "threshold", rounded)
        for name in ("min_pix_count", "max_pix_count", "local_bg_radius", "max_num_peaks"):
            given = getattr(self, name)
            value = float(given) if isinstance(given, (int, float, np.number)) else np.nan
            if not (value.is_integer() and 1 <= value <= MAX_COUNT):
                raise BadInput(f"peaks: {name} = {given!r}: expected a whole number from 1 to {MAX_COUNT}")
            object.__setattr__(self, name, int(value))
        if self.min_pix_count > self.max_pix_count:
            raise BadInput(
                f"peaks: min_pix_count = {self.min_pix_count} is above max_pix_count = {self.max_pix_count}: "
                "no component could be a peak"
            )
        if self.max_res and self.min_res >= self.max_res:
            raise BadInput(
                f"peaks: min_res = {self.min_res:g} is not below max_res = {self.max_res:g} (pixels): "
                "no pixel would be searched; max_res = 0 is no limit"
            )
        if self.local_bg_radius > 100:
            raise BadInput(f"peaks: local_bg_radius = {self.local_bg_radius}: expected at most 100 pixels")

    def kernel_args(self) -> dict[str, Any]:
        """Return those that the native function takes; how many peaks are stored, the caller says."""
        names = ("threshold", "min_snr", "noise_floor", "min_pix_count", "max_pix_count")
        return {name: getattr(self, name) for name in names}

    def ring(self) -> np.ndarray:
        """Return the offsets (ss, fs) of the local background, int32 (n, 2).

        A disc that lacks its last row and column: offsets run from -R to R - 1 (part of the algorithm).
        """
        reach = 2 * self.local_bg_radius
        ss, fs = np.mgrid[-reach:reach, -reach:reach]
        inside = ss**2 + fs**2 <= reach**2
        return np.stack([ss[inside], fs[inside]], axis=1).astype("i4")


@dataclass(frozen=True, eq=False)
class PeakPlan:
    """What does not change from frame to frame; built once for a geometry, a mask and parameters.

    Make it with `make`. One plan serves every backend.

    Attributes
    ----------
    params : PeakParams
    shape : (int, int)
        Rows and columns of the slab.
    arrays : dict of str to ndarray
        What the native function takes: good, bin_of, `PLAN_ARRAYS`.
    notes : list of str
        What a user should know, such as bins with too few pixels.
    """

    params: PeakParams
    shape: tuple[int, int]
    arrays: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, params: PeakParams, radius: Any, panels: Any = None, mask: Any = None) -> PeakPlan:
        """Prepare the search.

        Parameters
        ----------
        params : PeakParams
        radius : array of float32, shape (rows, columns)
            Distance of every pixel from the beam in pixels; NaN where a pixel belongs to no panel. It is part
            of the result: see `shotsieve.geometry.Geometry.radius`.
        panels : array of int32, shape (n, 4), or None
            ss_start, ss_stop, fs_start, fs_stop of each panel, stop exclusive. They are searched one by one
            in this order, and nothing crosses their borders. Pixels outside are not used. None is one panel.
        mask : array of bool, shape (rows, columns), or None
            True where a pixel may be used.

        Returns
        -------
        PeakPlan

        Raises
        ------
        BadInput
            If shapes disagree, panels overlap or leave the slab, or radii are negative or too large.

        Examples
        --------
        >>> radius = np.hypot(*np.mgrid[-32:32, -64:64]).astype("f4")
        >>> plan = PeakPlan.make(PeakParams(threshold=10), radius)
        >>> plan.shape, len(plan.arrays["panels"])
        ((64, 128), 1)
        """
        if not isinstance(params, PeakParams):
            raise BadInput(f"peaks: params is a {type(params).__name__}: expected PeakParams(threshold=...)")
        radius = np.asarray(on_host(radius, "peaks: the radius map"), "f4")
        if radius.ndim != 2 or radius.size == 0:
            raise BadInput(f"peaks: the radius map has shape {radius.shape}: expected (rows, columns)")
        rects = _checked_panels(panels, radius.shape)
        good = _checked_mask(mask, radius.shape)
        if (radius < 0).any() or np.isinf(radius).any() or np.nanmax(radius, initial=0) > MAX_RADIUS:
            raise BadInput(
                f"peaks: radii run from {np.nanmin(radius)} to {np.nanmax(radius)}: expected 0 to "
                f"{MAX_RADIUS} pixels (a radius map is in pixels, not in metres or millimetres)"
            )
        if 0 < np.nanmax(radius, initial=0) < 1 and radius.size > 1000:
            raise BadInput(
                f"peaks: no pixel is further than {np.nanmax(radius, initial=0):g} from the beam: expected a "
                "radius map in pixels, not in metres"
            )
        covered = np.zeros(radius.shape, bool)
        for top, bottom, left, right in rects:
            covered[top:bottom, left:right] = True
        good &= covered & ~np.isnan(radius)
        if params.min_res > 0:
            good &= radius > params.min_res
        if params.max_res > 0:
            good &= radius < params.max_res
        arrays = _sorted_by_bin(np.nan_to_num(radius, nan=0.0), good.ravel())
        arrays |= {"panels": rects, "ring": params.ring()}
        for array in arrays.values():
            array.flags.writeable = False  # the kernels trust the indices in them
        plan = cls(params, radius.shape, arrays)
        plan.notes.extend(thin_bins(arrays["bin_of"], good))
        return plan

    @property
    def pixels(self) -> int:
        """Number of pixels of a slab."""
        return self.shape[0] * self.shape[1]

    @property
    def stored_peaks(self) -> int:
        """Most peaks of a shot that can be stored: as asked for, or as many as can exist side by side."""
        rects = self.arrays["panels"].astype("i8")
        room = -(-(rects[:, 1] - rects[:, 0]) // 2) * -(-(rects[:, 3] - rects[:, 2]) // 2)
        return min(self.params.max_num_peaks, int(room.sum()))

    @property
    def panel_words(self) -> int:
        """Words of the largest panel's bitmap, in which every row begins with a word."""
        rects = self.arrays["panels"]
        return int(((rects[:, 1] - rects[:, 0]) * -(-(rects[:, 3] - rects[:, 2]) // 32)).max())

    @property
    def words(self) -> int:
        """Number of 32-bit words that hold one bit for each pixel."""
        return -(-self.pixels // 32)


def pack_bits(flags: np.ndarray) -> np.ndarray:
    """Return one bit per flag, uint32 (ceil(n / 32),): bit p % 32 of word p // 32.

    Examples
    --------
    >>> pack_bits(np.array([True, False, True])).tolist()
    [5]
    """
    packed = np.packbits(flags, bitorder="little")
    return np.pad(packed, (0, -len(packed) % 4)).view("<u4")


def _checked_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    if mask is None:
        return np.ones(shape, bool)
    mask = np.asarray(on_host(mask, "peaks: the mask"))
    if mask.shape != shape:
        raise BadInput(f"peaks: the mask has shape {mask.shape}, the radius map {shape}: they must agree")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise BadInput(
            f"peaks: the mask ({mask.dtype}) holds other values than 0 and 1: expected True (or 1) where a "
            "pixel may be used; from a mask of bits make it with (bits & bad_bits) == 0"
        )
    return mask.astype(bool)


def _checked_panels(panels: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the panels as int32 (n, 4), after refusing what overlaps or leaves the slab."""
    if panels is None:
        panels = [[0, shape[0], 0, shape[1]]]
    rects = np.asarray(on_host(panels, "peaks: panels"))
    if rects.ndim != 2 or rects.shape[1] != 4 or len(rects) == 0 or rects.dtype.kind not in "iu":
        raise BadInput(
            f"peaks: panels have shape {rects.shape} and dtype {rects.dtype}: expected whole numbers (n, 4): "
            "ss_start, ss_stop, fs_start, fs_stop"
        )
    owner = np.full(shape, -1, "i4")
    for at, (top, bottom, left, right) in enumerate(rects.tolist()):
        if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
            raise BadInput(
                f"peaks: panel {at} (ss {top}:{bottom}, fs {left}:{right}) is empty or leaves the slab of "
                f"{shape[0]} x {shape[1]} pixels"
            )
        part = owner[top:bottom, left:right]
        if (taken := part.max()) >= 0:
            raise BadInput(
                f"peaks: panel {at} (ss {top}:{bottom}, fs {left}:{right}) overlaps panel {taken}: a pixel "
                "may belong to one panel only"
            )
        part[:] = at
    return np.ascontiguousarray(rects, "i4")


def _sorted_by_bin(radius: np.ndarray, good: np.ndarray) -> dict[str, np.ndarray]:
    """Return bins and the order of good pixels by bin; radii are rounded half to even."""
    bins = np.rint(radius.ravel()).astype("u2")
    count = max(int(np.ceil(radius.max())) + 1, int(bins.max()) + 1)
    used = np.flatnonzero(good)
    order = used[np.argsort(bins[used], kind="stable")].astype("i4")
    place = np.full(bins.size, len(order), "i4")
    place[order] = np.arange(len(order))
    start = np.zeros(count + 1, "i4")
    np.cumsum(np.bincount(bins[used], minlength=count), out=start[1:])
    return {"good": pack_bits(good), "bin_of": bins, "order": order, "place": place, "bin_start": start}


def thin_bins(bin_of: np.ndarray, good: np.ndarray) -> list[str]:
    """Say in one sentence which radial bins have too few good pixels, if any has.

    Parameters
    ----------
    bin_of : ndarray of uint16, shape (n_pixels,)
    good : ndarray of bool, shape (rows, columns) or (n_pixels,)
    """
    if not good.any():
        return ["peaks: no pixel is left to search: mask, panels and resolution range exclude all of them"]
    size = np.bincount(bin_of[good.ravel()])
    few = np.flatnonzero((size > 0) & (size < MIN_BIN_PIXELS))
    if len(few) == 0:
        return []
    shown = ", ".join(map(str, few[:12])) + (f" ... {few[-1]}" if len(few) > 12 else "")
    return [
        f"peaks: {len(few)} of {np.count_nonzero(size)} radial bins have fewer than {MIN_BIN_PIXELS} good "
        f"pixels (radius {shown} px), so that their thresholds are uncertain: usual for the innermost and "
        "outermost ones, a wrong beam centre or mask where it is more; min_res and max_res leave them out"
    ]
