"""Files that HDF5 writes without ever hearing of a disk that refuses."""

from __future__ import annotations

import errno
import os

import h5py
import numpy as np
import pytest
from shotsieve.steady_file import SteadyFile, SteadyHdf5


def fill(file, rng, groups=20):
    """Groups with many links, attributes and growing rows: HDF5 holds back all kinds of things of them."""
    for number in range(groups):
        group = file.create_group(f"g{number}", track_order=True)
        for name in range(12):
            dataset = group.create_dataset(f"d{name}", (0, 5), "f8", maxshape=(None, 5), chunks=(7, 5))
            dataset.attrs["units"] = "keV"
            dataset.resize(20, axis=0)
            dataset[:] = rng.random((20, 5))


@pytest.fixture
def refusing(monkeypatch):
    """A disk that takes so many writes more, then refuses all, or one."""
    pwrite, left = os.pwrite, {"writes": 10**9, "all": True}

    def some(*given):
        left["writes"] -= 1
        if left["writes"] == 0 or (left["writes"] < 0 and left["all"]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(*given)

    monkeypatch.setattr(os, "pwrite", some)
    return left


@pytest.mark.parametrize("all_of_them", [True, False])
def test_hdf5_goes_on_and_the_error_is_told(tmp_path, rng, refusing, all_of_them):
    """At any write; what was refused can be read while the file is open."""
    data = np.random.default_rng(1)
    with SteadyHdf5(tmp_path / "whole.h5", "earliest") as out:
        fill(out.file, data)
    expected = (tmp_path / "whole.h5").read_bytes()
    refusing["writes"] = 10**6
    with SteadyHdf5(tmp_path / "count.h5", "earliest") as out:
        fill(out.file, np.random.default_rng(1))
    writes = 10**6 - refusing["writes"]
    for point in {1, 2, writes, *rng.integers(3, writes, 6).tolist()}:
        refusing |= {"writes": point, "all": all_of_them}
        disk = SteadyFile(tmp_path / "steady.h5")
        with h5py.File(disk, "w", libver="earliest") as file:
            fill(file, np.random.default_rng(1))
        with pytest.raises(OSError, match="No space left"):
            disk.check()
        whole = bytearray(len(expected))
        disk.seek(0)
        disk.readinto(whole)
        assert whole == expected
        disk.close()


def test_it_is_told_when_asked_for_and_at_the_end(tmp_path, refusing):
    out = SteadyHdf5(tmp_path / "a.h5", "earliest")
    out.check()
    refusing["writes"] = 1
    out.file["x"] = np.zeros(1000)
    out.file.flush()
    with pytest.raises(OSError, match="No space left"):
        out.check()
    with pytest.raises(OSError, match="No space left"):
        out.close()
    out.give_up()


def test_a_file_that_is_there_is_refused_or_replaced(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"x" * 5000)
    with pytest.raises(FileExistsError):
        SteadyHdf5(tmp_path / "a.h5", "earliest", exclusive=True)
    with SteadyHdf5(tmp_path / "a.h5", "earliest") as out:
        out.file["x"] = 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"][()] == 1


def test_an_error_inside_is_the_one_that_is_told(tmp_path, refusing):
    def write():
        with SteadyHdf5(tmp_path / "a.h5", "earliest") as out:
            refusing["writes"] = 1
            out.file["x"] = np.zeros(1000)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write()


def test_a_short_read_is_read_on(tmp_path, rng, monkeypatch):
    """Only what lies behind the end of the file is zeros."""
    content, pread = rng.bytes(1000), os.pread
    disk = SteadyFile(tmp_path / "f.h5")
    disk.write(content)
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 7), at))
    found = bytearray(b"x" * 1100)
    disk.seek(0)
    disk.readinto(found)
    assert found == content + bytes(100)
    disk.close()


def test_a_file_that_hdf5_refuses_is_closed(tmp_path, monkeypatch):
    opened, real = [], SteadyFile.__init__

    def note(self, *given):
        real(self, *given)
        opened.append(self)

    def refuse(*_, **__):
        raise OSError("HDF5 has its reasons")

    monkeypatch.setattr(SteadyFile, "__init__", note)
    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(OSError, match="its reasons"):
        SteadyHdf5(tmp_path / "f.h5", "earliest")
    assert opened[0].closed


def test_giving_up_hides_no_error(tmp_path, monkeypatch):
    out, close = SteadyHdf5(tmp_path / "f.h5", "earliest"), os.close

    def refuse(descriptor):
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", refuse)
    out.give_up()
