"""A model of JUNGFRAU, ePix100 and Gotthard-II: what each pixel is like, and the words it makes.

Offset, noise and gain of every stage are normal over pixels, multiples of a fixed step so that they are exact
in float32; memory cells differ by a pattern that is shifted along the module from cell to cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..detectors import Detector
from .noise import generator, normals


@dataclass(frozen=True)
class Numbers:
    """What the pixels of a detector are like on average, for its gain stages from the high one on.

    Attributes
    ----------
    offset, noise : tuple of float
        ADU; noise rms.
    adu_per_kev : tuple of float
        With its sign.
    full : tuple of float
        ADU above (or below) the offset at which a stage is full; none for the last.
    offset_sigma, noise_sigma, gain_sigma : float
        Scatter over pixels: ADU, and relative.
    cell_sigma : float
        Scatter of the offset between cells, ADU.
    bend : float
        Largest distance of a raw word from the linear one, ADU; 0 for words that are linear.
    """

    offset: tuple[float, ...]
    noise: tuple[float, ...]
    adu_per_kev: tuple[float, ...]
    full: tuple[float, ...] = ()
    offset_sigma: float = 60.0
    noise_sigma: float = 0.05
    gain_sigma: float = 0.02
    cell_sigma: float = 4.0
    bend: float = 0.0


NUMBERS = {
    # Gains: the public defaults of Jungfraujoch. Pedestals as a user sees them.
    "JUNGFRAU": Numbers(
        (3000.0, 15000.0, 14500.0), (12.0, 8.0, 7.0), (41.0, -1.439, -0.1145), (11000.0, 13000.0)
    ),
    "EPIX100": Numbers((3000.0,), (4.0,), (15.0,)),
    "GOTTHARD2": Numbers(
        (600.0, 500.0, 450.0), (5.0, 3.0, 3.0), (20.0, 1.6, 0.16), (2500.0, 2500.0), 25.0, bend=60.0
    ),
}
"""By the name of the detector. Those of ePix100 and Gotthard-II are of the right order, and no more."""

BIAS_VOLTAGE = 180.0
INTEGRATION_TIME = 10.0
"""In V and us: how every simulated run of these detectors was taken, dark or not, and their constants."""

NOISY_FACTOR = 6.0


class ReceiverModule:
    """One module: its constants for every memory cell, and its words.

    Parameters
    ----------
    detector : Detector
        One of `NUMBERS`.
    seed, module : int
    cells : int
        Memory cells, counted by their place in the constants.
    bad_fraction : float
        Share of bad pixels: half of them do not see light, half are noisy.

    Attributes
    ----------
    dead, noisy : ndarray of bool, shape (pixels,)

    Examples
    --------
    >>> from shotsieve import detectors
    >>> ReceiverModule(detectors.load("GOTTHARD2"), 1, 1, 2).offset(0, 0).shape
    (1280,)
    """

    def __init__(
        self, detector: Detector, seed: int, module: int, cells: int, bad_fraction: float = 0.0
    ) -> None:
        self.detector, self.module, self.cells = detector, module, cells
        self.numbers = n = NUMBERS[detector.name]
        rng, pixels = generator(seed, 8, module), detector.pixels
        self._offset = np.stack([_steps(rng, m, n.offset_sigma, 0.5, pixels) for m in n.offset])
        self._noise = np.stack([_steps(rng, m, n.noise_sigma * m, 0.125, pixels) for m in n.noise])
        self._gain = np.stack(
            [_steps(rng, m, n.gain_sigma * abs(m), abs(m) / 4096, pixels) for m in n.adu_per_kev]
        )
        self._scatter = _steps(rng, 0.0, n.cell_sigma, 0.5, pixels)
        self._shift = rng.integers(0, pixels, cells)
        self._phase = rng.uniform(0, 2 * np.pi, pixels)
        bad = rng.permutation(pixels)[: round(bad_fraction * pixels)]
        self.dead, self.noisy = np.zeros(pixels, bool), np.zeros(pixels, bool)
        self.dead[bad[::2]] = self.noisy[bad[1::2]] = True
        self._noise[:, self.noisy] *= np.float32(NOISY_FACTOR)

    def offset(self, gain: int, cell: int) -> np.ndarray:
        """Return the dark level of a stage in linear ADU, (pixels,) float32."""
        return self._offset[gain] + np.roll(self._scatter, -self._shift[cell])

    def noise(self, gain: int) -> np.ndarray:
        """Return the noise of a stage in ADU rms, (pixels,) float32."""
        return self._noise[gain]

    def adu_per_kev(self, gain: int) -> np.ndarray:
        """Return the gain of a stage in ADU per keV, (pixels,) float32; also of pixels that see no light."""
        return self._gain[gain]

    def bits(self) -> np.ndarray:
        """Return the bits of the bad pixels, (pixels,) uint32, the same for all stages and cells."""
        dead = np.where(self.dead, np.uint32(BadPixels.FF_GAIN_DEVIATION), np.uint32(0))
        return dead | np.where(self.noisy, np.uint32(BadPixels.NOISE_OUT_OF_THRESHOLD), np.uint32(0))

    def linear(self) -> np.ndarray | None:
        """Return the linear word that stands for every raw word, (entries, pixels) uint16, or None."""
        if not self.numbers.bend:
            return None
        words = np.arange(1 << self.detector.adc_bits)
        raw = self._bent(words[:, None].astype(np.float64))
        table = [np.interp(words, raw[:, pixel], words) for pixel in range(self.detector.pixels)]
        return np.rint(np.stack(table, axis=1)).astype(np.uint16)

    def _bent(self, value: np.ndarray, at: slice | np.ndarray = np.s_[:]) -> np.ndarray:
        """Return what the ADC makes of linear values; it rises throughout, and keeps both ends."""
        top = (1 << self.detector.adc_bits) - 1
        ends = np.sin(np.pi * value / top)
        return value + self.numbers.bend * ends * np.sin(2 * np.pi * value / top + self._phase[at])

    def stages(self, energy_kev: np.ndarray) -> np.ndarray:
        """Return the gain stage that an energy in keV brings every pixel to, (pixels,) int8."""
        stage = np.zeros(len(energy_kev), np.int8)
        for limit, gain in zip(self.numbers.full, self._gain, strict=False):
            stage += energy_kev > np.abs(limit / gain)
        return stage

    def words(
        self,
        rng: np.random.Generator,
        cell: int,
        energy_kev: np.ndarray,
        out: np.ndarray,
        fixed_stage: int = -1,
        common_mode: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """Make the words of a frame, and return the gain stages.

        Promise: exact; the same generator state gives the same words.

        Parameters
        ----------
        rng : numpy.random.Generator
        cell : int
            Place of the memory cell.
        energy_kev : ndarray of float64, shape (pixels,)
        out : ndarray of uint16, shape (planes, pixels)
            Filled: values, and gain codes where the detector has them.
        fixed_stage : int
            -1 where a pixel goes to the stage that its energy asks for.
        common_mode : ndarray, shape (pixels,), or float
            ADU that are added to every pixel.

        Returns
        -------
        ndarray of int8, shape (pixels,)
        """
        energy = np.where(self.dead, 0.0, energy_kev)
        stage = self.stages(energy) if fixed_stage < 0 else np.full(len(energy), fixed_stage, np.int8)
        z = normals(rng, np.empty(len(stage), np.float32))
        value = np.empty(len(stage))
        for g in np.unique(stage):
            at = np.flatnonzero(stage == g)
            noise = z[at].astype(np.float64) * self._noise[g][at]
            value[at] = self.offset(g, cell)[at] + noise + energy[at] * self._gain[g][at]
        value += common_mode
        if self.numbers.bend:
            value = self._bent(np.clip(value, 0, (1 << self.detector.adc_bits) - 1))
        # Neither 0 nor the largest word: these may say that something is wrong.
        np.clip(np.rint(value, out=value), 1, (1 << self.detector.adc_bits) - 2, out=value)
        out[0] = value
        if len(out) > 1:
            out[1] = np.array(self.detector.codes, np.uint16)[stage]
        return stage


def _steps(rng: np.random.Generator, mean: float, sigma: float, step: float, size: int) -> np.ndarray:
    """Return normal values that are multiples of `step`, float32; four sigma at most."""
    z = np.clip(rng.standard_normal(size), -4, 4)
    return (np.rint((mean + sigma * z) / step) * step).astype(np.float32)
