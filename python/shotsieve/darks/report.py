"""The report on constants from dark runs: one HTML page that needs nothing beside itself."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..constants.container import Constants
from ..errors import BadInput
from ..pages import image, need_matplotlib, table, write_whole
from ..robust import middle_and_width
from . import figures
from .runs import STAGES

DPI = 70
_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 0.8em 0; }
th, td { border-bottom: 1px solid #ccc; padding: 0.2em 0.7em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; display: block; margin: 0.6em 0; }
h2 { border-top: 2px solid #888; padding-top: 0.6em; }
"""


def write_report(constants: Path, out: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the report on a file of constants that `make_dark_constants` made.

    Parameters
    ----------
    constants : Path
    out : Path
        HTML file; gets its name when it is complete, and replaces one of that name.
    progress : callable or None
        Called with (modules done, modules in all).

    Returns
    -------
    Path

    Raises
    ------
    BadInput
        If the constants were not made of dark runs, or matplotlib is not installed.
    OutputError
        If the page cannot be written.

    Notes
    -----
    Promise: the same constants and version of matplotlib give the same bytes.

    Examples
    --------
    >>> write_report(Path("constants.h5"), Path("constants.html"))    # doctest: +SKIP
    """
    need_matplotlib("report")
    opened = Constants.open(constants)
    told = opened.provenance.get("dark")
    if told is None:
        raise BadInput(f"{constants}: these constants were not made by `shotsieve dark`")
    parts = [*_head(constants.name, opened, told)]
    rows, bits = [], []
    bodies = []
    for number, module in enumerate(opened.modules):
        arrays, bad = _load(opened, module)
        rows += _summary_rows(module, arrays, bad)
        bits.append(_bit_counts(bad))
        bodies += _module(module, arrays, bad != 0, opened.cell_ids)
        if progress is not None:
            progress(number + 1, len(opened.modules))
    parts += ["<h2>Modules</h2>", table(_COLUMNS, rows)]
    parts += ["<h2>Bad pixels by reason</h2>", *_bits_table(opened, bits)]
    page = "\n".join([*parts, *bodies, "</body></html>\n"])
    return write_whole(out, page, "the report")


_COLUMNS = ("module", "stage", "offset (ADU)", "+-", "noise (ADU)", "+-", "level (ADU)", "bad (%)")


def _load(constants: Constants, module: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    names = [name for name in ("offset", "noise", "levels", "thresholds") if constants.has(name, module)]
    return {name: constants.load(name, module) for name in names}, constants.load("bad_pixels", module)


def _head(name: str, constants: Constants, told: dict[str, Any]) -> Iterable[str]:
    title = f"Dark constants of {constants.detector.name}"
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    yield f"<style>{_STYLE}</style></head><body>"
    yield f"<h1>{html.escape(title)}</h1>"
    yield f"<p>File {html.escape(name)}, made by shotsieve {html.escape(told['version'])}: "
    yield f"{len(constants.modules)} modules, {len(constants.cell_ids)} memory cells.</p>"
    yield "<h2>Runs</h2>"
    rows = []
    for run in told["runs"]:
        dropped = "; ".join(f"{n} {reason}" for reason, n in run["dropped"].items()) or "none"
        samples = run["samples"]
        told_of = [samples["wrong"], samples["outside the gate"], run["first_train"], dropped]
        rows.append([run["run"], run["stage"], run["trains"], samples["counted"], *told_of])
    heads = ("run", "stage", "trains used", "samples", "wrong", "outside", "first train", "trains dropped")
    yield table(heads, rows)
    if constants.conditions:
        yield "<h2>Conditions</h2>"
        yield table(
            ("what", "value"),
            [
                [key, " or ".join(value) if isinstance(value, list) else value]
                for key, value in sorted(constants.conditions.items())
            ],
        )
    rules = told["rules"]
    yield f"<h2>Rules for bad pixels: {html.escape(rules['name'])}</h2><p>{html.escape(rules['about'])}</p>"
    yield table(("rule", "value"), [[k, v] for k, v in rules.items() if k not in ("name", "about")])
    gate = told["gate"]
    text = ", ".join(f"{key} = {value}" for key, value in gate.items()) if gate else "none"
    yield f"<p>Gate: {html.escape(text)}. "
    yield f"Gains: {html.escape(told['gain_from']['from'] if told['gain_from'] else 'none')}.</p>"
    for note in constants.provenance.get("notes", []):
        yield f"<p>Note: {html.escape(note)}</p>"


def _middle(values: np.ndarray) -> tuple[str, str]:
    """Return `middle_and_width` of what is finite, as text."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "-", "-"
    middle, width = middle_and_width(finite)
    return f"{middle:.2f}", f"{width:.2f}"


def _summary_rows(module: int, arrays: dict[str, np.ndarray], bad: np.ndarray) -> list[list[Any]]:
    rows = []
    for g in range(len(bad)):
        level = _middle(arrays["levels"][g])[0] if "levels" in arrays else "-"
        share = f"{100 * np.count_nonzero(bad[g]) / bad[g].size:.3f}"
        rows.append(
            [module, STAGES[g], *_middle(arrays["offset"][g]), *_middle(arrays["noise"][g]), level, share]
        )
    return rows


def _bit_counts(bad: np.ndarray) -> np.ndarray:
    """Return how many pixels and cells have each bit, int64 (32, gains)."""
    return np.array(
        [[np.count_nonzero(plane & np.uint32(1 << bit)) for plane in bad] for bit in range(32)], np.int64
    )


def _bits_table(constants: Constants, counts: list[np.ndarray]) -> Iterable[str]:
    total = np.sum(counts, axis=0)
    each = len(constants.modules) * len(constants.cell_ids) * constants.detector.pixels
    rows = [
        [BadPixels(1 << bit).name, *(f"{n} ({100 * n / each:.4f} %)" for n in total[bit])]
        for bit in range(32)
        if total[bit].any()
    ]
    yield table(("reason", *(f"{STAGES[g]} gain" for g in range(total.shape[1]))), rows or [["none"]])


def _module(module: int, arrays: dict[str, np.ndarray], bad: np.ndarray, cells: np.ndarray) -> Iterable[str]:
    yield f"<h2>Module {module}</h2>"
    yield image(figures.histograms(arrays), f"histograms of module {module}", DPI)
    if len(cells) > 1:
        shown = {name: arrays[name] for name in ("offset", "noise")}
        yield image(figures.trends(shown, bad, cells), f"trends over memory cells of module {module}", DPI)
    for name, values in arrays.items():
        yield image(figures.maps(values, bad, name), f"map of the {name} of module {module}", DPI)
    yield image(figures.bad_maps(bad), f"map of the bad pixels of module {module}", DPI)
