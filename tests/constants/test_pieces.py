"""Constants are folded a few cells at a time: the same bits, whatever the pieces are."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
from shotsieve.constants import Constants, Steps, fold, pieces
from shotsieve.constants.facility import write_facility
from shotsieve.constants.masks import StaticMask
from shotsieve.folded_tables import make_tables

from .folding import assert_same

CELLS = [0, 1, 2, 4, 5, 6, 8, 9, 10]  # of a run with cells 0 ... 11
PLANES = {"offset": 3, "thresholds": 2, "relative_gain": 3, "mg_baseline": 1, "adu_per_kev": 1}


def arrays(agipd, seed, *, without=()):
    """Return constants of a module; cell 5 is worth nothing."""
    rng = np.random.default_rng(seed)
    levels = {"offset": 5000, "thresholds": 7000, "relative_gain": 30, "mg_baseline": 64, "adu_per_kev": 7}
    found = {
        name: rng.normal(levels[name], 0.1, (planes, len(CELLS), *agipd.shape)).astype("f4")
        for name, planes in PLANES.items()
        if name not in without
    }
    found["offset"][:, 4] = np.nan
    found["bad_pixels"] = rng.integers(0, 16, (3, len(CELLS), *agipd.shape), dtype="u4") // 15
    return found


@pytest.fixture
def constants(agipd):
    """Constants of three modules, of which the second lacks one that is needed."""
    by_module = {
        module: arrays(agipd, module, without=("adu_per_kev",) if module == 1 else ()) for module in range(3)
    }
    names = {name for own in by_module.values() for name in own}
    by_name = {name: {m: own[name] for m, own in by_module.items() if name in own} for name in names}
    return Constants.from_arrays(agipd, by_name, cell_ids=CELLS)


def take_together(monkeypatch, cells):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    monkeypatch.setattr(pieces, "usable_cpus", lambda: cells)


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_bits_in_any_pieces(constants, agipd, monkeypatch, packed):
    steps = Steps(
        packed_constants=packed, mask_noisy_adc=True, noisy_adc_block="2x4", noisy_adc_threshold=0.3
    )
    bits = np.random.default_rng(1).integers(0, 2, (3, 1, agipd.pixels), dtype="u4") << 8
    masks = StaticMask(bits, (0, 1, 2), None)

    def tables():
        return make_tables(
            constants, agipd, (0, 1, 2), np.arange(12), steps, "keV", 9.3, "adaptive", masks=masks
        )

    whole = tables()
    known = np.isin(np.arange(12), CELLS) & (np.arange(12) != 5)
    assert ((whole.row_of >= 0) == known * np.array([[1], [0], [1]])).all()
    assert len(whole.table) == len(whole.mask) == whole.row_of.max() + 1 == 2 * known.sum()
    for most in (1, 2, 5):
        take_together(monkeypatch, most)
        assert len(pieces.pieces_of_cells(constants, agipd, 0, np.arange(12))[0]) == most
        assert_same(tables(), whole)


def test_the_same_bits_in_any_part_of_a_cell(constants, agipd, monkeypatch):
    whole = fold(constants, agipd, 0, CELLS, Steps(force_mg_if_below=1000))
    for nbytes in (1, 5 * 8 * 3, 3 * agipd.pixels * 8 * 3):  # a pixel, five, three cells
        monkeypatch.setattr(sys.modules[fold.__module__], "_BYTES", nbytes)
        again = fold(constants, agipd, 0, CELLS, Steps(force_mg_if_below=1000))
        assert [part.tobytes() for part in again] == [part.tobytes() for part in whole]


def test_nothing_is_folded_where_no_cell_occurs(constants, agipd):
    tables = make_tables(constants, agipd, (0,), np.zeros(0, int), Steps(), "keV", 9.3, "adaptive")
    assert (len(tables.table), tables.row_of.shape) == (0, (1, 0))


def test_which_constants_are_read_in_pieces(agipd, facility_arrays, tmp_path, monkeypatch):
    """Not those whose files or arrays hold the cells of a pixel side by side: all would be read each time."""
    take_together(monkeypatch, 1)
    own = arrays(agipd, 0)
    in_memory = Constants.from_arrays(agipd, own, modules=[1])
    in_file = Constants.open(in_memory.save(tmp_path / "constants.h5"), agipd)
    turned = {name: np.asarray(array.T, order="C").T for name, array in own.items()}
    stored = facility_arrays(agipd, len(CELLS))
    paths = write_facility(tmp_path / "store", agipd, {"PDU": stored}, {"PDU": 1}, {})
    in_store = Constants.open(tmp_path / "store", agipd)

    def count(constants):
        return len(pieces.pieces_of_cells(constants, agipd, 1, np.arange(len(CELLS))))

    assert count(in_memory) == count(in_file) == count(in_store) == len(CELLS)
    assert count(Constants.from_arrays(agipd, turned, modules=[1])) == 1
    with h5py.File(paths[0], "r+") as file:
        name = "PDU/Offset/0/data"
        values, told = file[name][()], dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values).attrs.update(told)
    assert count(Constants.open(tmp_path / "store", agipd)) == 1
    paths[0].write_bytes(b"damaged")
    assert count(in_store) == 1
