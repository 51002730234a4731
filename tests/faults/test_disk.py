"""A disk that is full at any write, and what is put on it in which order."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from .server import RECIPE, contents


def test_disk_full_at_any_write(serve, rng):
    """A full disk is an error with a reason. HDF5 itself may crash when a flush fails: that is as a kill."""
    server = serve(RECIPE)
    expected, calls = server.undisturbed()
    said = 0
    for point in sorted({1, 5, *rng.integers(1, calls - 40, 3).tolist()}):
        done = server("out", "full", point)
        server.nothing_partial("out", expected)
        if done["status"] != -signal.SIGSEGV:
            assert done["status"] == 1, done
            assert re.search("the disk is full|No space left", done["text"]), done["text"]
            parts = list(server.folder.glob(".out.parts-*/*.npz"))
            assert ("--resume" in done["text"]) == bool(parts)
            if not parts:  # then nothing is left at all
                assert not list(server.folder.glob(".out*"))
            said += 1
        server.resumed("out", expected)
    assert said >= 1


def test_a_broken_disk_at_any_call(serve, rng):
    """EIO from any write, fsync, link, rename or mkdir: an error of ours, or no harm; never a loss."""
    server = serve(RECIPE)
    expected, calls = server.undisturbed()
    last = range(calls - 2, calls + 1)
    for point in sorted({*last, *rng.integers(1, calls, 4).tolist()}):
        done = server("out", "fail", point)
        assert done["status"] in (0, 1, -signal.SIGSEGV), done
        server.nothing_partial("out", expected)
        if done["status"] == 0:  # what was refused was a clean-up
            assert contents(server.folder / "out") == expected
        server.resumed("out", expected)


@pytest.fixture
def small_disk(tmp_path):
    """A folder for a file system of its own; gives it, and what mounts it with a size, or another one."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=1m"):
        pytest.skip("a small disk can only be mounted by root on a machine that allows it")
    yield folder, lambda size: mount("remount", f"size={size}")
    subprocess.run(["umount", str(folder)], check=False)


def test_a_small_disk(serve, small_disk):
    """Parts that fitted are kept; with more room the rest is written, and it is the same as anywhere."""
    folder, resize = small_disk
    recipe = RECIPE.replace("[measure.average]\n", "")  # whose sums are larger than the frames
    expected, _ = serve(recipe).undisturbed()
    assert resize(sum(map(len, expected.values())) * 2 // 3)
    server = serve(recipe, folder)
    done = server("out")
    assert done["status"] == 1, done
    assert "the disk is full" in done["text"]
    assert "--resume" in done["text"]
    assert not (folder / "out").exists()
    assert list(folder.glob(".out.parts-*/*.npz"))
    assert resize("100m")
    server.resumed("out", expected)


def test_everything_is_on_the_disk_before_it_is_named(serve):
    """The trace of the calls: data, folder, entry, link, folder; and all of it before the last rename."""
    server = serve(RECIPE)
    log = server.folder.with_suffix(".log")
    assert server("out", log=str(log))["status"] == 0
    trace = [line.split(" ", 1) for line in log.read_text().splitlines()]
    last_write, synced_folder = {}, {}
    links = 0
    for number, (call, path) in enumerate(trace):
        if call in ("write", "truncate", "cut"):
            last_write[path] = number
        if call == "fsync":
            last_write.pop(path, None)
            synced_folder[path] = number
        if call == "link" and path.endswith(".npz"):
            links += 1
            data = [name for name in last_write if re.search(r"S\d{5}\.h5$|\.parts-\d+/.*[^l]$", name)]
            assert not data, f"not on the disk when {path} is linked"
            assert trace[number - 1] == ["fsync", f"{path}.partial"]
            # The entry of the link itself comes next, but for the temporary name.
            after = [entry for entry in trace[number + 1 :] if entry[0] != "unlink"]
            assert after[0] == ["fsync", path.rpartition("/")[0]]
    assert links == 3
    renamed = [number for number, (call, _) in enumerate(trace) if call == "rename"]
    assert trace[renamed[-1]][1].endswith("/out")
    assert not [name for name in last_write if "/.out.partial" in name]
    assert ["fsync", str(server.folder)] in trace[renamed[-1] :]
    assert contents(server.folder / "out")
