"""The detectors of simulated dark runs: their modules, which pixels are bad and how, frames of each stage."""

from __future__ import annotations

import dataclasses

import numpy as np

from .badpixels import BadPixelMap
from .chips import ChipModel, ChipModule
from .dark_parameters import KINDS, DarkParameters
from .detector import DetectorModel, ModuleModel
from .kinds import model_of
from .noise import generator, normals
from .receiver_model import ReceiverModule

HOT_SIGMA, NOISY_FACTOR, DEAD_FACTOR, OUTLIER_SIGMA = 10.0, 3.0, 0.1, 60.0
GAIN_MODES = ("fixed_high", "fixed_medium", "fixed_low")


class DarkReceiver(ReceiverModule):
    """A module of a receiver's detector with the bad pixels that were asked for.

    Parameters
    ----------
    p : DarkParameters
    module : int
    kind : ndarray of uint8, shape (pixels,)
        As `DarkModel.kind`.

    Attributes
    ----------
    stuck : ndarray of bool, shape (pixels,)
        Pixels that stay in high gain.
    """

    def __init__(self, p: DarkParameters, module: int, kind: np.ndarray) -> None:
        super().__init__(p.family, p.seed, module, len(p.constants_cells))
        self._offset[:, kind == 2] += np.float32(HOT_SIGMA * self.numbers.offset_sigma)
        self._noise[:, kind == 1] *= np.float32(DEAD_FACTOR)
        self._noise[:, kind == 3] *= np.float32(NOISY_FACTOR)
        self.stuck = kind == 4

    def stages(self, energy_kev: np.ndarray) -> np.ndarray:
        """As `ReceiverModule.stages`, but for the pixels that are stuck."""
        return np.where(self.stuck, np.int8(0), super().stages(energy_kev))

    def recorded(self, value: np.ndarray) -> np.ndarray:
        """Return the words that the ADC makes of linear values, (..., pixels), as whole numbers."""
        top = (1 << self.detector.adc_bits) - 1
        if self.numbers.bend:
            value = self._bent(np.clip(value.astype(np.float64), 0, top))
        return np.clip(np.rint(value), 1, top - 1)

    def dark_words(
        self, rng: np.random.Generator, stage: int, cell: int, out: np.ndarray, common_mode: float = 0.0
    ) -> None:
        """Make the words of a dark frame in which all pixels but the stuck ones are forced to a stage."""
        offset, noise = self.offset(stage, cell), self.noise(stage)
        if stage > 0:
            offset = np.where(self.stuck, self.offset(0, cell), offset)
            noise = np.where(self.stuck, self.noise(0), noise)
        value = normals(rng, np.empty(len(noise), np.float32)) * noise + offset
        if common_mode:
            value += self._of_banks(rng, common_mode)
        out[0] = self.recorded(value)
        if len(out) > 1:
            codes = self.detector.codes
            out[1] = np.where(self.stuck, np.uint16(codes[0]), np.uint16(codes[stage]))

    def _of_banks(self, rng: np.random.Generator, common_mode: float) -> np.ndarray:
        """Return what pixels of banks share, and half as much those of their rows and columns, (pixels,)."""
        (ss, fs), (high, wide) = self.detector.shape, self.detector.bank
        down, across = ss // high, fs // wide
        shared = np.zeros((down, high, across, wide))
        shared += common_mode * rng.standard_normal((down, 1, across, 1))
        shared += common_mode / 2 * rng.standard_normal((down, high, across, 1))
        shared += common_mode / 2 * rng.standard_normal((down, 1, across, wide))
        return shared.reshape(-1)


class DarkModel:
    """All modules of a detector, with the bad pixels that were asked for.

    Parameters
    ----------
    p : DarkParameters

    Attributes
    ----------
    kind : dict of int to ndarray of uint8, shape (pixels,)
        Per module: 0 for a good pixel, else 1 + the index in `KINDS`.

    Examples
    --------
    >>> model = DarkModel(DarkParameters(n_cells=1))
    >>> sorted(np.bincount(model.kind[0]).tolist())
    [66, 66, 66, 66, 65272]
    """

    def __init__(self, p: DarkParameters) -> None:
        self.p = p
        pixels, self._adc_max = p.family.pixels, p.family.adc_max
        self._places = [p.place(frame) for frame in range(p.n_cells)]
        self.kind = {m: _choose(generator(p.seed, 11, m), p, pixels) for m in p.wanted_modules}
        self._models: dict[str, DetectorModel | ChipModel] = {}
        self._receivers = {m: DarkReceiver(p, m, k) for m, k in self.kind.items()} if p.is_receiver else {}
        self._analogue = p.family.encoding == "threshold"

    def driven(self, gain_mode: str) -> DetectorModel | ChipModel:
        """Return a detector of `shotsieve simulate spi` in a gain mode, the injected bad pixels included."""
        if gain_mode not in self._models:
            model = model_of(self.p.as_spi(gain_mode))
            for m, kind in self.kind.items():
                one = model.module(m)
                one.bad = _injected(one, kind, self.p.family.stages)
            self._models[gain_mode] = model
        return self._models[gain_mode]

    def module(self, module: int) -> ModuleModel | ChipModule | DarkReceiver:
        """Return one module."""
        return self._receivers[module] if self.p.is_receiver else self.driven("adaptive").module(module)

    def offset(self, module: int, gain: int, cell: int) -> np.ndarray:
        """Return the dark level in linear ADU, (pixels,) float32; `cell` is a place among the constants."""
        one = self.module(module)
        return one.offset(gain, cell) if self.p.is_receiver else one.true_offset(gain, cell)

    def noise(self, module: int, gain: int, cell: int) -> np.ndarray:
        """Return the noise, (pixels,) float32, ADU rms."""
        one = self.module(module)
        return one.noise(gain) if self.p.is_receiver else one.true_noise(gain, cell)

    def make(self, stage: int, train: int, frame: int, module: int, out: np.ndarray) -> None:
        """Make the words of a dark frame, whatever was made before.

        Parameters
        ----------
        stage : int
            In parallel gain every plane is a stage, whatever this is.
        train, frame : int
            Counted from 0 in the run and in the train.
        module : int
        out : ndarray of uint16, shape (planes, pixels)
        """
        p = self.p
        rng, place = generator(p.seed, 12, stage, train, frame, module), self._places[frame]
        if p.is_receiver:
            self._receivers[module].dark_words(rng, stage, place, out, p.common_mode)
        elif self._analogue:
            none = np.zeros(0, np.int64)
            self.driven(GAIN_MODES[stage]).words(rng, module, place, none, none * 1.0, out)
        else:
            for plane, of_plane in enumerate(out):
                self._chip_words(rng, plane if p.parallel_gain else stage, module, place, of_plane)
        if p.outliers:
            at = np.flatnonzero(rng.random(out.shape[1], np.float32) < p.outliers)
            far = np.rint(OUTLIER_SIGMA * self.noise(module, stage, place)[at])
            out[0, at] = np.minimum(out[0, at] + far, self._adc_max - 1)

    def _chip_words(self, rng, stage: int, module: int, place: int, out: np.ndarray) -> None:
        """Make the words of LPD or DSSC with all pixels but the stuck ones forced to a stage."""
        one, stuck = self.module(module), (self.kind[module] == 4) & (stage > 0)
        chip = one.chip
        offset, noise = one.true_offset(stage, place), one.true_noise(stage, place)
        if stuck.any():
            offset[stuck], noise[stuck] = one.true_offset(0, place)[stuck], one.true_noise(0, place)[stuck]
        signal = normals(rng, np.empty(len(noise), np.float32)) * noise + offset
        out[:] = np.clip(np.rint(signal), chip.lowest, chip.highest)
        if chip.stages > 1:
            code = np.uint16(stage) << np.uint16(self.p.family.adc_bits)
            out |= np.where(stuck, np.uint16(0), code)
        elif chip.highest == 256:
            out &= np.uint16(0xFF)


def _choose(rng: np.random.Generator, p: DarkParameters, pixels: int) -> np.ndarray:
    """Return the kind of every pixel; no pixel is of two kinds."""
    order, kind, start = rng.permutation(pixels), np.zeros(pixels, np.uint8), 0
    for number, name in enumerate(KINDS, 1):
        # With one gain stage, or a plane for each, there is none to be stuck in.
        never = name == "stuck" and (p.family.stages == 1 or p.parallel_gain)
        count = 0 if never else round(getattr(p, name) * pixels)
        kind[order[start : start + count]] = number
        start += count
    return kind


def _injected(module: ModuleModel | ChipModule, kind: np.ndarray, stages: int) -> BadPixelMap:
    """Return a module's bad pixels with the injected ones."""
    bad = module.bad
    offset_error, noise_factor = bad.offset_error.copy(), bad.noise_factor.copy()
    for gain in range(stages):
        spread = float(np.std(module.true_offset(gain, 0)[kind == 0], dtype=np.float64))
        offset_error[gain, kind == 2] = np.rint(HOT_SIGMA * spread)
    noise_factor[:, kind == 1] = DEAD_FACTOR
    noise_factor[:, kind == 3] = NOISY_FACTOR
    return dataclasses.replace(
        bad,
        offset_error=offset_error,
        noise_factor=noise_factor,
        no_separation=bad.no_separation | (kind == 4),
    )
