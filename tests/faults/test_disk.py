"""A disk that is full at any write, and what is put on it in which order."""

from __future__ import annotations

import shutil

import pytest

from .server import small_disk


@pytest.mark.parametrize("name", ["one pass", "everything"])
def test_disk_full_at_any_write(serve, rng, name):
    """A full disk is an error with a reason, wherever it is met; HDF5 does not crash.

    Among the points are some where rows of a part are held back, and where those of all parts are joined.
    """
    server = serve(name)
    expected, calls = server.undisturbed()
    fixed = {1, 5, 26, 33, *range(calls - 160, calls - 60, 25)}
    for point in sorted(fixed | {*rng.integers(1, calls - 60, 3).tolist()}):
        assert server.outcome("out", "full", point, expected) == "told"
        server.resumed("out", expected)


@pytest.mark.parametrize("name", ["two passes", "everything", "two detectors"])
def test_a_broken_disk_at_any_call(serve, rng, name):
    """EIO from any write, fsync, link, rename or mkdir: an error of ours, or no harm; never a loss."""
    server = serve(name)
    expected, calls = server.undisturbed()
    for point in sorted({calls - 1, calls, *rng.integers(1, calls, 3).tolist()}):
        # Where it ends well, a clean-up was refused.
        assert server.outcome("out", "fail", point, expected) in ("told", "done")
        server.resumed("out", expected)


@pytest.fixture
def disk(tmp_path):
    """A folder for a file system of its own; gives it, and what sets its size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder) as resize:
        if resize is None:
            pytest.skip("a small disk can only be mounted by root on a machine that allows it")
        yield folder, resize


def test_a_small_disk(serve, disk):
    """Parts that fitted are kept; with more room the rest is written, and it is the same as anywhere."""
    folder, resize = disk
    expected, _ = serve("two passes").undisturbed()
    assert resize(sum(map(len, expected.values())) * 2 // 3)
    server = serve("two passes", folder)
    done = server("out")
    assert done["status"] == 1, done
    assert "the disk is full" in done["text"]
    assert "--resume" in done["text"]
    assert not (folder / "out").exists()
    assert list(folder.glob(".out.parts-*/*.npz"))
    assert resize("100m")
    server.resumed("out", expected)


class Trace:
    """Goes through the calls of a reduction, and knows what a power cut would lose.

    `data` are files that were written since they were last put on the disk; `entries` are folders in which a
    name appeared since.
    """

    def __init__(self):
        self.data, self.entries = set(), set()

    def take(self, call, path):
        folder, _, name = path.rpartition("/")
        if call == "fsync":
            self.data.discard(path)
            self.entries.discard(path)
        elif call in ("write", "truncate", "cut"):
            self.data.add(path)
        elif (
            call in ("create", "mkdir", "link", "rename") and name != "shotsieve"
        ):  # made anew where it lacks
            self.entries.add(folder)
        if call == "rename":  # temporary names hold the final one
            before = {one for one in self.data if one.startswith(f"{folder}/") and name in one}
            self.data = self.data - before | ({path} if before else set())
        if call == "unlink":
            self.data.discard(path)

    def lost(self, but=()):
        """What would be lost of parts; folders in `but` aside."""
        return {path for path in self.data | self.entries if not path.endswith("/shotsieve")} - set(but)


@pytest.mark.parametrize(("name", "parts"), [("everything", 2), ("two detectors", 6)])
def test_everything_is_on_the_disk_before_it_is_named(serve, name, parts):
    """The trace of the calls: data, folders, entry, link, folder; and all of it before the last rename."""
    server = serve(name)
    log = server.folder.with_suffix(".log")
    assert server("out", log=str(log))["status"] == 0
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    trace, links, renamed = Trace(), 0, False
    for number, (call, path) in enumerate(lines):
        journal = path.rpartition("/")[0]
        if call == "link" and path.endswith(".npz"):
            links += 1
            assert not trace.lost([journal]), path
            assert lines[number - 1] == ["fsync", f"{path}.partial"]
            # The entry of the link itself comes next, but for the temporary name.
            after = next(line for line in lines[number + 1 :] if line[0] != "unlink")
            assert after == ["fsync", journal]
        if call == "rename" and path == f"{server.folder}/out":
            renamed = True
            assert not {one for one in trace.data | trace.entries if "/.out.partial" in one}
            assert lines[number + 1] == ["fsync", str(server.folder)]
        trace.take(call, path)
    assert renamed
    assert links == parts
    shutil.rmtree(server.folder / "out")
