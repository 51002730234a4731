"""Peaks beside OM's on frames of the full detector: rows that are the same, and why the others are not.

Every row that is not ours must be what the oracle finds as soon as it reads the stale entry of the queue too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import machine
import pytest
import records
from om_agreement import Agreement, compare_set
from om_peer import NoPeer, Peer
from peak_frames import SETTINGS
from peaks_case import SHOTS, PeaksCase, cpu_levels

SEEDS = 5
MIN_SAME = {"A": 0.999, "B": 0.99}
COLUMNS = ["kind", "background", "om_rows", "same", "ours", "stale_entry", "beside_half", "unexplained"]


def test_every_row_that_differs_is_the_stale_entry(record: Callable, quick: bool) -> None:
    """99.9 % of OM's rows at setting A, 99 % at B, and all of the others explained."""
    began = time.perf_counter()
    backend = list(cpu_levels().values())[-1]
    shots, seeds = (2, 1) if quick else (SHOTS, SEEDS)
    table: dict[tuple, Agreement] = {}
    for seed in range(1, seeds + 1):
        case = PeaksCase.make(shots, (3, 10), seed) if quick else PeaksCase.make(shots, seed=seed)
        try:
            peer = Peer(case.scene.radius, case.scene.mask)
        except NoPeer as error:
            pytest.skip(str(error))
        with peer:
            for which, frames in case.frames.items():
                peer.load(str(which), frames)
                for setting in SETTINGS:
                    peaks = case.find(which, setting, "lazy", backend)
                    one = compare_set(case.scene, frames, setting, peaks, peer, str(which))
                    table[setting, *which] = table.get((setting, *which), Agreement()) + one
                peer.drop(str(which))
    seconds = time.perf_counter() - began
    for setting in SETTINGS:
        rows = [[*key[1:], *vars(one).values()] for key, one in table.items() if key[0] == setting]
        found, same = (sum(row[COLUMNS.index(name)] for row in rows) for name in ("om_rows", "same"))
        searched = seeds * shots * len(rows)
        record(
            records.make(
                "peak_agreement",
                backend=backend.name,
                detector="AGIPD1M",
                shots_per_s=searched / seconds,
                gb_per_s=searched * case.shot_bytes / seconds / 1e9,
                read_fraction=None,
                floor_fraction=None,
                peer=None,
                ratio_to_peer=None,
                threads=1,
                versions=machine.versions() | peer.versions,
                notes=f"not a rate but a comparison with {peer.name}: {same} of its {found} rows are ours at "
                f"setting {setting}; shots/s with simulation and peer",
                details={
                    "variant": setting,
                    "setting": SETTINGS[setting],
                    "shots": seeds * shots,
                    "share": same / max(found, 1),
                    "columns": COLUMNS,
                    "rows": rows,
                },
            )
        )
        assert not sum(row[-1] for row in rows), f"not explained: {rows}"
        assert quick or found >= 5000
        assert found - same <= max((1 - MIN_SAME[setting]) * found, 2 if quick else 0), (setting, rows)
