"""All that is measured on the emulated device, whose streams run as late as they may, with several seeds."""

from __future__ import annotations

import pytest

from .embed_case import SECTIONS
from .spots import Run
from .waits import skip_waits_of

SEEDS_WITHOUT_FAULT = range(1, 4)
SEEDS_WITH_FAULT = range(1, 3)
RECIPE = SECTIONS | {"keep": {"rule": "n_peaks >= 10"}}


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("spots"), n_trains=3, n_cells=2)


@pytest.fixture
def emu(emulator):
    return emulator.native


@pytest.fixture
def wanted(spots, digest, places):
    return digest(spots.reduce(places / "cpu", "cpu", block_bytes=1, **RECIPE).out)


def test_every_measure_is_right_in_any_order_that_waits_allow(spots, emu, wanted, digest, places):
    for seed in SEEDS_WITHOUT_FAULT:
        emu.set_seed(seed)
        found = spots.reduce(places / f"{seed}", "emu", block_bytes=1, **RECIPE)
        assert digest(found.out) == wanted, f"seed {seed}"


@pytest.mark.parametrize("caller", ["find", "sum"])
def test_a_wait_that_a_measure_lacks_is_noticed(spots, emu, wanted, digest, places, monkeypatch, caller):
    """Peaks and sums over bins: each result is wrong without its wait, or there is none."""
    for seed in SEEDS_WITH_FAULT:
        emu.set_seed(seed)
        with monkeypatch.context() as patch:
            skipped = skip_waits_of(patch, caller)
            try:
                found = digest(spots.reduce(places / f"{seed}", "emu", block_bytes=1, **RECIPE).out)
            except Exception as error:
                found = error
        assert skipped, "the measure waits elsewhere now"
        assert found != wanted, f"seed {seed}: the wait of {caller} is not missed"
