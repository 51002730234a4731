"""Item 1: a run of 16 modules, reduced and opened by EXtra-data, is what the raw words and constants give."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Steps, fold
from shotsieve.reference.calibrate import calibrate_count_folded
from shotsieve.sources.run import open_run
from shotsieve.table import FATES

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
DET = "SPB_DET_AGIPD1M-1"


@pytest.fixture(scope="module")
def opened(reduced):
    """The reduced run as EXtra-data has it, and its component."""
    with extra_data.RunDirectory(reduced("whole").out) as run:
        yield run, components.AGIPD1M(run, raw=False)


def hits(sim):
    """Train, pulse and cell of every true hit: what the rule has to keep."""
    truth = sim.truth
    return truth.train_id[truth.hit], truth.pulse_id[truth.hit], truth.cell_id[truth.hit]


def test_rows_and_labels(opened, simulated):
    """Every hit is there, and nothing else: by the simulation, not by what was written."""
    _, agipd = opened
    train, pulse, cell = hits(simulated("whole"))
    assert len(train) > 0
    assert agipd.n_modules == 16
    assert sorted(agipd.modno_to_source) == list(range(16))
    labelled = agipd["image.data"].xarray(subtrain_index="pulseId")
    assert labelled.shape == (16, len(train), 512, 128)
    keys = [(int(t), int(p)) for t, p in labelled.indexes["train_pulse"]]
    assert keys == list(zip(train.tolist(), pulse.tolist(), strict=True))
    np.testing.assert_array_equal(agipd["image.cellId"].ndarray(), np.tile(cell, (16, 1)))
    np.testing.assert_array_equal(agipd["image.pulseId"].ndarray(), np.tile(pulse, (16, 1)))
    for source in agipd.source_to_modno:
        np.testing.assert_array_equal(agipd.data[source, "image.trainId"].ndarray(), train)


@pytest.mark.parametrize("module", range(16))
def test_pixels_gain_and_mask_bit_for_bit(opened, simulated, module):
    """Words read by EXtra-data from the raw run; stages, offsets and bits looked up in plain NumPy."""
    _, agipd = opened
    sim = simulated("whole")
    train, pulse, cell = hits(sim)
    with extra_data.RunDirectory(sim.raw) as raw:
        source = f"{DET}/DET/{module}CH0:xtdf"
        keys = [raw[source, f"image.{key}"].ndarray()[:, 0].tolist() for key in ("trainId", "pulseId")]
        place = {key: row for row, key in enumerate(zip(*keys, strict=True))}
        rows = [place[key] for key in zip(train.tolist(), pulse.tolist(), strict=True)]
        words = raw[source, "image.data"].ndarray()[rows]
    constants = sim.constants
    # The stage: how many thresholds the digital level passes, the second where it is apart from the first.
    first, second = constants.load("thresholds", module, cell)[:2].reshape(2, len(rows), 512, 128)
    digital = words[:, 1].astype("f4")
    medium = digital > first
    stage = medium.astype("u1") + (medium & (digital > second) & (second > 1.05 * first))
    np.testing.assert_array_equal(agipd["image.gain"].ndarray()[module], stage)
    bits = constants.load("bad_pixels", module, cell).reshape(3, len(rows), 512, 128)
    mask = np.take_along_axis(bits, stage[None].astype(int), 0)[0]
    np.testing.assert_array_equal(agipd["image.mask"].ndarray()[module], mask)
    cells = np.unique(sim.truth.cell_id)
    table = fold(constants, detectors.load("AGIPD1M"), module, cells, Steps(), "keV", 9.3).table
    answer = calibrate_count_folded(
        words.reshape(len(rows), 2, -1), np.searchsorted(cells, cell), table, encoding=0
    )
    data = agipd["image.data"].ndarray()[module].reshape(len(rows), -1)
    np.testing.assert_array_equal(data.view("u4"), answer.pixels.view("u4"))
    assert np.isnan(data[mask.reshape(len(rows), -1) != 0]).all()
    masked = agipd.masked_data().ndarray()[module].reshape(len(rows), -1)
    np.testing.assert_array_equal(masked, data)


def test_every_file_is_opened_and_valid(opened, reduced, validated):
    """A file that EXtra-data skips is only a line on stderr: so the numbers are compared."""
    run, _ = opened
    result = reduced("whole")
    assert len(run.files) == len(result.files) == len(list(result.out.glob("*.h5"))) == 16
    validated(result.out)


def test_counts_of_files_are_those_of_the_accounts(opened, reduced, simulated):
    run, agipd = opened
    result, sim = reduced("whole"), simulated("whole")
    result.accounts.check()
    assert result.accounts.kept == int(sim.truth.hit.sum())
    assert result.accounts.expected == len(open_run(sim.raw).shots)
    kept = result.table.fate == FATES.index("kept")
    for source in agipd.source_to_modno:
        counts = run[source, "image.data"].data_counts()
        mine = [int((kept & (result.table.train_id == train)).sum()) for train in run.train_ids]
        assert counts.tolist() == mine
        told = run.auxiliary[f"SHOTSIEVE/{source}", "image.framesKept"].ndarray()
        assert told.tolist() == mine
