"""A raw run, and corrected files of it in the facility's layout, with whatever is to be found in them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.sources.run import open_run

from ..engine.conftest import simulated

__all__ = ["simulated"]


def facility_file(path: Path, source: str, group: str, trains, counts, datasets) -> None:
    """Write one file of a corrected run with h5py alone; datasets have one row per frame, or per train."""
    trains = np.asarray(trains, "u8")
    with h5py.File(path, "w") as file:
        meta = file.create_group("METADATA")
        values = {"dataFormatVersion": "1.2", "creationDate": "20260101T000000Z", "sample": "", "runType": ""}
        for name, value in values.items():
            meta[name] = np.array([value.encode()])
        meta["proposalNumber"], meta["runNumber"] = np.array([0], "u4"), np.array([1], "u4")
        for name, value in {"root": "INSTRUMENT", "deviceId": f"{source}/{group}"}.items():
            meta[f"dataSources/{name}"] = np.array([value.encode()])
        meta["dataSources/dataSourceId"] = np.array([f"INSTRUMENT/{source}/{group}".encode()])
        file["INDEX/trainId"] = trains
        file["INDEX/timestamp"], file["INDEX/flag"] = trains, np.ones(len(trains), "i4")
        file["INDEX/origin"] = np.zeros(len(trains), "i4")
        counts = np.asarray(counts, "u8")
        file[f"INDEX/{source}/{group}/count"] = counts
        file[f"INDEX/{source}/{group}/first"] = np.cumsum(counts) - counts
        for name, array in datasets.items():
            packed = {"compression": "gzip", "compression_opts": 1} if name in ("gain", "mask") else {}
            lead = 2 if array.ndim == 4 else 1
            chunks = (1,) * lead + array.shape[lead:] if array.ndim > 2 else None
            file.create_dataset(f"INSTRUMENT/{source}/{group}/{name}", data=array, chunks=chunks, **packed)


class Corrected:
    """What a corrected run will hold; change the arrays, then `write`.

    Attributes
    ----------
    data, gain, mask : dict of int to ndarray (frames, ss, fs)
        By module; None, or a module that is not there, leaves gain or mask out.
    train, pulse, cell : dict of int to ndarray (frames,)
    """

    def __init__(self, source, found, trains=None) -> None:
        self.source, shots = source, source.shots
        self.modules = [m for m in source.modules if m in source.raw_names]
        at = {m: source.modules.index(m) for m in self.modules}
        wanted = shots.train_id < shots.train_id[0] + np.uint64(trains or len(shots))
        there = {m: shots.present[:, i] & wanted for m, i in at.items()}
        self.data = {m: found.data[there[m], i].copy() for i, m in enumerate(self.modules)}
        self.gain = {m: found.gain[there[m], i].copy() for i, m in enumerate(self.modules)}
        self.mask = {m: found.mask[there[m], i].copy() for i, m in enumerate(self.modules)}
        labels = {"train": shots.train_id, "pulse": shots.pulse_id, "cell": shots.cell_id}
        for name, values in labels.items():
            setattr(self, name, {m: values[there[m]].copy() for m in self.modules})

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        d = self.source.detector
        for m in self.modules:
            trains, counts = np.unique(self.train[m], return_counts=True)
            datasets = {d.planes[0]: self.data[m], "cellId": self.cell[m].astype("u2")}
            datasets |= {"pulseId": self.pulse[m], "trainId": self.train[m]}
            datasets |= {} if m not in (self.gain or ()) else {"gain": self.gain[m]}
            datasets |= {} if m not in (self.mask or ()) else {"mask": self.mask[m]}
            name = d.corrected_source.format(detector=self.source.name, module=m)
            path = folder / f"CORR-R0001-{d.aggregator.format(module=m)}-S00000.h5"
            facility_file(path, name, d.group, trains, counts, datasets)
        return folder


@pytest.fixture(scope="session")
def sim(simulated):
    return simulated("usual")


@pytest.fixture(scope="session")
def calibrated(sim):
    """Source and our own calibration of every shot."""
    source = open_run(sim.raw)
    raw = np.empty((len(source.readable), len(source.modules), 2, 512, 128), "u2")
    source.read(0, len(raw), raw)
    modules = [m for m in source.modules if m in source.raw_names]
    words = raw[:, [source.modules.index(m) for m in modules]]
    calibrate = shotsieve.Calibrator(sim.constants, modules, backend="cpu")
    return source, words, calibrate(words, source.shots.cell_id, ["data", "gain", "mask"])


@pytest.fixture
def corrected(calibrated):
    """A corrected run of one train that equals our calibration, to be changed and written."""
    source, _, found = calibrated
    return Corrected(source, found, 1)


@pytest.fixture
def whole(calibrated):
    """The same of all trains."""
    source, _, found = calibrated
    return Corrected(source, found)
