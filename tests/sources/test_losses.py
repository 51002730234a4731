"""What a run that was opened as tolerant has lost: by module and train, the same for every way to read it."""

import os

import h5py
import numpy as np
import pytest
from shotsieve.errors import LateLoss, UnreadableData

P = [0, 2, 4, 6, 8]
IMAGE = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{}CH0:xtdf/image"


def hurt(path, dataset, *numbers):
    """Overwrite chunks."""
    with h5py.File(path) as f:
        infos = [f[dataset].id.get_chunk_info(n) for n in numbers]
    with open(path, "r+b") as f:
        for info in infos:
            f.seek(info.byte_offset)
            f.write(b"\x55" * info.size)


def expected(source, truth, maker, train, pulse, m):
    return truth(source.shots.train_id[train], pulse, m, maker.shape)


def test_for_every_size_of_blocks(maker, opened, read_all, truth):
    """The damage is in the last row of cells of a train that does not fit into a block."""
    many = list(range(70))
    path = maker.module(0, [(10, many), (11, P)], layout="gzip")
    maker.module(1, [(10, many), (11, P)], layout="several")
    hurt(path, f"{IMAGE.format(0)}/data", 69)
    with pytest.raises(UnreadableData, match="frames 69 to 69, is damaged"):
        read_all(opened())
    for max_bytes in (1, 1 << 30):
        source = opened(tolerant=True)
        out = read_all(source, max_bytes)
        assert (source.losses.frames[:, 0] == (source.shots.train_id == 10)).all()
        assert not source.losses.frames[:, 1:].any()
        assert (out[:70, 0] == 7).all()
        for i in range(75):
            t, p = source.shots.train_id[i], source.shots.pulse_id[i]
            assert (out[i, 1] == truth(t, p, 1, maker.shape)).all()
            assert i < 70 or (out[i, 0] == truth(t, p, 0, maker.shape)).all()
        assert source.losses.notes(source.trains.train_id) == [
            "RAW-R0001-AGIPD00-S00000.h5: image.data: 1 frame damaged (69); the module counts as unreadable "
            "in trains 10"
        ]
        assert source.losses.notes(source.trains.train_id[1:]) == []


def test_damage_that_is_met_too_late(maker, opened, read_all):
    """Frames that an earlier process has measured."""
    path = maker.module(0, [(10, P), (11, P)], layout="gzip")
    hurt(path, f"{IMAGE.format(0)}/data", 7)
    source = opened(tolerant=True)
    source.losses.take(np.arange(10)[:, None] == np.arange(16), np.arange(10))
    with pytest.raises(LateLoss, match=r"1 frame damaged \(7\).* trains 11, of which frames were given out"):
        read_all(source)
    source.losses.begin()
    read_all(source)
    assert source.losses.frames[:, 0].tolist() == [True] + [False] * 4 + [True] * 5
    assert source.losses.frames[1, 1]


def test_for_every_selection(maker, opened):
    path = maker.module(0, [(10, P), (11, P)], layout="gzip")
    hurt(path, f"{IMAGE.format(0)}/data", 7)
    source = opened(tolerant=True)
    some = source.selected(np.isin(np.arange(10), [3, 5]))
    some.read(0, 2, np.zeros((2, 16, 2, *maker.shape), "u2"))
    assert source.losses.frames[:, 0].tolist() == [False] * 5 + [True] * 5


def test_frames_that_the_file_does_not_have(maker, opened, read_all):
    """Cut off and never written, without a byte of it being read."""
    path = maker.module(0, [(10, P), (11, P), (12, P)])
    with h5py.File(maker.module(1, [(10, P), (11, P), (12, P)]), "r+") as f:
        g = f[IMAGE.format(1)]
        data = g["data"][...]
        del g["data"]
        g.create_dataset("data", data.shape, "u2", chunks=(1, *data.shape[1:]))[:12] = data[:12]
    source = opened(tolerant=True)
    with h5py.File(path) as f:
        infos = [f[f"{IMAGE.format(0)}/data"].id.get_chunk_info(n).byte_offset for n in range(15)]
    source.read(0, 5, np.zeros((5, 16, 2, *maker.shape), "u2"))
    os.truncate(path, infos[8] + 3)  # as a disk does that loses data while we work
    read_all(source)
    assert source.losses.frames[:, :2].tolist() == [[False] * 2] * 5 + [[True, False]] * 5 + [[True] * 2] * 5
    one, two = source.losses.notes(source.trains.train_id)
    assert "AGIPD00-S00000.h5: image.data: 7 frames cannot be read (8-14)" in one
    assert "AGIPD01-S00000.h5: image.data: 3 frames never written (12-14)" in two


@pytest.mark.parametrize("plane", ["adc", "gain"])
def test_a_row_per_train(maker, opened, read_all, plane):
    """A detector that stores whole trains; either of its datasets may be damaged."""
    cells = list(range(4))
    path = maker.jungfrau(1, [(10, 1), (11, 1), (12, 1)], cells, layout="gzip", gain_layout="gzip")
    maker.jungfrau(2, [(10, 1), (11, 1), (12, 1)], cells)
    hurt(path, f"INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data/{plane}", 5)
    source = opened(name="JUNGFRAU", tolerant=True)
    read_all(source)
    assert source.losses.frames.tolist() == [[train == 11, False] for train in source.shots.train_id]


def test_an_index_that_is_damaged(maker, opened, read_all):
    path = maker.module(0, [(10, P), (11, P)])
    maker.module(1, [(10, P), (11, P)])
    with h5py.File(path, "r+") as f:
        where = IMAGE.format(0).replace("INSTRUMENT", "INDEX") + "/count"
        del f[where]
        f[where] = np.array([5], "u8")
    source = opened(tolerant=True)
    assert not source.shots.present[:, 0].any()
    assert any(n.startswith(path.name) and "module 0 left out of it" in n for n in source.notes)
    read_all(source)


def test_a_plane_of_raw_words_that_is_cut_off(maker, opened, read_all):
    path = maker.jungfrau(1, [(10, 1), (11, 1), (12, 1)], list(range(4)))
    maker.jungfrau(2, [(10, 1), (11, 1), (12, 1)], list(range(4)))
    with h5py.File(path, "r+") as f:
        group = f["INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data"]
        short = group["gain"][:-1]
        del group["gain"]
        group["gain"] = short
    with pytest.raises(UnreadableData, match=r"speaks of 3 rows, but .*/gain has 2: the data of trains 12"):
        opened(name="JUNGFRAU")
    source = opened(name="JUNGFRAU", tolerant=True)
    assert not source.shots.present[:, 0].any()
    assert source.shots.present[:, 1].all()
    read_all(source)


def test_files_that_cannot_be_opened(maker, opened):
    path = maker.module(0, [(10, P), (11, P)], sequence=3)
    maker.module(1, [(10, P), (11, P)], sequence=3)
    os.truncate(path, path.stat().st_size - 1000)
    source = opened(tolerant=True)
    (note,) = [note for note in source.notes if path.name in note]
    assert "it affects trains 10-11 (2 trains). It was left out" in note
    assert str(path.parent) not in note
    assert source.shots.present[:, :2].tolist() == [[False, True]] * 10


def test_a_file_that_vanishes_is_lost_wholly(maker, opened, read_all):
    path = maker.module(0, [(10, P), (11, P)], layout="gzip")
    maker.module(1, [(10, P), (11, P)], layout="gzip")
    source = opened(tolerant=True)
    path.unlink()
    read_all(source)
    assert source.losses.frames[:, :2].tolist() == [[True, False]] * 10
    assert source.changed() == [path.name]


@pytest.mark.parametrize("name", ["pulseId", "data"])
def test_every_module_may_be_left_out_but_not_all(maker, opened, name):
    """The first file too, by which raw words are told from corrected frames."""
    paths = [maker.module(m, [(10, P), (11, P)]) for m in (0, 1)]
    for module, path in enumerate(paths):
        with h5py.File(path, "r+") as f:
            del f[IMAGE.format(module)][name]
        with pytest.raises(UnreadableData, match=f"image/{name} cannot be read"):
            opened()
        if module == 0:
            assert opened(tolerant=True).shots.present[:, :2].tolist() == [[False, True]] * 10
    with pytest.raises(UnreadableData, match=rf"{paths[0].name}.*image/{name} cannot be read"):
        opened(tolerant=True)
