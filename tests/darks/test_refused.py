"""Dark runs that do not fit together are refused, with what was seen."""

from __future__ import annotations

import dataclasses
import shutil

import h5py
import numpy as np
import pytest
from shotsieve.constants import Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.memory import Need
from shotsieve.darks.rules import preset
from shotsieve.darks.runs import choose_trains, open_dark_runs
from shotsieve.errors import BadInput, OutputError
from shotsieve.simulate.darks import DarkParameters, simulate_darks
from shotsieve.sources.base import OperatingMode, ShotStatus

FEW = DarkOptions(min_frames=10)
LOW = {
    "AGIPD1M": "+- 25; S",
    "JUNGFRAU": "gain code 3 in 100.0%",
    "GOTTHARD2": "gain code 3 in 100.0%",
    "LPD1M": "gain code 2 in 100.0%",
}
"""Detectors with three stages, and what is told of the run in low gain."""


def make(runs, folder, options=FEW, **more):
    return make_dark_constants(runs, folder / "constants.h5", options, backend="cpu", **more)


def three(dark_run, name="AGIPD1M", order=(0, 1, 2), **more):
    return [dark_run(name, stage=g, **more) for g in order]


@pytest.mark.parametrize("name", LOW)
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
def test_a_wrong_order_is_seen_in_the_data(dark_run, tmp_path, name, order):
    with pytest.raises(BadInput, match="wrong order, or of the same gain") as caught:
        make(three(dark_run, name, order, modules=(1,)), tmp_path)
    assert LOW[name] in str(caught.value)
    assert "S2 (taken as" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", LOW)
@pytest.mark.parametrize("order", [(0, 0, 2), (0, 1, 1), (1, 1, 1)])
def test_runs_of_the_same_gain_are_refused(dark_run, tmp_path, name, order):
    with pytest.raises(BadInput, match="same gain"):
        make(three(dark_run, name, order, modules=(1,)), tmp_path)


def test_the_number_of_runs(dark_run, tmp_path):
    with pytest.raises(BadInput, match=r"1 run was given \(S0\), and AGIPD1M needs 3: high, medium, low"):
        make([dark_run()], tmp_path)
    with pytest.raises(BadInput, match="4 runs were given"):
        make([dark_run()] * 4, tmp_path, dataclasses.replace(FEW, fixed=True))
    with pytest.raises(BadInput, match="no run was given"):
        make([], tmp_path)


def test_stages_that_are_given(dark_run, tmp_path):
    runs = three(dark_run, order=(2, 0, 1))
    made = make(runs, tmp_path, dataclasses.replace(FEW, stages=("low", "high", "medium")))
    assert [run["stage"] for run in made.provenance["dark"]["runs"]] == ["high", "medium", "low"]
    with pytest.raises(BadInput, match="S2 and S0 are both high gain"):
        make(runs, tmp_path, dataclasses.replace(FEW, stages=("high", "high", "low")), overwrite=True)
    with pytest.raises(BadInput, match="'hgh' is none of high, medium, low"):
        make(runs, tmp_path, dataclasses.replace(FEW, stages=("hgh", "medium", "low")), overwrite=True)
    with pytest.raises(BadInput, match="2 stages for 3 runs"):
        make(runs, tmp_path, dataclasses.replace(FEW, stages=("high", "medium")), overwrite=True)


def test_what_the_runs_say_goes_before_their_order(dark_run, tmp_path):
    runs = three(dark_run, "JUNGFRAU", (1, 2, 0), modules=(1,))
    for run, stage in zip(runs, (1, 2, 0), strict=True):
        run.dark_stage = stage
    made = make(runs, tmp_path)
    assert made.notes == ["the runs were put into order by their gain modes"]
    runs[1].dark_stage = 1
    with pytest.raises(BadInput, match="S1 and S2 are both medium gain"):
        make(runs, tmp_path, overwrite=True)
    runs[0].dark_stage, runs[1].dark_stage = None, 2
    with pytest.raises(
        BadInput, match="S2 says that it is low gain, and stands where medium gain is expected"
    ):
        make(runs, tmp_path, overwrite=True)


def test_fixed_gain_needs_to_know_its_stage(dark_run, tmp_path):
    fixed = dataclasses.replace(FEW, fixed=True)
    with pytest.raises(BadInput, match="does not say its gain stage: give it with --stages"):
        make([dark_run()], tmp_path, fixed)
    made = make([dark_run(stage=1)], tmp_path, dataclasses.replace(fixed, stages=("medium",)))
    constants = Constants.open(made.path, dark_run().detector)
    assert constants.conditions["gain_mode"] == "fixed_medium"
    assert not constants.has("thresholds")
    offset, bad = constants.load("offset", 1), constants.load("bad_pixels", 1)
    assert np.isfinite(offset[1]).all()
    assert not np.isfinite(offset[[0, 2]]).any()
    assert (bad[[0, 2]] & 8 == 8).all()
    assert (bad[1] & 8 == 0).all()


def test_levels_of_fixed_gain_say_nothing(dark_run, tmp_path):
    """Of all three stages the digital levels are the same: no thresholds, and nothing is bad by it."""

    def level(raw):
        raw[:, :, 1] = 5000

    runs = [dark_run(stage=g, modules=(1,), change=level) for g in range(3)]
    made = make(runs, tmp_path, dataclasses.replace(FEW, fixed=True, stages=("high", "medium", "low")))
    constants = Constants.open(made.path, runs[0].detector)
    assert not constants.has("thresholds")
    assert not constants.has("levels")
    assert np.isfinite(constants.load("offset", 1)).all()
    assert (constants.load("bad_pixels", 1) != 0).mean() < 0.01


def test_fixed_gain_that_the_runs_say(dark_run, tmp_path):
    """Runs of fixed gain modes make no constants for switching gain."""
    runs = three(dark_run, "JUNGFRAU", modules=(1,))
    runs[1].mode = OperatingMode(gain_mode="fixed_medium")
    with pytest.raises(BadInput, match=r"S1 was taken in the gain mode fixed_medium.*say --fixed"):
        make(runs, tmp_path)
    make(runs, tmp_path, dataclasses.replace(FEW, fixed=True, stages=("high", "medium", "low")))


def test_one_run_twice(agipd, tmp_path):
    first, last = agipd.darks.runs[0], agipd.darks.runs[2]
    options = dataclasses.replace(FEW, fixed=True, stages=("high", "medium"))
    with pytest.raises(BadInput, match="r0001 and r0001 are the same run"):
        make([first, first], tmp_path, options)
    with pytest.raises(BadInput, match="r0003 and r0003 are the same run"):
        make([first, last, last], tmp_path)


def test_a_module_that_stops_early_is_named(dark_run, tmp_path):
    present = np.ones((80, 2), bool)
    present[8:, 1] = False
    with pytest.raises(BadInput, match="36 trains: a module missing; hardly anything is there of module 2"):
        make(three(dark_run, present=present), tmp_path)


def test_gains_are_looked_at_before_frames_are_read(dark_run, tmp_path):
    detector = dark_run().detector

    def gains(modules, cells):
        arrays = {"relative_gain": {m: np.ones((3, len(cells), *detector.shape), "f4") for m in modules}}
        return Constants.from_arrays(detector, arrays, modules=modules, cell_ids=cells)

    told = []
    cases = (((1,), (0, 3), "for module 2, of which"), ((1, 2), (0,), "no memory cell 3"))
    for modules, cells, text in cases:
        options = dataclasses.replace(FEW, gain_from=gains(modules, cells))
        with pytest.raises(BadInput, match=text):
            make(three(dark_run), tmp_path, options, told=told.append)
    assert told == []
    assert not list(tmp_path.iterdir())


def test_too_few_frames(dark_run, tmp_path):
    with pytest.raises(
        BadInput, match="a memory cell has 40 frames in the 40 trains that can be used, and at least 100"
    ):
        make(three(dark_run), tmp_path, DarkOptions())


def test_different_conditions(dark_run, tmp_path):
    runs = three(dark_run)
    runs[2].mode = OperatingMode(integration_time=15.0)
    runs[0].mode = OperatingMode(integration_time=20.0)
    with pytest.raises(BadInput, match="integration_time is 20 in S0 and 15 in S2"):
        make(runs, tmp_path)


def test_mixed_gain_settings(dark_run, tmp_path):
    """Whichever run it is, and also where the first does not say it."""
    for settings, text in {
        (0, 0, 1): "gain_setting is 0 in S0 and 1 in S2",
        (1, 0, 1): "gain_setting is 1 in S0 and 0 in S1",
        (None, 0, 1): "gain_setting is 0 in S1 and 1 in S2",
    }.items():
        runs = three(dark_run, "JUNGFRAU")
        for run, setting in zip(runs, settings, strict=True):
            run.mode = OperatingMode(gain_setting=setting)
        with pytest.raises(BadInput, match=text):
            make(runs, tmp_path)


def test_gain_settings_that_the_files_say(jungfrau, tmp_path):
    runs = [shutil.copytree(run, tmp_path / run.name) for run in jungfrau.darks.runs]
    [control] = runs[2].glob("*DA01*.h5")
    with h5py.File(control, "r+") as f:
        [told] = (f"RUN/{name}/DET/CONTROL/settings/value" for name in f["RUN"])
        assert f[told][0] == b"gain0"
        f[told][0] = "highgain0"
    with pytest.raises(BadInput, match="gain_setting is 0 in r0001 and 1 in r0003"):
        make(runs, tmp_path)
    made = make(jungfrau.darks.runs, tmp_path)
    assert Constants.open(made.path).conditions["gain_setting"] == 0


def test_different_detectors(dark_run, tmp_path):
    with pytest.raises(BadInput, match="S0 is a run of AGIPD1M, S1 of JUNGFRAU"):
        make([dark_run(), dark_run("JUNGFRAU", 1), dark_run(stage=2)], tmp_path)


def test_places_that_are_taken_and_folders_that_are_not_there(dark_run, tmp_path):
    make(three(dark_run), tmp_path)
    with pytest.raises(BadInput, match="exists; choose another name"):
        make(three(dark_run), tmp_path)
    with pytest.raises(BadInput, match="is a folder"):
        make_dark_constants(three(dark_run), tmp_path, FEW, backend="cpu", overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        make_dark_constants(three(dark_run), tmp_path / "no" / "c.h5", FEW, backend="cpu")


def test_sums_that_do_not_fit(dark_run, tmp_path):
    with pytest.raises(BadInput, match=r"sums of one module with 2 memory cells take 0\.07 GB, and 0\.00 GB"):
        make(three(dark_run), tmp_path, dataclasses.replace(FEW, memory=1e-6))
    assert not list(tmp_path.iterdir())


def test_one_module_at_a_time_gives_the_same_bytes(dark_run, tmp_path):
    opened = open_dark_runs(three(dark_run))
    opened[0].stage = 0
    one = Need(opened, 2, 2).bytes(1)
    told: list[str] = []
    out = {}
    for name, memory in (("a", None), ("b", 1.001 * one / 1e9)):
        path = tmp_path / f"{name}.h5"
        options = dataclasses.replace(FEW, memory=memory)
        make_dark_constants(three(dark_run), path, options, backend="cpu", told=told.append)
        out[name] = path.read_bytes()
    assert out["a"] == out["b"]
    assert [text.partition(": ")[2] for text in told] == [
        "2 of 2 modules at a time",
        "1 of 2 modules at a time",
    ]


def test_trains_that_are_dropped_are_counted(dark_run):
    """A suspect shot, a missing module, a shorter train: each takes its train with it."""
    n = 12
    present, status = np.ones((n * 2, 2), bool), np.zeros(n * 2, np.uint8)
    status[3] = ShotStatus.SUSPECT
    present[8, 1] = False
    source = dark_run(trains=n, present=present, status=status)
    good, trains, dropped = choose_trains(source)
    assert trains == n - 2
    assert dropped == {"suspect, duplicate or inconsistent": 1, "a module missing": 1}
    assert sorted(set(source.shots.train_id[~good].tolist())) == [1001, 1004]


def test_a_module_that_no_train_has_drops_none(dark_run):
    present = np.ones((80, 2), bool)
    present[:, 0] = False
    assert choose_trains(dark_run(present=present))[1:] == (40, {})


def test_odd_trains_of_files(tmp_path):
    """The same from files: short, missed and suspect trains of a simulated run."""
    parameters = DarkParameters(
        n_trains=12, n_cells=3, modules=(3, 4), missed_trains=((4, 1),), short_trains=((3, 5, 2),),
        suspect_trains=(7,),
    )  # fmt: skip
    darks = simulate_darks(tmp_path, parameters)
    made = make_dark_constants(darks.runs, tmp_path / "c.h5", DarkOptions(min_frames=5), backend="cpu")
    for run in made.provenance["dark"]["runs"]:
        assert run["trains"] == 9
        assert run["dropped"] == {"suspect, duplicate or inconsistent": 2, "a module missing": 1}
    assert "trains that are not used" in made.summary()


def test_a_frame_whose_status_is_not_0_takes_its_train(tmp_path):
    darks = simulate_darks(tmp_path, DarkParameters(n_trains=6, n_cells=2, modules=(3, 4), split_at=(2,)))
    [file] = darks.runs[0].glob("*AGIPD04-S00001.h5")
    with h5py.File(file, "r+") as f:
        f["INSTRUMENT/SPB_DET_AGIPD1M-1/DET/4CH0:xtdf/image/status"][5] = 3  # of train 4
    made = make_dark_constants(darks.runs, tmp_path / "c.h5", DarkOptions(min_frames=5), backend="cpu")
    runs = made.provenance["dark"]["runs"]
    assert [run["dropped"] for run in runs] == [{"a frame whose status is not 0": 1}, {}, {}]
    assert [run["trains"] for run in runs] == [5, 6, 6]


def test_rules_in_adu_are_for_their_detectors(dark_run, tmp_path):
    rules = dataclasses.replace(FEW, rules="facility-agipd")
    runs = three(dark_run, "JUNGFRAU", modules=(1,))
    text = "facility-agipd have limits in ADU for .* agipd, and the runs are of JUNGFRAU .*--rules default"
    with pytest.raises(BadInput, match=text):
        make(runs, tmp_path, rules)
    own = preset("facility-agipd").changed(families=(), offset_range=(), noise_range=())
    assert make(runs, tmp_path, dataclasses.replace(FEW, rules=own)).path.exists()
    make(three(dark_run, "AGIPD500K"), tmp_path, rules, overwrite=True)


@pytest.mark.parametrize("stages", [("high", "medium"), ("high", "medium", "low")])
def test_constants_of_several_fixed_modes_are_for_no_other(dark_run, tmp_path, stages):
    runs = three(dark_run, "JUNGFRAU", modules=(1,))[: len(stages)]
    made = make(runs, tmp_path, dataclasses.replace(FEW, fixed=True, stages=stages))
    constants = Constants.open(made.path, runs[0].detector)
    assert constants.conditions["gain_mode"] == [f"fixed_{stage}" for stage in stages]
    assert constants.check_conditions(OperatingMode(gain_mode="fixed_medium")) == []
    [text] = constants.check_conditions(OperatingMode(gain_mode="adaptive"))
    assert text.startswith("gain_mode: the run has 'adaptive', the constants were taken with 'fixed_high' or")
    lacking = constants.check_conditions(OperatingMode(gain_mode="fixed_low"))
    assert bool(lacking) == ("low" not in stages)


@pytest.mark.parametrize(
    ("mode", "word", "text"),
    [
        (None, "forceswitchg1", "S1 says that its gain mode is forceswitchg1, in which they are forced"),
        (
            "adaptive",
            "dynamic",
            r"S1 says that its gain mode is dynamic \(adaptive\), in which pixels switch.*as fixg1\)",
        ),
        ("adaptive", None, "S1 says that its gain mode is adaptive, in which pixels switch"),
    ],
)
def test_fixed_is_not_for_runs_that_are_forced(dark_run, tmp_path, mode, word, text):
    runs = three(dark_run, "JUNGFRAU", modules=(1,))
    runs[1].mode, runs[1].dark_mode = OperatingMode(gain_mode=mode), word
    with pytest.raises(BadInput, match=text):
        make(runs, tmp_path, dataclasses.replace(FEW, fixed=True, stages=("high", "medium", "low")))


def test_what_forced_runs_say_in_their_files(tmp_path):
    parameters = DarkParameters("JUNGFRAU", n_trains=2, n_cells=1, stages="medium")
    run = simulate_darks(tmp_path / "darks", parameters).runs[0]
    with pytest.raises(
        BadInput, match=r"r0001 says that its gain mode is forceswitchg1, .*leave --fixed out"
    ):
        make([run], tmp_path, dataclasses.replace(FEW, fixed=True))


def test_a_module_that_stops_early_can_be_left_out(dark_run, tmp_path):
    present = np.ones((80, 2), bool)
    present[8:, 1] = False
    runs = three(dark_run, present=present)
    made = make(runs, tmp_path, dataclasses.replace(FEW, modules=[1]))
    assert made.modules == [1]
    assert [run["trains"] for run in made.provenance["dark"]["runs"]] == [40] * 3
    with pytest.raises(BadInput, match="--modules: there is no module 7; the runs have 1, 2"):
        make(runs, tmp_path, dataclasses.replace(FEW, modules=[1, 7]), overwrite=True)
    runs[1] = dark_run(stage=1, modules=(1,))
    with pytest.raises(BadInput, match="--modules: S1 has none of 2"):
        make(runs, tmp_path, dataclasses.replace(FEW, modules=[2]), overwrite=True)
