"""Frames on the AGIPD-1M that EXtra-geom lays out, and both radius maps: where peaks are compared with OM's.

As `peak_frames`: keV-like values, three strengths of a radial background that varies by 15 % from shot to
shot, hits with 5 to 100 Gaussian spots, junk under the mask. Pixel by pixel and spot by spot, by NumPy's own
generator: a seed gives the same frames as any other program that draws them in this order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from om_agreement import Layout
from peak_frames import (
    BACKGROUNDS,
    BLANKS,
    HITS,
    JITTER,
    JUNK,
    LOG_WIDTH,
    MEDIAN_PHOTONS,
    NOISE,
    PANEL,
    PHOTON,
    SPOT_PHOTONS,
    SPOT_SIGMA,
    SPOTS,
)
from scipy.special import erf
from shotsieve.geometry import Geometry

SHAPE = (8192, 128)
QUADRANTS = ((-525, 625), (-550, -10), (520, -160), (542.5, 475))  # usual at SPB/SFX
DEAD_PANELS = 3


@dataclass(frozen=True)
class AgreementFrames:
    """One mask, and the frames that are drawn after it.

    Attributes
    ----------
    layouts : dict of str to Layout
        By the convention of the radius map: "float", as OM has it, and "crystfel".
    """

    layouts: dict[str, Layout]
    _radius: np.ndarray  # float64, as EXtra-geom has it
    _rng: np.random.Generator
    _shots: int

    @classmethod
    def make(cls, seed: int, shots: int = 12) -> AgreementFrames:
        """Lay the detector out and draw the mask; every set will have so many shots."""
        rng = np.random.default_rng(seed)
        maps = _radius_maps()
        panels = SHAPE[0] // PANEL[0]
        good = np.ones(SHAPE, bool)
        good[rng.random(SHAPE) < 0.008] = False
        by_panel = good.reshape(panels, *PANEL)
        by_panel[rng.choice(panels, DEAD_PANELS, replace=False)] = False
        by_panel[:, [0, -1]] = False
        good[maps["float"] < 25] = False
        starts = np.arange(0, SHAPE[0], PANEL[0])
        where = np.stack([starts, starts + PANEL[0], 0 * starts, 0 * starts + PANEL[1]], axis=1).astype("i4")
        layouts = {name: Layout(radius.astype("f4"), good, where) for name, radius in maps.items()}
        return cls(layouts, maps["float"], rng, shots)

    def sets(self) -> Iterator[tuple[str, float, np.ndarray]]:
        """Yield kind, background and frames, float32 (shots, rows, columns); once, since it draws."""
        bad, radius = ~self.layouts["float"].mask, self._radius
        profile = 0.15 + 1.6 * np.exp(-radius / 110) + 0.8 * np.exp(-(((radius - 330) / 70) ** 2))
        profile /= profile.mean()
        for background in BACKGROUNDS:
            for kind in (HITS, BLANKS):
                frames = np.empty((self._shots, *SHAPE), "f4")
                for frame in frames:
                    expected = background * profile * self._rng.lognormal(0, JITTER)
                    if kind == HITS:
                        self._add_spots(expected)
                    photons = self._rng.poisson(expected)
                    values = photons * PHOTON + self._rng.normal(0, NOISE, SHAPE)
                    values[bad] = self._rng.choice(JUNK, bad.sum())
                    frame[:] = values
                yield kind, background, frames

    def _add_spots(self, expected: np.ndarray) -> None:
        """Add the light of Gaussian spots; none crosses the border of its panel."""
        rng, (height, width) = self._rng, PANEL
        for _ in range(int(rng.integers(SPOTS[0], SPOTS[1] + 1))):
            top = int(rng.integers(SHAPE[0] // height)) * height
            ss = top + rng.uniform(0, height) - 0.5
            fs = rng.uniform(0, width) - 0.5
            sigma = rng.uniform(*SPOT_SIGMA)
            photons = float(np.clip(np.exp(rng.normal(np.log(MEDIAN_PHOTONS), LOG_WIDTH)), *SPOT_PHOTONS))
            rows = np.arange(max(top, int(ss) - 5), min(top + height, int(ss) + 7) + 1)
            columns = np.arange(max(0, int(fs) - 5), min(width, int(fs) + 7) + 1)
            part = np.s_[rows[0] : rows[-1], columns[0] : columns[-1]]
            expected[part] += photons * np.outer(_share(rows, ss, sigma), _share(columns, fs, sigma))


def _share(edges: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    """Return the share of a Gaussian in each pixel but the last; a pixel begins half below its number."""
    return 0.5 * np.diff(erf((edges - 0.5 - centre) / (np.sqrt(2) * sigma)))


def _radius_maps() -> dict[str, np.ndarray]:
    """Return the distance from the beam in pixels: of the object, and as CrystFEL has it of the file."""
    import extra_geom

    laid_out = extra_geom.AGIPD_1MGeometry.from_quad_positions(quad_pos=list(QUADRANTS))
    x, y = (laid_out.get_pixel_positions()[..., axis].reshape(SHAPE) / 2e-4 for axis in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "agipd.geom"
        laid_out.write_crystfel_geom(
            str(file), dims=("frame", "ss", "fs"), adu_per_ev=0.001, clen=0.12, photon_energy=9300
        )
        crystfel = Geometry.load(file, module_shape=(512, 128)).radius("crystfel")
    return {"float": np.hypot(x, y), "crystfel": crystfel}
