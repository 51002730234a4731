"""A comparison of two runs in words and as plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants.examine import bit_name
from .findings import STAGE_NAMES
from .spread import EDGES, quantiles
from .statistics import MOMENTS, STAGES

if TYPE_CHECKING:
    from . import RunComparison

__all__ = ["QUANTILES", "as_dict", "text_of"]

QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
_SHOWN = 40  # findings that are written out; JSON has all
_COLUMNS = ("high", "medium", "low", "other")


def as_dict(found: RunComparison) -> dict[str, Any]:
    """Return everything that was found as plain values.

    Parameters
    ----------
    found : RunComparison

    Returns
    -------
    dict
        Histograms hold the bins that are not empty: (lower edge, upper edge, count). Numbers that are not
        known are None.

    Examples
    --------
    >>> as_dict(compare_runs("raw/r0022", "proc/r0022", "constants.h5"))["stages"][0]  # doctest: +SKIP
    """
    sums = found.statistics
    bits = sums.bits.sum(axis=0)
    return {
        "detector": found.detector,
        "name": found.name,
        "unit": found.unit,
        "trains": found.trains.tolist(),
        "shots": found.shots,
        "frames": dict(zip(map(str, found.modules), sums.frames.tolist(), strict=True)),
        "modules": list(found.modules),
        "cells": sums.cell_ids.tolist(),
        "tolerance": found.tolerance,
        "corrected": dict(found.corrected),
        "shares": found.shares(),
        "stages": [_stage(found, stage) for stage in range(STAGES)],
        "gains": {
            "rows": "ours",
            "columns": list(_COLUMNS),
            "pixels": sums.gains.sum(axis=0).tolist(),
            "modules": dict(zip(map(str, found.modules), sums.gains.tolist(), strict=True)),
        },
        "bits": {
            bit_name(bit): dict(zip(("here", "there", "both"), bits[bit].tolist(), strict=True))
            for bit in np.flatnonzero(bits.any(axis=1)).tolist()
        },
        "bad": dict(zip(("neither", "here", "there", "both"), sums.bad.sum(axis=0).tolist(), strict=True)),
        "findings": [{"kind": one.kind, "text": one.text, **one.told} for one in found.findings],
        "notes": found.notes,
    }


def _stage(found: RunComparison, stage: int) -> dict[str, Any]:
    sums = found.statistics
    total = dict(zip(MOMENTS, sums.moments[:, :, stage].sum(axis=(0, 1)).tolist(), strict=True))
    n = int(total["n"])
    largest = sums.largest[:, :, stage]
    mean = total["d"] / n if n else math.nan
    return {
        "stage": stage,
        "name": STAGE_NAMES[stage],
        "pixels": n,
        "equal": int(sums.equal[:, stage].sum()),
        "beyond": int(total["differ"]),
        "mean": _number(mean),
        "deviation": _number(math.sqrt(max(total["dd"] / n - mean**2, 0.0)) if n else math.nan),
        "largest": float(largest.flat[np.argmax(np.abs(largest))]) if n else None,
        "difference": _spread(sums.spread[:, stage].sum(axis=0)),
        "relative": _spread(sums.relative[:, stage].sum(axis=0)),
    }


def _spread(counts: np.ndarray) -> dict[str, Any]:
    at = np.flatnonzero(counts)
    return {
        "quantiles": {
            str(share): _number(value)
            for share, value in zip(QUANTILES, quantiles(counts, list(QUANTILES)), strict=True)
        },
        "histogram": [[float(EDGES[i]), float(EDGES[i + 1]), int(counts[i])] for i in at],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def text_of(found: RunComparison) -> str:
    """Return a comparison as lines for a terminal.

    Parameters
    ----------
    found : RunComparison

    Returns
    -------
    str
    """
    told = as_dict(found)
    kinds = ", ".join(name for name in ("gain", "mask") if found.corrected[name]) or "no gain and no mask"
    lines = [
        f"{found.name} ({found.detector}): {_counted(found.shots, 'shot')} of "
        f"{_counted(len(found.trains), 'train')}, {_counted(len(found.modules), 'module')}, "
        f"{_counted(len(found.statistics.cell_ids), 'cell')}; values in {found.unit}",
        f"  corrected files: {found.corrected['dtype']} with {kinds}",
        "",
        "values: ours - theirs, of pixels that are good and of the same stage in both",
        f"  {'':<12}{'pixels':>15} {'equal':>9} {'beyond':>9} "
        + " ".join(f"{f'{100 * share:g} %':>10}" for share in QUANTILES)
        + f" {'largest':>11}",
    ]
    for row in told["stages"]:
        lines += _stage_lines(row)
    lines += ["", *_gain_lines(told), "", *_mask_lines(told), ""]
    return "\n".join([*lines, *_finding_lines(found), *(f"note: {note}" for note in found.notes)])


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _stage_lines(row: dict[str, Any]) -> list[str]:
    n = row["pixels"]
    if not n:
        return [f"  {row['name']:<12}{'none':>15}"]
    shares = f"{row['equal'] / n:>9.3%} {row['beyond'] / n:>9.3%}"
    lines = [
        f"  {row['name']:<12}{n:>15,} {shares} {_quantile_text(row['difference'])} {row['largest']:>11.4g}"
    ]
    if row["relative"]["histogram"]:
        lines.append(f"  {'  relative':<12}{'':>15} {'':>19} {_quantile_text(row['relative'])}")
    return lines


def _quantile_text(spread: dict[str, Any]) -> str:
    return " ".join(f"{value:>10.3g}" for value in spread["quantiles"].values())


def _gain_lines(told: dict[str, Any]) -> list[str]:
    if not told["corrected"]["gain"]:
        return ["gain stages: the corrected files have none"]
    head = " ".join(f"{name:>15}" for name in _COLUMNS)
    lines = ["gain stages: pixels, ours down, theirs across", f"  {'':<12}{head}"]
    for name, row in zip(STAGE_NAMES, told["gains"]["pixels"], strict=True):
        lines.append(f"  {name:<12}" + " ".join(f"{number:>15,}" for number in row))
    return lines


def _mask_lines(told: dict[str, Any]) -> list[str]:
    bad, total = told["bad"], max(sum(told["bad"].values()), 1)
    lines = ["masks: pixels", f"  {'':<28}{'here only':>15} {'there only':>15} {'both':>15}"]
    for name, row in told["bits"].items():
        lines.append(f"  {name:<28}" + " ".join(f"{row[key]:>15,}" for key in ("here", "there", "both")))
    if not told["corrected"]["mask"]:
        lines.append("  the corrected files have no mask: what is not finite counts as bad there")
    lines.append(f"  {'bad':<28}" + " ".join(f"{bad[key]:>15,}" for key in ("here", "there", "both")))
    lines.append(f"  {'':<28}" + " ".join(f"{bad[key] / total:>15.4%}" for key in ("here", "there", "both")))
    return lines


def _finding_lines(found: RunComparison) -> list[str]:
    if not found.findings:
        return [f"found: nothing differs by more than {found.tolerance:g} {found.unit} (+ 1e-5 of the value)"]
    beyond = f"beyond {found.tolerance:g} {found.unit} + 1e-5 of the value"
    lines = [f"found: {_counted(len(found.findings), 'difference')} ({beyond})"]
    lines += [f"  - {one.text}" for one in found.findings[:_SHOWN]]
    if (more := len(found.findings) - _SHOWN) > 0:
        lines.append(f"  ... and {more} more: --json has all")
    return lines
