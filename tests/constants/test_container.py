"""The container of constants: shapes, cells, conditions, and our own file."""

import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from shotsieve.constants import Constants
from shotsieve.errors import BadInput, OutputError, UnreadableData


def random_arrays(detector, modules, cells, seed=0):
    rng = np.random.default_rng(seed)
    shape = (len(modules), 3, cells, *detector.shape)
    return {
        "offset": rng.normal(5000, 100, shape).astype("f4"),
        "adu_per_kev": rng.normal(7, 0.1, (len(modules), 1, *shape[2:])).astype("f4"),
        "bad_pixels": rng.integers(0, 2**32, shape, dtype=np.uint32),
    }


@pytest.fixture
def constants(agipd):
    arrays = random_arrays(agipd, (0, 3), 4)
    return Constants.from_arrays(
        agipd,
        arrays,
        modules=(0, 3),
        cell_ids=[10, 2, 7, 0],
        conditions={"gain_mode": "adaptive", "cells": 4, "rate_mhz": 4.5},
        provenance={"made": "for a test"},
    )


def test_cells_are_found_by_their_id(constants):
    assert constants.row_of_cell([0, 2, 7, 10, 1, 11, 352, -1]).tolist() == [3, 1, 2, 0, -1, -1, -1, -1]
    assert constants.row_of_cell(np.zeros((2, 3), np.uint16)).shape == (2, 3)
    whole = constants.load("offset", 3)
    part = constants.load("offset", 3, np.array([0, 10]))
    assert part.shape == (3, 2, 4, 8)
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, whole[:, [3, 0]])
    with pytest.raises(BadInput, match="no cell 5, 352"):
        constants.load("offset", 3, [0, 5, 352])


def test_what_is_there(constants):
    assert constants.names == ("offset", "adu_per_kev", "bad_pixels")
    assert constants.has("offset")
    assert constants.has("offset", 3)
    assert not constants.has("offset", 1)
    assert not constants.has("thresholds")
    with pytest.raises(BadInput, match="Did you mean 'offset'"):
        constants.has("ofset")
    with pytest.raises(BadInput, match="no 'offset' for module 1; modules with it: 0, 3"):
        constants.load("offset", 1)


def test_single_cell_constants_mean_the_detectors_cell(agipd, jungfrau):
    for detector, cell in ((agipd, 0), (jungfrau, 15)):
        constants = Constants.from_arrays(detector, {"offset": np.zeros((3, 1, 4, 8))}, modules=[1])
        assert constants.row_of_cell(np.arange(17)).tolist() == [0 if i == cell else -1 for i in range(17)]


def test_arrays_by_module_need_not_be_complete(agipd):
    constants = Constants.from_arrays(
        agipd,
        {
            "offset": {1: np.zeros((3, 2, 4, 8)), 2: np.ones((3, 2, 4, 8))},
            "noise": {2: np.ones((3, 2, 4, 8))},
        },
    )
    assert constants.modules == (1, 2)
    assert not constants.has("noise", 1)
    assert constants.load("noise", 2).dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"offset": np.zeros((1, 3, 2, 8, 4))}, r"shape is \(3, 2, 8, 4\).*\(3 gains, cells, 4, 8\)"),
        ({"offset": np.zeros((1, 2, 2, 4, 8))}, "3 gains"),
        ({"adu_per_kev": np.zeros((1, 2, 2, 4, 8))}, "1 or 3 gains"),
        ({"offset": np.zeros((1, 3, 2, 4, 8)), "noise": np.zeros((1, 3, 3, 4, 8))}, "3 cells, while"),
        ({"offset": np.zeros((2, 3, 2, 4, 8))}, "with 1 modules"),
        ({"ofset": np.zeros((1, 3, 2, 4, 8))}, "Did you mean 'offset'"),
        ({}, "at least one array"),
    ],
)
def test_wrong_arrays_are_refused(agipd, arrays, text):
    with pytest.raises(BadInput, match=text):
        Constants.from_arrays(agipd, arrays, modules=[0])


def test_wrong_cell_ids_are_refused(agipd):
    arrays = {"offset": np.zeros((1, 3, 2, 4, 8))}
    with pytest.raises(BadInput, match="3 entries for 2 cells"):
        Constants.from_arrays(agipd, arrays, modules=[0], cell_ids=[0, 1, 2])
    with pytest.raises(BadInput, match="different and not negative"):
        Constants.from_arrays(agipd, arrays, modules=[0], cell_ids=[1, 1])


@pytest.mark.parametrize("compression", ["gzip", None])
def test_own_file_round_trip(constants, agipd, tmp_path, compression):
    path = constants.save(tmp_path / "c.h5", compression=compression)
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5"]
    again = Constants.open(path, agipd)
    assert again.modules == constants.modules
    assert again.cell_ids.tolist() == [10, 2, 7, 0]
    assert again.conditions == constants.conditions
    assert again.provenance == constants.provenance
    assert again.names == constants.names
    for name in constants.names:
        for module in constants.modules:
            stored, own = again.load(name, module, [7, 10]), constants.load(name, module, [7, 10])
            assert stored.dtype == own.dtype
            np.testing.assert_array_equal(stored, own)
    with h5py.File(path) as file:
        assert file["constants/offset"].chunks == (1, 1, 1, 4, 8)
        assert file.attrs["format_version"] == 1


def test_own_file_keeps_what_a_module_lacks(agipd, tmp_path):
    constants = Constants.from_arrays(
        agipd, {"offset": {m: np.ones((3, 1, 4, 8)) for m in (1, 2)}, "noise": {2: np.ones((3, 1, 4, 8))}}
    )
    again = Constants.open(constants.save(tmp_path / "c.h5"), agipd)
    assert (again.has("noise", 1), again.has("noise", 2), again.has("offset", 1)) == (False, True, True)


def test_same_constants_same_bytes(constants, tmp_path):
    first = constants.save(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5's own dates count seconds
    assert constants.save(tmp_path / "b.h5").read_bytes() == first


def test_files_that_are_no_constants(constants, agipd, jungfrau, tmp_path):
    with pytest.raises(BadInput, match="There are no constants at"):
        Constants.open(tmp_path / "none.h5")
    path = tmp_path / "text.h5"
    path.write_text("not HDF5")
    with pytest.raises(UnreadableData, match=r"text\.h5 is not a whole HDF5 file"):
        Constants.open(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(BadInput, match="holds no constants of shotsieve"):
        Constants.open(tmp_path / "other.h5")

    path = constants.save(tmp_path / "c.h5")
    with pytest.raises(BadInput, match="are of AGIPD1M, but the detector is JUNGFRAU"):
        Constants.open(path, jungfrau)
    with pytest.raises(BadInput, match=r"needs \(1 or 3 gains, cells, 512, 128\)"):
        Constants.open(path)  # the real AGIPD-1M has other modules
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(BadInput, match="format version 2"):
        Constants.open(path, agipd)

    path = constants.save(tmp_path / "cut.h5")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UnreadableData, match=r"cut\.h5"):
        Constants.open(path, agipd).load("bad_pixels", 3)


def test_chunks_that_others_wrote_and_damage(constants, agipd, tmp_path):
    """However a file is stored its values are the same; a chunk that cannot be inflated is an error."""
    path = constants.save(tmp_path / "c.h5")
    with h5py.File(path, "r+") as file:
        group = file["constants"]
        for name, chunks in (("offset", (1, 3, 2, 4, 8)), ("bad_pixels", (1, 1, 1, 2, 8))):
            values, present = group[name][()], group[name].attrs["present"]
            del group[name]
            group.create_dataset(name, data=values, chunks=chunks, compression="gzip", shuffle=True)
            group[name].attrs["present"] = present
    again, module = Constants.open(path, agipd), constants.modules[0]
    for name in ("offset", "bad_pixels"):
        np.testing.assert_array_equal(again.load(name, module, [0, 2]), constants.load(name, module, [0, 2]))
    path = constants.save(tmp_path / "damaged.h5")
    again = Constants.open(path, agipd)
    with h5py.File(path) as file:
        chunk = file["constants/offset"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\x00" * 4)
    with pytest.raises(UnreadableData, match=r"constants/offset of module .* cannot be read"):
        [again.load("offset", module) for module in constants.modules]


def test_a_file_that_cannot_be_written(constants, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        constants.save(tmp_path / "no" / "such" / "folder.h5")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError):
        constants.save(tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_conditions(constants):
    def mode(**values):
        return SimpleNamespace(**{"gain_mode": "adaptive", "cells": 4, "rate_mhz": 4.51, **values})

    assert constants.check_conditions(mode()) == []
    assert constants.check_conditions(mode(gain_mode=None, cells=None)) == []
    assert constants.check_conditions(mode(gain_mode="fixed_high", rate_mhz=2.25, cells=8)) == [
        "gain_mode: the run has 'fixed_high', the constants were taken with 'adaptive'",
        "cells: the run has 8, the constants were taken with 4",
        "rate_mhz: the run has 2.25, the constants were taken with 4.5",
    ]


def test_a_chunk_that_was_never_written(constants, agipd, tmp_path):
    path = constants.save(tmp_path / "c.h5")
    with h5py.File(path, "r+") as file:
        old = file["constants/offset"]
        how, present = old.id.get_create_plist(), old.attrs["present"]
        shape, dtype = old.shape, old.id.get_type()
        del file["constants/offset"]
        new = h5py.h5d.create(file["constants"].id, b"offset", dtype, h5py.h5s.create_simple(shape), how)
        h5py.Dataset(new).attrs["present"] = present
    damaged = Constants.open(path, agipd)
    with pytest.raises(UnreadableData, match=r"constants/offset of module \d+ cannot be read"):
        damaged.load("offset", damaged.modules[0])
