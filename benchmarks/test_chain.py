"""`chain_corrected`: a run of corrected files, measured in every way and reduced, against what a user writes.

Lit pixels, photons, peaks (setting A) and a profile of 500 bins of every AGIPD-1M shot; a tenth is kept with
data, mask and gain. The files have just been written, so that they come from the page cache. The peer's time
is that of its two processes, and half of the CPU time of OM on the same frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import machine
import numpy as np
import pytest
import records
import shotsieve
from chain_case import SETTING, ChainCase
from om_peer import MODES, NoPeer, Peer
from peak_frames import SETTINGS
from shotsieve import backend as backends
from shotsieve.bench.rounds import interleave
from shotsieve.cpus import usable_cpus
from shotsieve.geometry import Geometry
from shotsieve.sources.corrected import planes_in
from shotsieve.sources.run import open_run

ROUNDS, TRAINS, PULSES = 7, 10, 16
MIN_RATIO = 12.0
BLOCK_BYTES = 256_000_000

pytest.importorskip("pyFAI")
pytest.importorskip("extra_data")
pytest.importorskip("extra_geom")
pytest.importorskip("zlib_into")
from chain_peer import ENGINE, ChainPeer  # noqa: E402


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> ChainCase:
    return ChainCase.make(tmp_path_factory.mktemp("chain"), *((2, 4) if quick else (TRAINS, PULSES)))


def search_by_om(case: ChainCase) -> dict[str, tuple[float, np.ndarray]]:
    """Return OM's CPU seconds for all shots, and the peaks of each, by mode; frames of a train at a time."""
    source = open_run(case.run)
    geometry = Geometry.load(case.geometry, module_shape=(512, 128))
    raw = np.empty((case.pulses, 16, 5, 512, 128), "u2")
    found: dict[str, tuple[float, list[np.ndarray]]] = {mode: (0.0, []) for mode in MODES}
    with Peer(geometry.radius("float"), case.scene.mask) as om:
        for train in range(case.trains):
            source.read(train * case.pulses, (train + 1) * case.pulses, raw)
            om.load("train", np.nan_to_num(planes_in(raw)["data"].reshape(case.pulses, 8192, 128)))
            for mode in MODES:
                om.find("train", SETTINGS[SETTING], mode)  # the first call of a set faults its pages in
                told = om.find("train", SETTINGS[SETTING], mode)
                seconds, peaks = found[mode]
                found[mode] = seconds + float(told.seconds.sum()), [*peaks, told.n_peaks]
            om.drop("train")
    return {mode: (seconds, np.concatenate(peaks)) for mode, (seconds, peaks) in found.items()}


def test_chain_corrected(
    case: ChainCase, tmp_path: Path, record: Callable, target: Callable, quick: bool
) -> None:
    """The whole chain on two cores; ours without, and with, opening the run and making plans."""
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
                backend="cpu",
                overwrite=True,
                block_bytes=BLOCK_BYTES,
            )
        )

    ours()
    kept = results[-1].table.fate == 0
    with ChainPeer(case, kept, tmp_path) as peer:
        began = time.perf_counter()
        seconds = interleave({"ours": ours, "peer": peer.run}, 1 if quick else ROUNDS)
        took = time.perf_counter() - began
        check(case, results[-1], peer, om)
    run_s = [result.performance["run_s"] for result in results[2:]]
    least = min(run_s)
    normal, fast = (min(seconds["peer"]) + om[mode][0] / 2 for mode in MODES)
    record(
        records.make(
            "chain_corrected",
            backend=_level(),
            detector="AGIPD1M",
            shots_per_s=case.shots / least,
            gb_per_s=case.file_bytes / least / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer="EXtra-data + NumPy + pyFAI in two processes + OM fast / 2",
            ratio_to_peer=fast / least,
            threads=usable_cpus(),
            versions=machine.versions()
            | {name: version(name) for name in ("extra_data", "pyFAI", "zlib_into")},
            notes="lit pixels, photons, peaks and a 500-bin profile of every shot; page cache; gb_per_s is "
            "of the bytes of the files; prepare_s = opening the run and making plans, not in the rate",
            details={
                "shots": case.shots,
                "kept": int(kept.sum()),
                "ratio_to_om_normal": normal / least,
                "prepare_s": min(result.performance["prepare_s"] for result in results),
                "ours_s": run_s,
                "peer_without_om_s": seconds["peer"],
                "om_cpu_s": {mode: told[0] for mode, told in om.items()},
                "peer_steps_of_a_process_s": peer.steps,
                "pyfai_engine": "/".join(ENGINE),
                "steps_s": results[-1].performance["steps_s"],
                "measured_in_s": took,
            },
        )
    )
    target(fast / least >= MIN_RATIO, f"{fast / least:.1f} times the peer; the target is {MIN_RATIO}")


def check(case: ChainCase, result: shotsieve.Result, peer: ChainPeer, om: dict[str, Any]) -> None:
    """Both found the same, and hits are kept."""
    table = result.table
    kept = table.fate == 0
    assert kept[case.hit].mean() > 0.8
    assert 0 < kept.sum() < 0.4 * len(kept) + 2
    assert table.measures["lit_pixels"].sum(axis=1).tolist() == peer.told.lit.tolist()
    assert table.measures["photons"].sum(axis=1).tolist() == peer.told.photons.tolist()
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
