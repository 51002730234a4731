"""Peaks beside OM's on frames of the full detector: rows that are the same, and why the others are not.

Every row that is not ours must be what the oracle finds as soon as it reads the stale entry of the queue too,
or our component with its ring around the next pixel. Both radius maps: OM's own, and CrystFEL's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import machine
import pytest
import records
from agreement_frames import AgreementFrames
from om_agreement import Agreement, compare_set
from peak_frames import SETTINGS
from peaks_case import cpu_levels
from shotsieve import peakfinder8
from shotsieve.bench.om_peer import NoPeer, Peer
from shotsieve.measure.peaks import PeakParams, PeakPlan

SEEDS, SHOTS = 4, 12
MIN_SAME = {"A": 0.999, "B": 0.99}
COUNTED = ["om_rows", "same", "ours", "stale_entry", "beside_half", "emulated", "unexplained"]
COLUMNS = ["kind", "background", *COUNTED]

Table = dict[tuple[str, str], dict[tuple[str, float], Agreement]]
"""By radius map and setting, then by kind and background."""


def test_every_row_that_differs_is_explained(record: Callable, quick: bool) -> None:
    """99.9 % of OM's rows at setting A, 99 % at B; all of the others explained, all emulated."""
    began = time.perf_counter()
    backend = list(cpu_levels().values())[-1]
    seeds, shots = (1, 1) if quick else (SEEDS, SHOTS)
    table: Table = {}
    peer = None
    for seed in range(1, seeds + 1):
        made = AgreementFrames.make(seed, shots)
        with ExitStack() as stack:
            try:
                peers = {
                    name: stack.enter_context(Peer(one.radius, one.mask))
                    for name, one in made.layouts.items()
                }
            except NoPeer as error:
                pytest.skip(str(error))
            peer = peers["float"]
            _compare(table, made, peers, backend)
    seconds = time.perf_counter() - began
    for (radius, setting), sets in table.items():
        rows = [[*which, *vars(one).values()] for which, one in sets.items()]
        whole = dict(zip(COUNTED, vars(sum(sets.values(), Agreement())).values(), strict=True))
        record(_record(radius, setting, rows, whole, seeds * shots * len(table) * len(rows) / seconds, peer))
        assert not whole["unexplained"], rows
        assert whole["emulated"] == whole["om_rows"], rows
        assert quick or whole["om_rows"] >= 1500 * seeds
        lost = whole["om_rows"] - whole["same"] - whole["beside_half"]
        assert lost <= max((1 - MIN_SAME[setting]) * whole["om_rows"], 2 if quick else 0), rows


def _compare(table: Table, made: AgreementFrames, peers: dict[str, Peer], backend: object) -> None:
    plans = {
        (radius, setting): PeakPlan.make(PeakParams(**parameters), layout.radius, layout.panels, layout.mask)
        for radius, layout in made.layouts.items()
        for setting, parameters in SETTINGS.items()
    }
    for kind, background, frames in made.sets():
        for name, peer in peers.items():
            peer.load("set", frames)
            for setting in SETTINGS:
                peaks = peakfinder8(frames, plan=plans[name, setting], backend=backend, threads=1)
                one = compare_set(made.layouts[name], frames, setting, peaks, peer, "set")
                sets = table.setdefault((name, setting), {})
                sets[kind, background] = sets.get((kind, background), Agreement()) + one
            peer.drop("set")


def _record(
    radius: str, setting: str, rows: list[list], whole: dict[str, int], searched_per_s: float, peer: Peer
) -> dict:
    found = max(whole["om_rows"], 1)
    return records.make(
        "peak_agreement",
        backend="cpu",
        detector="AGIPD1M",
        shots_per_s=searched_per_s,
        gb_per_s=searched_per_s * 8192 * 128 * 4 / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=None,
        ratio_to_peer=None,
        threads=1,
        versions=machine.versions() | peer.versions,
        notes=f"not a rate but a comparison with {peer.name}: of its {found} rows at setting {setting}, "
        f"radius map {radius}, {whole['same']} are ours and {whole['beside_half']} have our pixels; with "
        f"its stale entry the oracle finds {whole['emulated']}; shots/s with simulation, peer and oracle",
        details={
            "variant": f"{setting}, {radius}",
            "setting": SETTINGS[setting],
            "radius": radius,
            "share": whole["same"] / found,
            "share_of_pixels": (whole["same"] + whole["beside_half"]) / found,
            "share_emulated": whole["emulated"] / found,
            "whole": whole,
            "columns": COLUMNS,
            "rows": rows,
        },
    )
