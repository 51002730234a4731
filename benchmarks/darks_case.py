"""Constants of simulated dark runs against what was put in; a short form is in tests/darks/."""

from __future__ import annotations

from dataclasses import replace
from math import erfc, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from shotsieve.constants import Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.rules import Rules, StageData, bits_of_stage, presets
from shotsieve.simulate.dark_model import DarkModel
from shotsieve.simulate.dark_parameters import KINDS
from shotsieve.simulate.darks import DarkParameters, dark_source, gains_of

SHARES = {"dead": 0.005, "hot": 0.005, "noisy": 0.005, "stuck": 0.005}
ONE_STAGE = SHARES | {"stuck": 0.0}
FULL = {
    "AGIPD1M": DarkParameters(n_trains=500, n_cells=4, modules=(3,), seed=11, **SHARES),
    "LPD1M": DarkParameters("LPD1M", n_trains=500, n_cells=2, modules=(3,), seed=12, **SHARES),
    "JUNGFRAU": DarkParameters("JUNGFRAU", n_trains=500, modules=(1,), seed=13, **SHARES),
    "DSSC1M": DarkParameters("DSSC1M", n_trains=500, n_cells=2, modules=(3,), seed=14, **ONE_STAGE),
    "EPIX100": DarkParameters("EPIX100", n_trains=500, modules=(1,), seed=15, **ONE_STAGE),
    # A module has few strips, so several are looked at; two frames of a train are in two cells.
    "GOTTHARD2": DarkParameters(
        "GOTTHARD2", n_trains=500, n_cells=2, modules=tuple(range(1, 17)), seed=16, **SHARES
    ),
}
# Noise of DSSC is less than an ADU, so that a dead pixel between two words needs hundreds of trains.
QUICK = {
    name: replace(p, n_trains=p.n_trains if name == "DSSC1M" else 60, n_cells=1) for name, p in FULL.items()
}
RULES = ("default", "facility-agipd", "psana", "agipd-toolbox")
"""Those whose Gaussian rate is known; hard limits of AGIPD say nothing of others."""


def own_rate(rules: Rules, stage: int, values: dict[str, np.ndarray]) -> float:
    """Return the share of normal pixels that the rules mark."""
    share = 0.0
    for name, of in values.items():
        middle = np.median(of)
        scatter = 1.4826 * np.median(np.abs(of - middle))
        for sigma in getattr(rules, f"{name}_sigma"):
            share += 0.5 * erfc(sigma / sqrt(2))
        if limits := getattr(rules, f"{name}_range"):
            low, high = limits[stage]
            share += 0.5 * erfc((middle - low) / scatter / sqrt(2))
            share += 0.5 * erfc((high - middle) / scatter / sqrt(2))
    return share


def measure(p: DarkParameters, folder: Path) -> dict[str, Any]:
    """Return how far constants of darks are from what was put in.

    Parameters
    ----------
    p : DarkParameters
    folder : Path
        For the files of constants.

    Returns
    -------
    dict
        ``stages``: pulls and ratios of each stage; ``found``: least share of each kind of injected pixel that
        is marked in any stage; ``rules``: per preset and stage the share of good pixels that are marked by
        offset and noise, and the rule's own rate.
    """
    model, frames = DarkModel(p), p.n_trains
    runs = [dark_source(p, stage, model) for stage in range(p.family.stages)]
    # Words that are not linear are made so by tables that were measured otherwise.
    known = gains_of(p, model) if "linearise" in p.family.steps else None
    options = DarkOptions(min_frames=frames * p.n_cells // len(p.constants_cells), gain_from=known)
    constants = Constants.open(make_dark_constants(runs, folder / "c.h5", options, backend="cpu").path)
    kind = np.stack([model.kind[m] for m in p.wanted_modules])
    told: dict[str, Any] = {"stages": [], "found": {}, "rules": {}}
    for stage in range(p.family.stages):
        loaded = {
            name: np.stack([_load(constants, name, m, stage) for m in p.wanted_modules])
            for name in ("offset", "noise", "bad_pixels")
        }
        good = np.broadcast_to((kind == 0)[:, None], loaded["noise"].shape)
        told["stages"].append(_stage(p, model, stage, loaded, good, frames))
        for number, name in enumerate(KINDS, 1):
            of_kind = np.broadcast_to((kind == number)[:, None], good.shape)
            if of_kind.any():
                share = float((loaded["bad_pixels"][of_kind] != 0).mean())
                told["found"][name] = min(told["found"].get(name, 1.0), share)
        for rules in presets():
            if rules.name in RULES and (rules.name != "facility-agipd" or p.detector == "AGIPD1M"):
                told["rules"].setdefault(rules.name, []).append(_alarms(rules, stage, loaded, good, frames))
    return told


def _load(constants: Constants, name: str, module: int, stage: int) -> np.ndarray:
    array = constants.load(name, module)[stage]
    return array.reshape(len(array), -1)


def _alarms(rules: Rules, stage: int, loaded, good, frames: int) -> dict[str, float]:
    """Return the share of good pixels that offset and noise mark, and the rule's own rate."""
    marked = 0
    for offset, noise, mine in zip(loaded["offset"], loaded["noise"], good, strict=True):
        count = np.full(offset.shape, frames, np.uint32)
        data = StageData(offset, noise, count, np.zeros_like(count))
        group = np.zeros(offset.shape[1], np.int64)
        marked += np.count_nonzero(bits_of_stage(data, stage, rules, group, False)[mine])
    values = {name: loaded[name][good] for name in ("offset", "noise")}
    return {"marked": marked / int(good.sum()), "own": own_rate(rules, stage, values)}


def _put_in(p: DarkParameters, model: DarkModel, module: int, stage: int, cell: int) -> dict[str, np.ndarray]:
    """Return the mean and scatter of the words of a pixel, as they are summed: that of endless dark runs."""
    offset, noise = (getattr(model, name)(module, stage, cell).astype("f8") for name in ("offset", "noise"))
    if "linearise" not in p.family.steps:
        return {"offset": offset, "noise": np.sqrt(noise**2 + 1 / 12)}  # words are whole numbers
    # Entries of tables are whole numbers too: what they are off by is no noise, and more trains do not help.
    one = model.module(module)
    z = np.linspace(-6, 6, 1201)
    weight = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    words = one.recorded(offset + z[:, None] * noise).astype(np.int64)
    linear = np.take_along_axis(one.linear(), words, 0).astype("f8")
    mean = weight @ linear
    return {"offset": mean, "noise": np.sqrt(weight @ (linear - mean) ** 2)}


def _stage(p, model, stage, loaded, good, frames) -> dict[str, float]:
    """Return pulls of the offset, and the noise over the one that was put in."""
    cells = range(len(p.constants_cells))
    made = [[_put_in(p, model, m, stage, c) for c in cells] for m in p.wanted_modules]
    real = {name: np.stack([[one[name] for one in row] for row in made]) for name in ("offset", "noise")}
    noise = real["noise"][good]
    pull = (loaded["offset"].astype(np.float64) - real["offset"])[good] / noise * sqrt(frames)
    ratio = loaded["noise"][good] / noise
    return {
        "pixels_and_cells": int(good.sum()),
        "offset_pull_mean": float(pull.mean()),
        "offset_pull_std": float(pull.std()),
        "offset_pull_worst": float(np.abs(pull).max()),
        "noise_ratio": float(ratio.mean()),
        "noise_ratio_expected": 1 - 1 / (4 * frames),
        "noise_scatter_over_expected": float(ratio.std() * sqrt(2 * frames)),
    }
