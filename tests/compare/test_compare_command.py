"""The command, our own reduced runs and JUNGFRAU, whose files hold whole trains; pictures; histograms."""

import json

import click
import h5py
import numpy as np
import pytest
import shotsieve
from hypothesis import given
from hypothesis import strategies as st
from shotsieve import cli
from shotsieve.cli_compare import compare_command
from shotsieve.compare import DEFAULT_SAMPLE, compare_runs
from shotsieve.compare.spread import EDGES, binned, quantiles
from shotsieve.compare.told import as_dict
from shotsieve.constants import BadPixels, Constants
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.receiver import simulate_receiver
from shotsieve.simulate.receiver_parameters import ReceiverParameters
from shotsieve.sources.run import open_run

from ..several.conftest import JF, jungfrau
from .conftest import facility_file


def run(*arguments):
    return cli.main(["compare", *map(str, arguments)])


@pytest.fixture
def planted(sim, corrected, tmp_path):
    """A corrected run with an offset of half a keV in one cell of module 4: paths and options."""
    corrected.data[4][corrected.cell[4] == 2] += np.float32(0.5)
    folder = corrected.write(tmp_path / "corrected")
    return (sim.raw, folder, "--constants", sim.constants, "--backend", "cpu")


def test_the_command(planted, tmp_path, capsys):
    assert run(*planted) == 0
    text = capsys.readouterr().out
    assert "4 shots of 1 train, 2 modules, 4 cells; values in keV" in text
    assert "high gain, module 4, cell 2: ours - theirs = -0.5 keV, whatever the signal" in text
    assert run(*planted, "--json", "--modules", "3-4", "--sample", "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["kind"] for one in told["findings"]} == {"offset"}
    bins = told["stages"][0]["difference"]["histogram"]
    assert told["stages"][0]["beyond"] == sum(count for _, high, count in bins if high < -0.1) > 0
    assert told["corrected"] == {"dtype": "float32", "gain": True, "mask": True}


def test_as_a_check(planted, capsys):
    assert run(*planted, "--tolerance", "0.6") == 0
    assert run(*planted, "--tolerance", "0.4") == 1
    assert run(*planted, "--tolerance", "0.4", "--share", "0.2") == 0
    assert run(*planted, "--share", "0.2") == 1
    assert "--share goes with --tolerance" in capsys.readouterr().err


def test_the_recipe_says_how_to_calibrate(planted, tmp_path, capsys):
    """Without the x-ray gain values are in ADU, and all of them differ by a scale."""
    recipe = tmp_path / "recipe.toml"
    rest = 'xray_gain = false\n[keep]\nrule = "n_modules > 99"\n'
    recipe.write_text(f'[calibrate]\nconstants = "{planted[3]}"\n{rest}')
    assert run(*planted[:2], "--recipe", recipe, "--backend", "cpu", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["unit"] == "ADU"
    assert told["findings"][0]["kind"] == "scale"
    assert told["shots"] == 4
    assert run(*planted, "--set", "calibrate.xray_gain=false", "--json") == 0
    assert json.loads(capsys.readouterr().out)["stages"] == told["stages"]


def test_what_is_refused(planted, capsys):
    assert run(*planted, "--trains", "7-3") == 1
    assert "expected whole numbers and ranges" in capsys.readouterr().err
    assert run(*planted, "--set", "calibrate.xray=false") == 1
    assert "xray_gain" in capsys.readouterr().err
    assert run(*planted[:2], "--backend", "cpu") == 1
    assert "no constants" in capsys.readouterr().err
    assert run(planted[0], "nowhere") == 2


def test_pictures(planted, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run(*planted, "--plot", tmp_path / "p") == 0
    names = {"stages.png", "maps.png", "cells.png", "masks.png"}
    assert {path.name for path in (tmp_path / "p").iterdir()} == names
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "p").iterdir())


def test_our_own_reduced_run(sim, tmp_path, monkeypatch):
    """Reduced to corrected frames is what we calibrate, bit for bit; dropped shots are missing there."""
    recipe = {"calibrate": {}, "measure": {"lit": {}}, "keep": {"rule": "lit_pixels[3] > 1000"}}
    recipe["write"] = {"content": "corrected"}
    made = shotsieve.reduce(sim.raw, recipe, tmp_path / "out", sim.constants, backend="cpu")
    found = compare_runs(sim.raw, tmp_path / "out", sim.constants, backend="cpu")
    assert {one.kind for one in found.findings} == {"shots"}
    assert found.statistics.equal.sum() == found.statistics.moments[..., 0].sum() > 0
    assert found.shots == made.accounts.kept


@pytest.fixture(scope="module")
def two_trains(tmp_path_factory):
    """A raw run of a JUNGFRAU module and its constants."""
    folder = tmp_path_factory.mktemp("jungfrau")
    jungfrau(folder, 1, [10, 11], bright=11)
    offset = np.full((3, 16, 512, 1024), 100, "f4")
    arrays = {"offset": {1: offset}, "adu_per_kev": {1: np.full_like(offset, 41)}}
    return folder, Constants.from_arrays("JUNGFRAU", arrays)


@pytest.mark.parametrize("wrong", [False, True])
def test_jungfrau(two_trains, tmp_path, wrong):
    raw, constants = two_trains
    source = open_run(raw)
    words = np.empty((4, 1, 2, 512, 1024), "u2")
    source.read(0, 4, words)
    values = ((words[:, 0, 0].astype("f4") - 100) / np.float32(41)).reshape(2, 2, 512, 1024)
    gain = np.zeros(values.shape, "u1")
    if wrong:
        gain[1, 1, :10] = 1
    folder = tmp_path / "corrected"
    folder.mkdir()
    cells = np.tile(np.array([15, 0], "u1"), (2, 1))
    mask = np.zeros(values.shape, "u4")  # larger pixels, at the edges of chips, have their bit
    mask[:, :, [255, 256]] = mask[..., [255, 256, 511, 512, 767, 768]] = BadPixels.NON_STANDARD_SIZE
    arrays = {"adc": values, "gain": gain, "mask": mask, "memoryCell": cells}
    name = f"{JF}/CORR/JNGFR01:daqOutput"
    facility_file(folder / "CORR-R0001-JNGFR01-S00000.h5", name, "data", [10, 11], [1, 1], arrays)
    recipe = {"calibrate": {"gain_mode": "adaptive"}}
    found = compare_runs(raw, folder, constants, recipe, backend="cpu")
    assert (found.shots, found.statistics.cell_ids.tolist()) == (4, [0, 15])
    if not wrong:
        assert found.findings == []
        return
    [one] = found.findings
    assert (one.kind, one.told["pixels"], one.told["modules"]) == ("gain", 10 * 1024, [1])


SPI = {"n_trains": 2, "n_cells": 2, "modules": (3,), "hit_rate": 1.0, "truth_stage": False}
LAYOUTS = {
    "LPD1M": {},
    "LPD1M, parallel gain": {"parallel_gain": True, "photons_per_hit": (1e7, 1e8)},
    "DSSC1M": {"photons_per_hit": (1e6, 1e7)},
}


def corrected_by_us(folder, name):
    """A simulated run, the recipe, and what it gives of that run."""
    recipe = {"calibrate": {}, "write": {"content": "corrected"}}
    if name in LAYOUTS:
        made = simulate_spi(folder, SpiParameters(detector=name.split(",")[0], **SPI, **LAYOUTS[name]))
        recipe["calibrate"]["xray_gain"] = False
    else:
        made = simulate_receiver(folder, ReceiverParameters(name, n_trains=1, modules=(1,)))
    out = folder / "out"
    shotsieve.reduce(made.raw, recipe, out, constants=made.constants, backend="cpu")
    return made, recipe, out


def words_of(raw):
    """Words of module 3 in all frames of a run."""
    source = open_run(raw)
    d = source.detector
    words = np.empty((len(source.readable), len(source.modules), d.plane_count, *d.frame_shape), "u2")
    source.read(0, len(words), words)
    return words[:, source.modules.index(3)]


@pytest.mark.parametrize("name", [*LAYOUTS, "EPIX100", "GOTTHARD2"])
def test_other_layouts(tmp_path, name):
    """One plane without memory cells, rows that are cut off, one dimension: what was reduced is there.

    In parallel gain three words of a pixel are one value; of DSSC a stored 0 is 256.
    """
    made, recipe, out = corrected_by_us(tmp_path, name)
    if name == "DSSC1M":
        assert (words_of(made.raw) == 0).any()
    found = compare_runs(made.raw, out, made.constants, recipe, backend="cpu")
    assert found.findings == []
    assert found.shots > 0
    assert found.statistics.equal.sum() == found.statistics.moments[..., 0].sum() > 0
    if "parallel" in name:
        assert (found.statistics.moments[..., 0].sum(axis=(0, 1)) > 1000)[:3].all()


def test_a_stored_0_that_is_taken_for_0_is_found(tmp_path):
    made, recipe, out = corrected_by_us(tmp_path, "DSSC1M")
    stored = np.count_nonzero(words_of(made.raw) == 0)
    recipe["calibrate"]["wrap256"] = False
    found = compare_runs(made.raw, out, made.constants, recipe, backend="cpu")
    beyond = sum(one["beyond"] for one in as_dict(found)["stages"])
    assert 0.9 * stored < beyond <= stored  # all but those of bad pixels
    assert np.abs(found.statistics.largest).max() == 256


def test_parallel_gain_that_only_the_recipe_tells(tmp_path):
    made, recipe, out = corrected_by_us(tmp_path, "LPD1M, parallel gain")
    [path] = made.raw.glob("*CTRL*.h5")
    with h5py.File(path, "r+") as file:
        for root in ("CONTROL", "RUN"):
            del file[f"{root}/FXE_DET_LPD1M-1/COMP/FEM_MDL_COMP/femAsicGainOverride"]
    recipe["calibrate"]["parallel_gain"] = True
    found = compare_runs(made.raw, out, made.constants, recipe, backend="cpu")
    assert (found.findings, found.shots) == ([], 4)


def test_corrected_trains_that_are_shorter(tmp_path):
    """As the facility drops the last frame of a train in parallel gain: what is there is compared."""
    made, recipe, out = corrected_by_us(tmp_path, "LPD1M, parallel gain")
    [path] = out.glob("CORR-*.h5")
    with h5py.File(path, "r+") as file:
        file["INDEX/FXE_DET_LPD1M-1/CORR/3CH0:output/image/count"][:] = 1
    found = compare_runs(made.raw, out, made.constants, recipe, backend="cpu")
    [one] = found.findings
    assert (one.kind, one.told["module"], one.told["frames"]) == ("shots", 3, 2)
    assert "module 3: 2 frames" in one.text
    assert found.shots == 2
    assert found.statistics.equal.sum() == found.statistics.moments[..., 0].sum() > 0


@pytest.mark.parametrize(("number", "there"), [(1, 1), (2, 1), (1, 2), (3, 0)])
def test_last_frames_that_were_dropped_are_not_missing(tmp_path, number, there, capsys):
    """The correction has `there` of the two shots of each train, and is said to have dropped `number`."""
    made, recipe, out = corrected_by_us(tmp_path, "LPD1M, parallel gain")
    [path] = out.glob("CORR-*.h5")
    with h5py.File(path, "r+") as file:
        count = file["INDEX/FXE_DET_LPD1M-1/CORR/3CH0:output/image/count"]
        count[:] = [there or 2, there]
    given = [made.raw, out, "--constants", made.constants, "--set", "calibrate.xray_gain=false"]
    given += ["--backend", "cpu", "--sample", 0, "--tolerance", 1e-3]
    left = (2 - there) * (2 if there else 0)  # a train of which nothing is there is not compared
    assert run(*given) == (1 if left else 0)
    capsys.readouterr()
    assert run(*given, "--dropped-last", number) == 0
    frame = "frame" if number == 1 else f"{number} frames"
    said = capsys.readouterr().out
    assert (
        f"note: the last {frame} of every train and module may be in the raw run alone, as was said" in said
    )
    assert f"frames, which are not missing, there are {left}\n" in said
    found = compare_runs(made.raw, out, made.constants, recipe, backend="cpu", sample=0, dropped_last=number)
    assert (found.findings, found.within()) == ([], True)


def test_other_frames_than_the_last_are_missing(tmp_path):
    made, recipe, out = corrected_by_us(tmp_path, "LPD1M, parallel gain")
    [path] = out.glob("CORR-*.h5")
    with h5py.File(path, "r+") as file:
        index = file["INDEX/FXE_DET_LPD1M-1/CORR/3CH0:output/image"]
        index["count"][:] = 1
        index["first"][0] += 1
    options = {"recipe": recipe, "backend": "cpu", "sample": 0}
    found = compare_runs(made.raw, out, made.constants, **options, dropped_last=1)
    [one] = found.findings
    assert (one.kind, one.told["frames"], found.within(1.0)) == ("shots", 1, False)
    assert any("there are 1" in note for note in found.notes)
    for wrong in (-1, 1.5, True):
        with pytest.raises(BadInput, match=r"dropped_last = .*: expected a number of frames, from 0"):
            compare_runs(made.raw, out, made.constants, **options, dropped_last=wrong)


# ------------------------------------------------------------------ histograms


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=40))
def test_quantiles_are_within_a_bin(values):
    counts = binned(np.array(values))
    assert counts.sum() == len(values)
    ordered = np.sort(values)
    for share in (0.1, 0.5, 0.9, 1.0):
        exact = ordered[max(int(np.ceil(share * len(ordered))) - 1, 0)]
        [told] = quantiles(counts, [share])
        assert told == pytest.approx(exact, rel=0.016, abs=2.0**-23)


def test_bins_hold_what_lies_between_their_edges():
    for value in (1.0, -1.0, 3.7, -1e-3, 2.0**23):
        [at] = np.flatnonzero(binned(np.array([value])))
        assert EDGES[at] <= value <= EDGES[at + 1]
    counts = binned(np.array([0.0, 1e-12, -1e-12, 1e30, -1e300]))
    assert (counts[len(counts) // 2], counts[0], counts[-1]) == (3, 1, 1)


def test_help_of_every_option():
    options = [p for p in compare_command.params if isinstance(p, click.Option)]
    assert all(option.help for option in options)
    [sample] = [option for option in options if option.name == "sample"]
    assert sample.default == DEFAULT_SAMPLE
