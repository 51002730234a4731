"""Which dark run is which gain stage: by control values or the order given, and checked in the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..errors import BadInput
from ..robust import middle_and_width
from .runs import STAGES, DarkRun
from .same_gain import check_same_gain, needs_offsets, told_stage

_FIXED = ("fixed_high", "fixed_medium", "fixed_low")
LOOK_SHOTS = 4
"""Shots of a run that are looked at before all of them are read."""


@dataclass(frozen=True)
class Seen:
    """What the first shots of a dark run say of its gain stage.

    Attributes
    ----------
    level, spread : float
        Of the digital level over pixels, as `middle_and_width` has them; NaN without one.
    codes : dict of int to float
        Gain code -> share of the samples.
    """

    level: float = float("nan")
    spread: float = float("nan")
    codes: dict[int, float] | None = None

    def text(self) -> str:
        """Say it in words."""
        if self.codes is None:
            return f"digital level {self.level:.0f} +- {self.spread:.0f}"
        shares = sorted(self.codes.items(), key=lambda item: (-item[1], item[0]))
        return "gain code " + ", ".join(f"{code} in {share:.1%}" for code, share in shares[:3])


def assign_stages(
    runs: Sequence[DarkRun], stages: Sequence[str] | None = None, fixed: bool = False
) -> list[str]:
    """Say of every run which stage it is, and return notes.

    Parameters
    ----------
    runs : sequence of DarkRun
        Their `stage` is set.
    stages : sequence of str or None
        ``"high"``, ``"medium"``, ``"low"`` for each run, given; what control values say must agree. None
        takes the control values of the runs, and where they leave it open the order: high, medium, low.
    fixed : bool
        Whether fewer runs than stages will do.

    Raises
    ------
    BadInput
        If their number is not right, two are of the same stage, a run says another one than is given, or it
        cannot be known.
    """
    detector, names = runs[0].source.detector, [run.label for run in runs]
    needed = 1 if detector.encoding == "parallel" else detector.stages
    if needed == 1 and len(runs) == 1:
        runs[0].stage = 0
        return []
    if not fixed and len(runs) != needed:
        order = ", ".join(STAGES[:needed])
        raise BadInput(
            f"dark: {len(runs)} run{'s were' if len(runs) > 1 else ' was'} given ({', '.join(names)}), and "
            f"{detector.name} needs {needed}: {order} gain. For a fixed gain mode say --fixed"
        )
    if len(runs) > needed:
        raise BadInput(f"dark: {len(runs)} runs were given; {detector.name} has {needed} gain stages")
    notes: list[str] = []
    told = [told_stage(run) for run in runs]
    if stages is not None:
        found = _given(stages, names)
        _check_given(found, told, names, detector.name)
    else:
        if all(stage is not None for stage in told):
            found = [stage for stage in told if stage is not None]
            if len(set(found)) == len(found) and found != sorted(found):
                notes.append("the runs were put into order by their gain modes")
        elif fixed and len(runs) < needed:
            open_ones = [name for name, stage in zip(names, told, strict=True) if stage is None]
            raise BadInput(
                f"{open_ones[0]}: the run does not say its gain stage: give it with --stages, such "
                f"as --stages high"
            )
        else:
            found = list(range(len(runs)))
            for at, stage in enumerate(told):
                if stage is not None and stage != found[at]:
                    raise BadInput(
                        f"{names[at]} says that it is {STAGES[stage]} gain, and stands where "
                        f"{STAGES[at]} gain is "
                        "expected: give the runs in the order high, medium, low, or say --stages"
                    )
    for stage in set(found):
        same = [name for name, other in zip(names, found, strict=True) if other == stage]
        if len(same) > 1:
            raise BadInput(f"dark runs of the same gain: {' and '.join(same)} are both {STAGES[stage]} gain")
    for run, stage in zip(runs, found, strict=True):
        run.stage = stage
    return notes


def of_parallel_gain(run: DarkRun) -> list[DarkRun]:
    """Return a dark run in parallel gain as one run of each stage: its trains hold frames of all of them."""
    return [
        dataclasses.replace(run, stage=stage, samples=np.zeros(3, np.int64))
        for stage in range(run.source.detector.stages)
    ]


def _given(stages: Sequence[str], names: Sequence[str]) -> list[int]:
    if len(stages) != len(names):
        raise BadInput(f"--stages names {len(stages)} stages for {len(names)} runs")
    if unknown := [name for name in stages if name not in STAGES]:
        raise BadInput(f"--stages: {unknown[0]!r} is none of {', '.join(STAGES)}")
    return [STAGES.index(name) for name in stages]


def _check_given(
    found: Sequence[int], told: Sequence[int | None], names: Sequence[str], detector: str
) -> None:
    """Refuse stages that are given and are not those that the runs say."""
    for name, stage, said in zip(names, found, told, strict=True):
        if said is not None and said != stage:
            raise BadInput(
                f"--stages: {name} is given as {STAGES[stage]} gain, and its gain mode says {STAGES[said]} "
                "gain: leave --stages out, or name the stages in the order of the runs. If the file of "
                f"{detector} is wrong about the mode, give a corrected copy of it with --detector"
            )


def check_fixed(runs: Sequence[DarkRun]) -> None:
    """Refuse runs that say that they were not taken in a fixed gain mode.

    Parameters
    ----------
    runs : sequence of DarkRun

    Raises
    ------
    BadInput
        The text has what the run says.
    """
    for run in runs:
        detector, mode = run.source.detector, run.source.mode.gain_mode
        word = getattr(run.source, "dark_mode", None)
        switching = mode == "adaptive"
        forced = word is not None and detector.dark_stage(word) is not None
        if mode in _FIXED or not (switching or forced):
            continue
        why = "in which pixels switch" if switching else "in which they are forced and not fixed"
        names = [name for name, fixed in detector.gain_modes.items() if fixed == _FIXED[run.stage]]
        hint = f" (such as {names[0]})" if names else ""
        told = mode if word in (None, mode) else f"{word} ({mode})" if switching else word
        raise BadInput(
            f"--fixed: {run.label} says that its gain mode is {told}, {why}: leave --fixed out, or give "
            f"a run that was taken in the mode {_FIXED[run.stage]}{hint}"
        )


def look(run: DarkRun) -> Seen:
    """Read the first shots that are used of a run, and say what they show.

    Parameters
    ----------
    run : DarkRun

    Returns
    -------
    Seen
    """
    source, detector = run.source, run.source.detector
    wanted = np.zeros(len(source.shots), bool)
    wanted[np.flatnonzero(run.good)[:LOOK_SHOTS]] = True
    words = run.words
    if not words.has_levels and not words.has_codes:
        return Seen()
    sensors = detector.sensor_pixels().reshape(detector.frame_shape)
    samples, counts = [], np.zeros(words.code_mask + 1, np.int64)
    for module in run.modules:
        part = source.of_modules([module]).selected(wanted)
        raw = np.zeros((len(part.readable), 1, detector.plane_count, *detector.frame_shape), np.uint16)
        for start, stop in part.cuts(raw.nbytes or 1):
            part.read(start, stop, raw[start:stop])
        if words.has_levels:
            samples.append(raw[:, 0, words.level_plane][:, sensors].ravel())
        else:
            codes = (raw[:, 0, words.code_plane][:, sensors] >> words.code_shift) & words.code_mask
            counts += np.bincount(codes.ravel(), minlength=len(counts))
    if words.has_levels:
        level = np.concatenate(samples).astype(np.float32)
        return Seen(*middle_and_width(level))
    codes = {int(code): float(counts[code] / counts.sum()) for code in np.flatnonzero(counts)}
    return Seen(codes=codes)


def check_stages(runs: Sequence[DarkRun], fixed: bool = False) -> list[Seen]:
    """Compare what the runs are taken for with what their data say.

    Where samples say their stage, most of them must say the expected one. Where stages are told by a digital
    level, it must rise from high to medium to low gain by more than it scatters. Where neither says it, as in
    fixed gain modes of AGIPD and in parallel gain, no two may have the same offsets (`check_same_gain`).

    Parameters
    ----------
    runs : sequence of DarkRun
    fixed : bool
        In fixed gain modes the digital level says nothing.

    Returns
    -------
    list of Seen
        Of the runs.

    Raises
    ------
    BadInput
        The text says what was seen of every run.
    """
    seen = [look(run) for run in runs]
    told = "; ".join(f"{run.name}: {one.text()}" for run, one in zip(runs, seen, strict=True))
    for run, one in zip(runs, seen, strict=True):
        if one.codes is None:
            continue
        code = run.words.code
        if one.codes.get(code, 0.0) < 0.5:
            raise BadInput(
                f"{run.name} should have the gain code {code} nearly everywhere. The runs show: "
                f"{told}. Are they "
                "in the wrong order, or of the same gain?"
            )
    for run in () if fixed else runs:
        mode = run.source.mode.gain_mode
        if run.stage > 0 and mode in _FIXED:
            raise BadInput(
                f"{run.label} was taken in the gain mode {mode}, and not forced to {STAGES[run.stage]} gain: "
                f"for constants of fixed gain modes say --fixed"
            )
    if needs_offsets(runs, fixed):
        check_same_gain(runs)
    if fixed or seen[0].codes is not None or np.isnan(seen[0].level):
        return seen
    ordered = sorted(zip(runs, seen, strict=True), key=lambda item: item[0].stage)
    for (_, lower), (_, upper) in pairwise(ordered):
        if upper.level - lower.level <= max(lower.spread, upper.spread):
            raise BadInput(
                "The digital level must rise from high to medium to low gain by more than it "
                "scatters. The runs show: "
                f"{told}. Are they in the wrong order, or of the same gain?"
            )
    return seen
