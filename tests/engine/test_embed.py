"""The embedded engine: what `reduce` finds, block by block, in another program's hands."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from shotsieve import Block, Engine, UserStage
from shotsieve import backend as backends
from shotsieve.errors import BadInput
from shotsieve.peak_list import PeakList
from shotsieve.sources.run import open_run

from .test_peaks import Run

SECTIONS = {
    "calibrate": {},
    "measure": {
        "lit": {"threshold": "0.7 photon"},
        "peaks": {"threshold": "4.3 photon", "min_snr": 5.0, "max_pix_count": 30},
        "azint": {"npt": 40},
        "roi": {
            "spot": {
                "kind": "rectangle",
                "module": 3,
                "ss_start": 5,
                "ss_stop": 90,
                "fs_start": 0,
                "fs_stop": 64,
            },
            "line": {
                "kind": "projection",
                "module": 4,
                "ss_start": 0,
                "ss_stop": 40,
                "fs_start": 3,
                "fs_stop": 60,
                "axis": "ss",
            },
        },
        "average": {},
    },
    "keep": {"rule": "n_peaks >= 20", "misses": 0.3, "seed": 4},
    "write": {"content": "corrected"},
}


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("embedded"), n_trains=4)


@pytest.fixture(scope="module")
def source(spots):
    return open_run(spots.raw)


@pytest.fixture(scope="module")
def reduced(spots, tmp_path_factory):
    """The same run reduced to files."""
    return spots.reduce(tmp_path_factory.mktemp("reduced") / "r0001", **SECTIONS)


def make(spots, source, backend="cpu", recipe=None, **options):
    options = {
        "constants": spots.constants,
        "mode": source.mode,
        "block_shots": 5,
        "columns": tuple(source.columns()),
    } | options
    return Engine(recipe or spots.recipe(**SECTIONS), backend=backend, **options)


def blocks(source, most):
    """Return the run as blocks of arrays."""
    made = []
    for start in range(0, len(source.shots), most):
        rows = np.arange(start, min(start + most, len(source.shots)))
        raw = np.zeros((len(rows), len(source.modules), 2, 512, 128), "u2")
        source.read(int(rows[0]), int(rows[-1]) + 1, raw)
        shots, columns = source.shots, {name: values[rows] for name, values in source.columns().items()}
        keys = (shots.train_id[rows], shots.pulse_id[rows], shots.cell_id[rows], shots.present[rows])
        made.append(Block(raw, *keys, columns))
    return made


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
def test_blocks_of_any_size_give_what_reduce_gives(spots, source, reduced, read_module, backend_name, most):
    if backend_name == "emu" and most == 1:
        pytest.skip("emu: two sizes are enough")
    with make(spots, source, backend_name) as engine:
        pending = [engine.submit(block) for block in blocks(source, most)]
        assert_as_reduced([one.result() for one in pending], reduced, read_module)


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_run_passes_through(spots, source, reduced, read_module, slots):
    heard = []
    with make(spots, source, slots=slots, on_result=heard.append) as engine:
        results = list(engine.run(source))
        assert heard == results
        assert_as_reduced(results, reduced, read_module)
        mean, stats = engine.profile(), engine.frame_statistics()
        again = list(engine.run(str(spots.raw)))  # averages go on, results do not change
        assert [r.table for r in again] == [r.table for r in results]
        assert engine.profile().shots.max() == 2 * mean.shots.max() == 2 * len(source.shots)
        assert stats.count.max() == len(source.shots)
        assert np.isfinite(mean.intensity).any()


def test_an_endless_stream_is_taken_as_slots_are_free(spots, source):
    (block,) = blocks(source, 5)[:1]
    taken = []

    def stream():
        while True:
            taken.append(1)
            yield block

    with make(spots, source, slots=2) as engine:
        results = engine.run(stream())
        first, second = next(results), next(results)
        assert first.table == second.table
        assert len(taken) <= 5
        with pytest.raises(BadInput, match="a run is passing through"):
            engine.submit(block)
        results.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("shotsieve-read")]
        assert engine.submit(block).result().table == first.table


def test_results_come_in_order_and_slots_bound_what_is_in_flight(spots, source):
    heard = []
    with make(spots, source, slots=2, on_result=heard.append) as engine:
        pending = [engine.submit(block) for block in blocks(source, 4)]
        assert [one.done for one in pending] == [True, True, False, False]
        pending[3].result()
        assert all(one.done for one in pending)
        assert heard == [one.result() for one in pending]
        assert engine.slot_bytes > 5 * 16 * 2 * 65536 * 2


def test_words_that_are_on_the_device(spots, source, reduced, read_module, backend_name):
    if backend_name == "cpu":
        pytest.skip("the host is the device")
    device, on_device = backends.get(backend_name).device, []
    for block in blocks(source, 5):
        stream, raw = device.stream(), device.empty(block.raw.shape, "u2")
        device.to_device(raw, block.raw, stream)
        device.wait(device.record(stream))
        on_device.append(dataclasses.replace(block, raw=raw))
    with make(spots, source, backend_name) as engine:
        assert_as_reduced(list(engine.run(on_device)), reduced, read_module)
    raw_recipe = spots.recipe(**(SECTIONS | {"write": {"content": "raw"}}))
    with make(spots, source, backend_name, raw_recipe) as engine:
        for mine, block in zip(engine.run(on_device), blocks(source, 5), strict=True):
            assert np.array_equal(mine.frames["raw"][:, 3:5], block.raw[mine.kept][:, 3:5])


def test_a_stage_of_ones_own(spots, source, reduced, backend_name):
    def brightest(frames):
        assert frames.shape[1:] == (16, 512, 128)
        flat = frames.reshape(len(frames), -1)
        values = np.array([np.nanmax(np.asarray(frame)) for frame in getattr(flat, "get", lambda: flat)()])
        return {"brightest": values}

    sections = SECTIONS | {"keep": {"rule": "brightest > 50"}}
    stage = UserStage("mine", brightest, {"brightest": "largest pixel"})
    with make(spots, source, backend_name, spots.recipe(**sections), stages=[stage]) as engine:
        results = list(engine.run(source))
    values = np.concatenate([result.table.columns["brightest"] for result in results])
    fates = np.concatenate([result.table.fate for result in results])
    assert np.array_equal(fates == 0, values > 50)
    assert 0 < (values > 50).sum() < len(values)
    for result in results:
        for k, row in enumerate(result.kept):
            assert np.nanmax(result.frames["data"][k]) == np.float32(result.table.columns["brightest"][row])


def test_columns_and_selection(spots, source):
    sections = SECTIONS | {
        "select": {"rule": "pulse_energy > 1"},
        "keep": {"rule": "pulse_energy > 2"},
    }
    (block,) = blocks(source, 5)[:1]
    energy = [0.5, 1.5, 2.5, np.nan, 3.0]
    with make(spots, source, recipe=spots.recipe(**sections), columns=["pulse_energy"]) as engine:
        block = Block(
            block.raw, block.train_id, block.pulse_id, block.cell_id, None, {"pulse_energy": energy}
        )
        result = engine.submit(block).result()
    assert np.array_equal(result.table.columns["pulse_energy"], energy, equal_nan=True)
    assert result.kept.tolist() == [2, 3, 4]  # what is unknown is kept
    assert result.table.module_status[0].tolist() == [4] * 16
    assert (result.table.module_status[1] != 4).all()
    assert np.array_equal(result.frames["data"].shape, (3, 16, 512, 128))


def test_cells_without_constants_and_absent_modules_are_unknown(spots, source):
    (block,) = blocks(source, 4)[:1]
    present = np.ones((4, 16), bool)
    present[1, 3] = False
    with make(spots, source) as engine:
        odd = Block(block.raw, 7, block.pulse_id, [0, 1, 2, 999], present)
        table = engine.submit(odd).result().table
    assert table.module_status[1, 3] == 1
    assert (table.module_status[3] == 2).all()
    assert table.verdict[3] == -1


def test_nothing_to_do(spots, source):
    empty = Block(np.zeros((0, 16, 2, 512, 128), "u2"), 7, [], [])
    with make(spots, source) as engine:
        result = engine.submit(empty).result()
        assert (len(result.table), len(result.kept), result.frames) == (0, 0, {})
        assert list(engine.run([])) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"raw": np.zeros((2, 16, 2, 512, 128), "f4")}, "dtype float32; expected .* and uint16"),
        ({"raw": np.zeros((2, 15, 2, 512, 128), "u2")}, r"shape \(2, 15, 2, 512, 128\)"),
        ({"cell_id": range(6), "raw": np.zeros((6, 16, 2, 512, 128), "u2")}, "block_shots=6"),
        ({"columns": {"gauge": [1, 1]}}, "'gauge' is none that the engine was told of"),
        ({"present": [True, True]}, "present has shape"),
    ],
)
def test_blocks_that_do_not_fit(spots, source, change, words):
    given = {"raw": np.zeros((2, 16, 2, 512, 128), "u2"), "train_id": 1, "cell_id": [0, 1]} | change
    given["pulse_id"] = np.arange(len(given["cell_id"]))
    with make(spots, source) as engine:
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
        ({"measure": {"average": {"by": "train"}}, "keep": None}, {}, "average"),
        ({"measure": {"azint": {"npt": 9, "average": "train"}}, "keep": None}, {}, "azint"),
    ],
)
def test_an_engine_that_cannot_be(spots, source, sections, options, words):
    recipe = spots.recipe(**(SECTIONS | sections))
    with pytest.raises(BadInput, match=words):
        make(spots, source, recipe=recipe, **options)


def test_a_stage_that_fails_or_answers_nonsense(spots, source):
    (block,) = blocks(source, 4)[:1]

    def fails(frames):
        raise ZeroDivisionError("mine")

    for function, error, words in (
        (fails, ZeroDivisionError, "mine"),
        (lambda frames: {"other": [1] * len(frames)}, BadInput, r"returned \['other'\]"),
        (lambda frames: {"own": 1.0}, BadInput, r"own has shape \(\)"),
        (lambda frames: frames.fill(0), ValueError, "read-only"),
    ):
        with make(spots, source, stages=[UserStage("mine", function, {"own": ""})]) as engine:
            pending = engine.submit(block)
            with pytest.raises(error, match=words):
                pending.result()
            with pytest.raises(error, match=words):
                pending.result()
            assert pending.done


def test_a_block_that_failed_leaves_nothing_behind(spots, source):
    one, other = blocks(source, 4)[0], blocks(source, 3)[1]
    calls = []

    def fails_once(frames):
        calls.append(len(frames))
        if len(calls) == 1:
            raise ZeroDivisionError("once")
        return {"own": [0.0] * len(frames)}

    with make(spots, source, stages=[UserStage("mine", fails_once, {"own": ""})]) as engine:
        first, second = engine.submit(one), engine.submit(other)
        result = second.result()  # the other block's error is not this one's
        with pytest.raises(ZeroDivisionError):
            first.result()
        assert engine.profile().shots.max() == len(other)
    with make(spots, source) as engine:
        fresh = engine.submit(other).result()
    assert np.array_equal(result.profiles.intensity, fresh.profiles.intensity, equal_nan=True)
    assert np.array_equal(result.frames["data"], fresh.frames["data"], equal_nan=True)


def test_an_error_nobody_asked_for_is_told_at_the_end(spots, source):
    block = blocks(source, 4)[0]

    def fails(frames):
        raise ZeroDivisionError("mine")

    engine = make(spots, source, slots=1, stages=[UserStage("mine", fails, {"own": ""})])
    engine.submit(block)
    engine.submit(block)  # collects the first
    with pytest.raises(ZeroDivisionError, match="mine"):
        engine.flush()
    engine.flush()
    engine.close()


def test_a_callback_may_submit(spots, source):
    todo, heard = blocks(source, 4), []

    def more(result):
        heard.append(result)
        if todo:
            engine.submit(todo.pop(0))

    with make(spots, source, slots=1, on_result=more) as engine:
        engine.submit(todo.pop(0))
        engine.submit(todo.pop(0))
    assert [len(result.table) for result in heard] == [4, 4, 4, 4]


def test_a_stream_that_pauses_holds_nothing_back(spots, source):
    go_on = threading.Event()

    def stream():
        first, *others = blocks(source, 4)
        yield first
        assert go_on.wait(30)
        yield from others

    with make(spots, source, slots=3) as engine:
        results = engine.run(stream())
        assert len(next(results).table) == 4
        go_on.set()
        assert len(list(results)) == 3


def test_what_came_before_an_error_is_yielded(spots, source):
    def stream():
        yield from blocks(source, 4)[:3]
        raise OSError("the bridge broke")

    bad = [*blocks(source, 4)[:2], "no block"]
    for broken, error, words, whole in (
        (stream(), OSError, "the bridge broke", 3),
        (bad, BadInput, "a block is a", 2),
    ):
        got = []
        with make(spots, source, slots=2) as engine, pytest.raises(error, match=words):
            got.extend(engine.run(broken))
        assert len(got) == whole


def test_raw_words_on_the_device_come_back_where_nothing_is_computed(spots, source, backend_name):
    if backend_name == "cpu":
        pytest.skip("the host is the device")
    device, block = backends.get(backend_name).device, blocks(source, 4)[0]
    stream, raw = device.stream(), device.empty(block.raw.shape, "u2")
    device.to_device(raw, block.raw, stream)
    device.wait(device.record(stream))
    recipe = spots.recipe(calibrate=None, measure=None, write={"content": "raw"})
    with make(spots, source, backend_name, recipe, constants=None, cells=range(4)) as engine:
        result = engine.submit(dataclasses.replace(block, raw=raw)).result()
    assert np.array_equal(result.frames["raw"][:, 3:5], block.raw[:, 3:5])


def test_what_is_not_known_is_not_left_out(spots, source):
    block = dataclasses.replace(blocks(source, 4)[0], cell_id=[999] * 4)
    sections = SECTIONS | {"select": {"rule": "pulse_id > 0"}}
    with make(spots, source, recipe=spots.recipe(**sections)) as engine:
        result = engine.submit(block).result()
    sums, pixels = result.projections["line"]
    assert sums.shape == pixels.shape == (4, 40)
    assert np.isnan(sums).all()
    assert np.isnan(result.profiles.intensity).all()
    assert result.table.columns["keep_probability"][0] == 0


def test_a_run_of_another_mode_and_one_that_does_not_fit_a_slot(spots, source):
    mode = dataclasses.replace(source.mode, gain_mode="fixed_medium")
    plain = spots.recipe(**(SECTIONS | {"measure": {"lit": {"threshold": "15 photon"}}, "keep": None}))
    options = {"mode": mode, "recipe": plain, "force": True}
    with make(spots, source, **options) as engine:
        assert len(list(engine.run(source))) > 0
    with make(spots, source, recipe=plain) as engine:
        other = source.selected(np.ones(len(source.shots), bool))
        other.mode = mode
        with pytest.raises(
            BadInput, match="gain_mode is fixed_medium, and this engine was made for adaptive"
        ):
            next(engine.run(other))
    with make(spots, source, block_shots=2) as engine, pytest.raises(BadInput, match="block_shots=4"):
        next(engine.run(source))


def test_closing_while_a_run_passes(spots, source):
    engine = make(spots, source, slots=2)
    results = engine.run(blocks(source, 4))
    next(results)
    engine.close()
    assert list(results) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("shotsieve-read")]


def test_a_closed_engine_and_one_that_is_left_by_an_error(spots, source):
    (block,) = blocks(source, 4)[:1]
    waiting = []

    def work():
        with make(spots, source) as engine:
            waiting.extend([engine, engine.submit(block)])
            raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        work()
    engine, pending = waiting
    with pytest.raises(BadInput, match="closed before this block was collected"):
        pending.result()
    for call in (lambda: engine.submit(block), lambda: next(engine.run([block])), engine.profile):
        with pytest.raises(BadInput, match="closed"):
            call()
    engine.close()


def test_a_run_of_something_else(spots, source):
    with (
        make(spots, source, modules=[3, 4]) as engine,
        pytest.raises(BadInput, match="this engine was made for"),
    ):
        next(engine.run(source))
    with make(spots, source, columns=["gauge"]) as engine, pytest.raises(BadInput, match="no column 'gauge'"):
        next(engine.run(source))
