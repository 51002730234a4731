"""Dark runs of the other detectors: gain bits in the words, one gain stage, words that are not linear."""

from __future__ import annotations

import numpy as np
import pytest
from h5py import File
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.collect import Gate
from shotsieve.errors import BadInput
from shotsieve.simulate.darks import DarkParameters, simulate_darks
from shotsieve.sources.memory import MemorySource

FEW = DarkOptions(min_frames=10)


def test_gain_bits_inside_the_words(dark_run, tmp_path, backend_name):
    runs = [dark_run("LPD1M", stage=g) for g in range(3)]
    out = make_dark_constants(runs, tmp_path / "c.h5", FEW, backend=backend_name)
    constants = Constants.open(out.path, runs[0].detector)
    for g, (offset, noise) in enumerate(((250, 7.0), (1500, 5.0), (2000, 5.0))):
        assert constants.load("offset", 1)[g].mean() == pytest.approx(offset, abs=0.1)
        assert constants.load("noise", 2)[g].mean() == pytest.approx(noise, rel=0.02)
    with pytest.raises(
        BadInput, match=r"should have the gain code 1 nearly everywhere.*gain code 2 in 100\.0%"
    ):
        make_dark_constants([runs[0], runs[2], runs[1]], tmp_path / "d.h5", FEW, backend=backend_name)


@pytest.mark.parametrize("gate", [None, Gate()])
def test_a_stored_0_is_256(dark_run, tmp_path, backend_name, gate):
    """DSSC: 250 +- 7 ADU, up to 256, which is stored as 0; with nine bits a 0 is a 0."""

    def high(raw):
        raw += 130
        raw[raw >= 256] = 0

    run = dark_run("DSSC1M", change=high)
    words = run._frames[:, 0, 0].reshape(-1, 2, *run.detector.shape)
    wanted = np.where(words == 0, 256, words).std(axis=0, ddof=1).mean()
    found = []
    for wrap in (True, False):
        options = DarkOptions(min_frames=10, wrap256=wrap, gate=gate if wrap else None)
        out = make_dark_constants([run], tmp_path / f"{wrap}.h5", options, backend=backend_name)
        constants = Constants.open(out.path, run.detector)
        found.append(constants.load("noise", 1))
        assert found[-1].shape[0] == 1
        assert "gain_mode" not in constants.conditions
    assert found[0].mean() == pytest.approx(wanted, rel=0.02)
    assert np.median(found[1]) > 20


def test_nine_bits_are_refused_where_a_stored_0_is_taken_for_256(dark_run, tmp_path, backend_name):
    """Wherever the word is: here in the last train, behind all that is looked at first."""

    def hot(raw):
        raw[:] = 40
        raw[::2, :, :, 0, 0] = 0
        raw[-1, 1, 0, 3, 4] = 300

    run, how = dark_run("DSSC1M", change=hot), {"backend": backend_name, "block_bytes": 1}
    refused = r"S0: found a word of 300 in module 2 of train 1039, .* nine bits.* Say --no-wrap256"
    for gate in (None, Gate()):
        options = DarkOptions(min_frames=10, gate=gate)
        with pytest.raises(BadInput, match=refused):
            make_dark_constants([run], tmp_path / "c.h5", options, **how)
        assert not list(tmp_path.iterdir())
    options = DarkOptions(min_frames=10, wrap256=False)
    made = make_dark_constants([run], tmp_path / "c.h5", options, **how)
    offset = Constants.open(made.path, run.detector).load("offset", 2)
    assert offset.reshape(-1, *run.detector.shape)[:, 0, 0].tolist() == [0, 40]


def test_one_run_of_a_detector_with_one_stage(tmp_path, backend_name):
    parameters = DarkParameters("EPIX100", n_trains=25)
    darks = simulate_darks(tmp_path, parameters)
    options = DarkOptions(min_frames=25, gain_from=darks.gains, common_mode=False)
    out = make_dark_constants(darks.runs, tmp_path / "c.h5", options, backend=backend_name)
    constants = Constants.open(out.path)
    assert constants.names == ("offset", "noise", "relative_gain", "adu_per_kev", "bad_pixels")
    assert constants.load("noise", 1).mean() == pytest.approx(4.0, rel=0.02)


def test_parallel_gain_from_files(tmp_path):
    darks = simulate_darks(tmp_path, DarkParameters("LPD1M", n_trains=12, parallel_gain=True))
    out = make_dark_constants(darks.runs, tmp_path / "c.h5", FEW, backend="cpu")
    constants = Constants.open(out.path)
    assert constants.conditions["parallel_gain"] == 1
    with File(darks.truth_file) as truth:
        pull = (constants.load("offset", 0) - truth["offset"][0]) / truth["noise"][0] * np.sqrt(12)
        good = truth["kind"][0] == 0
    assert pull[:, :, good].std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["AGIPD500K", "LPDMINI"])
def test_three_stages_from_files(tmp_path, backend_name, name):
    """Offset, noise and thresholds are those that were put in, and so are the bad pixels."""
    n = 20
    darks = simulate_darks(tmp_path, DarkParameters(name, n_trains=n, seed=8))
    out = make_dark_constants(darks.runs, tmp_path / "c.h5", FEW, backend=backend_name)
    constants, module = Constants.open(out.path), darks.parameters.wanted_modules[0]
    assert constants.detector.name == name
    assert constants.conditions["gain_mode"] == "adaptive"
    with File(darks.truth_file) as truth:
        offset, noise, kind = (truth[key][0] for key in ("offset", "noise", "kind"))
        levels = truth["levels"][0] if name == "AGIPD500K" else None
    good, real = kind == 0, np.sqrt(noise.astype("f8") ** 2 + 1 / 12)
    pull = ((constants.load("offset", module) - offset) / real * np.sqrt(n))[:, :, good]
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    assert pull.std() == pytest.approx(1, abs=0.01)
    found = (constants.load("noise", module) / real)[:, :, good]
    assert found.mean() == pytest.approx(1 - 1 / (4 * n), abs=0.005)
    if levels is not None:
        middle = (levels[:-1] + levels[1:]) / 2
        pull = (constants.load("thresholds", module) - middle)[:, :, good] / (25 / np.sqrt(2 * n))
        assert pull.std() == pytest.approx(1, abs=0.01)
    bad = constants.load("bad_pixels", module)
    for number in (2, 3, 4):
        assert (bad[:, :, kind == number] != 0).mean() > 0.97, number
    assert (bad[:, :, good] != 0).mean() < 1e-3


def test_words_that_are_made_linear_first(gotthard2, tmp_path, backend_name):
    """Offset and noise hold for linear words, up to the rounding of the table."""
    offset, noise, kind = (gotthard2.truth(name)[0] for name in ("offset", "noise", "kind"))
    options = DarkOptions(min_frames=400, gain_from=gotthard2.darks.gains, gate=Gate())
    runs = gotthard2.darks.runs
    out = make_dark_constants(runs, tmp_path / "c.h5", options, backend=backend_name, block_bytes=10**6)
    constants = Constants.open(out.path)
    assert constants.has("linearisation")
    error = constants.load("offset", 1) - offset
    assert np.abs(error[:, :, kind == 0]).max() < 5 * noise.max() / 20 + 1
    assert (constants.load("noise", 1) / noise)[:, :, kind == 0].mean() == pytest.approx(1, abs=0.02)
    bad = constants.load("bad_pixels", 1)
    for number in (1, 2, 3, 4):
        assert (bad[:, :, kind == number] != 0).all(), number
    assert (bad[:, :, kind == 4] & np.uint32(BadPixels.WRONG_GAIN_VALUE) != 0).all()


def test_words_that_are_not_made_linear_are_said_to_be_so(gotthard2, tmp_path):
    out = make_dark_constants(
        gotthard2.darks.runs, tmp_path / "c.h5", DarkOptions(min_frames=400), backend="cpu"
    )
    assert "words are summed as they are: --gain-from has no table that makes them linear" in out.notes
    error = Constants.open(out.path).load("offset", 1) - gotthard2.truth("offset")[0]
    assert np.abs(error[:, :, gotthard2.truth("kind")[0] == 0]).max() > 10


def test_one_run_in_parallel_gain_gives_three_stages(dark_run, tmp_path, backend_name):
    """Each plane is a stage of its own, whatever its gain bits say."""
    parts = [dark_run("LPD1M", stage=g, seed=6) for g in range(3)]
    raw = np.concatenate([part._frames for part in parts], axis=2)
    detector = parts[0].detector.in_parallel_gain()
    shots = parts[0].shots
    run = MemorySource(detector, raw, shots.train_id, shots.pulse_id, shots.cell_id, modules=(1, 2))
    out = make_dark_constants([run], tmp_path / "c.h5", FEW, backend=backend_name)
    apart = make_dark_constants(parts, tmp_path / "d.h5", FEW, backend=backend_name)
    one, three = (Constants.open(made.path, detector) for made in (out, apart))
    for name in ("offset", "noise", "bad_pixels"):
        np.testing.assert_array_equal(one.load(name, 2), three.load(name, 2))
    assert "was taken in parallel gain" in out.notes[0]
    with pytest.raises(BadInput, match="2 runs were given"):
        make_dark_constants([run, run], tmp_path / "e.h5", FEW, backend=backend_name)
