"""The simulated words through the package's own calibration: photons come out as they went in."""

import warnings

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants.fold import fold
from shotsieve.constants.steps import Steps
from shotsieve.reference.calibrate import calibrate_count_folded
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build
from shotsieve.simulate.noise import generator
from shotsieve.simulate.parameters import SpiParameters

PIXELS = 512 * 128


@pytest.mark.parametrize("forced", [{}, {"force_mg_if_below": 1000.0, "force_hg_if_below": 1000.0}])
@pytest.mark.parametrize("baseline", [0.0, 200.0])
def test_photons_in_photons_out_in_every_stage(forced, baseline):
    p = SpiParameters(n_cells=3, modules=(4,), mg_baseline=baseline, constants_without_cells=(2,))
    _, model, _ = build(p)
    photons, cells = np.array([1, 40, 300, 1200, 5000, 1]), np.array([0, 1, 0, 1, 0, 2])
    raw = np.empty((6, 2, PIXELS), "u2")
    stage = np.empty((6, PIXELS), "u1")
    for i, (n, cell) in enumerate(zip(photons, cells, strict=True)):
        kev = np.full(PIXELS, n * p.photon_energy_kev)
        model.words(generator(1, i), 4, cell, np.arange(PIXELS), kev, raw[i], stage[i])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folded = fold(
            constants_in_memory(p, model),
            detectors.load("AGIPD1M"),
            4,
            np.arange(3),
            Steps(**forced),
            "photon",
            p.photon_energy_kev,
        )
    row = np.where(np.asarray(folded.known)[cells], cells, -1)
    got = calibrate_count_folded(raw, row, folded.table, encoding=0, set_min=True, lit_threshold=0.7)
    for i, n in enumerate(photons[:5]):
        g = int(stage[i][0])
        good = model.module(4).good(int(cells[i]), g)
        assert (stage[i][good] == g).all()
        assert (np.asarray(got.stage)[i][good] & 3 == g).all()
        error = got.pixels[i][good] - n
        assert abs(error.mean(dtype=float)) < 4 * error.std(dtype=float) / np.sqrt(error.size)
        assert np.isnan(got.pixels[i][~good & ~model.module(4).bad.no_separation]).all()
        assert got.counts[i, 0] == pytest.approx(good.sum(), rel=5e-3)
    assert np.isnan(got.pixels[5]).all()
