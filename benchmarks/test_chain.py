"""`chain_raw` and `chain_corrected`: a run measured in every way and reduced, against what a user writes.

Lit pixels, photons, peaks (setting A) and a profile of 500 bins of every AGIPD-1M shot; a tenth is kept with
data, mask and gain. The files have just been written, so that they come from the page cache. The peer's time
is that of its two processes, and half of the CPU time of OM on the same frames. Raw words are calibrated by
the peer in compiled loops of numba, or by NumPy. Reading the same blocks and nothing else is timed in turn
with all of it: no program that reads these files is faster than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import machine
import numpy as np
import pytest
import records
import shotsieve
from chain_case import SETTING, ChainCase, RawChainCase
from peak_frames import SETTINGS
from shotsieve import backend as backends
from shotsieve.bench.om_peer import MODES, NoPeer, Peer
from shotsieve.bench.rounds import interleave
from shotsieve.cpus import usable_cpus
from shotsieve.geometry import Geometry
from shotsieve.sources.run import open_run

ROUNDS, TRAINS, PULSES = 7, 48, 16  # long enough that a run's start and end do not count
BLOCK_BYTES = 256_000_000

pytest.importorskip("pyFAI")
pytest.importorskip("extra_data")
pytest.importorskip("extra_geom")
pytest.importorskip("zlib_into")
pytest.importorskip("numba")
from chain_peer import ENGINE, ChainPeer  # noqa: E402


@dataclass(frozen=True)
class Kind:
    """What a record is of; how many times faster than each peer, by what makes its frames."""

    case: type[ChainCase]
    peer: str
    packages: tuple[str, ...]
    min_ratio: dict[str, float]


KINDS = {
    "chain_corrected": Kind(
        ChainCase,
        "EXtra-data + NumPy + pyFAI in two processes + OM fast / 2",
        ("extra_data", "pyFAI", "zlib_into"),
        {"files": 12.0},
    ),
    "chain_raw": Kind(
        RawChainCase,
        "EXtra-data + numba + NumPy + pyFAI in two processes + OM fast / 2",
        ("extra_data", "pyFAI", "numba"),
        {"numba": 15.0, "numpy": 30.0},
    ),
}


def search_by_om(case: ChainCase) -> dict[str, tuple[float, np.ndarray]]:
    """Return OM's CPU seconds for all shots, and the peaks of each, by mode; frames of a train at a time."""
    geometry = Geometry.load(case.geometry, module_shape=(512, 128))
    found: dict[str, tuple[float, list[np.ndarray]]] = {mode: (0.0, []) for mode in MODES}
    with Peer(geometry.radius("float"), case.scene.mask) as om:
        for frames in case.frames():
            om.load("train", frames)
            for mode in MODES:
                om.find("train", SETTINGS[SETTING], mode)  # the first call of a set faults its pages in
                told = om.find("train", SETTINGS[SETTING], mode)
                seconds, peaks = found[mode]
                found[mode] = seconds + float(told.seconds.sum()), [*peaks, told.n_peaks]
            om.drop("train")
    return {mode: (seconds, np.concatenate(peaks)) for mode, (seconds, peaks) in found.items()}


def reading(case: ChainCase) -> Callable[[], None]:
    """Return what reads all blocks of a run as `reduce` does, and does nothing else."""
    source = open_run(case.run)
    blocks = source.cuts(BLOCK_BYTES)
    shape = (len(source.modules), source.detector.plane_count, *source.detector.frame_shape)
    buffer = np.zeros((max(stop - start for start, stop in blocks), *shape), "u2")

    def read() -> None:
        for start, stop in blocks:
            source.read(start, stop, buffer[: stop - start])

    return read


@pytest.mark.parametrize("name", KINDS)
def test_chain(name: str, tmp_path: Path, record: Callable, target: Callable, quick: bool) -> None:
    """The whole chain on two cores; ours without, and with, opening the run, constants and plans."""
    kind = KINDS[name]
    case = kind.case.make(tmp_path, *((2, 4) if quick else (TRAINS, PULSES)))
    try:
        om = search_by_om(case)
    except NoPeer as reason:
        pytest.skip(str(reason))
    results: list[shotsieve.Result] = []

    def ours() -> None:
        results.append(
            shotsieve.reduce(
                case.run,
                case.recipe(),
                tmp_path / "red",
                constants=getattr(case, "constants", None),
                backend="cpu",
                overwrite=True,
                block_bytes=BLOCK_BYTES,
            )
        )

    ours()
    kept = results[-1].table.fate == 0
    with ExitStack() as stack:
        peers = {how: stack.enter_context(ChainPeer(case, kept, tmp_path, how)) for how in kind.min_ratio}
        began = time.perf_counter()
        turns = {"ours": ours, "read": reading(case), **{how: peer.run for how, peer in peers.items()}}
        seconds = interleave(turns, 1 if quick else ROUNDS)
        took = time.perf_counter() - began
        for peer in peers.values():
            check(case, results[-1], peer, om)
    run_s = [result.performance["run_s"] for result in results[2:]]
    least, read_s = min(run_s), min(seconds["read"])
    theirs = {how: {mode: min(seconds[how]) + om[mode][0] / 2 for mode in MODES} for how in peers}
    ratios = {how: {mode: of / least for mode, of in told.items()} for how, told in theirs.items()}
    record(
        records.make(
            name,
            backend=_level(),
            detector="AGIPD1M",
            shots_per_s=case.shots / least,
            gb_per_s=case.file_bytes / least / 1e9,
            read_fraction=read_s / least,
            floor_fraction=None,
            peer=kind.peer,
            ratio_to_peer=ratios[next(iter(peers))]["fast"],
            threads=usable_cpus(),
            versions=machine.versions() | {package: version(package) for package in kind.packages},
            notes="lit pixels, photons, peaks and a 500-bin profile of every shot; page cache; gb_per_s is "
            "of the bytes of the files; ratios_of_reading_alone: of a program that does nothing but read; "
            "prepare_s = opening the run, folding constants and making plans, not in the rate",
            details={
                "shots": case.shots,
                "kept": int(kept.sum()),
                "ratios": ratios,
                "read_alone_s": seconds["read"],
                "ratios_of_reading_alone": {
                    how: {mode: of / read_s for mode, of in told.items()} for how, told in theirs.items()
                },
                "prepare_s": min(result.performance["prepare_s"] for result in results),
                "ours_s": run_s,
                "peers_without_om_s": {how: seconds[how] for how in peers},
                "om_cpu_s": {mode: told[0] for mode, told in om.items()},
                "peer_steps_of_a_process_s": {how: peer.steps for how, peer in peers.items()},
                "pyfai_engine": "/".join(ENGINE),
                "steps_s": results[-1].performance["steps_s"],
                "measured_in_s": took,
            },
        )
    )
    for how, wanted in kind.min_ratio.items():
        ratio = ratios[how]["fast"]
        target(ratio >= wanted, f"{name}: {ratio:.1f} times the peer ({how}); the target is {wanted:g}")


def check(case: ChainCase, result: shotsieve.Result, peer: ChainPeer, om: dict[str, Any]) -> None:
    """Both found the same, and hits are kept."""
    table = result.table
    kept = table.fate == 0
    assert kept[case.hit].mean() > 0.8
    assert 0 < kept.sum() < 0.4 * len(kept) + 2
    assert table.measures["lit_pixels"].sum(axis=1).tolist() == peer.told.lit.tolist()
    # A value that lies on a half of a photon, but for its last bit, may be counted either way.
    assert np.abs(table.measures["photons"].sum(axis=1) - peer.told.photons).max() <= 2
    found, theirs = np.maximum(table.bounds("n_peaks")[0], 0), om["normal"][1]
    assert abs(found.sum() - theirs.sum()) <= 0.05 * theirs.sum() + 2
    with h5py.File(result.out / "shotsieve" / "profiles.h5") as file:
        profiles, q = file["entry/profiles/intensity"][()], file["entry/profiles/q"][()]
    assert np.abs(q - peer.told.radial).max() < 1e-5
    filled = np.isfinite(profiles).any(axis=0)
    ours, theirs = np.nanmean(profiles[:, filled], axis=0), peer.told.profiles[:, filled].mean(axis=0)
    # Where a pixel is on an edge of two bins it may fall into either.
    assert np.median(np.abs(ours / theirs - 1)) < 1e-4


def _level() -> str:
    """Return the CPU level that `reduce` took, such as cpu_v3."""
    return backends.get("cpu").native.__name__.rpartition("._")[2]
