"""Frames of a compressed dataset: threads read chunks, unpack them, and put their frames into a block."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from enum import IntEnum

import numpy as np

from ..cpus import in_threads
from ..errors import UnreadableData
from ..unpack import inflate, inflate_functions, native
from .frame_map import FrameMap

# Unpacked bytes of the chunks that a thread takes at once: small enough that they spread over threads and
# that what they are unpacked from stays in its cache, large enough that neighbours are read together.
BATCH_BYTES = 2 << 20


_OF_THREAD = threading.local()


def inflating_s() -> float:
    """Return the time that this thread has spent in `read_chunks` on undoing compression, in s.

    Of what a call took, the share that its threads spent on that and not on reading; only differences mean
    something.
    """
    return getattr(_OF_THREAD, "seconds", 0.0)


def count_inflating(seconds: float) -> None:
    """Add to what `inflating_s` returns in this thread."""
    _OF_THREAD.seconds = inflating_s() + seconds


class Loss(IntEnum):
    """Why a frame could not be read."""

    NONE = 0
    NEVER_WRITTEN = 1
    UNREADABLE = 2
    DAMAGED = 3
    UNSTEADY = 4


def read_chunks(
    where: FrameMap,
    frames: np.ndarray,
    out: np.ndarray,
    at: np.ndarray,
    threads: int,
    lost: np.ndarray | None = None,
) -> int:
    """Read frames of a dataset with filters; see `extents.read_frames`, whose parameters these are.

    Notes
    -----
    Promise: exact. A chunk is unpacked once, whatever number of its frames are wanted. Beside `out` every
    thread uses the stored bytes of a batch of chunks and one unpacked chunk.
    """
    began = time.perf_counter()
    work = _Work(where, frames, out, at, lost)
    try:
        work.compiled(threads)
        work.cut()
    except BaseException:
        os.close(work.file)
        raise
    try:
        in_threads(work.run, min(threads, len(work.batches)), work.todo)
    finally:
        os.close(work.file)
        share = sum(work.unpacking_s) / max(sum(work.reading_s) + sum(work.unpacking_s), 1e-9)
        count_inflating(share * (time.perf_counter() - began))
    if work.errors:
        raise work.errors[min(work.errors)]
    good = len(frames) if lost is None else int((lost == 0).sum())
    return good * where.read_bytes


class _Work:
    """The chunks of one call, in the order of the file, and the batches of them that are still to be done."""

    def __init__(self, where: FrameMap, frames: np.ndarray, out: np.ndarray, at: np.ndarray, lost) -> None:
        self.where, self.frames, self.lost = where, frames, lost
        chunk, inner = where.chunks_of(frames)
        offset = where.offset.reshape(-1)[chunk]
        self.order = np.argsort(offset, kind="stable")
        first = np.flatnonzero(np.diff(offset[self.order], prepend=-1))
        self.bounds = np.append(first, len(frames))
        which = chunk[self.order[first]]
        self.offset = where.offset.reshape(-1)[which]
        self.stored, self.skipped = where.stored.reshape(-1)[which], where.skipped.reshape(-1)[which]
        # Asked for every chunk: plain numbers cost less than arrays and properties do.
        self.itemsize, self.size = where.dtype.itemsize, where.frame_bytes
        self.elements = where.read_bytes // self.itemsize
        self.skip = where.edge_bytes[0] // self.itemsize
        self.inner, self.at = inner[self.order], at[self.order]
        self.flat = out.reshape(-1)
        self.same = where.dtype == out.dtype
        self.straight = self.same and where.unpacker.nbytes == where.read_bytes
        self.bytes = self.flat.view(np.uint8)
        self.left = np.arange(len(which))  # chunks that are still to be done
        self.batches: list[np.ndarray] = []
        self.todo: deque[tuple[int, np.ndarray]] = deque()
        self.errors: dict[int, BaseException] = {}
        self.reading_s: list[float] = []  # of batches, from all threads
        self.unpacking_s: list[float] = []
        try:
            self.file = os.open(where.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise UnreadableData(f"{where.path} cannot be opened: {e.strerror}") from e
        self.unshuffle = native().unshuffle
        self.file_bytes = os.fstat(self.file).st_size

    def compiled(self, threads: int) -> None:
        """Have compiled code read and inflate what it can; all that is odd or damaged is left."""
        unpacker = self.where.unpacker
        functions = inflate_functions() if unpacker.inflate is inflate else None
        # A damaged index may tell any length: nothing is made room for that the file does not have.
        sound = (self.skipped == 0) & (self.stored <= self.file_bytes - self.offset)
        if functions is None or not (self.same and sound.any()):
            return
        bounds, inner, at = self.bounds, self.inner, self.at
        if not sound.all():
            number = np.diff(bounds)
            bounds, wanted = np.append(0, np.cumsum(number[sound])), np.repeat(sound, number)
            inner, at = inner[wanted], at[wanted]
        done, reading_s, unpacking_s = native().inflate_frames(
            self.file,
            functions,
            self.offset[sound],
            self.stored[sound],
            bounds,
            inner * (self.size // self.itemsize) + self.skip,
            at * self.itemsize,
            self.elements,
            self.itemsize,
            unpacker.nbytes,
            unpacker.shuffled,
            self.bytes,
            threads,
        )
        self.reading_s.append(reading_s)
        self.unpacking_s.append(unpacking_s)
        sound[sound] = done
        self.left = np.flatnonzero(~sound)

    def cut(self) -> None:
        """Cut the chunks that are left into batches."""
        if not len(self.left):
            return
        per = max(1, BATCH_BYTES // self.where.unpacker.nbytes)
        self.batches = [self.left[i : i + per] for i in range(0, len(self.left), per)]
        self.todo.extend(enumerate(self.batches))
        # Asked for every frame: plain numbers cost less than arrays do.
        self.bounds = self.bounds.tolist()
        self.members = list(zip(self.inner.tolist(), self.at.tolist(), strict=True))

    def run(self) -> None:
        """Take batches until there is none; what a thread of this class does."""
        if not self.todo:
            return
        packed = np.empty(0, np.uint8)
        room = np.empty(self.where.unpacker.nbytes, np.uint8)
        while self.todo:
            try:
                number, batch = self.todo.popleft()
            except IndexError:
                return  # another thread was faster
            try:
                packed = self._batch(batch, packed, room)
            except BaseException as e:
                self.errors[number] = e
                self.todo.clear()

    def _batch(self, chunks: np.ndarray, packed: np.ndarray, room: np.ndarray) -> np.ndarray:
        """Read some chunks and unpack them; return the buffer, which may be a larger one."""
        offset, stored = self.offset[chunks], self.stored[chunks]
        ends, began = np.cumsum(stored), time.perf_counter()
        # A damaged index may tell any length: nothing is made room for that the file does not have.
        try:
            if int((offset + stored).max()) > self.file_bytes:
                raise OSError("its end is behind the end of the file, which is truncated or damaged")
            if len(packed) < ends[-1]:
                packed = np.empty(int(ends[-1]), np.uint8)
            native().read_extents(self.file, offset, ends - stored, stored, packed, 1, str(self.where.path))
        except OSError as e:
            if len(chunks) == 1:
                self._lose(int(chunks[0]), Loss.UNREADABLE, f"cannot be read: {e.strerror or e}", e)
                return packed
            for i in range(len(chunks)):
                packed = self._batch(chunks[i : i + 1], packed, room)
            return packed
        read = time.perf_counter()
        for one, end, size in zip(chunks.tolist(), ends.tolist(), stored.tolist(), strict=True):
            self._unpack(one, packed[end - size : end], room)
        self.reading_s.append(read - began)
        self.unpacking_s.append(time.perf_counter() - read)
        return packed

    def _unpack(self, one: int, stored: np.ndarray, room: np.ndarray) -> None:
        """Unpack a chunk and put those of its frames that are wanted where they belong."""
        members, itemsize, size = (
            self.members[self.bounds[one] : self.bounds[one + 1]],
            self.itemsize,
            self.size,
        )
        if self.straight:
            begin = members[0][1] * itemsize
            room = self.bytes[begin : begin + size]
        try:
            chunk, shuffled = self.where.unpacker.unpack(stored, int(self.skipped[one]), room)
        except ValueError as e:
            self._lose(one, Loss.DAMAGED, f"is damaged: {e}", e)
            return
        if self.straight and chunk is room:
            members = members[1:]
        count, wanted = self.elements, self.elements * itemsize
        for inner, begin in members:
            first, target, to = inner * (size // itemsize) + self.skip, self.bytes, begin * itemsize
            if not self.same:
                target, to = np.empty(wanted, np.uint8), 0
            if shuffled:
                self.unshuffle(chunk, itemsize, first, count, target, to)
            else:
                target[to : to + wanted] = chunk[first * itemsize : first * itemsize + wanted]
            if not self.same:
                self.flat[begin : begin + count] = target.view(self.where.dtype)

    def _lose(self, one: int, why: Loss, text: str, error: Exception) -> None:
        """Refuse a chunk, or note that its frames are lost."""
        members = self.order[self.bounds[one] : self.bounds[one + 1]]
        if self.lost is not None:
            self.lost[members] = why
            return
        frames, where = self.frames[members], self.where
        raise UnreadableData(
            f"{where.path}: dataset {where.dataset}: the chunk of {int(self.stored[one])} bytes at byte "
            f"{int(self.offset[one])} of the file, with frames {int(frames.min())} to {int(frames.max())}, "
            f"{text}"
        ) from error
