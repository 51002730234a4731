"""Differences named: from the sums of a comparison to sentences that say what differs, where, how much."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ..constants.examine import bit_name
from .statistics import MOMENTS, OTHER, STAGES, Statistics

__all__ = ["STAGE_NAMES", "Finding", "findings", "frames_alone"]

STAGE_NAMES = ("high gain", "medium gain", "low gain")
MOST = 0.5
"""A group of pixels differs as a whole where more than this share of its values does."""

SAME_SLOPE = 1e-4
"""Scales closer to 1 are the same."""


@dataclass(frozen=True)
class Finding:
    """One difference.

    Attributes
    ----------
    kind : {"offset", "scale", "values", "pixels", "gain", "bit", "bad", "shots", "cells", "nothing"}
    text : str
        A sentence.
    told : dict
        The numbers and places in it.
    """

    kind: str
    text: str
    told: dict[str, Any]


def findings(found: Statistics, unit: str) -> list[Finding]:
    """Name what differs.

    Parameters
    ----------
    found : Statistics
    unit : str
        Of the values.

    Returns
    -------
    list of Finding
        What changes most pixels first, within each kind.
    """
    groups, named = _groups(found, unit)
    if not found.moments[..., 0].any():
        text = "no value was compared: no pixel is good and of the same stage in both"
        groups.insert(0, Finding("nothing", text, {}))
    return [*groups, *_pixels(found, named), *_gains(found), *_bits(found), *_bad(found)]


def frames_alone(module: int, side: str, number: int) -> Finding:
    """Name frames of a module that are in one run alone.

    Parameters
    ----------
    module : int
    side : {"raw", "corrected"}
    number : int

    Returns
    -------
    Finding

    Examples
    --------
    >>> frames_alone(4, "raw", 2).text
    'module 4: 2 frames of these trains are in the raw run only'
    """
    text = f"module {module}: {number:,} frames of these trains are in the {side} run only"
    return Finding("shots", text, {"module": module, "side": side, "frames": number})


# ------------------------------------------------------------------ values


def _groups(found: Statistics, unit: str) -> tuple[list[Finding], np.ndarray]:
    """Name groups of module, cell and stage in which most values differ, those alike together.

    Return with them how many values of each module differ that are named so, int64 (modules,).
    """
    result: list[Finding] = []
    named = np.zeros(len(found.modules), np.int64)
    for stage in range(STAGES):
        sums = {name: found.moments[..., stage, i] for i, name in enumerate(MOMENTS)}
        kinds = _kinds(found, sums)
        named += np.where(kinds != "", sums["differ"], 0).sum(axis=1).astype(np.int64)
        for kind in ("scale", "offset", "values"):
            where = kinds == kind
            if where.any():
                result += _group_findings(found, sums, stage, kind, where, unit)
    return result, named


def _fit(sums: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit ours = theirs + a + b theirs by least squares; return a, b, and the deviation of theirs."""
    n = np.maximum(sums["n"], 1)
    mean_t, mean_d = sums["t"] / n, sums["d"] / n
    variance = np.maximum(sums["tt"] / n - mean_t**2, 0)
    covariance = sums["dt"] / n - mean_t * mean_d
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(variance > 1e-12 * np.maximum(mean_t**2, 1e-30), covariance / variance, 0.0)
    return mean_d - slope * mean_t, slope, np.sqrt(variance)


def _kinds(found: Statistics, sums: dict[str, np.ndarray]) -> np.ndarray:
    """Return for each module and cell how its values differ; empty where they do not, or few do."""
    n = np.maximum(sums["n"], 1)
    shift, slope, spread = _fit(sums)
    residual = np.sqrt(np.maximum(sums["dd"] / n - (sums["d"] / n) ** 2 - (slope * spread) ** 2, 0))
    many = sums["differ"] > MOST * n
    # A shift that is not the same for all pixels is an offset still: it does not grow with the signal.
    scaled = (np.abs(slope) > SAME_SLOPE) & (np.abs(slope) * spread > residual)
    shifted = np.abs(shift) > np.maximum(residual / np.sqrt(n) * 5, found.tolerance)
    kinds = np.full(n.shape, "", "U8")
    kinds[many] = "values"
    kinds[many & shifted] = "offset"
    kinds[many & scaled] = "scale"
    return kinds


def _group_findings(found, sums, stage: int, kind: str, where: np.ndarray, unit: str) -> list[Finding]:
    """Put groups of one kind into as few sentences as they allow: one for modules with the same cells."""
    shift, slope, _ = _fit(sums)
    # By the cells that are concerned, and for single modules apart where their values are far apart.
    rows = [(tuple(np.flatnonzero(row).tolist()), at) for at, row in enumerate(where) if row.any()]
    rows.sort(key=lambda pair: (pair[0], pair[1]))
    result = []
    for cells, group in groupby(rows, key=lambda pair: pair[0]):
        modules = [at for _, at in group]
        pick = np.ix_(modules, cells)
        values = (
            1 + slope[pick]
            if kind == "scale"
            else (shift[pick] if kind == "offset" else sums["d"][pick] / sums["n"][pick])
        )
        weights = sums["n"][pick]
        mean = float((values * weights).sum() / weights.sum())
        low, high = float(values.min()), float(values.max())
        text = {
            "scale": f"ours = {_span(mean, low, high)} x theirs",
            "offset": f"ours - theirs = {_span(mean, low, high)} {unit}, whatever the signal",
            "values": f"values differ, by {_span(mean, low, high)} {unit} in the mean",
        }[kind]
        numbers = [found.modules[at] for at in modules]
        ids = found.cell_ids[list(cells)].tolist()
        place = _place(found, sums, numbers, ids)
        told = {"stage": stage, "modules": numbers, "cells": ids, "mean": mean, "low": low, "high": high}
        told["pixels"] = int(weights.sum())
        result.append(
            Finding(kind, f"{STAGE_NAMES[stage]}, {place}: {text} ({told['pixels']:,} values)", told)
        )
    return sorted(result, key=lambda one: -one.told["pixels"])


def _place(found: Statistics, sums: dict[str, np.ndarray], modules: list[int], cells: list[int]) -> str:
    there = sums["n"] > 0
    all_modules = [m for m, row in zip(found.modules, there, strict=True) if row.any()]
    all_cells = found.cell_ids[there.any(axis=0)].tolist()
    which = "all modules" if modules == all_modules and len(modules) > 1 else _listed("module", modules)
    return f"{which}, {'all cells' if cells == all_cells and len(cells) > 1 else _listed('cell', cells)}"


def _span(mean: float, low: float, high: float) -> str:
    return f"{mean:.5g}" if high - low <= 1e-3 * abs(mean) else f"{mean:.5g} ({low:.5g} to {high:.5g})"


def _listed(word: str, numbers: list[int]) -> str:
    """Return numbers in words, in ranges."""
    starts = [n for n in numbers if n - 1 not in numbers]
    stops = [n for n in numbers if n + 1 not in numbers]
    ranges = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True)]
    shown = ", ".join(ranges[:8]) + (", ..." if len(ranges) > 8 else "")
    return f"{word}{'s' * (len(numbers) != 1)} {shown}"


# ------------------------------------------------------------------ pixels


def _pixels(found: Statistics, named: np.ndarray) -> list[Finding]:
    """Name pixels that differ in most frames, and what differs here and there, beside what was named."""
    result = []
    for at, module in enumerate(found.modules):
        n, differ = found.pixel_frames[at], found.pixel_differ[at]
        left = int(differ.sum()) - int(named[at])
        always = (n > 0) & (differ > MOST * n)
        if always.any() and int(differ[always].sum()) <= left:
            number, (ss, fs) = int(always.sum()), np.argwhere(always)[0].tolist()
            mean = float(found.pixel_sum[at][always].sum() / n[always].sum())
            text = (
                f"module {module}: {number:,} pixels differ in most frames, by {mean:.5g} in the mean; the "
                f"first is ss {ss}, fs {fs}"
            )
            told = {"module": module, "pixels": number, "mean": mean, "first": [ss, fs]}
            result.append(Finding("pixels", text, told))
            left -= int(differ[always].sum())
        if left > 0:
            text = f"module {module}: {left:,} of {int(n.sum()):,} values differ here and there"
            result.append(Finding("values", text, {"module": module, "values": left, "of": int(n.sum())}))
    return sorted(result, key=lambda one: -one.told.get("pixels", 0))


# ------------------------------------------------------------------ gains and masks


def _gains(found: Statistics) -> list[Finding]:
    """Name stages that are another one there."""
    result = []
    names = (*STAGE_NAMES, "no stage")
    for stage in range(STAGES):
        for theirs in range(OTHER + 1):
            counts = found.gains[:, stage, theirs]
            if theirs == stage or not counts.any():
                continue
            modules = [m for m, number in zip(found.modules, counts, strict=True) if number]
            total = int(counts.sum())
            share = 100 * total / max(int(found.gains[:, stage].sum()), 1)
            place = _listed("module", modules)
            if len(modules) == 1:
                place += _in_pixels(found.pixel_gains[found.modules.index(modules[0])])
            text = (
                f"{total:,} pixels are {names[stage]} here and {names[theirs]} there ({share:.3g} % of our "
                f"{names[stage]}): {place}"
            )
            told = {"ours": stage, "theirs": theirs, "pixels": total, "modules": modules}
            result.append(Finding("gain", text, told))
    return sorted(result, key=lambda one: -one.told["pixels"])


def _in_pixels(counts: np.ndarray) -> str:
    """Say at how many places of a module something is, and where the first of them is."""
    places = np.argwhere(counts)
    ss, fs = places[0].tolist()
    return f", {len(places):,} places, the first ss {ss}, fs {fs}"


def _bits(found: Statistics) -> list[Finding]:
    """Name bits of the mask that are set in one only."""
    result = []
    sides = ("here", "there")
    for bit in np.flatnonzero(found.bits.any(axis=(0, 2))).tolist():
        for side, name in enumerate(sides):
            counts = found.bits[:, bit, side]
            if not counts.any():
                continue
            modules = [m for m, number in zip(found.modules, counts, strict=True) if number]
            total, both = int(counts.sum()), int(found.bits[:, bit, 2].sum())
            text = (
                f"bit {bit_name(bit)} is set {name} only in {total:,} pixels ({both:,} in both): "
                f"{_listed('module', modules)}"
            )
            told = {"bit": bit, "side": name, "pixels": total, "both": both, "modules": modules}
            result.append(Finding("bit", text, told))
    return sorted(result, key=lambda one: -one.told["pixels"])


def _bad(found: Statistics) -> list[Finding]:
    """Name pixels that have a value in one only."""
    result = []
    for side, name in ((1, "bad here and good there"), (2, "good here and bad there")):
        counts = found.bad[:, side]
        if counts.any():
            modules = [m for m, number in zip(found.modules, counts, strict=True) if number]
            total = int(counts.sum())
            share = 100 * total / int(found.bad.sum())
            text = f"{total:,} pixels are {name} ({share:.3g} %): {_listed('module', modules)}"
            told = {"side": ("here", "there")[side - 1], "pixels": total, "modules": modules}
            result.append(Finding("bad", text, told))
    return result
