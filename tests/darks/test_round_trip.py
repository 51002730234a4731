"""Photons to raw words, calibrated with constants of simulated dark runs: what went in comes out."""

from __future__ import annotations

import json
from math import erfc, sqrt

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.cli import main
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.simulate.dark_model import DarkModel
from shotsieve.simulate.darks import DarkParameters, simulate_darks
from shotsieve.simulate.noise import generator

# Photons of the stages high, medium and low, away from where pixels switch, and the photon energy in keV.
FLUX = {
    "AGIPD1M": (((0, 60), (100, 2000), (2600, 9000)), 9.3),
    "JUNGFRAU": (((0, 26), (40, 900), (1300, 12000)), 9.0),
}


# One cell of LPD with three stages and of DSSC with one, at the energies they are used at.
# In parallel gain every photon is in three words, and the first that is within its range counts.
CHIPS = {
    ("LPD1M", 12.0): ((0, 150), (200, 1500), (2000, 20000)),
    ("LPD1M", 18.0): ((0, 100), (133, 1000), (1333, 13000)),
    ("LPD1M in parallel gain", 12.0): ((0, 175), (260, 1650), (2400, 18000)),
    ("DSSC1M", 1.0): ((0, 48),),
}


def illuminate(model: DarkModel, energy_kev: float, limits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return words, photons and stages of a frame in which every stage has its share of the pixels."""
    p = model.p
    module, pixels = p.wanted_modules[0], p.family.pixels
    rng = generator(99, 1)
    photons = np.empty(pixels, np.int64)
    share = rng.permutation(pixels) % len(limits)
    for g, (low, high) in enumerate(limits):
        at = np.flatnonzero(share == g)
        photons[at] = rng.integers(low, high + 1, len(at))
    words, stage = np.empty((p.family.plane_count, pixels), np.uint16), np.zeros(pixels, np.uint8)
    if not p.is_receiver:
        lit = np.flatnonzero(photons)
        model.driven("adaptive").words(rng, module, 0, lit, photons[lit] * energy_kev, words, stage)
    else:
        stage[:] = model.module(module).words(rng, 0, photons * energy_kev, words)
    return words, photons, stage


def check_stages(error, sigma, stage, good, stages=3):
    """High gain: both tails as normal noise says; medium and low: unbiased, 99.9 % within 4 sigma."""
    for g in range(stages):
        pull = (error / sigma)[good & (stage == g)]
        n = len(pull)
        assert n > 10000
        assert np.isfinite(pull).all()
        assert abs(pull.mean()) < 3 / sqrt(n), g
        assert (np.abs(pull) < 4).mean() >= 0.999, g
        for k in (1.0, 2.0, 3.0) if g == 0 else ():
            share = 0.5 * erfc(k / sqrt(2))
            for tail in ((pull > k).mean(), (pull < -k).mean()):
                assert abs(tail - share) < 4 * sqrt(share * (1 - share) / n), k


def test_photons_come_back_in_every_stage(simulated, tmp_path):
    p = simulated.parameters
    limits, energy = FLUX[p.detector]
    options = DarkOptions(min_frames=30, gain_from=simulated.darks.gains)
    path = make_dark_constants(simulated.darks.runs, tmp_path / "c.h5", options, backend="cpu").path
    model = DarkModel(p)
    words, photons, stage = illuminate(model, energy, limits)
    calibrate = shotsieve.Calibrator(path, photon_energy_kev=energy, unit="photon", backend="cpu")
    shape = (1, 1, 2, *p.family.shape)
    found = calibrate(words.reshape(shape), [p.cells[0]], outputs=("data", "gain", "mask"))
    kind = model.kind[p.wanted_modules[0]]
    value, mask = found.data.reshape(-1).astype("f8"), found.mask.reshape(-1)
    assert (np.asarray(found.gain).reshape(-1)[kind == 0] == stage[kind == 0]).all()
    # What one ADU is in photons, and the errors of word and offset, of every pixel in its stage.
    constants = Constants.open(path)
    gains = Constants.open(simulated.darks.gains)
    module, place = constants.modules[0], p.place(0)
    per_photon = (
        gains.load("adu_per_kev", module)[:, place].reshape(-1, p.family.pixels).astype("f8") * energy
    )
    if gains.has("relative_gain"):
        per_photon = per_photon / gains.load("relative_gain", module)[:, place].reshape(3, -1)
    noise = simulated.truth("noise")[0, :, place].reshape(3, -1).astype("f8")
    at = np.arange(p.family.pixels)
    adu = np.abs(np.broadcast_to(per_photon, noise.shape)[stage, at])
    sigma = np.sqrt((noise[stage, at] ** 2 + 1 / 12) * (1 + 1 / p.n_trains)) / adu
    bad = mask & ~np.uint32(BadPixels.NON_STANDARD_SIZE) != 0  # larger pixels of JUNGFRAU are good
    check_stages(value - photons, sigma, stage, (kind == 0) & ~bad)
    assert bad[kind == 0].mean() < 1e-3
    assert np.isnan(value[kind != 0]).mean() >= 0.999


@pytest.fixture(scope="module")
def chip_darks(tmp_path_factory):
    """Parameters, gains and constants of dark runs of LPD and DSSC, made once."""
    made = {}

    def make(name):
        if name not in made:
            detector, _, parallel = name.partition(" in ")
            mode = {"parallel_gain": bool(parallel)}
            p = DarkParameters(detector, n_trains=30, n_cells=1, modules=(3,), seed=6, **mode)
            darks = simulate_darks(tmp_path_factory.mktemp(name), p)
            out = tmp_path_factory.mktemp(name) / "c.h5"
            options = DarkOptions(min_frames=30, gain_from=darks.gains)
            made[name] = p, darks, make_dark_constants(darks.runs, out, options, backend="cpu").path
        return made[name]

    return make


@pytest.mark.parametrize(("name", "energy"), CHIPS)
def test_photons_come_back_in_every_stage_of_lpd_and_dssc(chip_darks, name, energy):
    p, darks, path = chip_darks(name)
    model, limits = DarkModel(p), CHIPS[name, energy]
    words, photons, stage = illuminate(model, energy, limits)
    calibrate = shotsieve.Calibrator(path, photon_energy_kev=energy, unit="photon", backend="cpu")
    found = calibrate(
        words.reshape(1, 1, -1, *p.family.shape), [p.cells[0]], outputs=("data", "gain", "mask")
    )
    value, bad = found.data.reshape(-1).astype("f8"), found.mask.reshape(-1) != 0
    kind, module = model.kind[3], model.module(3)
    assert (np.asarray(found.gain).reshape(-1)[kind == 0] == stage[kind == 0]).all()
    gains, at = Constants.open(darks.gains), np.arange(p.family.pixels)

    def factor(constant):
        values = gains.load(constant, 3)[:, 0].reshape(-1, p.family.pixels).astype("f8")
        return np.broadcast_to(values, (len(limits), p.family.pixels))[stage, at]

    adu = factor("adu_per_kev") * energy
    for constant in {"relative_gain", "ff_map", "gain_amp_map"} & set(gains.names):
        adu = adu / factor(constant)
    noise = np.stack([module.true_noise(g, 0) for g in range(len(limits))])[stage, at].astype("f8")
    sigma = np.sqrt((noise**2 + 1 / 12) * (1 + 1 / p.n_trains)) / adu
    assert words.shape[0] == (3 if p.parallel_gain else 1)
    check_stages(value - photons, sigma, stage, (kind == 0) & ~bad, len(limits))
    assert bad[kind == 0].mean() < 1e-3


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """Darks, constants and a lit run of the same detector, all by the command line."""
    folder = tmp_path_factory.mktemp("by_hand")
    darks = [
        "simulate",
        "dark",
        str(folder / "darks"),
        "--n-trains",
        "40",
        "--n-cells",
        "2",
        "--modules",
        "3",
    ]
    assert main([*darks, "--dead", "0", "--hot", "0", "--noisy", "0", "--stuck", "0"]) == 0
    spi = ["simulate", "spi", str(folder / "spi"), "--n-trains", "2", "--n-cells", "2", "--modules", "3"]
    assert main([*spi, "--bad-fraction", "0", "--hit-rate", "1", "--photons-per-hit", "3e4,1e5"]) == 0
    return folder


def test_the_whole_way_by_the_command_line(by_hand, tmp_path, capsys):
    runs = [str(run) for run in sorted((by_hand / "darks" / "raw").iterdir())]
    out = tmp_path / "constants.h5"
    gains = by_hand / "darks" / "gains.h5"
    command = ["dark", *runs, "-o", str(out), "--min-frames", "40", "--gain-from", str(gains), "--json"]
    command.append("--no-report")
    capsys.readouterr()
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [run["trains"] for run in answer["dark"]["runs"]] == [40, 40, 40]
    assert answer["report"] is None
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[calibrate]\n[measure.lit]\nthreshold = "0.7 photon"\n[keep]\nrule = "lit_fraction >= 0"\n'
        '[write]\ncontent = "corrected"\n'
    )
    [raw] = (by_hand / "spi" / "raw").iterdir()
    reduced = ["reduce", str(raw), "-r", str(recipe), "-o", str(tmp_path / "out"), "--constants", str(out)]
    assert main([*reduced, "--backend", "cpu"]) == 0
    assert main(["check", str(tmp_path / "out")]) == 0
    [file] = (tmp_path / "out").rglob("CORR-*AGIPD03*.h5")
    with h5py.File(file) as corrected, h5py.File(by_hand / "spi" / "truth.h5") as truth:
        [group] = corrected["INSTRUMENT"].values()
        image = group["CORR/3CH0:output/image"]
        data, gain = image["data"][()], image["gain"][()]
        stage = truth["stage"][()][:, 0]
        drawn, known = truth["photons"][()][:, 0], np.isfinite(data)
    assert len(data) == len(stage)
    assert (gain == stage)[known].all()
    assert known.mean() > 0.998
    total = np.nansum(data, axis=(1, 2), dtype="f8") / 9.3
    np.testing.assert_allclose(total, drawn, rtol=0.01, atol=150)
