"""The detectors of simulated dark runs: their modules, which pixels are bad and how, frames of each stage."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .badpixels import BadPixelMap
from .dark_parameters import KINDS, DarkParameters
from .detector import DetectorModel, ModuleModel
from .noise import generator
from .stage_model import StageModule

HOT_SIGMA, NOISY_FACTOR, DEAD_FACTOR, OUTLIER_SIGMA = 10.0, 3.0, 0.1, 60.0
GAIN_MODES = ("fixed_high", "fixed_medium", "fixed_low")


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
        detector = p.family
        self.kind = {m: _choose(generator(p.seed, 7, m), p, detector.pixels) for m in p.wanted_modules}
        self._agipd = detector.encoding == "threshold"
        self._modules: dict[int, Any] = {}
        self._models: dict[str, DetectorModel] = {}
        if not self._agipd:
            for m, kind in self.kind.items():
                one = StageModule(detector, p.seed, m, p.n_cells)
                one.offset_error[kind == 2] = HOT_SIGMA * one.numbers.offset_sigma
                one.noise_factor[kind == 1] = DEAD_FACTOR
                one.noise_factor[kind == 3] = NOISY_FACTOR
                one.stuck[kind == 4] = True
                self._modules[m] = one

    def driven(self, gain_mode: str) -> DetectorModel:
        """Return the AGIPD as it is in a gain mode, the injected bad pixels included."""
        if gain_mode not in self._models:
            p, ratio = self.p, self.p.family.medium_low_ratio
            model = DetectorModel(p.seed, p.n_cells, p.bad_fraction, 0.0, ratio, gain_mode)
            for m, kind in self.kind.items():
                one = model.module(m)
                one.bad = _injected(one, kind)
            self._models[gain_mode] = model
        return self._models[gain_mode]

    def module(self, module: int) -> ModuleModel | StageModule:
        """Return one module: what its offset, noise and levels really are."""
        return self.driven("adaptive").module(module) if self._agipd else self._modules[module]

    def make(self, stage: int, train: int, frame: int, module: int, out: np.ndarray) -> None:
        """Make the words of a dark frame, whatever was made before.

        Parameters
        ----------
        stage : int
        train, frame : int
            Counted from 0 in the run; frame is the place of the memory cell.
        module : int
        out : ndarray of uint16, shape (2, pixels)
        """
        p = self.p
        rng = generator(p.seed, 8, stage, train, frame, module)
        if self._agipd:
            none = np.zeros(0, np.int64)
            self.driven(GAIN_MODES[stage]).words(rng, module, frame, none, none * 1.0, out)
        else:
            self._modules[module].dark_words(rng, stage, frame, out)
        if p.outliers:
            at = np.flatnonzero(rng.random(out.shape[1], np.float32) < p.outliers)
            noise = self.module(module).true_noise(stage, frame)[at]
            limit = p.family.adc_max - 1
            out[0, at] = np.minimum(out[0, at] + np.rint(OUTLIER_SIGMA * noise), limit)


def _choose(rng: np.random.Generator, p: DarkParameters, pixels: int) -> np.ndarray:
    """Return the kind of every pixel; no pixel is of two kinds."""
    order, kind, start = rng.permutation(pixels), np.zeros(pixels, np.uint8), 0
    for number, name in enumerate(KINDS, 1):
        count = round(getattr(p, name) * pixels)
        kind[order[start : start + count]] = number
        start += count
    return kind


def _injected(module: ModuleModel, kind: np.ndarray) -> BadPixelMap:
    """Return a module's bad pixels with the injected ones."""
    bad = module.bad
    offset_error, noise_factor = bad.offset_error.copy(), bad.noise_factor.copy()
    for gain in range(3):
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
