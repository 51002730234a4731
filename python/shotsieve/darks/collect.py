"""The frames of a dark run, streamed into the sums; and the gate that keeps outliers out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..backend import Backend
from ..engine.ring import run_ring
from ..errors import BadInput
from ..linearise import Lineariser
from ..measure.darks import DarkSums, DarkWords, Lists
from ..nine_bits import refuse_nine_bits
from ..sources.base import Source
from .linear import LinearWords, looked_up
from .runs import DarkRun

SLOTS = 3


@dataclass(frozen=True)
class Gate:
    """Values of each pixel and cell that count, from its first frames.

    With q the quantiles `low` and `high` of the first `frames` samples of the expected stage, values from
    ``floor(q_low - widen * (q_high - q_low))`` to ``ceil(q_high + widen * (q_high - q_low))`` count, and at
    least two different ones. The first frames are those of the first trains that are used, so the gate
    depends on which trains come first, and on nothing else.

    Attributes
    ----------
    frames : int
    low, high : float
        Quantiles; the sorted samples number ``floor(low * (n - 1))`` and ``ceil(high * (n - 1))``.
    widen : float
        With 1 the gate reaches 4.9 sigma of normal noise, so that it takes nothing from it. With 0 it cuts
        at the quantiles themselves, as psana's: a tenth of the samples is outside, and the noise too small
        by a fifth.
    """

    frames: int = 50
    low: float = 0.05
    high: float = 0.95
    widen: float = 1.0

    def __post_init__(self) -> None:
        if self.frames < 2 or not 0 <= self.low < self.high <= 1 or self.widen < 0:
            raise BadInput(
                f"gate: {self.frames} frames, quantiles {self.low:g} and {self.high:g}, widened by "
                f"{self.widen:g}: expected at least 2 frames, 0 <= low < high <= 1, widen >= 0"
            )

    def of(self, samples: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest value that count.

        Parameters
        ----------
        samples : ndarray of uint16, shape (n, ...)
        wrong : ndarray of bool, shape (n, ...)
            Samples that are left out; where all are, every value counts.

        Returns
        -------
        low, high : ndarray of uint16, shape (...)

        Examples
        --------
        >>> samples = np.array([[10], [12], [11], [900]], "u2")
        >>> low, high = Gate(frames=4, low=0.0, high=0.5).of(samples, samples > 5000)
        >>> low.item(), high.item()
        (8, 14)
        """
        # Wrong ones go to the end.
        ordered = np.sort(np.where(wrong, np.uint16(0xFFFF), samples), axis=0)
        n = np.count_nonzero(~wrong, axis=0)
        last = np.maximum(n - 1, 0)
        at = [np.floor(self.low * last).astype(np.int64), np.ceil(self.high * last).astype(np.int64)]
        below, above = (np.take_along_axis(ordered, i[None], axis=0)[0].astype(np.float64) for i in at)
        room = self.widen * (above - below)
        low = np.clip(np.floor(below - room), 0, 0xFFFF)
        high = np.clip(np.maximum(np.ceil(above + room), low + 1), 0, 0xFFFF)
        low, high = np.where(n > 0, low, 0), np.where(n > 0, high, 0xFFFF)
        return low.astype(np.uint16), high.astype(np.uint16)


@dataclass(frozen=True)
class How:
    """How dark frames are read.

    Attributes
    ----------
    backend : Backend
    gate : Gate or None
    block_bytes : int
        Raw words that are in flight in one slot.
    most_bytes : int
        What the accumulators may take.
    linear : callable or None
        Gives the tables of a module and cells, uint16 (C, pixels, entries), by which words are made linear.
    progress : callable or None
        Called with (frames done, bytes read) of each block.
    without_mode : bool
        The common mode of banks is subtracted before the noise is summed, in a second pass.
    """

    backend: Backend
    gate: Gate | None = None
    block_bytes: int = 256 << 20
    most_bytes: int = 1 << 40
    linear: Callable[[int, np.ndarray], np.ndarray] | None = None
    progress: Callable[[int, int], None] | None = None
    without_mode: bool = False


def rows_of(cell_ids: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """Return the place of each cell among `cell_ids`, which are ascending and hold all of them."""
    return np.searchsorted(cell_ids, shots)


def collect(run: DarkRun, modules: Sequence[int], cell_ids: np.ndarray, how: How) -> DarkSums:
    """Return the sums of some modules of a dark run; row m * C + c is cell c of module m.

    Promise: exact; the same sums with every backend, block size and order of files.

    Parameters
    ----------
    run : DarkRun
    modules : sequence of int
    cell_ids : ndarray of int, shape (C,)
        Ascending; cells that the run lacks have no sample.
    how : How

    Raises
    ------
    BadInput
        If the accumulators do not fit, or a sum could overflow; if a stored 0 is taken for 256, and a word is
        above.
    UnreadableData
        If a file is damaged.
    """
    detector = run.source.detector
    source = run.source.of_modules(modules).selected(run.good)
    words = run.words
    # Asked before the first frame is read, since the gate is large too.
    rows = len(modules) * len(cell_ids)
    tables = None
    if how.linear is not None:
        tables = np.concatenate([how.linear(module, cell_ids) for module in modules])
    gate = None
    if how.gate is not None:
        gate = find_gate(source, cell_ids, words, how.gate, how.block_bytes, tables)
    sums = DarkSums(how.backend, rows, detector.pixels, words, gate, how.most_bytes)
    blocks = source.cuts(how.block_bytes)
    lineariser = Lineariser(how.backend, tables)
    slots = [_Slot(source, blocks, how.backend, lineariser) for _ in range(SLOTS if len(blocks) > 1 else 1)]
    n_cells, shots = len(cell_ids), source.shots

    def fill(slot: _Slot, block: tuple[int, int]) -> None:
        start, stop = block
        shape = (stop - start, len(modules), detector.plane_count, *detector.frame_shape)
        raw = slot.raw[: stop - start].reshape(shape)
        source.read(start, stop, raw)
        at = source.readable[start:stop]
        remedy = "Say --no-wrap256 (from Python: wrap256=False in DarkOptions)"
        where = (shots.present[at], modules, shots.train_id[at])
        refuse_nine_bits(raw, words.zero_as, run.label, remedy, *where)

    def submit(slot: _Slot, block: tuple[int, int]) -> None:
        index = source.readable[slice(*block)]
        n = len(index)
        device = how.backend.device
        device.to_device(slot.device_raw[:n], slot.raw[:n], sums.stream)
        cell = rows_of(cell_ids, shots.cell_id[index])
        row = np.arange(len(modules)) * n_cells + cell[:, None]
        row = np.where(shots.present[index], row, -1).astype(np.int32)
        raw = slot.device_raw[:n].reshape(n * len(modules), detector.plane_count, detector.pixels)
        raw = slot.linear.queue(raw, row, sums.stream)
        there = np.flatnonzero(row >= 0)
        sums.queue(raw, slot.lists, there, row.reshape(-1)[there])
        slot.event = device.record(sums.stream)

    def done(slot: _Slot, block: tuple[int, int]) -> None:
        how.backend.device.wait(slot.event)
        if how.progress is not None:
            n = block[1] - block[0]
            how.progress(n * len(modules), slot.raw[:n].nbytes)

    for _ in run_ring(slots, blocks, fill, submit, done):
        pass
    return sums


class _Slot:
    """Buffers of one block in flight."""

    def __init__(
        self, source: Source, blocks: list[tuple[int, int]], backend: Backend, lineariser: Lineariser
    ) -> None:
        detector, modules = source.detector, len(source.modules)
        most = max((stop - start for start, stop in blocks), default=1)
        shape = (most, modules, detector.plane_count, detector.pixels)
        self.raw = backend.device.empty_pinned(shape, "u2")
        self.device_raw = backend.device.twin(self.raw)
        self.lists = Lists.make(backend, most * modules)
        self.event = None
        self.linear = LinearWords(backend, lineariser, shape)


def find_gate(
    source: Source,
    cell_ids: np.ndarray,
    words: DarkWords,
    gate: Gate,
    most_bytes: int,
    tables: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gate of every module, cell and pixel: uint16 (modules * C, pixels), twice.

    Parameters
    ----------
    source : Source
        Its readable shots are those that are used.
    cell_ids : ndarray of int, shape (C,)
    words : DarkWords
    gate : Gate
    most_bytes : int
        Raw words that are held at a time: some cells after others, which changes nothing.
    tables : ndarray of uint16, shape (modules * C, pixels, entries), or None
        By which words are made linear.
    """
    detector, modules = source.detector, len(source.modules)
    shots, n_cells, pixels = source.shots, len(cell_ids), detector.pixels
    low = np.zeros((modules, n_cells, pixels), np.uint16)
    high = np.full_like(low, 0xFFFF)
    cell = rows_of(cell_ids, shots.cell_id[source.readable])
    # How many frames of the same cell come before each.
    order = np.argsort(cell, kind="stable")
    rank = np.empty(len(cell), np.int64)
    starts = np.searchsorted(cell[order], np.arange(n_cells))
    rank[order] = np.arange(len(cell)) - starts[cell[order]]
    each = gate.frames * modules * detector.plane_count * pixels * 2
    step = max(1, most_bytes // each)
    for first in range(0, n_cells, step):
        cells = range(first, min(first + step, n_cells))
        here = (rank < gate.frames) & (cell >= first) & (cell < cells.stop)
        wanted = np.zeros(len(shots), bool)
        wanted[source.readable[here]] = True
        part = source.selected(wanted)
        raw = np.zeros((len(part.readable), modules, detector.plane_count, *detector.frame_shape), np.uint16)
        for start, stop in part.cuts(most_bytes):
            part.read(start, stop, raw[start:stop])
        raw = raw.reshape(len(raw), modules, detector.plane_count, pixels)
        at, there = cell[here], shots.present[part.readable]
        for row in cells:
            for module in range(modules):
                mine = raw[(at == row) & there[:, module], module]
                if len(mine) and tables is not None:
                    mine[:, 0] = looked_up(tables[module * n_cells + row], mine[:, 0])
                if len(mine):
                    low[module, row], high[module, row] = gate.of(*_samples(mine, words))
    return low.reshape(-1, pixels), high.reshape(-1, pixels)


def _samples(raw: np.ndarray, words: DarkWords) -> tuple[np.ndarray, np.ndarray]:
    """Return values, uint16 (n, pixels), and which are of another stage or no measurement."""
    value = raw[:, words.value_plane] & np.uint16(words.value_mask)
    value = np.where(value == 0, np.uint16(words.zero_as), value)
    code = (raw[:, words.code_plane] >> np.uint16(words.code_shift)) & np.uint16(words.code_mask)
    return value, (code != words.code) | (value < words.least) | (value > words.most)
