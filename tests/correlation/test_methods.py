"""How sums were made is told: by results of arrays, by trains of a run, and in the file."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.measure import event_lags
from shotsieve.measure.train_correlator import METHODS, TrainCorrelator, TrainOptions
from shotsieve.write.xpcs import write_xpcs

BINS = shotsieve.CorrelationBins(np.zeros(900, "i4"), np.zeros(1, "i8"), 1, q_edges=np.array([0.1, 0.2]))


def frames(rng, *rates):
    """A train of six frames for each rate of photons per pixel."""
    return np.stack([rng.poisson(rate, (6, 900)) for rate in rates]).astype("u1")


@pytest.mark.parametrize(
    ("rate", "options", "method"),
    [
        (0.02, {}, "events"),
        (0.5, {}, "matrix"),
        (0.5, {"method": "events"}, "events"),
        (0.02, {"method": "matrix"}, "matrix"),
        (0.5, {"method": "fft"}, "fft"),
        (0.02, {"how": "mean"}, "events"),
        (0.02, {"counts": False}, "matrix"),
    ],
)
def test_g2_tells_its_method(rng, backend_name, rate, options, method):
    found = shotsieve.g2(frames(rng, rate), BINS, backend=backend_name, **options)
    assert found.method == method
    if method != "fft":
        given = {name: value for name, value in options.items() if name != "how"}
        assert shotsieve.two_time(frames(rng, rate), BINS, backend=backend_name, **given).method == method


def test_ways_without_pairs_of_frames_tell_theirs(rng, monkeypatch):
    photons = frames(rng, 0.02)
    listed = [shotsieve.PhotonList.of(train) for train in photons]
    assert shotsieve.multitau(photons, BINS, backend="cpu").method == "lags"
    assert shotsieve.multitau(listed, BINS, backend="cpu").method == "event_lags"
    assert shotsieve.g2(listed, BINS, backend="cpu").method == "event_lags"
    monkeypatch.setattr(event_lags, "LONG", 6)
    assert shotsieve.g2(photons, BINS, backend="cpu").method == "event_lags"
    one = np.ones((1, 1))
    assert shotsieve.Correlation(np.arange(2), np.arange(2), np.ones((1, 1, 2)), one, one).method is None


def test_it_goes_along_into_xarray(rng):
    pytest.importorskip("xarray")
    found = shotsieve.g2(frames(rng, 0.02, 0.5), BINS, method="events", backend="cpu")
    assert found.to_xarray().attrs == {"method": "events"}


@pytest.mark.parametrize(("lags", "method"), [("all", None), ("lumma", "lags")])
def test_every_train_of_a_run_has_its_own(rng, tmp_path, lags, method):
    """Sparse and dense trains, one that is not complete, and one that averages leave out."""
    pytest.importorskip("xarray")
    photons, use = frames(rng, 0.01, 0.01, 0.6, 0.01, 0.6), np.array([True, True, True, True, False])
    options = TrainOptions(6, lags=lags, strides=(1, 2))
    one = TrainCorrelator(BINS, options, use, np.where(use, 16, 80).astype("u1"), "cpu")
    for train in range(5):
        for place in range(6 if train != 1 else 5):
            one.add(train, place, photons[train, place])
    pairs = ["events", "", "matrix", "events", ""]
    by_lag = [*pairs[:4], "matrix"] if method is None else [method, "", method, method, method]
    # The mean of both trains decides of a baseline; without a train before it there is none.
    between, far = ["", "", "matrix", "matrix", ""], ["", "", "", "events", ""]
    wanted = {"method": by_lag, "two_time_method": pairs}
    wanted |= {"baseline_1_method": between, "baseline_2_method": far}
    for codes, (name, its) in zip(one.methods, wanted.items(), strict=True):
        assert [METHODS[code] for code in codes] == its, name
    write_xpcs(tmp_path / "xpcs.h5", {}, one, np.arange(5), 1e-6, ("q_nm^-1", 1.0))
    found = shotsieve.open_xpcs(tmp_path / "xpcs.h5")
    for name, its in wanted.items():
        assert found[name].dims == ("train",)
        assert found[name].values.tolist() == its, name


def test_what_is_not_made_has_no_method(rng, tmp_path):
    options = TrainOptions(6, two_time=False, strides=())
    one = TrainCorrelator(BINS, options, np.ones(1, bool), np.zeros(1, "u1"), "cpu")
    for place, frame in enumerate(frames(rng, 0.5)[0]):
        one.add(0, place, frame)
    write_xpcs(tmp_path / "xpcs.h5", {}, one, np.arange(1), 1e-6, ("q_nm^-1", 1.0))
    with h5py.File(tmp_path / "xpcs.h5", "r+") as file:
        trains = file["entry/trains"]
        assert [name for name in trains if name.endswith("method")] == ["method"]
        assert trains["method"][()].tolist() == [b"matrix"]
        assert "0.1 photons per pixel" in trains["method"].attrs["long_name"]
        del trains["method"]  # as in files that were written before it was told
    pytest.importorskip("xarray")
    assert "method" not in shotsieve.open_xpcs(tmp_path / "xpcs.h5")
