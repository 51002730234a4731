"""A disk that refuses frames which are stored as they are: of a run opened as tolerant, a counted loss."""

import os

import numpy as np
import pytest
from shotsieve.errors import LateLoss, UnreadableData

P = [0, 2, 4, 6, 8]
TRAINS = [(10, P), (11, P), (12, P), (13, P)]
MANY = [(train, list(range(40))) for train, _ in TRAINS]
IMAGE = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{}CH0:xtdf/image/data"
LAYOUTS = ["frame", "several", "contiguous", "userblock", "virtual"]


@pytest.fixture
def made(maker):
    """Two modules, the first stored in the way that is asked for; gives the path of the first."""

    def make(layout="frame", trains=TRAINS):
        path = maker.module(0, trains, layout=layout)
        maker.module(1, trains)
        return path

    return make


@pytest.fixture
def right(maker, truth):
    """Check what was read: the words of the files, and nothing of module 0 in the trains that are lost."""

    def check(source, out, lost):
        trains, pulses = source.shots.train_id, source.shots.pulse_id
        gone = np.isin(trains, lost)
        assert (source.losses.frames[:, 0] == gone).all()
        assert not source.losses.frames[:, 1:].any()
        for i, (train, pulse) in enumerate(zip(trains, pulses, strict=True)):
            for module in (0, 1):
                if module or not gone[i]:
                    assert (out[i, module] == truth(train, pulse, module, maker.shape)).all(), (i, module)

    return check


def notes(source):
    return source.losses.notes(source.trains.train_id)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_error_or_the_loss_of_the_module_in_that_train(made, opened, read_all, disk, right, layout):
    path = made(layout)
    disk.refuse(path, IMAGE.format(0), 7)
    with pytest.raises(UnreadableData, match=r"AGIPD00-S00000.h5.*Input/output error.* affects trains 10-13"):
        read_all(opened())
    source = opened(tolerant=True)
    right(source, read_all(source), [11])
    assert notes(source) == [
        f"{path.name}: image.data: 1 frame cannot be read (7); the module counts as unreadable in trains 11"
    ]


def test_in_an_order_that_is_not_that_of_the_files(made, opened, disk, right, maker):
    """Frames of trains that share a reading with a lost one are all there."""
    disk.refuse(made(), IMAGE.format(0), 0)
    disk.refuse(made(), IMAGE.format(0), 19)
    source = opened(tolerant=True)
    out = np.zeros((20, 16, 2, *maker.shape), "u2")
    source.read(0, 20, out)
    right(source, out, [10, 13])


def test_too_late_for_what_was_given_out_and_known_from_the_begin_then(made, opened, read_all, disk, right):
    """Trains of 40 cells are cut after 32."""
    path = made(trains=MANY)
    disk.refuse(path, IMAGE.format(0), 75)
    disk.refuse(path, IMAGE.format(0), 115)
    source = opened(tolerant=True)
    late = r"AGIPD00-S00000.h5.* affects trains 11, of which frames were given out before"
    with pytest.raises(LateLoss, match=late):
        read_all(source, 1)
    source.losses.begin()
    # The rest of a file that has refused once is read before it is given out: once is enough.
    right(source, read_all(source, 1), [11, 12])
    whole = opened(tolerant=True)
    read_all(whole)
    assert notes(whole) == notes(source)
    assert "2 frames cannot be read (75, 115)" in notes(source)[0]


def test_what_can_be_read_the_second_time_is_no_loss_but_said(made, opened, read_all, disk, right, capsys):
    disk.refuse(made(), IMAGE.format(0), 7, times=1)
    source = opened(tolerant=True)
    right(source, read_all(source), [])
    assert notes(source) == []
    assert "Input/output error; it was read again, and then all could be read" in capsys.readouterr().err


def test_what_can_be_read_the_third_time_is_not_trusted(made, opened, read_all, disk, right):
    disk.refuse(made(), IMAGE.format(0), 7, times=2)
    source = opened(tolerant=True)
    right(source, read_all(source), [11])
    assert "5 frames cannot be read each time (5-9)" in notes(source)[0]
    source.losses.begin()
    right(source, read_all(source), [11])


def test_a_file_that_becomes_shorter_while_it_is_read(made, opened, read_all, disk, right):
    path = made("contiguous")
    disk.refuse(path, IMAGE.format(0), 13)
    ((_, at),) = disk.bad
    for tolerant in (False, True):
        disk.bad.clear()
        source, whole = opened(tolerant=tolerant), path.read_bytes()
        disk.before = lambda: os.truncate(path, at)
        if tolerant:
            right(source, read_all(source), [12, 13])
            assert "7 frames cannot be read (13-19)" in notes(source)[0]
        else:
            with pytest.raises(UnreadableData, match=r"the file ends at offset \d+.* affects trains 10-13"):
                read_all(source)
        path.write_bytes(whole)


@pytest.mark.parametrize("plane", ["adc", "gain"])
def test_a_row_per_train(maker, opened, read_all, disk, plane):
    """Either dataset may be refused; gain bytes are made wider on their way."""
    path = maker.jungfrau(1, [(10, 1), (11, 1), (12, 1)], list(range(4)))
    maker.jungfrau(2, [(10, 1), (11, 1), (12, 1)], list(range(4)))
    dataset = f"INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data/{plane}"
    sound = read_all(opened(name="JUNGFRAU"))
    disk.refuse(path, dataset, 5, lead=2)
    source = opened(name="JUNGFRAU", tolerant=True)
    out = read_all(source)
    lost = source.losses.frames
    assert lost.tolist() == [[train == 11, False] for train in source.shots.train_id]
    np.testing.assert_array_equal(out[~lost], sound[~lost])
    assert f"data.{plane}: 1 frame cannot be read (5)" in notes(source)[0]


@pytest.mark.parametrize("max_bytes", [1, 1 << 30])
def test_a_run_that_is_in_order_is_read_once(made, opened, read_all, disk, right, max_bytes):
    made(trains=MANY)
    source = opened(tolerant=True)
    right(source, read_all(source, max_bytes), [])
    assert disk.frames == 2 * len(source.shots)


def test_trains_that_are_doubted_are_read_before_they_are_given_out(made, opened, disk, maker):
    """Whoever asks for some shots alone may know that others could not be read."""
    disk.refuse(made(), IMAGE.format(0), 7)
    source = opened(tolerant=True)
    some = source.selected(np.isin(np.arange(20), [5, 6]))
    some.losses.doubt(np.array([11], "u8"))
    some.read(0, 2, np.zeros((2, 16, 2, *maker.shape), "u2"))
    assert source.losses.frames[:, 0].tolist() == (source.shots.train_id == 11).tolist()


def test_what_was_given_out_before_the_begin_does_not_count(made, opened, read_all, disk, right):
    path = made()
    source = opened(tolerant=True)
    read_all(source)
    disk.refuse(path, IMAGE.format(0), 7)
    with pytest.raises(LateLoss):
        read_all(source)
    source = opened(tolerant=True)
    read_all(source)
    source.losses.begin()
    right(source, read_all(source), [11])
