"""A run of corrected files as input: the same as the raw run it is of, and kept frames as they came."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants.bad_pixels import DEFAULT_BAD_BITS
from shotsieve.engine.against import check_against
from shotsieve.peak_list import PeakList
from shotsieve.sources.run import open_run

from .corrected_case import ALL, DET, KEEP, contents, facility, planes_of, same_tables, whole
from .spots import PEAKS

__all__ = ["facility", "whole"]

# ---------------------------------------------------------------------- the same as from raw words


def test_calibrating_and_reducing_commute(simulated, whole, make_recipe, tmp_path, backend_name):
    recipe = make_recipe(keep=KEEP)
    sim = simulated("usual")
    raw = shotsieve.reduce(sim.raw, recipe, tmp_path / "raw", constants=sim.constants, backend=backend_name)
    run = whole()
    found = shotsieve.reduce(run, recipe, tmp_path / "corrected", backend=backend_name, block_bytes=6_000_000)
    same_tables(raw.table, found.table)
    assert contents(raw) == contents(found)
    assert 0 < (found.table.fate == 0).sum() < len(found.table)
    assert any("holds corrected data, in keV" in note for note in found.accounts.notes)
    report = check_against(check(found.out), run, backend=backend_name)
    assert report.ok, report.summary()


@pytest.mark.parametrize("name", ["missing_module", "missed_train", "cell_without_constants"])
def test_odd_runs_too(simulated, whole, make_recipe, tmp_path, name):
    # Shots without constants stay unknown, though their masks are full.
    recipe = make_recipe(keep={"rule": "lit_fraction[3] > 0.01"})
    sim = simulated(name)
    raw = shotsieve.reduce(sim.raw, recipe, tmp_path / "raw", constants=sim.constants, backend="cpu")
    found = shotsieve.reduce(whole(name), recipe, tmp_path / "corrected", backend="cpu")
    same_tables(raw.table, found.table)
    assert contents(raw) == contents(found)


@pytest.mark.parametrize(
    "write",
    [
        {"content": "photons"},
        {"content": "rounded", "rounding_absolute": "0.05 keV"},
        {"content": "photons", "dtype": "uint8", "regions": "corner"},
    ],
    ids=["photons", "rounded", "regions"],
)
def test_every_form_of_kept_frames(simulated, whole, make_recipe, tmp_path, write):
    measure = {"lit": {"threshold": "0.7 photon"}}
    if "regions" in write:
        corner = {"ss_start": 0, "ss_stop": 9, "fs_start": 0, "fs_stop": 70, "module": 3, "kind": "rectangle"}
        measure["roi"] = {"corner": corner}
    recipe, sim = make_recipe(write=write, measure=measure, keep=KEEP), simulated("usual")
    raw = shotsieve.reduce(sim.raw, recipe, tmp_path / "raw", constants=sim.constants, backend="cpu")
    found = shotsieve.reduce(whole(), recipe, tmp_path / "corrected", backend="cpu")
    same_tables(raw.table, found.table)
    assert contents(raw) == contents(found)


def test_peaks_profiles_and_cxi(embedded, tmp_path, backend_name):
    measure = {"peaks": PEAKS, "lit": {}}
    if backend_name == "cpu":  # the others agree with it, and averages within 1e-9 only
        measure |= {"azint": {"npt": 40}, "average": {"by": "cell"}}
    everything = embedded.reduce(tmp_path / "all", write=ALL)
    sections = {
        "measure": measure,
        "keep": {"rule": "n_peaks[3] + n_peaks[4] >= 20"},
        "write": {"content": "corrected", "cxi": True},
    }
    raw = embedded.reduce(tmp_path / "raw", "cpu", **sections)
    out = tmp_path / "corrected"
    found = shotsieve.reduce(everything.out, embedded.recipe(**sections), out, backend=backend_name)
    same_tables(raw.table, found.table)
    assert contents(raw) == contents(found)
    one, other = PeakList.open(raw.out), PeakList.open(found.out)
    assert one.n_peaks.tolist() == other.n_peaks.tolist()
    assert one.n_peaks.sum() > 100
    assert np.array_equal(one.rejected, other.rejected)
    assert all(np.array_equal(one.records(shot), other.records(shot)) for shot in range(len(one)))
    for name in ("profiles.h5", "averages.h5") if backend_name == "cpu" else ():
        with h5py.File(raw.out / "shotsieve" / name) as a, h5py.File(out / "shotsieve" / name) as b:
            compare(a, b)
    [cxi] = out.glob("*.cxi")
    with h5py.File(cxi) as a, h5py.File(raw.out / cxi.name) as b:
        for name in ("data", "mask"):
            path = f"entry_1/instrument_1/detector_1/{name}"
            assert a[path][()].tobytes() == b[path][()].tobytes()


def compare(one, other):
    names = []
    one.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    assert names
    for name in names:
        if one[name].dtype.kind in "fiu":
            np.testing.assert_array_equal(one[name][()], other[name][()], err_msg=name)


# ---------------------------------------------------------------------- frames as they came


@pytest.mark.parametrize("dtype", ["f4", "i2", "u1", "f2"])
def test_files_of_the_facilitys_layout(facility, make_recipe, tmp_path, dtype):
    run = facility(dtype)
    recipe = make_recipe(
        calibrate={"unit": "photon"},
        measure={"lit": {"threshold": "4.5 photon"}},
        keep={"rule": "lit_pixels[3] > 3000"},
    )
    result = shotsieve.reduce(run, recipe, tmp_path / "red", backend="cpu")
    assert (result.table.fate == 0).tolist() == [False] * 4 + [True] * 2
    for module in (3, 4):
        data, mask = (planes_of(run, module, name) for name in ("data", "mask"))
        good = (mask & DEFAULT_BAD_BITS == 0) & ~np.isnan(data.astype("f4"))
        lit = (good & (data.astype("f4") > 4.5)).sum(axis=(1, 2))
        assert result.table.measures["lit_pixels"][:, module].tolist() == lit.tolist()
        assert result.table.measures["unmasked_pixels"][:, module].tolist() == good.sum(axis=(1, 2)).tolist()
        photons = np.where(good, data.astype("f4"), 0).sum(axis=(1, 2))
        assert result.table.measures["photons"][:, module].tolist() == photons.tolist()
        for name in ("data", "mask", "gain"):
            was, kept = planes_of(run, module, name)[4:], planes_of(result.out, module, name)
            assert (was.dtype, was.tobytes()) == (kept.dtype, kept.tobytes()), name
    report = check_against(check(result.out), run, backend="cpu")
    assert report.ok, report.summary()


def test_integers_on_every_device(facility, make_recipe, tmp_path, device_name):
    """One bit that no measure sees is found in what is kept."""
    run = facility("i2")
    recipe = make_recipe(calibrate={"unit": "photon"}, keep={"rule": "lit_pixels[3] > 3000"})
    recipe["measure"]["lit"]["threshold"] = "4.5 photon"
    one, other = (
        shotsieve.reduce(run, recipe, tmp_path / name, backend=name) for name in ("cpu", device_name)
    )
    same_tables(one.table, other.table)
    assert contents(one) == contents(other)
    with h5py.File(run / "CORR-R0001-AGIPD03-S00000.h5", "r+") as file:
        file[f"INSTRUMENT/{DET}/CORR/3CH0:output/image/gain"][5, 500, 100] ^= 1
    report = check_against(check(other.out), run, backend=device_name)
    assert any("gain is not what its source gives" in fault for fault in report.faults)


def test_extra_data_reads_what_is_kept(facility, make_recipe, tmp_path):
    import extra_data
    from extra_data.components import AGIPD1M

    run = facility("i2")
    recipe = make_recipe(calibrate={"unit": "photon"}, keep={"rule": "lit_pixels[3] > 3000"})
    recipe["measure"]["lit"]["threshold"] = "4.5 photon"
    out = shotsieve.reduce(run, recipe, tmp_path / "red", backend="cpu").out
    detector = AGIPD1M(extra_data.RunDirectory(str(out)), min_modules=2)
    data = detector.get_array("image.data")
    assert (data.dtype, data.shape) == (np.int16, (2, 1, 2, 512, 128))  # modules, trains, pulses
    assert (np.asarray(data)[0, 0] == planes_of(run, 3, "data")[4:]).all()


def test_what_is_not_there_is_said(facility, make_recipe, tmp_path):
    run = facility(mask=False, gain=False)
    recipe = make_recipe(calibrate={"unit": "keV"}, measure={"lit": {"threshold": "1 keV"}}, keep=None)
    result = shotsieve.reduce(run, recipe, tmp_path / "red", backend="cpu")
    notes = "\n".join(result.accounts.notes)
    assert "2 files have no mask (first: CORR-R0001-AGIPD03-S00000.h5): pixels are bad where" in notes
    assert "2 files have no gain" in notes
    data = planes_of(run, 3, "data")
    good = ~np.isnan(data)
    assert result.table.measures["unmasked_pixels"][:, 3].tolist() == good.sum(axis=(1, 2)).tolist()
    assert planes_of(result.out, 3, "data").tobytes() == data.tobytes()
    assert not planes_of(result.out, 3, "mask").any()
    assert result.table.module_status[:, 3].tolist() == [0] * 6


def test_the_recipe_says_which_bits_are_bad(facility, make_recipe, tmp_path):
    run = facility("i2")
    sections = {"measure": {"lit": {"threshold": "0.5 photon"}}, "keep": None, "write": None}
    for bits in (0, 1 << 3, 0xFFFFFFFF):
        recipe = make_recipe(calibrate={"unit": "photon", "bad_bits": bits}, **sections)
        table = shotsieve.reduce(run, recipe, tmp_path / f"{bits}", backend="cpu").table
        good = (planes_of(run, 4, "mask") & np.uint32(bits) == 0).sum(axis=(1, 2))
        assert table.measures["unmasked_pixels"][:, 4].tolist() == good.tolist()


def test_integers_of_some_regions(facility, make_recipe, tmp_path):
    """Integers have no NaN: what is not written is 0 and masked."""
    run = facility("i2")
    corner = {"ss_start": 0, "ss_stop": 9, "fs_start": 0, "fs_stop": 70, "module": 3, "kind": "rectangle"}
    measure = {"lit": {"threshold": "0.5 photon"}, "roi": {"corner": corner}}
    write = {"content": "corrected", "regions": "corner"}
    recipe = make_recipe(calibrate={"unit": "photon"}, measure=measure, keep=None, write=write)
    result = shotsieve.reduce(run, recipe, tmp_path / "red", backend="cpu")
    data, mask = (planes_of(result.out, 3, name) for name in ("data", "mask"))
    was = planes_of(run, 3, "data")
    assert data.dtype == was.dtype
    assert (data[:, :9, :70] == was[:, :9, :70]).all()
    assert not data[:, 9:].any()
    assert (mask[:, 9:] >> 31 == 1).all()
    assert check(result.out).ok


def test_reduced_again_and_again(whole, make_recipe, tmp_path):
    """Photons of a reduction are the input of the next: integers, in a unit that the files say."""
    first = shotsieve.reduce(
        whole(), make_recipe(keep=None, write={"content": "photons"}), tmp_path / "1", backend="cpu"
    )
    recipe = make_recipe(measure={"lit": {"threshold": "0.7 photon"}}, keep=KEEP)
    second = shotsieve.reduce(first.out, recipe, tmp_path / "2", backend="cpu")
    kept = second.table.fate == 0
    assert 0 < kept.sum() < len(kept)
    assert np.array_equal(second.table.measures["photons"], first.table.measures["photons"])
    for name in ("data", "mask", "gain"):
        was = planes_of(first.out, 3, name)[kept]
        assert was.tobytes() == planes_of(second.out, 3, name).tobytes()
    assert planes_of(second.out, 3, "data").dtype == np.uint16
    assert open_run(second.out).corrected.unit == "photon"


# ---------------------------------------------------------------------- parts, folders, the engine


def test_an_interrupted_reduction_goes_on(whole, make_recipe, tmp_path, interrupt_after, digest):
    recipe = make_recipe(keep=KEEP, write={"content": "corrected", "trains_per_file": 1})
    one = shotsieve.reduce(whole(), recipe, tmp_path / "one", backend="cpu")
    with interrupt_after("reduce", 1):
        shotsieve.reduce(whole(), recipe, tmp_path / "two", backend="cpu")
    two = shotsieve.reduce(whole(), recipe, tmp_path / "two", backend="cpu", resume=True)
    assert digest(one.out) == digest(two.out)
