"""A killed reduction leaves nothing under the final name, and run again it gives the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from shotsieve.recipe import Recipe
from shotsieve.write.output import OutputFolder

# Runs the command line in a forked child for each line of standard input: starting Python takes longer than
# so small a reduction. Answers with its status and calls. A child kills itself at the n-th call of anything
# that makes the output: chunks, fsyncs, renames, folders, texts.
KILLER = """
import json, os, pathlib, signal, sys
import shotsieve.cli, shotsieve.engine, shotsieve.backend
import shotsieve.write.chunks, shotsieve.write.hdf5, shotsieve.write.output

left = calls = 0

def counted(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

store = shotsieve.write.chunks.RowDataset.store
shotsieve.write.chunks.RowDataset.store = counted(store)
for name in ("fsync", "rename", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
pathlib.Path.write_text = counted(pathlib.Path.write_text)
shotsieve.backend.get("cpu")
for line in sys.stdin:
    left, arguments = json.loads(line)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        status = shotsieve.cli.main(arguments)
        os.write(write, str(calls).encode())
        os._exit(status)
    os.close(write)
    with os.fdopen(read) as told:
        number = told.read()
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(number or 0)]), flush=True)
"""


@pytest.fixture
def command(simulated, make_recipe, tmp_path):
    sim, path = simulated("usual"), tmp_path / "recipe.toml"
    path.write_text(Recipe.from_dict(make_recipe()).dumps_toml())
    return [
        "reduce",
        str(sim.raw),
        "--recipe",
        str(path),
        "--constants",
        str(sim.constants),
        "--backend",
        "cpu",
    ]


@pytest.fixture
def run(command):
    """``run(out, kill_at, *more)``: the status of the command, and its calls if it was not killed."""
    killer = subprocess.Popen(
        [sys.executable, "-c", KILLER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def answer(out, kill_at=0, *more):
        killer.stdin.write(json.dumps([kill_at, [*command, "-o", str(out), *more]]) + "\n")
        killer.stdin.flush()
        return json.loads(killer.stdout.readline())

    with killer:
        yield answer
        killer.stdin.close()


def contents(folder):
    """What an output holds, but for what depends on the machine."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "machine.json"
    }


def test_killed_anywhere(run, tmp_path, rng):
    status, calls = run(tmp_path / "undisturbed")
    assert status == 0
    expected = contents(tmp_path / "undisturbed")
    assert calls > 30
    # The last ones are those of the commit; of the others some at random, since each takes time.
    points = {calls, calls - 1, calls - 2, 1, *rng.integers(1, calls, 5).tolist()}
    for point in sorted(points):
        place = tmp_path / f"at-{point}"
        place.mkdir()
        status, _ = run(place / "out", point)
        assert status == -signal.SIGKILL
        if (place / "out").exists():  # killed after the rename: then it is all there
            assert contents(place / "out") == expected
            continue
        complete = any(place.glob(".out.parts-*/*.npz"))
        assert run(place / "out")[0] == (1 if complete else 0)
        if complete:
            assert run(place / "out", 0, "--resume")[0] == 0
        assert contents(place / "out") == expected
        assert [entry.name for entry in place.iterdir()] == ["out"]


def test_killed_while_replacing(run, tmp_path):
    """The earlier output is there, or set aside, until the new one is; and then nothing of it is left."""
    out = tmp_path / "place/out"
    assert run(out)[0] == 0
    before, more = contents(out), ("--set", "keep.rule=lit_pixels[3] > 2000")
    status, calls = run(tmp_path / "other", 0, *more)
    assert status == 0
    after = contents(tmp_path / "other")
    # One more rename than without an earlier output.
    for point in (calls - 2, calls - 1, calls, calls + 1):
        status, _ = run(out, point, "--overwrite", *more)
        assert status == -signal.SIGKILL
        held = [contents(entry) for entry in out.parent.iterdir()]
        assert before in held or after in held
        status, _ = run(out, 0, "--overwrite", *more)
        assert status == 0
        assert contents(out) == after
        assert [entry.name for entry in out.parent.iterdir()] == ["out"]
        assert run(out, 0, "--overwrite")[0] == 0


def test_what_another_process_is_at_work_on_is_left_alone(tmp_path):
    path = tmp_path / "out"
    with OutputFolder(path) as mine:
        (mine.folder / "a.h5").write_bytes(b"mine")
        code = f"from shotsieve.write.output import OutputFolder\nwith OutputFolder({str(path)!r}): pass"
        # The other one is done first and has the name; then ours is refused, and not lost.
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
        assert (mine.folder / "a.h5").read_bytes() == b"mine"
        left = mine.folder
        with pytest.raises(Exception, match="is not empty"):
            mine.commit()
    assert (left / "a.h5").read_bytes() == b"mine"


def test_what_cannot_be_locked_is_left_alone(tmp_path, monkeypatch):
    left = tmp_path / ".out.partial-1"
    left.mkdir()
    (left / "a.h5").write_bytes(b"?")
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
    with OutputFolder(tmp_path / "out"):
        pass
    assert (left / "a.h5").exists()
    monkeypatch.undo()
    with OutputFolder(tmp_path / "next"):
        pass
    assert (left / "a.h5").exists()  # another output's
    os.rename(tmp_path / "out", tmp_path / "moved")
    with OutputFolder(tmp_path / "out"):
        pass
    assert not left.exists()
    assert all(not entry.name.startswith(".") for entry in tmp_path.iterdir())
