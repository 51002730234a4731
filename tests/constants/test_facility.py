"""The facility's layout: axes with and without names, planes, cells, and what is refused."""

import dataclasses

import h5py
import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Constants
from shotsieve.constants.axes import axes_of
from shotsieve.constants.examine import not_used
from shotsieve.constants.facility import write_facility
from shotsieve.errors import BadInput, UnreadableData

HEAD = 'detector = "AGIPD1M"\n[modules]\nPDU_M001 = 1\n[conditions]\n'


def store(folder, detector, arrays, dims=True, dtype="f8", pdu="PDU_M001", module=1, **conditions):
    write_facility(folder, detector, {pdu: arrays}, {pdu: module}, conditions, dims=dims, dtype=dtype)
    return folder


def raw_order(array):
    """(fs, ss, cell[, gain]) -> ([gain,] cell, ss, fs)."""
    return array.T if array.ndim == 4 else array.T[np.newaxis]


@pytest.mark.parametrize("dims", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_agipd_round_trip(agipd, facility_arrays, tmp_path, dims, dtype):
    arrays = facility_arrays(agipd, 5, ff_cells=3)
    constants = Constants.open(
        store(tmp_path, agipd, arrays, dims, dtype, cells=5, gain_mode="adaptive"), agipd
    )
    assert (constants.modules, constants.cell_ids.tolist()) == ((1,), [0, 1, 2, 3, 4])
    assert constants.conditions == {"cells": 5, "gain_mode": "adaptive"}
    cells = [4, 1]

    def loaded(name):
        return constants.load(name, 1, cells)

    def expected(calibration):
        return raw_order(arrays[calibration].astype(dtype if arrays[calibration].dtype.kind == "f" else "u4"))

    np.testing.assert_array_equal(loaded("offset"), expected("Offset")[:, cells].astype("f4"))
    np.testing.assert_array_equal(loaded("noise"), expected("Noise")[:, cells].astype("f4"))
    np.testing.assert_array_equal(loaded("thresholds"), expected("ThresholdsDark")[:2, cells].astype("f4"))
    # Fewer cells of flat-field constants: the last one stands for the rest.
    np.testing.assert_array_equal(loaded("adu_per_kev"), expected("SlopesFF")[:, [2, 1]].astype("f4"))
    bad = expected("BadPixelsDark")[:, cells] | expected("BadPixelsPC")[:, cells]
    bad = bad | expected("BadPixelsFF")[:, [2, 1]]
    np.testing.assert_array_equal(loaded("bad_pixels"), bad)

    slopes = expected("SlopesPC")[:, cells].astype("f8")
    ratio = slopes[0] / slopes[3]
    np.testing.assert_array_equal(
        loaded("relative_gain"), np.stack([np.ones_like(ratio), ratio, 4.48 * ratio]).astype("f4")
    )
    np.testing.assert_array_equal(
        loaded("mg_baseline"), (slopes[1] - slopes[4] * ratio)[np.newaxis].astype("f4")
    )


def test_jungfrau_round_trip(jungfrau, facility_arrays, tmp_path):
    arrays = facility_arrays(jungfrau, 16, ff_cells=1)
    constants = Constants.open(store(tmp_path, jungfrau, arrays), jungfrau)
    np.testing.assert_array_equal(
        constants.load("offset", 1, [15, 0]), raw_order(arrays["Offset10Hz"])[:, [15, 0]].astype("f4")
    )
    # One cell of gains stands for all; it is cell 15 by the rule of single cells, and the last one anyway.
    gain = constants.load("adu_per_kev", 1, [15, 0])
    np.testing.assert_array_equal(gain, raw_order(arrays["RelativeGain10Hz"])[:, [0, 0]].astype("f4"))
    assert (gain < 0).any()  # signed


def test_jungfrau_single_cell_takes_its_own_cell_of_a_longer_map(jungfrau, facility_arrays, tmp_path):
    arrays = facility_arrays(jungfrau, 1, ff_cells=16)
    constants = Constants.open(store(tmp_path, jungfrau, arrays), jungfrau)
    assert constants.cell_ids.tolist() == [15]
    gain = constants.load("adu_per_kev", 1)
    np.testing.assert_array_equal(gain, raw_order(arrays["RelativeGain10Hz"])[:, [15]].astype("f4"))


def rewrite(folder, calibration, array, dims=None):
    """Replace one dataset of a store by a contiguous one."""
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path, "r+") as file:
            (pdu,) = file
            if calibration in file[pdu]:
                del file[pdu][calibration]
                dataset = file.create_dataset(f"{pdu}/{calibration}/0/data", data=array)
                if dims is not None:
                    dataset.attrs["dims"] = dims


@pytest.mark.parametrize("form", ["list", "bytes", "text"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)])
def test_any_order_of_named_axes(agipd, facility_arrays, tmp_path, order, form):
    arrays = facility_arrays(agipd, 5)
    folder = store(tmp_path, agipd, arrays)
    names = [("fast_scan", "slow_scan", "cell", "gain")[i] for i in order]
    dims = {"list": names, "bytes": np.array(names, "S"), "text": ", ".join(names)}[form]
    fortran = np.asfortranarray(arrays["Offset"]).transpose(order)
    rewrite(folder, "Offset", fortran, dims)
    constants = Constants.open(folder, agipd)
    np.testing.assert_array_equal(
        constants.load("offset", 1, [3, 0, 3]), raw_order(arrays["Offset"])[:, [3, 0, 3]].astype("f4")
    )


@pytest.mark.parametrize("planes", [10, 11])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (3, 0, 1, 2), (3, 2, 0, 1)])
def test_slopes_with_leading_or_trailing_planes(agipd, facility_arrays, tmp_path, planes, order):
    arrays = facility_arrays(agipd, 5, slopes=planes)
    folder = store(tmp_path, agipd, arrays)
    expected = Constants.open(folder, agipd).load("mg_baseline", 1)
    rewrite(folder, "SlopesPC", arrays["SlopesPC"].transpose(order))
    constants = Constants.open(folder, agipd)
    np.testing.assert_array_equal(constants.load("mg_baseline", 1), expected)


def test_reversed_order_without_names(agipd, facility_arrays, tmp_path):
    arrays = facility_arrays(agipd, 5)
    folder = store(tmp_path, agipd, arrays)
    rewrite(folder, "Offset", arrays["Offset"].T)
    rewrite(folder, "SlopesFF", arrays["SlopesFF"].T)
    constants = Constants.open(folder, agipd)
    np.testing.assert_array_equal(constants.load("offset", 1), raw_order(arrays["Offset"]).astype("f4"))
    np.testing.assert_array_equal(
        constants.load("adu_per_kev", 1), raw_order(arrays["SlopesFF"]).astype("f4")
    )


def test_ambiguous_shapes_are_refused_with_the_way_out(agipd, facility_arrays, tmp_path):
    square = dataclasses.replace(agipd, shape=(8, 8))
    folder = store(tmp_path, square, facility_arrays(square, 5), dims=False)
    with pytest.raises(BadInput, match=r"both 8 long.*\[dims\].*fast_scan") as error:
        Constants.open(folder, square)
    assert ".h5: /PDU_M001/" in str(error.value)

    order = '["slow_scan", "fast_scan", "cell", "gain"]'
    three = '["slow_scan", "fast_scan", "cell"]'
    with open(folder / "modules.toml", "a") as file:
        file.write("\n[dims]\n")
        for name in square.facility_constants:
            flat = name in ("SlopesFF", "BadPixelsPC", "BadPixelsFF")
            file.write(f"{name} = {three if flat else order}\n")
    constants = Constants.open(folder, square)
    offset = facility_arrays(square, 5)["Offset"]
    np.testing.assert_array_equal(constants.load("offset", 1), offset.transpose(3, 2, 0, 1).astype("f4"))


def test_axes_of(agipd):
    def axes(shape, dims=None, target="offset"):
        return axes_of(shape, dims, agipd, target, "file")

    assert axes((8, 4, 8, 3)) == ("fs", "ss", "cell", "plane")  # as many cells as pixels
    with pytest.raises(BadInput, match="can be read as"):
        axes((11, 8, 4, 8), target="relative_gain")
    for shape in ((4, 8, 5, 3), (8, 4, 5, 2), (8, 4, 5), (8, 4, 3, 5), (8, 4, 0, 3)):
        with pytest.raises(BadInput, match="needs"):
            axes(shape)
    with pytest.raises(BadInput, match="names 2 axes"):
        axes((8, 4, 5, 3), ["cell", "gain"])
    with pytest.raises(BadInput, match="once each"):
        axes((8, 4, 5, 3), ["fast_scan", "slow_scan", "gain", "memory"])
    with pytest.raises(BadInput, match="in that order of names"):
        axes((8, 4, 5, 3), ["slow_scan", "fast_scan", "cell", "gain"])


@pytest.mark.parametrize("name", ["AGIPD1M", "AGIPD500K"])
@pytest.mark.parametrize("planes", [(), (3,)])
def test_bad_pixels_of_the_charge_source_are_of_the_mask(name, planes, facility_arrays, tmp_path, rng):
    detector = dataclasses.replace(detectors.load(name), shape=(4, 8))
    arrays = facility_arrays(detector, 5)
    without = Constants.open(store(tmp_path / "a", detector, arrays), detector).load("bad_pixels", 1)
    arrays["BadPixelsCS"] = rng.integers(0, 2, (8, 4, 5, *planes), dtype=np.uint32) << 6
    found = Constants.open(store(tmp_path / "b", detector, arrays), detector)
    more = raw_order(arrays["BadPixelsCS"])
    np.testing.assert_array_equal(found.load("bad_pixels", 1), without | more)
    assert more.any()
    assert found.provenance["not_used"] == []


def test_missing_and_extra_constants(agipd, facility_arrays, tmp_path):
    arrays = {f"PDU{m}": facility_arrays(agipd, 2, seed=m) for m in range(3)}
    del arrays["PDU1"]["SlopesFF"]
    arrays["PDU2"] = {}
    modules = {"PDU0": 0, "PDU1": 1, "PDU2": 2}
    write_facility(tmp_path, agipd, iter(arrays.items()), modules, {})
    with h5py.File(tmp_path / "cal.99.h5", "w") as file:
        file["PDU0/SlopesCS/0/data"] = np.zeros(3)
        file["PDU7/Offset/0/data"] = np.zeros(3)
    constants = Constants.open(tmp_path, agipd)
    assert constants.modules == (0, 1, 2)
    assert [constants.has("adu_per_kev", m) for m in range(3)] == [True, False, False]
    assert [constants.has("offset", m) for m in range(3)] == [True, True, False]
    assert constants.provenance["not_used"] == [
        "cal.99.h5:/PDU0/SlopesCS/0/data",
        "cal.99.h5:/PDU7/Offset/0/data",
    ]
    told = [
        "SlopesCS: AGIPD1M has no step for it (1 dataset, cal.99.h5:/PDU0/SlopesCS/0/data)",
        "Offset: of a PDU that no module is said to be (1 dataset, cal.99.h5:/PDU7/Offset/0/data)",
    ]
    assert not_used(constants) == told
    saved = Constants.open(constants.save(tmp_path / "own.h5"), agipd)
    assert [saved.has("adu_per_kev", m) for m in range(3)] == [True, False, False]
    assert not_used(saved) == told
    for name in constants.names:
        np.testing.assert_array_equal(saved.load(name, 0), constants.load(name, 0))


def test_same_arrays_same_bytes(agipd, facility_arrays, tmp_path):
    first = write_facility(tmp_path / "a", agipd, {"P": facility_arrays(agipd, 2)}, {"P": 0}, {"cells": 2})
    second = write_facility(tmp_path / "b", agipd, {"P": facility_arrays(agipd, 2)}, {"P": 0}, {"cells": 2})
    assert [p.relative_to(tmp_path / "a") for p in first] == [p.relative_to(tmp_path / "b") for p in second]
    assert str(first[0].relative_to(tmp_path / "a")) == "xfel/cal/agipd-type/p/cal.1.h5"
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_ff_gain(agipd, facility_arrays, tmp_path):
    arrays = facility_arrays(agipd, 2)
    folder = store(tmp_path, agipd, arrays)
    settings = folder / "modules.toml"
    settings.write_text("ff_gain = 7.2\n" + settings.read_text())
    loaded = Constants.open(folder, agipd).load("adu_per_kev", 1)
    np.testing.assert_array_equal(loaded, (raw_order(arrays["SlopesFF"]) / 7.2).astype("f4"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no modules.toml"),
        ("[modules", "is not a TOML file"),
        ('detector = "AGIPD1M"\n[module]\nPDU_M001 = 1', r"unknown key 'module'.*'modules'"),
        ('detector = "AGIPD1M"', "needs detector"),
        ("[modules]\nPDU_M001 = 1", "needs detector"),
        ('detector = "AGIPD1M"\n[modules]\nPDU_M001 = "one"', "a module number of its own"),
        ('detector = "AGIPD1M"\n[modules]\nA = 1\nB = 1', "a module number of its own"),
        ('detector = "AGIPD1M"\n[modules]\nPDU_M001 = 16', "there is no module 16 in AGIPD1M"),
        ('detector = "AGIPD1M"\n[modules]\nPDU_M002 = 2', "no file holds Offset"),
        ('detector = "AGIPD1M"\nff_gain = 0\n[modules]\nPDU_M001 = 1', "ff_gain = 0"),
        ('detector = "AGIPD1M"\ndims = 3\n[modules]\nPDU_M001 = 1', r"dims = 3 must be a table \[dims\]"),
        (HEAD + 'gain_mod = "adaptive"', r"modules\.toml: unknown key 'gain_mod' in .*'gain_mode'"),
        (HEAD + "rate_mHz = 4.5", r"modules\.toml: unknown key 'rate_mHz' in .*'rate_mhz'"),
        (HEAD + "cells = 'many'", r"cells = 'many' in \[conditions\] must be a number"),
        (HEAD + "gain_mode = ['fixed_low', 1]", "must be a name, or a list of names"),
        (HEAD + "gain_mode = 0", r"gain_mode = 0 in \[conditions\] must be a name"),
        ('detector = "JUNGFRAU"\n[modules]\nPDU_M001 = 1', "of JUNGFRAU, but the detector is AGIPD1M"),
    ],
)
def test_wrong_settings_are_refused(agipd, facility_arrays, tmp_path, text, message):
    folder = store(tmp_path, agipd, facility_arrays(agipd, 2))
    settings = folder / "modules.toml"
    settings.unlink() if text is None else settings.write_text(text)
    with pytest.raises(BadInput, match=message):
        Constants.open(folder, agipd)


def test_two_versions_of_one_constant_are_refused(agipd, facility_arrays, tmp_path):
    folder = store(tmp_path, agipd, facility_arrays(agipd, 2))
    first = min(folder.rglob("*.h5"))
    (folder / "copy.h5").write_bytes(first.read_bytes())
    with pytest.raises(BadInput, match="keep one version"):
        Constants.open(folder, agipd)


def test_constants_that_do_not_belong_together_are_refused(agipd, facility_arrays, tmp_path):
    arrays = facility_arrays(agipd, 5)
    arrays["ThresholdsDark"] = facility_arrays(agipd, 3)["ThresholdsDark"]
    constants = Constants.open(store(tmp_path, agipd, arrays), agipd)
    constants.load("thresholds", 1, [0, 2])
    with pytest.raises(BadInput, match="has 3 cells, but the offset has 5"):
        constants.load("thresholds", 1)
    both = {"A": facility_arrays(agipd, 2), "B": facility_arrays(agipd, 3)}
    write_facility(tmp_path / "two", agipd, both, {"A": 0, "B": 1}, {})
    with pytest.raises(BadInput, match="different numbers of cells"):
        Constants.open(tmp_path / "two", agipd)


def test_damaged_file_is_named(agipd, facility_arrays, tmp_path):
    folder = store(tmp_path, agipd, facility_arrays(agipd, 2))
    victim = min(folder.rglob("*.h5"))
    victim.write_bytes(victim.read_bytes()[:700])
    with pytest.raises(UnreadableData, match=r"cal\.1\.h5"):
        Constants.open(folder, agipd)


def test_writer_refuses_what_the_reader_would(agipd, facility_arrays, tmp_path):
    with pytest.raises(BadInput, match="no calibration 'Offset10Hz'"):
        write_facility(tmp_path, agipd, {"P": {"Offset10Hz": np.zeros((8, 4, 2, 3))}}, {"P": 0}, {})
    with pytest.raises(BadInput, match="P Offset"):
        write_facility(tmp_path, agipd, {"P": {"Offset": np.zeros((4, 8, 2, 3))}}, {"P": 0}, {})
    with pytest.raises(BadInput, match="has no module number"):
        write_facility(tmp_path, agipd, {"Q": {}}, {"P": 0}, {})


@pytest.mark.parametrize("chunks", [True, None])
def test_values_that_were_never_written_are_not_zeros(agipd, facility_arrays, tmp_path, chunks):
    folder = store(tmp_path, agipd, facility_arrays(agipd, 5), cells=5)
    [path] = [path for path in folder.rglob("*.h5") if "Offset" in h5py.File(path)["PDU_M001"]]
    with h5py.File(path, "r+") as file:
        name = "PDU_M001/Offset/0/data"
        old = file[name]
        values, dims = old[()], dict(old.attrs)
        del file[name]
        chunks = chunks and tuple(max(1, length // 2) for length in values.shape)
        new = file.create_dataset(name, values.shape, values.dtype, chunks=chunks)
        new.attrs.update(dims)
        if chunks:
            new[: values.shape[0] // 2] = values[: values.shape[0] // 2]
    with pytest.raises(
        UnreadableData, match=r"Offset/0/data cannot be read \(parts of it were never written"
    ):
        Constants.open(folder, agipd).load("offset", 1, [0])
