"""Constants of simulated dark runs: what was put in comes out, whatever computes it."""

from __future__ import annotations

import dataclasses
from math import erfc, sqrt
from pathlib import Path

import numpy as np
import pytest
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.collect import Gate
from shotsieve.darks.rules import preset
from shotsieve.simulate.darks import DarkParameters, simulate_darks
from shotsieve.sources.run import open_run

OPTIONS = DarkOptions(min_frames=30)
GATED = dataclasses.replace(OPTIONS, gate=Gate(frames=20, low=0.1, high=0.9, widen=0.0))


both = pytest.mark.parametrize("options", [OPTIONS, GATED], ids=["no gate", "gate"])


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Constants of a set of runs with the usual or other options, made once."""
    kept: dict[tuple[Path, bool], Path] = {}

    def make(darks, options=OPTIONS) -> Path:
        key = darks.truth_file, options is GATED
        if key not in kept:
            out = tmp_path_factory.mktemp("constants") / "constants.h5"
            kept[key] = make_dark_constants(darks.runs, out, options, backend="cpu").path
        return kept[key]

    return make


def test_offset_noise_and_levels_within_their_errors(simulated, made_once):
    constants, n = Constants.open(made_once(simulated.darks)), simulated.parameters.n_trains
    module = constants.modules[0]
    kind, offset, noise = (simulated.truth(name)[0] for name in ("kind", "offset", "noise"))
    good = kind == 0
    for g in range(3):
        # Words are whole numbers, which adds a variance of 1/12.
        real = np.sqrt(noise[g].astype("f8") ** 2 + 1 / 12)[:, good]
        pull = (constants.load("offset", module)[g][:, good] - offset[g][:, good]) / real * np.sqrt(n)
        assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
        assert pull.std() == pytest.approx(1, abs=0.01)
        assert np.abs(pull).max() < 6.5
        found = constants.load("noise", module)[g][:, good] / real
        assert found.mean() == pytest.approx(1 - 1 / (4 * n), abs=5 / np.sqrt(2 * n * found.size))
        assert found.std() * np.sqrt(2 * n) == pytest.approx(1, abs=0.02)
    if constants.has("thresholds"):
        level = simulated.truth("levels")[0]
        middle = (level[:-1] + level[1:]) / 2
        error = 25 / np.sqrt(2 * n)
        pull = (constants.load("thresholds", module) - middle)[:, :, good] / error
        assert pull.std() == pytest.approx(1, abs=0.01)
        np.testing.assert_allclose(
            constants.load("level_noise", module)[:, :, good].mean(), 25 * (1 - 1 / (4 * n)), rtol=1e-3
        )


def test_injected_pixels_are_found_and_good_ones_left_alone(simulated, made_once):
    constants = Constants.open(made_once(simulated.darks))
    bad, kind = constants.load("bad_pixels", constants.modules[0]), simulated.truth("kind")[0]
    for number in (1, 2, 3, 4):
        assert (bad[:, :, kind == number] != 0).mean() >= 0.999, number
    noise = np.uint32(BadPixels.NOISE_OUT_OF_THRESHOLD)
    assert (bad[:, :, kind == 3] & noise != 0).mean() >= 0.999
    assert (bad[:, :, kind == 2] & np.uint32(BadPixels.OFFSET_OUT_OF_THRESHOLD) != 0).mean() >= 0.999
    gain = BadPixels.GAIN_THRESHOLDING_ERROR if constants.has("levels") else BadPixels.WRONG_GAIN_VALUE
    assert (bad[:, :, kind == 4] & np.uint32(gain) != 0).mean() >= 0.999
    assert (bad[:, :, kind == 0] != 0).mean() < 1e-3 + 2 * erfc(5 / sqrt(2))


@pytest.mark.parametrize("name", ["facility-agipd", "psana", "agipd-toolbox"])
def test_false_alarms_are_those_of_the_rule(agipd, tmp_path, name):
    rules = preset(name)
    out = make_dark_constants(
        agipd.darks.runs, tmp_path / "c.h5", DarkOptions(rules=rules), backend="cpu"
    ).path
    constants = Constants.open(out)
    bad, kind = constants.load("bad_pixels", 3), agipd.truth("kind")[0]
    for g in range(3):
        own = 0.0
        for what in ("offset", "noise"):
            values = constants.load(what, 3)[g][:, kind == 0]
            middle = np.median(values)
            scatter = 1.4826 * np.median(np.abs(values - middle))
            own += erfc(getattr(rules, f"{what}_sigma")[0] / sqrt(2))
            if limits := getattr(rules, f"{what}_range"):
                low, high = limits[g]
                own += 0.5 * erfc((middle - low) / scatter / sqrt(2)) + 0.5 * erfc(
                    (high - middle) / scatter / sqrt(2)
                )
        assert (bad[g][:, kind == 0] != 0).mean() < own + 1e-3
    for number in (1, 2, 3):
        assert (bad[:, :, kind == number] != 0).mean() >= 0.999, number


@both
def test_same_bytes_on_every_backend_and_in_any_blocks(
    simulated, made_once, native_backend, tmp_path, options
):
    frame = 4 * simulated.parameters.family.pixels
    out = make_dark_constants(
        simulated.darks.runs, tmp_path / "c.h5", options, backend=native_backend, block_bytes=17 * frame
    ).path
    assert out.read_bytes() == made_once(simulated.darks, options).read_bytes()


FILES = {
    "AGIPD1M": {"split_at": (5, 9)},
    "LPD1M": {"split_at": (5, 9)},
    "LPD1M in parallel gain": {"split_at": (5, 9), "parallel_gain": True},
    "DSSC1M": {"modules": (0, 15), "split_at": (3,)},
}


@pytest.mark.parametrize(
    "gate", [None, Gate(frames=7, low=0.1, high=0.9, widen=0.0)], ids=["no gate", "gate"]
)
@pytest.mark.parametrize("name", FILES)
def test_same_constants_for_any_order_and_names_of_the_files(tmp_path, name, gate):
    """Sequences that change their numbers, and so the order in which the files are met."""
    how = {"n_trains": 12, "n_cells": 2, "seed": 12, **FILES[name]}
    darks = simulate_darks(tmp_path, DarkParameters(name.partition(" in ")[0], **how))
    options = DarkOptions(min_frames=12, gate=gate)
    want = Constants.open(make_dark_constants(darks.runs, tmp_path / "a.h5", options, backend="cpu").path)
    runs, rng = [], np.random.default_rng(13)
    for run in darks.runs:
        folder = tmp_path / run.name
        folder.mkdir()
        for file in run.iterdir():
            stem, _, number = file.stem.rpartition("-S")
            (folder / f"{stem}-S{8 - int(number):05d}.h5").symlink_to(file)
        names = sorted(folder.iterdir())
        runs.append(open_run([names[i] for i in rng.permutation(len(names))]))
    made = make_dark_constants(runs, tmp_path / "b.h5", options, backend="cpu", block_bytes=10**6)
    found = Constants.open(made.path)
    assert found.modules == want.modules
    assert found.names == want.names
    for key in want.names:
        for module in want.modules:
            np.testing.assert_array_equal(found.load(key, module), want.load(key, module), key)


@pytest.mark.parametrize("block", [9, 1000])
def test_a_gate_keeps_outliers_out(dark_run, tmp_path, backend_name, block):
    """Two in a hundred samples are far too high: without a gate the noise is wrong by a factor."""

    def spoil(raw):
        rng = np.random.default_rng(8)
        raw[:, :, 0][rng.random(raw[:, :, 0].shape) < 0.02] += 500

    runs = [dark_run(stage=g, trains=150, change=spoil) for g in range(3)]
    frame = 4 * 32 * 64 * 2
    noise = {}
    for gate in (None, Gate(), Gate(widen=0.0)):
        out = make_dark_constants(
            runs, tmp_path / "c.h5", DarkOptions(gate=gate), backend=backend_name, block_bytes=block * frame,
            overwrite=True, detector=None,
        ).path  # fmt: skip
        constants = Constants.open(out, runs[0].detector)
        noise[gate] = np.median(constants.load("noise", 1)[0])
    assert noise[None] > 40
    assert noise[Gate()] == pytest.approx(7.0, rel=0.03)
    assert noise[Gate(widen=0.0)] == pytest.approx(0.8 * 7.0, rel=0.06)


def test_runs_that_say_their_stage_may_come_in_any_order(jungfrau, made_once, tmp_path):
    runs = [jungfrau.darks.runs[i] for i in (2, 0, 1)]
    made = make_dark_constants(runs, tmp_path / "c.h5", OPTIONS, backend="cpu")
    assert made.notes == ["the runs were put into order by their gain modes"]
    found, want = Constants.open(made.path), Constants.open(made_once(jungfrau.darks))
    for name in want.names:
        np.testing.assert_array_equal(found.load(name, 1), want.load(name, 1), name)
