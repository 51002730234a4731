"""Pump-probe differences in the pipeline: a signal in a simulated run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters, simulate_spi

EFFECT = 0.3
MODULE = {"module": 3, "ss_start": 0, "fs_start": 0, "fs_stop": 128}
RECIPE = {
    "annotate": {"delay": "SPB_LAS_DELAY/MOTOR/STAGE:actualPosition"},
    "calibrate": {},
    "measure": {
        "azint": {"npt": 40, "unit": "q_A^-1", "per_shot": False, "error_model": "poisson"},
        "roi": {
            "all": {"kind": "rectangle", "ss_stop": 512, **MODULE},
            "spectrum": {"kind": "projection", "axis": "fs", "ss_stop": 64, **MODULE},
        },
        "pump_probe": {"normalise": "pulse_energy", "subtract_dark": True},
    },
}


@pytest.fixture(scope="module")
def pumped(tmp_path_factory):
    p = SpiParameters(
        n_trains=12,
        n_cells=12,
        modules=(3, 4),
        dark_cells=(4, 9),
        hit_rate=0.0,
        background=0.5,
        pump="even_pulses",
        pump_effect=EFFECT,
        delays=(0.1, 0.2, 0.3),
        truth_stage=False,
        bad_fraction=0.002,
    )
    return simulate_spi(tmp_path_factory.mktemp("pump"), p)


def reduce(run, out, backend="cpu", **pump):
    recipe = {
        "detector": [{"geometry": str(run.geometry)}],
        **RECIPE,
        "measure": {**RECIPE["measure"], "pump_probe": {**RECIPE["measure"]["pump_probe"], **pump}},
    }
    return shotsieve.reduce(run.raw, recipe, out, constants=run.constants, backend=backend)


def read(out, name):
    with h5py.File(out / "shotsieve" / "pump_probe.h5") as f:
        group = f[f"entry/{name}"]
        return {key: value[()] for key, value in group.items()}, dict(group.attrs)


def test_the_signal_is_found_within_its_error(pumped, tmp_path):
    result = reduce(pumped, tmp_path / "r")
    truth, table = pumped.truth, result.table
    np.testing.assert_array_equal(table.columns["laser"] > 0, truth.laser > 0)
    np.testing.assert_array_equal(table.columns["pump_state"], (truth.n_pulses > 0) + 2 * (truth.laser > 0))
    found, attrs = read(result.out, "profile")
    assert attrs["signal"] == "difference"
    q, relative, error = found["q"], found["relative"], found["relative_errors"]
    good = np.isfinite(error) & (found["on_shots"] > 40)
    # The simulation changed the inner half of the q of the modules; bins across its edge are left out.
    half = q[np.isfinite(found["on"])].max() / 2
    inner, outer = good & (q < 0.95 * half), good & (q > 1.05 * half)
    assert min(inner.sum(), outer.sum()) > 8
    pull = np.where(inner, relative - EFFECT, relative) / error
    assert abs(pull[inner | outer]).max() < 4.5
    assert np.std(pull[inner | outer]) < 1.6
    assert (relative / error)[inner].mean() > 20  # it is a signal, not an absence of proof
    assert any("pump-probe: " in note for note in result.accounts.notes)


def test_regions_and_spectra_too(pumped, tmp_path):
    result = reduce(pumped, tmp_path / "r")
    regions, _ = read(result.out, "regions")
    assert [name.decode() for name in regions["region"]] == ["all"]
    profile, _ = read(result.out, "profile")
    assert 0.05 < regions["relative"][0] < EFFECT
    assert regions["relative"][0] / regions["relative_errors"][0] > 20
    spectrum, attrs = read(result.out, "spectrum")
    assert spectrum["difference"].shape == (128,)
    assert list(attrs["axes"]) == ["fs"]
    assert profile["on_shots"].max() == regions["on_shots"][0]


def test_by_delay(pumped, tmp_path):
    result = reduce(pumped, tmp_path / "r", delay="delay")
    whole = result.table.columns
    found, attrs = read(result.out, "regions")
    assert found["delay"].tolist() == [0.1, 0.2, 0.3]
    assert list(attrs["axes"]) == ["delay", "region"]
    for k, delay in enumerate(found["delay"]):
        use = (whole["pump_state"] == 3) & (whole["delay"] == delay)
        assert found["on_shots"][k, 0] == use.sum()
    binned = reduce(pumped, tmp_path / "b", delay="delay", delay_bins="0 0.25 1")
    found, _ = read(binned.out, "regions")
    assert found["delay"].tolist() == [0.125, 0.625]


def test_differences_do_not_depend_on_blocks_or_backends(pumped, tmp_path):
    first = reduce(pumped, tmp_path / "a")
    recipe = str(first.out / "shotsieve" / "recipe.toml")
    again = shotsieve.reduce(
        pumped.raw, recipe, tmp_path / "b", constants=pumped.constants, backend="cpu", block_bytes=2_000_000
    )
    a, b = (path.out / "shotsieve" / "pump_probe.h5" for path in (first, again))
    assert a.read_bytes() == b.read_bytes()


def test_differences_go_on_after_an_interruption(pumped, tmp_path, interrupt_after):
    recipe = {
        "detector": [{"geometry": str(pumped.geometry)}],
        **RECIPE,
        "measure": {**RECIPE["measure"], "pump_probe": {**RECIPE["measure"]["pump_probe"], "frames": True}},
        "write": {"trains_per_file": 5},
        "keep": {"rule": "cell_id < 1"},
    }

    def run(out, **options):
        return shotsieve.reduce(
            pumped.raw, recipe, tmp_path / out, constants=pumped.constants, backend="cpu", **options
        )

    whole = run("whole")
    with interrupt_after("reduce", 1):
        run("out")
    again = run("out", resume=True)
    for name in ("pump_probe.h5", "profiles.h5", "projections.h5", "table.h5"):
        mine, theirs = (result.out / "shotsieve" / name for result in (again, whole))
        assert mine.read_bytes() == theirs.read_bytes(), name


@pytest.mark.parametrize(
    ("pump", "words"),
    [
        ({"delay": "position"}, "no such column"),
        ({"normalise": "energy"}, "no such column"),
        ({"delay_bins": "0 1"}, "needs delay"),
        ({"delay": "delay", "delay_bins": "0 b"}, "no number"),
        ({"mode": "reference_as_off"}, "belong together"),
        ({"mode": "reference_as_off", "reference": "no.npy"}, "no.npy"),
    ],
)
def test_wrong_recipes(pump, words, pumped, tmp_path):
    with pytest.raises(BadInput, match=words):
        reduce(pumped, tmp_path / "r", **pump)


def test_a_reference_instead_of_shots(pumped, tmp_path):
    reference = np.full((16, 512, 128), 0.25, "f4")
    np.save(tmp_path / "ref.npy", reference)
    result = reduce(
        pumped,
        tmp_path / "r",
        mode="reference_as_off",
        reference=str(tmp_path / "ref.npy"),
        subtract_dark=False,
    )
    found, _ = read(result.out, "regions")
    np.testing.assert_allclose(found["off"], 0.25)
    lit = result.table.columns["xray"] == 1
    assert found["on_shots"][0] == lit.sum()
    np.save(tmp_path / "short.npy", reference[:5])
    with pytest.raises(BadInput, match="expected a calibrated frame"):
        reduce(pumped, tmp_path / "s", mode="reference_as_off", reference=str(tmp_path / "short.npy"))


def test_frames_too(backend_name, pumped, tmp_path):
    # The emulator is slow: two trains are enough there.
    select = {"rule": "train_id < 1500000003"} if backend_name == "emu" else {}
    pump = {**RECIPE["measure"]["pump_probe"], "frames": True}
    recipe = {
        **RECIPE,
        "select": select,
        "measure": {"pump_probe": pump, "average": {"by": "pump_state"}},
        "write": {"content": "corrected"},
    }
    result = shotsieve.reduce(
        pumped.raw, recipe, tmp_path / "r", constants=pumped.constants, backend=backend_name
    )
    columns, kept = result.table.columns, result.table.fate == 0
    with h5py.File(next(file for file in result.files if "AGIPD03" in file.name)) as f:
        source = next(iter(f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR"].values()))
        frames, mask = source["image/data"][()].astype("f8"), source["image/mask"][()]
    frames[mask != 0] = np.nan
    state, energy = columns["pump_state"][kept], columns["pulse_energy"][kept]
    found, attrs = read(result.out, "frames")
    assert attrs["signal"] == "difference"
    assert found["on"].shape == (16, 512, 128)
    want = {}
    for name, code in (("on", 3), ("off", 1)):
        here, e = frames[state == code], energy[state == code]
        dark = mean_of(frames[state == 0])
        want[name] = mean_of(here / e[:, None, None]) - dark * np.mean(1 / e)
        np.testing.assert_allclose(found[name][3], want[name], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found["difference"][3], want["on"] - want["off"], rtol=1e-5, atol=1e-9)
    with h5py.File(result.out / "shotsieve" / "averages.h5") as f:
        group = f["entry/frames"]
        assert group["pump_state"][()].tolist() == [0, 1, 3]
        assert list(group.attrs["axes"]) == ["pump_state", ".", ".", "."]
        for row, code in enumerate((0, 1, 3)):
            here = frames[state == code]
            np.testing.assert_allclose(group["mean"][row, 3], mean_of(here), rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(group["count"][row, 3], np.isfinite(here).sum(axis=0))
            some = np.isfinite(here).sum(axis=0) > 1
            variance = np.nanvar(here[:, some], axis=0, ddof=1)
            np.testing.assert_allclose(group["variance"][row, 3][some], variance, rtol=1e-4, atol=1e-6)
    assert any("averages of frames: 3 groups by pump_state" in note for note in result.accounts.notes)


def mean_of(frames):
    count = np.isfinite(frames).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.nansum(frames, axis=0) / count, np.nan)


def test_averages_do_not_depend_on_blocks(pumped, tmp_path):
    files = []
    for name, size in (("a", 256_000_000), ("b", 3_000_000)):
        result = shotsieve.reduce(
            pumped.raw,
            {"calibrate": {}, "measure": {"average": {"by": "cell"}}},
            tmp_path / name,
            constants=pumped.constants,
            backend="cpu",
            block_bytes=size,
        )
        files.append((result.out / "shotsieve" / "averages.h5").read_bytes())
    assert files[0] == files[1]
    wrong = {"calibrate": {}, "measure": {"average": {"by": "hits"}}}
    with pytest.raises(BadInput, match="no such column"):
        shotsieve.reduce(pumped.raw, wrong, tmp_path / "c", constants=pumped.constants)
    with pytest.raises(BadInput, match="averages calibrated pixels"):
        shotsieve.Recipe.from_dict({"measure": {"average": {}}})


def test_nothing_to_compare():
    with pytest.raises(BadInput, match="compares what is measured"):
        shotsieve.Recipe.from_dict({"calibrate": {}, "measure": {"pump_probe": {}}})


def test_a_train_that_was_recorded_twice_has_its_places_once(tmp_path):
    """Duplicates stand beside the shots in the table; they must not count as places of the train."""
    options = {"n_trains": 3, "n_cells": 6, "modules": (3,), "split_at": (2,), "sequence_overlap": 1}
    run = simulate_spi(tmp_path / "s", SpiParameters(**options, background=0.1, truth_stage=False))
    recipe = {
        "calibrate": {},
        "measure": {
            "roi": {"all": {"kind": "rectangle", "ss_stop": 512, **MODULE}},
            "pump_probe": {"mode": "same_train", "on": "1::2", "off": "2::2"},
        },
    }
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "r", constants=run.constants, backend="cpu")
    assert result.accounts.duplicate == 6
    found, _ = read(result.out, "regions")
    assert (found["on_shots"][0], found["off_shots"][0]) == (9, 6)  # places 1, 3, 5 and 2, 4 of three trains
    once = result.table.fate == 0
    place = np.tile(np.arange(6), 3)
    mean = result.table.columns["roi_all_mean"][once]
    # Shots differ by a few bad pixels, so the mean of means is not quite the mean of pixels.
    np.testing.assert_allclose(found["on"][0], mean[place % 2 == 1].mean(), rtol=2e-4)
