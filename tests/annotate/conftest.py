"""Runs without a single frame: the machine's file and that of the detector's control devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.simulate.machine import write_machine
from shotsieve.simulate.memory import operating_mode
from shotsieve.simulate.parameters import SpiParameters
from shotsieve.simulate.run import control_values, run_meta
from shotsieve.simulate.schedule import Schedule, make_schedule
from shotsieve.sources.annotate import AnnotateParams
from shotsieve.sources.base import ShotList
from shotsieve.sources.exdf import RunFile, list_run
from shotsieve.sources.pulses import PulseReader
from shotsieve.write.exdf_file import ExdfFile


@dataclass
class MachineRun:
    """A run as `PulseReader` sees it, and the truth."""

    folder: Path
    parameters: SpiParameters
    schedule: Schedule

    def reader(self, **params) -> PulseReader:
        p, s = self.parameters, self.schedule
        shots = ShotList(
            s.train_id[s.train],
            s.pulse_id,
            s.cell_id,
            np.ones((len(s), 1), bool),
            np.zeros(len(s), np.uint8),
        )
        files = [RunFile.load(path) for path in list_run(self.folder)]
        detector = detectors.load("AGIPD1M")
        mode = operating_mode(p)
        return PulseReader(files, detector, p.detector_name, mode, shots, AnnotateParams(**params), [])

    def extra(self):
        """The run as EXtra-data opens it."""
        extra_data = pytest.importorskip("extra_data")
        return extra_data.RunDirectory(str(self.folder))


@pytest.fixture
def machine_run(tmp_path):
    """Make such a run from options of the simulation."""

    def make(name="r0001", **options) -> MachineRun:
        folder = tmp_path / name
        folder.mkdir()
        defaults = {"n_trains": 5, "n_cells": 10, "modules": (3,), "detector_name": "SPB_DET_AGIPD1M-1"}
        p = SpiParameters(**{**defaults, **options})
        schedule = make_schedule(p)
        stamps = {"train_ids": schedule.train_id, "timestamps": schedule.timestamp, "meta": run_meta(p)}
        with ExdfFile(folder / "RAW-R0001-AGIPD1MCTRL00-S00000.h5", **stamps) as exdf:
            for source, (class_id, values) in control_values(p).items():
                exdf.control(source, values, class_id)
        write_machine(folder / "RAW-R0001-DA01-S00000.h5", p, schedule, run_meta(p))
        return MachineRun(folder, p, schedule)

    return make
