"""Item 2: every situation that files of a run can hold, through a whole reduction, each with its outcome.

What is kept and what becomes of the rest is written down by hand for each of them; the words of kept frames
are those that were written, bit for bit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.table import FATES

from ..sources.conftest import words

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")

DET, JUNGFRAU = "SPB_DET_AGIPD1M-1", "SPB_IRDA_JF4M"
P = [0, 2, 4]
RULE = "pulse_id > 0"  # so that something is dropped everywhere


def grid(trains, pulses=P):
    return [(t, p) for t in trains for p in pulses]


@dataclass(frozen=True)
class Case:
    """A situation.

    Attributes
    ----------
    write : callable
        Writes the files, given a maker.
    sound : list of (train, pulse)
        Shots that the rule is asked of.
    rejected : dict of str to list of (train, pulse)
        Shots that are not, by their fate.
    missing : int
        Shots that the files lack.
    absent : dict of int to list of int
        Trains in which a module has no data.
    """

    write: Callable
    sound: list[tuple[int, int]]
    rejected: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    missing: int = 0
    absent: dict[int, list[int]] = field(default_factory=dict)
    modules: tuple[int, ...] = (0, 1)
    trains: tuple[int, ...] = (10, 11, 12)


def both(trains, first=(0, 1), **options):
    """Write the same trains for all modules."""

    def write(maker):
        for module in first:
            maker.module(module, trains, **options)

    return write


def each(**files):
    """Write ``m0=...``: the files of each module, as a list of (trains, options)."""

    def write(maker):
        for name, parts in files.items():
            for sequence, (trains, options) in enumerate(parts):
                maker.module(int(name[1:]), trains, sequence=sequence, **options)

    return write


FULL = [(10, P), (11, P), (12, P)]
CASES = {
    "a plain run": Case(both(FULL), grid([10, 11, 12])),
    "different frame counts for one train in two modules": Case(
        each(m0=[(FULL, {})], m1=[([(10, P), (11, [*P, 6]), (12, P)], {})]),
        grid([10, 11, 12]),
        {"inconsistent": [(11, 6)]},
    ),
    "equal counts, different pulseIds": Case(
        each(m0=[(FULL, {})], m1=[([(10, P), (11, [0, 2, 6]), (12, P)], {})]),
        [*grid([10]), (11, 0), (11, 2), *grid([12])],
        {"inconsistent": [(11, 4), (11, 6)]},
    ),
    "a module lacks a train": Case(
        each(m0=[(FULL, {})], m1=[([(10, P), (12, P)], {})]), grid([10, 11, 12]), absent={1: [11]}
    ),
    "a module has count 0 for a train": Case(
        each(m0=[(FULL, {})], m1=[([(10, P), (11, []), (12, P)], {})]), grid([10, 11, 12]), absent={1: [11]}
    ),
    "a module's file is absent": Case(both(FULL, first=(1,)), grid([10, 11, 12]), modules=(1,)),
    "an empty train": Case(both([(10, P), (11, []), (12, P)]), grid([10, 12]), missing=3),
    "a train that is short in all modules": Case(
        both([(10, P), (11, P[:2]), (12, P)]), [*grid([10]), (11, 0), (11, 2), *grid([12])]
    ),
    "a sequence file with zero trains": Case(
        each(**{f"m{m}": [([(10, P), (11, P)], {}), ([], {}), ([(12, P)], {})] for m in (0, 1)}),
        grid([10, 11, 12]),
    ),
    "the same train in two sequence files": Case(
        each(**{f"m{m}": [([(10, P), (11, P)], {}), ([(11, P), (12, P)], {})] for m in (0, 1)}),
        grid([10, 11, 12]),
        {"duplicate": grid([11])},
    ),
    "the same train in two sequence files of one module": Case(
        each(m0=[([(10, P), (11, P)], {}), ([(11, P), (12, P)], {})], m1=[(FULL, {})]),
        grid([10, 11, 12]),
        {"duplicate": grid([11])},
    ),
    "the same train twice in one file": Case(
        both([(10, P), (11, P), (11, P), (12, P)]), grid([10, 11, 12]), {"duplicate": grid([11])}
    ),
    "trainIds out of order": Case(both([(12, P), (10, P), (11, P)]), grid([10, 11, 12])),
    "pulseIds not sorted within a train": Case(
        each(m0=[([(10, [4, 0, 2]), (11, P), (12, P)], {"cells": [2, 0, 1, 0, 1, 2, 0, 1, 2]})],
             m1=[(FULL, {})]),
        grid([10, 11, 12]),
    ),
    "a pulseId twice in a train": Case(
        both([(10, P), (11, [0, 2, 2, 4]), (12, P)]), grid([10, 11, 12]), {"duplicate": [(11, 2)]}
    ),
    "suspect trains": Case(
        both([(10, P), (11, P), (12, P)], flags=[1, 0, 1]), grid([10, 12]), {"suspect": grid([11])}
    ),
    "a suspect train with a bogus id": Case(
        both([(10, P), (2**40, P), (11, P), (12, P)], flags=[1, 0, 1, 1]),
        grid([10, 11, 12]),
        {"suspect": grid([2**40])},
        trains=(10, 11, 12, 2**40),
    ),
    "a train suspect in the files of one module": Case(
        each(m0=[(FULL, {})], m1=[(FULL, {"flags": [1, 0, 1]})]), grid([10, 11, 12]), absent={1: [11]}
    ),
    "a suspect train without data": Case(
        both([(10, P), (11, []), (12, P)], flags=[1, 0, 1]), grid([10, 12])
    ),
    "a train without a number": Case(
        both([(10, P), (0, P), (11, P), (12, P)]), grid([10, 11, 12]), {"suspect": grid([0])}
    ),
    "a module starts a train later": Case(
        each(m0=[(FULL, {})], m1=[(FULL[1:], {})]), grid([10, 11, 12]), absent={1: [10]}
    ),
    "a module starts two trains later, another ends earlier": Case(
        each(m0=[(FULL[:2], {})], m1=[(FULL[2:], {})], m2=[(FULL, {})]),
        grid([10, 11, 12]),
        absent={0: [12], 1: [10, 11]},
        modules=(0, 1, 2),
    ),
    "sequences of modules break at different trains": Case(
        each(m0=[(FULL[:1], {}), (FULL[1:], {})], m1=[(FULL[:2], {}), (FULL[2:], {})]), grid([10, 11, 12])
    ),
    "cellIds of a shot differ": Case(
        each(m0=[(FULL, {})], m1=[(FULL, {"cells": [0, 1, 2, 0, 9, 2, 0, 1, 2]})]),
        [*grid([10]), (11, 0), (11, 4), *grid([12])],
        {"inconsistent": [(11, 2)]},
    ),
}  # fmt: skip


def source_of(module):
    return f"{DET}/DET/{module}CH0:xtdf"


@pytest.fixture(params=CASES, ids=[name.replace(" ", "-") for name in CASES])
def case(request, full_maker, tmp_path):
    """A case, its raw run, and the run reduced to raw words."""
    told = CASES[request.param]
    maker = full_maker()
    told.write(maker)
    recipe = {"keep": {"rule": RULE}, "write": {"content": "raw", "others": True}}
    return told, maker.folder, shotsieve.reduce(maker.folder, recipe, tmp_path / "red", backend="cpu")


def test_accounts_fates_words_and_readers(case, validated):
    told, folder, result = case
    _accounts(told, result)
    _words(told, result)
    _readers(told, result)
    validated(result.out)
    report = check_against(check(result.out), folder, backend="cpu")
    assert report.ok, report.summary()


def _accounts(told, result):
    """Every row of the files has one fate, as written down above, and the sums are right."""
    accounts, table = result.accounts, result.table
    accounts.check()
    expected = Counter()
    expected.update((key, "kept" if key[1] > 0 else "dropped") for key in told.sound)
    for fate, keys in told.rejected.items():
        expected.update((key, fate) for key in keys)
    keys = zip(table.train_id.tolist(), table.pulse_id.tolist(), strict=True)
    found = Counter(zip(keys, (FATES[fate] for fate in table.fate), strict=True))
    assert found == expected
    for fate in FATES:
        assert getattr(accounts, fate) == sum(n for (_, f), n in expected.items() if f == fate)
    assert accounts.missing == told.missing
    assert accounts.expected == len(table) + told.missing == sum(expected.values()) + told.missing
    rejected = [key for keys in told.rejected.values() for key in keys]
    assert accounts.trains == len({t for t, _ in [*told.sound, *rejected]} | set(told.trains))
    stored = json.loads((result.out / "shotsieve/accounts.json").read_text())
    assert stored["kept"] == accounts.kept
    lost = {str(m): sum(t in trains for t, _ in told.sound) for m, trains in told.absent.items()}
    for module, count in lost.items():
        assert accounts.modules[module]["missing"] == count


def kept_of(told, module):
    return [key for key in sorted(told.sound) if key[1] > 0 and key[0] not in told.absent.get(module, [])]


def _words(told, result):
    """Kept frames are the recorded ones, once each, in order."""
    with extra_data.RunDirectory(result.out) as run:
        assert len(run.files) == len(result.files) == len(told.modules)
        assert run.all_sources == {source_of(m) for m in told.modules}
        assert run.train_ids == [t for t in told.trains if t]
        for module in told.modules:
            data = run[source_of(module)]
            kept = kept_of(told, module)
            ids = [data[f"image.{key}"].ndarray().tolist() for key in ("trainId", "pulseId", "cellId")]
            assert list(zip(*ids[:2], strict=True)) == kept
            assert len(set(kept)) == len(kept)
            expected = np.array([words(t, p, module, (512, 128)) for t, p in kept])
            np.testing.assert_array_equal(data["image.data"].ndarray(), expected)
            # The fourth number: where the pulse is in its train.
            table = result.table
            cell = {
                (int(t), int(p)): int(c)
                for t, p, c, fate in zip(
                    table.train_id, table.pulse_id, table.cell_id, table.fate, strict=True
                )
                if fate == 0
            }
            assert ids[2] == [cell[key] for key in kept]
            told_of = run.auxiliary[f"SHOTSIEVE/{source_of(module)}"]
            before, *parts = (
                told_of[f"image.{key}"].ndarray().astype(int)
                for key in (
                    "framesBefore",
                    "framesKept",
                    "framesDropped",
                    "framesRejected",
                    "framesUnreadable",
                )
            )
            np.testing.assert_array_equal(before, sum(parts))
            assert parts[0].sum() == len(kept)


def _readers(told, result):
    """The component of all modules sees one list of shots, with holes where a module has none."""
    with extra_data.RunDirectory(result.out) as run:
        agipd = components.AGIPD1M(run, raw=True)
        kept = [key for key in sorted(told.sound) if key[1] > 0]
        assert sorted(agipd.modno_to_source) == list(told.modules)
        assert agipd.train_ids == sorted({t for t, _ in kept})
        labelled = agipd["image.data"].xarray(subtrain_index="pulseId")
        assert [(int(t), int(p)) for t, p in labelled.indexes["train_pulse"]] == kept
        for row, module in enumerate(told.modules):
            there = np.array([t not in told.absent.get(module, []) for t, _ in kept])
            expected = np.array([words(t, p, module, (512, 128)) for t, p in kept])
            np.testing.assert_array_equal(labelled.values[row, there], expected[there])
            assert not labelled.values[row, ~there].any()


def test_all_trains_empty_is_an_error(full_maker, tmp_path):
    maker = full_maker()
    both([(10, []), (11, [])])(maker)
    recipe = {"keep": {"rule": RULE}, "write": {"content": "raw"}}
    with pytest.raises(BadInput, match="all 2 trains are empty in all modules"):
        shotsieve.reduce(maker.folder, recipe, tmp_path / "red", backend="cpu")
    assert not (tmp_path / "red").exists()


# ---------------------------------------------------------------------- a detector that stores whole trains


CELLS = [15, 0]
WHOLE = {
    "a module lacks a train": ([[(10, 1), (11, 1), (12, 1)], [(10, 1), (11, 0), (12, 1)]], [10, 11, 12], []),
    "a train twice as long in all modules": ([[(10, 1), (11, 2), (12, 1)]] * 2, [10, 12], [(11, 4)]),
    "a train twice as long in one module": (
        [[(10, 1), (11, 2), (12, 1)], [(10, 1), (11, 1), (12, 1)]], [10, 12], [(11, 4)]
    ),
    "an empty train": ([[(10, 1), (11, 0), (12, 1)]] * 2, [10, 12], []),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE, ids=lambda name: name.replace(" ", "-"))
def test_whole_trains(name, full_maker, validated, tmp_path):
    files, sound, rejected = WHOLE[name]
    maker = full_maker((512, 1024))
    for module, trains in enumerate(files, 1):
        maker.jungfrau(module, trains, CELLS)
    recipe = {"keep": {"rule": "train_id > 10"}, "write": {"content": "raw"}}
    result = shotsieve.reduce(maker.folder, recipe, tmp_path / "red", backend="cpu")
    result.accounts.check()
    table, accounts = result.table, result.accounts
    fates = Counter(zip(table.train_id.tolist(), (FATES[f] for f in table.fate), strict=True))
    expected = Counter({(t, "kept" if t > 10 else "dropped"): 2 for t in sound})
    expected.update({(t, "inconsistent"): n for t, n in rejected})
    assert fates == expected
    assert accounts.missing == (2 if name == "an empty train" else 0)
    with extra_data.RunDirectory(result.out) as run:
        assert len(run.files) == 2
        assert run.train_ids == [10, 11, 12]
        for module, trains in enumerate(files, 1):
            data = run[f"{JUNGFRAU}/DET/JNGFR{module:02d}:daqOutput"]
            kept = [t for t in sound if t > 10 and dict(trains)[t]]
            assert data["data.trainId"].ndarray().tolist() == kept
            frames = np.array([[words(t, i, module, (512, 1024)) for i in range(2)] for t in kept])
            np.testing.assert_array_equal(data["data.adc"].ndarray(), frames[:, :, 0])
            np.testing.assert_array_equal(data["data.gain"].ndarray(), frames[:, :, 1] % 4)
        jungfrau = components.JUNGFRAU(run, raw=True)
        assert jungfrau["data.adc"].ndarray().shape == (2, len([t for t in sound if t > 10]), 2, 512, 1024)
    validated(result.out)
    report = check_against(check(result.out), maker.folder, backend="cpu")
    assert report.ok, report.summary()
