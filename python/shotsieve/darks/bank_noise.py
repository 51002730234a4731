"""The noise of dark frames without the common mode of banks, as the facility's darks of ePix100 have it.

A second pass over the frames: what the pixels of a bank, of its rows and of its columns share in a frame, by
medians of words minus offset (`shotsieve.bank_mode`), is taken from each word before squares are summed.
Shifts are whole numbers of 1/256 ADU, and so are the sums: the same bits on every backend, with any block
size and order of files. The offset stays that of all words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..bank_mode import BankModeParams, queue_bank_mode
from ..calibrate import list_frames
from ..constants.steps import Steps
from ..detectors import Detector
from ..device import upload
from ..errors import BadInput
from ..shifts import SHIFT_SCALE
from .collect import How, find_gate, rows_of
from .rules import StageData
from .runs import DarkRun

SHARE_OF_BLOCK = 1 / 4
"""A block has its words, and shifts that are twice as large; it takes less than those of the first pass."""


def noises_note(noises: Sequence[tuple[float, float]]) -> str:
    """Return a note of the noise with and without the common mode, from the medians of each module in ADU."""
    with_mode, without = (float(np.median(values)) for values in zip(*noises, strict=True))
    return (
        "the common mode of banks was subtracted before the noise was summed: the median noise is "
        f"{without:.2f} ADU, and {with_mode:.2f} ADU with it; values have the former with [calibrate] "
        "common_mode = true"
    )


def wants_common_mode(detector: Detector, given: bool | None) -> bool:
    """Return whether the common mode is subtracted: as given, and else of detectors with banks.

    Parameters
    ----------
    detector : Detector
    given : bool or None

    Raises
    ------
    BadInput
        If it is wanted of a detector that has none.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> wants_common_mode(detectors.load("EPIX100"), None)
    True
    """
    linear = not {"linearise", "wrap256"} & set(detector.steps)
    has_banks = all(detector.bank) and detector.encoding == "plain" and linear
    if given and not has_banks:
        raise BadInput(
            f"common mode before the noise is summed is that of banks, which {detector.name} does not have: "
            "leave --common-mode out (from Python: common_mode=None in DarkOptions)"
        )
    return has_banks and given is not False


def noise_without_mode(
    run: DarkRun, modules: Sequence[int], cell_ids: np.ndarray, how: How, stages: Sequence[StageData]
) -> list[StageData]:
    """Return the data of a stage of each module with the noise that is left without the common mode.

    Promise: exact; the same bits with every backend, block size and order of files.

    Parameters
    ----------
    run : DarkRun
    modules : sequence of int
    cell_ids : ndarray of int, shape (C,)
        Ascending.
    how : How
    stages : sequence of StageData
        Of the modules, from all words. Pixels without an offset, or whose words are all the same, have no
        say in medians; the noise of the latter stays 0.

    Raises
    ------
    UnreadableData
        If a file is damaged.
    """
    detector, device = run.source.detector, how.backend.device
    source = run.source.of_modules(modules).selected(run.good)
    n_cells = len(cell_ids)
    offset, noise, count = (
        np.concatenate([getattr(one, name) for one in stages]) for name in ("offset", "noise", "count")
    )
    say = np.isfinite(offset) & (noise != 0) & detector.sensor_pixels()
    table = np.stack([offset, np.where(say, np.float32(1), np.float32(np.nan))], axis=1)
    params = BankModeParams.from_steps(Steps(common_mode=True, cm_limit=None), detector)
    there, stream = upload(device, np.ascontiguousarray(table)), device.stream()
    gate = None
    if how.gate is not None:
        gate = find_gate(source, cell_ids, run.words, how.gate, how.block_bytes)
    sums = _Sums(offset, gate)
    blocks = source.cuts(max(1, int(SHARE_OF_BLOCK * how.block_bytes)))
    most = max((stop - start for start, stop in blocks), default=1)
    words = device.empty_pinned((most, len(modules), 1, detector.pixels), "u2")
    found = device.empty_pinned((most * len(modules), detector.pixels), "i4")
    device_words, device_found = device.twin(words), device.twin(found)
    for start, stop in blocks:
        n, index = stop - start, source.readable[start:stop]
        source.read(start, stop, words[:n].reshape(n, len(modules), 1, *detector.frame_shape))
        cell = rows_of(cell_ids, source.shots.cell_id[index])
        row = (np.arange(len(modules)) * n_cells + cell[:, None]).astype(np.int32)
        lists = list_frames(source.shots.present[index], row)
        if not len(lists[0]):
            continue
        device.to_device(device_words[:n], words[:n], stream)
        raw = device_words[:n].reshape(n * len(modules), 1, detector.pixels)
        shift = device_found[: n * len(modules)]
        listed = [upload(device, one) for one in lists]
        queue_bank_mode(how.backend, raw, *listed, there, shift, params, stream)
        device.to_host(found[: n * len(modules)], shift, stream)
        device.wait(device.record(stream))
        frames = words[:n].reshape(-1, detector.pixels)
        for frame in lists[0]:
            sums.add(row.reshape(-1)[frame], frames[frame], found[frame])
        if how.progress is not None:
            how.progress(n * len(modules), words[:n].nbytes)
    left = np.where(noise == 0, np.float32(0), sums.noise(count))
    return [
        dataclasses.replace(one, noise=left[k * n_cells : (k + 1) * n_cells]) for k, one in enumerate(stages)
    ]


class _Sums:
    """Sums of what is left of words, by module and cell (R, pixels), in whole numbers of 1/256 ADU.

    Parameters
    ----------
    offset : ndarray of float32, shape (R, pixels)
    gate : (ndarray, ndarray) or None
        Lowest and highest words that count.
    """

    def __init__(self, offset: np.ndarray, gate: tuple[np.ndarray, np.ndarray] | None) -> None:
        known = np.where(np.isfinite(offset), offset, 0).astype(np.float64)
        self._offset, self._gate = np.rint(known * SHIFT_SCALE).astype(np.int64), gate
        # Of values far from the offset too the squares fit: 65,537 frames of 14 bits stay below 2**61.
        self._total, self._squares = np.zeros(offset.shape, np.int64), np.zeros(offset.shape, np.uint64)
        self._left = np.empty(offset.shape[1], np.int64)

    def add(self, row: int, words: np.ndarray, shift: np.ndarray) -> None:
        """Add a frame of words, uint16 (pixels,), less its shift, int32 (pixels,)."""
        left = self._left
        np.multiply(words, SHIFT_SCALE, out=left, dtype=np.int64)
        left -= self._offset[row]
        left -= shift
        if self._gate is not None:
            left[(words < self._gate[0][row]) | (words > self._gate[1][row])] = 0
        self._total[row] += left
        left *= left
        self._squares[row] += left.view(np.uint64)

    def noise(self, count: np.ndarray) -> np.ndarray:
        """Return the noise of so many frames in ADU, float32 (R, pixels); NaN of fewer than two."""
        noise = np.full(count.shape, np.nan, np.float32)
        for row, n in enumerate(count.astype(np.float64)):  # row by row, since all at once takes more memory
            some = n > 1
            total, squares, n = self._total[row][some], self._squares[row][some], n[some]
            spread = squares.astype(np.float64) - total.astype(np.float64) ** 2 / n
            noise[row][some] = np.sqrt(np.maximum(spread, 0) / (n - 1)) / SHIFT_SCALE
        return noise
