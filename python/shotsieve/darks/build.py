"""From dark runs to a file of constants: module by module, stage by stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend as backends
from .._version import __version__
from ..backend import Backend
from ..constants.own_writer import ConstantsWriter
from ..errors import BadInput, OutputError
from .bank_noise import noise_without_mode, noises_note, wants_common_mode
from .collect import SLOTS, Gate, How, collect
from .gains import Gains
from .memory import SHARE_OF_BLOCKS, Need, given_bytes
from .pixels import ModuleConstants, finish_module, of_sensors, stage_of
from .rules import Rules, preset
from .runs import STAGES, DarkRun, check_enough, conditions_of, open_dark_runs
from .same_gain import needs_offsets, offsets_note, order_is_told
from .stages import assign_stages, check_fixed, check_stages, of_parallel_gain

MIN_FRAMES = 100
SAMPLES = ("counted", "wrong", "outside the gate")


@dataclass(frozen=True)
class DarkOptions:
    """How constants are made of dark runs.

    Attributes
    ----------
    rules : Rules or str
        For bad pixels; a name is that of a preset.
    stages : sequence of str or None
        ``"high"``, ``"medium"``, ``"low"`` of each run; None asks the runs, then takes the order.
    fixed : bool
        The runs are of fixed gain modes; fewer than the detector has stages will do.
    gate : Gate or None
        Leaves out outliers.
    min_frames : int
        Frames that every memory cell of a run must have.
    wrap256 : bool
        A stored 0 stands for 256, where the detector's calibration has that step; a word above is refused.
    parallel_gain : bool or None
        Whether trains hold frames of all stages, one after the other; None asks the run.
    gain_from : path-like, Constants or None
        Constants whose gains, and bits that come with them, are taken over.
    common_mode : bool or None
        Subtract what the pixels of a bank share in a frame before the noise is summed, in a second pass over
        the frames; the offset stays that of all words. None: of detectors that have banks.
    memory : float or None
        GB that making the constants may take: sums, blocks that are read, constants of the modules at a time.
        None is half of the machine's memory.
    modules : sequence of int or None
        Modules that constants are made of; others are not looked at. None: all.
    """

    rules: Rules | str = "default"
    stages: Sequence[str] | None = None
    fixed: bool = False
    gate: Gate | None = None
    min_frames: int = MIN_FRAMES
    wrap256: bool = True
    parallel_gain: bool | None = None
    gain_from: Any = None
    common_mode: bool | None = None
    memory: float | None = None
    modules: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.min_frames < 1 or (self.memory is not None and self.memory <= 0):
            raise BadInput(
                f"dark: min_frames = {self.min_frames}, memory = {self.memory}: expected at least 1 "
                f"frame, and "
                "more than 0 GB"
            )


@dataclass(frozen=True)
class DarkResult:
    """What was made.

    Attributes
    ----------
    path : Path
        The file of constants.
    modules : list of int
    cell_ids : ndarray of int32
    provenance : dict
        As in the file: runs, trains, rules.
    notes : list of str
    """

    path: Path
    modules: list[int]
    cell_ids: np.ndarray
    provenance: dict[str, Any]
    notes: list[str]

    def summary(self) -> str:
        """Return the result in words, one line each."""
        lines = [f"{self.path}: {len(self.modules)} modules, {len(self.cell_ids)} memory cells"]
        for run in self.provenance["dark"]["runs"]:
            dropped = "; ".join(f"{n} {reason}" for reason, n in run["dropped"].items())
            odd = [f"{run['samples'][kind]} samples {kind}" for kind in SAMPLES[1:] if run["samples"][kind]]
            parts = [f"{run['trains']} trains", *odd, *([f"dropped: {dropped}"] if dropped else [])]
            lines.append(f"  {run['stage']:<8}{run['run']}: {', '.join(parts)}")
        for stage, share in self.provenance["dark"]["bad_share"].items():
            lines.append(f"  bad in {stage} gain: {share:.3%} of pixels and cells")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)]) + "\n"


def make_dark_constants(
    runs: Sequence[Any],
    out: str | os.PathLike[str],
    options: DarkOptions | None = None,
    *,
    detector: Any = None,
    source: str | None = None,
    backend: str | Backend = "auto",
    overwrite: bool = False,
    block_bytes: int = 256 << 20,
    progress: Callable[[int, int, int], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> DarkResult:
    """Make constants of dark runs.

    Parameters
    ----------
    runs : sequence
        One for each gain stage of the detector: each a folder, or what else `open_run` takes, or a source.
    out : path-like
        File to be made; it gets its name when it is complete.
    options : DarkOptions or None
    detector, source
        As for `open_run`.
    backend : str or Backend
    overwrite : bool
        Replace a file of that name.
    block_bytes : int
        Raw words in flight in one slot; changes no bit of the result.
    progress : callable or None
        Called with (frames done, frames in all, bytes read).
    told : callable or None
        Called with what is done, in words.

    Returns
    -------
    DarkResult

    Raises
    ------
    BadInput
        If the runs do not fit together, are of the wrong or of the same gain stage, or have too few frames;
        if the sums do not fit into memory.
    UnreadableData
        If a file is damaged.
    OutputError
        If the file cannot be written; nothing stands at `out` then.

    Notes
    -----
    Promise: exact; the same runs and options give the same bytes on every backend, with any block size and
    order of files.

    Examples
    --------
    >>> make_dark_constants(["r0001", "r0002", "r0003"], "constants.h5")    # doctest: +SKIP
    """
    options, out = options or DarkOptions(), Path(out)
    rules = preset(options.rules) if isinstance(options.rules, str) else options.rules
    if out.is_dir():
        raise BadInput(f"{out} is a folder: give the name of a file")
    if out.exists() and not overwrite:
        raise BadInput(f"{out} exists; choose another name, or say --overwrite")
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: the folder {out.parent} does not exist")
    opened, notes = _prepare(runs, options, rules, detector, source)
    family = opened[0].source.detector
    gains = None if options.gain_from is None else Gains.open(options.gain_from, family)
    modules = sorted({module for run in opened for module in run.modules})
    cells = np.unique(np.concatenate([run.cell_ids for run in opened])).astype(np.int32)
    notes += [
        f"module {module} recorded nothing in {run.label}: it has no constants in {STAGES[run.stage]} gain"
        for run in opened
        for module in modules
        if module not in run.modules
    ]
    if gains is not None:
        gains.check(modules, cells)
    linear = None if gains is None else gains.linear()
    if "linearise" in family.steps and linear is None:
        notes.append("words are summed as they are: --gain-from has no table that makes them linear")
    most_bytes = given_bytes(options.memory)
    block_bytes = min(block_bytes, int(SHARE_OF_BLOCKS * most_bytes / SLOTS))
    without_mode = wants_common_mode(family, options.common_mode)
    need = Need(opened, len(modules), len(cells), options.gate, gains, block_bytes, without_mode)
    at_once = need.at_a_time(most_bytes)
    how = How(
        backends.get(backend) if isinstance(backend, str) else backend,
        options.gate,
        block_bytes,
        most_bytes,
        linear,
        _counter(opened, modules, progress, 2 if without_mode else 1),
        without_mode,
    )
    groups = [modules[i : i + at_once] for i in range(0, len(modules), at_once)]
    if told is not None:
        size = f"{need.bytes(at_once) / 1e9:.2f} GB with what is made of them"
        told(f"sums take up to {size}: {at_once} of {len(modules)} modules at a time")
    bad, sensors = np.zeros(family.stages, np.int64), family.sensor_pixels()
    told_by, medians = _told_by(opened, options), []
    with ConstantsWriter(out, family, modules, cells, conditions_of(opened, options.fixed)) as file:

        def finish(module: int, stages: list) -> np.ndarray:
            """Write the constants of a module; return how many are bad in each stage."""
            made = finish_module(stages, family, rules, len(cells), options.fixed)
            extra = {} if gains is None else gains.add_to(made, module, cells)
            _write(file, module, made, extra)
            if told_by:
                medians.append([_median(offset[..., sensors]) for offset in made.offset])
            return np.count_nonzero(made.bad_pixels[..., sensors], axis=(1, 2))

        for group in groups:
            bad += _make_group(opened, group, cells, how, finish)
        if told_by:
            notes.append(offsets_note(opened, medians, told_by))
        notes += [noises_note(run.noises) for run in opened if run.noises]
        samples = len(modules) * len(cells) * np.count_nonzero(sensors)
        shares = {STAGES[run.stage]: float(bad[run.stage] / samples) for run in opened}
        file.provenance = {"dark": _told(opened, options, rules, gains, shares, without_mode), "notes": notes}
    return DarkResult(out, modules, cells, file.provenance, notes)


def _prepare(runs, options: DarkOptions, rules: Rules, detector, source) -> tuple[list[DarkRun], list[str]]:
    """Open the runs, say which stage each is, and check all that can be known before they are read."""
    opened = open_dark_runs(runs, detector, source, options.parallel_gain, options.modules)
    rules.check_family(opened[0].source.detector)
    notes = assign_stages(opened, options.stages, options.fixed)
    if opened[0].source.detector.encoding == "parallel":
        notes.append(f"{opened[0].label} was taken in parallel gain: its trains hold frames of all stages")
        opened = of_parallel_gain(opened[0])
    opened.sort(key=lambda run: run.stage)
    family = opened[0].source.detector
    for run in opened:
        run.zero_as = 256 if options.wrap256 and "wrap256" in family.steps else 0
        if run.dropped:
            told = "; ".join(f"{count}: {reason}" for reason, count in run.dropped.items())
            notes.append(f"{run.label}: trains that are not used: {told}")
    if options.fixed:
        check_fixed(opened)
    check_enough(opened, options.min_frames)
    check_stages(opened, options.fixed)
    return opened, notes


def _told_by(runs: list[DarkRun], options: DarkOptions) -> str:
    """Return what alone says which gain stage is which; empty where the runs say it."""
    if not needs_offsets(runs, options.fixed):
        return ""
    if runs[0].source.detector.encoding == "parallel":
        return "the order of the frames in a train"
    return "" if order_is_told(runs) else "--stages" if options.stages else "the order of the runs"


def _median(values: np.ndarray) -> float:
    """Return the median of all values that are known, NaN without one."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _make_group(
    runs: list[DarkRun], group: list[int], cells: np.ndarray, how: How, finish: Callable
) -> np.ndarray:
    """Make the constants of a group of modules, none of which stays in memory; return bad ones by stage."""
    data = [_stages_of_group(run, group, cells, how) for run in runs]
    bad = np.zeros(runs[0].source.detector.stages, np.int64)
    for at, module in enumerate(group):
        stages = [None] * len(bad)
        for run, of_group in zip(runs, data, strict=True):
            stages[run.stage] = one = of_group[at]
            if one is not None:
                run.samples += one.samples()
        bad += finish(module, stages)
    return bad


def _stages_of_group(run: DarkRun, group: list[int], cells: np.ndarray, how: How) -> list:
    """Return the data of one stage of each module of a group; None where it recorded nothing."""
    there = [module for module in group if module in run.modules]
    if not there:
        return [None] * len(group)
    sensors = run.source.detector.sensor_pixels()
    stages = stage_of(collect(run, there, cells, how), len(there), len(cells))
    if how.without_mode:
        before, stages = stages, noise_without_mode(run, there, cells, how, stages)
        pairs = zip(before, stages, strict=True)
        run.noises += [(_median(a.noise[:, sensors]), _median(b.noise[:, sensors])) for a, b in pairs]
    found = {module: of_sensors(one, sensors) for module, one in zip(there, stages, strict=True)}
    return [found.get(module) for module in group]


def _counter(runs, modules, progress, passes: int) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    total, done, size = sum(int(run.good.sum()) for run in runs) * len(modules) * passes, [0], [0]

    def count(frames: int, n_bytes: int) -> None:
        done[0] += frames
        size[0] += n_bytes
        progress(done[0], total, size[0])

    return count


def _write(file: ConstantsWriter, module: int, made: ModuleConstants, extra: dict[str, np.ndarray]) -> None:
    for name, array in {**made.arrays(), **extra}.items():
        file.add(name, module, array)


def _told(runs, options, rules, gains, shares, without_mode: bool) -> dict[str, Any]:
    """Return where the constants come from, without anything of the machine they were made on."""
    return {
        "version": __version__,
        "runs": [
            {
                "run": run.label,
                "stage": STAGES[run.stage],
                "files": sorted(run.source.files),
                "trains": run.trains,
                "first_train": int(run.source.shots.train_id[run.good].min()),
                "frames": int(run.good.sum()),
                "samples": dict(zip(SAMPLES, map(int, run.samples), strict=True)),
                "dropped": run.dropped,
                "proposal": run.source.meta.proposal,
                "number": run.source.meta.run,
            }
            for run in runs
        ],
        "rules": rules.told(),
        "gate": None if options.gate is None else dict(vars(options.gate)),
        "min_frames": options.min_frames,
        "fixed": options.fixed,
        "common_mode": without_mode,
        "zero_as": runs[0].zero_as,
        "gain_from": None if gains is None else gains.told,
        "bad_share": shares,
    }
