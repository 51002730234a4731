"""A model of a detector whose samples say their gain stage: what each pixel is like, and the words it makes.

Offset, noise and gain of every stage are normal over pixels, multiples of a fixed step so that they are exact
in float32; memory cells differ by a pattern that is shifted along the module from cell to cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..detectors import Detector
from .noise import generator, normals


@dataclass(frozen=True)
class Numbers:
    """What the pixels of a detector are like on average, for the stages high, medium, low.

    Attributes
    ----------
    offset, noise : tuple of float
        ADU; noise rms.
    adu_per_kev : tuple of float
        With its sign.
    full : tuple of float
        ADU above (or below) the offset at which high and medium gain are full.
    offset_sigma, noise_sigma, gain_sigma : float
        Scatter over pixels: ADU, and relative.
    cell_sigma : float
        Scatter of the offset between cells, ADU.
    """

    offset: tuple[float, float, float]
    noise: tuple[float, float, float]
    adu_per_kev: tuple[float, float, float]
    full: tuple[float, float]
    offset_sigma: float = 60.0
    noise_sigma: float = 0.05
    gain_sigma: float = 0.02
    cell_sigma: float = 4.0


NUMBERS = {
    # Gains: the public defaults of Jungfraujoch. Pedestals as a user sees them.
    "JUNGFRAU": Numbers(
        (3000.0, 15000.0, 14500.0), (12.0, 8.0, 7.0), (41.0, -1.439, -0.1145), (11000.0, 13000.0)
    ),
}
"""By the name of the detector."""


class StageModule:
    """One module: its constants for every memory cell, and its words.

    Parameters
    ----------
    detector : Detector
        One whose plane 1 is a gain code.
    seed : int
    module : int
    cells : int
        Memory cells, counted by their place in the constants.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> StageModule(detectors.load("JUNGFRAU"), 1, 1, 1).true_offset(0, 0).shape
    (524288,)
    """

    def __init__(self, detector: Detector, seed: int, module: int, cells: int) -> None:
        self.detector, self.module, self.cells = detector, module, cells
        self.numbers = n = NUMBERS[detector.name]
        rng, pixels = generator(seed, 6, module), detector.pixels
        self._offset = np.stack([_steps(rng, m, n.offset_sigma, 0.5, pixels) for m in n.offset])
        self._noise = np.stack([_steps(rng, m, n.noise_sigma * m, 0.125, pixels) for m in n.noise])
        self._gain = np.stack(
            [_steps(rng, m, n.gain_sigma * abs(m), abs(m) / 4096, pixels) for m in n.adu_per_kev]
        )
        self._scatter = _steps(rng, 0.0, n.cell_sigma, 0.5, pixels)
        self._shift = rng.integers(0, pixels, cells)
        # What is wrong with pixels: added to the offset of every stage, noise times this, code of high gain.
        self.offset_error = np.zeros(pixels, np.float32)
        self.noise_factor = np.ones(pixels, np.float32)
        self.stuck = np.zeros(pixels, bool)

    def true_offset(self, gain: int, cell: int) -> np.ndarray:
        """Return the dark level of a stage in ADU, (pixels,) float32."""
        return self._offset[gain] + np.roll(self._scatter, -self._shift[cell]) + self.offset_error

    def true_noise(self, gain: int, cell: int) -> np.ndarray:
        """Return the noise of a stage in ADU rms, (pixels,) float32."""
        return self._noise[gain] * self.noise_factor

    def adu_per_kev(self, gain: int) -> np.ndarray:
        """Return the gain of a stage in ADU per keV, (pixels,) float32."""
        return self._gain[gain]

    def stages(self, energy_kev: np.ndarray) -> np.ndarray:
        """Return the gain stage that an energy in keV brings every pixel to, (pixels,) int8."""
        full = [np.abs(limit / gain) for limit, gain in zip(self.numbers.full, self._gain[:2], strict=True)]
        stage = (energy_kev > full[0]).astype(np.int8) + (energy_kev > full[1])
        return np.where(self.stuck, np.int8(0), stage)

    def dark_words(self, rng: np.random.Generator, stage: int, cell: int, out: np.ndarray) -> None:
        """Make the words of a dark frame with all pixels forced to a stage.

        Parameters
        ----------
        rng : numpy.random.Generator
        stage : int
        cell : int
            Place of the memory cell.
        out : ndarray of uint16, shape (2, pixels)
            Filled: value and gain code.
        """
        self._fill(rng, np.where(self.stuck, 0, stage), cell, None, out)

    def words(
        self, rng: np.random.Generator, cell: int, energy_kev: np.ndarray, out: np.ndarray
    ) -> np.ndarray:
        """Make the words of a frame in which pixels received energy, and return their stages.

        Parameters
        ----------
        rng : numpy.random.Generator
        cell : int
        energy_kev : ndarray of float64, shape (pixels,)
        out : ndarray of uint16, shape (2, pixels)

        Returns
        -------
        ndarray of int8, shape (pixels,)
        """
        stage = self.stages(energy_kev)
        self._fill(rng, stage, cell, energy_kev, out)
        return stage

    def _fill(
        self, rng, stage: np.ndarray, cell: int, energy_kev: np.ndarray | None, out: np.ndarray
    ) -> None:
        z = normals(rng, np.empty(len(stage), np.float32))
        value = np.empty(len(stage))
        for g in range(3):
            at = np.flatnonzero(stage == g)
            if not at.size:
                continue
            part = self.true_offset(g, cell)[at] + z[at].astype(np.float64) * self.true_noise(g, cell)[at]
            value[at] = part if energy_kev is None else part + energy_kev[at] * self._gain[g][at]
        # Neither 0 nor the largest word: these say that something is wrong.
        np.clip(np.rint(value, out=value), 1, self.detector.adc_max - 1, out=value)
        out[0] = value
        out[1] = np.array(self.detector.codes, np.uint16)[stage]


def _steps(rng: np.random.Generator, mean: float, sigma: float, step: float, size: int) -> np.ndarray:
    """Return normal values that are multiples of `step`, float32; four sigma at most."""
    z = np.clip(rng.standard_normal(size), -4, 4)
    return (np.rint((mean + sigma * z) / step) * step).astype(np.float32)
