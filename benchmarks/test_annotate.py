"""Annotating a long run: pulses, energies, laser and slow data of 18,000 trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import records
from shotsieve import detectors
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.simulate.machine import device_names, write_machine
from shotsieve.simulate.memory import operating_mode
from shotsieve.simulate.parameters import SpiParameters
from shotsieve.simulate.run import run_meta
from shotsieve.simulate.schedule import Schedule, make_schedule
from shotsieve.sources.annotate import AnnotateParams
from shotsieve.sources.base import ShotList
from shotsieve.sources.exdf import RunFile
from shotsieve.sources.pulses import PulseReader

TRAINS, CELLS = 18_000, 352
MOST_SECONDS = 5.0


def make_run(path: Path, trains: int) -> tuple[SpiParameters, Schedule]:
    """Write the machine's file of a run of half an hour: every other cell lit, every other pulse pumped."""
    p = SpiParameters(
        n_trains=trains,
        n_cells=CELLS,
        modules=(3,),
        rate_mhz=1.1,
        dark_cells=tuple(range(2, CELLS, 2)),
        later_from=trains // 2,
        later_dark_cells=tuple(range(3, CELLS, 2)),
        pump="even_pulses",
        delays=(0.1, 0.2, 0.3),
    )
    schedule = make_schedule(p)
    write_machine(path, p, schedule, run_meta(p))
    return p, schedule


def test_annotating_a_long_run(
    record: Callable, target: Callable, quick: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From opening the file to the columns of 6.3 million shots."""
    trains = 60 if quick else TRAINS
    path = tmp_path_factory.mktemp("annotate") / "RAW-R0001-DA01-S00000.h5"
    p, s = make_run(path, trains)
    shots = ShotList(
        s.train_id[s.train], s.pulse_id, s.cell_id, np.ones((len(s), 1), bool), np.zeros(len(s), np.uint8)
    )
    params = AnnotateParams(delay=f"{device_names(p)['delay']}:actualPosition")

    def annotate() -> dict[str, np.ndarray]:
        files = [RunFile.load(path)]
        detector, mode = detectors.load("AGIPD1M"), operating_mode(p)
        return PulseReader(files, detector, p.detector_name, mode, shots, params, []).columns()

    columns = annotate()
    np.testing.assert_array_equal(columns["n_pulses"], s.n_pulses)
    np.testing.assert_array_equal(columns["pulse_energy"], s.pulse_energy)
    np.testing.assert_array_equal(columns["laser"], s.laser)
    assert columns["delay"][0] == 0.1
    seconds = interleave({"annotate": annotate}, 2 if quick else ROUNDS)
    least = minima(seconds)["annotate"]
    record(
        records.alone(
            "annotate",
            detector="AGIPD1M",
            shots_per_s=len(shots) / least,
            gb_per_s=path.stat().st_size / least / 1e9,
            notes="time server, XGM and a motor in the page cache; least of the rounds",
            details={
                "trains": trains,
                "shots": len(shots),
                "seconds": least,
                "rounds": len(seconds["annotate"]),
            },
        )
    )
    if not quick:
        target(least < MOST_SECONDS, f"annotating {trains} trains: {least:.2f} s, wanted {MOST_SECONDS} s")
