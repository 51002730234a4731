"""Dark runs of the same gain stage, where neither gain codes nor digital levels tell the stages apart.

Offsets of two stages may well be alike on average, as those of LPD. But each pixel has an offset of its own
in each stage, and two runs of one stage share them all: pixel by pixel they differ by noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..errors import BadInput
from ..robust import middle_and_width
from .runs import STAGES, DarkRun

LOOK_FRAMES = 8
"""Frames of one memory cell that are looked at of each run."""


@dataclass(frozen=True)
class Dark:
    """What the first frames of one memory cell of a module say.

    Attributes
    ----------
    mean : ndarray of float64, shape (pixels,)
        ADU, of the pixels of sensors.
    variance : float
        Of the noise, ADU squared: the median over pixels; 0 of a single frame.
    """

    mean: np.ndarray
    variance: float


def needs_offsets(runs: Sequence[DarkRun], fixed: bool) -> bool:
    """Return whether only offsets can tell the stages apart: no gain codes, and no levels that say it.

    Parameters
    ----------
    runs : sequence of DarkRun
    fixed : bool
        In fixed gain modes the digital level says nothing.
    """
    words = runs[0].words
    return runs[0].source.detector.stages > 1 and not words.has_codes and (fixed or not words.has_levels)


def check_same_gain(runs: Sequence[DarkRun]) -> None:
    """Refuse runs, or planes of a run in parallel gain, that are of the same gain stage.

    Two are of the same stage where their median offsets agree within the spread over pixels, and where, pixel
    by pixel, they differ by no more than two frames of one stage do. What is merely close is not: there the
    offsets of pixels scatter from stage to stage. Of single frames, whose noise is not known, only copies are
    seen.

    Parameters
    ----------
    runs : sequence of DarkRun
        With their stages; of a detector whose words do not say it.

    Raises
    ------
    BadInput
        The text has the runs, their medians, and by how much they differ.
    """
    cell_ids = [run.cell_ids for run in runs]
    for (i, one), (j, other) in combinations(enumerate(runs), 2):
        cells = np.intersect1d(cell_ids[i], cell_ids[j])
        modules = [module for module in one.modules if module in other.modules]
        if not len(cells) or not modules:
            continue
        pairs = [(_first(one, module, cells[0]), _first(other, module, cells[0])) for module in modules]
        pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
        if not pairs:
            continue
        (middle, spread), (level, scatter) = (
            middle_and_width(np.concatenate([pair[side].mean for pair in pairs])) for side in (0, 1)
        )
        _, apart = middle_and_width(np.concatenate([a.mean - b.mean for a, b in pairs]))
        noise = float(np.sqrt(np.median([a.variance + b.variance for a, b in pairs])))
        if abs(middle - level) <= max(spread, scatter) and apart <= noise:
            raise BadInput(
                f"{one.name} and {other.name} are of the same gain: their median offsets are {middle:.1f} +- "
                f"{spread:.1f} and {level:.1f} +- {scatter:.1f} ADU, and pixel by pixel they differ by "
                f"{apart:.2f} ADU, where two frames of one gain stage differ by {noise:.2f} ADU. "
                f"{_remedy(one)}"
            )


def _remedy(run: DarkRun) -> str:
    if run.source.detector.encoding == "parallel":
        return (
            "The frames of a train are not of three gain stages: give a run that was taken in parallel gain, "
            "or say --no-parallel-gain (from Python: parallel_gain=False in DarkOptions)"
        )
    return "Give a run of each gain stage"


def _first(run: DarkRun, module: int, cell: int) -> Dark | None:
    """Return what the first frames of a cell say of a module; None where it recorded none of them."""
    source, words, detector = run.source, run.words, run.source.detector
    shots = source.shots
    there = run.good & (shots.cell_id == cell) & shots.present[:, source.modules.index(module)]
    wanted = np.zeros(len(shots), bool)
    wanted[np.flatnonzero(there)[:LOOK_FRAMES]] = True
    if not wanted.any():
        return None
    part = source.of_modules([module]).selected(wanted)
    raw = np.zeros((len(part.readable), 1, detector.plane_count, detector.pixels), np.uint16)
    shape = (1, detector.plane_count, *detector.frame_shape)
    for start, stop in part.cuts(raw.nbytes):
        part.read(start, stop, raw[start:stop].reshape(stop - start, *shape))
    value = raw[:, 0, words.value_plane][:, detector.sensor_pixels()] & np.uint16(words.value_mask)
    return Dark(value.mean(axis=0, dtype=np.float64), _variance(value))


def _variance(values: np.ndarray) -> float:
    """Return the variance of the noise, from frames (n, pixels): that of most pixels."""
    degrees = len(values) - 1
    if degrees == 0:
        return 0.0
    # The median of chi-squared lies below its mean (Wilson and Hilferty): by half where there are two frames.
    return float(np.median(values.var(axis=0, ddof=1)) / (1 - 2 / (9 * degrees)) ** 3)


def order_is_told(runs: Sequence[DarkRun]) -> bool:
    """Return whether each run says its gain stage by its gain mode."""
    return all(told_stage(run) is not None for run in runs)


def told_stage(run: DarkRun) -> int | None:
    """Return the gain stage that a run's gain mode names; None where it leaves it open."""
    stage = getattr(run.source, "dark_stage", None)
    if stage is not None:
        return int(stage)
    mode = run.source.mode.gain_mode or ""
    name = mode.removeprefix("fixed_")
    return STAGES.index(name) if name != mode and name in STAGES else None


def offsets_note(runs: Sequence[DarkRun], offsets: Sequence[np.ndarray], told_by: str) -> str:
    """Return a note of the offsets of each stage, for where nothing in the data tells their order.

    Parameters
    ----------
    runs : sequence of DarkRun
    offsets : sequence of ndarray of float, shape (stages,)
        Median of each module, ADU; NaN where it has none.
    told_by : str
        What says the order instead.
    """
    of_stage, parts = np.array(offsets, np.float64), []
    for run in runs:
        known = of_stage[:, run.stage][np.isfinite(of_stage[:, run.stage])]
        parts.append(f"{np.median(known):.0f} ADU in {run.name}" if len(known) else f"none in {run.name}")
    return f"which gain stage is which is told by {told_by} alone; median offsets: {', '.join(parts)}"
