"""What the beam hits: spheres, crystals, or a solution that scatters the same in every shot.

Speckles have a module of their own, `speckles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..geometry.tile import Tile
from .bragg import BraggDiffraction, deposit
from .crystal import random_orientation
from .kinds import geometry_of_detector
from .noise import generator
from .physics import SphereDiffraction, background_profile, sphere_form_factor

if TYPE_CHECKING:
    from .parameters import SpiParameters
    from .schedule import Schedule
    from .sfx import SaxsParameters, SfxParameters

ORIENTATION = 7  # stream of random numbers


class Scene(Protocol):
    """The light of hits and of the background, without the pulse energy."""

    def hit(self, shot: int, row: int) -> np.ndarray | None:
        """Return the expected photons of the hit on one module, (pixels,) float32; None for a miss."""

    def mean(self, shot: int, row: int) -> np.ndarray | None:
        """Return the same over all that chance does to the light itself, beside the photons."""

    def lit(self, photons: np.ndarray, hit: np.ndarray) -> np.ndarray:
        """Return the probability of a photon in each pixel: photons expected there, and those of the hit."""

    def background(self, q: np.ndarray) -> np.ndarray:
        """Return the relative intensity of the background."""

    def truth(self) -> dict[str, tuple[np.ndarray, str, str]]:
        """Return what truth.h5 says beside the schedule: name -> values, unit, meaning."""


class Still:
    """Light that is what it is, so that chance is in the photons alone."""

    def mean(self, shot: int, row: int) -> np.ndarray | None:
        """See `Scene`."""
        return self.hit(shot, row)

    def lit(self, photons: np.ndarray, hit: np.ndarray) -> np.ndarray:
        """See `Scene`."""
        return -np.expm1(-photons)


class Spheres(Still):
    """Single particles, one a hit.

    Parameters
    ----------
    p : SpiParameters
    schedule : Schedule
    q, weight : ndarray, shape (M, pixels)
        Momentum transfer, 1/nm, and solid angle of every pixel.
    """

    def __init__(self, p: SpiParameters, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> None:
        self._schedule = schedule
        self._sphere = SphereDiffraction(q, weight)
        self._total = self._sphere.total_weight()
        self._radial: tuple[int, np.ndarray] = (-1, np.empty(0))

    def hit(self, shot: int, row: int) -> np.ndarray | None:
        """See `Scene`."""
        strength = self._schedule.strength[shot]
        if strength == 0:
            return None
        known, radial = self._radial
        if known != shot:
            radial = self._sphere.radial(self._schedule.radius[shot])
            self._radial = (shot, radial)
        scale = strength / np.sum(radial * self._total)
        return self._sphere.pattern(row, radial) * np.float32(scale)

    def background(self, q: np.ndarray) -> np.ndarray:
        """See `Scene`."""
        return background_profile(q)

    def truth(self) -> dict[str, tuple[np.ndarray, str, str]]:
        """See `Scene`."""
        return {}


class Crystals(Still):
    """Crystals in random orientations, one a hit, in a jet of water.

    Parameters
    ----------
    p : SfxParameters
    schedule : Schedule
    q, weight : ndarray, shape (M, pixels)
        As for `Spheres`.
    """

    def __init__(self, p: SfxParameters, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> None:
        self._p, self._schedule = p, schedule
        geometry = geometry_of_detector(p.detector)
        ahead = np.array([0.0, 0.0, p.distance_m])
        self._shape = geometry.module_shape
        tiles = [Tile(one.rect, one.corner + ahead, one.ss_vec, one.fs_vec) for one in geometry.panels]
        tiles = [tile for tile in tiles if tile.rect[0] // self._shape[0] in p.modules]
        self._rects = [tile.rect for tile in tiles]
        self._diffraction = BraggDiffraction(
            tiles,
            p.cell,
            p.photon_energy_kev,
            d_min_nm=p.resolution_nm,
            b_factor_nm2=p.b_factor_nm2,
            mosaicity_mrad=p.mosaicity_mrad,
            bandwidth=p.bandwidth,
            molecule=p.seed,
        )
        self._spots: tuple[int, np.ndarray, np.ndarray] = (-1, np.empty(0), np.empty(0))

    def orientation(self, shot: int) -> np.ndarray:
        """Return the rotation of the crystal of a shot, whether it is hit or not."""
        s = self._schedule
        return random_orientation(
            generator(self._p.seed, ORIENTATION, int(s.train[shot]), int(s.frame[shot]))
        )

    def spots(self, shot: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the spots of a hit, and the photons of each at mean pulse energy."""
        if self._spots[0] != shot:
            spots = self._diffraction.spots(self.orientation(shot), 2 * self._schedule.radius[shot])
            total = spots["weight"].sum()
            photons = spots["weight"] * (self._schedule.strength[shot] / total if total > 0 else 0.0)
            self._spots = (shot, spots, photons)
        return self._spots[1:]

    def hit(self, shot: int, row: int) -> np.ndarray | None:
        """See `Scene`."""
        if self._schedule.strength[shot] == 0:
            return None
        spots, photons = self.spots(shot)
        image = np.zeros(self._shape, np.float32)
        top = self._shape[0] * self._p.modules[row]
        # What falls beside a chip is lost: its neighbour in the array need not be its neighbour in space.
        for tile, (ss, ss_stop, fs, fs_stop) in enumerate(self._rects):
            mine = spots["tile"] == tile
            if 0 <= ss - top < self._shape[0] and mine.any():
                own = spots[mine]
                own["ss"] -= ss
                own["fs"] -= fs
                deposit(own, photons[mine], image[ss - top : ss_stop - top, fs:fs_stop])
        return image.ravel()

    def background(self, q: np.ndarray) -> np.ndarray:
        """See `Scene`."""
        return background_profile(q, 2.0) + self._p.water * water_ring(q)

    def truth(self) -> dict[str, tuple[np.ndarray, str, str]]:
        """See `Scene`."""
        hits = np.flatnonzero(self._schedule.hit)
        turns = np.zeros((len(self._schedule), 3, 3))
        found, first = [], np.zeros(len(self._schedule) + 1, np.int64)
        for shot in hits.tolist():
            turns[shot] = self.orientation(shot)
            spots, photons = self.spots(shot)
            energy = self._schedule.pulse_energy[shot] / self._p.pulse_energy_uj
            found.append(np.rec.fromarrays(
                [*(spots[name] for name in ("h", "k", "l", "ss", "fs")), photons * energy],
                names=("h", "k", "l", "ss", "fs", "photons"),
            ))  # fmt: skip
            first[shot + 1] = len(spots)
        first = np.cumsum(first)
        empty = np.rec.fromarrays([np.zeros(0, "i2")] * 3 + [np.zeros(0)] * 3, names="h,k,l,ss,fs,photons")
        spots = np.concatenate(found) if found else empty
        table = {
            "orientation": (turns, "", "rotation from the cell's own frame to the laboratory; 0 for a miss"),
            "spots_first": (first, "", "spots of shot k are rows first[k] to first[k + 1] of the spots"),
        }
        about = {
            "h": "index of the reflection", "k": "index of the reflection", "l": "index of the reflection",
            "ss": "slow scan position in the slab; the centre of its first pixel is 0",
            "fs": "fast scan position", "photons": "expected photons at the energy of the pulse",
        }  # fmt: skip
        return table | {
            f"spots_{name}": (np.asarray(spots[name]), "photon" if name == "photons" else "", meaning)
            for name, meaning in about.items()
        }


class Solution(Still):
    """A solution that scatters in every lit shot: spheres of many sizes, and powder rings.

    Parameters
    ----------
    p : SaxsParameters
    schedule : Schedule
    q, weight : ndarray, shape (M, pixels)
        As for `Spheres`.
    """

    def __init__(self, p: SaxsParameters, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> None:
        self._p, self._schedule = p, schedule
        pattern = self.intensity(q) * weight
        self._pattern = (pattern / pattern.sum()).astype(np.float32)

    def intensity(self, q: np.ndarray) -> np.ndarray:
        """Return the relative intensity at some momentum transfers, 1/nm, float64."""
        p = self._p
        # Sizes at which a normal distribution has equal shares on either side of each.
        spread = np.linspace(-2.5, 2.5, 11)
        share = np.exp(-0.5 * spread**2)
        sizes = p.radius_nm * (1 + p.size_jitter * spread)
        weights = share * sizes**6  # of forward scattering: the square of the volume
        curve = sum(w * sphere_form_factor(q * size) for w, size in zip(weights, sizes, strict=True))
        curve = curve / weights.sum()
        for ring in p.rings:
            curve = curve + p.ring_height * np.exp(-0.5 * np.square((q - ring) / p.ring_width))
        return curve

    def hit(self, shot: int, row: int) -> np.ndarray | None:
        """See `Scene`."""
        strength = self._schedule.strength[shot]
        return None if strength == 0 else self._pattern[row] * np.float32(strength)

    def background(self, q: np.ndarray) -> np.ndarray:
        """See `Scene`."""
        return background_profile(q)

    def truth(self) -> dict[str, tuple[np.ndarray, str, str]]:
        """See `Scene`."""
        q = np.linspace(0, 4 * np.pi * self._p.photon_energy_kev / 1.2398419843320025, 2001)[1:]
        return {
            "curve_q": (q, "1/nm", "momentum transfer of the curve"),
            "curve": (self.intensity(q), "", "relative intensity that every lit shot scatters"),
        }


def water_ring(q: np.ndarray) -> np.ndarray:
    """Return the diffuse ring of liquid water about its peak at 20 / nm, relative, float64.

    A Gaussian of 4 / nm (standard deviation) stands for the first peak of the structure factor (Clark et al.,
    2010, PNAS 107, 14003): enough for spots that stand on a curved background.

    Examples
    --------
    >>> float(water_ring(np.array(20.0)))
    1.0
    """
    return np.exp(-0.5 * np.square((np.asarray(q) - 20.0) / 4.0))
