"""Errors of profiles tell how much they scatter (short form), and the benchmark measures the right thing."""

from __future__ import annotations

import azint_case
import azint_errors
import numpy as np
import pytest


@pytest.mark.parametrize("background", azint_errors.BACKGROUNDS)
def test_scatter_is_what_errors_say(background):
    found = azint_errors.measure(background, 1500, seed=7)
    mean, error = found.mean
    assert np.abs(found.pulls).max() < 4.5
    assert abs(mean - 1) < 4 * error


def test_the_azimuthal_model_too():
    """It estimates from the pixels of a bin, so it is less by one of them in a hundred or more."""
    mean, error = azint_errors.measure(1.0, 1500, "azimuthal", seed=8).mean
    assert abs(mean - 1) < 4 * error + 0.02


def test_a_wrong_model_is_found():
    """Twice the variance in every pixel is seen, so the test above can fail."""
    found = azint_errors.measure(1.0, 1500, seed=9)
    assert np.abs((found.ratio * 2 - 1) / found.error).min() > 4.5


def test_the_benchmark_sums_the_same_as_numpy():
    if not azint_case.GEOMETRY.is_file():
        pytest.skip(f"no geometry at {azint_case.GEOMETRY}; set SHOTSIEVE_DATA")
    case = azint_case.AzintCase.make(frames=4)
    sums = [row[: azint_case.NPT] for row in case.bincount()()]
    for (_, splitting), ai in case.integrators.items():
        if splitting == "no":
            np.testing.assert_array_equal(ai(case.frames).sum_signal, sums)
