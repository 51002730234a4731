"""Correlations over time as NXdata, in ``shotsieve/xpcs.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..measure.train_correlator import METHODS
from .nxdata import NxFile

if TYPE_CHECKING:
    import h5py

    from ..measure.running_mean import RunningMean
    from ..measure.train_correlator import TrainCorrelator

FORMAT = "shotsieve correlation over time"
VERSION = 1
FILE_NAME = "xpcs.h5"

_FLAGS = (
    "1 no pixel, 2 one pixel, 4 some frames without counts or with one photon, 8 all without, 16 frames are "
    "missing, 32 other pulses than most trains, 64 in no average by its column"
)

_METHOD = (
    "how the sums of the train were made: events (lists of them, below 0.1 photons per pixel), matrix (a "
    "product), lags (lag by lag, multi-tau), event_lags (lag by lag, of lists); empty where there are none"
)


def write_xpcs(
    path: Path,
    settings: Mapping[str, object],
    trains: TrainCorrelator,
    train_id: np.ndarray,
    seconds: float,
    unit: tuple[str, float],
) -> None:
    """Write what the trains of a run come to.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    settings : mapping of str to str, int, float or bool
        Attributes of the entry.
    trains : TrainCorrelator
    train_id : ndarray of uint64, shape (K,)
    seconds : float
        From one frame to the next.
    unit : (str, float)
        Of q, and how many of it 1/nm is.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> write_xpcs(path, {}, correlator, train_id, 886e-9, ("q_A^-1", 0.1))    # doctest: +SKIP
    """
    options, lags = trains.options, trains.options.lag_frames
    with NxFile(path, FORMAT, VERSION, "the file of correlations over time", settings) as file:
        file.entry.attrs["default"] = "average"
        data = file.data("average", "g2", ("bin", "lag"))
        _put_mean(file, data, "g2", trains.average, "average over trains of the correlation at each lag")
        _put_bins(file, data, trains, unit)
        _put_lags(file, data, lags, seconds)
        number = trains.average.number.max(axis=1, initial=0)
        file.put(data, "trains", number, "", "trains in the average of each bin")

        data = file.data("trains", "g2", ("trainId", "bin", "lag"))
        file.put(data, "g2", trains.g2, "", "correlation at each lag; NaN where flags say why")
        file.put(data, "trainId", train_id, "", "train of each row")
        _put_bins(file, data, trains, unit)
        _put_lags(file, data, lags, seconds)
        file.put(data, "flags", trains.flags, "", _FLAGS)
        file.put(data, "intensity", trains.intensity, "", "sum of all frames of the train")
        file.put(data, "pixels", trains.pixels, "", "valid pixels of the train")
        names = ["method", "two_time_method", *(f"baseline_{stride}_method" for stride in options.strides)]
        for name, codes in zip(names, trains.methods, strict=True):
            if name != "two_time_method" or options.two_time:
                file.put(data, name, np.array(METHODS, "S")[codes], "", _METHOD)
        for s, stride in enumerate(options.strides):
            meaning = f"correlation with the train {stride} used trains before, over all pairs of frames"
            file.put(data, f"baseline_{stride}", trains.baselines[s], "", meaning)

        frames = np.arange(options.length)
        if options.two_time:
            data = file.data("two_time", "correlation", ("bin", "time_1", "time_2"))
            _put_mean(
                file, data, "correlation", trains.two_time, "average over trains of two-time correlations"
            )
            _put_bins(file, data, trains, unit)
            for axis in ("time_1", "time_2"):
                file.put(data, axis, frames * seconds, "s", "time of the frame from the first of its train")
        for s, stride in enumerate(options.strides):
            data = file.data(f"baseline_{stride}", "g2", ("bin", "lag"))
            _put_mean(file, data, "g2", trains.by_lag[s], f"correlation of trains that are {stride} apart")
            _put_mean(file, data, "all_pairs", trains.baseline[s], "the same over all pairs of frames")
            _put_bins(file, data, trains, unit)
            _put_lags(file, data, frames, seconds)


def _put_mean(file: NxFile, data: h5py.Group, name: str, mean: RunningMean, meaning: str) -> None:
    values, errors = mean.result()
    file.put(data, name, values, "", meaning)
    file.put(data, f"{name}_errors", errors, "", "standard error, from the spread over trains")


def _put_lags(file: NxFile, data: h5py.Group, frames: np.ndarray, seconds: float) -> None:
    file.put(data, "lag", frames * seconds, "s", "lag")
    file.put(data, "lag_frames", frames, "", "lag in frames")


def _put_bins(file: NxFile, data: h5py.Group, trains: TrainCorrelator, unit: tuple[str, float]) -> None:
    bins, (name, per_nm) = trains.bins, unit
    sectors = 1 if bins.phi_edges is None else len(bins.phi_edges) - 1
    file.put(data, "bin", np.arange(bins.n_bins), "", "number of the bin: ring * sectors + sector")
    for at, edges in (("q_low", bins.q_edges[:-1]), ("q_high", bins.q_edges[1:])):
        file.put(data, at, np.repeat(edges * per_nm, sectors), name, "edge of the bin")
    middle = (bins.q_edges[1:] + bins.q_edges[:-1]) / 2
    file.put(data, "q", np.repeat(middle * per_nm, sectors), name, "middle of the bin")
    if bins.phi_edges is not None:
        for at, edges in (("phi_low", bins.phi_edges[:-1]), ("phi_high", bins.phi_edges[1:])):
            file.put(data, at, np.tile(edges, len(bins.q_edges) - 1), "deg", "edge of the bin")
