"""Input of the benchmark `calibrate_detectors`: raw words and folded constants of a module of a detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from lit_case import BAD_SHARE, LIT_SHARE, LitCase, OnDevice, make_case
from shotsieve import detectors
from shotsieve.backend import Backend
from shotsieve.calibrate import COUNTS, CalibrateParams, queue_calibration
from shotsieve.constants import Steps
from shotsieve.detectors import Detector
from shotsieve.linearise import apart, queue_linearisation
from shotsieve.shifts import Shifts

CLUSTER = 65536  # one cluster of switched pixels in so many
SWITCHED_ADU = 400  # their signal in the lower stage


@dataclass(frozen=True)
class Chip:
    """How a detector is made up here.

    Attributes
    ----------
    photon_kev, noise_kev : float
    offsets, adu_per_kev : tuple of float
        By gain stage; lower stages that count downwards have negative gains.
    highest : int
        Largest signal.
    cells, frames : int
        Distinct memory cells, and how often each occurs: 134 MB of words.
    modules : int
        Of a whole detector.
    sensors : tuple of (int, int)
        First row of each sensor and the first behind it; the other rows hold words of any value. Empty: all
        rows are of the sensor.
    """

    photon_kev: float
    noise_kev: float
    offsets: tuple[float, ...]
    adu_per_kev: tuple[float, ...]
    highest: int
    cells: int
    frames: int
    modules: int
    sensors: tuple[tuple[int, int], ...] = ()


IN_PARALLEL = " in parallel gain"
LPD = Chip(12.0, 1.5, (1000.0, 950.0, 900.0), (1.2, 0.12, 0.012), 4095, 128, 8, 16)
CHIPS = {
    "LPD1M": LPD,
    "LPD1M" + IN_PARALLEL: replace(LPD, frames=3),  # three words in every pixel
    "LPDMINI": replace(LPD, modules=1, sensors=((0, 32), (64, 96))),
    "DSSC1M": Chip(1.0, 0.2, (40.0,), (3.0,), 255, 128, 8, 16),
    "JUNGFRAU": Chip(9.0, 0.5, (3000.0, 15000.0, 14500.0), (41.0, -1.439, -0.1145), 16383, 16, 4, 8),
    "EPIX100": Chip(9.0, 0.5, (3000.0,), (5.5,), 16383, 1, 124, 1),
    "GOTTHARD2": Chip(9.0, 1.0, (500.0, 3300.0, 3200.0), (11.0, -0.6, -0.05), 4095, 2, 13120, 1),
}
"""Detectors beside AGIPD, whose module is that of `lit_case`. An ePix100 has one memory cell, a Gotthard-II
has two: their constants fit into a cache in real life too."""

AGIPD = ("AGIPD1M", "AGIPD500K")
DETECTORS = (*AGIPD, *CHIPS)


@dataclass(frozen=True)
class DetectorCase(LitCase):
    """`LitCase` of another detector.

    Attributes
    ----------
    raw : ndarray of uint16, shape (trains, cells, planes, n_pixels)
    table : ndarray of float32, shape (cells, 8 or 2, n_pixels)
    detector : Detector
    photon_kev : float
    linear : ndarray of uint16, shape (cells, n_pixels, entries), or None
        Linearisation of the words.
    """

    detector: Detector
    photon_kev: float
    linear: np.ndarray | None = None

    @cached_property
    def switched_share(self) -> float:
        if self.detector.encoding == "parallel":
            high = self.raw[:, :, 0] & ((1 << self.detector.adc_bits) - 1)
            return float(np.mean(high > self.table[None, :, 0]))
        return float(np.mean(codes_of(self.detector, self.raw) != 0)) if self.detector.codes else 0.0

    def least_bytes(self) -> int:
        """Return the bytes that must be moved: words, counts, offsets and gains of one stage, thresholds
        where they choose it, and what is looked up; constants once for all frames of a cell.
        """
        looked_up = 0 if self.linear is None else self.linear.nbytes
        planes = 3 if self.detector.encoding == "parallel" else 2
        return self.raw.nbytes + self.frames * COUNTS * 8 + planes * 4 * self.cells * self.pixels + looked_up

    def params(self, photons: bool) -> CalibrateParams:
        made = CalibrateParams.from_steps(
            Steps(), self.detector, "adaptive", 0.7 * self.photon_kev, 1 / self.photon_kev if photons else 0.0
        )
        return replace(made, set_min=False)


def codes_of(detector: Detector, words: np.ndarray) -> np.ndarray:
    """Return the gain codes of words (..., planes, n_pixels), which are in the words or in a plane."""
    return words[..., 0, :] >> detector.adc_bits if detector.encoding == "word" else words[..., -1, :]


def case_of(name: str, quick: bool = False, seed: int = 1) -> LitCase:
    """Make words and constants of one module of a detector: noise, some photons, clusters that switched gain.

    Parameters
    ----------
    name : str
        One of `DETECTORS`.
    quick : bool
        Few cells and frames.
    seed : int

    Returns
    -------
    LitCase
    """
    if name in AGIPD:
        case = make_case(3, 2, seed) if quick else make_case(seed=seed)
        return replace(case, module_count=detectors.load(name).module_count)
    chip, detector = CHIPS[name], detectors.load(name.removesuffix(IN_PARALLEL))
    if name.endswith(IN_PARALLEL):
        detector = detector.in_parallel_gain()
    if quick:
        chip = replace(chip, cells=min(chip.cells, 3), frames=80 if detector.pixels < CLUSTER else 2)
    rng = np.random.Generator(np.random.SFC64(seed))
    table = _constants(rng, chip, detector)
    raw = np.empty((chip.frames, chip.cells, detector.plane_count, detector.pixels), "u2")
    for frame in range(chip.frames):
        for cell in range(chip.cells):
            _fill(rng, raw[frame, cell], table[cell], chip, detector)
    steps = Steps().for_detector(detector)
    linear = _linear(rng, chip, detector) if steps.linearise else None
    return DetectorCase(raw, table, chip.modules, detector, chip.photon_kev, linear)


def _constants(rng: np.random.Generator, chip: Chip, detector: Detector) -> np.ndarray:
    stages, n = len(chip.offsets), detector.pixels
    table = np.zeros((chip.cells, 8 if stages > 1 else 2, n), "f4")
    bad = (rng.random(n) < BAD_SHARE) | _no_sensor(chip, detector)
    for cell in table:
        if detector.encoding == "parallel":
            sigma = [chip.noise_kev * adu for adu in chip.adu_per_kev[:1] * 2]  # the readout's, in any stage
            far = [Steps().parallel_sigma_high, Steps().parallel_sigma_mid]
            cell[:2] = np.floor(detector.adc_max - np.multiply(far, sigma))[:, None]
        for stage in range(stages):
            offset, gain = (2 + stage, 5 + stage) if stages > 1 else (0, 1)
            cell[offset] = chip.offsets[stage] * (1 + 0.01 * rng.standard_normal(n, "f4"))
            cell[gain] = 1 / (chip.adu_per_kev[stage] * (1 + 0.02 * rng.standard_normal(n, "f4")))
            cell[gain, bad] = np.nan
    return table


def _no_sensor(chip: Chip, detector: Detector) -> np.ndarray:
    """Return which pixels of a frame are of no sensor, bool (n_pixels,)."""
    none = np.full(detector.shape, bool(chip.sensors))
    for first, stop in chip.sensors:
        none[first:stop] = False
    return none.ravel()


def _linear(rng: np.random.Generator, chip: Chip, detector: Detector) -> np.ndarray:
    """Return tables that bend words by a few ADU, each pixel its own way."""
    entries = np.arange(1 << detector.adc_bits, dtype="f4")
    phase = rng.random((chip.cells, detector.pixels, 1), "f4")
    bent = entries + 4 * np.sin(6.28 * (entries / 700 + phase))
    return np.clip(np.rint(bent), 0, entries[-1]).astype("u2")


def _fill(rng: np.random.Generator, words: np.ndarray, table: np.ndarray, chip: Chip, det: Detector) -> None:
    """Fill one frame, (planes, n_pixels): middles of clusters in low gain, what is around them in medium."""
    n, stages = det.pixels, len(chip.offsets)
    lit = rng.random(n, "f4") < LIT_SHARE
    energy = chip.noise_kev * rng.standard_normal(n, "f4") + chip.photon_kev * lit
    offset = table[2 if stages > 1 else 0]
    signal = offset + energy * chip.adu_per_kev[0]
    code = np.zeros(n, "u2")
    for at in _clusters(rng, det):
        if stages == 1:
            signal[at] = chip.highest
            continue
        code[at], code[at[0]] = det.codes[1], det.codes[2]
        signal[at] = table[3, at] + np.sign(chip.adu_per_kev[1]) * SWITCHED_ADU
        signal[at[0]] = table[4, at[0]] + np.sign(chip.adu_per_kev[2]) * SWITCHED_ADU
    if det.encoding == "parallel":
        _fill_parallel(words, table, energy, code, chip, det)
        return
    words[0] = np.clip(np.rint(signal), 1, chip.highest)
    if det.encoding == "word":
        words[0] |= code << np.uint16(det.adc_bits)
        junk = np.flatnonzero(_no_sensor(chip, det))
        words[0, junk] = rng.integers(0, 1 << (det.adc_bits + 2), len(junk), "u2")
    elif det.encoding == "code":
        words[1] = code


def _fill_parallel(
    words: np.ndarray, table: np.ndarray, energy: np.ndarray, code: np.ndarray, chip: Chip, det: Detector
) -> None:
    """Fill one frame, (3, n_pixels): every stage before the one that a pixel is in is at its end."""
    for stage, adu in enumerate(chip.adu_per_kev):
        signal = table[2 + stage] + energy * adu
        for lower in det.codes[stage + 1 :]:
            signal[code == lower] = chip.highest
        signal[code == det.codes[stage]] += SWITCHED_ADU * (stage > 0)
        words[stage] = np.clip(np.rint(signal), 1, chip.highest)
        # The gain code stands above the signal, and nobody looks at it.
        words[stage] |= np.uint16(det.codes[stage] << det.adc_bits)


def _clusters(rng: np.random.Generator, det: Detector) -> Iterator[np.ndarray]:
    """Yield the pixels of discs of radius 2, the middle first: one in `CLUSTER` pixels, in the mean."""
    ss, fs = det.shape
    for _ in range(int(det.pixels / CLUSTER + rng.random())):
        y, x = int(rng.integers(ss)), int(rng.integers(2, fs - 2))
        steps = [(0, 0), *((dy, dx) for dy in range(-2, 3) for dx in range(abs(dy) - 2, 3 - abs(dy)))]
        near = [(y + dy) * fs + x + dx for dy, dx in steps if 0 <= y + dy < ss]
        yield np.array(near)


class DetectorOnDevice(OnDevice):
    """The case in the memory of a backend; words are made linear first where the detector needs it."""

    def __init__(self, case: LitCase, backend: Backend) -> None:
        super().__init__(case, backend)
        linear = getattr(case, "linear", None)
        self.linear = None if linear is None else self._upload(apart(linear))
        self.entries = 0 if linear is None else linear.shape[2]
        self.words = None if linear is None else backend.device.empty(self.raw.shape, "u2")

    def queue(self, params: CalibrateParams, shifts: Shifts | None = None) -> None:
        raw = self.raw
        if self.linear is not None:
            arrays = (self.raw, self.frames, self.groups, self.linear, self.words)
            queue_linearisation(self.backend, *arrays, self.stream, self.entries)
            raw = self.words
        arrays = (raw, self.frames, self.groups, self.table, self.counts)
        queue_calibration(self.backend, *arrays, params, shifts=shifts, stream=self.stream)
