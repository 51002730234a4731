"""Kept frames as whole photons and as rounded values: what is written is what calibration gives."""

from __future__ import annotations

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants import Constants
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.reference.rounding import rounded
from shotsieve.sources.run import open_run

IMAGE = "INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image"
MODULE_3 = "CORR-R0001-AGIPD03-S00000.h5"
OUT_OF_RANGE = 1 << 12
ENERGY = 9.3
PHOTONS = {"content": "photons"}
ROUNDED = {"content": "rounded", "rounding_absolute": "0.05 keV", "rounding_relative": 0.01}
FORMS = {"photons": PHOTONS, "uint8": {"content": "photons", "dtype": "uint8"}, "rounded": ROUNDED}


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    """Reduce a run with a section [write]; other sections as usual, unless they are given."""

    def reduce(write, name="usual", backend="cpu", run=None, block_bytes=256_000_000, **sections):
        sim = simulated(name)
        out = tmp_path / f"r{len(list(tmp_path.iterdir()))}"
        recipe = make_recipe(write=write, **sections)
        return shotsieve.reduce(
            sim.raw if run is None else run,
            recipe,
            out,
            constants=sim.constants,
            backend=backend,
            block_bytes=block_bytes,
        )

    return reduce


def expected_photons(corrected, per_unit, threshold=0.5, dtype="uint16"):
    """Return photons and mask that belong to corrected frames, by the definition, in float32."""
    y = corrected["image.data"] * np.float32(per_unit)
    whole = np.floor(y)
    whole = np.nan_to_num(np.maximum(whole + (y - whole >= np.float32(threshold)), 0))
    largest = np.iinfo(dtype).max
    mask = corrected["image.mask"] | np.where(whole > largest, np.uint32(OUT_OF_RANGE), np.uint32(0))
    return np.minimum(whole, largest).astype(dtype), mask


def pixels_of(result):
    with h5py.File(result.out / MODULE_3) as file:
        data = file[IMAGE]["data"]
        return {**data.attrs, "shuffle": data.shuffle, "compression": data.compression, "dtype": data.dtype}


# ---------------------------------------------------------------------- photons


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_photons_on_every_backend(reduce, reduced, read_module, backend_name, dtype):
    result = reduce({"content": "photons", "dtype": dtype}, backend=backend_name)
    beyond = 0
    for module in (3, 4):
        mine, corrected = read_module(result, module), read_module(reduced("usual"), module)
        photons, mask = expected_photons(corrected, 1 / ENERGY, dtype=dtype)
        assert mine["image.data"].dtype == dtype
        np.testing.assert_array_equal(mine["image.data"], photons)
        np.testing.assert_array_equal(mine["image.mask"], mask)
        for key in ("image.gain", "image.trainId", "image.pulseId", "image.cellId", "litpx.litPixels"):
            np.testing.assert_array_equal(mine[key], corrected[key])
        assert (mine["image.data"][np.isnan(corrected["image.data"])] == 0).all()
        assert (mine["image.mask"][np.isnan(corrected["image.data"])] != 0).all()
        beyond += int((mask != corrected["image.mask"]).sum())
    assert (beyond > 100) == (dtype == "uint8")
    [note] = [note for note in result.accounts.notes if "whole photons" in note]
    assert f"{beyond} pixels hold more than {np.iinfo(dtype).max} photons" in note


@pytest.mark.parametrize("threshold", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("unit", ["keV", "photon"])
def test_a_frame_holds_as_many_photons_as_were_counted(reduce, read_module, unit, threshold):
    """The pixels are those that the kernel counted, whatever the unit of the calibration."""
    calibrate = {"unit": unit, "rounding_threshold": threshold}
    result = reduce(PHOTONS, calibrate=calibrate)
    kept = result.table.fate == 0
    for module in (3, 4):
        written = read_module(result, module)["image.data"]
        assert written.max() > 1000  # a hit that is worth the name
        counted = result.table.measures["photons"][kept, module]
        np.testing.assert_array_equal(written.sum(axis=(1, 2), dtype="i8"), counted)


def test_rounded_photons_of_the_calibration_are_the_same_photons(reduce, read_module):
    calibrate = {"unit": "photon", "round_photons": True, "rounding_threshold": 0.6}
    floats = reduce({"content": "corrected"}, calibrate=calibrate)
    whole = reduce(PHOTONS, calibrate=calibrate)
    again = reduce(PHOTONS, calibrate=calibrate | {"round_photons": False})
    written = read_module(whole, 3)["image.data"]
    np.testing.assert_array_equal(written, np.nan_to_num(np.maximum(read_module(floats, 3)["image.data"], 0)))
    np.testing.assert_array_equal(written, read_module(again, 3)["image.data"])


def test_photons_say_what_they_are(reduce):
    result = reduce(PHOTONS)
    assert pixels_of(result) == {
        "units": "photon", "unitSymbol": "photon", "shuffle": True, "compression": "gzip", "dtype": np.uint16
    }  # fmt: skip
    settings = json.loads((result.out / "shotsieve/settings.json").read_text())
    assert (settings["unit"], settings["intensity_unit"]) == ("photon", "keV")
    assert settings["photons.per_unit"] == 1 / ENERGY
    assert settings["photons.calibrated_unit"] == "keV"
    assert settings["photons.rounding_threshold"] == 0.5
    with h5py.File(result.out / MODULE_3) as file:
        assert file.attrs["unit"] == "photon"
        litpx = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/litpx"]
        assert litpx["totalIntensity"].attrs["units"] == "keV"
    assert result.table.meanings["intensity"].unit == "keV"


def test_without_a_photon_energy_there_are_no_photons(simulated, reduce):
    source = open_run(simulated("usual").raw)
    source.mode = dataclasses.replace(source.mode, photon_energy_kev=None)
    measure = {"lit": {"threshold": "5 keV"}}
    with pytest.raises(BadInput, match=r"needs the photon energy.*photon_energy = \"9.3 keV\""):
        reduce(PHOTONS, run=source, measure=measure)
    result = reduce(PHOTONS, run=source, measure=measure, calibrate={"photon_energy": "9300 eV"})
    assert result.files
    adu = {"relative_gain": False, "adjust_mg_baseline": False, "xray_gain": False, "set_min": False}
    with pytest.raises(BadInput, match="cannot be made of values in ADU"):
        reduce(PHOTONS, measure={"lit": {"threshold": "40 ADU"}}, calibrate=adu)


# ---------------------------------------------------------------------- rounded


@pytest.mark.parametrize(
    ("write", "step", "bits"),
    [(ROUNDED, 2.0**-5, 6), ({"content": "rounded", "rounding_relative": 0.001}, 0.0, 9),
     ({"content": "rounded", "rounding_absolute": "0.1 photon"}, 0.5, 23)],
    ids=["both", "relative", "absolute"],
)  # fmt: skip
def test_rounded_on_every_backend(reduce, reduced, read_module, backend_name, write, step, bits):
    result = reduce(write, backend=backend_name)
    for module in (3, 4):
        mine, corrected = read_module(result, module), read_module(reduced("usual"), module)
        expected = rounded(corrected["image.data"], step, bits)
        np.testing.assert_array_equal(mine["image.data"].view("u4"), expected.view("u4"))
        for key in corrected.keys() - {"image.data"}:
            np.testing.assert_array_equal(mine[key], corrected[key])
    about = pixels_of(result)
    assert (about["units"], about["shuffle"], about["compression"]) == ("keV", True, "gzip")
    settings = json.loads((result.out / "shotsieve/settings.json").read_text())
    assert (settings["rounding.absolute_step"], settings["rounding.mantissa_bits"]) == (step, bits)
    assert "at most" in " ".join(result.accounts.notes)


def test_rounding_is_worth_it(reduce):
    """Values that are off by a tenth of the noise take half the room."""
    lossless = reduce({"content": "corrected", "compression": "gzip"})
    lossy = reduce({"content": "rounded", "rounding_absolute": "0.2 keV"})
    photons = reduce(PHOTONS)

    def stored(result):
        with h5py.File(result.out / MODULE_3) as file:
            return file[IMAGE]["data"].id.get_storage_size()

    assert stored(lossy) < 0.55 * stored(lossless)
    assert stored(photons) < 0.2 * stored(lossless)


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize("form", FORMS)
def test_the_same_bytes_with_any_backend_and_block_size(reduce, digest, form, backend_name):
    whole, small = reduce(FORMS[form]), reduce(FORMS[form], block_bytes=1, backend=backend_name)
    assert digest(whole.out) == digest(small.out)


@pytest.mark.parametrize("name", ["usual", "missed_train", "cell_without_constants", "fixed_medium"])
@pytest.mark.parametrize("form", FORMS)
def test_reducing_and_calibrating_commute(reduce, digest, read_module, name, form):
    """Raw words are reduced first, and what is left of the run goes through the same recipe."""
    raw = reduce({"content": "raw", "others": True, "compression": "gzip"}, name)
    direct, late = reduce(FORMS[form], name), reduce(FORMS[form], name, run=raw.out)
    assert len(late.table) == int((direct.table.fate == 0).sum()) > 0
    for module in (3, 4):
        mine, theirs = read_module(direct, module), read_module(late, module)
        for key in mine:
            if key.startswith("image"):
                assert mine[key].dtype == theirs[key].dtype
                np.testing.assert_array_equal(mine[key].view("u1"), theirs[key].view("u1"))


@pytest.mark.parametrize("form", FORMS)
def test_the_output_is_checked_bit_for_bit(simulated, reduce, form, backend_name):
    sim, result = simulated("usual"), reduce(FORMS[form])
    options = {"constants": sim.constants, "backend": backend_name}
    report = check_against(check(result.out), sim.raw, **options)
    assert report.ok, report.summary()
    frames = [("data", 1), ("mask", 1)]
    with h5py.File(result.out / MODULE_3, "r+") as file:
        for plane, more in frames:
            file[IMAGE][plane][1, 7, 9] += more
    faults = " ".join(check_against(check(result.out), sim.raw, **options).faults)
    for plane, _ in frames:
        assert f"{plane} is not what its source gives" in faults
        assert f"{plane} of row 1" in faults


@pytest.mark.parametrize("form", FORMS)
def test_the_embedded_engine_gives_the_same(embedded, embedded_source, tmp_path, form, backend_name):
    sections = {"measure": {"lit": {}}, "keep": {"rule": "lit_pixels > 100"}, "write": FORMS[form]}
    result = embedded.reduce(tmp_path / "r", **sections)
    options = {"mode": embedded_source.mode, "block_shots": 5}
    options |= {"columns": tuple(embedded_source.columns())}
    with shotsieve.Engine(
        embedded.recipe(**sections), embedded.constants, backend=backend_name, **options
    ) as engine:
        assert any("most" in note or "photons" in note for note in result.accounts.notes)
        found = [one.frames for one in engine.run(embedded_source)]
    for module in (3, 4):
        with h5py.File(result.out / MODULE_3.replace("03", f"{module:02d}")) as file:
            image = file[IMAGE.replace("3CH", f"{module}CH")]
            for plane in ("data", "gain", "mask"):
                mine = np.concatenate([frames[plane][:, module] for frames in found])
                assert mine.dtype == image[plane].dtype
                assert len(mine) > 2
                np.testing.assert_array_equal(mine.view("u1"), image[plane][()].view("u1"))


@pytest.mark.parametrize("form", FORMS)
def test_a_second_pass_writes_the_same(simulated, make_recipe, reduce, digest, tmp_path, form):
    """Decided late, or of a table that is there already, kept shots are read and calibrated once more."""
    direct = reduce(FORMS[form])
    sim, recipe = simulated("usual"), make_recipe(write=FORMS[form])
    again = shotsieve.reduce(
        sim.raw, recipe, tmp_path / "table", constants=sim.constants, backend="cpu", table=direct.table
    )
    late = reduce(FORMS[form], derive={"order": {"kind": "rank", "of": "lit_pixels[3]"}})
    for result in (again, late):
        for path in direct.files:
            with h5py.File(path) as one, h5py.File(result.out / path.name) as other:
                place = IMAGE.replace("3CH", f"{int(path.name[16:18])}CH")
                for plane in ("data", "gain", "mask"):
                    mine, theirs = one[place][plane], other[place][plane]
                    assert mine.dtype == theirs.dtype
                    np.testing.assert_array_equal(mine[()].view("u1"), theirs[()].view("u1"))
        notes = [[n for n in r.accounts.notes if "pixel" in n] for r in (direct, result)]
        assert notes[0] == notes[1]


# ---------------------------------------------------------------------- codecs and modules


@pytest.mark.parametrize("content", ["corrected", "raw", "photons", "rounded"])
def test_compression_of_the_pixels_is_a_choice(reduce, read_module, content):
    write = ROUNDED if content == "rounded" else {"content": content}
    results = [reduce({**write, "compression": codec}) for codec in ("none", "gzip")]
    one, two = (read_module(result, 3) for result in results)
    for key in one:
        np.testing.assert_array_equal(one[key].view("u1"), two[key].view("u1"))
    for result, codec in zip(results, (None, "gzip"), strict=True):
        with h5py.File(next(iter(result.files))) as file:
            [source] = [s for s in file["METADATA/dataSources/deviceId"].asstr() if s.endswith("/image")]
            image = file[f"INSTRUMENT/{source}"]
            assert (image["data"].compression, image["data"].shuffle) == (codec, codec == "gzip")
            assert content == "raw" or image["mask"].compression == image["gain"].compression == "gzip"


def test_some_modules_are_written_and_the_table_has_all(simulated, reduce, reduced, digest):
    sim, all_ = simulated("usual"), reduced("usual")
    result = reduce({"content": "corrected", "modules": "0:4, 7"})
    assert [path.name for path in result.files] == [MODULE_3]
    assert result.table.modules == all_.table.modules
    assert digest(result.out)["table.h5"] == digest(all_.out)["table.h5"]
    mine, theirs = h5py.File(result.files[0]), h5py.File(all_.files[0])
    with mine, theirs:
        np.testing.assert_array_equal(mine[IMAGE]["data"][()], theirs[IMAGE]["data"][()])
    assert any("names 0, 1, 2, 7, which the run does not have" in note for note in result.accounts.notes)
    report = check_against(check(result.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    shutil.move(result.out / MODULE_3, result.out.parent / "away.h5")
    faults = " ".join(check(result.out).faults)
    assert "module 3 has" in faults
    assert "module 4" not in faults


@pytest.mark.parametrize(
    ("modules", "words"),
    [("0:3", "the run has none of these; it has 3, 4"), ("3, 16", "AGIPD1M has no module 16; it has 0 to 15"),
     ("3:3", "expected modules as start:stop"), ("0:1000000000", "no module 999999999"),
     ("three", "expected modules as start:stop"), (" ", "is empty")],
)  # fmt: skip
def test_a_choice_of_no_module_is_an_error(reduce, modules, words):
    with pytest.raises(BadInput, match=words):
        reduce({"content": "corrected", "modules": modules})


@pytest.mark.parametrize(
    ("write", "words"),
    [({"dtype": "uint8"}, 'dtype belongs to content = "photons" or "photon_list"; the content is'),
     ({"content": "photons", "rounding_relative": 0.1}, 'rounding_relative belongs to content = "rounded"'),
     ({"content": "rounded"}, 'set rounding_absolute = "0.1 keV"'),
     ({"content": "rounded", "rounding_relative": 0.5}, "a relative error of 0.5"),
     ({"content": "rounded", "rounding_absolute": "-1 keV"}, "an absolute step of -1"),
     ({"content": "rounded", "rounding_absolute": "1"}, "has no unit"),
     ({"content": "rounded", "rounding_absolute": "1 ADU"}, "cannot be compared with values in keV"),
     ({"content": "photons", "dtype": "int32"}, "expected one of uint16, uint8"),
     ({"compression": "zip"}, "expected one of none, gzip")],
)  # fmt: skip
def test_refusals(reduce, write, words):
    with pytest.raises(BadInput, match=words):
        reduce(write)


@pytest.mark.parametrize("content", ["photons", "rounded"])
def test_calibrated_contents_need_a_calibration(content):
    recipe = {"write": {**FORMS[content]}}
    with pytest.raises(BadInput, match=f'content = "{content}" needs \\[calibrate\\]'):
        shotsieve.Recipe.from_dict(recipe)


def test_shots_without_constants_are_zero_and_masked(reduce, simulated, read_module):
    """Integers have no NaN: the mask alone says that nothing is known of them."""
    result = reduce(PHOTONS, "cell_without_constants", keep=None)
    assert Constants.open(simulated("cell_without_constants").constants) is not None
    written = read_module(result, 3)
    unknown = written["image.cellId"] == 2
    assert unknown.any()
    assert (written["image.data"][unknown] == 0).all()
    assert (written["image.mask"][unknown] == 1 << 3).all()
