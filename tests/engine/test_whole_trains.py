"""Detectors whose files hold whole trains: a train is kept, dropped or rejected as one."""

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants import Constants
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.sources.base import RunMeta
from shotsieve.table import FATES, ModuleStatus
from shotsieve.write.exdf_file import ExdfFile

DETECTOR = "SPB_IRDA_JF4M"
TRAINS = np.arange(1, 5, dtype="u8")
CELLS = np.array([15, 0], "u1")  # cell 15 comes first
RECIPE = {
    "calibrate": {"gain_mode": "adaptive"},
    "measure": {"lit": {"threshold": "40 keV"}},
    "keep": {"rule": "lit_pixels[1] > 100"},
    "write": {"content": "corrected"},
}


@pytest.fixture(scope="module")
def constants():
    """Offset 100 in cell 15 and 200 in cell 0; 1 ADU per keV."""
    offset = np.zeros((3, 16, 512, 1024), "f4")
    offset[:, 15], offset[:, 0] = 100, 200
    arrays = {"offset": offset, "adu_per_kev": np.ones_like(offset)}
    return Constants.from_arrays("JUNGFRAU", {name: {1: a, 2: a} for name, a in arrays.items()})


@pytest.fixture
def write_run(tmp_path):
    """Two modules, four trains of two cells; module 2 missed the third train, the second shot is bright."""

    def write(cell_of_module_2=None):
        folder = tmp_path / "raw" / "r0001"
        folder.mkdir(parents=True)
        for module in (1, 2):
            there = np.array([1, 1, module == 1, 1])
            path = folder / f"RAW-R0001-JNGFR{module:02d}-S00000.h5"
            with ExdfFile(path, train_ids=TRAINS, timestamps=TRAINS, meta=RunMeta(run=1)) as file:
                data = file.instrument(f"{DETECTOR}/DET/JNGFR{module:02d}:daqOutput", "data", there)
                rows = int(there.sum())
                adc = np.tile(np.array([100, 200], "u2")[:, None, None], (rows, 1, 512, 1024))
                adc[0, 1, :10] += 5000
                data.create_dataset("adc", data=adc, chunks=(1, 1, 512, 1024))
                data.create_dataset("gain", data=np.zeros(adc.shape, "u1"), chunks=(1, 1, 512, 1024))
                cells = np.tile(CELLS, (rows, 1))
                if module == 2 and cell_of_module_2 is not None:
                    cells[1, 1] = cell_of_module_2
                data["memoryCell"], data["trainId"] = cells, TRAINS[there > 0]
        return folder

    return write


def fates(result):
    return [FATES[fate] for fate in result.table.fate]


def read(result, module):
    [path] = [file for file in result.files if f"JNGFR{module:02d}" in file.name]
    with h5py.File(path) as file:
        group = file[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR{module:02d}:daqOutput/data"]
        return {key: dataset[()] for key, dataset in group.items()}


def test_one_kept_shot_keeps_its_train(write_run, constants, tmp_path, backend_name):
    result = shotsieve.reduce(
        write_run(), RECIPE, tmp_path / "r", constants=constants, backend=backend_name, block_bytes=1
    )
    assert fates(result) == ["kept"] * 2 + ["dropped"] * 6
    assert result.table.verdict.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert result.accounts.companions == 1
    assert result.accounts.modules == {"2": {"missing": 2, "no_constants": 0, "unreadable": 0}}
    for module in (1, 2):
        written = read(result, module)
        assert written["adc"].shape == (1, 2, 512, 1024)
        assert written["memoryCell"].tolist() == [[15, 0]]
        # Each cell had its own offset, whatever its place in the train.
        assert (written["adc"][0, 0] == 0).all()
        assert (written["adc"][0, 1, :10] == 5000).all()
        assert (written["adc"][0, 1, 10:] == 0).all()


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_an_inconsistent_shot_rejects_its_train(content, write_run, constants, tmp_path):
    """Which cell a module stored is known no more; the rest of the train cannot be written without it."""
    run = write_run(cell_of_module_2=3)
    recipe = RECIPE | {"keep": {"rule": "train_id > 0"}, "write": {"content": content}}
    result = shotsieve.reduce(run, recipe, tmp_path / "r", constants=constants, backend="cpu")
    assert fates(result) == ["kept"] * 2 + ["inconsistent"] * 2 + ["kept"] * 4
    assert (result.accounts.kept, result.accounts.inconsistent, result.accounts.expected) == (6, 2, 8)
    notes = " ".join(result.accounts.notes)
    assert "1 shots have different cellIds in different modules, in trains 2" in notes
    assert "1 shots stand beside such shots in trains 2" in notes


def test_a_missed_train_stays_missed(write_run, constants, tmp_path):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    recipe = RECIPE | {"keep": {"rule": "lit_pixels >= 0"}}
    result = shotsieve.reduce(write_run(), recipe, tmp_path / "r", constants=constants, backend="cpu")
    assert result.accounts.kept == 8
    jungfrau = components.JUNGFRAU(extra_data.RunDirectory(result.out), raw=False)
    assert jungfrau.train_ids == TRAINS.tolist()
    data = jungfrau["data.adc"].ndarray()
    assert data.shape == (2, 4, 2, 512, 1024)
    assert np.isnan(data[1, 2]).all()
    np.testing.assert_array_equal(np.delete(data[1], 2, axis=0), read(result, 2)["adc"])


def test_whole_trains_are_read_or_not(write_run, constants, tmp_path):
    """A selection takes the trains of what it wants, since the format cannot hold parts of them."""
    run = write_run()
    for select, read_trains in (
        ({"rule": "train_id != 2"}, [1, 3, 4]),
        ({"cells": "0"}, [1, 2, 3, 4]),
        ({"rule": "train_id == 1 and cell_id == 15"}, [1]),
    ):
        out = tmp_path / f"r{len(read_trains)}"
        result = shotsieve.reduce(
            run, {**RECIPE, "select": select}, out, constants=constants, backend="cpu", block_bytes=1
        )
        looked_at = (result.table.module_status != ModuleStatus.NOT_READ).any(axis=1)
        assert np.unique(result.table.train_id[looked_at]).tolist() == read_trains
        assert result.accounts.not_read == 2 * (4 - len(read_trains))
        assert fates(result)[:2] == ["kept"] * 2
        assert read(result, 1)["adc"].shape == (1, 2, 512, 1024)


def test_pulses_of_a_detector_without_pulse_ids(write_run, constants, tmp_path):
    """Frames are counted in the train; how far apart they are has to be said."""
    run = write_run()
    server = "SPB_RR_UTC/TSYS/TIMESERVER:outputBunchPattern"
    with ExdfFile(
        run / "RAW-R0001-DA01-S00000.h5", train_ids=TRAINS, timestamps=TRAINS, meta=RunMeta()
    ) as file:
        data = file.instrument(server, "data", np.ones(4))
        table = np.zeros((4, 2700), "u4")
        table[:, 100], table[1:, 108], table[2, 109] = 4 << 18, 4 << 18, 4 << 18
        data["bunchPatternTable"] = table
    recipe = {**RECIPE, "annotate": {"stride": 8, "exposure": 8, "reference_frame": 0}}
    result = shotsieve.reduce(run, recipe, tmp_path / "r", constants=constants, backend="cpu")
    assert result.table.columns["n_pulses"].tolist() == [1, 0, 1, 1, 1, 2, 1, 1]
    plain = shotsieve.reduce(run, RECIPE, tmp_path / "p", constants=constants, backend="cpu")
    assert np.isnan(plain.table.columns["n_pulses"]).all()
    assert any("[annotate] stride says how many slots" in note for note in plain.accounts.notes)


@pytest.mark.parametrize(
    ("write", "dtype"),
    [({"content": "photons"}, "u2"), ({"content": "photons", "dtype": "uint8"}, "u1"),
     ({"content": "rounded", "rounding_relative": 0.01}, "f4"),
     ({"content": "raw", "compression": "gzip"}, "u2"), ({"content": "photons", "modules": "2"}, "u2")],
)  # fmt: skip
def test_photons_and_rounded_values_are_whole_trains_too(write_run, constants, tmp_path, write, dtype):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    recipe = RECIPE | {"calibrate": {"gain_mode": "adaptive", "photon_energy": "9 keV"}, "write": write}
    run = write_run()
    result = shotsieve.reduce(run, recipe, tmp_path / "r", constants=constants, backend="cpu")
    raw = write["content"] == "raw"
    jungfrau = components.JUNGFRAU(extra_data.RunDirectory(result.out), raw=raw)
    data = jungfrau["data.adc"].ndarray()
    modules = 1 if "modules" in write else 2
    assert data.shape == (modules, 1, 2, 512, 1024)
    assert data.dtype == dtype
    # 5000 keV on the first rows of the second cell, on its own offset.
    lit = {"photons": 556 if dtype == "u2" else 255, "rounded": 4992, "raw": 5200}[write["content"]]
    assert (data[:, 0, 1, :10] == lit).all()
    for cell, dark in enumerate((100, 200) if raw else (0, 0)):
        assert (data[:, 0, cell, 10:] == dark).all()
    if not raw:
        # Double pixels count here: their bit says that they are larger, not that they are bad.
        masked = jungfrau.masked_data(mask_bits=0xFFBFFFFF, masked_value=0).ndarray()
        np.testing.assert_array_equal(masked, np.where((data == 255) & (dtype == "u1"), 0, data))
    report = check_against(check(result.out), run, constants=constants, backend="cpu")
    assert report.ok, report.summary()


def test_rows_of_cells_need_files_that_hold_them(write_run, constants, tmp_path):
    keep = {"rule": "lit_pixels[1] > 100", "whole": "row"}
    run = write_run()
    with pytest.raises(BadInput, match="JUNGFRAU hold whole trains"):
        shotsieve.reduce(run, RECIPE | {"keep": keep}, tmp_path / "r", constants=constants, backend="cpu")
    recipe = RECIPE | {"keep": keep, "write": {"drop_cells": True}}
    result = shotsieve.reduce(run, recipe, tmp_path / "r", constants=constants, backend="cpu")
    # Its row of 16 cells is the whole train.
    assert fates(result) == ["kept"] * 2 + ["dropped"] * 6
    assert result.accounts.companions == 1


@pytest.mark.parametrize("drop_cells", [False, True])
@pytest.mark.parametrize("how", ["bitshuffle", "regions"])
def test_compression_and_regions_are_for_trains_too(write_run, constants, tmp_path, how, drop_cells):
    if how == "bitshuffle":
        pytest.importorskip("hdf5plugin")
    box = {"kind": "rectangle", "module": 1, "ss_start": 5, "ss_stop": 30, "fs_start": 0, "fs_stop": 500}
    recipe = RECIPE | {"measure": RECIPE["measure"] | {"roi": {"box": box}}}
    more = {"compression": "bitshuffle-lz4"} if how == "bitshuffle" else {"regions": "box"}
    run, made = write_run(), []
    for name, write in (("plain", {}), ("mine", more)):
        recipe |= {"write": {"drop_cells": drop_cells, **write}}
        made.append(
            shotsieve.reduce(run, recipe, tmp_path / name, constants=constants, backend="cpu", block_bytes=1)
        )
    plain, mine = (read(result, 1) for result in made)
    inside = np.ones((512, 1024), bool)
    if how == "regions":
        inside[:] = False
        inside[5:30, :500] = True
        assert np.isnan(mine["adc"][..., ~inside]).all()
        assert (mine["mask"][..., ~inside] & (1 << 31) > 0).all()
        assert [path.name for path in made[1].files if "JNGFR02" in path.name] == []
    for name in ("adc", "gain", "mask"):
        np.testing.assert_array_equal(mine[name][..., inside], plain[name][..., inside])
    np.testing.assert_array_equal(mine["memoryCell"], plain["memoryCell"])
    report = check_against(check(made[1].out), run, constants=constants, backend="cpu")
    assert report.ok, report.faults


def test_corrected_trains_are_reduced_like_raw_ones(write_run, constants, tmp_path):
    """All trains as corrected files, then the same rule: the same table, and every bit of the kept frames."""
    raw = write_run()
    recipe = {**RECIPE, "keep": {"rule": "lit_pixels[1] > 100"}}
    one = shotsieve.reduce(raw, recipe, tmp_path / "one", constants=constants, backend="cpu")
    everything = {**RECIPE, "keep": {"rule": "n_modules > 0"}}
    run = shotsieve.reduce(raw, everything, tmp_path / "all", constants=constants, backend="cpu").out
    two = shotsieve.reduce(run, recipe, tmp_path / "two", backend="cpu")
    for name in one.table.measures:
        assert np.array_equal(one.table.measures[name], two.table.measures[name]), name
    assert fates(one) == fates(two)
    for module in (1, 2):
        kept, again = read(one, module), read(two, module)
        assert kept.keys() == again.keys()
        assert all(kept[name].tobytes() == again[name].tobytes() for name in kept)
    assert check_against(check(two.out), run, backend="cpu").ok


def test_frames_that_cannot_be_read(write_run, constants, tmp_path):
    """One frame that was never written costs its module the train; without any module the train is lost."""
    run = write_run()
    for module, row in ((1, 2), (2, 2)):  # module 2 has no row of the third train
        with h5py.File(run / f"RAW-R0001-JNGFR{module:02d}-S00000.h5", "r+") as file:
            group = file[f"INSTRUMENT/{DETECTOR}/DET/JNGFR{module:02d}:daqOutput/data"]
            adc = group["adc"][...]
            del group["adc"]
            new = group.create_dataset("adc", adc.shape, "u2", chunks=(1, 1, 512, 1024), compression="gzip")
            for at in np.ndindex(adc.shape[:2]):
                if at != (row, 1):
                    new[at] = adc[at]
    recipe = {**RECIPE, "keep": {"rule": "lit_pixels[1] >= 0"}}
    given = {"constants": constants, "backend": "cpu", "block_bytes": 1}
    result = shotsieve.reduce(run, recipe, tmp_path / "r", tolerant=True, **given)
    assert fates(result) == ["kept"] * 4 + ["unreadable"] * 2 + ["kept"] * 2
    unreadable = result.table.module_status == ModuleStatus.UNREADABLE
    assert unreadable.tolist() == [[False] * 2] * 4 + [[True, False]] * 2 + [[False, True]] * 2
    assert read(result, 1)["trainId"].tolist() == [1, 2, 4]
    assert read(result, 2)["trainId"].tolist() == [1, 2]
    report = check(result.out)
    check_against(report, run, constants=constants, backend="cpu")
    assert report.ok, report.summary()
