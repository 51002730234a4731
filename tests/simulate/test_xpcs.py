"""Speckles: contrast, relaxation and photon rate are those that were asked for, up to the photons."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from click.testing import CliRunner
from shotsieve.cli import cli
from shotsieve.errors import BadInput
from shotsieve.recipe_keys import SECTIONS
from shotsieve.simulate import SaxsParameters, SfxParameters, SpiParameters, XpcsParameters, simulate_xpcs
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.kinds import model_of
from shotsieve.simulate.memory import build, spi_source
from shotsieve.simulate.truth import SpiTruth

SMALL = {"n_trains": 2, "n_cells": 6, "modules": (3,), "truth_stage": False, "reference_frame": 0}


@pytest.mark.parametrize("kind", [SpiParameters, SfxParameters, SaxsParameters, XpcsParameters])
def test_the_first_pulse_falls_where_annotate_takes_it(kind):
    """Else frames with X-rays would be told dark, and energies be those of other pulses."""
    assert kind().reference_frame == SECTIONS["annotate"]["reference_frame"].default


@pytest.mark.parametrize("contrast", [1.0, 0.5, 0.37, 0.02])
def test_weights_of_modes_give_the_contrast(contrast):
    weights = np.array(XpcsParameters(**SMALL, contrast=contrast).mode_weights)
    assert (weights >= -1e-12).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert np.square(weights).sum() == pytest.approx(contrast, abs=1e-12)


@pytest.mark.parametrize(("contrast", "stretch"), [(0.6, 1.0), (1.0, 1.6), (0.5, 0.6)])
def test_intensities_have_the_correlation_that_was_asked_for(contrast, stretch):
    p = XpcsParameters(**SMALL, contrast=contrast, stretch=stretch, relaxation_us=2.0, cell_ids=(0, 1, 2, 5))
    _, _, maker = build(p)
    truth = maker.scene.truth()
    lag, wanted = truth["speckle_lag"][0], truth["speckle_g2"][0]
    np.testing.assert_allclose(lag, np.array([0, 1, 2, 5]) * 4 / 4.5139)
    np.testing.assert_allclose(wanted, 1 + contrast * np.exp(-2 * (lag / 2.0) ** stretch))
    one, other = (maker.scene.intensity(train, 0).astype("f8") for train in (0, 1))
    # Independent pixels: the error of a mean of 65,536 products of variables like these is below 0.02.
    found = (one[0] * one).mean(axis=1) / (one[0].mean() * one.mean(axis=1))
    np.testing.assert_allclose(found, wanted, atol=6 * 3 / 256)
    assert abs((one * other).mean() / (one.mean() * other.mean()) - 1) < 0.05
    assert one.mean() == pytest.approx(1, abs=0.02)


def test_photons_through_the_detector_have_contrast_and_rate(tmp_path):
    p = XpcsParameters(**SMALL, photons_per_pixel=0.3, contrast=0.5, relaxation_us=3.0, energy_jitter=0.0)
    source, truth = spi_source(p)
    recipe = {"calibrate": {}, "write": {"content": "photons"}}
    result = shotsieve.reduce(
        source, recipe, tmp_path / "out", constants=constants_in_memory(p, model_of(p)), backend="cpu"
    )
    with h5py.File(result.files[0]) as file:
        images = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image"]
        counts = images["data"][:].astype("f8").reshape(2, 6, -1)
        good = (images["mask"][:] == 0).reshape(12, -1).all(axis=0)
    counts = counts[..., good]
    assert counts.mean() == pytest.approx(0.3, rel=0.02)
    drawn = truth.photons[:, 0] / 65536
    np.testing.assert_allclose(counts.mean(axis=2).ravel(), drawn, rtol=0.02)
    np.testing.assert_allclose(drawn * 65536, truth.photons_expected[:, 0], rtol=0.03)
    # Pixels with a photon, averaged over all speckles; the constants flag none of the others.
    lit = (counts > 0).mean(axis=(0, 2))
    np.testing.assert_allclose(lit, truth.lit_expected[:6, 0] / good.sum(), rtol=0.03)
    zero = (counts * (counts - 1)).mean(axis=(1, 2)).mean() / counts.mean() ** 2 - 1
    assert zero == pytest.approx(0.5, abs=0.05)
    pair = (counts[:, 0] * counts[:, 2]).mean() / counts.mean() ** 2 - 1
    assert pair == pytest.approx(0.5 * np.exp(-2 * 2 * 4 / 4.5139 / 3), abs=0.05)


def test_files_hold_what_memory_holds_and_the_truth(tmp_path):
    p = XpcsParameters(**SMALL, photons_per_pixel=0.1)
    run = simulate_xpcs(tmp_path / "xpcs", p)
    source, truth = spi_source(p, lazy=True)
    opened = shotsieve.open_run(run.raw)
    words, in_files = np.zeros((12, 1, 2, 512, 128), "u2"), np.zeros((12, 16, 2, 512, 128), "u2")
    source.read(0, 12, words)
    opened.read(0, 12, in_files)
    np.testing.assert_array_equal(words[:, 0], in_files[:, 3])
    stored = SpiTruth.open(run.truth_file)
    np.testing.assert_array_equal(stored.photons_expected, truth.photons_expected)
    assert len(opened.shots) == 12
    # Photons follow the energy of the pulse.
    np.testing.assert_allclose(stored.photons, stored.photons_expected, rtol=0.1)
    np.testing.assert_allclose(stored.photons[:, 0], 6553.6 * stored.pulse_energy / 1500, rtol=0.1)
    with h5py.File(run.truth_file) as file:
        assert file["speckle_g2"].shape == (6,)
        assert file["speckle_g2"].attrs["meaning"]
        assert float(file["speckle_contrast"][()]) == 0.5


def test_the_command_makes_a_run_and_says_what_its_options_are(tmp_path):
    made = CliRunner().invoke(
        cli,
        ["simulate", "xpcs", str(tmp_path / "x"), "--n-trains", "1", "--n-cells", "2", "--modules", "3",
         "--photons-per-pixel", "0.01", "--contrast", "0.8", "--relaxation-us", "4", "--stretch", "1.5"],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "truth" in made.output
    text = CliRunner().invoke(cli, ["simulate", "xpcs", "--help"]).output
    for option in ("--photons-per-pixel", "--contrast", "--relaxation-us", "--stretch", "--q-width-per-nm"):
        assert option in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"contrast": 1.5}, "contrast: 1.5 was given, but it must be a number from 0.02 to 1"),
        ({"stretch": 3}, "stretch: 3 was given"),
        ({"relaxation_us": 0}, "relaxation_us: 0 was given"),
        ({"photons_per_pixel": -1}, "photons_per_pixel: -1 was given"),
        ({"photons_per_hit": (1.0, 2.0)}, "photons_per_pixel says how many"),
    ],
)
def test_what_no_speckles_have_is_refused(options, text):
    with pytest.raises(BadInput, match=text):
        XpcsParameters(**SMALL, **options)
