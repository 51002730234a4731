"""The table as Parquet and CSV, read by other programs."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve.cli import main
from shotsieve.errors import OutputError
from shotsieve.table import Table

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def table(rng):
    shots = 50
    table = Table(np.repeat(2**63 + 7, shots), np.arange(shots), np.arange(shots), (3, 4), 65536)
    table.set_measure("lit_pixels", slice(None), rng.integers(0, 2**40, (shots, 2)))
    table.set_measure("intensity", slice(None), rng.integers(-500, 500, (shots, 2)) / 128)
    status = np.zeros((shots, 2), "u1")
    status[7, 1] = status[9] = 1
    table.set_module_status(slice(None), status)
    table.add_column("pulse_energy", np.where(np.arange(shots) == 5, np.nan, rng.random(shots)))
    table.set_fate(slice(0, 20), "dropped")
    table.set_verdict(slice(0, 20), 0)
    return table


def test_values_nulls_units_and_order(table, tmp_path):
    path = table.to_parquet(tmp_path / "t.parquet")
    read, frame = parquet.read_table(path), table.to_dataframe()
    assert read.column_names == list(frame.columns)
    for name in frame.columns:
        mine, theirs = frame[name], read.column(name)
        assert theirs.null_count == mine.isna().sum(), name
        assert theirs.to_pylist() == [None if pd.isna(v) else v for v in mine.tolist()], name
    assert read.column("train_id")[0].as_py() == 2**63 + 7
    field = read.schema.field("pulse_energy")
    assert field.metadata[b"unit"] == b"uJ"
    assert b"gas monitor" in field.metadata[b"meaning"]
    assert table.to_parquet(tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["again.parquet", "t.parquet"]


def test_every_module_by_itself(table, tmp_path):
    read = parquet.read_table(table.to_parquet(tmp_path / "t.parquet", modules=True)).to_pandas()
    for m, module in enumerate(table.modules):
        column = read[f"lit_pixels[{module}]"]
        known = table.ok()[:, m]
        assert np.array_equal(column.notna(), known)
        assert column[known].astype("i8").tolist() == table.measures["lit_pixels"][known, m].tolist()


def test_nothing_is_left_where_it_cannot_be_written(table, tmp_path):
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        table.to_parquet(tmp_path / "t.parquet")
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
    with pytest.raises(OutputError, match="cannot be written"):
        table.to_parquet(tmp_path / "no" / "t.parquet")


def test_the_command(table, tmp_path, capsys):
    table.save(tmp_path / "table.h5")
    assert main(["table", str(tmp_path / "table.h5")]) == 0
    told = capsys.readouterr().out
    assert "50 shots of 1 trains, 2 modules: 30 kept, 20 dropped" in told
    assert f"{2**63 + 7 & ~0x7FF}" in told  # whole, as far as float64 goes
    line = next(line for line in told.splitlines() if line.startswith("  pulse_energy"))
    assert "1 unknown" in line
    assert "uJ" in line
    line = next(line for line in told.splitlines() if line.startswith("  lit_pixels"))
    assert "2 unknown" in line
    for name in ("t.parquet", "t.csv"):
        assert main(["table", str(tmp_path / "table.h5"), "-o", str(tmp_path / name)]) == 0
    capsys.readouterr()
    csv = pd.read_csv(tmp_path / "t.csv")
    assert csv["lit_pixels_measured"].tolist() == table.to_dataframe()["lit_pixels_measured"].tolist()
    for args, words in (
        (["-o", "t.xls"], "ends in .parquet or .csv"),
        (["--modules"], "--modules goes with"),
        (["--modules", "-o", "t.csv"], "--modules goes with"),
    ):
        assert main(["table", str(tmp_path / "table.h5"), *args]) != 0
        assert words in capsys.readouterr().err
    assert main(["table", str(tmp_path / "t.csv")]) != 0


def test_an_empty_table(tmp_path, capsys):
    Table([], [], [], (0,), 4, ["lit_pixels"]).save(tmp_path / "table.h5")
    assert main(["table", str(tmp_path / "table.h5"), "-o", str(tmp_path / "t.parquet")]) == 0
    assert "nothing known" in capsys.readouterr().out
    assert parquet.read_table(tmp_path / "t.parquet").num_rows == 0
