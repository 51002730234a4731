"""Dark runs of one gain stage taken for several, where neither gain codes nor digital levels tell it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from shotsieve.constants import Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.errors import BadInput
from shotsieve.simulate.darks import DarkParameters, dark_source, simulate_darks
from shotsieve.sources.base import OperatingMode

FIXED = DarkOptions(min_frames=1, fixed=True)
PARALLEL = dataclasses.replace(FIXED, fixed=False)
SCATTER = 30  # of offsets over pixels, ADU
AGIPDS = ("AGIPD1M", "AGIPD500K")


def make(runs, folder, options=FIXED, **more):
    return make_dark_constants(runs, folder / "constants.h5", options, backend="cpu", **more)


def pattern(stage):
    """What offsets of pixels differ by: their own in every stage."""
    return np.rint(SCATTER * np.random.default_rng([21, stage]).standard_normal((32, 64))).astype("i4")


def runs_of(dark_run, stages, name="AGIPD1M", level=None, **more):
    """Runs in fixed gain modes: of these stages, with noise of their own; `level`: all have this offset."""

    def change(stage):
        def spread(raw):
            more = 0 if level is None else level - (5000, 8000, 8600)[stage]
            raw[:, :, 0] = raw[:, :, 0] + (pattern(stage) + more)
            raw[:, :, 1] = 5000

        return spread

    return [
        dark_run(name, stage=g, modules=(1,), seed=30 + at, change=change(g), **more)
        for at, g in enumerate(stages)
    ]


@pytest.mark.parametrize("trains", [2, 40])
@pytest.mark.parametrize("stages", [(0, 0, 2), (0, 1, 1), (2, 2, 2), (1, 0, 1)])
@pytest.mark.parametrize("name", AGIPDS)
def test_fixed_gain_runs_of_the_same_gain_are_refused(dark_run, tmp_path, name, stages, trains):
    with pytest.raises(BadInput, match="are of the same gain: their median offsets are") as caught:
        make(runs_of(dark_run, stages, name, trains=trains), tmp_path)
    first = next(g for g in stages if stages.count(g) > 1)
    said = str(caught.value)
    level = (5000, 8000, 8600)[first]
    found = re.search(
        rf"S{first} \(taken as .* and S{first} \(taken as .* are ([\d.]+) \+- ([\d.]+) and", said
    )
    assert abs(float(found[1]) - level) < SCATTER / 4
    assert float(found[2]) == pytest.approx(SCATTER, rel=0.1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trains", [1, 40])
def test_stages_whose_offsets_are_alike_on_average_are_not_the_same(dark_run, tmp_path, trains):
    """Each pixel has an offset of its own in each of them."""
    runs = runs_of(dark_run, (0, 1, 2), level=6000, trains=trains)
    made = make(runs, tmp_path)
    offset = Constants.open(made.path, runs[0].detector).load("offset", 1)
    assert np.abs(np.median(offset, axis=(1, 2, 3)) - 6000).max() < SCATTER


def test_a_copy_of_a_single_frame_is_seen(dark_run, tmp_path):
    runs = [dark_run(stage=0, modules=(1,), trains=1, cells=(0,)) for _ in range(3)]
    with pytest.raises(BadInput, match=r"they differ by 0\.00 ADU, where two frames .* differ by 0\.00 ADU"):
        make(runs, tmp_path)


def test_runs_without_a_cell_in_common_are_not_compared(dark_run, tmp_path):
    runs = [dark_run(stage=0, modules=(1,), cells=(cell,)) for cell in (0, 1, 2)]
    assert make(runs, tmp_path).cell_ids.tolist() == [0, 1, 2]


def test_pixels_that_are_of_no_sensor_have_no_say(dark_run, tmp_path):
    """Else rows that hold anything would make a copy look like another stage."""

    def rows(seed):
        def anything(raw):
            shape = raw[..., 16:, :].shape
            raw[..., 16:, :] = np.random.default_rng(seed).integers(0, 9000, shape)

        return anything

    runs = [dark_run(stage=0, modules=(1,), seed=g, change=rows(g)) for g in range(3)]
    for run in runs:
        run.detector = dataclasses.replace(run.detector, sensor_rows=((0, 16),))
    with pytest.raises(BadInput, match="are of the same gain"):
        make(runs, tmp_path)


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)])
@pytest.mark.parametrize("planes", [(0, 0, 0), (0, 1, 1), (0, 1, 0)])
def test_planes_of_the_same_gain_in_parallel_gain_are_refused(dark_run, tmp_path, planes, seeds):
    """Copies of a plane, and frames of one stage instead of three."""
    name = "LPD1M in parallel gain"
    parts = [dark_run(name, seed=40 + seed, modules=(1,))._frames for seed in seeds]

    def change(raw):
        for at, (part, plane) in enumerate(zip(parts, planes, strict=True)):
            raw[:, :, at] = part[:, :, plane]

    run = dark_run(name, modules=(1,), change=change)
    with pytest.raises(BadInput, match=r"S0 \(taken as .* of the same gain.*say --no-parallel-gain"):
        make([run], tmp_path, PARALLEL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_trains", [1, 3])
def test_simulated_stages_of_lpd_are_told_apart(tmp_path, n_trains):
    """Offsets of 1000, 950 and 900 ADU that scatter by 30 from pixel to pixel, and by 15 between ASICs."""
    p = DarkParameters("LPD1M", n_trains=n_trains, n_cells=2, parallel_gain=True, seed=9)
    run = dark_source(p, 0)
    made = make([run], tmp_path, PARALLEL)
    assert re.search(
        r"told by the order of the frames in a train alone; median offsets: (99\d|100\d) ADU in "
        r"SIMULATED_high \(taken as high gain\), 9[45]\d ADU in .*, (89\d|90\d) ADU in",
        made.notes[-1],
    )


def test_an_order_that_nothing_tells_is_shown_with_its_offsets(dark_run, tmp_path):
    """High, medium and low gain taken for medium, low and high: no error, since nothing says it."""
    made = make(runs_of(dark_run, (2, 0, 1)), tmp_path)
    offsets = re.search(
        r"told by the order of the runs alone; median offsets: (\d+) ADU in S2 \(taken as high gain\), "
        r"(\d+) ADU in S0 \(taken as medium gain\), (\d+) ADU in S1 \(taken as low gain\)",
        made.summary(),
    )
    assert np.abs(np.array(offsets.groups(), int) - (8600, 5000, 8000)).max() < SCATTER / 4
    assert Constants.open(made.path, dark_run().detector).provenance["notes"] == made.notes
    given = dataclasses.replace(FIXED, stages=("low", "high"))
    made = make(runs_of(dark_run, (2, 0)), tmp_path, given, overwrite=True)
    assert re.search(
        r"by --stages alone; median offsets: 500\d ADU in S0 .*, 8\d+ ADU in S2 \(t", made.notes[0]
    )


def test_gain_modes_of_the_runs_put_them_into_order(dark_run, tmp_path):
    runs = runs_of(dark_run, (2, 0, 1))
    for run, name in zip(runs, ("low", "high", "medium"), strict=True):
        run.mode = OperatingMode(gain_mode=f"fixed_{name}")
    made = make(runs, tmp_path)
    assert made.notes == ["the runs were put into order by their gain modes"]
    assert [run["run"] for run in made.provenance["dark"]["runs"]] == ["S0", "S1", "S2"]
    given = dataclasses.replace(FIXED, stages=("high", "medium", "low"))
    text = "--stages: S2 is given as high gain, and its gain mode says low gain: leave --stages out"
    with pytest.raises(BadInput, match=text):
        make(runs, tmp_path, given, overwrite=True)
    given = dataclasses.replace(FIXED, stages=("low", "high", "medium"))
    assert make(runs, tmp_path, given, overwrite=True).notes == []


def test_files_of_a_fixed_gain_say_their_stage(tmp_path):
    p = DarkParameters("AGIPD500K", n_trains=2, n_cells=1, fixed=True)
    runs = simulate_darks(tmp_path / "darks", p).runs
    made = make(runs[::-1], tmp_path)
    assert made.notes == ["the runs were put into order by their gain modes"]
    given = dataclasses.replace(FIXED, stages=("medium",))
    with pytest.raises(BadInput, match="r0003 is given as medium gain, and its gain mode says low gain"):
        make(runs[2:], tmp_path, given, overwrite=True)


def test_runs_whose_words_tell_it_have_no_such_note(dark_run, tmp_path):
    options = dataclasses.replace(PARALLEL, min_frames=10)
    for name in ("AGIPD1M", "LPD1M", "JUNGFRAU"):
        runs = [dark_run(name, stage=g, modules=(1,)) for g in range(3)]
        assert make(runs, tmp_path, options, overwrite=True).notes == []
