"""The commands on constants: show, convert and compare, in all forms, and what is refused."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from shotsieve import cli
from shotsieve.constants import Constants, read_any
from shotsieve.constants.examine import checksum
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build

PARAMETERS = SpiParameters(n_trains=1, n_cells=3, modules=(0, 5), seed=4)


def run(*arguments):
    return cli.main(["constants", *map(str, arguments)])


@pytest.fixture(scope="module")
def constants():
    """What an AGIPD-1M of two modules has."""
    return constants_in_memory(PARAMETERS, build(PARAMETERS)[1])


@pytest.fixture(scope="module")
def own(constants, tmp_path_factory):
    return constants.save(tmp_path_factory.mktemp("own") / "constants.h5", compression=None)


def changed(constants, name, module, change):
    """The same constants with one array changed in place."""
    arrays = {n: {m: constants.load(n, m) for m in constants.modules} for n in constants.names}
    arrays[name][module] = arrays[name][module].copy()
    change(arrays[name][module])
    return Constants.from_arrays(constants.detector, arrays, conditions=constants.conditions)


def test_convert_to_the_facility_and_back_gives_the_same(own, constants, tmp_path, capsys):
    assert run("convert", own, "-o", tmp_path / "store", "--layout", "facility") == 0
    assert run("convert", tmp_path / "store", "-o", tmp_path / "again.h5") == 0
    assert "2 modules, 3 cells" in capsys.readouterr().out
    again = Constants.open(tmp_path / "again.h5")
    assert again.names == constants.names
    assert again.conditions == constants.conditions
    for name in constants.names:
        for module in constants.modules:
            mine, theirs = constants.load(name, module), again.load(name, module)
            if name == "relative_gain":
                np.testing.assert_allclose(theirs[2], mine[2], rtol=2.0**-22)
                mine, theirs = mine[:2], theirs[:2]
            np.testing.assert_array_equal(theirs, mine)


def test_convert_refuses(own, tmp_path, capsys):
    out = tmp_path / "out.h5"
    assert run("convert", own, "-o", out) == 0
    assert run("convert", own, "-o", out) == 1
    assert "exists; choose another name, or say --overwrite" in capsys.readouterr().err
    assert run("convert", own, "-o", out, "--overwrite") == 0
    assert run("convert", own, "-o", tmp_path / "no" / "out.h5") == 1
    assert "does not exist" in capsys.readouterr().err
    assert run("convert", own, "-o", tmp_path / "b.h5", "--recipe", tmp_path / "r.toml") == 1
    assert "--recipe goes with the metadata of a correction" in capsys.readouterr().err
    assert run("convert", own, "-o", tmp_path / "b.h5", "--detector", "JUNGFRAU") == 1
    assert "these constants are of AGIPD1M, but the detector is JUNGFRAU" in capsys.readouterr().err
    assert run("convert", own, "-o", tmp_path / "b.h5", "--module", "A=x") == 1
    assert "--module A=x: expected a whole number" in capsys.readouterr().err
    assert run("convert", own, "-o", tmp_path / "b.h5", "--dims", "Offset") == 1
    assert "--dims Offset: expected NAME=VALUE" in capsys.readouterr().err
    assert run("convert", own, "-o", tmp_path / "b.h5", "--pedestals", "p.h5") == 1
    assert "has no use for it" in capsys.readouterr().err
    assert not (tmp_path / "b.h5").exists()


def test_facility_layout_refuses_what_it_cannot_hold(constants, tmp_path):
    from shotsieve.constants.to_facility import save_facility
    from shotsieve.errors import BadInput

    arrays = {n: {0: constants.load(n, 0)} for n in constants.names}
    odd = Constants.from_arrays(constants.detector, arrays, cell_ids=[0, 1, 7])
    with pytest.raises(BadInput, match=r"counts cells from 0 .* these constants are of cells \[0, 1, 7\]"):
        save_facility(odd, tmp_path / "a")
    arrays["relative_gain"][0] = arrays["relative_gain"][0] * np.array([1, 1, 2], "f4")[:, None, None, None]
    with pytest.raises(BadInput, match=r"low gain 4\.48 times medium gain"):
        save_facility(Constants.from_arrays(constants.detector, arrays), tmp_path / "b")
    del arrays["relative_gain"]
    with pytest.raises(BadInput, match="keeps mg_baseline with relative_gain, which is not there"):
        save_facility(Constants.from_arrays(constants.detector, arrays), tmp_path / "c")


def test_metadata_of_a_correction_becomes_constants_and_recipe(own, tmp_path, capsys):
    yaml = pytest.importorskip("yaml")
    assert run("convert", own, "-o", tmp_path / "store", "--layout", "facility") == 0
    modules = {0: "AGIPD00", 5: "AGIPD05"}
    groups = {name: {"physical-name": f"AGIPD1M_M{m}", "constants": {}} for m, name in modules.items()}
    held = {"Offset", "Noise", "ThresholdsDark", "SlopesPC", "SlopesFF", "BadPixelsDark"}
    import h5py

    for file in sorted((tmp_path / "store").rglob("*.h5")):
        with h5py.File(file) as f:
            [pdu] = f
            [calibration] = f[pdu]
        group = next(g for g in groups.values() if g["physical-name"] == pdu)
        path = Path("/elsewhere/caldb_store", file.relative_to(tmp_path / "store"))
        group["constants"][calibration] = {
            "path": str(path),
            "dataset": f"/{pdu}/{calibration}/0",
            "ccv_id": 7,
        }
    assert all(set(group["constants"]) == held for group in groups.values())
    tree = {
        "calibration-configurations": {
            "karabo-id": "SPB_DET_AGIPD1M-1", "karabo-da": list(modules.values()), "bias-voltage": 300,
            "rel-gain": True, "xray-gain": True, "common-mode": True, "photon-energy": 9.3,
        },
        "retrieved-constants": {**groups, "time-summary": {"fetch": "0:00:03"}},
        "pycalibration-version": "3.16.0",
    }  # fmt: skip
    metadata = tmp_path / "calibration_metadata_SPB_DET_AGIPD1M-1.yml"
    metadata.write_text(yaml.safe_dump(tree))
    out, recipe = tmp_path / "constants.h5", tmp_path / "recipe.toml"
    told = ("--store", tmp_path / "store", "-o", out, "--recipe", recipe)
    assert run("convert", metadata, *told) == 0
    said = capsys.readouterr().out
    assert "7 parameters of pycalibration 3.16.0" in said
    assert "not mapped: common-mode = True" in said or "common_mode" in recipe.read_text()
    from shotsieve.recipe import Recipe

    loaded = Recipe.load(recipe)
    assert loaded.calibrate.photon_energy_kev == 9.3
    assert loaded.calibrate.steps.xray_gain is True
    assert loaded.constants_path() == out
    assert Constants.open(out).conditions == {"bias_voltage": 300}
    assert checksum(Constants.open(out)) == checksum(read_any(tmp_path / "store"))


def test_show(own, constants, capsys):
    assert run("show", own, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["detector"], told["modules"], told["cells"]) == ("AGIPD1M", [0, 5], [0, 1, 2])
    assert told["gains"]["thresholds"] == 2
    assert told["sha256"] == checksum(constants)
    rows = {(row["name"], row["module"], row["gain"]): row for row in told["statistics"]}
    offset = constants.load("offset", 5)[1]
    finite = offset[np.isfinite(offset)]
    assert rows["offset", 5, 1]["median"] == pytest.approx(np.median(finite))
    assert rows["offset", 5, 1]["mad"] == pytest.approx(np.median(np.abs(finite - np.median(finite))))
    mask = constants.load("bad_pixels", 0)[2]
    for bit, number in rows["bad_pixels", 0, 2]["bits"].items():
        assert number == np.count_nonzero(mask >> np.uint32(int(bit.split()[0])) & np.uint32(1))
    assert run("show", own, "--every-module") == 0
    text = capsys.readouterr().out
    assert "constants of AGIPD1M: 2 modules (0, 5), 3 cells (0-2)" in text
    assert text.count("  module 5") == 3 + 3 + 2 + 3 + 1 + 1
    assert run("show", own, "--modules", "4") == 1
    assert "there is no module 4" in capsys.readouterr().err


def test_what_was_not_used_is_told(own, tmp_path, capsys):
    folder = tmp_path / "store"
    assert run("convert", own, "-o", folder, "--layout", "facility") == 0
    with h5py.File(folder / "cal.9.h5", "w") as file:
        for pdu in ("AGIPD1M_M0", "AGIPD1M_M5"):
            file[f"{pdu}/SlopesCS/0/data"] = np.zeros(3)
    capsys.readouterr()
    first = "cal.9.h5:/AGIPD1M_M0/SlopesCS/0/data"
    told = f"SlopesCS: AGIPD1M has no step for it (2 datasets, the first is {first})"
    assert run("convert", folder, "-o", tmp_path / "c.h5") == 0
    assert f"  not used: {told}\n" in capsys.readouterr().err
    for form in (folder, tmp_path / "c.h5"):
        assert run("show", form) == 0
        assert f"  not used    {told}\n" in capsys.readouterr().out
        assert run("show", form, "--json") == 0
        assert json.loads(capsys.readouterr().out)["not_used"] == [told]
    assert run("show", own) == 0
    assert "not used" not in capsys.readouterr().out


def test_show_tells_what_is_odd(constants, tmp_path, capsys):
    def break_it(array):
        array[1, 0, 0, :3] = 0
        array[1, 0, 1, :4] = -1
        array[2, 0, 2, :5] = np.nan

    odd = changed(constants, "relative_gain", 5, break_it).save(tmp_path / "odd.h5", compression=None)
    thresholds = changed(constants, "thresholds", 0, lambda a: a[:, 0, 0, :7].sort(axis=0))
    thresholds = changed(thresholds, "thresholds", 0, lambda a: np.copyto(a[1, 0, 0, :7], a[0, 0, 0, :7] - 1))
    assert run("show", odd, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["statistics"]
    [medium] = [r for r in rows if (r["name"], r["module"], r["gain"]) == ("relative_gain", 5, 1)]
    [low] = [r for r in rows if (r["name"], r["module"], r["gain"]) == ("relative_gain", 5, 2)]
    assert (medium["odd"]["zero"], medium["odd"]["negative"]) == (3, 4)
    assert low["odd"]["not finite"] >= 5
    assert run("show", thresholds.save(tmp_path / "thresholds.h5", compression=None)) == 0
    assert "7 below the first one" in capsys.readouterr().out


def test_negative_gains_of_jungfrau_are_not_odd(tmp_path, capsys):
    gain = np.full((3, 1, 512, 1024), -1.4)
    gain[0] = 41
    arrays = {"offset": np.full((3, 1, 512, 1024), 3000.0), "adu_per_kev": gain}
    path = Constants.from_arrays("JUNGFRAU", arrays, modules=[1]).save(tmp_path / "c.h5", compression=None)
    assert run("show", path, "--json") == 0
    assert all(row["odd"] == {} for row in json.loads(capsys.readouterr().out)["statistics"])


def test_compare(own, constants, tmp_path, capsys):
    def shift(array):
        array[1, 2] += 3
        array[1, 2, 7, 9] += 20

    other = changed(constants, "offset", 5, shift)
    other = changed(
        other, "bad_pixels", 0, lambda a: np.bitwise_or(a, 1 << 25, out=a, where=np.arange(128) == 3)
    )
    other.conditions["cells"] = 99
    b = other.save(tmp_path / "b.h5", compression=None)
    assert run("compare", own, own) == 0
    assert "no value differs" in capsys.readouterr().out
    assert run("compare", own, b, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    differing = [row for row in told["planes"] if row["differs"]]
    assert [(r["name"], r["module"], r["gain"]) for r in differing] == [
        ("offset", 5, 1), ("bad_pixels", 0, 0), ("bad_pixels", 0, 1), ("bad_pixels", 0, 2),
    ]  # fmt: skip
    row = differing[0]
    assert (row["largest"], row["at"]) == (pytest.approx(23, abs=1e-3), [2, 7, 9])
    assert row["cells_changed"][:2] == [0, 0]
    assert row["cells_median"][2] == pytest.approx(3, abs=1e-3)
    assert differing[1]["bits"]["25 (not assigned)"] == {"only_a": 0, "only_b": 3 * 512, "both": 0}
    assert [line for line in told["other"] if "condition cells" in line]
    assert run("compare", own, b) == 1
    text = capsys.readouterr().out
    assert "at cell 2, ss 7, fs 9" in text
    assert "only in cells 2" in text
    assert "bit 25 (not assigned): 0 in A only, 1,536 in B only" in text
    loose = ("--tolerance", "offset=25", "--tolerance", "bad_pixels=0.01")
    assert run("compare", own, b, *loose) == 0
    assert run("compare", own, b, "--tolerance", "offset=22", "--tolerance", "bad_pixels=0.01") == 1
    capsys.readouterr()
    assert run("compare", own, b, "--tolerance", "ofset=22") == 1
    assert "Did you mean 'offset'" in capsys.readouterr().err
    assert run("compare", own, b, "--tolerance", "offset=-1") == 1
    assert "expected a number of at least 0" in capsys.readouterr().err


def test_compare_refuses_other_detectors_and_cells(own, constants, tmp_path, capsys):
    arrays = {"offset": np.zeros((3, 1, 512, 1024))}
    jungfrau = Constants.from_arrays("JUNGFRAU", arrays, modules=[1]).save(
        tmp_path / "j.h5", compression=None
    )
    assert run("compare", own, jungfrau) == 1
    assert "A has constants of AGIPD1M, B of JUNGFRAU" in capsys.readouterr().err
    few = {"offset": {0: constants.load("offset", 0, [0, 1])}}
    far = Constants.from_arrays(constants.detector, few, cell_ids=[7, 8])
    assert run("compare", own, far.save(tmp_path / "f.h5", compression=None)) == 1
    assert "none in common" in capsys.readouterr().err


def test_compare_refuses_what_has_no_constant_in_common(constants, tmp_path, capsys):
    files = []
    for name in ("offset", "bad_pixels"):
        one = Constants.from_arrays(constants.detector, {name: {0: constants.load(name, 0)}})
        files.append(one.save(tmp_path / f"{name}.h5", compression=None))
    assert run("compare", *files) == 1
    assert "A has offset, B has bad_pixels: no constant of modules [0] is in both" in capsys.readouterr().err


def test_what_the_layout_of_the_store_has_no_name_for_is_said(constants, tmp_path, capsys):
    arrays = {name: {0: constants.load(name, 0)} for name in ("offset", "thresholds")}
    arrays |= {"levels": arrays["offset"], "level_noise": arrays["offset"]}
    own = Constants.from_arrays(constants.detector, arrays).save(tmp_path / "own.h5", compression=None)
    assert run("convert", own, "-o", tmp_path / "store", "--layout", "facility") == 0
    told = capsys.readouterr()
    assert "store: offset, thresholds, levels; 1 modules" in told.out
    assert "left out, since the layout has no name for them: level_noise" in told.err


def test_pictures(constants, tmp_path):
    pytest.importorskip("matplotlib")
    arrays = {name: {0: constants.load(name, 0)} for name in ("offset", "bad_pixels")}
    a = Constants.from_arrays(constants.detector, arrays).save(tmp_path / "a.h5", compression=None)
    arrays["offset"][0] = arrays["offset"][0] + 1
    b = Constants.from_arrays(constants.detector, arrays).save(tmp_path / "b.h5", compression=None)
    assert run("compare", a, b, "--plot", tmp_path / "d") == 1
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["difference_offset.png"]
    first = (tmp_path / "d" / "difference_offset.png").read_bytes()
    assert first[:4] == b"\x89PNG"
    assert run("show", b, "--plot", tmp_path / "s") == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["bad_pixels.png", "offset.png"]


def test_help_of_every_option():
    import click
    from shotsieve.cli_constants import constants_command

    for command in constants_command.commands.values():
        options = [p for p in command.params if isinstance(p, click.Option)]
        assert options
        assert all(option.help for option in options)
