"""The list of peaks: ragged, complete, and the same in memory, in files and in data frames."""

import hashlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput, OutputError, UnreadableData
from shotsieve.measure.peak_finder import Peaks
from shotsieve.measure.peaks import FILTERS, PEAK_DTYPE
from shotsieve.peak_list import PEAKS, SHOTS, PeakList
from shotsieve.peak_list_build import PeakListBuilder

MODULES = (4, 1, 7)  # not in order, as modules of a detector may be wired
SHAPE = (8, 6)
PANELS = [[0, 4, 0, 6], [4, 8, 0, 6], [8, 12, 0, 6], [12, 16, 0, 6], [16, 20, 0, 6], [20, 24, 0, 6]]


def found(rng, counts, more=0):
    """Peaks of some shots anywhere in the panels, as the finder gives them; `more` were not stored."""
    first = np.concatenate([[0], np.cumsum(counts)]).astype("i8")
    records = np.zeros(first[-1], PEAK_DTYPE)
    for name in PEAK_DTYPE.names[:-2]:
        records[name] = rng.random(len(records)) * 100
    records["panel"] = rng.integers(0, len(PANELS), len(records))
    records["ss"] = 4 * records["panel"] + rng.random(len(records)) * 3
    records["fs"] = rng.random(len(records)) * 5
    records["n_pixels"] = rng.integers(1, 9, len(records))
    panel_counts = np.zeros((len(counts), len(PANELS)), "i4")
    panel_counts[:, 0] = np.array(counts) + more
    rejected = rng.integers(0, 9, (len(counts), len(FILTERS))).astype("i4")
    return Peaks(records, first, panel_counts, rejected)


def builder(shots=6, **options):
    pulse = np.arange(shots) % 3
    keys = (np.arange(shots) // 3 + 10, pulse, pulse * 2)
    return PeakListBuilder(*keys, MODULES, SHAPE, "keV", **{"panels": PANELS, **options})


@pytest.fixture
def example(rng):
    """Six shots; 0 and 4 were not searched, 2 has no peaks; and what went in."""
    make = builder()
    one, two = found(rng, [3, 0]), found(rng, [2, 5], more=4)
    make.set([1, 2], one, q=np.arange(3.0))
    make.set([3, 5], two)
    return make.finish(), {1: one[0], 2: one[1], 3: two[0], 5: two[1]}, (one, two)


def test_every_shot_has_its_place_and_its_peaks(example):
    peaks, went_in, (one, two) = example
    assert len(peaks) == 6
    assert peaks.first.tolist() == [0, 0, 3, 3, 5, 5, 10]
    assert peaks.n_peaks.tolist() == [-1, 3, 0, 6, -1, 9]
    np.testing.assert_array_equal(peaks.rejected[[1, 2]], one.rejected)
    np.testing.assert_array_equal(peaks.rejected[[3, 5]], two.rejected)
    assert (peaks.rejected[[0, 4]] == -1).all()
    for shot in range(6):
        want = went_in.get(shot, np.zeros(0, PEAK_DTYPE))
        np.testing.assert_array_equal(peaks.records(shot), want)
        got = peaks.of(shot)
        assert got.dtype.names == tuple(PEAKS)
        for name in ("fs", "total", "max", "snr", "background", "sigma", "panel", "n_pixels"):
            np.testing.assert_array_equal(got[name], want[name])
    np.testing.assert_array_equal(peaks.of(1)["q"], [0, 1, 2])
    assert np.isnan(peaks.of(5)["q"]).all()
    np.testing.assert_array_equal(peaks.shot(), [1, 1, 1, 3, 3, 5, 5, 5, 5, 5])
    assert len(peaks.of(-1)) == 5
    with pytest.raises(IndexError):
        peaks.of(6)


def test_positions_in_the_module_and_back_without_rounding(example):
    peaks, went_in, _ = example
    records = np.concatenate([went_in[shot] for shot in sorted(went_in)])
    place = records["panel"] // 2
    np.testing.assert_array_equal(peaks.module, np.array(MODULES)[place])
    np.testing.assert_array_equal(peaks.ss, records["ss"] - 8 * place)
    np.testing.assert_array_equal(peaks.slab_ss(), records["ss"])
    np.testing.assert_array_equal(peaks.slab_ss([0, 2]), records["ss"][[0, 2]])
    assert ((peaks.ss >= 0) & (peaks.ss <= 7)).all()


def test_a_panel_across_modules_gives_each_peak_the_module_of_its_nearest_pixel(rng):
    peaks = found(rng, [4])
    peaks.records["ss"] = [7.25, 7.75, 15.5, -0.25]
    make = builder(1, panels=None)
    make.set([0], peaks)
    got = make.finish()
    assert got.module.tolist() == [4, 1, 7, 4]
    assert got.ss.tolist() == [7.25, -0.25, -0.5, -0.25]
    assert got.slab_ss().tolist() == [7.25, 7.75, 15.5, -0.25]
    assert got.panels is None


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32 - 1), st.booleans())
def test_blocks_and_their_order_do_not_matter(counts, seed, reverse):
    rng = np.random.default_rng(seed)
    peaks = found(rng, counts)
    q = rng.random(len(peaks.records))
    whole = builder(len(counts))
    whole.set(np.arange(len(counts)), peaks, q)
    cut = int(rng.integers(0, len(counts) + 1))
    split = peaks.first[cut]
    parts = [
        (np.arange(cut), Peaks(peaks.records[:split], peaks.first[: cut + 1],
                               peaks.panel_counts[:cut], peaks.rejected[:cut]), q[:split]),
        (np.arange(cut, len(counts)), Peaks(peaks.records[split:], peaks.first[cut:] - split,
                                            peaks.panel_counts[cut:], peaks.rejected[cut:]), q[split:]),
    ]  # fmt: skip
    pieces = builder(len(counts))
    for shots, part, values in parts[::-1] if reverse else parts:
        pieces.set(shots, part, values)
    assert pieces.finish() == whole.finish()


def test_the_builder_keeps_copies(rng):
    make, peaks = builder(), found(rng, [2])
    make.set([0], peaks)
    want = peaks.records.copy()
    peaks.records[:] = 0
    np.testing.assert_array_equal(make.finish().records(0), want)


def test_nothing_searched_is_a_list_of_unknowns(tmp_path):
    peaks = builder().finish()
    assert peaks.n_peaks.tolist() == [-1] * 6
    peaks.save(tmp_path / "peaks.h5")
    assert PeakList.open(tmp_path / "peaks.h5") == peaks
    empty = builder(0).finish()
    empty.save(tmp_path / "empty.h5")
    assert PeakList.open(tmp_path / "empty.h5") == empty


def test_saved_and_opened_is_equal_and_the_bytes_are_the_same(example, tmp_path):
    peaks = example[0]
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        peaks.save(path)
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert len(hashes) == 1
    got = PeakList.open(paths[0])
    assert got == peaks
    assert got.modules == MODULES
    assert got.module_shape == SHAPE
    assert {name: getattr(got, name).dtype for name in (*SHOTS, *PEAKS)} == {
        name: np.dtype(column.dtype) for name, column in {**SHOTS, **PEAKS}.items()
    }
    (tmp_path / "red" / "shotsieve").mkdir(parents=True)
    peaks.save(tmp_path / "red" / "shotsieve" / "peaks.h5")
    assert PeakList.open(tmp_path / "red") == peaks


def test_the_file_explains_itself(example, tmp_path):
    example[0].save(tmp_path / "peaks.h5")
    with h5py.File(tmp_path / "peaks.h5") as file:
        assert file.attrs["filters"].split(",") == list(FILTERS)
        assert file.attrs["unit"] == "keV"
        assert file["peaks/total"].attrs["unit"] == "keV"
        assert file["peaks/q"].attrs["unit"] == "1/nm"
        assert file["peaks/ss"].attrs["unit"] == "pixel"
        every = [*file["shots"].values(), *file["peaks"].values(), file["panels"]]
        assert all(dataset.attrs["meaning"] for dataset in every)
        assert len(file["shots/first"]) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "photon"},
        {"modules": (4, 1, 7, 8)},
        {"module_shape": (8, 7)},
        {"panels": None},
        "q",
        "n_peaks",
    ],
)
def test_lists_that_differ_are_not_equal(example, change):
    peaks = example[0]
    about = {name: getattr(peaks, name) for name in (*SHOTS, *PEAKS)}
    about |= {name: getattr(peaks, name) for name in ("modules", "module_shape", "unit", "panels")}
    assert PeakList(**about) == peaks
    if isinstance(change, str):
        values = about[change].copy()
        values[1] += 1
        change = {change: values}
    assert PeakList(**about | change) != peaks


def test_data_frame_has_one_row_per_peak(example):
    pytest.importorskip("pandas")
    peaks = example[0]
    frame = peaks.to_dataframe()
    assert len(frame) == 10
    assert frame["shot"].tolist() == [1, 1, 1, 3, 3, 5, 5, 5, 5, 5]
    assert frame["train_id"].tolist() == [10] * 3 + [11] * 7
    np.testing.assert_array_equal(frame["slab_ss"], peaks.slab_ss())
    for name in PEAKS:
        np.testing.assert_array_equal(frame[name], getattr(peaks, name))
    assert frame.attrs["units"]["total"] == "keV"
    assert frame.attrs["units"]["q"] == "1/nm"


def test_bad_shots_are_refused(rng):
    make = builder()
    make.set([2], found(rng, [1]))
    with pytest.raises(BadInput, match="shot 2 were set before"):
        make.set([1, 2], found(rng, [1, 1]))
    for shots in ([3, 3], [4, 3], [5, 6], [-1, 0]):
        with pytest.raises(BadInput, match="exist and"):
            make.set(shots, found(rng, [1, 1]))
    with pytest.raises(BadInput, match="2 shots are given for"):
        make.set([3], found(rng, [1, 1]))
    with pytest.raises(BadInput, match="q has shape"):
        make.set([3], found(rng, [1]), q=[1, 2])
    # What was refused left nothing behind.
    assert make.finish().n_peaks.tolist() == [-1, -1, 1, -1, -1, -1]


@pytest.mark.parametrize(("field", "value"), [("ss", 24.0), ("ss", -1), ("fs", 5.5), ("fs", np.nan)])
def test_a_peak_outside_the_slab_is_refused(rng, field, value):
    peaks = found(rng, [2])
    peaks.records[field][1] = value
    with pytest.raises(BadInput, match="outside the slab of 3 modules of 8 x 6 pixels"):
        builder().set([0], peaks)


def test_columns_that_disagree_are_refused(example):
    peaks = example[0]
    about = {name: getattr(peaks, name) for name in (*SHOTS, *PEAKS)}
    about |= {"modules": MODULES, "module_shape": SHAPE, "unit": "keV"}
    with pytest.raises(BadInput, match=r"fs has shape \(9,\); expected \(10,\): one value per peak"):
        PeakList(**about | {"fs": peaks.fs[1:]})
    with pytest.raises(BadInput, match=r"n_peaks has shape \(5,\); expected \(6,\): one value per shot"):
        PeakList(**about | {"n_peaks": peaks.n_peaks[1:]})
    with pytest.raises(BadInput, match="never falling"):
        PeakList(**about | {"first": peaks.first[::-1]})
    with pytest.raises(BadInput, match="peaks lie in module 1; the modules are 4, 7"):
        PeakList(**about | {"modules": (4, 7)})


def test_files_that_are_something_else_are_refused(example, tmp_path):
    path = tmp_path / "peaks.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "shotsieve table"
    with pytest.raises(BadInput, match="its format is 'shotsieve table'"):
        PeakList.open(path)
    example[0].save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(BadInput, match="version 99"):
        PeakList.open(path)
    example[0].save(path)
    with h5py.File(path, "r+") as file:
        del file["peaks/snr"]
    with pytest.raises(UnreadableData, match="snr"):
        PeakList.open(path)
    example[0].save(path)
    with h5py.File(path, "r+") as file:
        del file["peaks/snr"]
        file["peaks/snr"] = np.zeros(3)
    with pytest.raises(UnreadableData, match=r"damaged.*snr has shape \(3,\)"):
        PeakList.open(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(UnreadableData, match=r"peaks\.h5 cannot be read"):
        PeakList.open(path)
    with pytest.raises(UnreadableData, match="cannot be read"):
        PeakList.open(tmp_path / "absent.h5")
    with pytest.raises(OutputError, match="cannot be written"):
        example[0].save(tmp_path / "no" / "such" / "folder.h5")
