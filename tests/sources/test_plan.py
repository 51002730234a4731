"""Building the list of shots, against a slow reference made of dictionaries."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.sources import ShotStatus
from shotsieve.sources.plan import Part, build_plan

MODULES = (3, 4, 9)


@st.composite
def runs(draw):
    """Files of up to three modules: trains and pulses in any order, also several times."""
    parts = []
    for module in range(3):
        for _ in range(draw(st.integers(0, 2))):
            trains = draw(st.lists(st.integers(1, 5), max_size=5))
            pulses = [draw(st.lists(st.sampled_from([0, 1, 2, 7]), max_size=4)) for _ in trains]
            cells = [draw(st.lists(st.integers(0, 1), min_size=len(p), max_size=len(p))) for p in pulses]
            good = [draw(st.sampled_from([True, True, True, False])) for _ in trains]
            gap = draw(st.integers(0, 2))
            parts.append((module, trains, good, pulses, cells, gap))
    return parts


def make_parts(run):
    parts = []
    for module, trains, good, pulses, cells, gap in run:
        # Rows that belong to no train lie before, between and behind those that do.
        first, rows, ids, cell = [], gap, [99] * gap, [99] * gap
        for p, c in zip(pulses, cells, strict=True):
            first.append(rows)
            ids += [*p, *[99] * gap]
            cell += [*c, *[99] * gap]
            rows += len(p) + gap
        parts.append(
            Part(
                module,
                np.array(trains, "u8"),
                np.array(trains, "u8") * 10,
                np.array(good, bool),
                np.array(first, "i8"),
                np.array([len(p) for p in pulses], "i8"),
                np.array(ids, "u8"),
                np.array(cell, "i4"),
                rows,
            )
        )
    return parts


def slow_plan(run):
    """The same by dictionaries: {(train, pulse, copy): ({module: (part of the module, row)}, status)}."""
    seen = [(m, t, g, bool(p)) for m, trains, good, pulses, _, _ in run
            for t, g, p in zip(trains, good, pulses, strict=True)]  # fmt: skip
    fine = {t for _, t, g, full in seen if g and full}
    shots = defaultdict(dict)
    cells = defaultdict(set)
    active = defaultdict(set)
    number = Counter()
    for module in range(3):
        turns = Counter()
        for _, trains, good, pulses, cell, gap in (p for p in run if p[0] == module):
            row = gap
            for t, g, p, c in zip(trains, good, pulses, cell, strict=True):
                here, row = row, row + len(p) + gap
                if not p or (t in fine and not g):
                    continue
                turn, turns[t] = turns[t], turns[t] + 1
                repeat = Counter()
                for i, pulse in enumerate(p):
                    key = (t, pulse, (turn, repeat[pulse]))
                    repeat[pulse] += 1
                    shots[key][module] = (number[module], here + i)
                    cells[key].add(c[i])
                    if turn == 0 and key[2] == (0, 0):
                        active[t].add(module)
            number[module] += 1
    result = {}
    for key in sorted(shots):
        t, _, copy = key
        if t not in fine:
            status = ShotStatus.SUSPECT
        elif copy != (0, 0):
            status = ShotStatus.DUPLICATE
        elif set(shots[key]) != active[t] or len(cells[key]) > 1:
            status = ShotStatus.INCONSISTENT
        else:
            status = ShotStatus.OK
        result[key] = (shots[key], status)
    held = Counter(t for t, _, _ in result)
    proper = Counter(
        t for (t, _, _), (_, s) in result.items() if s in (ShotStatus.OK, ShotStatus.INCONSISTENT)
    )
    often = Counter(proper.values())
    usual = max(often, key=lambda n: (often[n], n)) if often else 0
    real = {t for _, t, g, _ in seen if g}
    expected = {t: held[t] or (usual if t in real else 0) for t in sorted({t for _, t, _, _ in seen})}
    return result, expected


@settings(max_examples=200, deadline=None)
@given(runs())
def test_against_dictionaries(run):
    parts = make_parts(run)
    result, expected = slow_plan(run)
    if not result:
        with pytest.raises(BadInput, match="empty in all modules"):
            build_plan(parts, MODULES)
        return
    plan = build_plan(parts, MODULES)
    shots = plan.shots
    assert [(int(t), int(p)) for t, p in zip(shots.train_id, shots.pulse_id, strict=True)] == [
        k[:2] for k in result
    ]
    assert shots.status.tolist() == [int(s) for _, s in result.values()]
    for i, (rows, _) in enumerate(result.values()):
        for module in range(3):
            assert shots.present[i, module] == (module in rows)
            if module in rows:
                number, row = rows[module]
                assert plan.where[i, module] == plan.base[module][number] + row
            else:
                assert plan.where[i, module] == -1
    assert dict(zip(plan.trains.train_id.tolist(), plan.trains.expected.tolist(), strict=True)) == expected
    assert (plan.trains.timestamp == plan.trains.train_id * 10).all()
    assert plan.missing_shots + len(shots) == sum(expected.values())
    # Every cell comes from a module that has the shot.
    for i in range(len(shots)):
        own = [
            p.cell_id[plan.where[i, m] - plan.base[m][n]]
            for m in range(3)
            for n, p in enumerate(p for p in parts if p.module == m)
            if plan.base[m][n] <= plan.where[i, m] < plan.base[m][n + 1]
        ]
        assert shots.cell_id[i] == own[0]


def test_order_of_files_of_different_modules_does_not_matter():
    one = [(0, [1, 2], [True, True], [[0, 1], [0, 2]], [[0, 1], [0, 1]], 0)]
    two = [(1, [2, 1], [True, True], [[0, 1], [1]], [[0, 1], [1]], 1)]
    a, b = build_plan(make_parts(one + two), MODULES), build_plan(make_parts(two + one), MODULES)
    for name in ("train_id", "pulse_id", "cell_id", "present", "status"):
        assert (getattr(a.shots, name) == getattr(b.shots, name)).all()
    assert (a.where == b.where).all()


def test_the_index_in_the_train_is_the_key_where_there_is_no_pulse():
    train = np.array([5, 6], "u8")
    part = Part(
        0, train, train, train > 0, np.array([0, 3]), np.array([3, 3]), None, np.array([15, 0, 1] * 2), 6
    )
    plan = build_plan([part], [1])
    assert plan.shots.pulse_id.tolist() == [0, 1, 2, 0, 1, 2]
    assert plan.shots.cell_id.tolist() == [15, 0, 1, 15, 0, 1]


@pytest.mark.parametrize(
    ("shots", "told"),
    [
        ((4, 3, 4, 0, 4, 1), "2 trains hold fewer shots than the usual 4: 2, 6 (2 trains)"),
        ((4, 4, 4, 0), None),
        ((4, 2), "1 trains hold fewer shots than the usual 4: 2"),
        ((4, 3, 2), None),  # no number is usual
        ((3, 3, 3, 4), None),  # more than usual is no loss
    ],
)
def test_a_train_that_is_short_in_all_modules_is_noted(shots, told):
    ids = [list(range(n)) for n in shots]
    trains = list(range(1, len(shots) + 1))
    run = [(m, trains, [True] * len(shots), ids, ids, 0) for m in range(2)]
    plan = build_plan(make_parts(run), MODULES)
    usual = max(set(shots), key=lambda n: (shots.count(n), n))
    assert plan.trains.expected.tolist() == [n or usual for n in shots]
    notes = [n for n in plan.notes if "fewer shots" in n]
    assert notes == ([f"{told}; not counted as missing"] if told else [])


def test_a_train_that_is_short_in_one_module_is_not_short():
    full, short = [[0, 1, 2]] * 3, [[0, 1, 2], [0, 1], [0, 1, 2]]
    run = [(m, [1, 2, 3], [True] * 3, p, p, 0) for m, p in ((0, full), (1, short))]
    notes = build_plan(make_parts(run), MODULES).notes
    assert not [n for n in notes if "fewer shots" in n]
    assert any("are missing in modules" in n for n in notes)


def test_a_long_run_is_planned_quickly():
    """4,000 trains of 352 pulses in 4 modules: a loop over trains would take minutes."""
    train = np.arange(10_000, 14_000, dtype="u8")
    count = np.full(4000, 352)
    pulse, cell = np.tile(np.arange(352, dtype="u8"), 4000), np.tile(np.arange(352, dtype="i4"), 4000)
    parts = [
        Part(m, train, train, train > 0, np.arange(4000) * 352, count, pulse, cell, 352 * 4000)
        for m in range(4)
    ]
    plan = build_plan(parts, range(4))
    assert len(plan.shots) == 352 * 4000
    assert (plan.shots.status == ShotStatus.OK).all()
    assert plan.where.dtype == np.int32
