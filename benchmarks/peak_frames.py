"""Frames of serial crystallography on AGIPD-1M with known truth: what the peak benchmarks search.

Values are keV-like: a photon is 9.3, the read-out noise is Gaussian with a sigma of 1.2. The background is
radial with two broad maxima and a mean of so many photons per pixel; its strength varies by 15 % from shot
to shot. A hit has 5 to 100 Gaussian spots, log-normal in strength. About 6 % of the pixels are masked, and
hold junk that a peak finder would trip over. Photons are Poisson everywhere.

A frame is a slab: the modules one below the other, float32 (rows, 128), panels of 64 x 128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from shotsieve.simulate import geometry

PHOTON, NOISE = 9.3, 1.2
BACKGROUNDS = (0.05, 0.5, 2.0)
JITTER = 0.15
HITS, BLANKS = "hits", "blanks"
JUNK = (0.0, 5000.0, -300.0)
PANEL = (geometry.ASIC_ROWS, geometry.SHAPE[1])
ALL_MODULES = tuple(range(geometry.MODULES))

SPOTS = (5, 100)  # per shot, both inclusive
SPOT_SIGMA = (0.5, 0.9)  # pixels
SPOT_PHOTONS = (10.0, 20_000.0)  # limits of a log-normal distribution
MEDIAN_PHOTONS, LOG_WIDTH = 150.0, 1.2
REACH = 6  # a spot ends so many pixels from its centre: six of its sigmas or more

SETTINGS: dict[str, dict[str, Any]] = {
    "A": {"threshold": 120.0, "min_snr": 5.0, "min_pix_count": 1, "max_pix_count": 30, "local_bg_radius": 3},
    "B": {"threshold": 40.0, "min_snr": 5.0, "min_pix_count": 2, "max_pix_count": 30, "local_bg_radius": 3},
}
"""Parameters of peakfinder8 under its own names: strict (12.9 photons) and sensitive (4.3 photons)."""

SPOT_DTYPE = np.dtype(
    [
        ("shot", "i4"),
        ("panel", "i4"),
        ("fs", "f8"),  # slab; the centre of the first pixel is 0
        ("ss", "f8"),
        ("photons", "f8"),
        ("sigma", "f8"),
        ("brightest", "f8"),  # photons that the spot alone gives to its brightest pixel, expected
        ("background", "f8"),  # photons of background expected in that pixel
        ("good", "?"),  # that pixel is not masked and not on the border of its panel
    ]
)

_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class Scene:
    """A part of the detector, its mask, and the background it sees. Make it with `make`.

    Attributes
    ----------
    radius : ndarray of float32, shape (rows, 128)
        Distance from the beam in pixels, of pixel centres.
    mask : ndarray of bool, shape (rows, 128)
        True: the pixel is good.
    panels : ndarray of int32, shape (n, 4)
        ss_start, ss_stop, fs_start, fs_stop.
    mean : ndarray of float64, shape (rows, 128)
        Expected photons of background at the usual strength.
    """

    radius: np.ndarray
    mask: np.ndarray
    panels: np.ndarray
    mean: np.ndarray
    _pixel_of: np.ndarray  # background photons fall into these slots with equal chance
    _masked: np.ndarray

    @classmethod
    def make(cls, background: float, modules: Sequence[int] = ALL_MODULES, seed: int = 1) -> Scene:
        """Lay out some modules of an AGIPD-1M.

        Parameters
        ----------
        background : float
            Photons per pixel, mean over the modules.
        modules : sequence of int
            From the top of the slab to its bottom.
        seed : int
            Of the mask.
        """
        positions = np.concatenate([geometry.pixel_positions(module) for module in modules])
        radius = np.hypot(positions[..., 0], positions[..., 1]) / geometry.PIXEL_SIZE_M
        rows, columns = radius.shape
        starts = np.arange(0, rows, PANEL[0])
        panels = np.stack([starts, starts + PANEL[0], 0 * starts, 0 * starts + columns], axis=1).astype("i4")
        mask = _mask(np.random.default_rng([seed, 1]), radius)
        shape = 0.15 + 1.6 * np.exp(-radius / 110) + 0.8 * np.exp(-(((radius - 330) / 70) ** 2))
        slots = 32 << math.ceil(math.log2(radius.size))
        ends = np.rint(np.cumsum(shape) / shape.sum() * slots).astype("i8")
        share = np.diff(ends, prepend=0)
        return cls(
            radius.astype("f4"),
            mask,
            panels,
            # What the slots give, not the smooth shape itself: the truth is exact.
            (share * (background * radius.size / slots)).reshape(radius.shape),
            np.repeat(np.arange(radius.size, dtype="u4"), share),
            np.flatnonzero(~mask),
        )

    def blanks(self, rng: np.random.Generator, shots: int) -> np.ndarray:
        """Return shots without spots, float32 (shots, rows, 128)."""
        return self._frames(rng, rng.lognormal(0, JITTER, shots), None)

    def hits(self, rng: np.random.Generator, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """Return shots with spots, float32 (shots, rows, 128), and the spots, `SPOT_DTYPE`, by shot."""
        strength = rng.lognormal(0, JITTER, shots)
        spots, where, expected = self._spots(rng, strength)
        return self._frames(rng, strength, (spots["shot"], where, expected)), spots

    def _frames(
        self,
        rng: np.random.Generator,
        strength: np.ndarray,
        light: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    ) -> np.ndarray:
        frames = np.empty((len(strength), self.radius.size), "f4")
        # A Poisson number of photons, each at a place of its own, is Poisson in every pixel, and far quicker
        # than to draw every pixel. So is the sum of two such fields.
        totals = rng.poisson(strength * self.mean.sum())
        shift = np.uint32(32 - (len(self._pixel_of) - 1).bit_length())
        for shot, (frame, total) in enumerate(zip(frames, totals, strict=True)):
            slots = rng.integers(0, 1 << 32, total, dtype="u4") >> shift
            photons = np.bincount(self._pixel_of.take(slots), minlength=frame.size).astype("f4")
            if light is not None:
                mine = light[0] == shot
                at, expected = light[1][mine].ravel(), light[2][mine].ravel()
                photons += np.bincount(at, rng.poisson(expected), minlength=frame.size)
            rng.standard_normal(out=frame, dtype="f4")
            frame *= NOISE
            photons *= PHOTON
            frame += photons
            kind = rng.integers(0, len(JUNK), len(self._masked), dtype="u1")
            frame[self._masked] = np.asarray(JUNK, "f4")[kind]
        return frames.reshape(-1, *self.radius.shape)

    def _spots(
        self, rng: np.random.Generator, strength: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the spots, the pixels around each, int64 (n, 2 * REACH + 1 squared), and their photons."""
        per_shot = rng.integers(SPOTS[0], SPOTS[1], len(strength), endpoint=True)
        spots = np.zeros(per_shot.sum(), SPOT_DTYPE)
        n, (height, width) = len(spots), PANEL
        spots["shot"] = np.repeat(np.arange(len(strength)), per_shot)
        spots["panel"] = rng.integers(0, len(self.panels), n)
        ss, spots["fs"] = rng.uniform(0, height, n) - 0.5, rng.uniform(0, width, n) - 0.5
        spots["ss"] = ss + spots["panel"] * height
        spots["sigma"] = rng.uniform(*SPOT_SIGMA, n)
        photons = MEDIAN_PHOTONS * np.exp(rng.normal(0, LOG_WIDTH, n))
        spots["photons"] = np.clip(photons, *SPOT_PHOTONS)
        rows, row_share = _shares(ss, spots["sigma"], height)
        columns, column_share = _shares(spots["fs"], spots["sigma"], width)
        expected = (spots["photons"][:, None] * row_share)[:, :, None] * column_share[:, None, :]
        where = ((spots["panel"] * height)[:, None] + rows)[:, :, None] * width + columns[:, None, :]
        where, expected = where.reshape(n, -1), expected.reshape(n, -1)
        top = np.arange(n), expected.argmax(axis=1)
        spots["brightest"] = expected[top]
        at = where[top]
        spots["background"] = self.mean.ravel()[at] * strength[spots["shot"]]
        row, column = at // width % height, at % width
        inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
        spots["good"] = inside & self.mask.ravel()[at]
        return spots, where, expected


def _shares(centre: np.ndarray, sigma: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels along one axis of a panel around each centre, and the share of a Gaussian in each.

    Both are (n, 2 * REACH + 1). Pixels outside the panel are clipped into it and have a share of 0: nothing
    of a spot is seen beside its panel.
    """
    pixels = np.rint(centre).astype("i8")[:, None] + np.arange(-REACH, REACH + 1)
    edges = np.concatenate([pixels - 0.5, pixels[:, -1:] + 0.5], axis=1)
    below = _erf((edges - centre[:, None]) / (math.sqrt(2) * sigma[:, None])).astype("f8")
    share = 0.5 * np.diff(below, axis=1)
    share[(pixels < 0) | (pixels >= size)] = 0
    return np.clip(pixels, 0, size - 1), share


def _mask(rng: np.random.Generator, radius: np.ndarray) -> np.ndarray:
    """Return good pixels: without dead ones, dead panels, double-size rows, and the hole in the middle."""
    good = rng.random(radius.shape) >= 0.008
    panels = good.reshape(-1, *PANEL)
    dead = max(1, round(len(panels) * 3 / 128))
    panels[rng.choice(len(panels), dead, replace=False)] = False
    panels[:, [0, -1]] = False
    good[radius < 25] = False
    return good
