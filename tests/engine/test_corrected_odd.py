"""Corrected runs in odd company, in the embedded engine, and what cannot be asked of them."""

from __future__ import annotations

import shutil
import sys

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import telling, unpack
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.sources.run import open_run
from shotsieve.zero_std import find_zero_std

from .corrected_case import DET, KEEP, contents, facility, planes_of, same_tables, whole

__all__ = ["facility", "whole"]


def test_raw_and_corrected_in_one_folder(simulated, whole, make_recipe, link_run, tmp_path):
    sim, recipe = simulated("usual"), make_recipe(keep=KEEP)
    both = link_run(sim.raw, tmp_path / "both")
    for path in whole().glob("CORR-*AGIPD*.h5"):
        (both / path.name).symlink_to(path)
    raw = shotsieve.reduce(both, recipe, tmp_path / "raw", constants=sim.constants, backend="cpu")
    assert any("raw is taken" in note for note in raw.accounts.notes)
    recipe["detector"] = [{"data": "corrected"}]
    found = shotsieve.reduce(both, recipe, tmp_path / "corrected", backend="cpu")
    same_tables(raw.table, found.table)
    assert contents(raw) == contents(found)
    with pytest.raises(BadInput, match="corrected data is asked for"):
        shotsieve.reduce(sim.raw, recipe, tmp_path / "none", backend="cpu")


def test_an_output_does_not_tell_what_inflated_its_masks(whole, make_recipe, tmp_path, capsys, monkeypatch):
    """It is the same on every machine; whoever waits is told, once for all modules."""
    recipe = make_recipe(keep=KEEP)
    first = shotsieve.reduce(whole(), recipe, tmp_path / "first", backend="cpu")
    monkeypatch.setattr(telling, "_said", set())
    monkeypatch.setitem(sys.modules, "deflate", None)
    monkeypatch.delitem(sys.modules, "deflate._deflate", raising=False)
    for function in (unpack._deflate, unpack.inflate_functions):
        function.cache_clear()
    capsys.readouterr()
    try:
        second = shotsieve.reduce(whole(), recipe, tmp_path / "second", backend="cpu")
    finally:
        for function in (unpack._deflate, unpack.inflate_functions):
            function.cache_clear()
    assert capsys.readouterr().err.count("the package deflate is not installed") == 1
    assert second.digest == first.digest
    assert second.accounts.notes == first.accounts.notes


def test_links_under_the_raw_names(whole, make_recipe, tmp_path):
    write = {"content": "corrected", "legacy_names": True}
    result = shotsieve.reduce(whole(), make_recipe(keep=None, write=write), tmp_path / "r", backend="cpu")
    with h5py.File(result.out / "CORR-R0001-AGIPD03-S00000.h5") as file:
        assert isinstance(file.get(f"INSTRUMENT/{DET}/DET/3CH0:xtdf", getlink=True), h5py.SoftLink)


def test_an_engine_for_corrected_frames(whole, make_recipe, backend_name, tmp_path):
    recipe = make_recipe(detector=[{"name": "AGIPD1M", "data": "corrected"}], keep=KEEP)
    recipe["calibrate"] = {"unit": "keV", "photon_energy": "9.3 keV"}
    one = shotsieve.reduce(whole(), recipe, tmp_path / "r", backend="cpu")
    source = open_run(whole())
    cells = np.unique(source.shots.cell_id)
    data, mask, gain = (planes_of(whole(), 3, name)[:, None] for name in ("data", "mask", "gain"))
    shots = source.shots
    # Without `cells` frames may be of any.
    with shotsieve.Engine(recipe, backend=backend_name, block_shots=12) as engine:
        results = list(engine.run(whole()))
        lit = np.concatenate([result.table.measures["lit_pixels"] for result in results])
        assert np.array_equal(lit, one.table.measures["lit_pixels"])
        kept = np.concatenate([result.frames["data"][:, 3] for result in results])
        assert kept.tobytes() == planes_of(one.out, 3, "data").tobytes()
    with shotsieve.Engine(recipe, cells=cells, modules=[3], backend=backend_name, block_shots=12) as engine:
        raw = shotsieve.pack_corrected(data, mask, gain)
        result = engine.submit(shotsieve.Block(raw, shots.train_id, shots.pulse_id, shots.cell_id)).result()
        assert np.array_equal(result.table.measures["lit_pixels"], one.table.measures["lit_pixels"][:, [3]])
        assert result.frames["mask"][:, 0].tobytes() == planes_of(one.out, 3, "mask").tobytes()
        odd = engine.submit(shotsieve.Block(raw, shots.train_id, shots.pulse_id, shots.cell_id + 99)).result()
        assert (odd.table.module_status == 2).all()  # not among those that were named


def test_an_engine_for_other_frames(simulated, whole, make_recipe):
    recipe = make_recipe(detector=[{"name": "AGIPD1M", "data": "corrected"}], keep=None)
    recipe["calibrate"] = {"unit": "photon"}
    with shotsieve.Engine(recipe, cells=[0], backend="cpu", block_shots=12) as engine:
        with pytest.raises(BadInput, match="values are in keV, and this engine was made for photon"):
            next(engine.run(whole()))
        with pytest.raises(BadInput, match=r"holds raw data of .* and corrected data is asked for"):
            next(engine.run(simulated("usual").raw))
        with pytest.raises(BadInput, match="holds raw data, and this engine was made for corrected data"):
            next(engine.run(open_run(simulated("usual").raw)))


# ---------------------------------------------------------------------- what does not go


def test_what_a_corrected_run_cannot_be_asked(simulated, whole, facility, make_recipe, tmp_path):
    def refused(text, run=None, constants=None, **sections):
        recipe = make_recipe(**{"keep": None, **sections})
        with pytest.raises(BadInput, match=text):
            shotsieve.reduce(whole() if run is None else run, recipe, tmp_path / "r", constants, "cpu")
        assert not (tmp_path / "r").exists()

    refused("leave --constants .* out", constants=simulated("usual").constants)
    refused("there are no raw words. Set content", write={"content": "raw"})
    refused(
        "values are in keV, as the files of the run say, and .* asks for photon", calibrate={"unit": "photon"}
    )
    refused("asks for ADU", calibrate={"unit": "ADU", "xray_gain": False})
    with pytest.raises(BadInput, match="it holds corrected data, and this asks for raw words"):
        find_zero_std(open_run(whole()))
    refused("constants hold no noise", measure={"lit": {"threshold": "5 sigma"}})
    bare = facility("i2")
    refused("files do not say the unit of the values", run=bare)
    refused("needs the photon energy", run=bare, calibrate={"unit": "keV"})
    refused("cannot be compared with values in ADU", run=bare, calibrate={"xray_gain": False})
    adu = {"calibrate": {"xray_gain": False}, "measure": {"lit": {"threshold": "5 ADU"}}}
    refused("cannot be made of values in ADU", run=bare, **adu, write={"content": "photons"})


def test_what_is_not_done_is_said(whole, make_recipe, tmp_path):
    section = {
        "constants": "nowhere.h5",
        "gain_mode": "adaptive",
        "mask": "no.npy",
        "mask_bad": "nonzero",
        "force_hg_if_below": "1000 ADU",
    }
    result = shotsieve.reduce(
        whole(), make_recipe(calibrate=section, keep=None, write=None), tmp_path / "r", backend="cpu"
    )
    [note] = [note for note in result.accounts.notes if "not used, since the run holds corrected" in note]
    assert note.startswith("[calibrate] force_hg_if_below, constants, gain_mode, mask, mask_bad: ")


def test_a_file_that_is_cut_off(whole, make_recipe, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole(), run, ignore=shutil.ignore_patterns("shotsieve"))
    with h5py.File(run / "CORR-R0001-AGIPD03-S00000.h5", "r+") as file:
        group = file[f"INSTRUMENT/{DET}/CORR/3CH0:output/image"]
        short = group["mask"][:-1]
        del group["mask"]
        group["mask"] = short
    with pytest.raises(UnreadableData, match=r"AGIPD03.*image/mask has 11 rows, but data has 12.*damaged"):
        shotsieve.reduce(run, make_recipe(), tmp_path / "r", backend="cpu")
