"""Common mode of banks taken from dark frames before their noise is summed."""

from __future__ import annotations

import dataclasses
import re

import h5py
import numpy as np
import pytest
from shotsieve.cli import main
from shotsieve.constants import Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.collect import Gate
from shotsieve.errors import BadInput
from shotsieve.reference.bank_mode import bank_shifts
from shotsieve.simulate.darks import DarkParameters, simulate_darks

TRAINS, CELLS, BANK = 30, (0, 3), (16, 32)
STILL = (5, 7)  # a pixel whose words are all the same
GATES = {"no gate": None, "gate": Gate(frames=10, low=0.1, high=0.9, widen=0.2)}


def with_mode(seed, order=None):
    """Return what adds a common mode of 20 ADU, of rows and columns of 8, to words; and some bad pixels."""

    def change(raw):
        rng = np.random.default_rng([seed, 51])
        words = raw[:, :, 0].astype("i4")
        n, m = words.shape[:2]
        for size, scale in (((2, 1, 2, 1), 20), ((2, 16, 2, 1), 8), ((2, 1, 2, 32), 8)):
            mode = scale * rng.standard_normal((n, m, *size))
            words += np.rint(np.broadcast_to(mode, (n, m, 2, 16, 2, 32)).reshape(words.shape)).astype("i4")
        words[..., STILL[0], STILL[1]] = 4321
        words[..., 3, 3] = rng.integers(0, 2**14, (n, m))
        if order is not None:
            words = words.reshape(TRAINS, len(CELLS), *words.shape[1:])[order].reshape(words.shape)
        raw[:, :, 0] = words

    return change


def wanted_noise(run, offset, gate, at):
    """The noise of a module in plain NumPy: medians of what is good, and what is left inside the gate."""
    words = run._frames[:, at, 0].reshape(TRAINS, len(CELLS), *run.detector.shape)
    found = np.full(offset.shape, np.nan)
    for cell in range(len(CELLS)):
        raw = words[:, cell]
        still = (raw == raw[0]).all(axis=0)
        inside = np.ones(raw.shape, bool)
        if gate is not None:
            low, high = gate.of(raw[: gate.frames], np.zeros(raw[: gate.frames].shape, bool))
            inside = (raw >= low) & (raw <= high)
        known = np.isfinite(offset[cell])
        values = np.where(known, (raw - offset[cell]) * np.float32(256), 0)
        shift = [bank_shifts(one, ~still & known, BANK, 1 << 30, passes=2) for one in values]
        left = np.ma.array(raw - np.array(shift) / 256, mask=~inside)
        found[cell] = np.where(still, 0, left.std(axis=0, ddof=1).filled(np.nan))
    return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_noise_is_that_of_what_the_medians_leave(dark_run, tmp_path, native_backend, gate, seed):
    run = dark_run("EPIX100", trains=TRAINS, cells=CELLS, seed=seed, change=with_mode(seed))
    options = DarkOptions(min_frames=TRAINS, gate=gate)
    out = make_dark_constants([run], tmp_path / "a.h5", options, backend=native_backend)
    constants = Constants.open(out.path, run.detector)
    plain = dataclasses.replace(options, common_mode=False)
    other = make_dark_constants([run], tmp_path / "b.h5", plain, backend=native_backend)
    before = Constants.open(other.path, run.detector)
    for at, module in enumerate((1, 2)):
        offset, noise = constants.load("offset", module)[0], constants.load("noise", module)[0]
        np.testing.assert_array_equal(offset, before.load("offset", module)[0])
        wanted = wanted_noise(run, offset, gate, at)
        np.testing.assert_allclose(noise, wanted, rtol=1e-6, atol=1e-6)
        assert (noise[:, STILL[0], STILL[1]] == 0).all()
        if gate is None:
            assert np.median(noise) == pytest.approx(7, rel=0.06)
            assert np.median(before.load("noise", module)) > 20
    assert (out.provenance["dark"]["common_mode"], other.provenance["dark"]["common_mode"]) == (True, False)
    assert other.notes == []


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_same_bytes_on_every_backend_and_in_any_order_of_trains(dark_run, tmp_path, native_backend, gate):
    rng = np.random.default_rng(8)
    first = gate.frames if gate else 0
    order = np.concatenate([rng.permutation(first), first + rng.permutation(TRAINS - first)])
    options, made = DarkOptions(min_frames=TRAINS, gate=gate), []
    for shuffled, backend, block in ((None, "cpu", 256 << 20), (order, native_backend, 29 * 32 * 64)):
        run = dark_run("EPIX100", trains=TRAINS, cells=CELLS, change=with_mode(3, shuffled))
        path = tmp_path / f"{len(made)}.h5"
        made.append(make_dark_constants([run], path, options, backend=backend, block_bytes=block).path)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_module_that_lacks_frames_and_one_at_a_time(dark_run, tmp_path, backend_name):
    """A module without any, and the same bytes for modules one after the other."""
    present = np.ones((TRAINS * len(CELLS), 2), bool)
    present[:, 0] = False
    how = {"trains": TRAINS, "cells": CELLS, "change": with_mode(4)}
    whole, lacking = dark_run("EPIX100", **how), dark_run("EPIX100", present=present, **how)
    options = DarkOptions(min_frames=TRAINS)
    noise = [
        Constants.open(
            make_dark_constants([run], tmp_path / f"{at}.h5", options, backend=backend_name).path,
            run.detector,
        ).load("noise", 2)
        for at, run in enumerate((whole, lacking))
    ]
    np.testing.assert_array_equal(*noise)
    steps = []
    make_dark_constants(
        [whole], tmp_path / "c.h5", dataclasses.replace(options, modules=[2]), backend=backend_name,
        progress=lambda done, total, size: steps.append((done, total)),
    )  # fmt: skip
    assert steps[-1] == (2 * TRAINS * len(CELLS),) * 2


def test_simulated_noise_comes_back_and_noisy_pixels_are_found(tmp_path):
    """With the mode in it the noise is 24 ADU, and three times 4 ADU is nothing among it."""
    darks = simulate_darks(tmp_path, DarkParameters("EPIX100", n_trains=40, common_mode=20.0, noisy=0.01))
    found = {}
    for given in (None, False):
        options = DarkOptions(min_frames=40, common_mode=given)
        path = tmp_path / f"{given}.h5"
        found[given] = make_dark_constants(darks.runs, path, options, backend="cpu")
    with h5py.File(darks.truth_file) as truth:
        noise, kind = truth["noise"][0], truth["kind"][0]
    good = kind == 0
    real = np.sqrt(noise.astype("f8") ** 2 + 1 / 12)[..., good]
    made, plain = (Constants.open(one.path) for one in found.values())
    ratio = made.load("noise", 1)[..., good] / real
    assert ratio.mean() == pytest.approx(1 - 1 / (4 * 40), abs=0.01)
    assert np.median(plain.load("noise", 1)) == pytest.approx(np.sqrt(16 + 400 + 200), rel=0.25)
    assert (made.load("bad_pixels", 1)[..., kind == 3] != 0).mean() > 0.999
    assert (made.load("bad_pixels", 1)[..., good] != 0).mean() < 1e-3
    assert (plain.load("bad_pixels", 1)[..., kind == 3] != 0).mean() < 0.2
    [note] = found[None].notes
    numbers = re.search(r"median noise is ([\d.]+) ADU, and ([\d.]+) ADU with it", note)
    assert float(numbers[1]) == pytest.approx(np.median(made.load("noise", 1)), abs=0.006)
    assert float(numbers[2]) == pytest.approx(np.median(plain.load("noise", 1)), abs=0.006)


@pytest.mark.parametrize("name", ["AGIPD1M", "DSSC1M", "GOTTHARD2"])
def test_detectors_without_banks_have_none(dark_run, tmp_path, name):
    stages = range(1 if name == "DSSC1M" else 3)
    runs = [dark_run(name, stage=g, modules=(1,)) for g in stages]
    options = DarkOptions(min_frames=10, common_mode=True)
    with pytest.raises(BadInput, match=f"is that of banks, which {name} does not have: leave --common-mode"):
        make_dark_constants(runs, tmp_path / "c.h5", options, backend="cpu")
    assert not list(tmp_path.iterdir())
    out = make_dark_constants(runs, tmp_path / "c.h5", DarkOptions(min_frames=10), backend="cpu")
    assert out.provenance["dark"]["common_mode"] is False
    with pytest.raises(BadInput, match=r"common_mode: 3\.0 was given, but JUNGFRAU has no banks"):
        DarkParameters("JUNGFRAU", common_mode=3.0)


def test_the_option_of_the_command_line(tmp_path, capsys):
    command = ["simulate", "dark", str(tmp_path), "--detector", "EPIX100", "--n-trains", "5"]
    assert main([*command, "--common-mode", "20"]) == 0
    run = str(tmp_path / "raw" / "r0001")
    dark = ["dark", run, "--no-report", "--min-frames", "5", "--backend", "cpu", "--overwrite"]
    capsys.readouterr()
    for said, subtracted in (([], True), (["--common-mode"], True), (["--no-common-mode"], False)):
        assert main([*dark, *said, "-o", str(tmp_path / "c.h5")]) == 0
        assert ("the common mode of banks was subtracted" in capsys.readouterr().out) == subtracted
