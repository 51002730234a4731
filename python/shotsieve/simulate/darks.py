"""Simulate dark runs: a raw run for each gain stage, and the truth about every pixel, in one folder."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from .. import detectors
from ..errors import BadInput, OutputError
from ..sources.base import OperatingMode
from ..sources.memory import MemorySource
from ..write.exdf_file import ExdfFile
from .dark_model import DarkModel
from .dark_parameters import KINDS, STAGES, DarkParameters
from .parameters import SpiParameters
from .run import BIAS_VOLTAGE, run_meta, write_run
from .schedule import FIRST_TIMESTAMP, TRAIN_PERIOD, Schedule, make_schedule

__all__ = ["DarkParameters", "SimulatedDarks", "dark_source", "simulate_darks"]

JUNGFRAU_NAME = "FXE_XAD_JF1M"
_FORCED = ("dynamic", "forceswitchg1", "forceswitchg2")
_FIXED = ("fixg0", "fixg1", "fixg2")
MARK = "shotsieve simulated darks"


@dataclass(frozen=True)
class SimulatedDarks:
    """Where the parts of simulated dark runs lie.

    Attributes
    ----------
    runs : tuple of pathlib.Path
        Folders of the raw runs, in the order of the stages.
    truth_file : pathlib.Path
        HDF5 file: ``offset``, ``noise`` (module, gain, cell, ss, fs), ``levels`` likewise for AGIPD,
        ``adu_per_kev`` otherwise, ``kind`` (module, ss, fs), ``modules``, ``cell_ids``.
    parameters : DarkParameters
    """

    runs: tuple[Path, ...]
    truth_file: Path
    parameters: DarkParameters


def simulate_darks(
    out: str | os.PathLike,
    params: DarkParameters | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedDarks:
    """Write simulated dark runs.

    Parameters
    ----------
    out : path
        Folder: gets ``raw/rNNNN`` for every stage and ``darks.h5``, the truth.
    params : DarkParameters, optional
    overwrite : bool, default False
        Replace what an earlier simulation left in these places; ``darks.h5`` marks it.
    progress : callable, optional
        Called with (trains done, trains in all).

    Returns
    -------
    SimulatedDarks

    Raises
    ------
    BadInput
        When one of the places is taken.
    OutputError
        When the disk refuses; what was written is removed.

    Notes
    -----
    Promise: exact; the same parameters and NumPy version give the same bytes in every file.

    Examples
    --------
    >>> simulate_darks("darks", DarkParameters(n_trains=50)).runs  # doctest: +SKIP
    (PosixPath('darks/raw/r0001'), PosixPath('darks/raw/r0002'), PosixPath('darks/raw/r0003'))
    """
    p, out = params or DarkParameters(), Path(out)
    runs = [p.of_run(number) for number in range(len(p.stage_names))]
    folders = [out / "raw" / f"r{one.run:04d}" for one in runs]
    truth = out / "darks.h5"
    _make_room([*folders, truth], truth, overwrite)
    model, done, total = DarkModel(p), [0], p.n_trains * len(runs)

    def step(*_: object) -> None:
        done[0] += 1
        if progress is not None:
            progress(done[0], total)

    try:
        for folder, one, name in zip(folders, runs, p.stage_names, strict=True):
            folder.mkdir(parents=True)
            stage = STAGES.index(name)
            if p.family.layout == "frames":
                schedule = _schedule(one)
                write_run(folder, _spi(one, stage), schedule, _Maker(model, schedule, stage), None, step)
            else:
                _write_trains(folder, one, model, stage, step)
        _write_truth(truth, p, model)
    except BaseException as error:
        for place in (*folders, truth):
            _remove(place)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(f"{out}: the dark runs could not be written ({error})") from error
        raise
    return SimulatedDarks(tuple(folders), truth, p)


def dark_source(p: DarkParameters, stage: int, model: DarkModel | None = None) -> MemorySource:
    """Return a simulated dark run as a source of raw words; frames are made when they are read.

    Parameters
    ----------
    p : DarkParameters
        Options about files do nothing here.
    stage : int
    model : DarkModel, optional
        That of these parameters, where it exists already.

    Returns
    -------
    MemorySource
        The words are those that `simulate_darks` writes.

    Examples
    --------
    >>> len(dark_source(DarkParameters(n_trains=5, n_cells=2), 0).shots)
    10
    """
    model, d, n = model or DarkModel(p), p.family, len(p.cells)
    one = p.of_run(p.stage_names.index(STAGES[stage]))

    def fill(index: np.ndarray, out: np.ndarray) -> None:
        for i, shot in enumerate(index):
            for row, module in enumerate(p.wanted_modules):
                model.make(stage, int(shot) // n, int(shot) % n, module, out[i, row].reshape(2, -1))

    trains = np.uint64(one.first_train) + np.arange(p.n_trains, dtype=np.uint64)
    return MemorySource(
        d,
        fill,
        np.repeat(trains, n),
        np.tile(np.arange(n, dtype=np.uint64), p.n_trains),
        np.tile(np.array(p.cells), p.n_trains),
        modules=p.wanted_modules,
        mode=OperatingMode(
            gain_mode=detectors.GAIN_MODES[stage + 1] if p.fixed else "adaptive",
            cells=p.n_cells,
            rate_mhz=p.rate_mhz if d.layout == "frames" else None,
            integration_time=float(p.integration_time),
            bias_voltage=BIAS_VOLTAGE,
        ),
        name=f"SIMULATED_{STAGES[stage]}",
    )


class _Maker:
    """Makes frames of AGIPD dark runs, with the face of `FrameMaker` that `write_run` knows."""

    def __init__(self, model: DarkModel, schedule: Schedule, stage: int) -> None:
        self.model, self.schedule, self.stage = model, schedule, stage

    def make(self, shot: int, row: int, out: np.ndarray, stage: np.ndarray | None = None) -> int:
        s = self.schedule
        module = self.model.p.wanted_modules[row]
        self.model.make(self.stage, int(s.train[shot]), int(s.frame[shot]), module, out)
        return 0


def _spi(p: DarkParameters, stage: int) -> SpiParameters:
    """Return a dark run as a single-particle run without X-rays."""
    return SpiParameters(
        n_trains=p.n_trains,
        n_cells=p.n_cells,
        rate_mhz=p.rate_mhz,
        integration_time=p.integration_time,
        gain_mode=detectors.GAIN_MODES[stage + 1] if p.fixed else "adaptive",
        dark_trains=tuple(range(p.n_trains)),
        hit_rate=0.0,
        modules=p.wanted_modules,
        missed_trains=p.missed_trains,
        short_trains=p.short_trains,
        suspect_trains=p.suspect_trains,
        split_at=p.split_at,
        seed=p.seed,
        proposal=p.proposal,
        run=p.run,
        first_train=p.first_train,
        truth_stage=False,
    )


def _schedule(p: DarkParameters) -> Schedule:
    return make_schedule(_spi(p, 0))


def _write_trains(folder: Path, p: DarkParameters, model: DarkModel, stage: int, step: Callable) -> None:
    """Write a run with one row per train: a file per module and one of the control device."""
    d, n, cells = p.family, p.n_trains, np.array(p.cells, np.uint8)
    trains = np.uint64(p.first_train) + np.arange(n, dtype=np.uint64)
    stamps = np.uint64(FIRST_TIMESTAMP) + np.arange(n, dtype=np.uint64) * np.uint64(TRAIN_PERIOD)
    flags = np.ones(n, np.int32)
    flags[list(p.suspect_trains)] = 0
    meta = run_meta(SpiParameters(proposal=p.proposal, run=p.run))
    meta = dataclasses.replace(meta, sample="none", run_type="simulated dark")
    keys = {"train_ids": trains, "timestamps": stamps, "meta": meta}
    words = np.empty((2, d.pixels), np.uint16)
    for module in p.wanted_modules:
        name = d.raw_source.format(detector=JUNGFRAU_NAME, module=module)
        path = folder / f"RAW-R{p.run:04d}-{d.aggregator.format(module=module)}-S00000.h5"
        with ExdfFile(path, **keys, flags=flags, origin=np.where(flags == 1, -1, 0)) as exdf:
            group = exdf.instrument(name, d.group, np.ones(n, np.int64))
            shape = (n, len(cells), *d.shape)
            stored = [
                group.create_dataset(plane, shape, kind, chunks=(1, 1, *d.shape))
                for plane, kind in zip(d.planes, ("u2", "u1"), strict=True)
            ]
            for train in range(n):
                for frame in range(len(cells)):
                    model.make(stage, train, frame, module, words)
                    for dataset, plane in zip(stored, words, strict=True):
                        dataset[train, frame] = plane.reshape(d.shape)
                if module == p.wanted_modules[-1]:
                    step()
            group["memoryCell"] = np.tile(cells, (n, 1))
            group["frameNumber"] = np.arange(n * len(cells), dtype=np.uint64).reshape(n, -1)
            group["trainId"] = trains
    mode = (_FIXED if p.fixed else _FORCED)[stage]
    with ExdfFile(folder / f"RAW-R{p.run:04d}-DA01-S00000.h5", **keys) as exdf:
        values = {
            "gainMode": mode,
            "storageCells": np.uint32(len(cells) - 1),
            "exposureTime": np.float64(p.integration_time * 1e-6),
            "highVoltage": np.float64(BIAS_VOLTAGE),
        }
        exdf.control(f"{JUNGFRAU_NAME}/DET/CONTROL", values, "JungfrauControl")


def _write_truth(path: Path, p: DarkParameters, model: DarkModel) -> None:
    d, places = p.family, range(p.n_cells)
    cells = sorted(p.cells)
    at = [p.cells.index(cell) for cell in cells]
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = MARK
        file.attrs["parameters"] = json.dumps(dataclasses.asdict(p), sort_keys=True)
        file.attrs["kinds"] = ", ".join(("good", *KINDS))
        file["modules"], file["cell_ids"] = np.array(p.wanted_modules, "<i4"), np.array(cells, "<i4")
        file["kind"] = np.stack([model.kind[m].reshape(d.shape) for m in p.wanted_modules])
        ones = [model.module(m) for m in p.wanted_modules]
        shape = (len(ones), 3, len(places), *d.shape)
        names = {"offset": "true_offset", "noise": "true_noise"}
        if d.encoding == "threshold":
            names["levels"] = "level"
        for name, method in names.items():
            dataset = file.create_dataset(name, shape, "<f4", chunks=(1, 1, 1, *d.shape))
            for i, one in enumerate(ones):
                for gain in range(3):
                    for row, place in enumerate(at):
                        dataset[i, gain, row] = getattr(one, method)(gain, place).reshape(d.shape)


def _make_room(places: list[Path], truth: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, or clear it."""
    taken = [place for place in places if place.exists()]
    if not taken:
        return
    names = ", ".join(map(str, taken))
    if not overwrite:
        raise BadInput(f"{names} exists already: choose another folder, or say --overwrite")
    try:
        with h5py.File(truth, "r") as file:
            ours = file.attrs.get("format") == MARK
    except OSError:
        ours = False
    if not ours:
        raise BadInput(
            f"{names} exists, and {truth}, the mark of simulated darks, does not: nothing is "
            f"overwritten; choose "
            "another folder or remove it yourself"
        )
    for place in places:
        _remove(place)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
