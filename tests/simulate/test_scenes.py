"""Whole simulated runs of crystals and of solutions: what the truth says is in the frames."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.cli import main
from shotsieve.errors import BadInput
from shotsieve.simulate import SaxsParameters, SfxParameters, simulate_saxs, simulate_sfx
from shotsieve.simulate.bragg import SPOT_DTYPE
from shotsieve.simulate.crystal import HEWL
from shotsieve.simulate.kinds import geometry_of_detector
from shotsieve.simulate.memory import build
from shotsieve.table import FATES

# The inner modules, where the strong spots are.
SFX = SfxParameters(n_trains=2, n_cells=4, modules=(3, 4, 8, 15), hit_rate=0.6, photons_per_hit=(3e5, 3e5))


@pytest.fixture(scope="module")
def crystals(tmp_path_factory):
    return simulate_sfx(tmp_path_factory.mktemp("sfx"), SFX)


@pytest.fixture(scope="module")
def truth(crystals):
    with h5py.File(crystals.truth_file) as file:
        return {name: file[name][()] for name in file if name != "stage"}


def test_hits_and_spots_are_in_the_truth(crystals, truth):
    hit = truth["hit"].astype(bool)
    assert 2 < hit.sum() < len(hit)
    count = np.diff(truth["spots_first"])
    assert (count[~hit] == 0).all()
    assert (count[hit] > 10).all()
    for shot in np.flatnonzero(hit):
        turn = truth["orientation"][shot]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        part = slice(*truth["spots_first"][shot : shot + 2])
        energy = truth["pulse_energy"][shot] / SFX.pulse_energy_uj
        assert truth["spots_photons"][part].sum() == pytest.approx(3e5 * energy)
        assert truth["hit_photons_expected"][shot].sum() == pytest.approx(3e5 * energy, rel=0.1)
    assert (truth["orientation"][~hit] == 0).all()


def test_strong_spots_are_in_the_frames_where_the_truth_has_them(crystals, truth, tmp_path):
    recipe = {
        "detector": [{"name": "AGIPD1M", "geometry": str(crystals.geometry)}],
        "calibrate": {"unit": "photon"},
        "measure": {
            "lit": {"threshold": "0.7 photon"},
            "peaks": {"threshold": "8 photon", "min_snr": 5.0, "min_pix_count": 1, "max_pix_count": 40},
        },
        "keep": {"rule": "n_peaks[3] + n_peaks[4] + n_peaks[8] + n_peaks[15] >= 10"},
        "write": {"content": "corrected"},
    }
    result = shotsieve.reduce(
        crystals.raw, recipe, tmp_path / "out", constants=crystals.constants, backend="cpu"
    )
    kept = result.table.fate == FATES.index("kept")
    np.testing.assert_array_equal(kept, truth["hit"].astype(bool))
    peaks = shotsieve.PeakList.open(tmp_path / "out" / "shotsieve" / "peaks.h5")
    met = strong = 0
    for shot in np.flatnonzero(kept):
        part = slice(*truth["spots_first"][shot : shot + 2])
        bright = truth["spots_photons"][part] > 300
        place = np.stack([truth["spots_ss"][part], truth["spots_fs"][part]], axis=1)[bright]
        found = peaks.records(int(shot))
        ours = np.stack([found["ss"], found["fs"]], axis=1)
        distance = np.linalg.norm(place[:, None] - ours, axis=2).min(axis=1)
        met, strong = met + (distance < 1.5).sum(), strong + len(place)
    assert strong > 30
    # Bad pixels and edges of panels hide a few.
    assert met >= 0.9 * strong


def test_crystals_are_a_function_of_the_seed():
    small = {"n_trains": 1, "n_cells": 3, "modules": (3,), "hit_rate": 1.0}
    words = []
    for seed in (1, 1, 2):
        schedule, _, maker = build(SfxParameters(**small, seed=seed))
        assert schedule.hit[1:].all()
        out = np.empty((2, 2, 512 * 128), "u2")
        # In any order: a frame is what it is whatever was made before.
        for shot in (2, 1) if len(words) else (1, 2):
            maker.make(shot, 0, out[shot - 1])
        words.append(out)
    np.testing.assert_array_equal(words[0], words[1])
    assert (words[0] != words[2]).any()


def test_other_detectors_and_cells():
    cell = (5.0, 6.0, 7.0, 90.0, 100.0, 90.0)
    p = SfxParameters(detector="LPD1M", n_trains=1, n_cells=2, modules=(0, 7), unit_cell=cell, centering="C",
                      hit_rate=1.0, distance_m=0.2)  # fmt: skip
    _, _, maker = build(p)
    lit = maker.expected(1, 0)
    assert lit.hit_photons > 0
    spots, _ = maker.scene.spots(1)
    assert ((spots["h"] + spots["k"]) % 2 == 0).all()
    assert SfxParameters().cell == HEWL


@pytest.mark.parametrize(("detector", "ss", "fs"), [("AGIPD1M", 64, 128), ("LPD1M", 32, 128)])
def test_a_spot_is_cut_at_the_edge_of_its_panel(detector, ss, fs):
    """The next chip of the array is not the next one in space: it gets nothing of the light."""
    p = SfxParameters(detector=detector, n_trains=1, n_cells=2, modules=(0, 3), hit_rate=1.0)
    scene, shape = build(p)[2].scene, detectors.load(detector).shape
    widths = np.array([0.5, 6.0])
    spots = np.zeros(2, SPOT_DTYPE)
    spots["tile"] = len(geometry_of_detector(detector).panels) // len(detectors.load(detector).modules)
    spots["ss"], spots["fs"], spots["width_ss"], spots["width_fs"] = (
        3 * shape[0] + ss - 0.6, fs - 0.6, widths, widths
    )  # fmt: skip
    scene.spots = lambda shot: (spots, np.array([1000.0, 1000.0]))
    image = scene.hit(1, 1).reshape(shape)
    share = [0.5 + 0.5 * math.erf(0.1 / width / math.sqrt(2)) for width in widths]
    assert image.sum() == pytest.approx(1000 * np.square(share).sum(), rel=1e-3)
    assert image[:ss, :fs].sum() == image.sum()
    assert not scene.hit(1, 0).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit_cell": (1.0, 2.0)}, "six numbers"),
        ({"unit_cell": (0.0, 1, 1, 90, 90, 90)}, "unit cell"),
        ({"centering": "Q"}, "centering"),
        ({"detector": "DSSC1M"}, "square pixels"),
        ({"bandwidth": 1.0}, "bandwidth"),
        ({"resolution_nm": 0.0}, "resolution_nm"),
    ],
)
def test_impossible_crystals_are_refused(options, words):
    with pytest.raises(BadInput, match=words):
        SfxParameters(**options)


def test_the_curve_of_a_solution_is_found_by_the_integrator(tmp_path):
    p = SaxsParameters(n_trains=2, n_cells=8, modules=(3, 4, 8, 15), photons_per_hit=(2e6, 2e6),
                       energy_jitter=0.0, radius_nm=4.0, rings=(1.076, 2.153), background=1e-3,
                       bad_fraction=0.0)  # fmt: skip
    run = simulate_saxs(tmp_path / "saxs", p)
    recipe = {
        "detector": [{"name": "AGIPD1M", "geometry": str(run.geometry)}],
        "calibrate": {"unit": "photon", "round_photons": True},
        "measure": {"azint": {"npt": 100, "unit": "q_nm^-1"}},
        "write": {"content": "photons"},
    }
    shotsieve.reduce(run.raw, recipe, tmp_path / "out", constants=run.constants, backend="cpu")
    with h5py.File(run.truth_file) as file:
        q, curve, hit = (file[name][()] for name in ("curve_q", "curve", "hit"))
    with h5py.File(tmp_path / "out/shotsieve/profiles.h5") as file:
        group = file["entry/average"]
        x, y = group["q"][()], group["intensity"][()]
    assert hit.sum() == 14, "frame 0 of each train is dark"
    there = np.isfinite(y) & (y > 0.02) & (x > 0.1)
    expected = np.interp(x[there], q, curve)
    scale = np.median(y[there] / expected)
    # Photons at the edge of a bin and the share of the background are what is left.
    assert there.sum() > 30
    assert np.median(np.abs(y[there] / (scale * expected) - 1)) < 0.05
    ratio = y[there] / (scale * expected)
    for ring in p.rings:
        near = np.abs(x[there] - ring) < x[1] - x[0]
        # Without its ring the curve would be some times lower here.
        assert near.any()
        assert np.abs(np.median(ratio[near]) - 1) < 0.2


@pytest.mark.parametrize("kind", ["sfx", "saxs"])
def test_the_commands(kind, tmp_path, capsys):
    words = ["simulate", kind, str(tmp_path / "out"), "--n-trains", "1", "--n-cells", "1", "--modules", "3"]
    assert main(words) == 0
    assert "raw run" in capsys.readouterr().out
    assert main(["simulate", kind, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Half the edge of the crystals" in text if kind == "sfx" else "powder rings" in text
    assert ("DSSC1M" in text) is (kind == "saxs")
