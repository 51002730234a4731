"""A survey of a run with known truth: its counts are those of reductions, its predictions come true."""

from __future__ import annotations

import csv
import tracemalloc

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.keep import lots
from shotsieve.surveys.grid import PERMISSIVE, RECIPE
from shotsieve.surveys.sample import SALT
from shotsieve.surveys.store import COLUMNS

from .conftest import BACKEND, look, recipe_of

FEW = {
    "measure.peaks.threshold": ["3 photon", "4 photon", "8 photon"],
    "measure.peaks.min_snr": [5.0, 7.0],
    "measure.peaks.min_pix_count": [1, 2],
    "measure.peaks.max_pix_count": [200],
    "keep.rule": [2, 8, 12],
    "write.compression": ["gzip"],
    "write.rounding_absolute": ["0.2 photon"],
}


@pytest.fixture(scope="module")
def sampled(simulated, run, tmp_path_factory):
    """The survey of about half of the shots, with the truth."""
    out = tmp_path_factory.mktemp("survey") / "some.html"
    return look(
        run, recipe_of(simulated), out, constants=simulated.constants, shots=36, scan=FEW,
        truth=simulated.truth_file,
    )  # fmt: skip


def reduce(simulated, run, out, **sections):
    given = recipe_of(simulated, **sections)
    return shotsieve.reduce(run, given, out, constants=simulated.constants, backend=BACKEND)


def test_counts_are_those_of_reductions(simulated, run, surveyed, tmp_path):
    settings = {
        RECIPE: (surveyed.of(RECIPE), {}),
        "threshold": (surveyed.of("measure.peaks.threshold", "2.8 photon"), {"threshold": "2.8 photon"}),
        "loose": (surveyed.of(PERMISSIVE), None),
    }
    for name, (outcome, changes) in settings.items():
        sections = {"write": None} if name != RECIPE else {}
        given = recipe_of(simulated)
        if changes is None:
            given = outcome.setting.recipe.filled()
        given["measure"]["peaks"] |= changes or {}
        sections = {"measure": given["measure"], "keep": {"rule": outcome.setting.recipe.keep.rule}}
        result = reduce(simulated, run, tmp_path / name, **sections)
        table = result.table
        np.testing.assert_array_equal(outcome.peaks, table.measures["n_peaks"].sum(axis=1))
        np.testing.assert_array_equal(outcome.lit, table.measures["lit_pixels"].sum(axis=1))
        np.testing.assert_array_equal(outcome.verdict, table.verdict)
        assert int(outcome.kept.sum()) == result.accounts.kept


def test_lit_thresholds_are_those_of_reductions(simulated, run, tmp_path):
    recipe = recipe_of(
        simulated, measure={"lit": {"threshold": "0.7 photon"}}, keep={"rule": "lit_pixels > 9000"}
    )
    found = look(
        run, recipe, tmp_path / "s.html", constants=simulated.constants, shots=None,
        scan={"measure.lit.threshold": ["0.5 photon", "0.9 photon"], "write.compression": ["none"]},
    )  # fmt: skip
    outcome = found.of("measure.lit.threshold", "0.9 photon")
    recipe["measure"]["lit"]["threshold"] = "0.9 photon"
    table = reduce(simulated, run, tmp_path / "red", measure=recipe["measure"], keep=recipe["keep"]).table
    np.testing.assert_array_equal(outcome.lit, table.measures["lit_pixels"].sum(axis=1))
    np.testing.assert_array_equal(outcome.verdict, table.verdict)
    assert outcome.peaks is None
    assert found.grid.settings[1].recipe.measure.lit.threshold.value == 0.5  # lets most through
    assert {one.setting.key for one in found.outcomes} == {
        RECIPE, PERMISSIVE, "measure.lit.threshold", "keep.rule"
    }  # fmt: skip


def test_the_loss_agrees_with_truth_at_every_setting(surveyed, sampled):
    """Truth is what each setting does to all shots of the run; the sample has to hold it in its intervals."""
    whole = {
        ("measure.peaks.min_snr", "7"): surveyed.of("measure.peaks.min_snr", 7.0),
        ("measure.peaks.min_pix_count", "2"): surveyed.of("measure.peaks.min_pix_count", 2),
        ("measure.peaks.threshold", "8 photon"): surveyed.of("measure.peaks.threshold", "8 photon"),
        ("keep.rule", "12"): surveyed.of("keep.rule", 12),
        (RECIPE, ""): surveyed.of(RECIPE),
    }
    losses = set()
    for (key, value), truth in whole.items():
        part = sampled.of(key, value or None)
        assert 0 < part.missed.of < truth.missed.of
        assert part.missed.holds(truth.missed.value), key
        assert part.false.holds(truth.false.value), key
        assert part.rate.holds(truth.rate.value), key
        assert part.missed.high - part.missed.low < 0.65
        losses.add(round(truth.missed.value, 6))
    assert len(losses) >= 4  # a curve, and not a point


@pytest.mark.parametrize(
    "write",
    [{"content": "photons"}, {"content": "corrected", "compression": "gzip", "cxi": True}],
    ids=["photons", "cxi"],
)
def test_size_and_memory_come_true(simulated, run, tmp_path, write):
    one = {key: values[:1] for key, values in FEW.items() if key.startswith("write.")}
    scan = {**FEW, **one, "measure.peaks.threshold": ["4 photon"]}
    given = recipe_of(simulated, write=write)
    found = look(run, given, tmp_path / "s.html", constants=simulated.constants, shots=None, scan=scan)
    tracemalloc.start()
    try:
        result = reduce(simulated, run, tmp_path / "red", write=write)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    told, accounts = found.prediction, result.accounts
    assert told.kept == told.kept_low == told.kept_high == accounts.kept > 10
    assert told.bytes_in == accounts.bytes_in
    assert told.bytes_out == pytest.approx(accounts.bytes_out, rel=0.1)
    assert told.memory == pytest.approx(peak, rel=0.1)
    assert told.seconds > 0


def test_memory_of_a_run_that_needs_no_constants(simulated, run, tmp_path):
    """Where nothing is prepared the blocks on their way need most."""
    given = recipe_of(simulated)
    del given["keep"]
    shotsieve.reduce(run, given, tmp_path / "all", constants=simulated.constants, backend=BACKEND)
    given = recipe_of(simulated, calibrate={"photon_energy": "9.3 keV"}, keep={"rule": "n_peaks[3] >= 8"})
    given["detector"][0]["data"] = "corrected"
    source = shotsieve.open_run(tmp_path / "all", data="corrected").of_modules((3,))
    found = look(source, given, tmp_path / "s.html", shots=None, scan={**FEW, "keep.rule": [8]})
    tracemalloc.start()
    try:
        result = shotsieve.reduce(source, given, tmp_path / "red", backend=BACKEND)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.prediction.memory == pytest.approx(peak, rel=0.1)
    assert found.prediction.bytes_out == pytest.approx(result.accounts.bytes_out, rel=0.1)


def test_a_sample_tells_the_size_within_its_interval(simulated, run, sampled, tmp_path):
    result = reduce(simulated, run, tmp_path / "red")
    told = sampled.prediction
    assert told.kept_low < result.accounts.kept < told.kept_high
    assert told.bytes_low < result.accounts.bytes_out < told.bytes_high
    each = (result.accounts.bytes_out - told.bytes_beside) / result.accounts.kept
    assert (told.bytes_out - told.bytes_beside) / told.kept == pytest.approx(each, rel=0.02)


def test_the_sample_is_drawn_by_its_keys(run, sampled):
    shots = run.shots
    lot = lots(SALT, shots.train_id, shots.pulse_id)
    np.testing.assert_array_equal(sampled.sample.rows, np.sort(np.argsort(lot)[:36]))
    assert "36 of 64 shots, drawn at random by a hash" in sampled.sample.told()


def test_the_table_beside_the_page(surveyed, sampled):
    with open(sampled.path.with_suffix(".csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(sampled.outcomes)
    at = [one.setting.key for one in sampled.outcomes].index("keep.rule")
    assert rows[at]["value"] == "2"
    assert int(rows[at]["hits"]) == sampled.outcomes[at].hit.sum()
    assert float(rows[at]["missed_high"]) == pytest.approx(sampled.outcomes[at].missed.high, rel=1e-5)
    with h5py.File(sampled.path.with_suffix(".h5")) as file:
        assert file["shots/peaks"].shape == (len(rows), 36)
        np.testing.assert_array_equal(file["shots/peaks"][at], sampled.outcomes[at].peaks)
        assert file["settings/key"].asstr()[at] == "keep.rule"
        assert {"bytes_per_hit", "largest_change"} <= set(file["forms"])
    names = [coded.name for coded in surveyed.forms]
    assert "photons, uint16, gzip" in names
    rounded = next(one for one in surveyed.forms if one.name.startswith("rounded, 0.2 photon"))
    assert 0 < rounded.error <= 0.1 * 9.3  # half a step


def test_the_same_again_gives_the_same_bytes_on_every_backend(simulated, run, tmp_path):
    there = {status.name for status in shotsieve.backends() if status.available}
    made = {}
    for name in [*sorted(there & {"cpu", "emu", "cuda"}), "again"]:
        (tmp_path / name).mkdir()
        look(
            run, recipe_of(simulated), tmp_path / name / "s.html", simulated.constants, shots=4, scan=FEW,
            backend=BACKEND if name == "again" else name,
        )  # fmt: skip
        made[name] = [(tmp_path / name / f"s.{kind}").read_bytes() for kind in ("csv", "h5")]
    for name, content in made.items():
        assert content == made["cpu"], name


def test_raw_words_that_are_compressed_are_not_predicted(simulated, run, tmp_path):
    recipe = recipe_of(simulated, write={"content": "raw", "compression": "gzip"})
    found = look(run, recipe, tmp_path / "s.html", simulated.constants, shots=4, scan=FEW)
    assert np.isnan(found.prediction.bytes_out)
    assert any("the size of the output is not known" in note for note in found.notes)
