"""Every situation a run can hold has its defined outcome and its count (see the table in plan.py)."""

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.sources import ShotStatus

OK, SUSPECT, DUPLICATE, INCONSISTENT = (
    ShotStatus.OK,
    ShotStatus.SUSPECT,
    ShotStatus.DUPLICATE,
    ShotStatus.INCONSISTENT,
)
P = [0, 2, 4, 6]


def rows(source):
    s = source.shots
    return [(int(t), int(p), ShotStatus(v)) for t, p, v in zip(s.train_id, s.pulse_id, s.status, strict=True)]


def note(source, *words):
    found = [n for n in source.notes if all(w in n for w in words)]
    assert found, (words, source.notes)
    return found[0]


def test_plain_run(maker, opened, read_all, truth):
    for m in (0, 3):
        maker.module(m, [(10, P), (11, P)])
    source = opened()
    assert source.modules == tuple(range(16))
    assert [r[2] for r in rows(source)] == [OK] * 8
    assert (source.shots.present.sum(1) == 2).all()
    assert (source.shots.cell_id == [0, 1, 2, 3] * 2).all()
    assert source.missing_shots == 0
    assert (source.trains.timestamp == [1000, 1100]).all()
    note(source, "modules 1-2, 4-15", "absent in all shots")
    assert source.meta.proposal == 2012
    assert source.meta.sample == "virus"
    assert source.meta.creation_date == "20240501T100000Z"
    out = read_all(source)
    for i, (t, p, _) in enumerate(rows(source)):
        for m in range(16):
            expected = truth(t, p, m, maker.shape) if m in (0, 3) else 7
            assert (out[i, m] == expected).all()


def test_modules_disagree_on_the_number_of_frames(maker, opened):
    maker.module(0, [(10, P), (11, P)])
    maker.module(1, [(10, [*P, 8]), (11, P)])
    source = opened()
    assert rows(source)[:5] == [(10, 0, OK), (10, 2, OK), (10, 4, OK), (10, 6, OK), (10, 8, INCONSISTENT)]
    assert len(source.readable) == 8
    note(source, "1 shots are missing in modules", "10")
    assert source.shots.present[4, :2].tolist() == [False, True]


def test_equal_counts_but_different_pulses(maker, opened):
    maker.module(0, [(10, [0, 2, 4])])
    maker.module(1, [(10, [0, 2, 6])])
    assert rows(opened()) == [(10, 0, OK), (10, 2, OK), (10, 4, INCONSISTENT), (10, 6, INCONSISTENT)]


@pytest.mark.parametrize("listed", [True, False])
def test_a_module_lacks_a_train(maker, opened, read_all, truth, listed):
    maker.module(0, [(10, P), (11, P)])
    maker.module(1, [(10, P), (11, [])] if listed else [(10, P)])
    source = opened()
    assert [r[2] for r in rows(source)] == [OK] * 8
    assert source.shots.present[:, 1].tolist() == [True] * 4 + [False] * 4
    note(source, "module 1 has no data in 1 trains: 11")
    out = read_all(source)
    assert (out[4:, 1] == 7).all()
    assert (out[5, 0] == truth(11, 2, 0, maker.shape)).all()


def test_all_trains_empty(maker, opened):
    maker.module(0, [(10, []), (11, [])])
    with pytest.raises(BadInput, match="all 2 trains are empty in all modules"):
        opened()


def test_an_empty_train_is_missing_shots(maker, opened):
    for m in (0, 1):
        maker.module(m, [(10, P), (11, []), (12, P), (13, P[:3])])
    source = opened()
    assert source.missing_shots == 4
    assert source.trains.train_id.tolist() == [10, 11, 12, 13]
    assert source.trains.expected.tolist() == [4, 4, 4, 3]
    note(source, "1 of 4 trains are empty in all modules: 11", "4 missing shots")


def test_a_sequence_file_without_trains(maker, opened, read_all, truth):
    maker.module(0, [(10, P)])
    maker.module(0, [], sequence=1)
    maker.module(0, [(12, P)], sequence=2)
    source = opened()
    assert [r[:2] for r in rows(source)] == [(t, p) for t in (10, 12) for p in P]
    assert (read_all(source)[6, 0] == truth(12, 4, 0, maker.shape)).all()


def test_the_same_train_in_two_files(maker, opened, read_all, truth):
    for m in (0, 1):
        maker.module(m, [(10, P), (11, P)])
        maker.module(m, [(11, [0, 2, 8]), (12, P)], sequence=1)
    source = opened()
    eleven = [r[1:] for r in rows(source) if r[0] == 11]
    assert eleven == [(0, OK), (0, DUPLICATE), (2, OK), (2, DUPLICATE), (4, OK), (6, OK), (8, DUPLICATE)]
    note(source, "3 shots have a train or pulse that was recorded before", "11")
    assert (read_all(source)[4, 1] == truth(11, 0, 1, maker.shape)).all()


def test_the_same_train_in_two_files_of_one_module_only(maker, opened):
    maker.module(0, [(10, P)])
    maker.module(0, [(10, P)], sequence=1)
    maker.module(1, [(10, P)])
    source = opened()
    assert [r[2] for r in rows(source)] == [OK, DUPLICATE] * 4
    assert source.shots.present[1, :2].tolist() == [True, False]


def test_an_empty_entry_of_the_same_train_is_no_duplicate(maker, opened):
    maker.module(0, [(10, [])])
    maker.module(0, [(10, P)], sequence=1)
    assert [r[2] for r in rows(opened())] == [OK] * 4


def test_trains_out_of_order(maker, opened, read_all, truth):
    for m in (0, 1):
        maker.module(m, [(12, P), (10, P), (11, P)])
    source = opened()
    assert [r[:2] for r in rows(source)] == [(t, p) for t in (10, 11, 12) for p in P]
    assert (read_all(source)[0, 1] == truth(10, 0, 1, maker.shape)).all()
    note(source, "trainIds are out of order in 2 files")


def test_pulses_not_sorted(maker, opened, read_all, truth):
    maker.module(0, [(10, [4, 0, 2])], cells=[2, 0, 1])
    maker.module(1, [(10, [0, 2, 4])])
    source = opened()
    assert [r[1:] for r in rows(source)] == [(0, OK), (2, OK), (4, OK)]
    assert source.shots.cell_id.tolist() == [0, 1, 2]
    out = read_all(source)
    assert all((out[i, m] == truth(10, 2 * i, m, maker.shape)).all() for i in range(3) for m in (0, 1))
    note(source, "module 0: pulseIds not in order in 1 trains")


@pytest.mark.parametrize(
    ("version", "flags"), [("1.0", [1, 0]), ("1.1", [0, 3]), ("1.2", [1, 0]), ("1.3", [1, 0])]
)
def test_suspect_trains(maker, opened, version, flags):
    for m in (0, 1):
        maker.module(m, [(10, P), (99, P)], version=version, flags=flags)
    source = opened()
    assert [r[2] for r in rows(source)] == [OK] * 4 + [SUSPECT] * 4
    note(source, "1 suspect trains (flag 0): 99")


def test_a_suspect_train_without_data_is_expected_to_hold_nothing(maker, opened):
    maker.module(0, [(10, P), (99, [])], flags=[1, 0])
    source = opened()
    assert source.missing_shots == 0
    assert source.trains.expected.tolist() == [4, 0]


def test_a_train_suspect_in_one_module_only(maker, opened):
    maker.module(0, [(10, P), (11, P)])
    maker.module(1, [(10, P), (11, P)], flags=[1, 0])
    source = opened()
    assert [r[2] for r in rows(source)] == [OK] * 8
    assert source.shots.present[:, 1].tolist() == [True] * 4 + [False] * 4
    note(source, "suspect (flag 0) in the files of some modules only: 11")


@pytest.mark.parametrize("last_status", [False, True])
def test_format_0_5(maker, opened, last_status):
    for m in (0, 1):
        maker.module(m, [(10, P), (11, []), (12, P)], version="0.5", last_status=last_status, flat_ids=True)
    source = opened()
    assert [r[:2] for r in rows(source)] == [(t, p) for t in (10, 12) for p in P]
    assert source.trains.timestamp.tolist() == [0, 0, 0]
    assert source.missing_shots == 4


def test_padded_index_and_flat_ids(maker, opened):
    maker.module(0, [(10, P), (11, P)], pad=5)
    maker.module(1, [(10, P), (11, P)], flat_ids=True)
    source = opened()
    assert len(source.trains) == 2
    assert [r[2] for r in rows(source)] == [OK] * 8
    assert source.shots.present[:, :2].all()


def test_cells_that_differ_between_modules(maker, opened):
    maker.module(0, [(10, P)], cells=[0, 1, 2, 3])
    maker.module(1, [(10, P)], cells=[0, 1, 9, 3])
    source = opened()
    assert [r[2] for r in rows(source)] == [OK, OK, INCONSISTENT, OK]
    note(source, "1 shots have different cellIds")


def test_the_same_pulse_twice_in_a_train(maker, opened, read_all, truth):
    for m in (0, 1):
        maker.module(m, [(10, [0, 2, 2, 4])])
    source = opened()
    assert [r[1:] for r in rows(source)] == [(0, OK), (2, OK), (2, DUPLICATE), (4, OK)]
    assert len(read_all(source)) == 3


def test_bogus_pulse_ids(maker, opened):
    big = 2**63 + 5
    for m in (0, 1):
        maker.module(m, [(10, [0, big, 7]), (11, P)], cells=[0, 1, 2, 0, 1, 2, 3])
    assert [r[1] for r in rows(opened())] == [0, 7, big, *P]


def test_trains_of_other_files_are_noted(maker, opened):
    maker.module(0, [(10, P)])
    maker.aggregator([9, 10, 11], {"SPB_X/Y/Z": {"a": (np.zeros(3), None)}})
    note(opened(), "trains 9, 11 (2 trains) are in other files of the run")


def test_jungfrau(maker, opened, read_all, truth):
    cells = [15, 0, 1]
    maker.jungfrau(1, [(10, 1), (11, 0), (12, 1)], cells)
    maker.jungfrau(4, [(10, 1), (11, 0), (12, 0)], cells)
    source = opened(name="JUNGFRAU")
    assert source.modules == (1, 4)
    assert [r[:2] for r in rows(source)] == [(t, i) for t in (10, 12) for i in range(3)]
    assert source.shots.cell_id.tolist() == cells * 2
    assert source.shots.present.tolist() == [[True, True]] * 3 + [[True, False]] * 3
    assert source.missing_shots == 3
    out = read_all(source)
    for i, (t, p, _) in enumerate(rows(source)):
        for at, m in enumerate(source.modules):
            if source.shots.present[i, at]:
                adc, gain = truth(t, p, m, maker.shape)
                assert (out[i, at, 0] == adc).all()
                assert (out[i, at, 1] == gain % 4).all()
    assert (out[3:, 1] == 7).all()


def test_jungfrau_with_several_rows_in_a_train(maker, opened):
    maker.jungfrau(1, [(10, 2)], [15, 0])
    source = opened(name="JUNGFRAU")
    assert source.shots.pulse_id.tolist() == [0, 1, 2, 3]
    assert source.shots.cell_id.tolist() == [15, 0, 15, 0]
