"""The kept shots of a reduced run, as pictures and numbers for a page."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from ..errors import BadInput
from ..geometry.assemble import assemble
from ..report.reduced import Reduced
from ..units import kev_to_nm

RINGS_NM = (2.0, 1.0, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15)
"""Spacings of lattice planes at which rings are drawn."""


class KeptShots:
    """Pictures of the kept shots, one at a time.

    Parameters
    ----------
    out : path
        Output of `shotsieve.reduce`.
    geometry : path or None
        CrystFEL geometry file; None takes the recipe's. Without one the modules stand side by side.

    Raises
    ------
    BadInput
        If `out` is no output of shotsieve, or no calibrated frames were written. A run of which no shot was
        kept has none either, and a page that says so.
    """

    def __init__(self, out: str | os.PathLike, geometry: str | os.PathLike | None = None) -> None:
        self._run = Reduced.open(out, geometry=geometry)
        self._frames = self._run.frames
        if self._frames is None:
            if self._run.kept.any() or self._run.recipe.get("write", {}).get("content", "raw") == "raw":
                raise BadInput(f"{out} holds no calibrated frames: {self._run.notes[-1]}")
            self._rows, self._index, self._extent = np.zeros(0, np.int64), np.zeros((1, 1), np.int64), None
            return
        self._rows = self._frames.rows
        self._index, self._extent = self._layout()

    def __len__(self) -> int:
        return len(self._rows)

    def _layout(self) -> tuple[np.ndarray, tuple[float, ...] | None]:
        """Return which pixel of the frame each point of the picture shows, -1 for none; and its ends in m."""
        modules, (ss, fs) = len(self._run.table.modules), self._frames.found.detector.shape
        number = np.arange(modules * ss * fs, dtype=np.float64).reshape(modules, ss, fs)
        pixels = self._run.pixels
        if pixels is not None and pixels.shape == (modules * ss, fs) and number.size < 1 << 24:
            picture, extent = assemble(number.astype("f4"), pixels)  # whole numbers below 2^24: exact
            # As seen along the beam: x grows to the left, y upwards; a page counts to the right and down.
            picture = picture[::-1, ::-1]
            return np.where(np.isnan(picture), -1, picture).astype(np.int64), extent
        if ss == 1:  # strips: each module is a band that can be seen
            number = np.repeat(number, max(1, fs // (8 * modules)), axis=1)
        return np.concatenate(list(number), axis=1 if ss >= fs else 0).astype(np.int64), None

    def about(self) -> dict[str, Any]:
        """Return what holds for all shots: title, number, shape of the pictures, rings in points of them."""
        rows, columns = self._index.shape
        return {
            "title": f"{self._run.accounts['source']}: {self._run.out.name}",
            "shots": len(self),
            "rows": rows,
            "columns": columns,
            "unit": self._run.settings.get("unit", ""),
            "rings": self._rings(),
            "notes": self._run.notes,
        }

    def _rings(self) -> dict[str, Any]:
        energy = self._run.settings.get("mode.photon_energy_kev")
        pixels = self._run.pixels
        if self._extent is None or not energy:
            return {"centre": [0, 0], "radii": []}
        left, right, _, high = self._extent
        step = (right - left) / self._index.shape[1]
        radii = []
        for spacing in RINGS_NM:
            sine = kev_to_nm(energy) / (2 * spacing)
            if sine < math.sin(math.pi / 4):  # beyond, the detector would have to look back
                radius = pixels.distance_m * math.tan(2 * math.asin(sine)) / step
                radii.append([f"{10 * spacing:g} Å", radius])
        return {"centre": [right / step, high / step], "radii": radii}

    def picture(self, shot: int) -> bytes:
        """Return float32 little-endian points of a picture, row by row; NaN where there is no value."""
        frame = np.append(self._frames.read(shot).ravel(), np.float32(np.nan))
        return frame[self._index].astype("<f4").tobytes()

    def values(self, shot: int) -> dict[str, Any]:
        """Return the row of the table of a shot, and where its peaks are in the picture."""
        table, row = self._run.table, int(self._rows[shot])
        shown: dict[str, Any] = {
            "train": int(table.train_id[row]),
            "pulse": int(table.pulse_id[row]),
            "cell": int(table.cell_id[row]),
            "kept": "by chance" if self._run.by_chance[row] else "by the rule",
        }
        for name in table.measures:
            shown[name] = _number(*(end[row] for end in table.bounds(name)))
        shown |= {name: _number(values[row], values[row]) for name, values in table.columns.items()}
        return {"values": shown, "peaks": self._peaks(row)}

    def _peaks(self, row: int) -> list[list[float]]:
        if self._run.peaks is None:
            return []
        found = self._run.peaks.records(row)
        ss, fs = (np.rint(found[name]).astype(np.int64) for name in ("ss", "fs"))
        pixel = ss * self._frames.found.detector.shape[1] + fs
        order = np.argsort(self._index, axis=None, kind="stable")
        at = order[np.searchsorted(self._index.ravel()[order], pixel)]
        there = self._index.ravel()[at] == pixel
        rows, columns = np.unravel_index(at[there], self._index.shape)
        return [[float(x) + 0.5, float(y) + 0.5] for x, y in zip(columns, rows, strict=True)]


def _number(low: float, high: float) -> float | str | None:
    """A value as JSON has it: no NaN and no infinity."""
    if low == high and math.isfinite(low):
        return float(low)
    ends = ["?" if not math.isfinite(end) else f"{end:g}" for end in (low, high)]
    return None if ends == ["?", "?"] else " to ".join(ends)
