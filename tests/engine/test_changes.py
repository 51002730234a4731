"""A run that changes while it is read: nothing of it is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import shotsieve
from shotsieve.errors import UnreadableData
from shotsieve.sources.run import RunSource

FILE = "RAW-R0001-AGIPD03-S00000.h5"


def touched(path):
    os.utime(path, ns=(1, 1))


def replaced(path):
    other = path.with_suffix(".new")
    shutil.copy2(path, other)
    os.replace(other, path)


def longer(path):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.fixture
def run(simulated, tmp_path):
    raw = tmp_path / "raw/r0001"
    shutil.copytree(simulated("usual").raw, raw)
    return raw


@pytest.mark.parametrize("change", [touched, replaced, longer])
@pytest.mark.parametrize("late", [False, True], ids=["one pass", "two passes"])
def test_a_file_that_changes(run, simulated, make_recipe, tmp_path, monkeypatch, change, late):
    """It does so after the first block was read."""
    read, done = RunSource.read, []

    def and_change(source, start, stop, out):
        read(source, start, stop, out)
        if not done:
            done.append(change(run / FILE))

    monkeypatch.setattr(RunSource, "read", and_change)
    derive = {"order": {"kind": "rank", "of": "lit_pixels[3]"}}
    recipe = make_recipe(derive=derive, keep={"rule": "order < 0.5"}) if late else make_recipe()
    with pytest.raises(UnreadableData, match=f"{FILE} changed while the run was being read"):
        shotsieve.reduce(run, recipe, tmp_path / "r", constants=simulated("usual").constants, backend="cpu")
    assert done
    assert not (tmp_path / "r").exists()
    assert not list(tmp_path.glob(".r*"))


def shorter(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)


@pytest.mark.parametrize("change", [shorter, Path.unlink])
def test_a_file_that_shrinks_or_vanishes_while_it_is_read(
    run, simulated, make_recipe, tmp_path, monkeypatch, change
):
    """It does so before the second train is read: an error that names it, and nothing stands."""
    read, asked = RunSource.read, []

    def after_change(source, start, stop, out):
        asked.append(start)
        if len(asked) == 2:
            change(run / FILE)
        read(source, start, stop, out)

    monkeypatch.setattr(RunSource, "read", after_change)
    recipe = make_recipe(write={"content": "corrected", "trains_per_file": 1})
    with pytest.raises(UnreadableData, match=FILE):
        shotsieve.reduce(run, recipe, tmp_path / "r", simulated("usual").constants, "cpu", block_bytes=1)
    assert len(asked) > 1
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_file_that_goes_away(run, simulated, make_recipe, tmp_path, monkeypatch):
    source = shotsieve.open_run(run)
    assert source.changed() == []
    (run / FILE).unlink()
    assert source.changed() == [FILE]
