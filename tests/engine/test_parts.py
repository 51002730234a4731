"""A run in parts: the same frames as in one, files of each part, and what resuming refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.engine.parts import blocks_of, cut_parts
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.sources.run import open_run

from .embed_case import SECTIONS
from .spots import Run


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("spots"))


def present():
    return [status.name for status in backends.describe() if status.available]


def reduced_in_parts(sim, recipe, out, trains=1, **more):
    recipe = {**recipe, "write": {**recipe["write"], "trains_per_file": trains}}
    return shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend="cpu", **more)


def module_rows(folder, module=3):
    """Frames and keys of a module in all files of an output."""
    found = []
    for path in sorted(folder.glob(f"CORR-*AGIPD{module:02d}-S*.h5")):
        with h5py.File(path) as file:
            group = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{module}CH0:output/image"]
            found.append(
                [group[name][()] for name in ("trainId", "pulseId", "cellId", "data", "gain", "mask")]
            )
    return [np.concatenate(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("name", ["usual", "second_sequence", "empty_train", "suspect_train"])
def test_parts_hold_what_one_file_does(name, simulated, reduced, make_recipe, places):
    sim, one = simulated(name), reduced(name)
    parts = reduced_in_parts(sim, make_recipe(), places / "parts")
    trains = len(open_run(sim.raw).trains)
    assert len(parts.files) == trains * len(one.files)
    for mine, theirs in zip(module_rows(parts.out), module_rows(one.out), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert parts.table == one.table
    report = check(parts.out)
    assert report.ok, report.summary()
    check_against(report, sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    mine, theirs = (dataclasses.asdict(result.accounts) for result in (parts, one))
    for counts in (mine, theirs):
        del counts["performance"], counts["bytes_out"]
    assert mine == theirs


def test_extra_data_reads_all_parts(simulated, reduced, make_recipe, places):
    extra_data = pytest.importorskip("extra_data")
    parts = reduced_in_parts(simulated("usual"), make_recipe(), places / "parts", 2)
    run, one = (extra_data.RunDirectory(result.out) for result in (parts, reduced("usual")))
    assert len(run.files) == len(parts.files)
    assert run.train_ids == one.train_ids
    from extra_data.components import AGIPD1M

    mine, theirs = (AGIPD1M(r, raw=False, min_modules=1) for r in (run, one))
    np.testing.assert_array_equal(mine["image.data"].ndarray(), theirs["image.data"].ndarray())
    from extra_data.validation import RunValidator

    assert not RunValidator(str(parts.out)).run_checks()


def test_parts_begin_where_the_files_of_the_run_do(simulated, make_recipe, places):
    sim = simulated("second_sequence")
    result = reduced_in_parts(sim, make_recipe(), places / "kept", 0)
    for path in result.files:
        with h5py.File(path) as mine, h5py.File(sim.raw / path.name.replace("CORR", "RAW")) as theirs:
            np.testing.assert_array_equal(mine["INDEX/trainId"], theirs["INDEX/trainId"])
            assert mine["METADATA/sequenceNumber"][0] == theirs["METADATA/sequenceNumber"][0]


def test_cutting_loses_nothing(simulated, rng):
    source = open_run(simulated("empty_train").raw)
    for trains in (0, 1, 2, 3, 500):
        parts = cut_parts(source, trains)
        assert [part.number for part in parts] == list(range(len(parts)))
        for axis, size in (("trains", len(source.trains)), ("shots", len(source.shots))):
            covered = np.concatenate([np.arange(size)[getattr(part, axis)] for part in parts])
            np.testing.assert_array_equal(covered, np.arange(size))
        for part in parts:
            own = source.shots.train_id[part.shots]
            assert set(own) <= set(source.trains.train_id[part.trains])
        readable = np.sort(rng.choice(len(source.shots), 5, replace=False))
        blocks = [block for part in parts for block in blocks_of(part, readable, [(0, 2), (2, 5)])]
        np.testing.assert_array_equal(np.concatenate([np.arange(*block) for block in blocks]), np.arange(5))


# ------------------------------------------------------------------- resuming


@pytest.fixture
def interrupted(simulated, make_recipe, tmp_path, interrupt_after):
    """A reduction that was interrupted after the first of three parts; gives what it was begun with."""
    sim, recipe = simulated("usual"), make_recipe()
    with interrupt_after("reduce", 0) as notes:
        reduced_in_parts(sim, recipe, tmp_path / "out")
    assert "1 part" in notes[0]
    return sim, recipe, tmp_path / "out"


def test_what_is_complete_is_not_read_again(interrupted, digest, places):
    sim, recipe, out = interrupted
    undisturbed = reduced_in_parts(sim, recipe, places / "undisturbed")
    seen = []
    result = reduced_in_parts(sim, recipe, out, resume=True, progress=lambda *told: seen.append(told))
    shots = len(result.table)
    assert [done for done, _, _ in seen] == [2 * shots // 3, shots]
    assert digest(out) == digest(undisturbed.out)
    assert result.accounts == dataclasses.replace(
        undisturbed.accounts, performance=result.accounts.performance
    )
    # And once more: it is complete.
    again = reduced_in_parts(sim, recipe, out, resume=True)
    assert again.digest == result.digest
    assert sorted(again.files) == sorted(result.files)
    assert again.table == result.table
    assert again.accounts.kept == result.accounts.kept


def test_begun_anew_only_when_that_is_said(interrupted, digest, places):
    sim, recipe, out = interrupted
    with pytest.raises(BadInput, match=r"has left 1 part of .* complete; add --resume"):
        reduced_in_parts(sim, recipe, out)
    result = reduced_in_parts(sim, recipe, out, overwrite=True)
    assert digest(out) == digest(reduced_in_parts(sim, recipe, places / "undisturbed").out)
    assert not [entry for entry in out.parent.iterdir() if entry.name.startswith(".")]
    assert result.accounts.expected


def test_what_changed_since_is_named(interrupted, make_recipe):
    sim, recipe, out = interrupted
    for change, words in (
        ({"keep": {"rule": "lit_pixels[3] > 999"}}, "recipe"),
        ({"calibrate": {"packed_constants": True}}, "constants.folded_sha256, .*recipe"),
        ({"calibrate": {"photon_energy": "9.0 keV"}}, "lit_threshold, mode.photon_energy_kev, .*recipe"),
    ):
        with pytest.raises(BadInput, match=f"cannot be resumed, since this has changed: .*{words}"):
            reduced_in_parts(sim, make_recipe(**change), out, resume=True)
    with pytest.raises(BadInput, match="changed: parts, recipe"):
        reduced_in_parts(sim, recipe, out, 2, resume=True)
    reduced_in_parts(sim, recipe, out, resume=True)
    with pytest.raises(BadInput, match="is complete, and of another reduction: it differs in recipe"):
        reduced_in_parts(sim, recipe, out, 2, resume=True)


def test_a_file_of_the_run_that_is_another_now(interrupted, tmp_path):
    sim, recipe, out = interrupted
    plan = next(tmp_path.glob(".out.parts-*/plan.json"))
    told = json.loads(plan.read_text())
    told["identity of the files of the run"][0][2] += 1
    plan.write_text(json.dumps(told))
    with pytest.raises(BadInput, match="changed: identity of the files of the run"):
        reduced_in_parts(sim, recipe, out, resume=True)


def in_place(sim, folder):
    """A copy of the run of which a word can be changed, of equal size; returns it and what changes it."""
    raw = folder / "raw" / "r0001"
    shutil.copytree(sim.raw, raw)
    [path] = raw.glob("*AGIPD03-S00000.h5")

    def change():
        with h5py.File(path, "r+") as file:
            file["INSTRUMENT/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image/data"][0, 0, 0, 0] += 1

    return dataclasses.replace(sim, raw=raw), change


def test_a_run_that_changed_after_the_interruption(simulated, make_recipe, tmp_path, interrupt_after):
    sim, change = in_place(simulated("usual"), tmp_path)
    with interrupt_after("reduce", 0):
        reduced_in_parts(sim, make_recipe(), tmp_path / "out")
    change()
    with pytest.raises(BadInput, match="changed: identity of the files of the run"):
        reduced_in_parts(sim, make_recipe(), tmp_path / "out", resume=True)


def test_a_run_that_changed_after_its_output_was_complete(simulated, make_recipe, tmp_path):
    sim, change = in_place(simulated("usual"), tmp_path)
    first = reduced_in_parts(sim, make_recipe(), tmp_path / "out")
    assert reduced_in_parts(sim, make_recipe(), tmp_path / "out", resume=True).digest == first.digest
    change()
    with pytest.raises(BadInput, match=r"cannot be taken for .*AGIPD03-S00000.h5 changed since"):
        reduced_in_parts(sim, make_recipe(), tmp_path / "out", resume=True)


def test_a_part_that_was_damaged_since(interrupted, tmp_path):
    sim, recipe, out = interrupted
    path = next(tmp_path.glob(".out.partial-*/*.h5"))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(shotsieve.UnreadableData, match=r"is not as it was .* add --overwrite"):
        reduced_in_parts(sim, recipe, out, resume=True)


def test_an_entry_that_cannot_be_read(interrupted, tmp_path):
    sim, recipe, out = interrupted
    entry = next(tmp_path.glob(".out.parts-*/*.npz"))
    entry.write_bytes(entry.read_bytes()[:100])
    with pytest.raises(shotsieve.UnreadableData, match="cannot be resumed; add --overwrite"):
        reduced_in_parts(sim, recipe, out, resume=True)


def test_a_file_of_a_complete_part_that_is_gone(interrupted, tmp_path):
    sim, recipe, out = interrupted
    next(tmp_path.glob(".out.partial-*/*.h5")).unlink()
    with pytest.raises(shotsieve.UnreadableData, match=r"is not as it was .* add --overwrite"):
        reduced_in_parts(sim, recipe, out, resume=True)
    reduced_in_parts(sim, recipe, out, overwrite=True)


def test_another_process_at_work_is_not_disturbed(interrupted):
    sim, recipe, out = interrupted
    hold = """
        import sys
        from shotsieve.write.output import OutputFolder
        with OutputFolder(sys.argv[1], resume=True) as folder:
            print("held", flush=True)
            sys.stdin.read()
            raise SystemExit
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(hold), str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BadInput, match="another process is writing it"):
        reduced_in_parts(sim, recipe, out, resume=True)
    other.communicate()
    reduced_in_parts(sim, recipe, out, resume=True)


def test_a_source_in_memory_is_never_resumed(tmp_path, interrupt_after):
    p = SpiParameters(n_trains=2, n_cells=2, modules=(3,), seed=11)
    source, _ = spi_source(p)
    recipe = {"calibrate": {}, "write": {"trains_per_file": 1}}
    options = {"constants": constants_in_memory(p, build(p)[1]), "backend": "cpu"}
    with interrupt_after("reduce", 0):
        shotsieve.reduce(source, recipe, tmp_path / "out", **options)
    with pytest.raises(BadInput, match="changed: frames of a source in memory"):
        shotsieve.reduce(source, recipe, tmp_path / "out", resume=True, **options)


def test_nothing_to_resume_is_no_error(simulated, make_recipe, places, reduced, digest):
    result = shotsieve.reduce(
        simulated("usual").raw, make_recipe(), places / "fresh", simulated("usual").constants, "cpu",
        resume=True,
    )  # fmt: skip
    assert digest(result.out) == digest(reduced("usual").out)


def test_negative_parts_are_refused(make_recipe):
    with pytest.raises(BadInput, match=r"trains_per_file = -1: expected a number of trains, or 0"):
        shotsieve.Recipe.from_dict(make_recipe(write={"trains_per_file": -1}))


# ------------------------------------------------------------------- everything that is measured


LATE = {
    "keep": {"rule": "n_peaks >= few", "misses": 0.3, "seed": 4},
    "measure": {**SECTIONS["measure"], "average": {"by": "verdict"}},
    "derive": {"few": {"kind": "adaptive", "of": "n_peaks", "k": 1.0}},
}
CASES = {
    "one pass": ({}, ("reduce", 0)),
    "in the measuring pass": (LATE, ("measure", 1)),
    "in the writing pass": (LATE, ("write", 0)),
    "before the last step": ({}, ("reduce", 2)),
    "photons": ({"write": {"content": "photons", "dtype": "uint8", "cxi": True}}, ("reduce", 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_everything_is_resumed(case, backend_name, spots, digest, tmp_path, interrupt_after):
    """Peaks, profiles, regions, spectra, averages, CXI files: to the byte."""
    if backend_name != "cpu" and case != "one pass":
        pytest.skip("sums go through each backend's memory in one case")
    sections, where = CASES[case]
    sections = {**SECTIONS, "write": {"content": "corrected", "cxi": True}, **sections}
    sections = {**sections, "write": {**sections["write"], "trains_per_file": 1}}
    undisturbed = spots.reduce(tmp_path / "whole", backend_name, **sections)
    with interrupt_after(*where):
        spots.reduce(tmp_path / "out", backend_name, **sections)
    assert not (tmp_path / "out").exists()
    result = spots.reduce(tmp_path / "out", backend_name, resume=True, **sections)
    assert digest(result.out) == digest(undisturbed.out)
    assert check(result.out).ok


def test_an_interruption_after_all_parts(spots, digest, tmp_path, monkeypatch):
    """What goes over all parts, the list of CXI files among it, is written again."""
    sections = {"write": {"content": "corrected", "cxi": True, "overview": True, "trains_per_file": 1}}
    undisturbed = spots.reduce(tmp_path / "whole", **sections)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("shotsieve.engine.views.Views.write", stop)
    with pytest.raises(KeyboardInterrupt):
        spots.reduce(tmp_path / "out", **sections)
    monkeypatch.undo()
    result = spots.reduce(tmp_path / "out", resume=True, **sections)
    assert digest(result.out) == digest(undisturbed.out)


def test_what_was_noted_while_reading_is_resumed(
    simulated, make_recipe, places, digest, tmp_path, interrupt_after
):
    """The accounts say it also where no frame is read any more."""
    sim = simulated("usual")
    raw = shutil.copytree(sim.raw, tmp_path / "r0001")
    path = sorted(raw.glob("*AGIPD*.h5"))[0]
    with h5py.File(path, "r+") as file:
        [source] = [name for name in file["INSTRUMENT/SPB_DET_AGIPD1M-1/DET"] if "xtdf" in name]
        image = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{source}/image"]
        words = image["data"][()]
        del image["data"]
        image.create_dataset("data", data=words, chunks=(1, *words.shape[1:]), fletcher32=True)
    recipe = make_recipe(write={"trains_per_file": 1})
    options = {"constants": sim.constants, "backend": "cpu"}
    whole = shotsieve.reduce(raw, recipe, places / "whole", **options)
    assert [note for note in whole.accounts.notes if "read through h5py" in note]
    last = len({path.name[-9:] for path in whole.files}) - 1
    with interrupt_after("reduce", last):
        shotsieve.reduce(raw, recipe, places / "out", **options)
    result = shotsieve.reduce(raw, recipe, places / "out", resume=True, **options)
    assert result.accounts.notes == whole.accounts.notes
    assert digest(result.out) == digest(whole.out)


def test_a_list_that_changed_since(spots, tmp_path, interrupt_after):
    wanted, keys = tmp_path / "wanted.lst", spots.reduce(tmp_path / "all").table
    wanted.write_text(f"{keys.train_id[0]} {keys.pulse_id[0]}\n")
    sections = {
        "derive": {"wanted": {"kind": "list", "file": str(wanted)}},
        "keep": {"rule": "wanted == 1"},
        "write": {"content": "corrected", "trains_per_file": 1},
    }
    with interrupt_after("reduce", 0):
        spots.reduce(tmp_path / "out", **sections)
    wanted.write_text(f"{keys.train_id[-1]} {keys.pulse_id[-1]}\n")
    with pytest.raises(BadInput, match=r"this has changed: derive\.wanted_sha256"):
        spots.reduce(tmp_path / "out", resume=True, **sections)


def test_another_backend_goes_on_only_where_bits_are_the_same(spots, tmp_path, interrupt_after):
    sections = {"write": {"content": "corrected", "trains_per_file": 1}}
    for name, more in (("plain", {}), ("averages", {"measure": SECTIONS["measure"]})):
        with interrupt_after("reduce", 0):
            spots.reduce(tmp_path / name, "cpu", **sections, **more)
    if "emu" not in present():
        pytest.skip("needs a second backend")
    spots.reduce(tmp_path / "plain", "emu", resume=True, **sections)
    with pytest.raises(BadInput, match="this has changed: backend"):
        spots.reduce(tmp_path / "averages", "emu", resume=True, measure=SECTIONS["measure"], **sections)
