"""Whole trains for the engine on a GPU: few distinct frames and constants of one cell, repeated to full size.

Words and constants lie in memory of their own once they are on the device, so that bytes move as they would;
only the host is spared making a detector's full constants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from shotsieve.bench.cases import Case, make_case
from shotsieve.constants.container import Constants
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.run import write_run
from shotsieve.simulate.schedule import make_schedule

FRAMES = 20  # distinct ones, of which one is a hit


def train_case(folder: Path, modules: int, shots: int, cells: int, trains: int) -> Case:
    """Return trains of so many shots, in which memory cells repeat, 5 % of them hits.

    Parameters
    ----------
    folder : Path
        For the geometry.
    modules, shots, cells, trains : int
        `cells` have constants; all trains are the same words.
    """
    case = make_case("AGIPD1M", folder, modules, 1, FRAMES)
    hits, misses = (np.flatnonzero(case.hits[:, 0] == which) for which in (True, False))
    order = misses[np.arange(shots) % len(misses)]
    order[::20] = hits[0]
    wide = {
        name: {module: _for_cells(case.constants.load(name, module), cells) for module in case.modules}
        for name in case.constants.names
    }
    constants = Constants.from_arrays(case.detector, wide, cell_ids=np.arange(cells))

    def of_trains(values: np.ndarray) -> np.ndarray:
        one = values[order, 0]
        return np.broadcast_to(one, (trains, *one.shape))

    raw, lit, hit = (of_trains(values) for values in (case.raw, case.lit, case.hits))
    return dataclasses.replace(case, raw=raw, lit=lit, hits=hit, constants=constants)


def _for_cells(values: np.ndarray, cells: int) -> np.ndarray:
    return np.broadcast_to(values, (values.shape[0], cells, *values.shape[2:]))


class _Words:
    """Makes the frames of files out of those of a case; see `shotsieve.simulate.frames.FrameMaker`."""

    def __init__(self, case: Case) -> None:
        self._raw = case.raw[0].reshape(*case.raw.shape[1:4], -1)

    def make(self, shot: int, row: int, words: np.ndarray, stage: np.ndarray | None = None) -> int:
        words[:] = self._raw[shot % len(self._raw), row]
        return 0


def write_files(folder: Path, case: Case, trains: int) -> Path:
    """Write the words of a case as a raw run of EuXFEL files, every train the same; return its folder."""
    run = folder / "raw" / "r0001"
    run.mkdir(parents=True)
    p = SpiParameters(
        n_trains=trains, n_cells=case.raw.shape[1], modules=case.modules, suspect_trains=(), suspect=(),
        truth_stage=False,
    )  # fmt: skip
    write_run(run, p, make_schedule(p), _Words(case))
    return run


class Events:
    """Times on the device of what a run of the engine queues: copies in, and the work behind them.

    Work ends with the last event that the engine records on a stream before that stream's next copy, so that
    what the host does in between is part of it.

    Parameters
    ----------
    cupy : module
    device : Device
        Of the engine.
    least_bytes : int
        Smaller copies are part of the work.
    """

    def __init__(self, cupy: Any, device: Any, least_bytes: int) -> None:
        self._cupy, self._device, self._least = cupy, device, least_bytes
        self._begun: dict[int, Any] = {}
        self._ended: dict[int, Any] = {}
        self._pairs: list[tuple[str, Any, Any]] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the times of what is queued inside."""
        device = self._device
        to_device, record = device.to_device, device.record
        self._zero = self._cupy.cuda.Event()
        self._zero.record(self._cupy.cuda.Stream.null)

        def copy(target: Any, source: np.ndarray, stream: Any) -> None:
            if source.nbytes < self._least:
                return to_device(target, source, stream)
            key = device.handle(stream)
            self._close(key)
            start = self._event(stream)
            to_device(target, source, stream)
            self._begun[key] = self._event(stream)
            self._pairs.append(("copy", start, self._begun[key]))

        def recorded(stream: Any) -> Any:
            if device.handle(stream) in self._begun:
                self._ended[device.handle(stream)] = self._event(stream)
            return record(stream)

        device.to_device, device.record = copy, recorded
        try:
            yield
        finally:
            del device.to_device, device.record
            for key in list(self._begun):
                self._close(key)
            self._cupy.cuda.Device().synchronize()

    def _event(self, stream: Any) -> Any:
        event = self._cupy.cuda.Event()
        event.record(stream)
        return event

    def _close(self, key: int) -> None:
        start, stop = self._begun.pop(key, None), self._ended.pop(key, None)
        if start is not None and stop is not None:
            self._pairs.append(("work", start, stop))

    @property
    def spans(self) -> list[tuple[str, float, float]]:
        """``copy`` or ``work``, its start and its end in s."""
        elapsed = self._cupy.cuda.get_elapsed_time
        return [
            (kind, 1e-3 * elapsed(self._zero, start), 1e-3 * elapsed(self._zero, stop))
            for kind, start, stop in self._pairs
        ]


def overlap(spans: list[tuple[str, float, float]]) -> dict[str, float]:
    """Return what spans say of copies and work at the same time.

    Parameters
    ----------
    spans : list of (str, float, float)

    Returns
    -------
    dict
        ``seconds`` from the first start to the last end, ``copy_share`` of them in which a copy runs, and
        ``work_beside_copies``: the share of the work that runs while a copy does.

    Examples
    --------
    >>> overlap([("copy", 0.0, 2.0), ("work", 2.0, 3.0), ("copy", 2.0, 4.0), ("work", 4.0, 5.0)])
    {'seconds': 5.0, 'copy_share': 0.8, 'work_beside_copies': 0.5}
    """
    edges = sorted({edge for _, *ends in spans for edge in ends})
    both = work = copies = 0.0
    for low, high in pairwise(edges):
        inside = {kind for kind, start, stop in spans if start <= low and stop >= high}
        copies += (high - low) * ("copy" in inside)
        work += (high - low) * ("work" in inside)
        both += (high - low) * ({"copy", "work"} <= inside)
    seconds = edges[-1] - edges[0]
    return {
        "seconds": seconds,
        "copy_share": copies / seconds,
        "work_beside_copies": both / work if work else 0.0,
    }
