"""The command ``shotsieve pulses``: says what the machine data of a run tell, before anything is reduced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    from .sources import Source
    from .sources.annotate import AnnotateParams

MOST_PATTERNS = 12


@click.command(name="pulses")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("-r", "--recipe", type=click.Path(exists=True, path_type=Path), help="Its [annotate] is used.")
@click.option("--source", help="Name of the detector, where the run has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to standard output.")
def pulses_command(run: Path, recipe: Path | None, source: str | None, as_json: bool) -> None:
    """Say which memory cells of RUN saw an X-ray pulse, in which trains, with what energy and laser.

    No frame is read.
    """
    from .recipe import Recipe
    from .sources.run import open_run

    loaded = Recipe() if recipe is None else Recipe.load(recipe)
    asked = loaded.detector
    opened = open_run(run, detector=asked.name, source=source or asked.source, data=asked.data)
    found = describe(opened, loaded.annotate)
    click.echo(json.dumps(found, indent=2) if as_json else _text(found))


def describe(source: Source, params: AnnotateParams) -> dict[str, Any]:
    """Sum up what is known of the pulses of a run.

    Parameters
    ----------
    source : Source
    params : AnnotateParams

    Returns
    -------
    dict
        ``shots``, of these ``lit``, ``dark``, ``unknown`` and ``pumped``; ``pulse_energy`` (mean and standard
        deviation over lit shots, uJ) or None; ``patterns``, each with its ``trains``, the text of these, and
        lit ``cells``; ``notes``.

    Examples
    --------
    >>> describe(open_run("raw/r0001"), AnnotateParams())["patterns"]    # doctest: +SKIP
    [{'trains': 12, 'which': '10000-10011 (12 trains)', 'cells': '1:64:2', 'lit': 32}]
    """
    from .sources import ShotStatus

    columns, shots = source.columns(params), source.shots
    good = shots.status == ShotStatus.OK
    xray, energy = columns["xray"][good], columns["pulse_energy"][good]
    lit = xray == 1
    known = energy[lit & ~np.isnan(energy)]
    pumped = columns.get("laser", np.full(len(good), np.nan))[good] > 0
    return {
        "detector": source.name,
        "shots": int(good.sum()),
        "lit": int(lit.sum()),
        "dark": int((xray == 0).sum()),
        "unknown": int(np.isnan(xray).sum()),
        "pumped": int((pumped & lit).sum()) if "laser" in columns else None,
        "pulse_energy": [float(known.mean()), float(known.std())] if len(known) else None,
        "patterns": _patterns(shots.train_id[good], shots.cell_id[good], xray),
        "notes": list(source.notes),
    }


def _patterns(train_id: np.ndarray, cell_id: np.ndarray, xray: np.ndarray) -> list[dict[str, Any]]:
    """List the different patterns of lit cells, in the order of their first train."""
    from .measure.lit_cells import cells_text
    from .sources.exdf import train_text

    starts = np.flatnonzero(np.concatenate([[True], train_id[1:] != train_id[:-1]]))[: len(train_id)]
    trains: dict[tuple[bytes, bytes], list[int]] = {}
    for start, stop in zip(starts, [*starts[1:], len(train_id)], strict=True):
        trains.setdefault((cell_id[start:stop].tobytes(), xray[start:stop].tobytes()), []).append(int(start))
    out = []
    for (cells, values), rows in trains.items():
        lit = np.frombuffer(cells, cell_id.dtype)[np.frombuffer(values, xray.dtype) == 1]
        which = train_text(train_id[rows])
        out.append({"trains": len(rows), "which": which, "cells": cells_text(np.sort(lit)), "lit": len(lit)})
    return out


def _text(found: dict[str, Any]) -> str:
    lines = [f"{found['detector']}: {found['shots']:,} shots", ""]
    for name in ("lit", "dark", "unknown", "pumped"):
        if found[name] is not None:
            share = f"{100 * found[name] / found['shots']:5.1f} %" if found["shots"] else ""
            lines.append(f"  {name:<14}{found[name]:>10,}  {share}")
    if found["pulse_energy"] is not None:
        mean, spread = found["pulse_energy"]
        lines.append(f"  {'pulse energy':<14}{mean:>10,.1f}  uJ, standard deviation {spread:.1f}")
    lines += ["", f"  {'trains':>8}  {'lit cells':>9}  which cells, in which trains"]
    for one in found["patterns"][:MOST_PATTERNS]:
        lines.append(f"  {one['trains']:>8}  {one['lit']:>9}  {one['cells'] or 'none'}, in {one['which']}")
    if len(found["patterns"]) > MOST_PATTERNS:
        lines.append(f"  ... and {len(found['patterns']) - MOST_PATTERNS} more patterns (--json has all)")
    return "\n".join([*lines, "", *(f"  note  {note}" for note in found["notes"])]).rstrip()
