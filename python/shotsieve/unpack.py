"""Undoing HDF5's filters on the bytes of a chunk, in any thread: deflate, shuffle and bitshuffle.

h5py does the same under a lock that all threads share. What is here calls packages that let go of Python's
lock while they work, and gives the same bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .errors import BackendUnavailable
from .filters import register_plugins
from .telling import tell

DEFLATE, SHUFFLE, BITSHUFFLE = 1, 2, 32008
# What the bitshuffle filter's fifth number says of the compressor.
_COMPRESSOR = {2: "bshuf_decompress_lz4", 3: "bshuf_decompress_zstd"}
_HEADER = 12  # bytes before the first block of a bitshuffled chunk


def native() -> ModuleType:
    """Return the compiled module that reads and sorts bytes.

    Raises
    ------
    BackendUnavailable
        If it was not built.
    """
    try:
        from . import _io
    except ImportError as err:
        raise BackendUnavailable(
            f"the module shotsieve._io is not built ({err}): install the package"
        ) from err
    return _io


@dataclass(frozen=True)
class Unpacker:
    """What undoes the filters of a dataset; made by `unpacker_of`.

    Attributes
    ----------
    inflate : callable or None
        Undoes the compression of a chunk's bytes into a buffer that it is given, or returns another.
    shuffled : bool
        Whether the chunk was shuffled before.
    packed_bit, shuffled_bit : int
        Of the mask of filters that a chunk was stored without.
    nbytes : int
        Of a chunk when it is unpacked.
    """

    inflate: Callable[[np.ndarray, np.ndarray], Any] | None
    shuffled: bool
    packed_bit: int
    shuffled_bit: int
    nbytes: int

    def unpack(self, stored: np.ndarray, skipped: int, room: np.ndarray) -> tuple[np.ndarray, bool]:
        """Undo the compression of a chunk.

        Parameters
        ----------
        stored : ndarray of uint8
            The chunk as it lies in the file.
        skipped : int
            The chunk's mask of filters that were not applied to it.
        room : ndarray of uint8, shape (nbytes,)
            May be written to.

        Returns
        -------
        chunk : ndarray of uint8, shape (nbytes,)
            `room`, `stored` or another array.
        shuffled : bool
            Whether the shuffle is still to be undone.

        Raises
        ------
        ValueError
            If the bytes are no such chunk; the text says what is wrong.
        """
        chunk = stored
        if self.inflate is not None and not skipped & self.packed_bit:
            chunk = self.inflate(stored, room)
        if len(chunk) != self.nbytes:
            raise ValueError(f"it holds {len(chunk)} bytes of data, and should hold {self.nbytes}")
        return chunk, self.shuffled and not skipped & self.shuffled_bit


def unpacker_of(filters: list[tuple[int, tuple[int, ...]]], itemsize: int, nbytes: int) -> Unpacker | None:
    """Return what undoes some filters, or None where h5py has to.

    Parameters
    ----------
    filters : list of (int, tuple of int)
        Number of each filter and its values, in the order in which they were applied.
    itemsize, nbytes : int
        Bytes of an element, and of a whole chunk.

    Examples
    --------
    >>> import zlib
    >>> unpacker = unpacker_of([(1, (6,))], itemsize=2, nbytes=4)
    >>> stored = np.frombuffer(zlib.compress(b"abcd"), "u1")
    >>> unpacker.unpack(stored, 0, np.empty(4, "u1"))[0].tobytes()
    b'abcd'
    >>> unpacker_of([(3, ())], itemsize=2, nbytes=4) is None
    True
    """
    numbers = tuple(number for number, _ in filters)
    if numbers == (DEFLATE,):
        return Unpacker(inflate, False, 1, 0, nbytes)
    if numbers == (SHUFFLE, DEFLATE):
        return Unpacker(inflate, itemsize > 1, 2, 1, nbytes)
    if numbers == (SHUFFLE,):
        return Unpacker(None, itemsize > 1, 0, 1, nbytes)
    if numbers == (BITSHUFFLE,):
        values = filters[0][1]
        if len(values) >= 5 and values[2] == itemsize and (unblock := _bitshuffle(values[4])):
            return Unpacker(unblock(itemsize), False, 1, 0, nbytes)
    return None


def inflate(stored: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Undo deflate, with the check of its checksum; returns another array than `room`."""
    unpack, fault = _deflate()
    try:
        return np.frombuffer(unpack(stored, len(room)), np.uint8)
    except fault as err:
        raise ValueError(f"deflate: {err}") from err


@cache
def _deflate() -> tuple[Callable[[Any, int], Any], type[Exception]]:
    """Return libdeflate's function and its error; where the package is not installed, those of ISA-L."""
    try:
        import deflate
    except ImportError:
        from isal import isal_zlib

        return lambda stored, nbytes: isal_zlib.decompress(stored, bufsize=nbytes), isal_zlib.error
    return deflate.zlib_decompress, deflate.DeflateError


@cache
def inflate_functions() -> tuple[int, int, int] | None:
    """Return where libdeflate has what makes, ends and uses a decompressor, for `_io.inflate_frames`.

    The package `deflate` lets its library be seen, but does not promise to: None where it does not, or is
    not installed, and `inflate` is what is left. That gives the same bytes and takes longer, so it is told
    once, on standard error: the accounts of a run are the same on every machine.

    Returns
    -------
    tuple of three int, or None
        Addresses of ``libdeflate_alloc_decompressor``, ``_free_decompressor`` and ``_zlib_decompress``.

    Examples
    --------
    >>> inflate_functions()    # doctest: +SKIP
    (140012345678, 140012345712, 140012345999)
    """
    try:
        from deflate import _deflate as compiled

        library = ctypes.CDLL(compiled.__file__)
        names = ("alloc_decompressor", "free_decompressor", "zlib_decompress")
        found = [ctypes.cast(library[f"libdeflate_{name}"], ctypes.c_void_p).value or 0 for name in names]
    except ImportError:
        _tell_slower("the package deflate is not installed (pip install 'shotsieve[fast]')", "ISA-L")
        return None
    except (OSError, AttributeError):
        found = [0]
    if not all(found):
        _tell_slower("this build of the package deflate does not let its library be called", "it")
        return None
    return (found[0], found[1], found[2])


def _tell_slower(why: str, what: str) -> None:
    """Say once that compiled code has no library to call, and what takes its place."""
    tell(
        f"{why}: deflated frames are unpacked with {what} from threads of Python, which is slower", once=True
    )


@cache
def _bitshuffle(compressor: int) -> Callable[[int], Callable[[np.ndarray, np.ndarray], np.ndarray]] | None:
    """Return what makes the inflating function for an element's size, from the library of hdf5plugin.

    None where that is not installed, or does not offer its functions.
    """
    if compressor not in _COMPRESSOR or not register_plugins():
        return None
    import hdf5plugin

    try:
        library = ctypes.CDLL(hdf5plugin.get_config().registered_filters["bshuf"])
        function = library[_COMPRESSOR[compressor]]
    except (KeyError, OSError, AttributeError):
        return None
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_size_t] * 3]

    def of(itemsize: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def unblock(stored: np.ndarray, room: np.ndarray) -> np.ndarray:
            # The library trusts the lengths in the chunk, and would read what lies behind it.
            block = native().bitshuffle_block(stored, len(room), itemsize)
            if block < 0:
                raise ValueError("bitshuffle: the lengths in it do not fit")
            done = function(
                stored.ctypes.data + _HEADER, room.ctypes.data, len(room) // itemsize, itemsize, block
            )
            if done < 0:
                raise ValueError(f"bitshuffle: error {done}")
            return room

        return unblock

    return of
