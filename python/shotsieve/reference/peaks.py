"""peakfinder8 in plain NumPy and float64: which peaks, in which order, with which numbers.

Slow and obvious on purpose, after Barty et al. 2014 (J. Appl. Cryst. 47, 1118) as in CrystFEL with its
corrected flood fill. How close each decision was comes from `peaks_margin`, so that a test can demand every
peak whose decisions do not hang on the last bits of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import fsum

import numpy as np

from . import peaks_margin as margins
from .peaks_fill import components

__all__ = ["FILTERS", "PEAK_DTYPE", "Found", "find_peaks"]

PEAK_DTYPE = np.dtype(
    [(name, "f8") for name in ("fs", "ss", "total", "max", "snr", "background", "sigma")]
    + [("panel", "i4"), ("n_pixels", "i4")]
)
FILTERS = (
    "too_few_pixels",
    "too_many_pixels",
    "no_weight",
    "low_snr",
    "background_higher",
    "outside_panel",
)
PASSES = 5
FIRST_LIMIT = 1e9
EMPTY_UPPER, EMPTY_LOWER = float(np.finfo("f4").max), float(np.finfo("f4").tiny)
LEAST = 1e-10  # of a sum of weights, and of the sigma of a ring
UNKNOWN_SIGMA = 0.01


@dataclass
class Found:
    """What `find_peaks` gives.

    Attributes
    ----------
    records : ndarray of `PEAK_DTYPE`, shape (n,)
        All peaks in order: panels as listed, in a panel by the first interior pixel in raster order.
    members : list of ndarray of int64
        Of each peak, the flat indices of its pixels in the slab, sorted.
    margin : ndarray of float64, shape (n,)
        How far the nearest decision of each peak was from falling the other way, relative; 0 where rounding
        may decide. See `peaks_margin`.
    rejected : dict of str to int
        Components that each of `FILTERS` rejected.
    rejected_margin : dict of str to ndarray of float64
        Their margins.
    threshold, offset : ndarray of float64, shape (n_bins,)
        Of each radial bin.
    bins_at_risk : ndarray of bool, shape (n_bins,)
        Rounding may change which pixels the clipping keeps, or the threshold by more than 1e-8.
    doubtful : ndarray of bool, shape (rows, columns)
        Pixels whose being strong hangs on rounding (margin below 1e-6).
    loose : ndarray of int64, shape (n_panels,)
        Doubtful pixels and components with a margin below 1e-6 of each panel: how many peaks may differ.
    """

    records: np.ndarray
    members: list[np.ndarray]
    margin: np.ndarray
    rejected: dict[str, int]
    rejected_margin: dict[str, np.ndarray]
    threshold: np.ndarray
    offset: np.ndarray
    bins_at_risk: np.ndarray
    doubtful: np.ndarray
    loose: np.ndarray


@dataclass
class Frame:
    """One frame and its statistics; what the search of a panel looks at."""

    values: np.ndarray  # float64 (rows, columns); what is not usable may hold anything
    usable: np.ndarray  # bool (rows, columns)
    bins: np.ndarray  # int64 (rows, columns)
    threshold: np.ndarray  # float64 (n_bins,)
    offset: np.ndarray  # float64 (n_bins,)
    risk: np.ndarray  # bool (n_bins,): as Found.bins_at_risk
    sharp: np.ndarray  # bool (n_bins,): the threshold has the same bits in whatever order sums run
    sharp_offset: np.ndarray  # bool (n_bins,): the same of the offset
    strong: np.ndarray = field(init=False)

    def __post_init__(self):
        with np.errstate(invalid="ignore"):
            self.strong = self.usable & (self.values > self.threshold[self.bins])


@dataclass
class Rules:
    """Parameters of the search."""

    threshold: float
    min_snr: float
    min_pix_count: int
    max_pix_count: int
    local_bg_radius: int
    noise_floor: float


@dataclass
class Judged:
    """What was computed of one component, as far as the filters let it come."""

    ss: np.ndarray  # of the members, in the slab
    fs: np.ndarray
    verdict: str | None = None  # the filter that rejected it
    weights: np.ndarray | None = None  # above the offsets of their bins
    centre: tuple[float, float] | None = None  # (ss, fs) of the first centroid, in the panel
    disc: tuple[np.ndarray, np.ndarray] | None = None  # usable pixels of the disc, (ss, fs) in the slab
    ring: np.ndarray | None = None  # values of the local background
    ring_at: tuple[int, int] | None = None  # centre of the ring in the slab
    sigma: float = 0.0
    background: float = 0.0
    ring_highest: float = 0.0
    total: float = 0.0
    highest: float = 0.0
    snr: float = 0.0
    at: tuple[float, float] | None = None  # (ss, fs) in the panel


def find_peaks(
    frame,
    mask,
    radius,
    panels,
    *,
    threshold,
    min_snr,
    min_pix_count,
    max_pix_count,
    local_bg_radius,
    min_res=0.0,
    max_res=0.0,
    noise_floor=0.0,
    compat=None,
):
    """Find the peaks of one frame.

    Promise: exact, but for decisions whose margin is below 1e-6, which rounding may turn.

    Parameters
    ----------
    frame : ndarray of float32, shape (rows, columns)
        NaN and infinities count as masked.
    mask : ndarray of bool, shape (rows, columns), or None
        True where a pixel may be used.
    radius : ndarray of float32, shape (rows, columns)
        Distance from the beam in pixels; NaN where a pixel may not be used.
    panels : ndarray of int, shape (n, 4), or None
        ss_start, ss_stop, fs_start, fs_stop, stop exclusive; None is one panel. Pixels outside are not used.
    threshold : float
        Least value of a strong pixel in the unit of the frame; rounded to float32.
    min_snr : float
        Least ratio of total to sigma, and the reach of the clipping in sigmas.
    min_pix_count, max_pix_count : int
        Both inclusive.
    local_bg_radius : int
        Half the radius of the local background, in pixels.
    min_res, max_res : float
        Radii searched, exclusive, in pixels; 0 is off.
    noise_floor : float
        Added in quadrature to every sigma, in the unit of the frame; 0 is off.
    compat : str or None
        "om-23.8" fills components as OM 23.8 does, which may join a pixel far away; see `peaks_fill`.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If `compat` is unknown.

    Examples
    --------
    >>> frame = np.random.default_rng(0).normal(0, 1, (64, 128)).astype("f4")
    >>> frame[30, 60:62] = 50
    >>> found = find_peaks(frame, None, np.full(frame.shape, 10, "f4"), None, threshold=10, min_snr=5,
    ...                    min_pix_count=2, max_pix_count=20, local_bg_radius=3)
    >>> float(found.records["fs"][0]), found.members[0].tolist()
    (60.5, [3900, 3901])
    """
    if compat not in (None, "om-23.8"):
        raise ValueError(f"compat = {compat!r}: expected None or 'om-23.8'")
    rules = Rules(
        float(np.float32(threshold)), min_snr, min_pix_count, max_pix_count, local_bg_radius, noise_floor
    )
    values = np.asarray(frame, "f4").astype("f8")
    rows, columns = values.shape
    panels = [(0, rows, 0, columns)] if panels is None else [tuple(map(int, panel)) for panel in panels]
    radius = np.asarray(radius, "f4").astype("f8")
    usable = _usable(values, mask, radius, panels, min_res, max_res)
    data = _with_statistics(values, usable, np.nan_to_num(radius), rules)

    found, flat = [], np.arange(rows * columns).reshape(rows, columns)
    rejected_margin = {name: [] for name in FILTERS}
    doubtful = margins.doubtful_pixels(data, rules)
    loose = np.zeros(len(panels), "i8")
    queue = {}  # the slots of OM's fill outlive a panel
    for number, panel in enumerate(panels):
        top, bottom, left, right = panel
        loose[number] = doubtful[top:bottom, left:right].sum()
        strong = data.strong[top:bottom, left:right]
        for ss, fs in components(strong, None if compat is None else queue):
            judged = judge(data, rules, panel, ss + top, fs + left)
            margin = margins.margin(data, rules, panel, judged)
            loose[number] += margin < margins.FIRM
            if judged.verdict is not None:
                rejected_margin[judged.verdict].append(margin)
                continue
            at_ss, at_fs = judged.at
            numbers = (at_fs + left, at_ss + top, judged.total, judged.highest, judged.snr)
            record = (*numbers, judged.background, judged.sigma, number, len(ss))
            found.append((record, flat[judged.ss, judged.fs], margin))
    return Found(
        np.array([record for record, _, _ in found], PEAK_DTYPE),
        [members for _, members, _ in found],
        np.array([margin for _, _, margin in found], "f8"),
        {name: len(values) for name, values in rejected_margin.items()},
        {name: np.array(values, "f8") for name, values in rejected_margin.items()},
        data.threshold,
        data.offset,
        data.risk,
        doubtful,
        loose,
    )


def _usable(values, mask, radius, panels, min_res, max_res):
    """Return which pixels take part in anything: statistics, search and rings alike."""
    usable = np.zeros(values.shape, bool)
    for top, bottom, left, right in panels:
        usable[top:bottom, left:right] = True
    usable &= np.isfinite(values) & np.isfinite(radius)
    if mask is not None:
        usable &= np.asarray(mask, bool)
    with np.errstate(invalid="ignore"):
        if min_res > 0:
            usable &= radius > min_res
        if max_res > 0:
            usable &= radius < max_res
    return usable


def _with_statistics(values, usable, radius, rules):
    """Return the frame with threshold and offset of each radial bin."""
    bins = np.rint(radius).astype("i8")  # halves to even
    count = max(int(np.ceil(radius.max())) + 1, int(bins.max()) + 1)
    threshold, offset = np.zeros(count), np.zeros(count)
    risk, sharp, sharp_offset = (np.zeros(count, bool) for _ in range(3))
    by_bin = np.argsort(bins[usable], kind="stable")
    edges = np.cumsum(np.bincount(bins[usable], minlength=count))[:-1]
    for at, members in enumerate(np.split(values[usable][by_bin], edges)):
        threshold[at], offset[at], risk[at], sharp[at], sharp_offset[at] = clip(members, rules)
    return Frame(values, usable, bins, threshold, offset, risk, sharp, sharp_offset)


def clip(values, rules):
    """Return threshold, offset of one bin, and whether they are at risk, sharp, and the offset sharp."""
    lower, upper, mean = -FIRST_LIMIT, FIRST_LIMIT, 0.0
    doubt = margins.ClipDoubt(values, rules)
    for _ in range(PASSES):
        kept = values[(lower < values) & (values < upper)]
        if len(kept) == 0:
            mean, lower, upper = 0.0, EMPTY_LOWER, EMPTY_UPPER
            if rules.noise_floor > 0:
                reach = rules.min_snr * rules.noise_floor
                lower, upper = -reach, max(reach, rules.threshold)
            doubt.empty(lower, upper)
            continue
        mean = fsum(kept) / len(kept)
        variance = fsum(kept * kept) / len(kept) - mean * mean
        if rules.noise_floor > 0:
            sigma = np.sqrt(max(variance, 0.0) + rules.noise_floor * rules.noise_floor)
        else:
            sigma = np.sqrt(variance) if variance >= 0 else variance  # negative, and without a root
        lower, upper = mean - rules.min_snr * sigma, max(mean + rules.min_snr * sigma, rules.threshold)
        doubt.limits(kept, mean, variance, sigma)
    return upper, mean, doubt.risk, doubt.sharp, doubt.sharp_offset


def judge(data, rules, panel, ss, fs):
    """Return all there is to know of the component of the pixels (ss, fs) of the slab."""
    top, bottom, left, right = panel
    raster = np.lexsort((fs, ss))
    ss, fs = ss[raster], fs[raster]
    judged = Judged(ss, fs)
    if len(ss) < rules.min_pix_count:
        judged.verdict = "too_few_pixels"
        return judged
    if len(ss) > rules.max_pix_count:
        judged.verdict = "too_many_pixels"
        return judged
    values = data.values[ss, fs]
    judged.weights = weights = values - data.offset[data.bins[ss, fs]]
    weight = _lane_sum(weights, ss - top)
    if weight < LEAST:
        judged.verdict = "no_weight"
        return judged
    judged.centre = (
        float(_lane_sum(weights * (ss - top), ss - top) / weight),
        float(_lane_sum(weights * (fs - left), ss - top) / weight),
    )
    _local_background(data, rules, panel, judged)

    judged.total = fsum(values - judged.background)
    judged.highest = max(0.0, float((values - judged.background).max()))
    raw = abs(fsum(values))
    if raw < LEAST:
        judged.verdict = "no_weight"
        return judged
    judged.at = fsum(values * (ss - top)) / raw, fsum(values * (fs - left)) / raw
    judged.snr = judged.total / judged.sigma if judged.sigma > LEAST else 0.0
    if judged.snr < rules.min_snr:
        judged.verdict = "low_snr"
    elif judged.highest < judged.ring_highest - judged.background:
        judged.verdict = "background_higher"
    elif not (0 <= judged.at[0] <= bottom - top - 1 and 0 <= judged.at[1] <= right - left - 1):
        judged.verdict = "outside_panel"
    return judged


def _lane_sum(terms, rows):
    """Return a sum in the order of the backends: a lane for each row of the panel modulo 32, then a tree.

    A centroid midway between two pixels, as equal photon counts have it, is rounded by the last bit of this.
    """
    lanes = np.zeros(32)
    for term, row in zip(terms, rows, strict=True):
        lanes[row % 32] += term
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


def _local_background(data, rules, panel, judged):
    """Look at the disc around the first centroid; its last row and column are not part of it."""
    top, bottom, left, right = panel
    centre_ss = top + int(min(max(np.rint(judged.centre[0]), 0), bottom - top - 1))
    centre_fs = left + int(min(max(np.rint(judged.centre[1]), 0), right - left - 1))
    reach = 2 * rules.local_bg_radius
    dy, dx = (offsets.ravel() for offsets in np.mgrid[-reach:reach, -reach:reach])
    ss, fs = centre_ss + dy, centre_fs + dx
    disc = (dy * dy + dx * dx <= reach * reach) & (top <= ss) & (ss < bottom) & (left <= fs) & (fs < right)
    ss, fs = ss[disc], fs[disc]
    ss, fs = ss[data.usable[ss, fs]], fs[data.usable[ss, fs]]
    values = data.values[ss, fs]
    judged.disc, judged.ring_at = (ss, fs), (centre_ss, centre_fs)
    judged.ring = ring = values[values < data.threshold[data.bins[ss, fs]]]
    judged.background, judged.sigma = data.offset[data.bins[centre_ss, centre_fs]], UNKNOWN_SIGMA
    if len(ring):
        judged.background = fsum(ring) / len(ring)
        variance = fsum(ring * ring) / len(ring) - judged.background * judged.background
        judged.sigma = float(np.sqrt(variance)) if variance >= 0 else UNKNOWN_SIGMA
        judged.ring_highest = max(0.0, float(ring.max()))
    if rules.noise_floor > 0:
        judged.sigma = float(np.sqrt(judged.sigma * judged.sigma + rules.noise_floor * rules.noise_floor))
