"""Models of LPD and DSSC: what each pixel is like, and the raw words it makes of the photons it receives.

As in the model of the AGIPD every property is a sum of a per-pixel part and small per-cell parts, each a
multiple of a fixed step. Means are chosen, not measured: dark levels, noise and ranges are of the size that
the detectors have.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from .badpixels import Flagged, choose_bad_pixels
from .detector import DENSE_BYTES, steps
from .noise import generator, normals

PARALLEL_SIGMA = (5.0, 100.0)
"""How many sigma below the end of the range high and medium gain are left for the next stage."""


@dataclass(frozen=True)
class Chip:
    """What the pixels of a detector have in common; in ADU, one value for each gain stage.

    Attributes
    ----------
    shape, tile : tuple of int
        Pixels of a module and of the tiles that have dark levels of their own.
    offset, noise : tuple of float
        Means of dark level and noise.
    spread, step : float
        Spread of the dark level from pixel to pixel, and what it is a multiple of.
    relative : tuple of float
        Gain of the high stage over that of each stage.
    full : float
        Signal above the dark level at which a stage is left for the next.
    adu_per_kev : float
        Of high gain.
    ff, amp, trim : float
        Relative spread, from pixel to pixel, of flat field, amplifiers and ADU per keV.
    lowest, highest : int
        Range of the signal.
    bad : tuple of str
        Kinds of bad pixels.
    offset_error : float
        How far off the dark level of a bad pixel is.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    offset: tuple[float, ...]
    noise: tuple[float, ...]
    spread: float
    step: float
    relative: tuple[float, ...]
    full: float
    adu_per_kev: float
    ff: float
    amp: float
    trim: float
    lowest: int
    highest: int
    bad: tuple[str, ...]
    offset_error: float

    @property
    def stages(self) -> int:
        """Number of gain stages."""
        return len(self.offset)

    @property
    def pixels(self) -> int:
        """Pixels of a module."""
        return self.shape[0] * self.shape[1]


LPD = Chip(
    shape=(256, 256), tile=(32, 128), offset=(1000.0, 950.0, 900.0), noise=(2.9, 2.0, 2.0),
    spread=30.0, step=0.5, relative=(1.0, 10.0, 100.0), full=2500.0, adu_per_kev=1.2, ff=0.02, amp=0.01,
    trim=0.0, lowest=0, highest=4095, offset_error=-300.0,
    bad=("dead", "hot", "offset", "not_evaluated", "flat_field", "one_cell"),
)  # fmt: skip
# A stored 0 is 256, so nothing is below 1. The store knows no bad pixels: bad are those without a dark level.
DSSC = Chip(
    shape=(128, 512), tile=(64, 64), offset=(40.0,), noise=(0.8,), spread=2.0, step=0.125,
    relative=(1.0,), full=np.inf, adu_per_kev=4.0, ff=0.0, amp=0.0, trim=0.01,
    lowest=1, highest=256, bad=("not_evaluated",), offset_error=0.0,
)  # fmt: skip


class ChipModule(Flagged):
    """One module: its constants for every memory cell.

    Parameters
    ----------
    chip : Chip
    seed, module, cells : int
        The run's seed, the module's number, and memory cells with constants.
    bad_fraction : float
        Share of bad pixels.

    Notes
    -----
    Methods named after a constant return what the constants say, NaN and wrong values of bad pixels included;
    those that begin with ``true_`` return what the pixels really do.

    Examples
    --------
    >>> ChipModule(LPD, 1, 3, 8, 0.01).offset(0, 0).shape
    (65536,)
    """

    def __init__(self, chip: Chip, seed: int, module: int, cells: int, bad_fraction: float) -> None:
        self.chip, self.module, self.cells = chip, module, cells
        rng, p = generator(seed, 1, module), chip.pixels
        self._offset = np.stack([steps(rng, m, chip.spread, chip.step, p) for m in chip.offset])
        # Pixel-to-pixel scatter between cells: one pattern, shifted along the module from cell to cell.
        self._scatter = steps(rng, 0.0, 0.06 * chip.spread, chip.step, p)
        self._shift = rng.integers(0, p, cells)
        tiles = (chip.shape[0] // chip.tile[0], chip.shape[1] // chip.tile[1])
        number = (chip.stages, cells, tiles[0] * tiles[1])
        self._offset_tile = steps(rng, 0.0, 0.5 * chip.spread, chip.step, number)
        self._noise = np.stack([steps(rng, m, 0.05 * m, 1 / 64, p) for m in chip.noise])
        self._relative = np.stack([steps(rng, m, 0.01 * m * (m > 1), m / 1024, p) for m in chip.relative])
        self._ff = steps(rng, 1.0, chip.ff, 1 / 1024, p)
        self._amp = np.stack([steps(rng, 1.0, chip.amp, 1 / 1024, p) for _ in chip.offset])
        self._adu = steps(rng, chip.adu_per_kev, chip.trim * chip.adu_per_kev, 1 / 256, p)
        ss, fs = np.divmod(np.arange(p), chip.shape[1])
        self._tile = (ss // chip.tile[0]) * tiles[1] + fs // chip.tile[1]
        self.bad = choose_bad_pixels(
            generator(seed, 2, module), p, cells, bad_fraction, chip.bad, chip.offset_error
        )

    def _at(self, pixels: np.ndarray | None) -> np.ndarray:
        return np.arange(self.chip.pixels) if pixels is None else pixels

    def true_offset(self, gain: int, cell: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real dark level of a stage in ADU, (pixels,) float32; all pixels when None."""
        at = self._at(pixels)
        scatter = self._scatter[(at + self._shift[cell]) % self.chip.pixels]
        out = self._offset[gain][at] + self._offset_tile[gain, cell][self._tile[at]] + scatter
        return out + self.bad.offset_error[gain][at]

    def true_noise(self, gain: int, cell: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real noise of a stage in ADU rms, (pixels,) float32."""
        at = self._at(pixels)
        out = self._noise[gain][at] * self.bad.noise_factor[gain][at]
        hot = self.bad.cell_hot[at] == cell
        return np.where(hot & (gain == 0), out * np.float32(12), out)

    def true_adu_per_kev(self, gain: int, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the real ADU per keV of a stage, (pixels,) float64; 0 in dead pixels."""
        at = self._at(pixels)
        factor = self._relative[gain][at].astype(np.float64) * self._ff[at] * self._amp[gain][at]
        return np.where(self.bad.dead[at], 0.0, self._adu[at] / factor)

    def stages(self, pixels: np.ndarray, energy_kev: np.ndarray) -> np.ndarray:
        """Return the gain stage that an energy brings pixels to, (pixels,) int8."""
        g = np.zeros(pixels.size, np.int8)
        for gain in range(self.chip.stages - 1):
            bright = np.flatnonzero(g == gain)
            charge = energy_kev[bright] * self.true_adu_per_kev(gain, pixels[bright])
            g[bright[charge > self.chip.full]] = gain + 1
        return g

    def relative_gain(self, gain: int) -> np.ndarray:
        """Return constant RelativeGain of a stage, a factor, (pixels,) float32."""
        return self._relative[gain]

    def ff_map(self) -> np.ndarray:
        """Return constant FFMap, a factor, (pixels,) float32; wrong where the flat field was."""
        return np.where(self.bad.flat_field, self._ff * np.float32(0.5), self._ff)

    def gain_amp_map(self, gain: int) -> np.ndarray:
        """Return constant GainAmpMap of a stage, a factor, (pixels,) float32."""
        return self._amp[gain]

    def adu_per_kev(self) -> np.ndarray:
        """Return ADU per keV of high gain, (pixels,) float32."""
        return self._adu

    def leaves(self, gain: int, cell: int) -> np.ndarray:
        """Return the signal above which parallel gain takes the next stage, (pixels,) float64."""
        return self.chip.highest - PARALLEL_SIGMA[gain] * self.noise(gain, cell).astype(np.float64)


class ChipModel:
    """All modules of a simulated LPD or DSSC; modules are made when first asked for.

    Parameters
    ----------
    chip : Chip
    seed, cells : int
        The run's seed, and memory cells with constants.
    bad_fraction : float
        Share of bad pixels.
    parallel : bool
        Whether every frame is recorded in all three stages.

    Examples
    --------
    >>> ChipModel(DSSC, seed=1, cells=8).module(3).module
    3
    """

    def __init__(
        self, chip: Chip, seed: int, cells: int, bad_fraction: float = 0.01, parallel: bool = False
    ) -> None:
        self.chip, self.cells, self.parallel = chip, cells, parallel
        self._seed, self._bad_fraction = seed, bad_fraction
        self._modules: dict[int, ChipModule] = {}
        self._dense: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    @property
    def planes(self) -> int:
        """Words of a pixel."""
        return self.chip.stages if self.parallel else 1

    def module(self, module: int) -> ChipModule:
        """Return the model of one module; the same object whenever asked.

        Parameters
        ----------
        module : int

        Examples
        --------
        >>> ChipModel(LPD, 1, 2).module(0).cells
        2
        """
        with self._lock:
            if module not in self._modules:
                self._modules[module] = ChipModule(
                    self.chip, self._seed, module, self.cells, self._bad_fraction
                )
            return self._modules[module]

    def _dark(self, m: ChipModule, gain: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """Return dark level and noise of all pixels in a stage."""
        key = (m.module, gain, cell)
        found = self._dense.get(key)
        if found is None:
            found = (m.true_offset(gain, cell), m.true_noise(gain, cell))
            if (len(self._dense) + 1) * 2 * 4 * self.chip.pixels <= DENSE_BYTES:
                self._dense[key] = found
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
    ) -> None:
        """Make the raw words of one frame.

        Parameters
        ----------
        rng : numpy.random.Generator
        module, cell : int
            Module number, and memory cell the frame is stored in.
        pixels : numpy.ndarray
            int64: pixels that received photons, each once.
        energy_kev : numpy.ndarray
            float64: energy each of them received, keV.
        out : numpy.ndarray
            (planes, pixels) uint16, filled.
        stage : numpy.ndarray, optional
            (pixels,) uint8, filled with the gain stage: the true one, or the one that parallel gain takes.

        Notes
        -----
        Promise: exact; the same generator state gives the same words.

        Examples
        --------
        >>> model, out = ChipModel(LPD, 1, 1), np.empty((1, 65536), "u2")
        >>> model.words(generator(1), 0, 0, np.array([5]), np.array([12.0]), out)
        """
        m, chip = self.module(module), self.chip
        signals = np.empty((self.planes, chip.pixels), np.float32)
        g = np.zeros(chip.pixels, np.uint8)
        for gain in range(self.planes):
            offset, noise = self._dark(m, gain, cell)
            normals(rng, signals[gain])
            if not self.parallel:
                # One plane: pixels with a switched gain have that stage's level and noise.
                g[pixels] = m.stages(pixels, energy_kev)
                z = signals[gain][pixels].copy()
                signals[gain] = signals[gain] * noise + offset
                for k in range(chip.stages):
                    mine = g[pixels] == k
                    at, of_stage = pixels[mine], energy_kev[mine]
                    level = m.true_offset(k, cell, at) + z[mine] * m.true_noise(k, cell, at)
                    signals[gain][at] = level + of_stage * m.true_adu_per_kev(k, at)
            else:
                signals[gain] = signals[gain] * noise + offset
                charge = energy_kev * m.true_adu_per_kev(gain, pixels)
                signals[gain][pixels] += charge.astype(np.float32)
        np.rint(signals, out=signals)
        np.clip(signals, chip.lowest, chip.highest, out=signals)
        words = signals.astype(np.uint16)
        if self.parallel:
            above0, above1 = (words[k] > m.leaves(k, cell) for k in range(2))
            g[:] = above0.astype(np.uint8) + (above0 & above1)
            words |= (np.arange(3, dtype=np.uint16) << np.uint16(12))[:, None]
        elif chip.stages > 1:
            words |= g.astype(np.uint16) << np.uint16(12)
        np.copyto(out, words & np.uint16(0xFF) if chip.highest == 256 else words)
        if stage is not None:
            stage[:] = g
