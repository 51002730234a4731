"""A cache of constants that is damaged, full, closed, or used by several at once: told, and no harm."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from shotsieve.cache_folder import CacheFolder
from shotsieve.constants import Constants
from shotsieve.folded_cache import constants_checksum, tables_of
from shotsieve.folded_tables import make_tables

from .folding import assert_same, names

pytestmark = pytest.mark.usefixtures("nothing_said")


def truncate(entry):
    os.truncate(entry / "table.npy", (entry / "table.npy").stat().st_size - 4)


def lengthen(entry):
    with open(entry / "mask.npy", "ab") as file:
        file.write(b"1234")


def lose(entry):
    (entry / "row_of.npy").unlink()


def empty(entry):
    (entry / "table.npy").write_bytes(b"")


def reshape(entry):
    array = np.load(entry / "table.npy")
    np.save(entry / "table.npy", array.reshape(len(array), -1, 8))


def lose_header(entry):
    (entry / "entry.json").unlink()


def halve_header(entry):
    text = (entry / "entry.json").read_text()
    (entry / "entry.json").write_text(text[: len(text) // 2])


def edit_header(entry):
    text = (entry / "entry.json").read_text()
    assert '"bad_bits": ' in text
    (entry / "entry.json").write_text(text.replace('"bad_bits": ', '"bad_bits": 1'))


def other_version(entry):
    told = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps({**told, "format": 99}))


def other_entry(entry):
    given = entry.parent / "other"
    assert given.is_dir()
    shutil.rmtree(entry)
    given.rename(entry)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncate, "bytes, and"),
        (lengthen, "bytes, and"),
        (lose, "not whole"),
        (empty, "has 0 bytes"),
        (reshape, "was written"),
        (lose_header, "entry.json is not whole"),
        (halve_header, "entry.json is not whole"),
        (edit_header, "was changed after"),
        (other_version, "is of version 99"),
        (other_entry, "something else than its name"),
    ],
)
def test_a_damaged_entry_is_told_and_made_again(asked, cache, damage, told, capsys):
    plain = make_tables(**asked)
    tables_of(**asked, cache=cache)  # not kept: what is mapped must not be cut
    [name] = names(cache)
    tables_of(**{**asked, "modules": (4,)}, cache=cache)
    [other] = set(names(cache)) - {name}
    (cache / other).rename(cache / "other")
    damage(cache / name)
    capsys.readouterr()
    assert_same(plain, tables_of(**asked, cache=cache))
    said = capsys.readouterr().err
    assert told in said
    assert "it is made again" in said
    assert_same(plain, tables_of(**asked, cache=cache))
    assert capsys.readouterr().err == ""
    assert names(cache) == [name]


SCRIPT = """
import sys, numpy as np
from shotsieve import detectors
from shotsieve.constants import Constants, Steps
from shotsieve.folded_cache import tables_of
import dataclasses
path, cache = sys.argv[1:]
small = dataclasses.replace(detectors.load("AGIPD1M"), shape=(4, 8))
given = Constants.open(path, small), small, (3, 4), np.arange(3), Steps(), "keV", 9.3, "adaptive"
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    print(tables_of(*given, cache=cache).sha256)
"""


def test_processes_at_once(asked, constants_file, cache):
    arguments = [sys.executable, "-c", SCRIPT, str(constants_file), str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(arguments, **pipes) for _ in range(3)]
    assert [one.stdout.readline() for one in started] == ["ready\n"] * 3
    said = [one.communicate("go\n", timeout=60)[0].split() for one in started]
    assert said == [[constants_checksum(make_tables(**asked).table)] * 3] * 3
    assert len(names(cache)) == 1
    assert not list(cache.glob(".making-*"))


def test_who_comes_second_leaves_the_first(asked, cache, monkeypatch):
    """Also where the other one is ready while constants are written."""
    real, inner = CacheFolder.save, []

    def save(self, *given):
        if not inner:
            inner.append(1)
            real(self, *given)
            inner.append((next(cache.glob("tables-*/table.npy"))).stat().st_ino)
        real(self, *given)

    monkeypatch.setattr(CacheFolder, "save", save)
    assert_same(make_tables(**asked), tables_of(**asked, cache=cache))
    assert next(cache.glob("tables-*/table.npy")).stat().st_ino == inner[1]
    assert not list(cache.glob(".making-*"))


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more(asked, cache, monkeypatch, capsys, reason):
    """At any time that something is put on it: told, nothing is left, and the run goes on."""
    real, calls, point = os.fsync, [0], [0]

    def fsync(file):
        calls[0] += 1
        if calls[0] == point[0]:
            raise OSError(reason, os.strerror(reason))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    plain = make_tables(**asked)
    tables_of(**asked, cache=cache)
    last = calls[0]
    assert last > 5
    for number in range(1, last):
        CacheFolder(cache).clear()
        calls[0], point[0] = 0, number
        capsys.readouterr()
        assert_same(plain, tables_of(**asked, cache=cache))
        said = capsys.readouterr().err
        assert os.strerror(reason) in said
        assert "goes on without" in said
        assert list(cache.iterdir()) == []


def test_too_little_room_is_found_before(asked, cache, monkeypatch, capsys):
    usage = shutil.disk_usage(".")._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert_same(make_tables(**asked), tables_of(**asked, cache=cache))
    assert "are needed, 1e-07 GB are free" in capsys.readouterr().err


@contextlib.contextmanager
def nobody():
    """Without the rights of root, where the tests have them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written(constants_file, agipd, asked, capsys):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cache = folder / "cache"
        cache.mkdir()
        file = Path(shutil.copy(constants_file, folder / "constants.h5"))
        file.chmod(0o644)
        given = {**asked, "constants": Constants.open(file, agipd)}
        plain = make_tables(**given)
        cache.chmod(0o555)
        with nobody():
            assert_same(plain, tables_of(**given, cache=cache))
        assert os.strerror(errno.EACCES) in capsys.readouterr().err
        cache.chmod(0o755)
        tables_of(**given, cache=cache)
        cache.chmod(0o555)
        capsys.readouterr()
        with nobody():
            assert tables_of(**given, cache=cache).sha256 == constants_checksum(plain.table)
        assert capsys.readouterr().err == ""  # what is there is used
        cache.chmod(0o755)


def test_a_file_in_place_of_the_folder(asked, constants_file, capsys):
    assert_same(make_tables(**asked), tables_of(**asked, cache=constants_file))
    assert "the run goes on without" in capsys.readouterr().err


def test_what_was_killed_is_swept(asked, cache):
    for name, age in ((".making-old", 100_000), (".making-new", 100)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - age,) * 2)
    tables_of(**asked, cache=cache)
    assert {one.name for one in cache.glob(".making-*")} == {".making-new"}


def test_files_of_others_are_left_alone(tmp_path):
    """Also those whose names begin as an entry's."""
    others = {name: tmp_path / name for name in ("tables-mine.h5", ".making-mine", "notes.txt")}
    for path in others.values():
        path.write_text("mine")
    folder = CacheFolder(tmp_path)
    folder.save({"of": 1}, {"table": np.zeros(3)}, {}, {})
    assert [entry.fault for entry in folder.entries(thorough=True)] == [""]
    folder.clear()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(others, "mine")


def test_an_entry_that_another_process_removes_is_not_listed(tmp_path, monkeypatch):
    folder = CacheFolder(tmp_path)
    folder.save({"of": 1}, {"table": np.zeros(3)}, {}, {})
    found = folder._folders("tables-")
    shutil.rmtree(found[0])
    monkeypatch.setattr(folder, "_folders", lambda begin: found)
    assert folder.entries() == []
