"""`peakfinder8` on one core: AGIPD-1M hits and blanks at three backgrounds, against OM on the same frames.

Settings A and B of `peak_frames`, full statistics and lazy ones. Everything runs in turns, seven rounds, and
is compared by its median CPU time.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import machine
import numpy as np
import pytest
import records
from om_agreement import same_rows
from peak_frames import BACKGROUNDS, BLANKS, HITS, SETTINGS
from peaks_case import (
    KINDS,
    LEVELS,
    STATISTICS,
    PeaksCase,
    cpu_levels,
    interleave,
    oms,
    ours,
    reading,
)
from shotsieve import backend as backends
from shotsieve import peakfinder8
from shotsieve.bench.om_peer import NoPeer, Peer
from shotsieve.bench.rounds import ROUNDS
from shotsieve.errors import BackendUnavailable

# Times OM in normal mode at every background; the goal of full statistics is 8.
MIN_RATIOS = {("full", HITS): 6, ("full", BLANKS): 6, ("lazy", HITS): 15, ("lazy", BLANKS): 22}
MIN_SAME_ROWS = 0.98
GPU_SHOTS, GPU_REPEATS = 128, 5
MIN_GPU_SHOTS = {("A", HITS, 0.5): 100_000, ("A", BLANKS, 0.5): 100_000, ("B", HITS, 2.0): 30_000}
COLUMNS = [
    "background",
    "ms",
    "ms_least",
    "ms_most",
    "floor_fraction",
    "om_ms",
    "om_fast_ms",
    "ratio",
    "fast_ratio",
]


class Measured:
    """All times of one session: CPU seconds of a set in every round, by name; and what OM found."""

    def __init__(self, quick: bool) -> None:
        self.case = PeaksCase.make(shots=2, modules=(3, 10)) if quick else PeaksCase.make()
        self.rounds = 2 if quick else ROUNDS
        self.levels = cpu_levels()
        self.missing = ""
        self.found = {}
        functions = reading(self.case) | ours(self.case)
        try:
            peer = Peer(self.case.scene.radius, self.case.scene.mask)
        except NoPeer as error:
            self.peer, self.missing, self.versions = None, str(error), {}
            self.seconds = interleave(functions, self.rounds)
        else:
            with peer:
                self.peer, self.versions = peer.name, peer.versions
                self.seconds = interleave(functions | oms(self.case, peer), self.rounds)
                for which in self.case.frames:
                    for name, setting in SETTINGS.items():
                        self.found[name, *which] = peer.find(str(which), setting)
        self.floor = min(median(times) for name, times in self.seconds.items() if name[0] == "read")

    def row(self, level: str, statistics: str, setting: str, kind: str, background: float) -> list[Any]:
        """Return one row of `COLUMNS`: milliseconds of a shot."""
        rest = (setting, kind, background)
        times = self.seconds[level, statistics, *rest]
        mine = median(times)
        om = [median(self.seconds["om", mode, *rest]) if self.peer else None for mode in ("normal", "fast")]
        ms = 1e3 / self.case.shots
        return [
            background,
            *(ms * value for value in (mine, min(times), max(times))),
            self.floor / mine,
            *(None if value is None else ms * value for value in om),
            *(None if value is None else value / mine for value in om),
        ]


@pytest.fixture(scope="module")
def measured(quick: bool) -> Measured:
    return Measured(quick)


def check_found(measured: Measured, level: str, setting: str, kind: str) -> list[list[Any]]:
    """Compare lazy, full, the levels and OM; return rows of background, rows of OM, those that are ours."""
    rows = []
    for background in BACKGROUNDS:
        which = (kind, background)
        lazy, full = (
            measured.case.find(which, setting, how, measured.levels[level]) for how in ("lazy", "full")
        )
        first = measured.case.find(which, setting, "full", next(iter(measured.levels.values())))
        for other in (full, first):
            assert lazy.records.tobytes() == other.records.tobytes()
            np.testing.assert_array_equal(lazy.panel_counts, other.panel_counts)
            np.testing.assert_array_equal(lazy.rejected, other.rejected)
        if measured.peer:
            found = measured.found[setting, kind, background]
            rows.append([background, len(found.rows), same_rows(lazy, found)])
    total, same = sum(row[1] for row in rows), sum(row[2] for row in rows)
    assert total - same <= max(3, (1 - MIN_SAME_ROWS) * total)
    return rows


def peaks_record(measured: Measured, level: str, statistics: str, setting: str, kind: str) -> dict[str, Any]:
    """Make a record; its rates are those of the background at which we do worst."""
    rows = [measured.row(level, statistics, setting, kind, background) for background in BACKGROUNDS]
    worst = min(rows, key=lambda row: row[7]) if measured.peer else max(rows, key=lambda row: row[1])
    seconds = worst[1] / 1e3
    what = f"{measured.peer}, 1 core" if measured.peer else None
    return records.make(
        "peakfinder8",
        backend=level,
        detector="AGIPD1M",
        shots_per_s=1 / seconds,
        gb_per_s=measured.case.shot_bytes / seconds / 1e9,
        read_fraction=worst[4],
        floor_fraction=worst[4],
        peer=what,
        ratio_to_peer=worst[7],
        threads=1,
        versions=machine.versions() | measured.versions,
        notes=f"CPU time of the thread, median; rates are those at {worst[0]:g} photons/px, the worst; bytes "
        "of float32 frames",
        details={
            "variant": f"{setting}, {statistics}, {kind}",
            "setting": SETTINGS[setting],
            "shots": measured.case.shots,
            "rounds": measured.rounds,
            "read_gb_per_s": measured.case.shot_bytes * measured.case.shots / measured.floor / 1e9,
            "columns": COLUMNS,
            "rows": rows,
            "last_level_cache_bytes": machine.last_level_cache(),
        },
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("level", LEVELS)
def test_per_core(
    measured: Measured,
    level: str,
    statistics: str,
    setting: str,
    kind: str,
    record: Callable,
    target: Callable,
    benchmark: Any,
    quick: bool,
) -> None:
    """One thread: times of OM in normal and fast mode over ours."""
    if level not in measured.levels:
        pytest.skip(f"{level}: this processor lacks that level")
    agreement = check_found(measured, level, setting, kind)
    backend = measured.levels[level]
    benchmark.pedantic(
        measured.case.find,
        args=((kind, 0.5), setting, statistics, backend),
        rounds=measured.rounds,
        warmup_rounds=1,
    )
    made = peaks_record(measured, level, statistics, setting, kind)
    made["details"]["om_rows_and_same"] = agreement
    benchmark.extra_info.update(ratio_to_peer=made["ratio_to_peer"], floor_fraction=made["floor_fraction"])
    record(made)
    if level != max(measured.levels) or quick:
        return
    least = MIN_RATIOS[statistics, kind]
    for row in made["details"]["rows"] if measured.peer else ():
        target(
            row[7] >= least,
            f"peakfinder8 on {level}, {setting}, {statistics}, {kind}, {row[0]} photons/px: {row[1]:.2f} ms "
            f"a shot, {row[7]:.1f} x {measured.peer}, wanted {least}",
        )


def test_there_is_a_peer(measured: Measured) -> None:
    """Say why there are no ratios."""
    if not measured.peer:
        pytest.skip(measured.missing)


@pytest.mark.parametrize(("setting", "kind", "background"), MIN_GPU_SHOTS)
def test_cuda(
    setting: str,
    kind: str,
    background: float,
    record: Callable,
    target: Callable,
    benchmark: Any,
    quick: bool,
) -> None:
    """Frames on the device, the lists of peaks on the host at the end."""
    try:
        backend = backends.get("cuda")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    import cupy

    case = PeaksCase.make(shots=2)
    frames = case.frames[kind, background]
    plan = case.plans[setting]
    device = cupy.asarray(np.concatenate([frames] * (4 if quick else GPU_SHOTS // len(frames))))
    host = peakfinder8(frames, plan=plan, backend="cpu")
    found = peakfinder8(device, plan=plan, backend=backend)
    assert found.records[: found.first[len(frames)]].tobytes() == host.records.tobytes()

    def search() -> None:
        for _ in range(GPU_REPEATS):
            peakfinder8(device, plan=plan, backend=backend)

    benchmark.pedantic(search, rounds=2 if quick else ROUNDS, warmup_rounds=1)
    seconds = benchmark.stats.stats.median / GPU_REPEATS / len(device)
    made = records.make(
        "peakfinder8",
        backend="cuda",
        detector="AGIPD1M",
        shots_per_s=1 / seconds,
        gb_per_s=case.shot_bytes / seconds / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=None,
        ratio_to_peer=None,
        threads=1,
        machine=machine.describe(backend.detail),
        versions=machine.versions("cupy"),
        notes="frames on the device, wall time of whole calls, median; bytes of float32 frames",
        details={
            "variant": f"{setting}, lazy, {kind}, {background:g} photons/px",
            "setting": SETTINGS[setting],
            "shots": len(device),
            "peaks_per_shot": float(found.n_peaks.mean()),
            "rounds": 2 if quick else ROUNDS,
        },
    )
    record(made)
    if not quick:
        least, shots = MIN_GPU_SHOTS[setting, kind, background], made["shots_per_s"]
        what = f"peakfinder8 on cuda, {made['details']['variant']}"
        target(shots >= least, f"{what}: {shots} shots/s, wanted {least} on an H200")
