"""Common mode through the whole engine: what is written is what the reference makes of the whole run."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.calibrate import list_frames
from shotsieve.check import check
from shotsieve.common_mode import CommonModeParams, list_units
from shotsieve.constants import Steps, fold
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.reference.calibrate import calibrate_count
from shotsieve.reference.common_mode import cell_common_mode, common_mode, dark_values
from shotsieve.reference.shift import tile_of_pixel
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.common_mode import common_mode_of
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build

from .conftest import write_without_constants

SWITCHES = {"common_mode": True}
CELLS = SWITCHES | {"cell_common_mode": True}
MODULES, N_CELLS = (3,), 33
DATA = "INSTRUMENT/SPB_DET_AGIPD1M-1/{}/{}CH0:{}/image/{}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole row of cells and a single one, and a train of five; hits whose ASICs have no dark pixels."""
    p = SpiParameters(
        n_trains=2, n_cells=N_CELLS, modules=MODULES, hit_rate=0.3, seed=11, photons_per_hit=(1e5, 1e7),
        radius_nm=15.0, background=0.01, common_mode_adu=9.0, short_trains=((3, 1, 5),), truth_stage=False,
    )  # fmt: skip
    raw, _ = write_without_constants(tmp_path_factory.mktemp("mode"), p)
    return raw, p, constants_in_memory(p, build(p)[1])


def recipe(switches, content="corrected", whole="row", rule="lit_pixels[3] > 2000"):
    return {
        "calibrate": dict(switches),
        "measure": {"lit": {"threshold": "0.7 photon"}},
        "keep": {"rule": rule, "whole": whole},
        "write": {"content": content},
    }


def read(folder, module, content="corrected"):
    """Return train, cell and the datasets of the frames of one module."""
    kind, group = ("DET", "xtdf") if content == "raw" else ("CORR", "output")
    names = ("data",) if content == "raw" else ("data", "gain", "mask")
    found = {}
    for path in sorted(folder.glob(f"*AGIPD{module:02d}*.h5")):
        with h5py.File(path) as file:
            for name in ("trainId", "cellId", *names):
                values = file[DATA.format(kind, module, group, name)][()]
                found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def constants_table(constants):
    return fold(constants, detectors.load("AGIPD1M"), 3, np.arange(N_CELLS), Steps(), "keV", 9.3).table


def expected(run, module, cells):
    """Return keys, words, pixels and counts of every frame of a module, by the reference alone."""
    raw, _, constants = run
    frames = read(raw, module, "raw")
    train, cell = frames["trainId"].reshape(-1), frames["cellId"].reshape(-1).astype("i4")
    words = frames["data"].reshape(len(cell), 2, -1)
    agipd, steps = detectors.load("AGIPD1M"), Steps(**CELLS)
    table = constants_table(constants)
    mode = CommonModeParams.from_steps(steps, agipd, "adaptive")
    rows, present = cell[:, None], np.ones((len(cell), 1), bool)
    listed, groups = list_frames(present, rows)
    how = mode.kernel_args()
    tile = np.zeros((len(cell), 16), "i4")
    pixel, units = None, list_units(present, rows, train, cell, 32)
    least = mode.least(4096)
    if not cells:
        common_mode(words, listed, groups, table, tile, **how, least=least, n_itr=4)
    else:
        pixel = np.zeros((len(units.frames), 65536), "i4")
        for itr in range(4):
            cell_common_mode(
                words, units.frames, units.rows, table, pixel, **how, least=mode.least(32), shift=tile,
                add=itr > 0,
            )  # fmt: skip
            common_mode(
                words, listed, groups, table, tile, **how, least=least, n_itr=1, add=itr > 0,
                pixel_shift=pixel, pixel_shift_row=units.of_frame,
            )  # fmt: skip
    counts, pixels = np.zeros((len(cell), 5), "i8"), np.zeros((len(cell), 65536), "f4")
    calibrate_count(
        words, listed, groups, table, counts, pixels, np.zeros((len(cell), 65536), "u1"), encoding=0,
        set_min=True, lit_threshold=np.float32(0.7 * 9.3), shift=tile, pixel_shift=pixel,
        pixel_shift_row=None if pixel is None else units.of_frame, **vars(mode.tiles),
    )  # fmt: skip
    return {"train": train, "cell": cell, "words": words, "pixels": pixels, "counts": counts, "tile": tile}


@pytest.fixture(scope="module")
def wanted(run):
    return {(module, cells): expected(run, module, cells) for module in MODULES for cells in (False, True)}


def compare(result, wanted, cells):
    """Compare a reduction with the reference; return the number of frames."""
    seen = 0
    for module in MODULES:
        frames, answer = read(result.out, module), wanted[module, cells]
        key = answer["train"] * 1000 + answer["cell"]
        rows = np.searchsorted(key, frames["trainId"] * 1000 + frames["cellId"])
        found = frames["data"].reshape(len(rows), -1)
        np.testing.assert_array_equal(found.view("u4"), answer["pixels"][rows].view("u4"))
        table = result.table
        done = table.cell_id < (N_CELLS if cells else FEW_CELLS)
        at = np.searchsorted(key, table.train_id * 1000 + table.cell_id)
        lit = table.measures["lit_pixels"][:, module]
        np.testing.assert_array_equal(lit[done], answer["counts"][at[done], 0])
        seen += len(rows)
    return seen


FEW_CELLS = 12  # of which frames are read where rows of cells do not matter
BOX = (3, 10, 100, 5, 80)
BOX_KEYS = ("module", "ss_start", "ss_stop", "fs_start", "fs_stop")


def check_box(table, answer):
    """The sums over a region are those of the reference's pixels."""
    box = answer["pixels"].reshape(-1, 512, 128)[:, BOX[1] : BOX[2], BOX[3] : BOX[4]]
    at = np.searchsorted(answer["train"] * 1000 + answer["cell"], table.train_id * 1000 + table.cell_id)
    sums, done = np.nansum(box.astype("f8"), axis=(1, 2))[at], table.cell_id < FEW_CELLS
    np.testing.assert_allclose(table.columns["roi_box_sum"][done], sums[done], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("cells", [False, True])
def test_frames_are_those_of_the_reference(run, wanted, tmp_path, backend_name, cells):
    raw, _, constants = run
    content = recipe(CELLS) if cells else recipe(SWITCHES, whole="shot")
    if not cells:  # every frame is looked at, and counted then; kept ones do not stand together
        content["select"] = {"cells": f"0:{FEW_CELLS}"}
        content["measure"]["roi"] = {"box": dict(zip(BOX_KEYS, BOX, strict=True)) | {"kind": "rectangle"}}
    made = {}
    # Rows of cells one by one, or all at once.
    for block in (1,) if backend_name == "emu" else (1, 10**9):
        out = tmp_path / str(block)
        result = shotsieve.reduce(
            raw, content, out, constants=constants, backend=backend_name, block_bytes=block
        )
        assert 0 < compare(result, wanted, cells) < N_CELLS + 5
        if not cells:
            check_box(result.table, wanted[3, False])
        made[block] = [path.read_bytes() for path in sorted(out.glob("*.h5"))]
    assert len({tuple(files) for files in made.values()}) == 1


def test_what_was_put_in_is_taken_out(run, wanted):
    """To 1.3 sigma / sqrt(dark pixels), rms over ASICs; one that a hit fills is left alone."""
    _, p, constants = run
    answer, table = wanted[3, False], constants_table(constants)
    noise = np.nanmedian(constants.load("noise", 3)[0])
    asic = tile_of_pixel(65536, 64, 64, 128)
    errors, untouched = [], 0
    for shot, (train, cell) in enumerate(zip(answer["train"], answer["cell"], strict=True)):
        truth = common_mode_of(p, int(train - p.first_train), int(cell), 3)
        found = answer["tile"][shot]
        left = dark_values(answer["words"][shot], table[cell], 0, -1) - found[asic]
        dark = np.bincount(asic[np.abs(left) <= 30 * 256], minlength=16)
        done = dark > 0.15 * 4096
        untouched += int((found[~done] == 0).sum())
        errors.append(((found / 256 - truth) * np.sqrt(dark) / noise)[done])
    errors = np.concatenate(errors)
    assert 0 < untouched < len(errors)
    assert np.sqrt(np.mean(errors**2)) < 1.3


def test_reducing_and_calibrating_commute(run, tmp_path):
    (raw, _, constants), switches = run, CELLS
    rule = recipe(switches)["keep"]["rule"]
    direct = shotsieve.reduce(raw, recipe(switches), tmp_path / "a", constants=constants, backend="cpu")
    words = shotsieve.reduce(raw, recipe(switches, "raw"), tmp_path / "b", constants=constants, backend="cpu")
    again = shotsieve.reduce(
        words.out, recipe(switches, rule=rule), tmp_path / "c", constants=constants, backend="cpu"
    )
    for module in MODULES:
        one, other = read(direct.out, module), read(again.out, module)
        assert len(one["data"])
        for name in one:
            np.testing.assert_array_equal(one[name].view("u1"), other[name].view("u1"))


def test_checked_against_its_source(run, tmp_path):
    raw, _, constants = run
    result = shotsieve.reduce(raw, recipe(CELLS), tmp_path / "r", constants=constants, backend="cpu")
    report = check_against(check(result.out), raw, constants=constants, backend="cpu")
    assert report.ok, report.faults
    with h5py.File(result.files[0]) as file:
        assert "6 shots stand in rows of fewer than 32 cells" in str(file.attrs["notes"])


def test_an_engine_and_a_calibrator_give_the_same(run, wanted):
    raw, _, constants = run
    frames = read(raw, 3, "raw")
    cell = frames["cellId"].reshape(-1)
    calibrate = shotsieve.Calibrator(constants, [3], steps=Steps(**SWITCHES), backend="cpu")
    found = calibrate(frames["data"][:5], cell[:5]).data.reshape(5, -1)
    np.testing.assert_array_equal(found.view("u4"), wanted[3, False]["pixels"][:5].view("u4"))
    content = recipe(CELLS, rule="lit_pixels[3] >= 0")
    content["calibrate"] |= {"gain_mode": "adaptive", "photon_energy": "9.3 keV"}
    with shotsieve.Engine(content, constants=constants, detector="AGIPD1M", backend="cpu", modules=(3,),
                          force=True) as engine:  # fmt: skip
        block = shotsieve.Block(frames["data"][:N_CELLS, None], 7, np.arange(N_CELLS), cell[:N_CELLS])
        data = engine.submit(block).result().frames["data"].reshape(N_CELLS, -1)
    np.testing.assert_array_equal(data.view("u4"), wanted[3, True]["pixels"][:N_CELLS].view("u4"))


def test_an_engine_refuses_rows_that_are_torn(run):
    raw, _, constants = run
    frames = read(raw, 3, "raw")
    cell = frames["cellId"].reshape(-1)[:N_CELLS]
    content = recipe(CELLS, rule="lit_pixels[3] >= 0")
    content["calibrate"] |= {"gain_mode": "adaptive", "photon_energy": "9.3 keV"}

    def block(start, stop, train=7):
        at = np.arange(start, stop)
        return shotsieve.Block(frames["data"][at, None], train, at, cell[at])

    options = {"constants": constants, "detector": "AGIPD1M", "backend": "cpu", "modules": (3,)}
    with shotsieve.Engine(content, force=True, **options) as engine:
        for good in (block(0, 32), block(32, N_CELLS), block(0, 16, 8), block(0, 16, 8), block(0, 16, 9)):
            engine.submit(good).result()
        with pytest.raises(BadInput, match=r"train 9 has cells 16 to 19 here, .* cut the train between rows"):
            engine.submit(block(16, 20, 9))
        with pytest.raises(BadInput, match="train 3 has cells 31 to 31"):
            list(engine.run(iter([block(0, 31, 3), block(31, 32, 3)])))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"keep": {"rule": "lit_pixels[3] > 1", "whole": "shot"}}, 'set \\[keep\\] whole = "row"'),
        ({"select": {"cells": "0:31"}}, "tears 1 apart"),
        ({"calibrate": CELLS | {"gain_mode": "fixed_medium"}}, "looks at dark pixels in high gain"),
        ({"calibrate": {"cell_common_mode": True}}, "set common_mode = true"),
        ({"calibrate": SWITCHES | {"cm_dark_range": "-30 30"}}, "expected two numbers and ADU"),
        ({"calibrate": SWITCHES | {"cm_dark_range": "30 -30 ADU"}}, "must rise"),
        ({"calibrate": SWITCHES | {"cm_dark_fraction": 1.0}}, "must be at least 0 and below 1"),
        ({"calibrate": SWITCHES | {"cm_n_itr": 0}}, "must be from 1 to"),
    ],
)
def test_what_does_not_go_together_is_refused(run, tmp_path, changes, text):
    raw, _, constants = run
    with pytest.raises(BadInput, match=text):
        shotsieve.reduce(
            raw, recipe(CELLS) | changes, tmp_path / "r", constants=constants, backend="cpu", force=True
        )


def test_frames_alone_do_not_say_their_train(run):
    _, _, constants = run
    with pytest.raises(BadInput, match="do not say of which train"):
        shotsieve.Calibrator(constants, [3], steps=Steps(**CELLS), backend="cpu")


def test_without_common_mode_nothing_is_asked_for(run):
    agipd = detectors.load("AGIPD1M")
    assert CommonModeParams.from_steps(Steps(), agipd, "adaptive") is None
    jungfrau = detectors.load("JUNGFRAU")
    assert CommonModeParams.from_steps(Steps(**SWITCHES), jungfrau, "adaptive") is None
    mode = CommonModeParams.from_steps(Steps(**SWITCHES), agipd, "adaptive")
    assert dataclasses.replace(mode).least(4096) == 614
