"""The same run, recipe and constants give the same bytes; and reducing and calibrating commute."""

import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.constants import Constants
from shotsieve.engine import BLOCK_BYTES
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.sources import run as run_source

LEVELS = {"v2": 2, "v3": 3, "v4": 4}


# Runs that differ in what is computed, not only in what is read.
COMPUTED = [
    "usual",
    "selected_cells",
    "missed_train",
    "suspect_module",
    "fixed_medium",
    "cell_without_constants",
    "cells_beyond_constants",
]


def test_every_backend_gives_the_same_bytes(backend_name, reduced, digest):
    if backend_name == "cpu":
        pytest.skip("the others are compared with it")
    for name in COMPUTED:
        assert digest(reduced(name, backend_name).out) == digest(reduced(name).out), name


@pytest.mark.parametrize("level", LEVELS)
def test_every_cpu_level_gives_the_same_bytes(
    level, simulated, reduced, digest, places, make_recipe, monkeypatch
):
    native = backends.get("cpu").native
    if native.__name__.endswith("_cpu") or native.cpu_level() < LEVELS[level]:
        pytest.skip("this processor does not have the level")
    monkeypatch.setenv("SHOTSIEVE_CPU", level)
    sim = simulated("usual")
    result = shotsieve.reduce(sim.raw, make_recipe(), places / "r", constants=sim.constants, backend="cpu")
    assert level in result.performance["device"]
    assert digest(result.out) == digest(reduced("usual").out)


@pytest.fixture(scope="module")
def long_trains():
    """A source in memory with trains of 40 cells, and its constants."""
    p = SpiParameters(
        n_trains=2, n_cells=40, modules=(3,), photons_per_hit=(1e6, 2e6), background=0.002, seed=11
    )
    source, _ = spi_source(p)
    return source, constants_in_memory(p, build(p)[1])


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_blocks_and_threads_change_no_byte(
    content, backend_name, long_trains, digest, places, make_recipe, monkeypatch
):
    """Blocks are also cut inside a train, at the row of 32 cells."""
    if content == "raw" and backend_name != "cpu":
        pytest.skip("raw words are written from the host's memory; only the counting is the backend's")
    source, constants = long_trains
    seen = []
    shot = 2 * 2 * 65536
    for threads, block_bytes, number, slots in (
        (2, BLOCK_BYTES, 1, 3),
        (1, 8 * shot, 4, 2),
        (8, 40 * shot, 2, 6),
    ):
        monkeypatch.setattr(backends, "usable_cpus", lambda threads=threads: threads)
        blocks = []
        result = shotsieve.reduce(
            source,
            make_recipe(write={"content": content}),
            places / f"r{len(seen)}",
            constants=constants,
            backend=backend_name,
            block_bytes=block_bytes,
            slots=slots,
            progress=lambda *told, blocks=blocks: blocks.append(told),
        )
        assert result.performance["threads"] == threads
        assert 0 < result.accounts.kept < 80
        assert len(blocks) == number
        assert blocks[-1] == (80, 80, 80 * shot)
        seen.append(digest(result.out))
        shutil.rmtree(result.out)
    assert seen[0] == seen[1] == seen[2]


def test_blocks_and_threads_of_files_change_no_byte(
    simulated, reduced, digest, places, make_recipe, monkeypatch
):
    """One reader thread and eight, two slots and six."""
    monkeypatch.setattr(backends, "usable_cpus", lambda: 3)
    for name, readers, slots in (("usual", 1, 2), ("duplicate_train", 8, 6)):
        monkeypatch.setattr(run_source, "usable_cpus", lambda readers=readers: readers)
        sim = simulated(name)
        options = {"constants": sim.constants, "backend": "cpu", "block_bytes": 1, "slots": slots}
        result = shotsieve.reduce(sim.raw, make_recipe(), places / name, **options)
        assert digest(result.out) == digest(reduced(name).out)


def test_where_things_lie_changes_no_byte(
    simulated, reduced, digest, places, make_recipe, link_run, tmp_path
):
    sim = simulated("usual")
    run = link_run(sim.raw, tmp_path / "elsewhere" / "r0001")
    moved = shutil.copy(sim.constants, tmp_path / "c.h5")
    result = shotsieve.reduce(run, make_recipe(), places / "r", constants=moved, backend="cpu")
    assert digest(result.out) == digest(reduced("usual").out)


def test_every_form_of_the_constants_gives_the_same_data(
    simulated, reduced, places, make_recipe, read_module, digest
):
    """The own form is what `reduced` uses; the facility's folder that it was made from says the same."""
    sim, own = simulated("selected_cells"), reduced("selected_cells")
    folder = sim.constants.parent / "constants"
    result = shotsieve.reduce(sim.raw, make_recipe(), places / "f", constants=folder, backend="cpu")
    assert result.table == own.table
    for module in (3, 4):
        written, expected = read_module(result, module), read_module(own, module)
        assert written.keys() == expected.keys()
        for key, values in written.items():
            np.testing.assert_array_equal(values, expected[key])
    opened = Constants.open(sim.constants)
    again = shotsieve.reduce(sim.raw, make_recipe(), places / "o", constants=opened, backend="cpu")
    assert digest(again.out) == digest(own.out)


@pytest.mark.parametrize("name", ["usual", "missed_train", "empty_train", "suspect_train", "duplicate_train"])
def test_reducing_and_calibrating_commute(
    name, simulated, reduced, places, make_recipe, read_module, backend_name
):
    """calibrate(reduce(raw)) == reduce(calibrate(raw)), bit for bit."""
    if backend_name != "cpu" and name != "missed_train":
        pytest.skip("these runs differ in what is read, not in what is computed")
    sim, direct = simulated(name), reduced(name)
    raw = shotsieve.reduce(
        sim.raw,
        make_recipe(write={"content": "raw"}),
        places / "raw",
        constants=sim.constants,
        backend=backend_name,
    )
    assert raw.table == direct.table
    # The reduced run holds no control sources, so what they said is said by the recipe.
    said = {"gain_mode": "adaptive", "photon_energy": "9.3 keV"}
    again = shotsieve.reduce(
        raw.out,
        make_recipe(keep=None, calibrate=said),
        places / "again",
        constants=sim.constants,
        backend=backend_name,
    )
    assert again.accounts.kept == direct.accounts.kept > 0
    for module in (3, 4):
        one, other = read_module(direct, module), read_module(again, module)
        for key in ("trainId", "pulseId", "cellId", "gain", "mask"):
            np.testing.assert_array_equal(one[f"image.{key}"], other[f"image.{key}"])
        np.testing.assert_array_equal(one["image.data"].view("u4"), other["image.data"].view("u4"))
    kept = direct.table.fate == 0
    for measure, values in direct.table.measures.items():
        np.testing.assert_array_equal(again.table.measures[measure][again.table.fate == 0], values[kept])


def test_raw_content_holds_the_raw_words(simulated, places, make_recipe, read_module):
    """Without [calibrate] and with it; the words are those of the file."""
    sim = simulated("selected_cells")
    words = {}
    for module in (3, 4):
        [path] = sim.raw.glob(f"*AGIPD{module:02d}*")
        with h5py.File(path) as file:
            words[module] = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{module}CH0:xtdf/image/data"][()]
    plain = {"keep": {"rule": "cell_id != 3"}, "write": {"content": "raw"}}
    result = shotsieve.reduce(sim.raw, plain, places / "plain", backend="cpu")
    for module in (3, 4):
        expected = words[module][sim.truth.cell_id != 3]
        np.testing.assert_array_equal(read_module(result, module)["image.data"], expected)
    kept = shotsieve.reduce(
        sim.raw, make_recipe(write={"content": "raw"}), places / "r", constants=sim.constants, backend="cpu"
    )
    for module in (3, 4):
        np.testing.assert_array_equal(read_module(kept, module)["image.data"], words[module][sim.truth.hit])
