"""A disk that refuses plain frames in the middle of a reduction: with `tolerant` a loss that is counted."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import LateLoss, UnreadableData
from shotsieve.sources import run
from shotsieve.sources.run import open_run
from shotsieve.table import FATES, ModuleStatus

from .corrected_case import DET, facility

__all__ = ["facility"]

IMAGE = f"INSTRUMENT/{DET}/DET/{{}}CH0:xtdf/image/data"
BEGUN_ANEW = "everything is begun anew"


def refuse(disk, raw, module, *frames, **options):
    (path,) = raw.glob(f"RAW-*AGIPD{module:02d}-S00000.h5")
    for frame in frames:
        disk.refuse(path, IMAGE.format(module), frame, **options)
    return path.name


def lost(result, sim, *where):
    """Check that these modules of these trains are lost, and all else is there."""
    table, modules = result.table, list(result.table.modules)
    train = (table.train_id - np.uint64(sim.parameters.first_train)).astype(int)
    expected = np.zeros(table.module_status.shape, bool)
    for module, number in where:
        expected[train == number, modules.index(module)] = True
    np.testing.assert_array_equal(table.module_status == ModuleStatus.UNREADABLE, expected)
    told = result.accounts.modules.get("4", {}).get("unreadable", 0)
    assert told == expected[table.fate <= FATES.index("dropped"), modules.index(4)].sum()


def in_order(result, sim, **options):
    report = check(result.out)
    assert report.ok, report.summary()
    check_against(report, sim.raw, constants=sim.constants, backend="cpu", **options)
    assert report.ok, report.summary()


@pytest.fixture
def short_rows(monkeypatch):
    """Trains may be cut after every second cell, and not after 32 of them."""
    monkeypatch.setattr(run, "rows_together", lambda _, cell_id: np.arange(len(cell_id)) // 2)


@pytest.fixture
def reduce(make_recipe, places):
    """Reduce a simulated run into a folder of a name."""

    def go(sim, name="red", source=None, sections=None, **options):
        options = {"constants": sim.constants, "backend": "cpu", "tolerant": True, **options}
        return shotsieve.reduce(source or sim.raw, make_recipe(**sections or {}), places / name, **options)

    return go


def test_without_it_the_first_refusal_ends_the_reduction(simulated, reduce, places, disk):
    sim = simulated("usual")
    name = refuse(disk, sim.raw, 4, 5)
    with pytest.raises(UnreadableData, match=rf"{name}.*Input/output error.*affects trains \d+"):
        reduce(sim, tolerant=False)
    assert list(places.iterdir()) == []


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_what_is_refused_is_counted_and_the_rest_is_what_it_was(
    simulated, reduce, read_module, disk, content
):
    sim, sections = simulated("usual"), {"keep": None, "write": {"content": content}}
    whole = reduce(sim, "whole", sections=sections)
    name = refuse(disk, sim.raw, 4, 5, 10)
    refuse(disk, sim.raw, 3, 11)
    got = reduce(sim, sections=sections)
    lost(got, sim, (4, 1), (4, 2), (3, 2))
    assert got.accounts.unreadable == 4
    assert any(name in note and "2 frames cannot be read (5, 10)" in note for note in got.accounts.notes)
    for module, trains in ((3, 2), (4, 1)):
        mine, theirs = read_module(got, module), read_module(whole, module)
        assert len(mine["image.data"]) == 4 * trains
        for key in ("image.data", "image.trainId", "image.pulseId"):
            np.testing.assert_array_equal(mine[key], theirs[key][: 4 * trains])
    in_order(got, sim)


def test_cut_trains_come_to_the_same_as_whole_ones(simulated, reduce, disk, digest, capsys, short_rows):
    """The refused frames stand behind those that were measured and written before."""
    sim = simulated("usual")
    refuse(disk, sim.raw, 4, 7, 11)
    whole = reduce(sim, "whole")
    assert BEGUN_ANEW not in capsys.readouterr().err
    lost(whole, sim, (4, 1), (4, 2))
    got = reduce(sim, block_bytes=1)
    assert capsys.readouterr().err.count(BEGUN_ANEW) == 1
    assert digest(got.out) == digest(whole.out)
    in_order(got, sim, block_bytes=1)


@pytest.mark.parametrize("given", ["folder", "source"])
def test_refused_only_when_kept_shots_are_read_once_more(simulated, reduce, disk, digest, given):
    """What was measured of that train is not used: the rule is asked anew, without the module."""
    sim, sections = simulated("usual"), {"keep": {"rule": "lit_pixels[4] > 1000", "whole": "train"}}
    refuse(disk, sim.raw, 4, 5)
    whole = reduce(sim, "whole", sections=sections)
    disk.bad.clear()

    def then(done, total, _):
        if done == total and not disk.bad:
            refuse(disk, sim.raw, 4, 5)

    source = open_run(sim.raw, tolerant=True) if given == "source" else None
    options = {"tolerant": source is None}
    got = reduce(sim, source=source, sections=sections, progress=then, **options)
    lost(got, sim, (4, 1))
    assert digest(got.out) == digest(whole.out)


def test_resumed_without_what_was_known(simulated, reduce, disk, digest, interrupt_after):
    """Of a train that lost a module the kept frames could be read: they are not written all the same."""
    sim = simulated("usual")
    keep = {"rule": "lit_pixels[3] > 1000", "whole": "train"}
    sections = {"keep": keep, "write": {"content": "corrected", "trains_per_file": 1}}
    refuse(disk, sim.raw, 4, 5)
    whole = reduce(sim, "whole", sections=sections)
    with interrupt_after("measure", 2):
        reduce(sim, sections=sections)
    disk.bad.clear()
    got = reduce(sim, sections=sections, resume=True)
    lost(got, sim, (4, 1))
    assert digest(got.out) == digest(whole.out)


def test_parts_that_are_complete_are_not_taken_for_those_of_the_run_with_the_loss(
    simulated, reduce, disk, digest, interrupt_after
):
    sim = simulated("usual")
    keep = {"rule": "lit_pixels[3] > 1000", "whole": "train"}
    sections = {"keep": keep, "write": {"content": "corrected", "trains_per_file": 1}}
    with interrupt_after("measure", 2):
        reduce(sim, sections=sections)
    refuse(disk, sim.raw, 4, *range(4, 8))
    got = reduce(sim, sections=sections, resume=True)
    lost(got, sim, (4, 1))
    assert digest(got.out) == digest(reduce(sim, "whole", sections=sections).out)


def test_the_check_of_a_sample_reads_all_of_a_train_that_lost_a_module(simulated, reduce, disk):
    """The frame that was refused is of a shot that was dropped, and that is not asked for again."""
    sim = simulated("usual")
    table = reduce(sim, "sound").table
    dropped = np.flatnonzero(table.fate == FATES.index("dropped"))
    frame = int(dropped[0])
    refuse(disk, sim.raw, 4, frame)
    got = reduce(sim)
    lost(got, sim, (4, frame // 4))
    in_order(got, sim, sample=1e-9)
    disk.bad.clear()
    report = check(got.out)
    check_against(report, sim.raw, constants=sim.constants, backend="cpu")
    assert any("module_status of 4 shots is another" in fault for fault in report.faults)


def test_embedded(simulated, make_recipe, disk, short_rows):
    """Blocks are whole trains unless a slot is smaller: what was handed out cannot be taken back."""
    sim = simulated("usual")
    refuse(disk, sim.raw, 4, 7)
    given = {"constants": sim.constants, "backend": "cpu", "detector": "AGIPD1M"}
    for shots in (4, 2):
        source = open_run(sim.raw, tolerant=True)
        with shotsieve.Engine(
            make_recipe(write=None), mode=source.mode, block_shots=shots, **given
        ) as engine:
            if shots == 2:
                with pytest.raises(LateLoss, match="begin the run anew, with the same source"):
                    list(engine.run(source))
            tables = [result.table for result in engine.run(source)]
        status = np.concatenate([table.module_status for table in tables])
        assert ((status == ModuleStatus.UNREADABLE).sum(axis=1) == np.repeat([0, 1, 0], 4)).all()


def test_a_run_of_corrected_files(facility, make_recipe, places, disk):
    raw = facility()
    (path,) = raw.glob("CORR-*AGIPD04*")
    disk.refuse(path, f"INSTRUMENT/{DET}/CORR/4CH0:output/image/data", 4)
    recipe = make_recipe(calibrate={"unit": "keV", "photon_energy": "9.3 keV"}, keep=None)
    with pytest.raises(UnreadableData, match=rf"{path.name}.*Input/output error"):
        shotsieve.reduce(raw, recipe, places / "red", backend="cpu")
    got = shotsieve.reduce(raw, recipe, places / "red", backend="cpu", tolerant=True)
    status = got.table.module_status[:, list(got.table.modules).index(4)]
    assert (status == ModuleStatus.UNREADABLE).sum() == 3
    assert any("image.data: 1 frame cannot be read (4)" in note for note in got.accounts.notes)
    report = check(got.out)
    check_against(report, raw, backend="cpu")
    assert report.ok, report.summary()
