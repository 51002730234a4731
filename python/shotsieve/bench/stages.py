"""What is measured on a case: stages of the engine, the whole chain, and peers, with floors and answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.embed import Block, BlockResult, Engine
from ..errors import ShotsieveError
from ..geometry import Geometry, PixelMap
from .cases import DISTANCE_M, PHOTON_KEV, Case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..backend import Backend

BINS = 500
PEER_SHOTS = 8
COUNT_BYTES, KEPT_PIXEL_BYTES, CONSTANT_BYTES = 40, 9, 12
KEPT_MISSES = 0.05
LIT = {"lit": {"threshold": "0.7 photon"}}
PEAKS = {"peaks": {"threshold": "12.9 photon", "min_snr": 5.0, "min_pix_count": 1, "max_pix_count": 30}}
PROFILE = {"azint": {"npt": BINS, "unit": "q_A^-1", "solid_angle": False}}
CHAIN = {
    "measure": LIT | PEAKS | PROFILE,
    "keep": {"rule": "n_peaks >= 10", "misses": KEPT_MISSES, "seed": 1},
    "write": {"content": "corrected"},
}
SECTIONS: dict[str, dict[str, Any]] = {
    "lit": {"measure": LIT},
    "peaks": {"measure": PEAKS},
    "profile": {"measure": PROFILE},
    "average": {"measure": {"average": {}}},
    "chain": CHAIN,
}
"""Recipes of what is measured; *chain* is all of it but the average, with hits and some misses kept."""


class WrongAnswer(ShotsieveError):
    """A benchmark did not compute what it should have: its time means nothing."""


@dataclass
class Measured:
    """One function that is timed.

    Attributes
    ----------
    name : str
    run : callable
        Does all shots of the case once.
    floor_bytes : int
        Bytes that must move: words in, outputs asked for, constants once for each train; without the
        constants where the bus is the floor.
    floor : str
        Name of the rate that bounds it.
    check : callable
        Raises `WrongAnswer` unless the last run's answer was right.
    close : callable
    shots : int or None
        That it does; None: all of the case.
    peer_of : str
        The stage that a peer stands beside; empty for ours.
    version : str
        Of the peer.
    """

    name: str
    run: Callable[[], object]
    floor_bytes: int
    floor: str
    check: Callable[[], None] = lambda: None
    close: Callable[[], None] = lambda: None
    shots: int | None = None
    peer_of: str = ""
    version: str = ""


class EngineStage:
    """A recipe on the blocks of a case, one train each.

    Parameters
    ----------
    case : Case
    backend : Backend
    sections : mapping
        Sections of the recipe beside detector and calibration.
    on_device : bool
        The words lie on the device already.
    corrected : bool
        The words are frames that are calibrated already, as `shotsieve.pack_corrected` makes them.
    """

    def __init__(
        self,
        case: Case,
        backend: Backend,
        sections: Mapping[str, Any],
        on_device: bool = False,
        corrected: bool = False,
    ) -> None:
        self.case = case
        told = {"photon_energy": f"{PHOTON_KEV} keV", "distance": f"{DISTANCE_M} m"}
        form = {"data": "corrected"} if corrected else {}
        recipe = {
            "detector": [{"name": case.detector.name, "geometry": str(case.geometry), **form}],
            "calibrate": told | ({"unit": "keV"} if corrected else {"gain_mode": "adaptive"}),
            **sections,
        }
        self.results: list[BlockResult] = []
        shots = np.arange(case.raw.shape[1])
        self.engine = Engine(
            recipe,
            None if corrected else case.constants,
            backend=backend.name,
            modules=case.modules,
            cells=case.constants.cell_ids,
            block_shots=len(shots),
            on_result=self.results.append,
        )
        cells = case.constants.cell_ids[shots % len(case.constants.cell_ids)]
        device = backend.device
        self.blocks = []
        for train, raw in enumerate(case.raw):
            if backend.name != "cpu" and not on_device:  # as they would arrive from a network
                words = self.engine.lend(len(raw))
                words[:] = raw
                raw = words
            elif on_device:
                stream, target = device.stream(), device.empty(raw.shape, raw.dtype)
                device.to_device(target, raw, stream)
                device.wait(device.record(stream))
                raw = target
            self.blocks.append(Block(raw, train + 1, shots, cells))

    def run(self) -> None:
        """Pass all trains through."""
        self.results.clear()
        for block in self.blocks:
            self.engine.submit(block)
        self.engine.flush()

    def latencies(self, repeats: int) -> list[float]:
        """Return the seconds from handing over a train to having its table, nothing else under way."""
        seconds = []
        for number in range(repeats):
            block = self.blocks[number % len(self.blocks)]
            began = time.perf_counter()
            self.engine.submit(block).result()
            seconds.append(time.perf_counter() - began)
            self.results.clear()
        return seconds

    def check(self) -> None:
        """Compare counts, peaks and profiles with what was put into the words."""
        case = self.case
        for train, result in enumerate(self.results):
            measures = {name: values.sum(axis=1) for name, values in result.table.measures.items()}
            wanted = {"lit_pixels": case.lit[train], "n_peaks": np.where(case.hits[train], case.spots, 0)}
            for name, values in wanted.items():
                if name in measures and not np.array_equal(measures[name], values):
                    raise WrongAnswer(f"{name} of train {train}: {measures[name]}; expected {values}")
            if case.detector.keep_unit == "shot" and result.frames:
                missed = case.hits[train].nonzero()[0].tolist()
                if not set(missed) <= set(result.kept.tolist()):
                    raise WrongAnswer(f"train {train}: kept {result.kept}; the hits are {missed}")
        first = self.results[0] if self.results else None
        if first is not None and first.profiles is not None and first.frames and len(first.kept):
            _check_profile(case, first)

    def kept_shots(self) -> int:
        """Return how many shots were kept the last time."""
        return sum(len(result.kept) for result in self.results)


def _check_profile(case: Case, result: BlockResult) -> None:
    """Compare the profile of the first kept shot with a histogram of its frame."""
    geometry = Geometry.load(case.geometry, module_shape=case.detector.shape)
    row, frame = int(result.kept[0]), result.frames["data"][0].reshape(-1).astype("f8")
    q = PixelMap.from_geometry(geometry, DISTANCE_M).q(PHOTON_KEV, "1/A").reshape(-1)
    centres = result.profiles.centres
    step = centres[1] - centres[0]
    edges = np.append(centres - step / 2, centres[-1] + step / 2)
    good = np.isfinite(frame)
    pixels, _ = np.histogram(q[good], edges)
    sums, _ = np.histogram(q[good], edges, weights=frame[good])
    with np.errstate(invalid="ignore"):
        near = np.isclose(sums / pixels, result.profiles.intensity[row], rtol=1e-5, atol=1e-5, equal_nan=True)
    if near.mean() < 0.97:  # pixels on an edge may fall to either side
        raise WrongAnswer(f"profile: only {near.mean():.1%} of the bins agree with a histogram")


def measured_stage(case: Case, backend: Backend, name: str, on_device: bool = False) -> Measured:
    """Return one of `SECTIONS` on a case, after a first run whose answer is right.

    Parameters
    ----------
    case : Case
    backend : Backend
    name : str
    on_device : bool
        The words lie on the device already.
    """
    floor = "read" if backend.name == "cpu" else "device copy" if on_device else "to device"
    sections = SECTIONS[name]
    stage = EngineStage(case, backend, sections, on_device)
    stage.run()
    stage.check()
    outputs = 0
    if {"lit", "peaks"} & sections["measure"].keys():
        outputs += COUNT_BYTES * case.shots * len(case.modules)
    if "azint" in sections["measure"]:
        outputs += 3 * 8 * BINS * case.shots
    outputs += KEPT_PIXEL_BYTES * case.frame_pixels * stage.kept_shots() if "write" in sections else 0
    constants = CONSTANT_BYTES * case.frame_pixels * case.raw.shape[1] * case.raw.shape[0]
    needed = case.raw.nbytes + outputs + (constants if floor != "to device" else 0)
    where = f"{name}, on the device" if on_device else name
    return Measured(where, stage.run, needed, floor, stage.check, stage.engine.close)
