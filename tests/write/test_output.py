"""A reduced run is complete under its final name, or not there at all."""

import os
import stat
import subprocess
import sys
import textwrap

import pytest
from shotsieve.errors import BadInput, OutputError
from shotsieve.write.output import SIDE_FILES, OutputFolder


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def fill(out, text="new"):
    (out.folder / "CORR-R0001-AGIPD00-S00000.h5").write_text(text)
    for name in SIDE_FILES:
        (out.side / name).write_text(text)


OURS = ["CORR-R0001-AGIPD00-S00000.h5", "shotsieve", *(f"shotsieve/{name}" for name in sorted(SIDE_FILES))]


def test_output_appears_at_once_and_parents_are_made(tmp_path):
    target = tmp_path / "red" / "deep" / "r0001"
    with OutputFolder(target) as out:
        fill(out)
        assert not target.exists()
        assert out.folder.parent == target.parent
    assert tree(target) == OURS
    assert os.listdir(target.parent) == ["r0001"]
    out.commit()  # a second one does nothing


def test_permissions_are_those_of_an_ordinary_or_the_prepared_folder(tmp_path):
    with OutputFolder(tmp_path / "a") as out:
        fill(out)
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "b").mkdir()
    (tmp_path / "b").chmod(0o2770)
    with OutputFolder(tmp_path / "b") as out:
        fill(out)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o2770


def test_folder_that_is_not_empty_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        BadInput, match=r"is not empty \(it holds notes.txt\).*--overwrite \(from Python: overwrite=True\)"
    ):
        OutputFolder(tmp_path)
    assert tree(tmp_path) == ["notes.txt"]


def test_overwrite_replaces_only_our_own_output(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/RAW-R0001-AGIPD00-S00000.h5").write_text("raw")
    with pytest.raises(BadInput, match="not an earlier output of shotsieve"):
        OutputFolder(tmp_path / "mine", overwrite=True)
    target = tmp_path / "r0001"
    with OutputFolder(target) as out:
        fill(out, "old")
    with OutputFolder(target, overwrite=True) as out:
        (out.folder / "only.h5").write_text("new")
        assert (target / "CORR-R0001-AGIPD00-S00000.h5").read_text() == "old"
    assert tree(target) == ["only.h5", "shotsieve"]
    assert sorted(os.listdir(tmp_path)) == ["mine", "r0001"]


@pytest.mark.parametrize(
    "foreign",
    [
        "thesis.tex",
        "RAW-R0001-DA01.h5",
        "CORR-R0001-AGIPD00-S00000.h5.bak",
        "analysis/result.h5",
        "CORR-R0001-AGIPD01-S00000.h5/inner.h5",
        "shotsieve/notes.txt",
        "shotsieve/plots/hits.png",
        ".hidden",
    ],
)
def test_overwrite_refuses_what_shotsieve_did_not_write(tmp_path, foreign):
    target = tmp_path / "r0001"
    with OutputFolder(target) as out:
        fill(out, "old")
    (target / foreign).parent.mkdir(exist_ok=True)
    (target / foreign).write_text("mine")
    before = tree(target)
    named = "/".join(foreign.split("/")[: 2 if foreign.startswith("shotsieve") else 1])
    with pytest.raises(BadInput, match=rf"but {named} in it was not written by shotsieve"):
        OutputFolder(target, overwrite=True)
    assert tree(target) == before


def test_overwrite_needs_more_than_a_folder_of_that_name(tmp_path):
    (tmp_path / "shotsieve").mkdir()  # such as a clone of the sources
    (tmp_path / "shotsieve/README.md").write_text("mine")
    with pytest.raises(BadInput, match=r"no shotsieve/accounts\.json, so it is not an earlier output"):
        OutputFolder(tmp_path, overwrite=True)
    assert tree(tmp_path) == ["shotsieve", "shotsieve/README.md"]


def test_what_comes_into_an_old_output_meanwhile_is_not_lost(tmp_path):
    target = tmp_path / "r0001"
    with OutputFolder(target) as out:
        fill(out, "old")

    def action(out):
        (target / "thesis.tex").write_text("mine")

    with pytest.raises(OutputError, match=r"thesis\.tex.*complete output is left in"):
        interrupted(target, action, overwrite=True)
    assert (target / "thesis.tex").read_text() == "mine"
    assert (target / "shotsieve/table.h5").read_text() == "old"


@pytest.mark.parametrize(
    "name", ["RAW-R0001-AGIPD00-S00000.h5", "CORR-R12345-JNGFR01-S00012.h5", "karabo_data_map.json"]
)
def test_overwrite_knows_its_data_files(tmp_path, name):
    target = tmp_path / "r0001"
    with OutputFolder(target) as out:
        fill(out)
        (out.folder / name).write_text("x")
    with OutputFolder(target, overwrite=True) as out:
        fill(out)
    assert tree(target) == OURS


def interrupted(target, action, **options):
    """Write an output during which `action` happens."""
    with OutputFolder(target, **options) as out:
        fill(out)
        action(out)


def throw(error):
    def action(out):
        raise error

    return action


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_any_interruption_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        interrupted(tmp_path / "deep/r0001", throw(error))
    assert tree(tmp_path) == []


def test_interruption_keeps_the_old_output(tmp_path):
    with OutputFolder(tmp_path / "r0001") as out:
        fill(out, "old")
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "r0001", throw(KeyboardInterrupt), overwrite=True)
    assert tree(tmp_path) == before
    assert (tmp_path / "r0001/shotsieve/table.h5").read_text() == "old"


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")])
def test_interruption_of_the_renames_leaves_one_whole_output(tmp_path, monkeypatch, step, before, error):
    with OutputFolder(tmp_path / "r0001") as out:
        fill(out, "old")
    real, calls = os.rename, []

    def rename(a, b):
        number = len(calls)
        calls.append(a)
        if number == step and before:
            raise error
        real(a, b)
        if number == step:
            raise error

    out = OutputFolder(tmp_path / "r0001", overwrite=True).__enter__()
    fill(out, "new")
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OutputError):
        out.commit()
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["r0001"]
    assert (tmp_path / "r0001/shotsieve/table.h5").read_text() == ("new" if step and not before else "old")


def test_a_folder_filled_meanwhile_loses_neither_side(tmp_path):
    folders = []

    def action(out):
        folders.append(out.folder)
        (tmp_path / "r0001").mkdir()
        (tmp_path / "r0001/theirs").write_text("x")

    with pytest.raises(OutputError, match="complete output is left in") as caught:
        interrupted(tmp_path / "r0001", action)
    assert str(folders[0]) in str(caught.value)
    assert (folders[0] / "shotsieve/table.h5").read_text() == "new"
    assert tree(tmp_path / "r0001") == ["theirs"]


def test_two_at_once_do_not_remove_each_other(tmp_path):
    first, second = OutputFolder(tmp_path / "r0001"), OutputFolder(tmp_path / "r0001")
    with first as out:
        fill(out)
        with pytest.raises(OutputError), second:
            pass
        assert (out.side / "table.h5").exists()
    assert (tmp_path / "r0001/shotsieve/table.h5").exists()


def test_file_and_dangling_link_are_no_folders(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(BadInput, match="is a file; give a folder"):
        OutputFolder(tmp_path / "f")
    with pytest.raises(OutputError, match="f"), OutputFolder(tmp_path / "f" / "r0001"):
        pass


def test_link_to_a_folder_keeps_leading_to_the_output(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with OutputFolder(tmp_path / "link") as out:
        fill(out)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/shotsieve/table.h5").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"), OutputFolder(tmp_path / "r0001"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_no_permission_text(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(OutputError, match=r"no permission to write here.*choose another folder"):
        OutputFolder(tmp_path / "r0001").__enter__()


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError, match="input"), OutputFolder(tmp_path / "r0001"):
        raise FileNotFoundError(2, "No such file", "input.h5")
    with pytest.raises(OutputError, match=r"cannot be written.*Input/output"):
        with OutputFolder(tmp_path / "r0001") as out:
            raise OSError(5, "Input/output error", str(out.folder / "x.h5"))


WRITE_MUCH = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from shotsieve import detectors
    from shotsieve.errors import OutputError
    from shotsieve.sources.base import RunMeta
    from shotsieve.sources.memory import MemorySource
    from shotsieve.write.exdf import ReducedRunWriter
    from shotsieve.write.exdf_file import ExdfFile
    from shotsieve.write.output import OutputFolder

    folder, limit, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with OutputFolder(folder / "deep" / "r0001") as out:
            if what == "run":
                detector, index = detectors.load("AGIPD1M"), np.arange(64)
                words = np.zeros((64, 1, 2, 512, 128), "u2")
                source = MemorySource(detector, words, index * 0 + 1, index, index, modules=[0])
                with ReducedRunWriter(out.folder, source, "raw", "ADU", {}) as writer:
                    for shot in index:
                        writer.append([shot], source.shots.present[[shot]], {"raw": words[[shot]]})
                    writer.finish()
            else:
                with ExdfFile(out.folder / "a.h5", train_ids=[1], timestamps=[1], meta=RunMeta()) as f:
                    f.instrument("A/B/C:out", "image", [64])["data"] = np.ones((64, 512, 128), "f4")
    except OutputError as err:
        print("OutputError", err)
    print(sorted(p.name for p in folder.iterdir()))
"""


def run_full(folder, limit, what):
    code = textwrap.dedent(WRITE_MUCH)
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(limit), what],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert lines[0].startswith("OutputError"), result.stdout + result.stderr
    assert "disk is full, or a quota or size limit was met" in lines[0]
    assert "are needed" in lines[0]
    assert lines[1] == "[]"


@pytest.mark.parametrize("what", ["run", "file"])
def test_size_limit(tmp_path, what):
    run_full(tmp_path, 4_000_000, what)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can only be mounted by root on a machine that allows it")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


@pytest.mark.parametrize("what", ["run", "file"])
def test_full_disk(small_disk, what):
    run_full(small_disk, 0, what)
    assert os.statvfs(small_disk).f_bfree > 0.9 * os.statvfs(small_disk).f_blocks
