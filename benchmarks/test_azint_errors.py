"""Errors of profiles, full form: 10,000 frames at each background. The tests have a short form."""

from __future__ import annotations

from collections.abc import Callable

import azint_errors
import numpy as np
import pytest
import records


@pytest.mark.parametrize("background", azint_errors.BACKGROUNDS)
def test_scatter_is_what_errors_say(record: Callable, quick: bool, background: float) -> None:
    """The variance of each bin over its mean reported one is 1 within its error."""
    frames = 500 if quick else 10_000
    found = azint_errors.measure(background, frames)
    mean, error = found.mean
    assert np.abs(found.pulls).max() < 4.5
    assert abs(mean - 1) < 4 * error
    record(
        records.alone(
            "azint_errors",
            detector="simulated",
            notes="no rate: empirical variance of each bin over its mean reported sigma squared",
            details={
                "variant": f"{background:g} photons per pixel, Poisson errors",
                "frames": frames,
                "mean_ratio": mean,
                "error_of_mean": error,
                "worst_pull": float(np.abs(found.pulls).max()),
                "ratios": found.ratio.tolist(),
                "errors": found.error.tolist(),
            },
        )
    )
