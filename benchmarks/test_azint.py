"""Azimuthal integration on one core: AGIPD-1M frames against pyFAI and NumPy, all in turns in one run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import azint_case
import machine
import numpy as np
import pytest
import records
from azint_case import DEFAULT_ENGINE, ENGINES, FRAMES, GEOMETRY, NPT, PEER_FRAMES, AzintCase
from shotsieve import backend as backends
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.errors import BackendUnavailable

# Times the best engine of pyFAI, its default, and a sum by NumPy.
MIN_RATIOS = {
    ("cpu_v4", "no"): {"best": 12, "default": 30, "bincount": 3},
    ("cpu_v3", "no"): {"best": 8},
    ("cpu_v4", "full"): {"best": 7},
}
SHOT_BYTES = 4 * 8192 * 128


class Measured:
    """Seconds per frame, least of all rounds, by name."""

    def __init__(self, quick: bool) -> None:
        if not GEOMETRY.is_file():
            pytest.skip(f"no geometry at {GEOMETRY}; set SHOTSIEVE_DATA")
        self.case = AzintCase.make(frames=8 if quick else FRAMES)
        self.rounds = 2 if quick else ROUNDS
        functions = self.case.ours() | {"bincount": self.case.bincount()}
        functions |= {f"read {n}": f for n, f in machine.readers(self.case.frames).items()}
        try:
            self.peer, self.missing = azint_case.make_pyfai(), ""
        except ImportError as error:
            self.peer, self.missing = None, str(error)
        else:
            functions |= self.case.pyfai(self.peer)
        self.seconds = interleave(functions, self.rounds)
        few = ("pyFAI", "bincount")
        self.least = {
            name: least / (PEER_FRAMES if name.startswith(few) else len(self.case.frames))
            for name, least in minima(self.seconds).items()
        }
        self.read = machine.quickest_read(self.least)


@pytest.fixture(scope="module")
def measured(quick: bool, one_core: None) -> Measured:
    return Measured(quick)


def check(measured: Measured, level: str, splitting: str) -> None:
    """Every level gives the same bits, and pyFAI the same curve where both have the same bins."""
    case = measured.case
    few = case.frames[:PEER_FRAMES]
    found = case.integrators[level, splitting](few)
    first = case.integrators[next(iter(case.integrators))[0], splitting](few)
    np.testing.assert_array_equal(found.intensity, first.intensity)
    np.testing.assert_array_equal(found.sigma, first.sigma)
    if measured.peer is None:
        return
    theirs = measured.peer.integrate1d(
        few[1], NPT, unit="q_A^-1", mask=~case.good, polarization_factor=azint_case.POLARISATION,
        radial_range=(found.edges[0], found.edges[-1]), method=(splitting, "csr", "cython"),
    )  # fmt: skip
    full = found.count[1] > 100
    off = np.abs(found.intensity[1][full] / theirs.intensity[full] - 1)
    assert np.median(off) < 1e-6
    assert off.max() < 0.05  # single pixels at the edges of bins go elsewhere


@pytest.mark.parametrize(
    ("level", "splitting"), [(v, s) for s in ENGINES for v in ("cpu_v2", "cpu_v3", "cpu_v4")]
)
def test_one_core(
    measured: Measured, level: str, splitting: str, record: Callable, target: Callable, quick: bool
) -> None:
    """Weighted mean with Poisson errors."""
    name = f"{level} {splitting}"
    if name not in measured.least:
        pytest.skip(f"{level}: this processor does not have it")
    check(measured, level, splitting)
    mine = measured.least[name]
    engines = {f"{a}/{b}": measured.least.get(f"pyFAI {a}/{b}") for a, b in ENGINES[splitting]}
    known = {engine: least for engine, least in engines.items() if least is not None}
    best = min(known, key=known.get) if known else None
    ratios = {"bincount": measured.least["bincount"] / mine}
    if known:
        ratios["best"] = known[best] / mine
        if DEFAULT_ENGINE in known:
            ratios["default"] = known[DEFAULT_ENGINE] / mine
    times = sorted(measured.seconds[name])
    made = records.make(
        "azint",
        backend=level,
        detector="AGIPD1M",
        shots_per_s=1 / mine,
        gb_per_s=SHOT_BYTES / mine / 1e9,
        read_fraction=measured.read / mine,
        floor_fraction=None,
        peer=f"pyFAI {best}" if best else None,
        ratio_to_peer=ratios.get("best"),
        threads=1,
        versions=machine.versions() | ({"pyFAI": version("pyFAI")} if known else {}),
        notes="one core, least of interleaved rounds; whole calls; bytes of float32 frames",
        details={
            "variant": f"{splitting} splitting, {NPT} bins, Poisson errors",
            "frames": len(measured.case.frames),
            "rounds": measured.rounds,
            "ms": 1e3 * mine,
            "ms_most": 1e3 * times[-1] / len(measured.case.frames),
            "read_ms": 1e3 * measured.read,
            "pyfai_ms": {engine: 1e3 * least for engine, least in known.items()},
            "bincount_ms": 1e3 * measured.least["bincount"],
            "ratios": ratios,
        },
    )
    record(made)
    if quick:
        return
    for what, least in MIN_RATIOS.get((level, splitting), {}).items():
        if what in ratios:
            target(ratios[what] >= least, f"azint {name}: {ratios[what]:.1f} x {what}, wanted {least}")


def test_there_is_a_peer(measured: Measured) -> None:
    """Say why there are no ratios."""
    if measured.missing:
        pytest.skip(measured.missing)


def test_cuda(record: Callable, target: Callable, benchmark: Any, quick: bool) -> None:
    """Frames on the device, profiles there at the end; and the same with profiles on the host."""
    try:
        backend = backends.get("cuda")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    import cupy
    import shotsieve

    case = AzintCase.make(frames=8)
    plan = case.integrators["cpu_v2", "no"]
    ai = shotsieve.AzimuthalIntegrator(
        plan.pixels, case.good, NPT, "q_A^-1", photon_energy_kev=azint_case.ENERGY_KEV,
        polarisation=azint_case.POLARISATION, error_model="poisson", backend=backend,
    )  # fmt: skip
    device = cupy.asarray(np.concatenate([case.frames] * (4 if quick else 128)))
    expected = plan(case.frames).intensity
    np.testing.assert_array_equal(ai(device).intensity[:8], expected)
    np.testing.assert_array_equal(ai(device, on_device=True).intensity[:8].get(), expected)

    def integrate() -> None:
        ai(device, on_device=True)
        cupy.cuda.get_current_stream().synchronize()

    rounds = 2 if quick else ROUNDS
    benchmark.pedantic(integrate, rounds=rounds, warmup_rounds=1)
    seconds = benchmark.stats.stats.median / len(device)
    on_host = min(interleave({"it": lambda: ai(device)}, rounds)["it"]) / len(device)
    target_memory = cupy.empty_like(device)

    def copy() -> float:
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        cupy.copyto(target_memory, device)
        stop.record()
        stop.synchronize()
        return cupy.cuda.get_elapsed_time(start, stop) * 1e-3

    copied = min(copy() for _ in range(ROUNDS)) / len(device)  # reads and writes each byte
    made = records.make(
        "azint",
        backend="cuda",
        detector="AGIPD1M",
        shots_per_s=1 / seconds,
        gb_per_s=SHOT_BYTES / seconds / 1e9,
        read_fraction=None,
        floor_fraction=copied / 2 / seconds,
        peer=None,
        ratio_to_peer=None,
        threads=1,
        machine=machine.describe(backend.detail),
        versions=machine.versions("cupy"),
        notes="frames and profiles on the device, wall time of whole calls, median; floor: bytes over copy "
        "bandwidth; shots_per_s_on_host: profiles in host memory",
        details={
            "variant": f"no splitting, {NPT} bins, Poisson errors",
            "frames": len(device),
            "copy_gb_per_s": 2 * SHOT_BYTES / copied / 1e9,
            "shots_per_s_on_host": 1 / on_host,
        },
    )
    record(made)
    if not quick:
        target(
            made["floor_fraction"] >= 0.5, f"azint on cuda: {made['floor_fraction']} of the floor, wanted 0.5"
        )
