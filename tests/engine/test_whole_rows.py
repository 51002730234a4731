"""A kept shot keeps its row of memory cells, or its train: the same bytes for any block size."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build
from shotsieve.table import FATES

from .conftest import write_without_constants

ROWS = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}, "write": {"content": "corrected"}}
ORDERS = {
    "usual": (30, 31, 32, 33, 63, 64),
    "odd": (64, 31, 0, 63, 30, 2),  # a row begins, another one lies between, it goes on
    "late": (40, 41, 95, 96, 97, 33),
}


@pytest.fixture(scope="module", params=sorted(ORDERS))
def run(request, tmp_path_factory):
    p = SpiParameters(
        n_trains=3, n_cells=6, cell_ids=ORDERS[request.param], modules=(3,), hit_rate=0.2, seed=11,
        photons_per_hit=(1e6, 1e7), radius_nm=15.0, background=0.002,
    )  # fmt: skip
    raw, _ = write_without_constants(tmp_path_factory.mktemp(request.param), p)
    return raw, constants_in_memory(p, build(p)[1])


def bytes_of(result):
    names = sorted(path.relative_to(result.out) for path in result.out.rglob("*") if path.is_file())
    return {str(name): (result.out / name).read_bytes() for name in names if name.name != "machine.json"}


def keys(table):
    return list(zip(table.train_id.tolist(), (table.cell_id // 32).tolist(), strict=True))


@pytest.mark.parametrize("whole", ["row", "train"])
@pytest.mark.parametrize("misses", [0.0, 0.3])
def test_any_block_size_gives_the_same_bytes(run, tmp_path, whole, misses):
    raw, constants = run
    # Hits, found by a measure, and what chance adds; unknown ones are kept too.
    recipe = ROWS | {"keep": {"rule": "lit_pixels[3] > 1000", "whole": whole, "misses": misses, "seed": 4}}
    made = []
    for block in (1, 3 * 4_200_000, 10**9):
        out = tmp_path / str(block)
        made.append(shotsieve.reduce(raw, recipe, out, constants=constants, backend="cpu", block_bytes=block))
        assert check(out).ok
        report = check_against(check(out), raw, constants=constants, backend="cpu")
        assert report.ok, report.faults
    assert bytes_of(made[0]) == bytes_of(made[1]) == bytes_of(made[2])
    table, accounts = made[0].table, made[0].accounts
    kept = table.fate == FATES.index("kept")
    units = [key if whole == "row" else key[0] for key in keys(table)]
    hit = {unit for unit, verdict in zip(units, table.verdict, strict=True) if verdict}
    lucky = {unit for unit, one in zip(units, kept, strict=True) if one} - hit
    assert hit
    assert kept.tolist() == [unit in hit | lucky for unit in units]
    assert bool(lucky) <= (misses > 0)
    assert accounts.companions == sum(u in hit and v == 0 for u, v in zip(units, table.verdict, strict=True))
    assert accounts.misses == sum(unit in lucky for unit in units)
    assert accounts.kept == (table.verdict != 0).sum() + accounts.companions + accounts.misses
    accounts.check()


def test_a_sample_is_of_whole_rows(run, tmp_path):
    raw, constants = run
    recipe = ROWS | {"keep": {"rule": "lit_pixels[3] > 1000", "whole": "row"}}
    shotsieve.reduce(raw, recipe, tmp_path / "r", constants=constants, backend="cpu")
    report = check_against(check(tmp_path / "r"), raw, constants=constants, backend="cpu", sample=0.5, seed=2)
    assert report.ok, report.faults


def test_cells_that_are_not_read_are_no_companions(run, tmp_path):
    raw, constants = run
    recipe = ROWS | {"keep": {"rule": "lit_pixels[3] >= 0", "whole": "row"}, "select": {"cells": "31:64"}}
    result = shotsieve.reduce(raw, recipe, tmp_path / "r", constants=constants, backend="cpu", block_bytes=1)
    read = (result.table.cell_id >= 31) & (result.table.cell_id < 64)
    assert np.array_equal(result.table.fate == FATES.index("kept"), read)


def test_a_table_of_before_is_asked_by_rows(run, tmp_path):
    raw, constants = run
    recipe = ROWS | {"keep": {"rule": "lit_pixels[3] > 1000", "whole": "row"}}
    first = shotsieve.reduce(raw, recipe, tmp_path / "a", constants=constants, backend="cpu")
    again = shotsieve.reduce(
        raw, recipe, tmp_path / "b", constants=constants, backend="cpu", table=first.table, block_bytes=1
    )
    assert np.array_equal(first.table.fate, again.table.fate)


def test_an_engine_needs_room_for_whole_trains(run):
    raw, constants = run
    recipe = ROWS | {"keep": {"rule": "lit_pixels[3] > 1000", "whole": "train"}}
    recipe["calibrate"] = {"gain_mode": "adaptive", "photon_energy": "9.3 keV"}
    with shotsieve.Engine(recipe, constants=constants, detector="AGIPD1M", backend="cpu", block_shots=3,
                          modules=range(16), cells=(0,), force=True) as engine:  # fmt: skip
        with pytest.raises(BadInput, match="stay together"):
            list(engine.run(raw))
