"""The demonstration as a new user runs it: the default run, the recipe of the examples, what comes out."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shotsieve
from shotsieve.simulate import simulate_spi
from shotsieve.table import FATES

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def compare_with_truth(folder: Path) -> int:
    """Run the script of the examples on a demo folder; 0 if every hit above 5 sigma was kept."""
    spec = importlib.util.spec_from_file_location("compare_with_truth", EXAMPLES / "compare_with_truth.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main(folder)


@pytest.fixture
def demo(tmp_path):
    """A folder for the demo, 0.6 GB; nothing of it stays."""
    yield tmp_path / "demo"
    shutil.rmtree(tmp_path / "demo", ignore_errors=True)


# One test, so that the run is simulated once however the tests are spread over workers.
def test_the_demo_keeps_every_clear_hit_and_can_be_opened(demo, capsys):
    run = simulate_spi(demo)
    result = shotsieve.reduce(
        run.raw, EXAMPLES / "spi.toml", demo / "red" / "r0001", constants=run.constants, backend="cpu"
    )
    accounts, fate = result.accounts, result.table.fate
    accounts.check()
    assert accounts.expected == 12 * 8 == len(fate)
    assert accounts.kept == np.sum(fate == FATES.index("kept")) > 0
    assert accounts.kept + accounts.dropped == accounts.expected  # nothing is odd about this run
    assert accounts.dropped == np.sum(fate == FATES.index("dropped")) > 0

    assert compare_with_truth(demo) == 0
    assert "above 5 sigma" in capsys.readouterr().out
    hit = run.truth.hit.astype(bool)
    assert 0 < hit.sum() < len(hit)
    assert not (~hit & (fate == FATES.index("kept"))).any()
    check_with_extra_data(result)


def check_with_extra_data(result: shotsieve.Result) -> None:
    """EXtra-data opens the output, sees the shots that the table says were kept, and finds no problem."""
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    opened = extra_data.RunDirectory(result.out)
    assert len(opened.files) == len(result.files) == 16
    agipd = components.AGIPD1M(opened, raw=False)
    kept = result.table.fate == FATES.index("kept")
    wanted = np.stack([result.table.train_id, result.table.pulse_id], axis=1)[kept]

    cells = agipd["image.cellId"].xarray(subtrain_index="pulseId")
    assert cells.shape == (16, kept.sum())
    np.testing.assert_array_equal(np.array(list(cells.indexes["train_pulse"])), wanted)
    np.testing.assert_array_equal(cells.values, np.tile(result.table.cell_id[kept], (16, 1)))

    train = int(wanted[0, 0])
    one = components.AGIPD1M(opened.select_trains(extra_data.by_id[[train]]), raw=False)
    masked = one.masked_data().ndarray()
    assert masked.shape == (16, np.sum(wanted[:, 0] == train), 512, 128)
    assert masked.dtype == np.float32
    bad = one["image.mask"].ndarray() != 0
    assert 0 < bad.mean() < 0.1
    np.testing.assert_array_equal(np.isnan(masked), bad)

    command = [sys.executable, "-m", "extra_data.validation", str(result.out)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
