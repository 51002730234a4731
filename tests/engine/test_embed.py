"""The embedded engine: what `reduce` finds, block by block, in another program's hands."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from shotsieve import Block, UserStage
from shotsieve import backend as backends
from shotsieve.engine import averages
from shotsieve.errors import BadInput
from shotsieve.peak_list import PeakList

from .embed_case import SECTIONS, blocks, make


@pytest.fixture(scope="module")
def reduced(embedded, tmp_path_factory):
    """The same run reduced to files."""
    return embedded.reduce(tmp_path_factory.mktemp("reduced") / "r0001", **SECTIONS)


def assert_as_reduced(results, reduced, read_module):
    """Compare tables, kept frames, peaks, profiles and regions with the files of a reduction."""
    table, at = reduced.table, 0
    frames = []
    for result in results:
        rows = slice(at, at + len(result.table))
        at = rows.stop
        assert result.table == table.part(rows)
        frames.append(result.frames["data"] if len(result.kept) else np.zeros((0, 16, 512, 128), "f4"))
        assert np.array_equal(result.kept, np.flatnonzero(result.table.fate == 0))
    assert at == len(table)
    kept = np.concatenate(frames)
    for module in (3, 4):
        written = read_module(reduced, module)["image.data"]
        assert np.array_equal(kept[:, module], written, equal_nan=True)
    peaks = PeakList.open(reduced.out)
    for name in ("fs", "ss", "total", "snr", "q", "module"):
        ours = np.concatenate([getattr(result.peaks, name) for result in results])
        assert np.array_equal(ours, getattr(peaks, name), equal_nan=True), name
    profiles = _profiles(reduced)
    ours = np.concatenate([result.profiles.intensity for result in results]).astype(profiles.dtype)
    assert np.array_equal(ours, profiles, equal_nan=True)
    sums = np.concatenate([result.projections["line"][0] for result in results])
    assert sums.shape == (len(table), 40)
    assert np.isfinite(sums).all()


def _profiles(reduced):
    import h5py

    with h5py.File(reduced.out / "shotsieve" / "profiles.h5") as file:
        found = []
        file.visititems(
            lambda name, item: found.append(item[()]) if name.endswith("profiles/intensity") else None
        )
        return found[0]


@pytest.mark.parametrize("most", [1, 3, 5])
def test_blocks_of_any_size_give_what_reduce_gives(
    embedded, embedded_source, reduced, read_module, backend_name, most
):
    if backend_name == "emu" and most != 5:
        pytest.skip("takes long there, and test_same_bytes cuts runs for it")
    with make(embedded, embedded_source, backend_name) as engine:
        pending = [engine.submit(block) for block in blocks(embedded_source, most)]
        assert_as_reduced([one.result() for one in pending], reduced, read_module)


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_run_passes_through(embedded, embedded_source, reduced, read_module, slots):
    heard = []
    with make(embedded, embedded_source, slots=slots, on_result=heard.append) as engine:
        results = list(engine.run(embedded_source))
        assert heard == results
        assert_as_reduced(results, reduced, read_module)
        mean, stats = engine.profile(), engine.frame_statistics()
        again = list(engine.run(str(embedded.raw)))  # averages go on, results do not change
        assert [r.table for r in again] == [r.table for r in results]
        assert engine.profile().shots.max() == 2 * mean.shots.max() == 2 * len(embedded_source.shots)
        assert stats.count.max() == len(embedded_source.shots)
        assert np.isfinite(mean.intensity).any()


def test_words_that_are_on_the_device(embedded, embedded_source, reduced, read_module, device_name):
    device, on_device = backends.get(device_name).device, []
    for block in blocks(embedded_source, 5):
        stream, raw = device.stream(), device.empty(block.raw.shape, "u2")
        device.to_device(raw, block.raw, stream)
        device.wait(device.record(stream))
        on_device.append(dataclasses.replace(block, raw=raw))
    with make(embedded, embedded_source, device_name) as engine:
        assert_as_reduced(list(engine.run(on_device)), reduced, read_module)
    lit = {"lit": SECTIONS["measure"]["lit"]}
    raw_recipe = embedded.recipe(measure=lit, keep={"rule": "lit_pixels[3] > 0"}, write={"content": "raw"})
    with make(embedded, embedded_source, device_name, raw_recipe) as engine:
        for mine, block in zip(engine.run(on_device), blocks(embedded_source, 5), strict=True):
            assert len(mine.kept)
            assert np.array_equal(mine.frames["raw"][:, 3:5], block.raw[mine.kept][:, 3:5])


def test_words_in_lent_memory_are_not_copied(
    embedded, embedded_source, reduced, read_module, backend_name, monkeypatch
):
    given = blocks(embedded_source, 5)
    with make(embedded, embedded_source, backend_name) as engine:
        lent = [engine.lend(len(block)) for block in given]
        for words, block in zip(lent, given, strict=True):
            words[:] = block.raw
        size = engine.slot_bytes
        mine = [dataclasses.replace(block, raw=words) for words, block in zip(lent, given, strict=True)]
        with monkeypatch.context() as patch:
            patch.setattr(Block, "read", lambda *_: pytest.fail("the words were copied"))
            results = list(engine.run(mine))
        assert engine.slot_bytes == size
        # Others are copied as before, in the same slots.
        [of_another] = engine.run(given[:1])
        with pytest.raises(BadInput, match="at least 1 shot"):
            engine.lend(0)
    assert_as_reduced(results, reduced, read_module)
    assert of_another.table == results[0].table
    assert of_another.frames["data"].tobytes() == results[0].frames["data"].tobytes()


def test_columns_and_selection(embedded, embedded_source):
    sections = SECTIONS | {
        "select": {"rule": "pulse_energy > 1"},
        "keep": {"rule": "pulse_energy > 2"},
    }
    (block,) = blocks(embedded_source, 5)[:1]
    energy = [0.5, 1.5, 2.5, np.nan, 3.0]
    with make(
        embedded, embedded_source, recipe=embedded.recipe(**sections), columns=["pulse_energy"]
    ) as engine:
        block = Block(
            block.raw, block.train_id, block.pulse_id, block.cell_id, None, {"pulse_energy": energy}
        )
        result = engine.submit(block).result()
    assert np.array_equal(result.table.columns["pulse_energy"], energy, equal_nan=True)
    assert result.kept.tolist() == [2, 3, 4]  # what is unknown is kept
    assert result.table.module_status[0].tolist() == [4] * 16
    assert (result.table.module_status[1] != 4).all()
    assert np.array_equal(result.frames["data"].shape, (3, 16, 512, 128))


def test_cells_without_constants_and_absent_modules_are_unknown(embedded, embedded_source):
    (block,) = blocks(embedded_source, 4)[:1]
    present = np.ones((4, 16), bool)
    present[1, 3] = False
    with make(embedded, embedded_source) as engine:
        odd = Block(block.raw, 7, block.pulse_id, [0, 1, 2, 999], present)
        table = engine.submit(odd).result().table
    assert table.module_status[1, 3] == 1
    assert (table.module_status[3] == 2).all()
    assert table.verdict[3] == -1


def test_nothing_to_do(embedded, embedded_source):
    empty = Block(np.zeros((0, 16, 2, 512, 128), "u2"), 7, [], [])
    with make(embedded, embedded_source) as engine:
        result = engine.submit(empty).result()
        assert (len(result.table), len(result.kept)) == (0, 0)
        shapes = {name: values.shape for name, values in result.frames.items()}
        assert shapes == dict.fromkeys(("data", "gain", "mask"), (0, 16, 512, 128))
        assert list(engine.run([])) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"raw": np.zeros((2, 16, 2, 512, 128), "f4")}, "dtype float32; expected .* and uint16"),
        ({"raw": None}, "dtype None"),
        ({"raw": np.zeros((2, 15, 2, 512, 128), "u2")}, r"shape \(2, 15, 2, 512, 128\)"),
        ({"cell_id": range(6), "raw": np.zeros((6, 16, 2, 512, 128), "u2")}, "block_shots=6"),
        ({"columns": {"gauge": [1, 1]}}, "'gauge' is none that the engine was told of"),
        ({"present": [True, True]}, "present has shape"),
        ({"columns": None}, "columns: expected a mapping"),
        ({"train_id": [1, 2, 3]}, r"train_id: expected shape \(2,\), got \(3,\)"),
        ({"train_id": -1}, "train_id: expected whole numbers of at least 0"),
        ({"train_id": float("nan")}, "train_id: expected whole numbers"),
        ({"train_id": "a"}, "train_id: expected whole numbers"),
        ({"cell_id": [0, 0.5]}, "cell_id: expected whole numbers"),
        ({"cell_id": [0, 1 << 31]}, "cell_id: expected whole numbers"),
        ({"cell_id": [[0, 1]]}, "cell_id: expected one memory cell per shot"),
    ],
)
def test_blocks_that_do_not_fit(embedded, embedded_source, change, words):
    given = {"raw": np.zeros((2, 16, 2, 512, 128), "u2"), "train_id": 1, "cell_id": [0, 1]} | change
    given["pulse_id"] = np.arange(np.size(given["cell_id"]))
    with make(embedded, embedded_source) as engine:
        with pytest.raises(BadInput, match=words):
            engine.submit(Block(**given))
        with pytest.raises(BadInput, match=words):
            list(engine.run([Block(**given)]))
        with pytest.raises(BadInput, match=r"a block is a shotsieve.Block"):
            engine.submit(given["raw"])


@pytest.mark.parametrize(
    ("sections", "options", "words"),
    [
        ({"derive": {"bright": {"kind": "rank", "of": "n_peaks"}}}, {}, "derive"),
        ({}, {"detector": "NO_SUCH"}, "NO_SUCH"),
        ({}, {"slots": 0}, "slots = 0"),
        ({"write": {"content": "corrected", "cxi": True}}, {}, "cxi"),
        (
            {"calibrate": None, "measure": None, "keep": None, "write": None},
            {"stages": [UserStage("a", len)]},
            "calibrate",
        ),
        ({}, {"stages": [UserStage("a", len), UserStage("a", len)]}, "two stages are called 'a'"),
        ({"keep": {"rule": "gauge > 1"}}, {}, "gauge"),
        ({"keep": {"rule": "pulse_energy > 1"}}, {"columns": ()}, "asks for pulse_energy"),
        ({"select": {"frames": "lit"}}, {"columns": ()}, "asks for data_frame"),
        ({"select": {"frames": "super"}}, {}, "super"),
        ({}, {"cells": []}, "cells: none was given"),
        ({}, {"cells": [0.5]}, "Engine: cells has dtype float64; expected integers"),
        ({}, {"cells": [2**32 + 1]}, "Engine: cells: 4294967297 to 4294967297; expected"),
        ({}, {"columns": "pulse_energy"}, "expected a sequence of names"),
        ({"measure": {"average": {"by": "train"}}, "keep": None}, {}, "average"),
        ({"measure": {"azint": {"npt": 9, "average": "train"}}, "keep": None}, {}, "azint"),
    ],
)
def test_an_engine_that_cannot_be(embedded, embedded_source, sections, options, words):
    recipe = embedded.recipe(**(SECTIONS | sections))
    with pytest.raises(BadInput, match=words):
        make(embedded, embedded_source, recipe=recipe, **options)


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_some_modules_come_back(embedded, embedded_source, content):
    write = {"content": content}
    sections = [SECTIONS | {"write": write}, SECTIONS | {"write": {**write, "modules": "3:5,9"}}]
    found = []
    for one in sections:
        with make(embedded, embedded_source, recipe=embedded.recipe(**one)) as engine:
            found.append((engine.modules, list(engine.run(embedded_source))))
    (every, whole), (some, cut) = found
    assert (every, some) == (embedded_source.modules, (3, 4, 9))
    for mine, theirs in zip(cut, whole, strict=True):
        assert mine.table == theirs.table
        assert np.array_equal(mine.present, theirs.present[:, list(some)])
        for name, frames in mine.frames.items():  # those of absent modules hold nothing
            one, other = (values[mine.present] for values in (frames, theirs.frames[name][:, list(some)]))
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    assert sum(len(mine.kept) for mine in cut) > 0
    with make(embedded, embedded_source, recipe=embedded.recipe(**sections[1])) as engine:
        shapes = {values.shape[:2] for values in engine._runner.kept.take()["frames"].values()}
        assert shapes == {(0, 3)}


def test_what_extra_data_opened(embedded, embedded_source):
    extra_data = pytest.importorskip("extra_data")
    run = extra_data.RunDirectory(str(embedded.raw))
    part = run.select_trains(np.s_[1:])
    with make(embedded, embedded_source) as engine:
        whole = [result.table for result in engine.run(embedded_source)]
        assert [result.table for result in engine.run(run)] == whole
        found = [table.train_id.tolist() for table in (result.table for result in engine.run(part))]
        assert found == [table.train_id.tolist() for table in whole[1:]]


def test_averages_say_their_size_and_have_to_fit(embedded, embedded_source, monkeypatch):
    with make(embedded, embedded_source) as engine:
        assert any("averages of frames" in note and "GB of memory" in note for note in engine.notes)
    monkeypatch.setattr(averages, "half_of_memory", lambda: 10_000_000)
    with pytest.raises(BadInput, match="GB"):
        make(embedded, embedded_source)


def test_a_source_that_is_none(embedded, embedded_source):
    block = blocks(embedded_source, 4)[0]
    with make(embedded, embedded_source) as engine:
        for odd in (block, 3, None):
            with pytest.raises(BadInput, match="a source is a run, its folder or any iterable of Block"):
                list(engine.run(odd))
        assert len(engine.submit(block).result().table) == 4


def test_raw_words_on_the_device_come_back_where_nothing_is_computed(embedded, embedded_source, device_name):
    device, block = backends.get(device_name).device, blocks(embedded_source, 4)[0]
    stream, raw = device.stream(), device.empty(block.raw.shape, "u2")
    device.to_device(raw, block.raw, stream)
    device.wait(device.record(stream))
    recipe = embedded.recipe(calibrate=None, measure=None, write={"content": "raw"})
    with make(embedded, embedded_source, device_name, recipe, constants=None, cells=range(4)) as engine:
        result = engine.submit(dataclasses.replace(block, raw=raw)).result()
    assert np.array_equal(result.frames["raw"][:, 3:5], block.raw[:, 3:5])


def test_what_is_not_known_is_not_left_out(embedded, embedded_source):
    block = dataclasses.replace(blocks(embedded_source, 4)[0], cell_id=[999] * 4)
    sections = SECTIONS | {"select": {"rule": "pulse_id > 0"}}
    with make(embedded, embedded_source, recipe=embedded.recipe(**sections)) as engine:
        result = engine.submit(block).result()
    sums, pixels = result.projections["line"]
    assert sums.shape == pixels.shape == (4, 40)
    assert np.isnan(sums).all()
    assert np.isnan(result.profiles.intensity).all()
    assert result.table.columns["keep_probability"][0] == 0


def test_a_mode_may_be_a_mapping(embedded, embedded_source):
    mode = {"gain_mode": "adaptive", "photon_energy_kev": embedded_source.mode.photon_energy_kev}
    recipe = embedded.recipe(**(SECTIONS | {"measure": {"lit": {"threshold": "15 photon"}}, "keep": None}))
    with make(embedded, embedded_source, recipe=recipe, mode=mode, force=True) as engine:
        assert len(list(engine.run(embedded_source))) > 0
    with pytest.raises(BadInput, match=r"mode: no 'gain'.*'gain_mode'"):
        make(embedded, embedded_source, recipe=recipe, mode={"gain": "adaptive"})


def test_a_run_of_another_mode_and_one_that_does_not_fit_a_slot(embedded, embedded_source):
    mode = dataclasses.replace(embedded_source.mode, gain_mode="fixed_medium")
    plain = embedded.recipe(**(SECTIONS | {"measure": {"lit": {"threshold": "15 photon"}}, "keep": None}))
    options = {"mode": mode, "recipe": plain, "force": True}
    with make(embedded, embedded_source, **options) as engine:
        assert len(list(engine.run(embedded_source))) > 0
        other = embedded_source.selected(np.ones(len(embedded_source.shots), bool))
        other.modules = tuple(m + 1 for m in other.modules)
        with pytest.raises(BadInput, match="this engine was made for AGIPD1M with"):
            next(engine.run(other))
    with make(embedded, embedded_source, recipe=plain) as engine:
        other = embedded_source.selected(np.ones(len(embedded_source.shots), bool))
        other.mode = mode
        with pytest.raises(
            BadInput, match="gain_mode is fixed_medium, and this engine was made for adaptive"
        ):
            next(engine.run(other))
    with (
        make(embedded, embedded_source, block_shots=2) as engine,
        pytest.raises(BadInput, match="block_shots=4"),
    ):
        next(engine.run(embedded_source))


def test_a_run_of_something_else(embedded, embedded_source):
    with (
        make(embedded, embedded_source, modules=[3, 4]) as engine,
        pytest.raises(BadInput, match="this engine was made for"),
    ):
        next(engine.run(embedded_source))
    with (
        make(embedded, embedded_source, columns=["gauge"]) as engine,
        pytest.raises(BadInput, match="no column 'gauge'"),
    ):
        next(engine.run(embedded_source))
