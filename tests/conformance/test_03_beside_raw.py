"""Item 3: the record of the reduction is an auxiliary source, and raw frames stay visible beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shotsieve
from shotsieve.table import FATES

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
DET = "SPB_DET_AGIPD1M-1"


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_the_record_of_the_reduction(content, reduced, simulated, make_recipe, tmp_path):
    if content == "corrected":
        result, kind = reduced("usual"), "CORR/{}CH0:output"
    else:
        sim, kind = simulated("usual"), "DET/{}CH0:xtdf"
        recipe = make_recipe(write={"content": "raw"})
        result = shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
    table, settings = result.table, json.loads((result.out / "shotsieve/settings.json").read_text())
    with extra_data.RunDirectory(result.out) as run:
        names = {f"SHOTSIEVE/{DET}/{kind.format(m)}" for m in (3, 4)}
        assert run.auxiliary.reduction_sources == names
        assert not run.auxiliary.errata_sources
        # No source of its own for those who list the run.
        assert run.all_sources == {name.removeprefix("SHOTSIEVE/") for name in names}
        for name in names:
            source = run.auxiliary[name]
            values = source.run_values()
            assert values["version.value"] == shotsieve.__version__
            assert values["content.value"] == content
            assert values["unit.value"] == ("keV" if content == "corrected" else "ADU")
            assert values["recipe.value"] == settings["recipe"]
            assert values["lit_threshold.value"] == pytest.approx(0.7 * 9.3)
            for key in ("mode.gain_mode", "mode.cells", "mode.photon_energy_kev"):
                assert values[f"{key}.value"] == settings[key]
            files = [name.decode() for name in values["input_files.value"]]
            assert files == settings["input_files"]
            for key, fates in (
                ("framesBefore", FATES), ("framesKept", ["kept"]), ("framesDropped", ["dropped"]),
            ):  # fmt: skip
                mine = np.isin(table.fate, [FATES.index(fate) for fate in fates])
                counts = [int((mine & (table.train_id == train)).sum()) for train in run.train_ids]
                assert run.auxiliary[name, f"image.{key}"].ndarray().tolist() == counts
            pattern = run.auxiliary[name, "image.framePattern"].ndarray()
            for row, train in zip(pattern, run.train_ids, strict=True):
                kept = (table.fate == 0) & (table.train_id == train)
                assert np.flatnonzero(row).tolist() == table.cell_id[kept].tolist()


@pytest.fixture
def proposal(simulated, reduced, tmp_path, monkeypatch):
    """A proposal's folder as the facility has it, with the raw run and the reduced one."""
    root = tmp_path / "SPB/202401/p000000"
    for name, folder in (("raw", simulated("usual").raw), ("red", reduced("usual").out)):
        (root / name).mkdir(parents=True)
        (root / name / "r0001").symlink_to(folder)
    monkeypatch.setenv("EXTRA_DATA_DATA_ROOT", str(tmp_path))
    return 0, 1


def test_raw_and_reduced_together(proposal, simulated, reduced):
    result = reduced("usual")
    kept = int((result.table.fate == 0).sum())
    run = extra_data.open_run(*proposal, data=["raw", "red"])
    assert run.is_single_run
    assert not run.legacy_sources
    for module in (3, 4):
        raw, corrected = f"{DET}/DET/{module}CH0:xtdf", f"{DET}/CORR/{module}CH0:output"
        assert run[raw, "image.data"].shape == (len(result.table), 2, 512, 128)
        assert run[raw, "image.data"].dtype == np.uint16
        assert run[corrected, "image.data"].shape == (kept, 512, 128)
    with extra_data.RunDirectory(simulated("usual").raw) as alone:
        np.testing.assert_array_equal(
            run[f"{DET}/DET/3CH0:xtdf", "image.data"].ndarray(),
            alone[f"{DET}/DET/3CH0:xtdf", "image.data"].ndarray(),
        )
        assert alone.control_sources == run.control_sources
    assert components.AGIPD1M(run, raw=True)["image.data"].ndarray().shape[1] == len(result.table)
    assert components.AGIPD1M(run, raw=False)["image.data"].ndarray().shape[1] == kept
    assert f"SHOTSIEVE/{DET}/CORR/3CH0:output" in run.auxiliary.reduction_sources


def test_reduced_alone_has_to_be_named(proposal, reduced):
    """`default` looks into raw and proc alone, so nobody takes a reduced run for a whole one."""
    with extra_data.open_run(*proposal, data="red") as run:
        assert len(run.files) == len(reduced("usual").files)
    with extra_data.open_run(*proposal) as run:
        assert f"{DET}/CORR/3CH0:output" not in run.all_sources
