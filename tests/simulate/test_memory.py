"""The same run in memory."""

import numpy as np
import pytest
from shotsieve.simulate.memory import spi_source
from shotsieve.simulate.parameters import SpiParameters
from shotsieve.sources.base import ShotStatus

from .conftest import SMALL
from .test_run import image, raw_file


def words(source):
    out = np.zeros((len(source.readable), len(source.modules), 2, 512, 128), "u2")
    source.read(0, len(source.readable), out)
    return out


def test_lazy_or_not_the_words_are_those_on_disk(small):
    disk = np.stack([image(raw_file(small, m), m, "data") for m in (3, 4)], axis=1)
    eager, truth = spi_source(SpiParameters(**SMALL))
    lazy, unread = spi_source(SpiParameters(**SMALL), lazy=True)
    np.testing.assert_array_equal(words(eager), disk)
    np.testing.assert_array_equal(words(lazy), disk)
    part = np.zeros((2, 2, 2, 512, 128), "u2")
    lazy.read(5, 7, part)
    np.testing.assert_array_equal(part, disk[5:7])
    np.testing.assert_array_equal(truth.photons, small.truth.photons)
    np.testing.assert_array_equal(truth.lit_expected, small.truth.lit_expected)
    assert (unread.photons == -1).all()


def test_a_reader_of_the_files_finds_the_same_shots(small):
    run = pytest.importorskip("shotsieve.sources.run")
    found = run.open_run(small.raw)
    source, truth = spi_source(SpiParameters(**SMALL), lazy=True)
    for key in ("train_id", "pulse_id", "cell_id", "status"):
        np.testing.assert_array_equal(getattr(found.shots, key), getattr(source.shots, key))
    np.testing.assert_array_equal(found.columns()["pulse_energy"], truth.pulse_energy)
    np.testing.assert_array_equal(found.columns()["n_pulses"], truth.n_pulses)
    for key in ("gain_mode", "cells", "integration_time", "photon_energy_kev", "distance_m", "bias_voltage"):
        assert getattr(found.mode, key) == pytest.approx(getattr(source.mode, key)), key
    assert found.mode.rate_mhz == pytest.approx(source.mode.rate_mhz, rel=1e-6)


def test_odd_things_show_in_the_source():
    p = SpiParameters(
        **{
            **SMALL,
            "n_trains": 5,
            "empty_trains": (4,),
            "missed_trains": ((3, 0),),
            "suspect_trains": (1,),
            "short_trains": ((4, 2, 3),),
            "xgm": False,
        }
    )
    source, _ = spi_source(p, lazy=True)
    assert source.missing_shots == 4
    status = source.shots.status.reshape(4, 4)
    assert (status[0] == ShotStatus.OK).all()
    assert (status[1] == ShotStatus.SUSPECT).all()
    assert status[2].tolist() == [0, 0, 0, ShotStatus.INCONSISTENT]
    assert not source.shots.present[:4, 0].any()
    assert source.shots.present[:4, 1].all()
    assert set(source.columns()) == {"n_pulses", "xray", "data_frame"}


def test_strengths_of_a_benchmark():
    p = SpiParameters(n_trains=2, n_cells=20, modules=(3,), hit_rate=0.0)
    strengths = np.zeros(40)
    strengths[[5, 25]] = 300.0, 3000.0
    source, truth = spi_source(p, strengths)
    assert truth.hit.sum() == 2
    excess = truth.lit_expected - truth.background_lit_expected
    assert (excess[~truth.hit] == 0).all()
    assert 0 < excess[5, 0] < excess[25, 0] < 3000 * 2
    np.testing.assert_allclose(
        truth.hit_photons_expected[5, 0], 300 * truth.pulse_energy[5] / 1500, rtol=1e-3
    )
    assert len(source.modules) == 1


def test_lit_pixels_counted_are_those_expected():
    """Counted from the words by the constants, over all shots: the truth's expectation within its error."""
    from shotsieve.simulate.memory import build

    p = SpiParameters(n_trains=4, n_cells=8, modules=(3,), hit_rate=0.3, seed=11)
    source, truth = spi_source(p)
    _, model, _ = build(p)
    m = model.module(3)
    raw = words(source).reshape(32, 2, -1)
    counted = np.zeros(32)
    for shot in range(32):
        cell = int(truth.cell_id[shot])
        t0 = m.thresholds(cell)[0]
        kev = (raw[shot, 0] - m.offset(0, cell)) / np.where(m.good(cell), m.slopes_ff(cell), np.nan)
        counted[shot] = np.sum((kev > 0.7 * 9.3) | ((raw[shot, 1] > t0) & m.good(cell)))
    expected = truth.lit_expected[:, 0]
    # One photon of 9.3 keV is not lit when noise takes it below 0.7: 0.3 * 9.3 = 2.8 sigma, 0.26 %.
    expected = expected * (1 - 0.0026)
    pull = (counted - expected) / np.sqrt(np.maximum(expected, 1))
    assert np.abs(pull).max() < 5
    assert abs(pull.mean()) < 5 / np.sqrt(32)
