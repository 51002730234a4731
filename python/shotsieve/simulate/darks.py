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
from ..constants.container import Constants
from ..errors import BadInput, OutputError
from ..sources.base import OperatingMode
from ..sources.memory import MemorySource
from ..write.exdf_file import ExdfFile
from .constants import constants_in_memory
from .dark_model import DarkModel
from .dark_parameters import KINDS, STAGES, DarkParameters
from .parameters import SpiParameters
from .receiver import receiver_constants
from .receiver_parameters import NAMES, ReceiverParameters
from .run import run_meta, write_run
from .schedule import FIRST_TIMESTAMP, TRAIN_PERIOD, Schedule, make_schedule

__all__ = ["DarkParameters", "SimulatedDarks", "dark_source", "simulate_darks"]

MARK = "shotsieve simulated darks"


@dataclass(frozen=True)
class SimulatedDarks:
    """Where the parts of simulated dark runs lie.

    Attributes
    ----------
    runs : tuple of pathlib.Path
        Folders of the raw runs, in the order of the stages.
    truth_file : pathlib.Path
        HDF5 file: ``offset``, ``noise`` (module, gain, cell, ss, fs), ``levels`` likewise for AGIPD, ``kind``
        (module, ss, fs), ``modules``, ``cell_ids``.
    gains : pathlib.Path
        Constants: gains, and tables of linearisation, as `shotsieve dark` takes them over.
    parameters : DarkParameters
    """

    runs: tuple[Path, ...]
    truth_file: Path
    gains: Path
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
        Folder: gets ``raw/rNNNN`` for every stage, ``darks.h5``, the truth, and ``gains.h5``.
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
    truth, gains = out / "darks.h5", out / "gains.h5"
    _make_room([*folders, truth, gains], truth, overwrite)
    model, done, total = DarkModel(p), [0], p.n_trains * len(runs)

    def step(*_: object) -> None:
        done[0] += 1
        if progress is not None:
            progress(done[0], total)

    try:
        for folder, one, name in zip(folders, runs, p.stage_names, strict=True):
            folder.mkdir(parents=True)
            stage = STAGES.index(name)
            if p.is_receiver:
                _write_receiver(folder, one, model, stage, step)
            else:
                spi = one.as_spi(detectors.GAIN_MODES[stage + 1] if p.fixed else "adaptive")
                schedule = make_schedule(spi)
                write_run(folder, spi, schedule, _Maker(model, schedule, stage), None, step)
        _write_truth(truth, p, model)
        gains_of(p, model).save(gains)
    except BaseException as error:
        for place in (*folders, truth, gains):
            _remove(place)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(f"{out}: the dark runs could not be written ({error})") from error
        raise
    return SimulatedDarks(tuple(folders), truth, gains, p)


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
                words = out[i, row].reshape(d.plane_count, -1)
                model.make(stage, int(shot) // n, int(shot) % n, module, words)

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
            rate_mhz=None if p.is_receiver else p.rate_mhz,
            integration_time=float(p.exposure),
            gain_setting=0 if d.gain_settings else None,
            bias_voltage=p.bias_voltage,
        ),
        name=f"SIMULATED_{STAGES[stage]}",
    )


class _Maker:
    """Makes frames of dark runs, with the face of `FrameMaker` that `write_run` knows."""

    def __init__(self, model: DarkModel, schedule: Schedule, stage: int) -> None:
        self.model, self.schedule, self.stage = model, schedule, stage

    def make(self, shot: int, row: int, out: np.ndarray, stage: np.ndarray | None = None) -> int:
        s = self.schedule
        module = self.model.p.wanted_modules[row]
        self.model.make(self.stage, int(s.train[shot]), int(s.frame[shot]), module, out)
        return 0


def gains_of(p: DarkParameters, model: DarkModel) -> Constants:
    """Return the gains, and tables of linearisation, that go with the darks.

    Examples
    --------
    >>> gains_of(DarkParameters(), DarkModel(DarkParameters())).names
    ('relative_gain', 'mg_baseline', 'adu_per_kev')
    """
    if not p.is_receiver:
        whole = constants_in_memory(p.as_spi(), model.driven("adaptive"))
    else:
        parameters = ReceiverParameters(
            p.detector, n_trains=1, n_frames=p.n_cells, modules=p.wanted_modules, seed=p.seed
        )
        whole = receiver_constants(parameters, {m: model.module(m) for m in p.wanted_modules})
    names = [name for name in whole.names if name not in ("offset", "noise", "thresholds", "bad_pixels")]
    arrays = {name: {m: whole.load(name, m) for m in whole.modules} for name in names}
    return Constants.from_arrays(
        p.family,
        arrays,
        modules=whole.modules,
        cell_ids=whole.cell_ids,
        provenance={"simulation": {"seed": p.seed}},
    )


def _write_receiver(folder: Path, p: DarkParameters, model: DarkModel, stage: int, step: Callable) -> None:
    """Write a run of a receiver's detector: a file per module and one of the control device."""
    d, n, frames = p.family, p.n_trains, p.n_cells
    trains = np.uint64(p.first_train) + np.arange(n, dtype=np.uint64)
    stamps = np.uint64(FIRST_TIMESTAMP) + np.arange(n, dtype=np.uint64) * np.uint64(TRAIN_PERIOD)
    flags = np.ones(n, np.int32)
    flags[list(p.suspect_trains)] = 0
    meta = run_meta(SpiParameters(proposal=p.proposal, run=p.run))
    meta = dataclasses.replace(meta, sample="none", run_type="simulated dark")
    keys = {"train_ids": trains, "timestamps": stamps, "meta": meta}
    lead = (frames,) if d.layout == "trains" else ()
    words = np.empty((d.plane_count, d.pixels), np.uint16)
    for module in p.wanted_modules:
        source = d.raw_source.format(detector=NAMES[p.detector], module=module)
        path = folder / f"RAW-R{p.run:04d}-{d.aggregator.format(module=module)}-S00000.h5"
        with ExdfFile(path, **keys, flags=flags, origin=np.where(flags == 1, -1, 0)) as exdf:
            group = exdf.instrument(source, d.group, np.ones(n, np.int64))
            stored = [
                group.create_dataset(
                    key,
                    (n, *lead, *d.frame_shape),
                    "u1" if plane else "u2",
                    chunks=(1, *lead, *d.frame_shape),
                )
                for plane, key in enumerate(d.planes)
            ]
            for train in range(n):
                row = np.empty((d.plane_count, frames, *d.frame_shape), np.uint16)
                for frame in range(frames):
                    model.make(stage, train, frame, module, words)
                    row[:, frame] = words.reshape(-1, *d.frame_shape)
                for dataset, plane in zip(stored, row, strict=True):
                    dataset[train] = plane.reshape(dataset.shape[1:])
                if module == p.wanted_modules[-1]:
                    step()
            if d.cell_key:
                group[d.cell_key] = np.tile(np.array(p.cells, np.uint8), (n, 1))
            group["trainId"] = trains
    mode = next((m for m, of in d.dark_modes.items() if of == stage and ("fix" in m) == p.fixed), None)
    told = {
        "gain_mode": mode,
        "gain_setting": next((word for word, of in d.gain_settings.items() if of == 0), None),
        "cells": frames,
        "integration_time": float(p.exposure),
        "bias_voltage": p.bias_voltage,
    }
    values = {}
    for field, value in told.items():
        if d.control.get(field) and value is not None:
            key = d.control[field][0]
            text = isinstance(value, str)
            values[key.key] = value if text else np.float64((value - key.add) / key.factor)
    with ExdfFile(folder / f"RAW-R{p.run:04d}-DA01-S00000.h5", **keys) as exdf:
        exdf.control(f"{NAMES[p.detector]}/DET/CONTROL", values, "SlsControl")


def _write_truth(path: Path, p: DarkParameters, model: DarkModel) -> None:
    d, cells = p.family, p.constants_cells
    shape = (len(p.wanted_modules), d.stages, len(cells), *d.shape)
    read = {"offset": model.offset, "noise": model.noise}
    if d.encoding == "threshold":
        read["levels"] = lambda module, gain, cell: model.module(module).level(gain, cell)
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = MARK
        file.attrs["parameters"] = json.dumps(dataclasses.asdict(p), sort_keys=True)
        file.attrs["kinds"] = ", ".join(("good", *KINDS))
        file["modules"], file["cell_ids"] = np.array(p.wanted_modules, "<i4"), np.array(cells, "<i4")
        file["kind"] = np.stack([model.kind[m].reshape(d.shape) for m in p.wanted_modules])
        for name, of in read.items():
            dataset = file.create_dataset(name, shape, "<f4", chunks=(1, 1, 1, *d.shape))
            for i, module in enumerate(p.wanted_modules):
                for gain in range(d.stages):
                    for place in range(len(cells)):
                        dataset[i, gain, place] = of(module, gain, place).reshape(d.shape)


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
