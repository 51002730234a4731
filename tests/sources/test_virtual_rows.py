"""Frames of virtual datasets that show parts of rows: where no mapping has data there is none."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from shotsieve.errors import UnreadableData
from shotsieve.sources.extents import Loss, find_losses, map_frames, read_frames

FRAME = (4, 6)


def make(folder, show, shape=(8, *FRAME), sizes=(8, 8), **options):
    """Make files of some rows, and one that shows them as `show(layout, first, second)` says."""
    for number, size in enumerate(sizes):
        with h5py.File(folder / f"part{number}.h5", "w") as f:
            data = np.arange(1, size * 24 + 1).reshape(size, *FRAME) + 1000 * number
            f.create_dataset("d", data=data.astype("u2"), maxshape=(None, *FRAME), chunks=(1, *FRAME))
    layout = h5py.VirtualLayout(shape, "u2", **options)
    show(layout, *(h5py.VirtualSource(folder / f"part{n}.h5", "d", (8, *FRAME), maxshape=(None, *FRAME))
                   for n in range(2)))  # fmt: skip
    with h5py.File(folder / "all.h5", "w") as f:
        f.create_virtual_dataset("d", layout)
    return folder / "all.h5"


def check(path, lost, lead=1):
    """Those frames are never written, the others are as HDF5 has them."""
    where = map_frames(path, "d", lead)
    assert where.why_h5py == "it is virtual, and does not show whole rows of other datasets"
    every = np.arange(int(np.prod(where.lead)))
    found = find_losses(where, every)
    assert np.flatnonzero(found).tolist() == lost
    assert set(found[lost].tolist()) <= {Loss.NEVER_WRITTEN}
    good = np.flatnonzero(found == 0)
    size = where.frame_bytes // 2
    out = np.zeros((len(good), size), "u2")
    read_frames(where, good, out, np.arange(len(good)) * size)
    with h5py.File(path) as f:
        assert (out == f["d"][...].reshape(-1, size)[good]).all()
    assert (out > 0).all()
    if lost:
        with pytest.raises(UnreadableData, match="never written"):
            read_frames(where, np.array(lost[:1]), np.zeros(size, "u2"), np.zeros(1, "i8"))


def halves(layout, one, two):
    layout[:6, :2], layout[1:, 2:] = one[:6, :2], two[1:, 2:]


def test_rows_of_which_a_part_is_mapped_to_nothing(tmp_path):
    check(make(tmp_path, halves), [0, 6, 7])


def test_rows_that_overlap_count_once(tmp_path):
    def show(layout, one, two):
        layout[:, :3], layout[:, :3], layout[4:, 2:] = one[:, :3], two[:, :3], two[4:, 2:]

    check(make(tmp_path, show), [0, 1, 2, 3])


def test_every_second_row(tmp_path):
    def show(layout, one, two):
        layout[::2, :2], layout[::2, 2:] = one[::2, :2], two[::2, 2:]

    check(make(tmp_path, show), [1, 3, 5, 7])


def test_a_dataset_that_is_shorter_than_what_is_shown_of_it(tmp_path):
    check(make(tmp_path, halves, sizes=(8, 3)), [0, 3, 4, 5, 6, 7])


def test_rows_of_a_dataset_that_were_never_written(tmp_path):
    path = make(tmp_path, halves)
    with h5py.File(tmp_path / "part1.h5", "a") as f:
        data = f["d"][...]
        del f["d"]
        rows = f.create_dataset("d", data.shape, "u2", chunks=(1, *FRAME))
        rows[:4], rows[5:] = data[:4], data[5:]
    check(path, [0, 4, 6, 7])


def test_a_mapping_without_end(tmp_path):
    def show(layout, one, two):
        end = h5py.h5s.UNLIMITED
        layout[0:end, :2], layout[0:end, 2:] = one[0:end, :2], two[0:end, 2:]

    # HDF5 shows as many rows as the longer has.
    check(make(tmp_path, show, sizes=(8, 5), maxshape=(None, *FRAME)), [5, 6, 7])


def test_a_virtual_dataset_of_a_virtual_one(tmp_path):
    make(tmp_path, halves)
    layout = h5py.VirtualLayout((8, *FRAME), "u2")
    layout[:] = h5py.VirtualSource(tmp_path / "all.h5", "d", (8, *FRAME))
    with h5py.File(tmp_path / "over.h5", "w") as f:
        f.create_virtual_dataset("d", layout)
    check(tmp_path / "over.h5", [0, 6, 7])


def test_cells_of_trains(tmp_path):
    """Of rows that are trains each memory cell counts."""

    def show(layout, one, two):
        layout[0], layout[1, :5] = one, two[:5]

    check(make(tmp_path, show, (2, 8, *FRAME)), [13, 14, 15], lead=2)


def test_mappings_that_cannot_be_counted_are_refused(tmp_path):
    def show(layout, one, two):
        layout[0], layout[1, :5] = one, two[:5]

    path = make(tmp_path, show, (2, 8, *FRAME), sizes=(7, 8))
    with pytest.raises(UnreadableData, match=r"cannot be counted.*Give the files that it shows"):
        map_frames(path, "d", 2)
