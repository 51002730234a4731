"""A simulated run in memory, or made frame by frame when it is read: for benchmarks and tests."""

from __future__ import annotations

import numpy as np

from ..sources.base import OperatingMode, ShotStatus, TrainList
from ..sources.memory import MemorySource
from .chips import ChipModel
from .detector import PIXELS, DetectorModel
from .frames import FrameMaker
from .kinds import BIAS_VOLTAGE, detector_of, model_of
from .parameters import SpiParameters
from .run import run_meta
from .schedule import Schedule, make_schedule
from .truth import SpiTruth


def build(
    p: SpiParameters, strengths: np.ndarray | None = None
) -> tuple[Schedule, DetectorModel | ChipModel, FrameMaker]:
    """Set up schedule, detector and frame maker of a run.

    Parameters
    ----------
    p : SpiParameters
    strengths : array_like, optional
        See `schedule.make_schedule`.

    Returns
    -------
    Schedule, DetectorModel or ChipModel, FrameMaker

    Examples
    --------
    >>> schedule, model, maker = build(SpiParameters(n_trains=1, n_cells=2, modules=(3,)))
    >>> len(schedule)
    2
    """
    schedule = make_schedule(p, strengths)
    model = model_of(p)
    return schedule, model, FrameMaker(p, schedule, model)


def spi_source(
    p: SpiParameters, strengths: np.ndarray | None = None, *, lazy: bool = False
) -> tuple[MemorySource, SpiTruth]:
    """Return a simulated run as a source of raw words, and its truth.

    Parameters
    ----------
    p : SpiParameters
        `modules` says which modules the source has; options about files do nothing here.
    strengths : array_like, optional
        (S,) expected photons of every shot's hit on the simulated modules, 0 for a miss; shots by train and
        frame. By default hits are drawn by `hit_rate`.
    lazy : bool, default False
        Make frames when they are read (the same words at every reading) instead of keeping them all; the
        truth then lacks the photons drawn.

    Returns
    -------
    MemorySource, SpiTruth

    Raises
    ------
    BadInput
        When `strengths` does not fit.

    Notes
    -----
    Promise: exact; lazy or not, the words are those `simulate_spi` writes for the same parameters.

    Examples
    --------
    >>> source, truth = spi_source(SpiParameters(n_trains=1, n_cells=2, modules=(3,)))
    >>> len(source.shots) == len(truth.hit) == 2
    True
    """
    schedule, model, maker = build(p, strengths)
    detector = detector_of(p)
    truth = SpiTruth.of(p, schedule, maker)

    def fill(index: np.ndarray, out: np.ndarray) -> None:
        for i, shot in enumerate(index):
            for row in np.flatnonzero(schedule.present[shot]):
                drawn = maker.make(int(shot), int(row), out[i, row].reshape(model.planes, PIXELS))
                if not lazy:
                    truth.photons[shot, row] = drawn

    frames: object = fill
    if not lazy:
        frames = np.zeros((len(schedule), len(p.modules), model.planes, *detector.shape), np.uint16)
        fill(np.arange(len(schedule)), frames)
    counts = np.bincount(schedule.train, minlength=p.n_trains)
    expected = np.where(counts > 0, counts, len(p.cells))
    source = MemorySource(
        detector,
        frames,
        truth.train_id,
        truth.pulse_id,
        truth.cell_id,
        modules=p.modules,
        present=schedule.present,
        status=_status(p, schedule),
        trains=TrainList(schedule.train_id, schedule.timestamp, expected.astype(np.int32)),
        columns=_columns(p, schedule),
        mode=operating_mode(p),
        meta=run_meta(p),
        name=p.detector_name,
    )
    return source, truth


def operating_mode(p: SpiParameters) -> OperatingMode:
    """Return how the simulated detector was driven, as a reader finds it in the run.

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    OperatingMode

    Examples
    --------
    >>> operating_mode(SpiParameters()).gain_mode
    'adaptive'
    """
    fields = (
        "gain_mode",
        "cells",
        "rate_mhz",
        "integration_time",
        "photon_energy_kev",
        "distance_m",
        "bias_voltage",
    )
    if p.parallel_gain:
        fields = (*fields, "parallel_gain")
    return OperatingMode(
        gain_mode=p.gain_mode if detector_of(p).stages > 1 else "fixed_high",
        parallel_gain=1 if p.parallel_gain else None,
        cells=p.memory_cells,
        rate_mhz=p.rate_mhz,
        integration_time=float(p.integration_time),
        photon_energy_kev=p.photon_energy_kev,
        distance_m=p.distance_m,
        bias_voltage=BIAS_VOLTAGE,
        origin=dict.fromkeys(fields, "simulation"),
    )


def _columns(p: SpiParameters, schedule: Schedule) -> dict[str, np.ndarray]:
    columns = {}
    if p.time_server:
        columns["n_pulses"] = schedule.n_pulses.astype(np.float64)
        columns["xray"] = columns["data_frame"] = (schedule.n_pulses > 0).astype(np.float64)
        if p.pump != "none":
            columns["laser"] = schedule.laser.astype(np.float64)
            columns["pump_state"] = columns["xray"] + 2 * (schedule.laser > 0)
        if p.delays:
            columns["delay"] = np.resize(np.array(p.delays), p.n_trains)[schedule.train]
        if p.xgm:
            columns["pulse_energy"] = schedule.pulse_energy
    return columns


def _status(p: SpiParameters, schedule: Schedule) -> np.ndarray:
    status = np.full(len(schedule), ShotStatus.OK, np.uint8)
    trains = schedule.train
    for module, train, _ in p.short_trains:
        # A module without any row in a train is missing; one that lacks some rows makes them unmatched.
        missing = (trains == train) & ~schedule.present[:, p.modules.index(module)]
        status[missing] = ShotStatus.INCONSISTENT
    suspect = np.isin(trains, list(p.suspect_trains) + [t for _, t in p.suspect])
    status[suspect] = ShotStatus.SUSPECT
    return status
