"""What arrives at the detector: diffraction of one sphere over a smooth background, counted in photons."""

from __future__ import annotations

import numpy as np

TABLE_BITS = 20
RADIAL_BINS = 8192


def sphere_form_factor(x: np.ndarray) -> np.ndarray:
    """Return |F|^2 of a uniform sphere, 1 in forward direction.

    Parameters
    ----------
    x : array_like
        q times the radius, dimensionless, >= 0.

    Returns
    -------
    numpy.ndarray
        (3 (sin x - x cos x) / x^3)^2, float64.

    Notes
    -----
    Promise: bounded; 1e-9 relative to the largest value: below 0.5 the power series replaces the
    difference, which would cancel.

    Examples
    --------
    >>> float(sphere_form_factor(0.0))
    1.0
    """
    x = np.asarray(x, np.float64)
    safe = np.maximum(x, 0.5)
    full = 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3
    y = x * x
    series = 1 - y / 10 * (1 - y / 28 * (1 - y / 54 * (1 - y / 88)))
    return np.square(np.where(x < 0.5, series, full))


class SphereDiffraction:
    """Expected photons of spheres of any radius on one set of modules.

    Parameters
    ----------
    q : numpy.ndarray
        (modules, pixels) float, 1/nm.
    solid_angle : numpy.ndarray
        (modules, pixels) float, relative to the forward direction (polarisation may be part of it).

    Notes
    -----
    |F(q)|^2 is tabulated once per shot on 8192 points of q (float64, rounded once) and interpolated per
    pixel with plain float32 steps, so that the photons drawn do not depend on the processor.

    Examples
    --------
    >>> sphere = SphereDiffraction(np.full((1, 4), 0.01), np.ones((1, 4)))
    >>> sphere.pattern(0, sphere.radial(30.0)).shape
    (4,)
    """

    def __init__(self, q: np.ndarray, solid_angle: np.ndarray):
        self.step = float(q.max()) / (RADIAL_BINS - 2)
        position = q / self.step
        self._bin = np.minimum(position.astype(np.int64), RADIAL_BINS - 2).astype(np.intp)
        self._rest = (position - self._bin).astype(np.float32)
        self._weight = solid_angle.astype(np.float32)

    def total_weight(self) -> np.ndarray:
        """Return the weights that turn a radial table into the sum of the patterns of all modules.

        Returns
        -------
        numpy.ndarray
            (8192,) float64: ``sum(radial * total_weight())`` is the sum over all pixels.

        Examples
        --------
        >>> float(SphereDiffraction(np.ones((1, 4)), np.ones((1, 4))).total_weight().sum())
        4.0
        """
        rest, weight, at = self._rest.ravel(), self._weight.ravel(), self._bin.ravel()
        low = np.bincount(at, weight * (1 - rest), RADIAL_BINS)
        return low + np.bincount(at + 1, weight * rest, RADIAL_BINS)

    def radial(self, radius_nm: float) -> np.ndarray:
        """Return |F|^2 of one sphere on the table's points.

        Parameters
        ----------
        radius_nm : float
            Radius, nm.

        Returns
        -------
        numpy.ndarray
            (8192,) float32.

        Examples
        --------
        >>> SphereDiffraction(np.ones((1, 1)), np.ones((1, 1))).radial(10.0).dtype
        dtype('float32')
        """
        return sphere_form_factor(np.arange(RADIAL_BINS) * (self.step * radius_nm)).astype(np.float32)

    def pattern(self, row: int, radial: np.ndarray) -> np.ndarray:
        """Return the pattern on one module, in units of the forward direction.

        Parameters
        ----------
        row : int
            Which of the modules given to the constructor.
        radial : numpy.ndarray
            From `radial`.

        Returns
        -------
        numpy.ndarray
            (pixels,) float32.

        Examples
        --------
        >>> sphere = SphereDiffraction(np.zeros((1, 2)) + 1e-9, np.ones((1, 2)))
        >>> bool(np.allclose(sphere.pattern(0, sphere.radial(1.0)), 1.0))
        True
        """
        at = self._bin[row]
        low, high = radial[at], radial[at + 1]
        high -= low
        high *= self._rest[row]
        high += low
        high *= self._weight[row]
        return high


class Background:
    """Smooth background on one module, from which single photons are drawn quickly.

    Parameters
    ----------
    profile : numpy.ndarray
        (pixels,) relative mean of each pixel, >= 0; at most 65,536 pixels.
    total : float
        Mean photons on the module in a shot of mean pulse energy.

    Attributes
    ----------
    mean : numpy.ndarray
        (pixels,) float32: mean photons per pixel in a shot of mean pulse energy.

    Notes
    -----
    Photons are dealt to pixels through a table of 2^20 entries: `mean` is what that table says, the profile
    rounded to 2^-20 of the total, and therefore exactly what is drawn.

    Examples
    --------
    >>> Background(np.ones(4), 8.0).mean.tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, profile: np.ndarray, total: float):
        profile = np.asarray(profile, np.float64)
        size = 1 << TABLE_BITS
        edges = np.rint(np.cumsum(profile) * (size / profile.sum())).astype(np.int64)
        entries = np.diff(edges, prepend=0)
        self.total = float(total)
        self._table = np.repeat(np.arange(profile.size, dtype=np.uint16), entries)
        self.mean = (entries * (self.total / size)).astype(np.float32)
        self._mean64 = entries * (self.total / size)

    def draw(self, rng: np.random.Generator, energy: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw the background photons of one shot.

        Parameters
        ----------
        rng : numpy.random.Generator
        energy : float
            Pulse energy relative to its mean.

        Returns
        -------
        pixels : numpy.ndarray
            int64, ascending: the pixels that received photons.
        counts : numpy.ndarray
            int64: how many.

        Examples
        --------
        >>> pixels, counts = Background(np.ones(4), 8.0).draw(np.random.default_rng(1), 1.0)
        """
        if self.total * energy > self.mean.size / 4:
            return draw_photons(rng, self._mean64 * energy)
        n = int(rng.poisson(self.total * energy))
        draws = rng.integers(0, 1 << 32, n, dtype=np.uint32)
        return np.unique(self._table[draws >> (32 - TABLE_BITS)].astype(np.int64), return_counts=True)


def draw_photons(rng: np.random.Generator, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw Poisson photons for every pixel of a module.

    Parameters
    ----------
    rng : numpy.random.Generator
    mean : numpy.ndarray
        (pixels,) mean photons, >= 0.

    Returns
    -------
    pixels, counts : numpy.ndarray
        int64: the pixels that received photons, ascending, and how many.

    Examples
    --------
    >>> draw_photons(np.random.default_rng(1), np.zeros(5))[0].size
    0
    """
    counts = np.zeros(mean.size, np.int64)
    bright = np.flatnonzero(mean > 0.25)
    counts[bright] = rng.poisson(mean[bright])
    # The faint pixels share one Poisson number of photons, dealt out by their means: far fewer draws.
    edges = np.cumsum(np.where(mean > 0.25, 0.0, mean.astype(np.float64)))
    n = int(rng.poisson(edges[-1]))
    if n:
        at = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
        counts += np.bincount(np.minimum(at, mean.size - 1), minlength=mean.size)
    pixels = np.flatnonzero(counts != 0)
    return pixels, counts[pixels]


def background_profile(q: np.ndarray, width_per_nm: float = 0.5) -> np.ndarray:
    """Return a smooth background: air and nozzle scattering falling off with q over a flat floor.

    Parameters
    ----------
    q : numpy.ndarray
        1/nm, any shape.
    width_per_nm : float, default 0.5
        Scale of the fall.

    Returns
    -------
    numpy.ndarray
        Relative intensity, float64, > 0, the shape of `q`.

    Examples
    --------
    >>> float(background_profile(np.array(0.0)))
    1.2
    """
    return 0.2 + 1.0 / (1.0 + np.square(np.asarray(q) / width_per_nm))


def solid_angle(distance_m: float, radius_m: np.ndarray) -> np.ndarray:
    """Return the solid angle of flat pixels relative to the pixel at the beam: cos^3 of the scattering angle.

    Parameters
    ----------
    distance_m : float
    radius_m : numpy.ndarray
        Distance of each pixel from the beam, m.

    Returns
    -------
    numpy.ndarray
        float64, the shape of `radius_m`.

    Examples
    --------
    >>> float(solid_angle(1.0, np.array(0.0)))
    1.0
    """
    return (1 + np.square(np.asarray(radius_m) / distance_m)) ** -1.5
