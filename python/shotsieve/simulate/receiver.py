"""Simulate a run of a receiver's detector: raw files, constants and truth in one folder."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..constants.container import Constants
from ..errors import BadInput, OutputError
from ..sources.base import RunMeta
from ..sources.instruments import instrument_of
from ..write.exdf_file import ExdfFile
from .noise import generator
from .receiver_model import BIAS_VOLTAGE, INTEGRATION_TIME, ReceiverModule
from .receiver_parameters import ReceiverParameters

__all__ = ["ReceiverParameters", "SimulatedReceiver", "receiver_constants", "simulate_receiver"]

FIRST_TIME = 1_700_000_000_000_000_000
TRAIN_NS = 100_000_000
SPOT = 0.06  # width of a spot, as a share of the module


@dataclass(frozen=True)
class SimulatedReceiver:
    """Where the parts of a simulated run lie.

    Attributes
    ----------
    raw : pathlib.Path
        Folder of the raw run.
    constants : pathlib.Path
        File of constants.
    truth : pathlib.Path
        HDF5 file: ``photons`` (T, frames, M, ...), ``stage`` likewise, ``hit`` (T, frames), ``cell_id``
        (frames,), ``train_id`` (T,); of ePix100 with common mode ``common_mode`` in ADU.
    files : tuple of pathlib.Path
        Of the raw run.
    parameters : ReceiverParameters
    """

    raw: Path
    constants: Path
    truth: Path
    files: tuple[Path, ...]
    parameters: ReceiverParameters


def simulate_receiver(
    out: str | os.PathLike,
    params: ReceiverParameters | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> SimulatedReceiver:
    """Write a simulated run of JUNGFRAU, ePix100 or Gotthard-II.

    Parameters
    ----------
    out : path
        Folder: gets ``raw/rNNNN``, ``constants.h5`` and ``truth.h5``.
    params : ReceiverParameters, optional
    progress : callable, optional
        Called with (what is done, trains done, trains in all).

    Returns
    -------
    SimulatedReceiver

    Raises
    ------
    BadInput
        When one of the places is taken, or an option cannot be met.
    OutputError
        When the disk refuses.

    Notes
    -----
    Promise: exact; the same parameters and NumPy version give the same bytes in every file. One train is in
    memory at a time.

    Examples
    --------
    >>> simulate_receiver("demo", ReceiverParameters("EPIX100")).raw    # doctest: +SKIP
    PosixPath('demo/raw/r0001')
    """
    p = ReceiverParameters() if params is None else params
    out = Path(out)
    raw, constants, truth = out / "raw" / f"r{p.run:04d}", out / "constants.h5", out / "truth.h5"
    if taken := [place for place in (raw, constants, truth) if place.exists()]:
        raise BadInput(f"{', '.join(map(str, taken))} exists already: choose another folder")
    models = _models(p)
    try:
        raw.mkdir(parents=True)
        receiver_constants(p, models).save(constants)
        with h5py.File(truth, "w", libver=("v110", "v110")) as file:
            files = _write_run(raw, p, models, _Truth(file, p), progress)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: the simulated run could not be written ({error})") from error
    return SimulatedReceiver(raw, constants, truth, tuple(files), p)


def _models(p: ReceiverParameters) -> dict[int, ReceiverModule]:
    cells = len(p.constants_cells)
    return {m: ReceiverModule(p.family, p.seed, m, cells, p.bad_fraction) for m in p.modules}


def receiver_constants(p: ReceiverParameters, models: dict[int, ReceiverModule] | None = None) -> Constants:
    """Return the constants of a simulated run.

    Parameters
    ----------
    p : ReceiverParameters
    models : dict of int to ReceiverModule, optional
        By module; made from the parameters by default.

    Returns
    -------
    Constants
        Of the ePix100 ``adu_per_kev`` is one number, and what differs between pixels is the relative gain.

    Examples
    --------
    >>> receiver_constants(ReceiverParameters("GOTTHARD2", n_frames=4)).cell_ids
    array([0, 1], dtype=int32)
    """
    detector, cells = p.family, p.constants_cells
    arrays: dict[str, dict[int, np.ndarray]] = {}

    def put(name: str, module: int, planes: list) -> None:
        """Take planes for every gain, each an array of pixels for every cell or for all of them."""
        whole = [
            [plane[c] if isinstance(plane, list) else plane for c in range(len(cells))] for plane in planes
        ]
        arrays.setdefault(name, {})[module] = np.asarray(whole).reshape(
            len(planes), len(cells), *detector.shape
        )

    stages = range(detector.stages)
    for m, model in (models or _models(p)).items():
        put("offset", m, [[model.offset(g, c) for c in range(len(cells))] for g in stages])
        put("noise", m, [model.noise(g) for g in stages])
        put("bad_pixels", m, [model.bits() for _ in stages])
        gains = [model.adu_per_kev(g) for g in stages]
        if "relative_gain" in detector.steps:
            mean = np.float32(model.numbers.adu_per_kev[0])
            put("relative_gain", m, [mean / gain for gain in gains])
            put("adu_per_kev", m, [np.full(detector.pixels, mean) for _ in stages])
        else:
            put("adu_per_kev", m, gains)
        table = model.linear()
        if table is not None:
            arrays.setdefault("linearisation", {})[m] = np.broadcast_to(
                table[:, None, None], (len(table), len(cells), *detector.shape)
            )
    conditions = {
        **({"gain_mode": p.gain_mode} if detector.stages > 1 else {}),
        "bias_voltage": BIAS_VOLTAGE,
        "integration_time": INTEGRATION_TIME,
        **({"gain_setting": 0} if detector.gain_settings else {}),
    }
    told = {"simulation": {"seed": p.seed}}
    ids = np.array(cells, np.int32)
    return Constants.from_arrays(
        detector, arrays, modules=p.modules, cell_ids=ids, conditions=conditions, provenance=told
    )


def banks(p: ReceiverParameters, values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the common mode of every pixel, (ss, fs), from that of banks, and of their rows and columns.

    Parameters
    ----------
    p : ReceiverParameters
    values : ndarray, shape (down, across)
    rows : ndarray, shape (ss, across)
    columns : ndarray, shape (down, fs)
    """
    high, wide = p.family.bank
    whole = np.repeat(np.repeat(values, high, axis=0), wide, axis=1)
    return whole + np.repeat(rows, wide, axis=1) + np.repeat(columns, high, axis=0)


class _Truth:
    """The file of the truth, filled train by train."""

    def __init__(self, file: h5py.File, p: ReceiverParameters) -> None:
        shape = (p.n_trains, p.n_frames, len(p.modules), *p.family.frame_shape)
        chunk = (1, 1, 1, *p.family.frame_shape)
        kinds = {"photons": "<u4", "stage": "<u1"} | ({"common_mode": "<f4"} if p.common_mode else {})
        for name, dtype in kinds.items():
            file.create_dataset(name, shape, dtype, chunks=chunk, compression="gzip", compression_opts=1)
        file.create_dataset("hit", (p.n_trains, p.n_frames), "<u1")
        file["train_id"] = p.first_train + np.arange(p.n_trains, dtype="<u8")
        file["cell_id"] = np.array(p.cells, "<i4")
        file["modules"] = np.array(p.modules, "<i4")
        file.attrs["parameters"] = json.dumps(dataclasses.asdict(p), sort_keys=True)
        self.file = file

    def put(self, train: int, found: dict[str, np.ndarray]) -> None:
        for name, values in found.items():
            if name in self.file:
                target = self.file[name]
                target[train] = values.reshape(target.shape[1:])


def _train(p: ReceiverParameters, models: dict[int, ReceiverModule], train: int) -> Iterator[dict]:
    """Yield (words and truth) of every frame of a train, all modules."""
    family = p.family
    ss, fs = family.shape
    shot = generator(p.seed, 9, train)
    for frame in range(p.n_frames):
        hit = bool(shot.random() < p.hit_rate)
        peak = np.exp(shot.uniform(*np.log(p.peak_photons)))
        centre = shot.uniform(0.2, 0.8, (len(p.modules), 2))
        made = {"hit": hit, "words": [], "photons": [], "stage": [], "common_mode": []}
        for (y, x), (m, model) in zip(centre, models.items(), strict=True):
            rng = generator(p.seed, 10, train, frame, m)
            across = ((np.arange(fs) + 0.5) / fs - x) / SPOT
            down = ((np.arange(ss) + 0.5) / ss - y) / SPOT if ss > 1 else np.zeros(1)
            mean = np.full((ss, fs), p.background)
            if hit:
                mean += peak * np.exp(-0.5 * (down[:, None] ** 2 + across**2))
            photons = rng.poisson(mean.ravel())
            words = np.empty((family.plane_count, family.pixels), np.uint16)
            place = p.constants_cells.index(p.cells[frame])
            common = _common_mode(p, rng)
            energy = photons * p.photon_energy_kev
            stage = model.words(rng, place, energy, words, p.fixed_stage, common.ravel())
            made["words"].append(words.reshape(family.plane_count, *family.frame_shape))
            made["photons"].append(photons)
            made["stage"].append(stage)
            made["common_mode"].append(np.broadcast_to(common, family.shape))
        yield made


def _common_mode(p: ReceiverParameters, rng: np.random.Generator) -> np.ndarray:
    """Draw what the pixels of a frame share, ADU."""
    if not p.common_mode:
        return np.zeros(1)
    (high, wide), (ss, fs) = p.family.bank, p.family.shape
    sizes = ((ss // high, fs // wide), (ss, fs // wide), (ss // high, fs))
    return banks(p, *(p.common_mode * rng.standard_normal(size) for size in sizes))


def _write_run(
    folder: Path,
    p: ReceiverParameters,
    models: dict[int, ReceiverModule],
    truth: _Truth,
    progress: Callable[[str, int, int], None] | None,
) -> list[Path]:
    files = [_control_file(folder, p)]
    edges = [0, *p.split_at, p.n_trains]
    for number, (first, last) in enumerate(itertools.pairwise(edges)):
        with ExitStack() as stack:
            writers = {}
            for m in p.written_modules:
                path = folder / f"RAW-R{p.run:04d}-{p.family.aggregator.format(module=m)}-S{number:05d}.h5"
                writers[m] = _ModuleFile(stack, path, p, m, np.arange(first, last), number)
                files.append(path)
            for train in range(first, last):
                frames = list(_train(p, models, train))
                for at, m in enumerate(p.modules):
                    if m in writers and (m, train) not in p.missed_trains:
                        writers[m].add(np.stack([frame["words"][at] for frame in frames]))
                kinds = ("hit", "photons", "stage", "common_mode")
                truth.put(train, {name: np.stack([frame[name] for frame in frames]) for name in kinds})
                if progress is not None:
                    progress("simulating", train + 1, p.n_trains)
    return sorted(files)


class _ModuleFile:
    """One sequence file of one module."""

    def __init__(
        self, stack: ExitStack, path: Path, p: ReceiverParameters, m: int, trains: np.ndarray, number: int
    ) -> None:
        family = p.family
        ids = p.first_train + trains
        here = np.array([(m, train) not in p.missed_trains for train in trains.tolist()])
        exdf = stack.enter_context(_file(path, p, trains, number))
        name = family.raw_source
        if len(p.modules) == 1:  # a module on its own has no number, unless its name needs one
            name = name.replace("{module}", "")
        source = name.format(detector=p.detector_name, module=m)
        group = exdf.instrument(source, family.group, here.astype(np.int64))
        group["trainId"] = ids[here].astype("u8")
        rows, frames = int(here.sum()), p.n_frames
        shape = family.frame_shape
        self._edges = family.edge_rows if p.calibration_rows else (0, 0)
        if any(self._edges):
            shape = (shape[0] + sum(self._edges), *shape[1:])
        lead = (frames,) if family.layout == "trains" else ()
        self._data = [
            group.create_dataset(
                key, (rows, *lead, *shape), "u1" if plane else "u2", chunks=(1, *lead, *shape)
            )
            for plane, key in enumerate(family.planes)
        ]
        if family.cell_key:
            group[family.cell_key] = np.tile(np.array(p.cells, "u1"), (rows, 1))
        if family.layout == "trains":
            count = (trains[here, None] * frames + np.arange(frames)).astype("u8")
            group["frameNumber"] = count
            group["timestamp"] = (FIRST_TIME + TRAIN_NS * trains[here, None] + np.zeros(frames)) / 1e9
        self._row = 0

    def add(self, words: np.ndarray) -> None:
        """Append a train: uint16 (frames, planes, ...)."""
        for plane, data in enumerate(self._data):
            part = words[:, plane]
            if any(self._edges):
                part = np.pad(part, ((0, 0), self._edges, (0, 0)), constant_values=7)
            data[self._row] = part.reshape(data.shape[1:])
        self._row += 1


def _file(path: Path, p: ReceiverParameters, trains: np.ndarray, number: int = 0) -> ExdfFile:
    stamp = "20231114T221320Z"
    meta = RunMeta(
        proposal=p.proposal,
        run=p.run,
        creation_date=stamp,
        update_date=stamp,
        sample="simulated spot",
        run_type="simulation",
        daq_library="shotsieve",
        karabo_framework="none",
    )
    ids, times = p.first_train + trains, FIRST_TIME + TRAIN_NS * trains
    return ExdfFile(path, train_ids=ids, timestamps=times, meta=meta, sequence=number)


def _control_file(folder: Path, p: ReceiverParameters) -> Path:
    """Write what the detector's own device and the undulator say, where the detector's file looks for it."""
    path = folder / f"RAW-R{p.run:04d}-DA01-S00000.h5"
    family, values = p.family, {}
    told = {
        "gain_mode": next((k for k, mode in family.gain_modes.items() if mode == p.gain_mode), None),
        "gain_setting": next((word for word, of in family.gain_settings.items() if of == 0), None),
        "cells": p.n_frames,
        "integration_time": INTEGRATION_TIME,
        "bias_voltage": BIAS_VOLTAGE,
    }
    for field, value in told.items():
        if family.control.get(field) and value is not None:
            key = family.control[field][0]
            number = value if isinstance(value, str) else np.float64((value - key.add) / key.factor)
            values[key.key] = number
    sase = instrument_of(p.detector_name).sase
    with _file(path, p, np.arange(p.n_trains)) as exdf:
        exdf.control(f"{p.detector_name}/DET/CONTROL", values, "SlsControl")
        energy = {"actualPosition": np.float64(p.photon_energy_kev)}
        exdf.control(f"SA{sase}_XTD2_UND/DOOCS/ENERGY", energy, "UndulatorEnergy")
    return path
