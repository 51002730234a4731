"""What constants hold, and how two of them differ, in words and as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from .container import Constants
from .differ import Comparison, PlaneDifference
from .examine import PlaneStatistics, bit_name, checksum, lacking, not_used, statistics

__all__ = ["as_dict", "compare_text", "comparison_dict", "show_text"]

_NUMBERS = ("median", "mad", "low", "high")


def as_dict(constants: Constants, modules: Iterable[int] | None = None) -> dict[str, Any]:
    """Return everything that is told of constants, as plain values.

    Parameters
    ----------
    constants : Constants
    modules : iterable of int or None
        Whose statistics are made; None: all.

    Returns
    -------
    dict
        Numbers that are not known are None.

    Examples
    --------
    >>> arrays = {"offset": np.full((3, 1, 512, 1024), 5000.0)}
    >>> as_dict(Constants.from_arrays("JUNGFRAU", arrays, modules=[1]))["gains"]
    {'offset': 3}
    """
    planes = list(statistics(constants, modules))
    gains: dict[str, int] = {}
    for one in planes:
        gains[one.name] = max(gains.get(one.name, 0), one.gain + 1)
    return {
        "detector": constants.detector.name,
        "modules": list(constants.modules),
        "cells": constants.cell_ids.tolist(),
        "gains": gains,
        "conditions": constants.conditions,
        "provenance": constants.provenance,
        "sha256": checksum(constants),
        "lacking": lacking(constants),
        "not_used": not_used(constants),
        "statistics": [_plane(one) for one in planes],
    }


def _plane(one: PlaneStatistics) -> dict[str, Any]:
    told = {"name": one.name, "module": one.module, "gain": one.gain, "values": one.values}
    if one.name == "bad_pixels":
        return {**told, "bits": {bit_name(bit): number for bit, number in one.bits.items()}}
    return {**told, **{key: _number(getattr(one, key)) for key in _NUMBERS}, "odd": one.odd}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def show_text(told: dict[str, Any], every_module: bool = False) -> str:
    """Return what `as_dict` gives as lines for a terminal.

    Parameters
    ----------
    told : dict
    every_module : bool
        A line for each module beside the one for all.

    Returns
    -------
    str
    """
    conditions = ", ".join(f"{key} {_said(value)}" for key, value in told["conditions"].items()) or "not told"
    lines = [
        f"constants of {told['detector']}: {_counted('module', told['modules'])}, "
        f"{_counted('cell', told['cells'])}",
        f"  conditions  {conditions}",
        f"  from        {_origin(told['provenance'])}",
        f"  sha256      {told['sha256']}",
        *(f"  lacking     {line}" for line in told["lacking"]),
        *(f"  not used    {line}" for line in told["not_used"]),
        "",
        f"  {'constant':<16}{'gain':>4}  {'median':>12} {'of modules':>27} {'MAD':>11}  odd",
    ]
    for name, count in told["gains"].items():
        for gain in range(count):
            rows = [row for row in told["statistics"] if (row["name"], row["gain"]) == (name, gain)]
            if name == "bad_pixels":
                lines += _bit_lines(name, gain, rows)
                continue
            lines.append(_row(f"{name:<16}{gain:>4}", rows))
            if every_module:
                lines += [_row(f"  module {row['module']:<7}{'':>4}", [row]) for row in rows]
    return "\n".join(lines)


def _counted(word: str, numbers: list[int]) -> str:
    return f"{len(numbers)} {word}{'s' * (len(numbers) != 1)} ({_ranges(numbers)})"


def _origin(provenance: dict[str, Any]) -> str:
    if "dark" in provenance:
        return "dark runs"
    return str(provenance.get("layout", "not told"))


def _row(head: str, rows: list[dict[str, Any]]) -> str:
    medians = [row["median"] for row in rows if row["median"] is not None]
    odd: dict[str, int] = {}
    for row in rows:
        for what, number in row["odd"].items():
            odd[what] = odd.get(what, 0) + number
    texts = ", ".join(f"{number:,} {what}" for what, number in odd.items())
    if not medians:
        return f"  {head}  {'no finite value':>12} {'':>27} {'':>11}  {texts}"
    mad = float(np.median([row["mad"] for row in rows if row["mad"] is not None]))
    span = f"{min(medians):.6g} to {max(medians):.6g}" if len(medians) > 1 else ""
    return f"  {head}  {float(np.median(medians)):>12.6g} {span:>27} {mad:>11.4g}  {texts}".rstrip()


def _bit_lines(name: str, gain: int, rows: list[dict[str, Any]]) -> list[str]:
    total = sum(row["values"] for row in rows)
    bits: dict[str, int] = {}
    for row in rows:
        for bit, number in row["bits"].items():
            bits[bit] = bits.get(bit, 0) + number
    if not bits:
        return [f"  {name:<16}{gain:>4}  no pixel has a bit"]
    order = sorted(bits.items(), key=lambda item: int(item[0].split()[0]))
    texts = [f"bit {bit}: {number:,} ({100 * number / total:.3g} %)" for bit, number in order]
    return [
        f"  {name if not i else '':<16}{gain if not i else '':>4}  {text}" for i, text in enumerate(texts)
    ]


def _ranges(numbers: list[int]) -> str:
    """Return whole numbers in words: 0-15, 20."""
    if not numbers:
        return "none"
    cuts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    parts = [numbers[a:b] for a, b in pairwise(cuts)]
    texts = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    return ", ".join(texts[:6]) + (", ..." if len(texts) > 6 else "")


def comparison_dict(found: Comparison, differing: list[PlaneDifference]) -> dict[str, Any]:
    """Return a comparison as plain values.

    Parameters
    ----------
    found : Comparison
    differing : list of PlaneDifference
        As `Comparison.differing` gives them.

    Returns
    -------
    dict
    """
    return {
        "cells": found.cell_ids.tolist(),
        "other": found.other,
        "same": not differing,
        "planes": [_difference(one, one in differing) for one in found.planes],
    }


def _difference(one: PlaneDifference, differs: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"name": one.name, "module": one.module, "gain": one.gain, "differs": differs}
    told |= {"values": one.values, "changed": one.changed}
    if one.name == "bad_pixels":
        sides = ("only_a", "only_b", "both")
        told["bits"] = {bit_name(bit): dict(zip(sides, n, strict=True)) for bit, n in one.bits.items()}
    else:
        told |= {"only_a": one.only_a, "only_b": one.only_b, "at": one.at}
        told |= {key: _number(getattr(one, key)) for key in ("median", "mad", "largest")}
    told["cells_median"] = [_number(value) for value in one.cells[:, 0].tolist()]
    told["cells_changed"] = one.cells[:, 1].tolist()
    return told


def compare_text(found: Comparison, differing: list[PlaneDifference]) -> str:
    """Return a comparison as lines for a terminal.

    Parameters
    ----------
    found : Comparison
    differing : list of PlaneDifference

    Returns
    -------
    str
    """
    names = list(dict.fromkeys(one.name for one in found.planes))
    lines = [f"compared: {', '.join(names) or 'nothing'}; {len(found.cell_ids)} cells; B - A"]
    lines += [f"  {line}" for line in found.other]
    changed = [one for one in found.planes if one.changed]
    if not changed:
        return "\n".join([*lines, "no value differs"])
    lines += [
        "",
        f"  {'constant':<14}{'module':>6}{'gain':>5}  {'changed':>8} {'median':>11} {'MAD':>11} "
        f"{'largest':>11}",
    ]
    for one in changed:
        star = "*" if one in differing else " "
        head = f"{star} {one.name:<14}{one.module:>6}{one.gain:>5}  {one.share:>8.3%}"
        if one.name == "bad_pixels":
            lines.append(head)
            for bit, (a, b, both) in one.bits.items():
                if a or b:
                    lines.append(
                        f"      bit {bit_name(bit)}: {a:,} in A only, {b:,} in B only, {both:,} in both"
                    )
            continue
        at = "" if one.at is None else f" at cell {found.cell_ids[one.at[0]]}, ss {one.at[1]}, fs {one.at[2]}"
        alone = (
            f", finite in one only: {one.only_a:,} A, {one.only_b:,} B" if one.only_a or one.only_b else ""
        )
        lines.append(f"{head} {one.median:>11.5g} {one.mad:>11.4g} {one.largest:>11.5g}{at}{alone}")
        lines += _cells(one, found.cell_ids)
    end = f"* {len(differing)} differ by more than they may" if differing else "all within the tolerances"
    return "\n".join([*lines, end])


def _cells(one: PlaneDifference, cell_ids: np.ndarray) -> list[str]:
    """Name the cells where values changed, if it is not in all of them."""
    changed = np.flatnonzero(one.cells[:, 1])
    if not 0 < len(changed) < len(cell_ids):
        return []
    return [f"      only in cells {_ranges(cell_ids[changed].tolist())}"]


def _said(value: Any) -> str:
    """Return a condition as a text has it; several gain modes are a list."""
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)
