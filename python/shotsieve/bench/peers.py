"""Others beside ours, on the same cases: NumPy, and pyFAI, EXtra-redu and OM where they are installed."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from .. import backend as backends
from ..constants.fold import fold
from ..constants.steps import Steps
from ..errors import BadInput
from ..geometry import Geometry, PixelMap
from ..sources.corrected import pack_corrected
from ..units import HC_KEV_NM
from .cases import DISTANCE_M, PHOTON_KEV, Case
from .om_peer import MODES, NoPeer, Peer
from .stages import BINS, CONSTANT_BYTES, LIT, PEAKS, EngineStage, Measured, WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Backend

PEER_SHOTS = 8
CORRECTED = "lit of corrected"


def numpy_peer(case: Case) -> Measured:
    """Return the lit pixels by NumPy, as a careful user writes them: in place, cell by cell, in float32."""
    tables = [
        fold(case.constants, case.detector, module, np.arange(case.raw.shape[1]), Steps(), "keV").table
        for module in case.modules
    ]
    found = np.zeros(case.lit.shape, "i8")
    size = case.detector.pixels
    x, where, gain = np.empty(size, "f4"), np.empty(size, bool), np.empty(size, "f4")
    threshold = np.float32(0.7 * PHOTON_KEV)
    detector = case.detector
    codes, bits, single = detector.codes, detector.adc_bits, detector.stages == 1
    signal, code = np.empty(size, "u2"), np.empty(size, "u2")

    def run() -> None:
        found[:] = 0
        for train, cell in np.ndindex(found.shape):
            for place, table in enumerate(tables):
                words, constants = case.raw[train, cell, place].reshape(-1, size), table[cell]
                adc, level = words[0], words[-1]
                if detector.encoding == "word":
                    np.bitwise_and(adc, (1 << bits) - 1, out=signal)
                    np.right_shift(adc, bits, out=code)
                    adc, level = signal, code
                np.copyto(x, constants[0 if single else 2])
                np.copyto(gain, constants[1 if single else 5])
                for stage in () if single else (1, 2):
                    if codes:
                        np.equal(level, codes[stage], out=where)
                    else:
                        np.greater(level, constants[stage - 1], out=where)
                    np.copyto(x, constants[2 + stage], where=where)
                    np.copyto(gain, constants[5 + stage], where=where)
                np.subtract(adc, x, out=x)
                np.multiply(x, gain, out=x)
                np.greater(x, threshold, out=where)
                found[train, cell] += np.count_nonzero(where)

    def check() -> None:
        if not np.array_equal(found, case.lit):
            raise WrongAnswer("the NumPy peer counts other lit pixels")

    constants = CONSTANT_BYTES * case.frame_pixels * case.lit.size
    return Measured(
        "lit, NumPy, one thread",
        run,
        case.raw.nbytes + constants,
        "read",
        check,
        peer_of="lit",
        version=np.__version__,
    )


def pyfai_peer(case: Case) -> Measured | None:
    """Return profiles by pyFAI, matrix built before, of frames that are calibrated; None without pyFAI."""
    try:
        from pyFAI.detectors import Detector
        from pyFAI.integrator.azimuthal import AzimuthalIntegrator
    except ImportError:
        return None
    geometry = Geometry.load(case.geometry, module_shape=case.detector.shape)
    corners = PixelMap.from_geometry(geometry, DISTANCE_M).corners
    size = case.detector.pixel_size_m
    detector = Detector(size, size, max_shape=geometry.shape)
    detector.set_pixel_corners(np.stack([0 * corners[..., 0], corners[..., 1], corners[..., 0]], axis=-1))
    integrator = AzimuthalIntegrator(
        dist=DISTANCE_M, detector=detector, wavelength=1e-9 * HC_KEV_NM / PHOTON_KEV
    )
    frame = np.random.default_rng(1).normal(1, 0.1, geometry.shape).astype("f4")
    shots, answers = min(case.shots, PEER_SHOTS), []

    def run() -> None:
        answers[:] = [
            integrator.integrate1d(
                frame, BINS, unit="q_A^-1", method=("no", "csr", "cython"), correctSolidAngle=False
            )
            for _ in range(shots)
        ]

    def check() -> None:
        counted = answers[0].count > 0
        if abs(answers[0].intensity[counted].mean() - 1) > 0.05:
            raise WrongAnswer("pyFAI's profile of a flat frame is not flat")

    return Measured(
        "profile of corrected, pyFAI",
        run,
        4 * case.frame_pixels * shots,
        "read",
        check,
        shots=shots,
        peer_of="profile",
        version=metadata.version("pyFAI"),
    )


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """The first train of a case, calibrated by us: what others take.

    Attributes
    ----------
    case : Case
        That train.
    data : ndarray of float32, shape (cells, M, ss, fs)
        keV; NaN where a pixel is bad.
    mask : ndarray of uint32, same shape
        0 is good, and so are pixels with bits that say no more than that they are wider than others.
    """

    case: Case
    data: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, case: Case) -> Calibrated:
        """Calibrate a train on the CPU."""
        one = dataclasses.replace(case, raw=case.raw[:1], lit=case.lit[:1], hits=case.hits[:1])
        stage = EngineStage(one, backends.get("cpu"), {"write": {"content": "corrected"}})
        stage.run()
        frames = stage.results[0].frames
        stage.engine.close()
        data, mask = frames["data"], frames["mask"]
        return cls(one, data, np.where(np.isnan(data), mask, np.uint32(0)))

    @property
    def floor_bytes(self) -> int:
        """Of looking at every pixel and its mask once."""
        return self.data.nbytes + self.mask.nbytes


def corrected_lit(frames: Calibrated, backend: Backend) -> Measured:
    """Return the lit pixels of frames that are calibrated, by our engine."""
    packed = pack_corrected(frames.data, frames.mask)[None]
    case = dataclasses.replace(frames.case, raw=packed)
    stage = EngineStage(case, backend, {"measure": LIT}, corrected=True)
    floor = "read" if backend.name == "cpu" else "to device"
    close = stage.engine.close
    return Measured(CORRECTED, stage.run, packed.nbytes, floor, stage.check, close, case.shots)


def extra_redu_peer(frames: Calibrated) -> Measured | None:
    """Return the same by EXtra-redu's counter, frames and masks in memory before; None without EXtra-redu."""
    try:
        from extra_redu.spi import LitPixelCounter
    except ImportError:
        return None
    case, (n, modules) = frames.case, frames.data.shape[:2]
    # What it asks of a source; its own reads through EXtra-data, which is measured by itself.
    numbers = [SimpleNamespace(source=f"DET/{module}CH0:xtdf") for module in case.modules]
    source = SimpleNamespace(
        num_events=n,
        num_sources=modules,
        trainId=np.ones(n, "u8"),
        pulseId=np.arange(n),
        train_ids=[1],
        count=np.array([n]),
        first=np.array([0]),
        mask=np.ones((n, modules), bool),
        sources=numbers,
    )
    counter = LitPixelCounter(source, threshold=np.float32(0.7 * PHOTON_KEV))
    given = _Given({"data": frames.data, "mask": frames.mask})

    def check() -> None:
        if not np.array_equal(counter.num_lit_px.sum(axis=1), case.lit[0]):
            raise WrongAnswer("EXtra-redu counts other lit pixels")

    return Measured(
        f"{CORRECTED}, EXtra-redu",
        lambda: counter.process(given),
        frames.floor_bytes,
        "read",
        check,
        shots=case.shots,
        peer_of=CORRECTED,
        version=metadata.version("EXtra-redu"),
    )


class _Given(dict):
    """Arrays as EXtra-redu asks for them: ``given["data"].ndarray()``."""

    train_ids = (1,)

    def __getitem__(self, name: str) -> SimpleNamespace:
        array = super().__getitem__(name)
        return SimpleNamespace(ndarray=lambda fill_value: array)


def om_peers(frames: Calibrated) -> list[Measured]:
    """Return the peaks by OM, with all pixels and in fast mode; none where no OM is named.

    One thread of a process of its own. Its background is that of all pixels of a ring, as ours is, or of
    some. It takes one mask for all frames: pixels that are bad in a few cells alone are 0 there.

    Raises
    ------
    BadInput
        If a Python is named that has no OM.
    """
    case, shots = frames.case, min(len(frames.data), PEER_SHOTS)
    geometry = Geometry.load(case.geometry, module_shape=case.detector.shape)
    slabs = frames.data[:shots].reshape(shots, *geometry.shape)
    mask = ~np.isnan(frames.data).all(axis=0).reshape(geometry.shape)
    try:
        om = Peer(geometry.radius(), mask, case.detector.asic)
        om.load("frames", np.nan_to_num(slabs))
    except NoPeer:
        return []
    except RuntimeError as error:
        raise BadInput(str(error)) from error
    section = PEAKS["peaks"]
    setting = section | {
        "threshold": float(section["threshold"].split()[0]) * PHOTON_KEV,
        "local_bg_radius": 3,
    }
    wanted = np.where(case.hits[0, :shots], case.spots, 0)

    def measured(mode: str, close: Callable[[], None]) -> Measured:
        found = []

        def run() -> None:
            found[:] = [om.find("frames", setting, mode).n_peaks]

        def check() -> None:
            if not np.array_equal(found[0], wanted):
                raise WrongAnswer(f"OM, {mode}: peaks {found[0]}; expected {wanted}")

        name = "peaks of corrected, OM" + " fast" * (mode == "fast")
        floor_bytes, version = slabs.nbytes, om.versions["om"]
        return Measured(name, run, floor_bytes, "read", check, close, shots, "peaks", version)

    return [measured(mode, close) for mode, close in zip(MODES, (lambda: None, om.close), strict=True)]
