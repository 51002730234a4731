"""Dark frames are left out before they are read, and nothing lit goes with them."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.keep import unread
from shotsieve.select import Selection, parse_cells
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.memory import spi_source
from shotsieve.sources import open_run
from shotsieve.table import ModuleStatus, Table

CELLS = 16
LIT = {
    "calibrate": {},
    "measure": {"lit": {"threshold": "0.7 photon"}},
    "keep": {"rule": "lit_pixels > 3000"},
}


@pytest.fixture(scope="module")
def every_second(tmp_path_factory):
    """A run whose even cells are dark: the reference frame is 1."""
    p = SpiParameters(
        n_trains=6,
        n_cells=CELLS,
        modules=(3, 4),
        dark_cells=tuple(range(2, CELLS, 2)),
        hit_rate=0.5,
        photons_per_hit=(1e4, 1e5),
        background=0.01,
        truth_stage=False,
        bad_fraction=0.002,
    )
    return simulate_spi(tmp_path_factory.mktemp("dark"), p)


def reduce(run, out, **recipe):
    source = open_run(run.raw)
    result = shotsieve.reduce(source, {**LIT, **recipe}, out, constants=run.constants, backend="cpu")
    return source, result


def test_half_the_bytes_and_nothing_lit_lost(every_second, tmp_path):
    run, truth = every_second, every_second.truth
    whole_source, whole = reduce(run, tmp_path / "whole")
    half_source, half = reduce(run, tmp_path / "half", select={"frames": "lit"})
    # The reader's own count, and that of the accounts.
    assert half_source.bytes_read * 2 == whole_source.bytes_read > 0
    assert half.accounts.bytes_in * 2 == whole.accounts.bytes_in == whole_source.bytes_read
    lit = truth.n_pulses > 0
    assert lit.mean() == 0.5
    np.testing.assert_array_equal(unread(half.table), ~lit)
    np.testing.assert_array_equal(half.table.fate[lit], whole.table.fate[lit])
    np.testing.assert_array_equal(
        half.table.measures["lit_pixels"][lit], whole.table.measures["lit_pixels"][lit]
    )
    assert (half.table.fate[truth.hit] == 0).mean() > 0.5
    assert not (half.table.fate[~lit] == 0).any()
    a = half.accounts
    a.check()
    assert (a.not_read, a.expected) == (48, 96)
    assert a.partial.total == 48  # the other modules are not there; what was not read does not count
    assert any("48 shots were not read, since [select] leaves them out: frames = lit" in n for n in a.notes)
    assert "48 not read" in a.summary()


def test_frames_that_are_written_are_those_of_the_whole_run(every_second, tmp_path):
    """Leaving dark frames out and dropping them afterwards give the same files."""
    rule = {"keep": {"rule": "n_pulses > 0 and lit_pixels > 3000"}, "write": {"content": "raw"}}
    _, whole = reduce(every_second, tmp_path / "whole", **rule)
    _, half = reduce(every_second, tmp_path / "half", select={"frames": "lit"}, **rule)
    h5py = pytest.importorskip("h5py")
    for a, b in zip(whole.files, half.files, strict=True):
        with h5py.File(a) as fa, h5py.File(b) as fb:
            group = next(
                name for name in _names(fa) if name.endswith("image/data") and name.startswith("INSTRUMENT")
            )
            for key in ("data", "pulseId", "cellId", "trainId"):
                name = group.replace("image/data", f"image/{key}")
                np.testing.assert_array_equal(fa[name][()], fb[name][()])


def _names(file):
    found = []
    file.visit(found.append)
    return found


def test_whole_rows_super_patterns_cells_and_rules(every_second, tmp_path):
    truth = every_second.truth
    for select, wanted in (
        ({"frames": "lit_rows"}, np.ones(96, bool)),
        ({"frames": "super"}, truth.cell_id % 2 == 1),
        ({"cells": "1:8:2, 12"}, np.isin(truth.cell_id, [1, 3, 5, 7, 12])),
        ({"frames": "lit", "cells": "0:4"}, np.isin(truth.cell_id, [1, 3])),
        ({"frames": "lit_rows", "cells": "0:4"}, np.ones(96, bool)),
        ({"frames": "lit_rows", "cells": "2"}, np.zeros(96, bool)),
        ({"rule": "pulse_energy > 1500 or cell_id == 0"}, (truth.pulse_energy > 1500) | (truth.cell_id == 0)),
    ):
        _, result = reduce(
            every_second, tmp_path / "out", select=select, measure={}, keep={"rule": "cell_id >= 0"}
        )
        read = (result.table.module_status != ModuleStatus.NOT_READ).any(axis=1)
        np.testing.assert_array_equal(read, wanted, str(select))
        np.testing.assert_array_equal(result.table.fate == 0, wanted)
        import shutil

        shutil.rmtree(tmp_path / "out")


def test_what_is_unknown_is_read():
    table = Table([1, 1, 1, 2], [0, 1, 2, 0], [0, 1, 2, 0], modules=(0,), module_pixels=9)
    table.add_column("data_frame", [0, np.nan, 1, np.nan])
    table.add_column("pulse_energy", [5, np.nan, 1, 2])
    assert Selection("lit").wanted(table).tolist() == [False, True, True, True]
    assert Selection("super").wanted(table).tolist() == [True] * 4
    assert Selection("lit", whole_trains=True).wanted(table).tolist() == [True] * 4
    from shotsieve.decide import Rule

    rule = Rule.parse("pulse_energy > 3", ["pulse_energy"])
    assert Selection(rule=rule).wanted(table).tolist() == [True, True, False, False]
    bare = Table([1], [0], [0], modules=(0,), module_pixels=9)
    assert Selection("lit").wanted(bare).tolist() == [True]


def test_kept_misses_are_chosen_among_what_was_read(every_second, tmp_path):
    keep = {"rule": "lit_pixels > 3000", "misses": 1.0}
    _, result = reduce(every_second, tmp_path / "out", select={"frames": "lit"}, keep=keep)
    lit = every_second.truth.n_pulses > 0
    np.testing.assert_array_equal(result.table.fate == 0, lit)
    assert (result.table.columns["keep_probability"][~lit] == 0).all()


def test_a_decision_is_replayed_without_what_was_not_read(every_second, tmp_path):
    from shotsieve.cli_decide import replay

    _, result = reduce(every_second, tmp_path / "out", select={"frames": "lit"})
    again = replay(Table.open(result.out), "lit_pixels >= 0")
    assert (again["asked"], again["kept"], again["undecided"]) == (48, 48, 0)


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"cells": "3:1"}, "start:stop"),
        ({"cells": "a"}, "start:stop"),
        ({"cells": "1:9:0"}, "start:stop"),
        ({"rule": "lit_pixels > 3"}, "before any is read"),
        ({"rule": "n_modules > 3"}, "before any is read"),
        ({"frames": "bright"}, "one of all, lit, lit_rows, super, super_rows"),
    ],
)
def test_wrong_selections(select, words, every_second, tmp_path):
    with pytest.raises(BadInput, match=words):
        reduce(every_second, tmp_path / "out", select=select)


def test_cells_are_python_ranges():
    assert parse_cells("5, 0:4, 8:20:3") == ((5, 6, 1), (0, 4, 1), (8, 20, 3))


def test_rejected_shots_have_no_say(tmp_path):
    """A suspect train whose pulses nobody knows does not make every cell of the run one that is lit."""
    p = SpiParameters(n_trains=3, n_cells=4, modules=(3,), dark_cells=(2,), suspect_trains=(1,), hit_rate=0.0)
    source, _ = spi_source(p)
    source._columns["data_frame"][source.shots.train_id == source.shots.train_id[4]] = np.nan
    result = shotsieve.reduce(
        source,
        {"select": {"frames": "super"}, "keep": {"rule": "cell_id >= 0"}},
        tmp_path / "r",
        backend="cpu",
    )
    read = (result.table.module_status != ModuleStatus.NOT_READ).any(axis=1)
    assert read.tolist() == [False, True, False, True] + [False] * 4 + [False, True, False, True]
    assert (result.accounts.suspect, result.accounts.not_read) == (4, 4)
