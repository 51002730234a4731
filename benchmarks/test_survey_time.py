"""How well a survey predicts the time of a reduction: each is surveyed and then really reduced, in turn.

Wall times of whole calls: a survey looks at a part of the shots, and what it says of all of them is compared
with the reduction that follows at once. Sizes of the outputs are compared too. Files are in the page cache. A
machine that is busy is busy at other times for one than for the other, so that single rounds scatter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
import shotsieve
from shotsieve import backend as backends
from shotsieve.constants.container import Constants
from shotsieve.simulate import SfxParameters, SpiParameters, simulate_sfx, simulate_spi

ROUNDS = 5
WITHIN = 1.5
SIZE_WITHIN = 0.1
SCAN = {"write.compression": ["gzip"], "write.rounding_relative": [0.01]}
MODULES = (3, 4)
KINDS = ("counts", "peaks", "score")


def case_of(kind: str, folder: Path, quick: bool) -> tuple[Any, dict[str, Any]]:
    """Return a run and a recipe: counts alone; peaks and deflated frames; a score and rounded frames."""
    trains, cells = (2, 8) if quick else (60, 16)
    shape = {"n_trains": trains, "n_cells": cells, "modules": MODULES, "truth_stage": False}
    if kind == "peaks":
        made = simulate_sfx(folder / "sim", SfxParameters(hit_rate=0.1, **shape))
        peaks = {"threshold": "4.3 photon", "min_snr": 5.0, "min_pix_count": 1}
        measure, rule = {"peaks": peaks}, " + ".join(f"n_peaks[{m}]" for m in MODULES) + " >= 8"
        write = {"content": "corrected", "compression": "gzip"}
    else:
        made = simulate_spi(folder / "sim", SpiParameters(hit_rate=0.1, photons_per_hit=(2e3, 1e5), **shape))
        measure, write = {"lit": {"threshold": "0.7 photon"}}, None
        rule = " + ".join(f"lit_pixels[{m}]" for m in MODULES) + " > 4000"
    if kind == "score":
        x = np.linspace(-3, 3, 128, dtype="f4")
        signal = np.broadcast_to(0.05 * np.exp(-np.square(x)), (16, 512, 128))
        np.save(folder / "map.npy", shotsieve.likelihood_map(signal, np.full(signal.shape, 0.05, "f4")))
        measure = {"score": {"particle": {"map": str(folder / "map.npy")}}}
        score = " + ".join(f"score_particle[{m}]" for m in MODULES)
        look = {"calibrate": {}, "measure": measure}
        table = shotsieve.reduce(made.raw, look, folder / "look", made.constants, "cpu").table
        values = table.measures["score_particle"][:, list(MODULES)].sum(axis=1)
        rule = f"{score} > {float(np.percentile(values, 90)):.6g}"  # a tenth is kept
        write = {"content": "rounded", "rounding_absolute": "0.2 photon"}
    recipe = {
        "detector": [{"name": "AGIPD1M", "geometry": str(made.geometry)}],
        "calibrate": {},
        "measure": measure,
        "keep": {"rule": rule},
        **({"write": write} if write else {}),
    }
    return made, recipe


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_predicted(
    kind: str,
    tmp_path: Path,
    record: Callable,
    target: Callable,
    quick: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The median of the rounds is within a factor of 1.5, the size within its interval and a tenth."""
    monkeypatch.setattr("shotsieve.surveys.page.write_page", lambda *told: None)  # drawn after predicting
    made, recipe = case_of(kind, tmp_path, quick)
    Constants.open(made.constants).save(tmp_path / "constants.h5")
    source = shotsieve.open_run(made.raw).of_modules(MODULES)
    shots = len(source.shots.train_id)
    options = {"constants": tmp_path / "constants.h5", "backend": "cpu"}
    predicted, real, sizes, seconds = [], [], [], []
    for turn in range(2 if quick else ROUNDS):
        began = time.perf_counter()
        found = shotsieve.survey(
            source, recipe, tmp_path / "s.html", shots=max(shots // 4, 8), scan=SCAN, seed=turn, **options
        )
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        result = shotsieve.reduce(source, recipe, tmp_path / "red", overwrite=True, **options)
        real.append(time.perf_counter() - began)
        told, out = found.prediction, result.accounts.bytes_out
        predicted.append(told.seconds)
        # Of as many kept shots as there were: how many these are is another question, with an interval.
        frames = (told.bytes_out - told.bytes_beside) / max(told.kept, 1e-9) * result.accounts.kept
        sizes.append((frames + told.bytes_beside) / out if out and told.bytes_out else 1.0)
    ratios = np.divide(predicted, real)
    middle, size = float(np.median(ratios)), float(np.median(sizes))
    with capsys.disabled():
        told = " ".join(f"{p:.2f}/{r:.2f}" for p, r in zip(predicted, real, strict=True))
        print(f"\n{kind}: predicted/real s {told}; median {middle:.2f}; size {size:.3f}")
    record(
        records.make(
            "survey_time",
            backend=backends.get("cpu").native.__name__.rpartition("._")[2],
            detector="AGIPD1M",
            shots_per_s=shots / float(np.median(real)),
            gb_per_s=result.accounts.bytes_in / float(np.median(real)) / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer=None,
            ratio_to_peer=None,
            threads=backends.get("cpu").threads,
            notes=f"{kind}: predicted over real wall time of reduce, in turn; a part of the detector",
            details={
                "kind": kind,
                "shots": shots,
                "modules": len(MODULES),
                "kept": result.accounts.kept,
                "predicted_s": predicted,
                "real_s": real,
                "survey_s": seconds,
                "ratios": ratios.tolist(),
                "median": middle,
                "size_predicted_over_real": size,
            },
        )
    )
    if not quick:
        assert size == pytest.approx(1, abs=SIZE_WITHIN)
        target(1 / WITHIN <= middle <= WITHIN, f"{kind}: time predicted over real: {middle:.2f}")
