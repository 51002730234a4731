"""The command line on a small simulated run: simulate, convert, reduce, and what is refused."""

import json
import shutil

import pytest
from shotsieve.table import Table

pytest.importorskip("click")
cli = pytest.importorskip("shotsieve.cli")

TRAINS, CELLS = 3, 4
RECIPE = """
[calibrate]
[measure.lit]
threshold = "0.7 photon"
[keep]
rule = "lit_pixels >= 3000"
[write]
content = "corrected"
"""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run of two modules, its constants and a recipe."""
    folder = tmp_path_factory.mktemp("simulated")
    wishes = {"n-trains": TRAINS, "n-cells": CELLS, "modules": "0-1", "hit-rate": 0.5, "seed": 3}
    options = [part for name, value in wishes.items() for part in (f"--{name}", str(value))]
    assert cli.main(["simulate", "spi", str(folder), *options]) == 0
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return folder


def reduce(simulated, out, *options, run=None):
    run = simulated / "raw" / "r0001" if run is None else run
    recipe = str(simulated / "recipe.toml")
    return cli.main(["reduce", str(run), "-o", str(out), "--recipe", recipe, "--backend", "cpu", *options])


def test_reduce(simulated, tmp_path, capsys):
    out = tmp_path / "red" / "r0001"
    assert reduce(simulated, out, "--constants", str(simulated / "constants"), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    parts = ("kept", "dropped", "suspect", "duplicate", "inconsistent", "unreadable", "missing")
    assert answer["expected"] == TRAINS * CELLS == sum(answer[part] for part in parts)
    assert answer["performance"]["backend"].startswith("cpu")
    assert answer["bytes_out"] > 0
    table = Table.open(out)
    assert table.counts()["kept"] == answer["kept"]
    low, high = table.bounds("lit_pixels")
    assert (low == high)[table.ok().all(1)].all()

    # What is there already is neither touched nor added to.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert reduce(simulated, out, "--constants", str(simulated / "constants")) == 1
    assert str(out) in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert reduce(simulated, out, "--constants", str(simulated / "constants"), "--overwrite") == 0
    assert f"expected {TRAINS * CELLS}" in " ".join(capsys.readouterr().out.split())


def test_converted_constants_give_the_same(simulated, tmp_path, capsys):
    constants = tmp_path / "constants.h5"
    assert cli.main(["constants", "convert", str(simulated / "constants"), "-o", str(constants)]) == 0
    tables = []
    for name, path in (("a", simulated / "constants"), ("b", constants)):
        assert reduce(simulated, tmp_path / name, "--constants", str(path)) == 0
        tables.append(Table.open(tmp_path / name))
    assert tables[0] == tables[1]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "constants"),
        (["--constants", "nowhere.h5"], "nowhere.h5"),
        (["--constants", "CONSTANTS", "--set", "keep.rule=lit_pixel > 3"], "Did you mean 'lit_pixels'?"),
        (["--constants", "CONSTANTS", "--set", "measure.lit.threshold=0.7"], "unit"),
        (["--constants", "CONSTANTS", "--source", "SPB_DET_AGIPD1M-9"], "SPB_DET_AGIPD1M-1"),
    ],
)
def test_bad_input_leaves_nothing(simulated, tmp_path, capsys, options, said):
    out = tmp_path / "out"
    options = [str(simulated / "constants") if part == "CONSTANTS" else part for part in options]
    assert reduce(simulated, out, *options) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.err
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_named(simulated, tmp_path, capsys):
    run = tmp_path / "r0001"
    shutil.copytree(simulated / "raw" / "r0001", run)
    victim = sorted(run.glob("*AGIPD01*"))[0]
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    out = tmp_path / "out"
    assert reduce(simulated, out, "--constants", str(simulated / "constants"), run=run) == 1
    assert victim.name in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["r0001"]
