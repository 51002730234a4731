"""The table: what is unknown stays unknown, in bounds, in files and in data frames."""

import hashlib
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.decide import FALSE, TRUE, UNKNOWN, Rule
from shotsieve.errors import BadInput, OutputError, UnreadableData
from shotsieve.table import FATES, ModuleStatus, Table
from shotsieve.table_columns import KNOWN_COLUMNS, MEASURES

INF = np.inf
PIXELS = 100
OK, MISSING, NO_CONSTANTS, UNREADABLE, NOT_READ = ModuleStatus


def make(rng=None, shots=4, modules=(0, 1, 3)):
    """All measures set; shot 1 lacks module 1, shot 2 has no constants for module 3, shot 3 was not read."""
    rng = rng or np.random.default_rng(1)
    table = Table(
        np.arange(shots) // 2 + 10, np.arange(shots) % 2, np.arange(shots), modules, PIXELS, MEASURES
    )
    size = shots, len(modules)
    status = np.zeros(size, "u1")
    status[1, 1], status[2, 2], status[3] = MISSING, NO_CONSTANTS, NOT_READ
    table.set_module_status(slice(None), status)
    unmasked = rng.integers(50, PIXELS, size)
    table.set_measure("unmasked_pixels", slice(None), unmasked)
    table.set_measure("lit_pixels", slice(None), rng.integers(0, 50, size))
    table.set_measure("photons", slice(None), rng.integers(0, 500, size))
    table.set_measure("intensity", slice(None), rng.integers(-1000, 1000, size) / 128)
    table.add_column("pulse_energy", [500.0, np.nan, 700.0, np.nan])
    table.add_column("delay", [1, 2, 3, 4], "ps", "delay of the laser")
    table.set_fate([1], "dropped")
    table.set_fate(np.array([False, False, False, True]), "suspect")
    table.set_verdict([0, 1], [1, 0])
    return table


def bounds(table, name):
    low, high = table.bounds(name)
    assert low.dtype == high.dtype == np.float64
    return list(zip(low.tolist(), high.tolist(), strict=True))


def test_sums_over_modules():
    table = make()
    lit = table.measures["lit_pixels"]
    assert bounds(table, "lit_pixels") == [
        (lit[0].sum(), lit[0].sum()),
        (lit[1, 0] + lit[1, 2], np.inf),
        (lit[2, 0] + lit[2, 1], np.inf),
        (0, np.inf),
    ]
    photons = table.measures["photons"]
    assert bounds(table, "photons")[1] == (photons[1, 0] + photons[1, 2], INF)
    intensity = table.measures["intensity"]
    assert bounds(table, "intensity")[:2] == [(intensity[0].sum(), intensity[0].sum()), (-INF, INF)]
    assert bounds(table, "n_modules") == [(3, 3), (2, 2), (2, 2), (0, 0)]


def test_one_module_alone():
    table = make()
    lit = table.measures["lit_pixels"]
    assert bounds(table, "lit_pixels[3]") == [
        (lit[0, 2], lit[0, 2]),
        (lit[1, 2], lit[1, 2]),
        (0, np.inf),
        (0, np.inf),
    ]
    assert bounds(table, "intensity[1]")[1] == (-INF, INF)
    with pytest.raises(BadInput, match=r"lit_pixels\[2\]"):
        table.bounds("lit_pixels[2]")


def test_fraction():
    table = make()
    lit, unmasked = table.measures["lit_pixels"], table.measures["unmasked_pixels"]
    assert bounds(table, "lit_fraction")[0] == (lit[0].sum() / unmasked[0].sum(),) * 2
    known, alive = lit[1, [0, 2]].sum(), unmasked[1, [0, 2]].sum()
    assert bounds(table, "lit_fraction")[1] == (known / (alive + PIXELS), (known + PIXELS) / (alive + PIXELS))
    assert bounds(table, "lit_fraction")[3] == (-INF, INF)
    table.set_measure("unmasked_pixels", [0], [[0, 0, 0]])  # all masked: no fraction
    assert bounds(table, "lit_fraction")[0] == (-INF, INF)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bounds_hold_whatever_the_missing_modules_hold(seed):
    rng = np.random.default_rng(seed)
    unmasked = rng.integers(0, PIXELS + 1, (6, 3))
    lit = rng.integers(0, unmasked + 1)
    photons, intensity = rng.integers(0, 10**6, (6, 3)), rng.normal(size=(6, 3))
    status = rng.choice([OK, OK, MISSING, NO_CONSTANTS, UNREADABLE], (6, 3))
    table = Table(np.arange(6), np.zeros(6), np.zeros(6), range(3), PIXELS, MEASURES)
    table.set_module_status(slice(None), status)
    hidden = rng.integers(0, 1000, (6, 3)) * (status != OK)  # whatever stands there is not used
    for name, values in {"unmasked_pixels": unmasked, "lit_pixels": lit, "photons": photons}.items():
        table.set_measure(name, slice(None), np.where(status == OK, values, hidden))
    table.set_measure("intensity", slice(None), np.where(status == OK, intensity, np.nan))
    truth = {"lit_pixels": lit, "unmasked_pixels": unmasked, "photons": photons, "intensity": intensity}
    for name, values in truth.items():
        low, high = table.bounds(name)
        assert not (np.isnan(low) | np.isnan(high)).any()
        assert (low <= values.sum(1) + 1e-9).all()
        assert (values.sum(1) - 1e-9 <= high).all()
    exists = unmasked.sum(1) > 0
    low, high = table.bounds("lit_fraction")
    fraction = lit.sum(1)[exists] / unmasked.sum(1)[exists]
    assert (low[exists] <= fraction).all()
    assert (fraction <= high[exists]).all()


def test_columns_that_the_run_does_not_hold_are_unknown():
    table = Table([1], [0], [0], (0,), PIXELS)
    for name in KNOWN_COLUMNS:
        assert name in table.names()
        assert bounds(table, name) == [(-INF, INF)]
    assert bounds(make(), "pulse_energy") == [(500, 500), (-INF, INF), (700, 700), (-INF, INF)]
    assert bounds(make(), "train_id")[3] == (11, 11)
    with pytest.raises(BadInput, match="'train_id'"):
        table.bounds("trainid")


def test_every_name_has_bounds_and_rules_see_them():
    table = make()
    for name in table.names():
        low, high = table.bounds(name)
        assert low.shape == high.shape == (4,)
        assert (low <= high).all()
    rule = Rule.parse("lit_pixels[3] >= 0 and pulse_energy > 600", table.names(), table.explain())
    verdict = rule.evaluate({name: table.bounds(name) for name in rule.names})
    assert verdict.tolist() == [FALSE, UNKNOWN, TRUE, UNKNOWN]


def test_what_is_not_computed_is_explained():
    table = Table([1], [0], [0], (0,), PIXELS)
    with pytest.raises(BadInput, match=r"add a section \[measure.lit\]"):
        Rule.parse("lit_pixels > 3", table.names(), table.explain())
    assert "lit_pixels" not in make().explain()


def test_refusals():
    table = make()
    with pytest.raises(BadInput, match="pulse_id"):
        Table([1, 2], [1], [1, 2], (0,), PIXELS)
    with pytest.raises(BadInput, match="'lit_pixels'"):
        table.set_measure("lit_pixel", slice(None), np.zeros((4, 3)))
    with pytest.raises(BadInput, match=r"\(4, 3\)"):
        table.set_measure("lit_pixels", slice(None), np.zeros((4, 2)))
    with pytest.raises(BadInput, match="0 to 4"):
        table.set_module_status([0], [[0, 9, 0]])
    with pytest.raises(BadInput, match="'dropped'"):
        table.set_fate([0], "droped")
    for name in ("lit_pixels", "train_id", "two words", "fate"):
        with pytest.raises(BadInput, match="cannot be called"):
            table.add_column(name, np.zeros(4))


def test_counts():
    assert make().counts() == dict.fromkeys(FATES, 0) | {"kept": 2, "dropped": 1, "suspect": 1}


def test_a_file_gives_the_same_table_back(tmp_path):
    table = make()
    table.save(tmp_path / "table.h5")
    again = Table.open(tmp_path / "table.h5")
    assert again == table
    assert again.describe() == table.describe()
    assert list(again.columns) == list(table.columns)
    again.verdict[0] = 0
    assert again != table
    empty = Table([], [], [], (0, 1), PIXELS, ["photons"])
    empty.save(tmp_path / "empty.h5")
    assert Table.open(tmp_path / "empty.h5") == empty


def test_the_same_table_gives_the_same_bytes(tmp_path):
    digests = set()
    for i in range(2):
        make().save(tmp_path / f"{i}.h5")
        digests.add(hashlib.sha256((tmp_path / f"{i}.h5").read_bytes()).hexdigest())
        time.sleep(1.1)  # HDF5 keeps dates in whole seconds
    assert len(digests) == 1


def test_every_dataset_says_what_it_is(tmp_path):
    make().save(tmp_path / "table.h5")
    seen = []

    def look(name, item):
        if isinstance(item, h5py.Dataset):
            assert isinstance(item.attrs["unit"], str)
            assert item.attrs["meaning"]
            seen.append(name)

    with h5py.File(tmp_path / "table.h5") as file:
        file.visititems(look)
        assert file["columns/pulse_energy"].attrs["unit"] == "uJ"
        assert file["columns/delay"].attrs["meaning"] == "delay of the laser"
        assert file["measures/lit_pixels"].dtype == np.int64
        assert file["shots/train_id"].dtype == np.uint64
    assert {"shots/fate", "measures/module_status", "measures/intensity"} <= set(seen)


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(UnreadableData, match=r"none\.h5"):
        Table.open(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(BadInput, match=r"other\.h5 is not a shotsieve table"):
        Table.open(tmp_path / "other.h5")
    with pytest.raises(OutputError, match="cannot be written"):
        make().save(tmp_path / "no folder" / "table.h5")
    folder = tmp_path / "out" / "shotsieve"
    folder.mkdir(parents=True)
    make().save(folder / "table.h5")
    assert Table.open(tmp_path / "out") == make()


def test_pandas():
    pd = pytest.importorskip("pandas")
    table = make()
    frame = table.to_dataframe()
    lit = table.measures["lit_pixels"]
    assert frame["lit_pixels"].dtype == "Int64"
    assert frame["lit_pixels"].isna().tolist() == [False, True, True, True]
    assert frame["lit_pixels"][0] == lit[0].sum()
    assert frame["lit_pixels_measured"].tolist() == [lit[0].sum(), lit[1, 0] + lit[1, 2], lit[2, :2].sum(), 0]
    assert frame["verdict"].dtype == "boolean"
    assert frame["verdict"].tolist() == [True, False, pd.NA, pd.NA]
    assert frame["fate"].tolist() == ["kept", "dropped", "kept", "suspect"]
    assert frame["pulse_energy"].isna().tolist() == [False, True, False, True]
    assert frame["train_id"].dtype == "UInt64"
    assert frame["n_modules"].tolist() == [3, 2, 2, 0]
    assert frame.attrs["units"]["pulse_energy"] == "uJ"


def test_xarray():
    pytest.importorskip("xarray")
    table = make()
    data = table.to_xarray()
    assert data["lit_pixels"].dims == ("shot", "module")
    assert data["module"].values.tolist() == [0, 1, 3]
    assert np.isnan(data["lit_pixels"].values).tolist() == (~table.ok()).tolist()
    assert data["lit_pixels"].sel(module=3).values[0] == table.measures["lit_pixels"][0, 2]
    assert data["train_id"].values.tolist() == [10, 10, 11, 11]
    assert data["pulse_energy"].attrs["units"] == "uJ"
    assert data["fate"].values.tolist() == ["kept", "dropped", "kept", "suspect"]


def test_only_what_is_named_is_read(tmp_path):
    table = make()
    table.save(tmp_path / "table.h5")
    part = Table.open(tmp_path / "table.h5", ["lit_pixels[0]", "pulse_energy"])
    assert list(part.measures) == ["lit_pixels"]
    assert list(part.columns) == ["pulse_energy"]
    for name in ("lit_pixels[0]", "lit_pixels", "pulse_energy", "n_modules"):
        for ours, theirs in zip(part.bounds(name), table.bounds(name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(part.fate, table.fate)
