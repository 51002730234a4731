"""Reductions with a cache of folded constants: the same bytes, made and used through one door."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve import cli, folded_cache
from shotsieve.recipe import Recipe


@pytest.fixture(autouse=True)
def no_cache_of_the_machine(monkeypatch):
    monkeypatch.delenv(folded_cache.ENVIRONMENT, raising=False)


@pytest.fixture
def no_folding(monkeypatch):
    """Call it, and constants cannot be folded any more."""

    def folded(*args, **options):
        raise AssertionError("constants were folded again")

    return lambda: monkeypatch.setattr(folded_cache, "make_tables", folded)


def contents(out):
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    beside = ("machine.json", "karabo_data_map.json")  # EXtra-data writes that when it opens a run
    return {str(p.relative_to(out)): p.read_bytes() for p in paths if p.name not in beside}


def test_an_output_has_the_same_bytes(simulated, reduced, tmp_path, make_recipe, no_folding):
    sim, cache = simulated("usual"), tmp_path / "cache"
    expected = contents(reduced("usual").out)
    recipe = Recipe.of(make_recipe()).override({"calibrate.constants_cache": str(cache)})
    for number, backend in enumerate(("cpu", "cpu", "emu")):
        out = tmp_path / f"out{number}"
        result = shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend=backend)
        assert contents(out) == expected
        assert result.digest == reduced("usual").digest
        no_folding()
    assert len(list(cache.glob("tables-*"))) == 1


def test_the_command_line(simulated, reduced, tmp_path, make_recipe, no_folding, capsys):
    """The option goes before the recipe's, for all detectors; the recipe of the output tells none of them."""
    sim = simulated("usual")
    recipe = Recipe.of(make_recipe())
    (tmp_path / "recipe.toml").write_text(
        recipe.dumps_toml().replace("[calibrate]", '[calibrate]\nconstants_cache = "of the recipe"')
    )
    options = ["--recipe", tmp_path / "recipe.toml", "--constants", sim.constants, "--backend", "cpu"]
    options += ["--constants-cache", tmp_path / "asked", "--no-report"]
    for out in ("one", "two"):
        assert cli.main(list(map(str, ["reduce", sim.raw, "-o", tmp_path / out, *options]))) == 0
        assert contents(tmp_path / out) == contents(reduced("usual").out)
        no_folding()
    assert not (tmp_path / "of the recipe").exists()
    assert len(list((tmp_path / "asked").glob("tables-*"))) == 1


def test_recipes_of_several_detectors(tmp_path):
    given = {
        "calibrate": {"constants_cache": "mine"},
        "measure": {"lit": {}},
        "detector": [
            {},
            {"label": "b", "source": "B"},
            {"label": "c", "source": "C", "calibrate": {"constants_cache": "own"}},
        ],
    }
    recipe = Recipe.from_dict(given, folder=tmp_path)
    assert recipe.constants_cache() == tmp_path / "mine"
    assert [one.recipe.constants_cache().name for one in recipe.others.values()] == ["mine", "own"]
    told = recipe.dumps_toml()
    assert "constants_cache" not in told
    assert "constants_cache" in str(recipe.filled())
    changed = recipe.with_constants_cache(tmp_path / "new")
    assert {one.constants_cache() for one in (changed, *(o.recipe for o in changed.others.values()))} == {
        tmp_path / "new"
    }
    assert changed.dumps_toml() == told
    assert Recipe.from_dict({"measure": {}}).with_constants_cache("x").constants_cache() is None


def test_the_engine_and_a_calibrator(simulated, tmp_path, make_recipe, monkeypatch, no_folding):
    sim, cache = simulated("usual"), tmp_path / "cache"
    monkeypatch.setenv(folded_cache.ENVIRONMENT, str(cache))

    def of_engine():
        recipe = make_recipe(write=None, calibrate={"gain_mode": "adaptive"})
        mode = {"photon_energy_kev": 9.3}
        with shotsieve.Engine(
            recipe, sim.constants, backend="cpu", detector="AGIPD1M", modules=(3, 4), mode=mode
        ) as engine:
            return engine

    def of_calibrator():
        return shotsieve.Calibrator(
            sim.constants, (3, 4), photon_energy_kev=9.3, backend="cpu", constants_cache=tmp_path / "own"
        )

    of_engine()
    first = of_calibrator()
    words = np.random.default_rng(1).integers(4000, 9000, (4, 2, 2, 512, 128), dtype="u2")
    expected = first(words, np.arange(4)).data
    no_folding()
    of_engine()
    np.testing.assert_array_equal(of_calibrator()(words, np.arange(4)).data, expected)
    assert [len(list(folder.glob("tables-*"))) for folder in (cache, tmp_path / "own")] == [1, 1]
