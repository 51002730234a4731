"""What a reduction of the whole run will take: bytes of its output, memory, and time."""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..engine.blocks import BlockRunner
from ..engine.clock import MAKE_KEPT, READ
from ..engine.parts import cut_parts
from ..engine.passes import SLOTS
from ..engine.pixels import most_kept
from ..engine.writers import KeptWriters, others_of
from ..errors import OutputError
from .intervals import Share, share_of

if TYPE_CHECKING:
    from ..backend import Backend
    from ..engine.job import Job
    from ..keep import Keeper
    from .judge import Outcome, Sizes
    from .sample import Sample
    from .scan import Scanner

PROBE_BYTES = 32 << 20
"""Written once to learn how fast the disk takes what is kept."""


@dataclass(frozen=True)
class Prediction:
    """What `shotsieve.reduce` with the recipe will take.

    Attributes
    ----------
    shots, kept, kept_low, kept_high : float
        Of the run, and of these those that are kept, with their interval.
    bytes_in : int
        Raw bytes that are read.
    bytes_out, bytes_low, bytes_high : float
        Of the files of frames; the interval is that of the number of kept shots. NaN unknown.
    bytes_beside : int
        Of these what is there whatever is kept: indices, measures of all shots, copies of other files.
    memory : int
        Bytes of arrays at the worst moment, beside what Python and the libraries take.
    seconds : float
        On the machine where the survey ran, while nothing else runs there.
    """

    shots: int
    kept: float
    kept_low: float
    kept_high: float
    bytes_in: int
    bytes_out: float
    bytes_low: float
    bytes_high: float
    bytes_beside: int
    memory: int
    seconds: float

    @property
    def ratio(self) -> float:
        """How much smaller the output is."""
        return self.bytes_in / self.bytes_out if self.bytes_out else float("nan")


def predict(
    job: Job,
    whole: Job,
    scanner: Scanner,
    outcome: Outcome,
    sizes: Sizes,
    keeper: Keeper,
    sample: Sample,
    backend: Backend,
    folder: Path,
    prepared_s: float,
    preparing: int,
    encoding_s: float,
    block_bytes: int,
) -> Prediction:
    """Predict the reduction by what the survey saw.

    Parameters
    ----------
    job : Job
        Of the sample, which is through.
    whole : Job
        Of the run, with the recipe's own [write].
    scanner, outcome, sizes, sample
        What was found with the recipe's setting, and in the recipe's form.
    keeper : Keeper
        Of the recipe.
    backend : Backend
    folder : Path
        Where the output of the survey goes; what is tried out here is gone afterwards.
    prepared_s : float
        That opening run and constants took.
    preparing : int
        Bytes that took.
    encoding_s : float
        That it took to encode a kept shot in the recipe's form.
    block_bytes : int
        As for `shotsieve.reduce`.
    """
    shot_s, made_s = _speeds(job, scanner, backend)
    share = kept_share(scanner, outcome, keeper, sample)
    n, chance = max(len(outcome.hit), 1), keeper.misses
    hits, others = ((outcome.kept & which).sum() / n * sample.of for which in (outcome.hit, ~outcome.hit))

    def kept_of(value: float) -> float:
        return sample.of * (value + chance * (1 - value))

    beside, beside_s, written_s = 0, 0.0, 0.0
    out = low = high = float("nan")
    if whole.recipe.write is None:
        out = low = high = 0.0
    elif not np.isnan(sizes.hit):
        began = time.perf_counter()
        beside = bytes_beside(whole, folder)
        beside_s = time.perf_counter() - began
        written_s = encoding_s + sizes.hit / disk_speed(folder)
        gone = sample.of - hits - others
        frames = hits * sizes.hit + (others + chance * gone) * sizes.miss
        out = beside + frames
        kept = hits + others + chance * gone
        mean = frames / kept if kept else sizes.hit
        low, high = (beside + kept_of(end) * mean for end in (share.low, share.high))
    mean_share = (hits + others) / sample.of
    kept = kept_of(mean_share)
    # What is kept is written beside the other steps, but encoded by the same processors where these work.
    working_s = sample.of * shot_s + kept * made_s + (0.0 if backend.name == "cuda" else kept * encoding_s)
    return Prediction(
        shots=sample.of,
        kept=kept,
        kept_low=kept_of(share.low),
        kept_high=kept_of(share.high),
        bytes_in=int(whole.source.shots.present[whole.source.readable].sum())
        * whole.source.detector.frame_bytes,
        bytes_out=out,
        bytes_low=low,
        bytes_high=high,
        bytes_beside=beside,
        memory=memory_of(whole, backend, block_bytes, kept, preparing),
        seconds=prepared_s + beside_s + max(working_s, kept * written_s),
    )


def _speeds(job: Job, scanner: Scanner, backend: Backend) -> tuple[float, float]:
    """Return the seconds that a shot takes, and those that one takes more if it is kept."""
    took, n = job.seconds.get, max(int(scanner.seen.sum()), 1)
    working = sum(took(step, 0.0) for step in ("queue", "wait for counts", "pixels", "decide"))
    # Frames are read in a thread of its own, while the blocks before are worked on. The sample may be a
    # single block, of which neither waits for the other; in a run of many the reader takes its time from the
    # workers, where these have all processors.
    reading = took(READ, 0.0)
    shared = 0.0 if backend.name == "cuda" else reading / backend.threads
    return max(reading, working + shared) / n, took(MAKE_KEPT, 0.0) / n


def kept_share(scanner: Scanner, outcome: Outcome, keeper: Keeper, sample: Sample) -> Share:
    """Return the share of shots that the rule keeps: of shots, or of what is kept as one; certain of all."""
    kept = outcome.kept
    table = scanner.table(outcome.setting.measured)
    if sample.whole:
        value = float(kept.mean()) if len(kept) else 0.0
        return Share(int(kept.sum()), len(kept), value, value)
    if keeper.whole == "shot":
        return share_of(int(kept.sum()), len(kept))
    train, unit = keeper.units(table, np.arange(len(table)))
    keys = np.stack([train.astype("u8"), unit.astype("u8")])
    _, first = np.unique(keys, axis=1, return_index=True)
    return share_of(int(kept[first].sum()), len(first))


def bytes_beside(whole: Job, folder: Path) -> int:
    """Return the bytes of an output without a kept shot, by writing it, and of what is copied into it."""
    total = sum(path.stat().st_size for path in others_of(whole))
    try:
        with tempfile.TemporaryDirectory(prefix=".survey-", dir=folder) as made:
            for part in cut_parts(whole.source, whole.recipe.write.trains_per_file):
                writers = KeptWriters(whole, Path(made), part)
                try:
                    total += sum(path.stat().st_size for path in writers.finish())
                finally:
                    writers.abort()
    except OSError as error:
        raise OutputError(f"{folder}: nothing can be written here ({error})") from error
    return total


def disk_speed(folder: Path) -> float:
    """Return how many bytes the disk takes in a second."""
    data = np.random.default_rng(0).bytes(PROBE_BYTES)
    try:
        with tempfile.TemporaryFile(prefix=".survey-", dir=folder) as file:
            began = time.perf_counter()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return PROBE_BYTES / max(time.perf_counter() - began, 1e-6)
    except OSError as error:
        raise OutputError(f"{folder}: nothing can be written here ({error})") from error


class Traced:
    """Bytes of arrays that a part of a program takes: a context manager; `peak` and `left` tell of it then.

    Examples
    --------
    >>> with Traced() as memory:
    ...     array = np.empty(1_000_000, "u1")
    >>> memory.left >= 1_000_000
    True
    """

    peak = left = 0

    def __enter__(self) -> Traced:
        self._began = not tracemalloc.is_tracing()
        if self._began:
            tracemalloc.start(1)
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *told: object) -> None:
        now, peak = tracemalloc.get_traced_memory()
        self.left, self.peak = now - self._before, peak - self._before
        if self._began:
            tracemalloc.stop()


def memory_of(whole: Job, backend: Backend, block_bytes: int, kept: float, preparing: int) -> int:
    """Return the bytes of arrays of a reduction at its worst moment.

    The buffers are made as a reduction makes them, counted, and given back: nothing is written to them.

    Parameters
    ----------
    whole : Job
        Of the run, with the recipe's own [write].
    backend : Backend
    block_bytes : int
    kept : float
        Shots that will be kept.
    preparing : int
        Bytes that it took to open run and constants: some runs never need as much again.
    """
    cuts = whole.source.cuts(block_bytes)
    largest = max((stop - start for start, stop in cuts), default=1)
    with Traced() as buffers:
        runner = BlockRunner(whole, backend, None, largest)
        slots = [runner.make_slot() for _ in range(min(SLOTS, len(cuts)))]
    del slots
    going = buffers.left + _constants(whole) + _tables(whole) + _writing(whole, runner, cuts, kept)
    return max(preparing, going)


def _constants(whole: Job) -> int:
    tables = whole.tables
    if tables is None:
        return 0
    return sum(one.nbytes for one in vars(tables).values() if isinstance(one, np.ndarray))


def _tables(whole: Job) -> int:
    table = whole.table
    arrays = [*table.measures.values(), *table.columns.values(), table.module_status, table.train_id]
    return sum(array.nbytes for array in arrays) + 13 * len(table)


def _writing(whole: Job, runner: BlockRunner, cuts: Sequence[tuple[int, int]], kept: float) -> int:
    """Bytes of kept frames on their way to the files."""
    if whole.content is None or kept < 0.5:
        return 0
    detector = whole.source.detector
    pixels = runner.modules * detector.pixels
    most = most_kept(whole, runner.block_shots)
    of_block = max(1, round(kept / max(len(whole.source.readable), 1) * runner.block_shots))
    at_once = min(most, of_block)
    # While some shots are written the next ones are made, if there are any.
    sets = 2 if len(cuts) > 1 or of_block > most else 1
    if whole.copies_frames:
        return sets * at_once * runner.modules * detector.plane_count * detector.pixels * 2
    # Values, stages and masks in buffers that stay, then gains, and what is made of the values.
    made = 1 + (2 if whole.form.photons is not None else 0) + (4 if whole.recipe.write.cxi else 0)
    return sets * pixels * (most * 9 + at_once * made)
