"""How close each decision of the peak finder's oracle was.

A backend adds in another order than the oracle, so its sums differ in the last bits, and so may what hangs
on them. A margin is the distance of a decision from falling the other way, relative to the numbers compared;
a peak has the smallest of all its decisions, and 0 where the rounding itself may turn one. Numbers that come
out with the same bits in any order (sums of whole photons, a bin whose threshold is the given one) need no
margin: there a test can demand equality even of a pixel that equals its threshold.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FIRM", "ClipDoubt", "distance_to_half", "doubtful_pixels", "exact_sum", "margin"]

FIRM = 1e-6  # a decision with a larger margin holds on every backend
SLIGHT = 1e-8  # relative error of a number that may enter a decision
ROUNDING = 64 * float(np.finfo("f8").eps)  # relative error of a sum, with much to spare


def exact_sum(values):
    """Return whether numbers add up to the same bits in any order.

    Parameters
    ----------
    values : ndarray of float64

    Returns
    -------
    bool
        True when every partial sum fits the 53 bits of a float64.

    Examples
    --------
    >>> exact_sum(np.array([1.0, 2.0, 30000.0])), exact_sum(np.array([0.1, 3e7]))
    (True, False)
    """
    values = values[values != 0]
    if len(values) == 0:
        return True
    mantissa, exponent = np.frexp(values)
    whole = np.abs(np.ldexp(mantissa, 53)).astype("i8")
    unit = np.ldexp((whole & -whole).astype("f8"), exponent - 53).min()  # all are multiples of it
    return bool((np.abs(values) / unit).sum() < 2.0**53)


def _exact_moments(values):
    return exact_sum(values) and exact_sum(values * values)


def _sigma_error(mean_square, sigma):
    """Return the error of a sigma from the rounding of its variance."""
    return ROUNDING * mean_square / (2 * sigma) if sigma > 0 else np.inf


class ClipDoubt:
    """Follows the clipping of one bin.

    Attributes
    ----------
    risk : bool
        Rounding may change which pixels stay, or the last limits by more than 1e-8.
    sharp, sharp_offset : bool
        The last upper limit, the last mean have the same bits in any order of the sums.
    """

    def __init__(self, values, rules):
        self.values, self.rules = values, rules
        self.risk = False
        self.sharp = self.sharp_offset = True

    def empty(self, lower, upper):
        """Note a pass that found no pixel."""
        self.sharp = self.sharp_offset = True

    def limits(self, kept, mean, variance, sigma):
        """Note the limits that a pass gives, before the upper one is raised to the threshold."""
        reach = self.rules.min_snr * sigma
        self.sharp = self.sharp_offset = True
        if _exact_moments(kept):
            return
        self.sharp_offset = False
        mean_square = float(np.mean(kept * kept))
        error = ROUNDING * abs(mean) + self.rules.min_snr * _sigma_error(mean_square, sigma)
        if self.rules.noise_floor <= 0 and variance <= 4 * ROUNDING * mean_square:
            error = np.inf  # its sign may turn, and with it the formula
        upper, lower = mean + reach, mean - reach
        clear = upper < self.rules.threshold - error  # then the upper limit is the threshold, to the bit
        self.sharp = bool(clear)
        near = np.abs(self.values - lower) <= error
        if not clear:
            near |= np.abs(self.values - upper) <= error
        imprecise = not clear and error > SLIGHT * max(abs(upper), 1.0)
        self.risk |= bool(near.any() or imprecise or not np.isfinite(error))


def doubtful_pixels(data, rules):
    """Return the pixels whose being strong hangs on rounding, bool (rows, columns)."""
    with np.errstate(invalid="ignore", over="ignore"):
        return data.usable & (_distance(data, rules, slice(None), slice(None)) < FIRM)


def _distance(data, rules, ss, fs):
    """Return the margin of `value > threshold` of pixels; infinite in a sharp bin."""
    values, bins = data.values[ss, fs], data.bins[ss, fs]
    limit = data.threshold[bins]
    scale = np.maximum(np.maximum(np.abs(values), np.abs(limit)), 1.0)
    distance = np.where(data.sharp[bins], np.inf, np.abs(values - limit) / scale)
    # The threshold of a bin at risk may be anything, but not below the given one.
    at_least = np.maximum(rules.threshold - values, 0.0) / scale
    return np.where(data.risk[bins], at_least, distance)


def margin(data, rules, panel, judged):
    """Return the smallest margin of all decisions that made a component and judged it."""
    smallest = _pixels_margin(data, rules, panel, judged)
    if judged.weights is None:
        return smallest
    size = float(np.abs(judged.weights).sum())
    smallest = min(smallest, abs(judged.weights.sum() - 1e-10) / max(1.0, size))
    if judged.centre is None:
        return smallest
    smallest = min(smallest, _centre_margin(data, judged), _ring_margin(data, rules, judged))
    values = data.values[judged.ss, judged.fs]
    raw, exact = abs(values.sum()), exact_sum(values)
    if not exact:
        smallest = min(smallest, abs(raw - 1e-10) / max(1.0, np.abs(values).sum()))
    if judged.at is None:
        return smallest
    if raw < SLIGHT * np.abs(values).sum():
        return 0.0  # the position is noise
    return min(smallest, _filter_margin(rules, panel, judged, values))


def _pixels_margin(data, rules, panel, judged):
    """Return the margin of the members and of their neighbours, which might have been members."""
    top, bottom, left, right = panel
    touched = np.zeros((bottom - top + 2, right - left + 2), bool)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            touched[judged.ss - top + dy, judged.fs - left + dx] = True
    ss, fs = np.nonzero(touched[1:-1, 1:-1] & data.usable[top:bottom, left:right])
    return float(_distance(data, rules, ss + top, fs + left).min())


def _centre_margin(data, judged):
    """Return 0 where rounding decides which pixel the ring is centred on."""
    bins = data.bins[judged.ss, judged.fs]
    if data.sharp_offset[bins].all() and not data.risk[bins].any():
        return np.inf  # the oracle adds in the order of the backends
    size = np.abs(data.values[judged.ss, judged.fs]).sum() + np.abs(judged.weights).sum()
    slack = 1e-9 + ROUNDING * max(data.values.shape) * size / abs(judged.weights.sum())
    for centre in judged.centre:
        if abs(abs(centre - np.floor(centre)) - 0.5) <= slack:
            return 0.0
    return np.inf


def _ring_margin(data, rules, judged):
    """Return the margin of which pixels are local background, and 0 where their sigma is noise."""
    smallest = np.inf
    if len(judged.disc[0]):
        smallest = float(_distance(data, rules, *judged.disc).min())
    if len(judged.ring) == 0:
        return 0.0 if data.risk[data.bins[judged.ring_at]] else smallest
    if _exact_moments(judged.ring):
        return smallest
    mean_square = float(np.mean(judged.ring * judged.ring))
    variance = mean_square - float(np.mean(judged.ring)) ** 2
    if variance <= 4 * ROUNDING * mean_square:
        return 0.0  # its sign may turn, and with it the formula
    return 0.0 if _sigma_error(mean_square, judged.sigma) > SLIGHT * judged.sigma else smallest


def _filter_margin(rules, panel, judged, values):
    top, bottom, left, right = panel
    floor = max(rules.min_snr, 1e-30)
    smallest = abs(judged.snr - rules.min_snr) / floor
    if judged.sigma > 1e-10:
        size = np.abs(values).sum() + len(values) * abs(judged.background)
        if ROUNDING * size / judged.sigma > SLIGHT * max(floor, abs(judged.snr)):
            return 0.0
    if judged.verdict == "low_snr":
        return smallest
    if len(judged.ring) == 0 or values.max() != judged.ring.max():
        above = judged.highest - (judged.ring_highest - judged.background)
        smallest = min(smallest, abs(above) / max(1.0, judged.highest))
    if judged.verdict == "background_higher" or values.min() >= 0:
        return smallest  # weights of one sign leave the centroid among the members
    for at, last in zip(judged.at, (bottom - top - 1, right - left - 1), strict=True):
        smallest = min(smallest, abs(at), abs(at - last))
    return smallest


def distance_to_half(frame, radius, members, offset):
    """Return how near the centroid of a component comes to where its ring is centred on the next pixel.

    A program that adds in float32 may round such a centroid to the other side.

    Parameters
    ----------
    frame, radius : ndarray of float32, shape (rows, columns)
    members : ndarray of int64, shape (n,)
        Flat indices of the component's pixels.
    offset : ndarray of float64, shape (n_bins,)
        Of each radial bin; what a pixel has above it is its weight.

    Returns
    -------
    float
        Distance in pixels from the nearest half, the smaller one of both axes.

    Examples
    --------
    >>> two = np.array([[0, 3, 1, 0]], "f4")
    >>> float(distance_to_half(two, np.zeros((1, 4), "f4"), np.array([1, 2]), np.zeros(1)))
    0.25
    """
    bins = np.rint(radius.ravel()[members]).astype(int)
    weights = frame.ravel()[members].astype("f8") - offset[bins]
    centre = np.array(np.unravel_index(members, frame.shape)) @ weights / weights.sum()
    return np.abs(centre - np.floor(centre) - 0.5).min()
