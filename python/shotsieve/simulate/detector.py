"""A model of the AGIPD: what each pixel is like, and the raw words it makes of the photons it receives.

Every per-pixel, per-cell property is a sum of a per-pixel part and small per-cell parts, each a multiple of a
fixed step. That keeps a module at a few megabytes for 352 cells, makes the constants exact in float32, and
lets them compress well.
"""

from __future__ import annotations

import threading

import numpy as np

from .badpixels import Flagged, choose_bad_pixels
from .geometry import SHAPE
from .noise import generator, normals

PIXELS = SHAPE[0] * SHAPE[1]
ADC_MAX = 16383
DENSE_BYTES = 512 << 20  # above this, per-cell planes are made anew for every frame

# Mean of each property; ADU. Medium and low gain offsets stand far enough above the high gain's (and above
# each other) that the hard switches of 1000 ADU leave every pixel that really switched alone.
OFFSET = (5000.0, 8000.0, 8600.0)
NOISE = (7.2, 5.0, 5.0)
LEVEL = (5000.0, 6600.0, 7800.0)
DIGITAL_NOISE = 25.0
ADU_PER_KEV = 7.2
SLOPE_HIGH = 60.0
SLOPE_MEDIUM = 2.0
INTERCEPT = 16.0  # both intercepts are this many times their slope: no step between the stages
SWITCH_ADU = 5000.0  # charge at which a stage is full, in that stage's own ADU above its offset
STAGES = {"adaptive": -1, "fixed_high": 0, "fixed_medium": 1, "fixed_low": 2}


def steps(rng: np.random.Generator, mean: float, sigma: float, step: float, size) -> np.ndarray:
    """Return normal values that are multiples of `step`, float32; four sigma at most."""
    z = np.clip(rng.standard_normal(size), -4, 4)
    return (np.rint((mean + sigma * z) / step) * step).astype(np.float32)


class ModuleModel(Flagged):
    """One module: its constants for every memory cell, and its words.

    Parameters
    ----------
    seed : int
        The run's seed.
    module : int
        Module number.
    cells : int
        Memory cells that have constants, addresses 0 to cells - 1.
    bad_fraction : float
        Share of pixels that are bad in one way or another.
    mg_baseline : float
        Step between high and medium gain in high-gain ADU; 0 = none.
    medium_low_ratio : float
        Gain of the medium over that of the low stage.
    gain_mode : str
        ``"adaptive"``, ``"fixed_high"``, ``"fixed_medium"`` or ``"fixed_low"``.

    Notes
    -----
    Methods named after a constant return what the constant files say, NaN and wrong values of bad pixels
    included; `words` uses what the pixels really do.

    Examples
    --------
    >>> ModuleModel(1, 3, 8, 0.01, 0.0, 4.48, "adaptive").offset(0, 0).shape
    (65536,)
    """

    def __init__(self, seed, module, cells, bad_fraction, mg_baseline, medium_low_ratio, gain_mode):
        self.module = module
        self.cells = cells
        self.mg_baseline = float(mg_baseline)
        self.medium_low_ratio = float(medium_low_ratio)
        self.fixed_stage = STAGES[gain_mode]
        rng = generator(seed, 1, module)
        p = PIXELS
        self._offset = np.stack([steps(rng, m, 50.0, 0.5, p) for m in OFFSET])
        # Pixel-to-pixel scatter between cells: one pattern, shifted along the module from cell to cell.
        self._scatter = steps(rng, 0.0, 3.0, 0.5, p)
        self._shift = rng.integers(0, p, cells)
        self._offset_asic = steps(rng, 0.0, 25.0, 0.5, (3, cells, 16))
        self._noise = np.stack([steps(rng, m, 0.05 * m, 0.125, p) for m in NOISE])
        self._noise_cell = steps(rng, 0.0, 0.1, 0.125, cells)
        self._level = np.stack([steps(rng, m, 12.0, 4.0, p) for m in LEVEL])
        self._level_cell = steps(rng, 0.0, 16.0, 4.0, cells)
        self._ff = steps(rng, ADU_PER_KEV, 0.02 * ADU_PER_KEV, 1 / 256, p)
        self._ff_cell = steps(rng, 0.0, 0.01, 1 / 256, cells)
        self._slope_high = steps(rng, SLOPE_HIGH, 0.01 * SLOPE_HIGH, 0.25, p)
        self._slope_medium = steps(rng, SLOPE_MEDIUM, 0.015 * SLOPE_MEDIUM, 1 / 64, p)
        self._switch = SWITCH_ADU * (1 + 0.01 * np.clip(rng.standard_normal(p), -3, 3))
        ss, fs = np.divmod(np.arange(p), SHAPE[1])
        self.asic = (ss // 64) * 2 + fs // 64
        self.bad = choose_bad_pixels(generator(seed, 2, module), p, cells, bad_fraction)

    def _at(self, pixels):
        return np.arange(PIXELS) if pixels is None else pixels

    def true_offset(self, gain: int, cell: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real dark level of a stage in ADU, (pixels,) float32; all pixels when None."""
        at = self._at(pixels)
        scatter = self._scatter[(at + self._shift[cell]) % PIXELS]
        out = self._offset[gain][at] + self._offset_asic[gain, cell][self.asic[at]] + scatter
        return out + self.bad.offset_error[gain][at]

    def true_noise(self, gain: int, cell: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real noise of a stage in ADU rms, (pixels,) float32."""
        at = self._at(pixels)
        out = (self._noise[gain][at] + self._noise_cell[cell]) * self.bad.noise_factor[gain][at]
        hot = self.bad.cell_hot[at] == cell
        return np.where(hot & (gain == 0), out * np.float32(12), out)

    def level(self, gain: int, cell: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the digital level of a stage in ADU, (pixels,) float32."""
        at = self._at(pixels)
        separated = np.where(self.bad.no_separation[at], np.float32(0.02), np.float32(1))
        step = 4 * np.rint((self._level[gain][at] - self._level[0][at]) * separated * np.float32(0.25))
        return self._level[0][at] + step + self._level_cell[cell]

    def true_adu_per_kev(self, cell: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real high-gain ADU per keV, (pixels,) float32; 0 in dead pixels."""
        at = self._at(pixels)
        return np.where(self.bad.dead[at], np.float32(0), self._ff[at] + self._ff_cell[cell])

    def true_ratio(self, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real gain of the high over the medium stage, (pixels,) float64."""
        at = self._at(pixels)
        return self._slope_high[at].astype(np.float64) / self._slope_medium[at]

    def stages(self, pixels: np.ndarray, signal: np.ndarray) -> np.ndarray:
        """Return the gain stage that a signal (high-gain ADU) brings pixels to, (pixels,) int8."""
        if self.fixed_stage >= 0:
            return np.full(pixels.size, self.fixed_stage, np.int8)
        g = np.zeros(pixels.size, np.int8)
        bright = np.flatnonzero(signal > 0.9 * SWITCH_ADU)
        full = self._switch[pixels[bright]]
        g[bright] = (signal[bright] > full).astype(np.int8)
        g[bright] += signal[bright] > full * self.true_ratio(pixels[bright])
        return g

    def thresholds(self, cell: int) -> np.ndarray:
        """Return constant ThresholdsDark, (5, pixels) float32: two mid-points and three levels, ADU."""
        low, mid, high = (self.level(g, cell) for g in range(3))
        half = np.float32(0.5)
        return np.stack([(low + mid) * half, (mid + high) * half, low, mid, high])

    def slopes_pc(self, cell: int) -> np.ndarray:
        """Return slope and intercept of high and of medium gain, (4, pixels) float32: planes 0, 1, 3, 4."""
        high, medium = self._slope_high, self._slope_medium.copy()
        medium[self.bad.pulse_capacitor] *= np.float32(2)
        base_high = high * np.float32(INTERCEPT) + np.float32(self.mg_baseline)
        return np.stack([high, base_high, medium, self._slope_medium * np.float32(INTERCEPT)])

    def slopes_ff(self, cell: int) -> np.ndarray:
        """Return constant SlopesFF in ADU per keV, (pixels,) float32; 0 in dead pixels."""
        out = self.true_adu_per_kev(cell)
        out[self.bad.flat_field] *= np.float32(0.5)
        return out


class DetectorModel:
    """All modules of the simulated AGIPD; modules are made when first asked for.

    Parameters
    ----------
    seed : int
        The run's seed.
    cells : int
        Memory cells with constants.
    bad_fraction : float, default 0.01
        Share of bad pixels.
    mg_baseline : float, default 0
        Step between high and medium gain, high-gain ADU.
    medium_low_ratio : float, default 4.48
        Gain of the medium over the low stage.
    gain_mode : str, default "adaptive"
        How the detector is driven.

    Examples
    --------
    >>> model = DetectorModel(seed=1, cells=8)
    >>> model.module(3).module
    3
    """

    def __init__(
        self,
        seed: int,
        cells: int,
        bad_fraction: float = 0.01,
        mg_baseline: float = 0.0,
        medium_low_ratio: float = 4.48,
        gain_mode: str = "adaptive",
    ):
        self.cells = cells
        self._arguments = (seed, cells, bad_fraction, mg_baseline, medium_low_ratio, gain_mode)
        self._modules: dict[int, ModuleModel] = {}
        self._dense: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def module(self, module: int) -> ModuleModel:
        """Return the model of one module.

        Parameters
        ----------
        module : int
            0 to 15.

        Returns
        -------
        ModuleModel
            The same object whenever asked.

        Examples
        --------
        >>> DetectorModel(1, 2).module(0).cells
        2
        """
        with self._lock:
            if module not in self._modules:
                seed, *rest = self._arguments
                self._modules[module] = ModuleModel(seed, module, *rest)
            return self._modules[module]

    @property
    def planes(self) -> int:
        """Words of a pixel: analogue and digital."""
        return 2

    def _planes(self, model: ModuleModel, cell: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return offset, noise and digital level of the stage an unlit pixel is in."""
        found = self._dense.get((model.module, cell))
        if found is None:
            g = max(model.fixed_stage, 0)
            found = (model.true_offset(g, cell), model.true_noise(g, cell), model.level(g, cell))
            if (len(self._dense) + 1) * 3 * 4 * PIXELS <= DENSE_BYTES:
                self._dense[model.module, cell] = found
        return found

    def words(
        self,
        rng: np.random.Generator,
        module: int,
        cell: int,
        pixels: np.ndarray,
        energy_kev: np.ndarray,
        out: np.ndarray,
        stage: np.ndarray | None = None,
        common: np.ndarray | None = None,
    ) -> None:
        """Make the raw words of one frame.

        Parameters
        ----------
        rng : numpy.random.Generator
        module : int
            Module number.
        cell : int
            Memory cell the frame is stored in.
        pixels : numpy.ndarray
            int64: pixels that received photons, each once.
        energy_kev : numpy.ndarray
            float64: energy each of them received, keV.
        out : numpy.ndarray
            (2, pixels) uint16, filled: analogue word (14 bits) and digital word.
        stage : numpy.ndarray, optional
            (pixels,) uint8, filled with the true gain stage.
        common : numpy.ndarray, optional
            (16,) float32: what every pixel of an ASIC has more, ADU.

        Notes
        -----
        Promise: exact; the same generator state gives the same words.

        Examples
        --------
        >>> model, out = DetectorModel(1, 1), np.empty((2, 65536), "u2")
        >>> model.words(generator(1), 0, 0, np.array([5]), np.array([9.3]), out)
        """
        m = self.module(module)
        offset, noise, level = self._planes(m, cell)
        z = normals(rng, np.empty(PIXELS, np.float32))
        analogue = z * noise
        analogue += offset
        signal = energy_kev * m.true_adu_per_kev(cell, pixels)
        g = m.stages(pixels, signal)
        # Each pixel occurs once in `pixels`, so that plain indexing adds its signal once.
        analogue[pixels] += np.where(g == 0, signal, 0.0).astype(np.float32)
        for k in (1, 2):
            at = pixels[g == k]
            if at.size:
                divisor = m.true_ratio(at) * (1 if k == 1 else m.medium_low_ratio)
                charge = (signal[g == k] - (m.mg_baseline if k == 1 else 0.0)) / divisor
                analogue[at] = m.true_offset(k, cell, at) + charge + z[at] * m.true_noise(k, cell, at)
        if common is not None:
            analogue += common[m.asic]
        np.rint(analogue, out=analogue)
        np.clip(analogue, 0, ADC_MAX, out=analogue)
        np.copyto(out[0], analogue, casting="unsafe")
        digital = normals(rng, z)
        digital *= np.float32(DIGITAL_NOISE)
        digital += level
        if m.fixed_stage < 0:
            for k in (1, 2):
                at = pixels[g == k]
                if at.size:
                    digital[at] += m.level(k, cell, at) - level[at]
        np.rint(digital, out=digital)
        np.clip(digital, 0, ADC_MAX, out=digital)
        np.copyto(out[1], digital, casting="unsafe")
        if stage is not None:
            stage[:] = max(m.fixed_stage, 0)
            stage[pixels] = g
