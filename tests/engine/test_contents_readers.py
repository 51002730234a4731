"""EXtra-data opens whole photons and rounded values as the corrected data that they are."""

import numpy as np
import pytest
import shotsieve

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
validation = pytest.importorskip("extra_data.validation")

FORMS = {
    "photons": ({"content": "photons"}, np.uint16),
    "uint8": ({"content": "photons", "dtype": "uint8"}, np.uint8),
    "plain": ({"content": "photons", "compression": "none"}, np.uint16),
    "rounded": ({"content": "rounded", "rounding_absolute": "0.05 keV"}, np.float32),
    "rounded plain": ({"content": "rounded", "rounding_relative": 0.01, "compression": "none"}, np.float32),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["usual", "missed_train", "empty_train"])
def test_agipd(simulated, make_recipe, read_module, tmp_path, capsys, form, name):
    sim, (write, dtype) = simulated(name), FORMS[form]
    recipe = make_recipe(write=write)
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
    run = extra_data.RunDirectory(result.out)
    agipd = components.AGIPD1M(run, raw=False)
    table, kept = result.table, result.table.fate == 0
    data = agipd["image.data"].ndarray()
    masked = agipd.masked_data(masked_value=0).ndarray()
    labels = agipd["image.data"].xarray(subtrain_index="pulseId").indexes["train_pulse"]
    np.testing.assert_array_equal(
        np.array([(t, p) for t, p in labels]), np.stack([table.train_id, table.pulse_id], 1)[kept]
    )
    for row, module in enumerate((3, 4)):
        there = np.ones(int(kept.sum()), bool)
        if name == "missed_train" and module == 4:
            there = table.train_id[kept] != sim.parameters.first_train + 1
        written = read_module(result, module)
        assert written["image.data"].dtype == dtype
        np.testing.assert_array_equal(data[row, there], written["image.data"])
        good = np.where(written["image.mask"] == 0, written["image.data"], 0)
        np.testing.assert_array_equal(masked[row, there], good)
    assert data.dtype == dtype
    source = run["SPB_DET_AGIPD1M-1/CORR/3CH0:output", "image.data"]
    assert source.units == ("photon" if "photons" in write.values() else "keV")
    assert validation.main([str(result.out)]) in (None, 0)
    assert "No problems found" in capsys.readouterr().out
    if name != "missed_train":
        assert [tid for tid, _ in agipd.trains()] == np.unique(table.train_id[kept]).tolist()
