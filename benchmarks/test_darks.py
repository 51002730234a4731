"""Constants from dark runs, full form: 500 trains. The tests have a short form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import darks_case
import pytest
import records


@pytest.mark.parametrize("name", darks_case.FULL)
def test_what_was_put_in_is_found(record: Callable, quick: bool, tmp_path: Path, name: str) -> None:
    """Offset and noise within their errors, injected pixels at 99.9 %, false alarms as the rule says."""
    parameters = (darks_case.QUICK if quick else darks_case.FULL)[name]
    found = darks_case.measure(parameters, tmp_path)
    for stage in found["stages"]:
        assert abs(stage["offset_pull_mean"]) < 5 / stage["pixels_and_cells"] ** 0.5
        assert stage["offset_pull_std"] == pytest.approx(1, abs=0.02)
        assert stage["noise_ratio"] == pytest.approx(
            stage["noise_ratio_expected"], abs=0.02 if quick else 0.01
        )
        assert stage["noise_scatter_over_expected"] == pytest.approx(1, abs=0.03)
    for kind, share in found["found"].items():
        assert share >= 0.999, kind
    for rules, stages in found["rules"].items():
        for stage in stages:
            assert stage["marked"] <= stage["own"] + 1e-3, rules
    record(
        records.alone(
            "darks",
            detector=name,
            notes="no rate: constants of simulated dark runs against what was put in",
            details={
                "variant": f"{parameters.n_trains} trains, {parameters.n_cells} cells, "
                f"{len(parameters.wanted_modules)} modules, half a per cent of the pixels of each bad kind",
                **found,
            },
        )
    )
