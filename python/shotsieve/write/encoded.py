"""Frames encoded once for several files: a kept frame is compressed one time, wherever it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

import numpy as np
from isal import isal_zlib

from ..cpus import usable_cpus
from ..errors import BadInput
from ..filters import bitshuffle_options
from .pressed import press

LEVEL = 1
"""Deflate level that datasets name; whoever adds to them by HDF5 gets it."""

ISAL_LEVEL = 0
"""ISA-L's fastest, a tenth of zlib's time. Its level 1 gives now these bytes, now those, of one input."""

DTYPES = {"data": "<f4", "gain": "|u1", "mask": "<u4"}
"""How the planes of a corrected frame are stored; ``data`` that is counted in photons is an integer."""


def filter_options(compressed: bool | str) -> dict[str, Any]:
    """Return what ``create_dataset`` takes for chunks that `encode_chunk` makes."""
    if isinstance(compressed, str):
        return bitshuffle_options(compressed)
    return {"compression": "gzip", "compression_opts": LEVEL, "shuffle": True} if compressed else {}


def encode_chunk(frame: np.ndarray, dtype: Any, compressed: bool | str) -> bytes | np.ndarray:
    """Return the bytes of one chunk; safe to call from several threads.

    Parameters
    ----------
    frame : ndarray
        All values of the chunk, of any dtype that converts to `dtype`.
    dtype : dtype
        Of the dataset, little-endian.
    compressed : bool or str
        True: shuffle and deflate, as HDF5's own filters of these names do; False: no filter; or a name of
        `shotsieve.filters.BITSHUFFLE`, in one thread at a time.

    Returns
    -------
    bytes or ndarray
        What ``write_direct_chunk`` stores; the frame itself where nothing has to be changed.

    Notes
    -----
    Promise: exact. What is compressed is the same bytes on one kind of processor and version of ISA-L only;
    what it holds is the same everywhere.

    Examples
    --------
    >>> len(encode_chunk(np.zeros((512, 128)), "<f4", compressed=True)) < 3000
    True
    """
    dtype = np.dtype(dtype)
    frame = np.ascontiguousarray(frame, dtype)
    if not compressed:
        return frame
    if isinstance(compressed, str):
        return press(frame, compressed)
    if dtype.itemsize > 1:
        frame = shuffled(frame)
    return isal_zlib.compress(frame, ISAL_LEVEL)


def shuffled(values: np.ndarray) -> np.ndarray:
    """Return the bytes of values sorted by their place, uint8 (itemsize, size): HDF5's filter *shuffle*.

    Examples
    --------
    >>> shuffled(np.array([0x0102, 0x0304], "<u2")).tolist()
    [[2, 4], [1, 3]]
    """
    words = values.reshape(-1).view(f"<u{values.itemsize}")
    planes = np.empty((values.itemsize, words.size), "u1")
    used = int(np.bitwise_or.reduce(words, initial=0))
    for place, plane in enumerate(planes):
        if used >> (8 * place) & 0xFF:
            # Twice as fast as a transposed copy.
            plane[:] = words >> (8 * place)
        else:  # a byte that no mask of this frame has a bit in
            plane[:] = 0
    return planes


class EncodedFrames:
    """Frames of kept shots, encoded for every file that stores them in chunks of one frame.

    The files of a reduced run and a CXI file hold a frame in the same chunk, so both store the same bytes:
    encode once, and hand this to both writers.

    Parameters
    ----------
    frames : mapping of str to ndarray, shape (K, M, ss, fs)
        Planes by the names in `DTYPES`.
    present : array of bool, shape (K, M)
        Frames that are stored; the others are not looked at.
    compressed : mapping of str to bool or str
        For each plane, as `encode_chunk` takes it.
    threads : int, optional
        Number of threads; by default the cores this process may use.
    dtype : str
        How ``data`` is stored.

    Attributes
    ----------
    compressed : dict of str to bool or str
        As given.
    dtypes : dict of str to str
        How each plane is stored.

    Raises
    ------
    BadInput
        If a plane has no known dtype or its shape does not fit `present`.

    Notes
    -----
    Promise: exact; the same frames give the same bytes whatever the number of threads.

    Examples
    --------
    >>> frames = {"mask": np.zeros((1, 2, 4, 8), "u4")}
    >>> encoded = EncodedFrames(frames, np.ones((1, 2), bool), {"mask": True})
    >>> encoded.chunk("mask", 0, 1) == encode_chunk(frames["mask"][0, 1], "<u4", True)
    True
    """

    def __init__(
        self,
        frames: Mapping[str, np.ndarray],
        present: np.ndarray,
        compressed: Mapping[str, bool | str],
        threads: int | None = None,
        dtype: str = DTYPES["data"],
    ) -> None:
        present = np.asarray(present, bool)
        for name, array in frames.items():
            if name not in DTYPES or name not in compressed:
                raise BadInput(f"write: frames hold {name!r}; known planes are {', '.join(DTYPES)}")
            if array.shape[:2] != present.shape or array.ndim != 4:
                raise BadInput(
                    f"write: {name} has shape {array.shape}; expected (shots, modules) {present.shape} and"
                    " frames (ss, fs)"
                )
        self.compressed = {name: compressed[name] for name in frames}
        self.dtypes = {name: (DTYPES | {"data": dtype})[name] for name in frames}
        at = [tuple(index) for index in np.argwhere(present).tolist()]
        self._chunks: dict[str, dict[tuple[int, int], bytes | np.ndarray]] = {}
        # A pool per call costs well under a millisecond, and none is left standing to hang in a forked child.
        with ThreadPoolExecutor(threads or usable_cpus()) as pool:
            try:
                for name, array in frames.items():
                    packed, dtype = self.compressed[name], self.dtypes[name]
                    frame = ((array[index], dtype, packed) for index in at)
                    chunks = (pool.map if packed else map)(lambda job: encode_chunk(*job), frame)
                    self._chunks[name] = dict(zip(at, chunks, strict=True))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def chunk(self, name: str, shot: int, module: int) -> bytes | np.ndarray:
        """Return one encoded frame.

        Parameters
        ----------
        name : str
            Plane.
        shot, module : int
            Indices into the arrays that were given.

        Returns
        -------
        bytes or ndarray

        Raises
        ------
        KeyError
            If the frame is not present.

        Examples
        --------
        >>> encoded.chunk("data", 0, 3)    # doctest: +SKIP
        """
        return self._chunks[name][int(shot), int(module)]

    def check(self, name: str, dtype: Any, compressed: bool | str, where: str) -> None:
        """Make sure that a plane was encoded as a file stores it.

        Parameters
        ----------
        name : str
            Plane.
        dtype : dtype
        compressed : bool or str
        where : str
            What the error text begins with.

        Raises
        ------
        BadInput
            If the plane is not there, or its bytes are others.

        Examples
        --------
        >>> encoded.check("data", "<f4", False, "write")    # doctest: +SKIP
        """
        told = (
            "not at all" if name not in self.compressed else _form(self.dtypes[name], self.compressed[name])
        )
        if told != _form(dtype, compressed):
            raise BadInput(
                f"{where}: {name} of the frames was encoded {told}; this file stores it"
                f" {_form(dtype, compressed)}"
            )

    def only(self, *names: str) -> EncodedFrames:
        """Return these planes alone, for a file that stores others of the same frames.

        Examples
        --------
        >>> encoded.only("data")    # doctest: +SKIP
        """
        part = copy(self)
        for attribute in ("compressed", "dtypes", "_chunks"):
            setattr(part, attribute, {name: getattr(self, attribute)[name] for name in names})
        return part


def _form(dtype: Any, compressed: bool | str) -> str:
    how = compressed if isinstance(compressed, str) else "deflated" if compressed else "plain"
    return f"as {np.dtype(dtype).name}, {how}"
