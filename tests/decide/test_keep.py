"""Kept misses: a share chosen by the key of each shot alone; and decisions replayed on a table."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shotsieve.cli import main
from shotsieve.cli_decide import replay
from shotsieve.decide import Rule
from shotsieve.errors import BadInput
from shotsieve.keep import Keeper, chosen, kept_misses
from shotsieve.table import Table


def make_table(trains=50, pulses=40):
    train = np.repeat(np.arange(1000, 1000 + trains), pulses)
    pulse = np.tile(np.arange(pulses) * 4, trains)
    table = Table(train, pulse, pulse // 4, modules=(0, 1), module_pixels=100, measures=["lit_pixels"])
    rng = np.random.default_rng(3)
    status = np.zeros((len(table), 2), "u1")
    status[rng.random(len(table)) < 0.05, 1] = 1
    table.set_module_status(slice(None), status)
    table.set_measure("lit_pixels", slice(None), rng.integers(0, 100, (len(table), 2)))
    return table


def keeper(**options):
    return Keeper(Rule.parse("lit_pixels > 150", ["lit_pixels"]), **{"misses": 0.1, "seed": 5, **options})


def keys_of(table, keep):
    return set(zip(table.train_id[keep].tolist(), table.pulse_id[keep].tolist(), strict=True))


def decided(rows):
    """In another process: what is kept of some shots."""
    table = make_table().part(rows)
    own = keeper()
    own.prepare(table)
    return keys_of(table, own.decide(table, np.arange(len(table))))


ELSEWHERE = """
import json, runpy, sys
import numpy as np
kept = runpy.run_path(sys.argv[1])["decided"](np.array(json.load(sys.stdin)))
print(json.dumps([[int(n) for n in key] for key in kept]))
"""


def decided_elsewhere(rows):
    """The same as `decided`, in another process."""
    command = [sys.executable, "-c", ELSEWHERE, __file__]
    run = subprocess.run(command, input=json.dumps(rows.tolist()), capture_output=True, text=True, check=True)
    return {tuple(key) for key in json.loads(run.stdout)}


def test_the_same_shots_for_any_order_split_or_process():
    table = make_table()
    own = keeper()
    own.prepare(table)
    whole = keys_of(table, own.decide(table, np.arange(len(table))))
    assert decided(np.arange(len(table))[::-1]) == whole
    parts = np.array_split(np.arange(len(table)), 4)
    assert set().union(*map(decided, parts)) == whole
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set().union(*pool.map(decided_elsewhere, parts)) == whole
    for size in (1, 7, 333):
        blocks = make_table()
        own.prepare(blocks)
        cuts = [np.arange(s, min(s + size, len(blocks))) for s in range(0, len(blocks), size)]
        found = [own.decide(blocks, rows) for rows in cuts]
        assert keys_of(blocks, np.concatenate(found)) == whole


def test_a_share_of_the_misses_and_their_probability():
    table = make_table(trains=500)
    own = keeper(misses=0.02)
    own.prepare(table)
    kept = own.decide(table, np.arange(len(table)))
    hit, miss = table.verdict != 0, table.verdict == 0
    assert kept[hit].all()
    n = miss.sum()
    assert abs(kept[miss].sum() - 0.02 * n) < 5 * np.sqrt(0.02 * n)
    probability = table.columns["keep_probability"]
    assert (probability[hit] == 1).all()
    assert (probability[miss] == 0.02).all()
    np.testing.assert_array_equal(kept_misses(table), kept & miss)
    # Counting every kept shot with the inverse of its probability gives all shots again.
    assert (1 / probability[kept]).sum() == pytest.approx(len(table), rel=0.05)


@given(st.integers(0, 2**63 - 1), st.floats(0, 1))
def test_any_seed_gives_the_share(seed, share):
    n = 4000
    found = chosen(share, seed, np.arange(n) + 10**9, np.arange(n) % 352).sum()
    assert abs(found - share * n) <= 6 * np.sqrt(n * share * (1 - share)) + 3


def test_a_larger_share_holds_the_smaller_and_seeds_differ():
    train, pulse = np.repeat(np.arange(100), 100), np.tile(np.arange(100), 100)
    few, many = chosen(0.05, 1, train, pulse), chosen(0.2, 1, train, pulse)
    assert not (few & ~many).any()
    assert (few & chosen(0.05, 2, train, pulse)).sum() < few.sum() / 3
    assert chosen(1.0, 1, train, pulse).all()
    assert not chosen(0.0, 1, train, pulse).any()


def test_undecided_shots_that_are_dropped_are_misses_too():
    table = make_table()
    own = keeper(undecided="drop", misses=0.5)
    own.prepare(table)
    kept = own.decide(table, np.arange(len(table)))
    unknown = table.verdict == -1
    assert 0 < kept[unknown].sum() < unknown.sum()


def test_whole_trains_are_kept_or_not():
    table = make_table()
    own = Keeper(Rule.parse("lit_pixels > 197", ["lit_pixels"]), "drop", 0.2, 1, whole="train")
    own.prepare(table)
    kept = own.decide(table, np.arange(len(table))).reshape(50, 40)
    assert (kept.all(axis=1) | ~kept.any(axis=1)).all()
    hit = (table.verdict == 1).reshape(50, 40).any(axis=1)
    assert kept[hit].all()
    assert 0 < kept[~hit].all(axis=1).sum() < (~hit).sum()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"misses": 1.5}, "share"),
        ({"misses": -0.1}, "share"),
        ({"seed": -1}, "seed"),
        ({"undecided": "maybe"}, "keep"),
    ],
)
def test_bad_values(options, text):
    with pytest.raises(BadInput, match=text):
        keeper(**options)


def test_a_decision_is_replayed(tmp_path, capsys):
    table = make_table()
    first = replay(table, "lit_pixels > 150", misses=0.1, seed=5)
    assert first["asked"] == len(table) == first["kept"] + first["dropped"]
    table.set_fate(slice(0, 3), "suspect")
    table.save(tmp_path / "table.h5")
    again = replay(Table.open(tmp_path / "table.h5"), "lit_pixels > 150", misses=0.1, seed=5)
    assert (again["newly_kept"], again["newly_dropped"], again["asked"]) == (0, 0, len(table) - 3)
    command = ["decide", str(tmp_path / "table.h5"), "--rule", "lit_pixels > 170", "--undecided", "drop"]
    assert main([*command, "--json", "-o", str(tmp_path / "new.h5")]) == 0
    said = json.loads(capsys.readouterr().out)
    new = Table.open(tmp_path / "new.h5")
    assert said["kept"] == (new.fate == 0).sum() == (new.verdict == 1).sum()
    assert said["newly_dropped"] > 0
    assert said["newly_kept"] == 0
    assert (new.fate[:3] == 2).all()
    assert main(command) == 0
    assert "newly dropped" in capsys.readouterr().out
    assert main([*command, "-o", str(tmp_path / "new.h5")]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["decide", str(tmp_path / "table.h5"), "--rule", "n_peaks > 1"]) == 1
