"""`peaks_beyond_calibration`: what a blank AGIPD-1M shot costs beside its calibration, on one core.

Raw words are calibrated and counted with and without candidates for peaks; shots that have one are calibrated
to pixels and searched. Everything runs in turns, seven rounds, and is compared by its median CPU time.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
import records
from fused_case import FusedCase, Pipeline
from peak_frames import BACKGROUNDS, SETTINGS
from peaks_case import LEVELS, cpu_levels, interleave, timed
from shotsieve import peakfinder8
from shotsieve.bench.rounds import ROUNDS

GOAL_MS = 0.1
COLUMNS = [
    "background",
    "calibrate_ms",
    "candidates_ms",
    "all_ms",
    "more_ms",
    "pixels_ms",
    "search_beyond_pixels_ms",
    "shots_with_candidates",
    "peaks",
]


class Measured:
    """All times of one session: CPU seconds of all shots in every round, by name."""

    def __init__(self, quick: bool) -> None:
        self.case = FusedCase(cells=1, trains=2, modules=(3, 10)) if quick else FusedCase()
        self.rounds = 2 if quick else ROUNDS
        self.pipelines = {name: Pipeline(self.case, backend) for name, backend in cpu_levels().items()}
        functions: dict[tuple, Callable[[], float]] = {}
        for name, one in self.pipelines.items():
            for background in BACKGROUNDS:
                functions[name, "calibrate", background] = timed(lambda p=one, b=background: p.calibrate(b))
                functions[name, "pixels", background] = timed(lambda p=one, b=background: p.to_pixels(b))
                for setting in SETTINGS:
                    ways = {"candidates": one.calibrate, "all": one.find, "search": one.to_pixels}
                    for what, way in ways.items():
                        functions[name, what, background, setting] = timed(
                            lambda w=way, b=background, s=setting: w(b, s)
                        )
        self.seconds = interleave(functions, self.rounds)

    def row(self, name: str, setting: str, background: float) -> list[Any]:
        """Return one row of `COLUMNS`: milliseconds of a shot."""
        ms = 1e3 / self.case.shots
        times = {
            what: np.array(self.seconds[name, what, background, *rest]) * ms
            for what, rest in (
                ("calibrate", ()),
                ("pixels", ()),
                ("candidates", (setting,)),
                ("all", (setting,)),
                ("search", (setting,)),
            )
        }
        found = self.pipelines[name].find(background, setting)
        worth = len(self.pipelines[name].worth()) / self.case.shots
        return [
            background,
            *(median(times[what]) for what in ("calibrate", "candidates", "all")),
            # Differences within a round: both saw the same mood of the machine.
            median(times["all"] - times["calibrate"]),
            median(times["pixels"]),
            median(times["search"] - times["pixels"]),
            worth,
            float(found.mean()),
        ]


@pytest.fixture(scope="module")
def measured(quick: bool) -> Measured:
    return Measured(quick)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("level", LEVELS)
def test_beyond_calibration(
    measured: Measured,
    level: str,
    setting: str,
    record: Callable,
    target: Callable,
    benchmark: Any,
    quick: bool,
) -> None:
    """One thread: a blank shot with its search, less its calibration."""
    if level not in measured.pipelines:
        pytest.skip(f"{level}: this processor lacks that level")
    one, case = measured.pipelines[level], measured.case
    for background in BACKGROUNDS:
        check_peaks(one, background, setting)
    benchmark.pedantic(one.find, args=(0.5, setting), rounds=measured.rounds, warmup_rounds=1)
    rows = [measured.row(level, setting, background) for background in BACKGROUNDS]
    made = peaks_record(measured, level, setting, rows)
    benchmark.extra_info.update(more_ms=[row[4] for row in rows])
    record(made)
    if level == max(measured.pipelines) and not quick:
        for background, *_, more, _, pixels_more, worth, _ in rows:
            target(
                more < GOAL_MS,
                f"peaks_beyond_calibration on {level}, {setting}, {background} photons/px: a blank costs "
                f"{more:.3f} ms more ({100 * worth:.0f} % have candidates; {pixels_more:.3f} ms more than "
                f"its calibration to pixels), the goal is {GOAL_MS}",
            )
    assert case.shots == len(one.case.rows)


def check_peaks(one: Pipeline, background: float, setting: str) -> None:
    """Compare with a search of all pixels of every shot, whether it has candidates or not."""
    found = one.find(background, setting)
    for shot in range(0, one.case.shots, 5):
        pixels = one.pixels(background, shot)
        again = peakfinder8(
            pixels, plan=one.case.plans[setting], statistics="full", backend=one.backend, threads=1
        )
        assert again.n_peaks[0] == found[shot]
        assert np.isnan(pixels).mean() > 0.02


def peaks_record(measured: Measured, level: str, setting: str, rows: list[list[Any]]) -> dict[str, Any]:
    """Make a record; its rates are those at half a photon per pixel."""
    case = measured.case
    seconds = next(row[3] for row in rows if row[0] == 0.5) / 1e3
    return records.make(
        "peaks_beyond_calibration",
        backend=level,
        detector="AGIPD1M",
        shots_per_s=1 / seconds,
        gb_per_s=case.raw[0.5][0].nbytes / seconds / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=None,
        ratio_to_peer=None,
        threads=1,
        notes="CPU time of the thread, median; blank shots, lit pixels and candidates counted, shots with a "
        "candidate calibrated to pixels and searched; rates are those at 0.5 photons/px",
        details={
            "variant": f"{setting}, blanks",
            "setting": SETTINGS[setting],
            "shots": case.shots,
            "rounds": measured.rounds,
            "columns": COLUMNS,
            "rows": rows,
        },
    )
