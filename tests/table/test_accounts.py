"""Accounts: every shot is counted once, and the text says the same on every machine."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from shotsieve.accounts import Accounts, Split
from shotsieve.errors import ShotsieveError
from shotsieve.table import ModuleStatus, Table

FAST = {"backend": "cpu_v3", "threads": 2, "run_s": 0.5, "shots_per_s": 1234.5}


def make():
    """13 shots in the table, 4 missing; two modules."""
    fates = (
        ["kept"] * 5 + ["dropped"] * 3 + ["suspect", "duplicate", "inconsistent", "unreadable", "unreadable"]
    )
    table = Table(np.arange(13), np.zeros(13), np.zeros(13), (0, 7), 100)
    for row, fate in enumerate(fates):
        table.set_fate([row], fate)
    status = np.zeros((13, 2), "u1")
    status[8:] = ModuleStatus.NOT_READ
    status[0, 1] = status[5, 1] = ModuleStatus.MISSING
    status[1] = ModuleStatus.NO_CONSTANTS
    status[2, 0] = ModuleStatus.UNREADABLE
    table.set_module_status(slice(None), status)
    table.set_verdict(slice(0, 8), [1, -1, -1, 0, 1, -1, 0, 0])  # the fourth is kept for its train's sake
    source = SimpleNamespace(
        detector=SimpleNamespace(name="AGIPD1M"),
        name="SPB_DET_AGIPD1M-1",
        missing_shots=4,
        notes=["train 3 is odd"],
    )
    source.trains = type("Trains", (), {"expected": np.array([8, 9], "i4"), "__len__": lambda self: 2})()
    return source, table


def test_counts():
    source, table = make()
    accounts = Accounts.from_run(
        source, table, bytes_in=1000, bytes_out=100, notes=["more"], performance=FAST
    )
    accounts.check()
    assert accounts.expected == 17
    assert (accounts.kept, accounts.dropped, accounts.unreadable, accounts.missing) == (5, 3, 2, 4)
    assert accounts.rejected == 3
    assert accounts.undecided == Split(kept=2, dropped=1)
    assert accounts.partial == Split(kept=3, dropped=1)
    assert accounts.no_dark_data == Split(kept=1, dropped=0)
    assert accounts.companions == 1
    assert accounts.modules == {
        "0": {"missing": 0, "no_constants": 1, "unreadable": 1},
        "7": {"missing": 2, "no_constants": 1, "unreadable": 0},
    }
    assert accounts.notes == ["train 3 is odd", "more"]


@pytest.mark.parametrize("name", ["expected", "kept", "missing", "duplicate"])
def test_a_shot_too_many_is_noticed(name):
    accounts = Accounts.from_run(*make())
    setattr(accounts, name, getattr(accounts, name) + 1)
    with pytest.raises(ShotsieveError, match=r"do not add up: expected \d+ shots, but \d+ kept \+"):
        accounts.check()


def test_more_undecided_than_kept_is_noticed():
    accounts = Accounts("D", "S", 1, expected=1, kept=1, undecided=Split(2, 0))
    with pytest.raises(ShotsieveError, match="undecided"):
        accounts.check()


def test_json_does_not_depend_on_the_machine():
    source, table = make()
    plain = Accounts.from_run(source, table, bytes_in=1000, bytes_out=100)
    fast = Accounts.from_run(source, table, bytes_in=1000, bytes_out=100, performance=FAST)
    assert plain.to_json() == fast.to_json()
    content = json.loads(fast.to_json())
    assert "performance" not in content
    assert list(content) == sorted(content)
    assert content["undecided"] == {"kept": 2, "dropped": 1}
    assert content["undecided_share"] == 3 / 8
    assert content["ratio"] == 10
    assert json.loads(fast.to_json(performance=True))["performance"] == FAST


def test_the_summary_says_it_all():
    source, table = make()
    told = Accounts.from_run(
        source, table, bytes_in=403_200_000, bytes_out=12_300_000, performance=FAST
    ).summary()
    for part in (
        "AGIPD1M SPB_DET_AGIPD1M-1: 2 trains",
        "of these 2 undecided, 3 partial, 1 without constants, 1 companions",
        "37.5 % of the shots measured",
        "module 7      2 missing, 1 no constants",
        "403.2 MB in, 12.3 MB out, ratio 32.8",
        "1,234 shots/s in 0.50 s on cpu_v3 (2 threads)",
        "train 3 is odd",
    ):
        assert part in told
    assert len({line.index("%") for line in told.splitlines() if line.endswith("%")}) == 1


def test_modules_that_are_alike_share_a_line():
    missing = {"missing": 2, "no_constants": 0, "unreadable": 0}
    modules = {str(m): missing for m in (1, 3, 4, 5)} | {"7": missing | {"missing": 1}}
    told = Accounts("D", "S", trains=1, expected=2, kept=2, modules=modules).summary()
    assert "  modules 1,3-5 2 missing\n  module 7      1 missing\n" in told


def test_nothing_at_all():
    accounts = Accounts("D", "S", trains=0, expected=0)
    accounts.check()
    assert "expected" in accounts.summary()
    assert accounts.to_dict()["undecided_share"] == 0
