"""HDF5 files to be written: a disk that refuses is an error with its reason, and never met by HDF5 itself."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


class SteadyFile(io.RawIOBase):
    """A file-like object for `h5py.File` to write and read, over a file on the disk.

    HDF5 (2.0 and before) cannot go on after a write that failed: what it holds back of a file is then half
    written, and closing that file, or another one, may crash the process. So no write fails here. The first
    error is remembered for `check`; whatever the disk did not take is read from memory, and is lost with it.

    Parameters
    ----------
    path : path-like
    exclusive : bool
        Refuse a file that exists, instead of replacing it.

    Raises
    ------
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> raw = SteadyFile(path)    # doctest: +SKIP
    >>> with h5py.File(raw, "w") as file:    # doctest: +SKIP
    ...     file["x"] = 1
    >>> raw.check()    # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], exclusive: bool = False) -> None:
        super().__init__()
        flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if exclusive else os.O_TRUNC)
        self._descriptor = os.open(path, flags, 0o666)
        self._at = self._size = 0
        self._refused: list[tuple[int, bytes]] = []  # place and bytes, the latest last
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the place of the next read or write."""
        return self._at

    def write(self, data: bytes | memoryview) -> int:
        """Write all of it, if need be to memory."""
        given, done = memoryview(data).cast("B"), 0
        try:
            while done < len(given):
                done += os.pwrite(self._descriptor, given[done:], self._at + done)
        except OSError as error:
            self._remember(error)
        if done < len(given) or self._refused:  # what comes later goes above what was refused before
            self._refused.append((self._at, bytes(given)))
        self._at += len(given)
        self._size = max(self._size, self._at)
        return len(given)

    def readinto(self, into: bytearray | memoryview) -> int:
        """Fill a buffer; behind the end of the file are zeros, as HDF5 expects."""
        to, done = memoryview(into).cast("B"), 0
        while found := os.pread(self._descriptor, len(to) - done, self._at + done):
            to[done : done + len(found)] = found
            done += len(found)
        to[done:] = bytes(len(to) - done)
        for start, piece in self._refused:
            first, last = max(start, self._at), min(start + len(piece), self._at + len(to))
            if first < last:
                to[first - self._at : last - self._at] = piece[first - start : last - start]
        self._at += len(to)
        return len(to)

    def truncate(self, size: int) -> int:
        """Set the size of the file."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self._remember(error)
        self._size = size
        return size

    def close(self) -> None:
        """Close the file on the disk; a second call does nothing."""
        if not self.closed:
            super().close()
            os.close(self._descriptor)

    def check(self) -> None:
        """Raise the first error of the disk.

        Raises
        ------
        OSError
        """
        if self._error is not None:
            raise self._error

    def _remember(self, error: OSError) -> None:
        self._error = self._error or error


class SteadyHdf5:
    """An HDF5 file that is written through a `SteadyFile`; a context manager that closes it.

    Parameters
    ----------
    path : path-like
    libver
        As for ``h5py.File``: a fixed one keeps the bytes from depending on the library that is installed.
    exclusive : bool
        Refuse a file that exists, instead of replacing it.

    Attributes
    ----------
    path : path-like
    file : h5py.File
        Its name is not that of the file on the disk.

    Raises
    ------
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> with SteadyHdf5(path, ("v110", "v110")) as out:    # doctest: +SKIP
    ...     out.file["x"] = 1
    """

    def __init__(self, path: str | os.PathLike[str], libver: Any, exclusive: bool = False) -> None:
        import h5py

        self.path, self._disk = path, SteadyFile(path, exclusive)
        try:
            self.file: h5py.File = h5py.File(self._disk, "w", libver=libver)
        except BaseException:
            self._disk.close()
            raise

    def __enter__(self) -> SteadyHdf5:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        if exc_type is None:
            self.close()
        else:
            self.give_up()

    def check(self) -> None:
        """Raise what the disk refused so far, for those who write for long.

        Raises
        ------
        OSError
        """
        self._disk.check()

    def close(self) -> None:
        """Put what HDF5 holds back into the file, and close it.

        Raises
        ------
        OSError
            If the disk refused anything since the file was opened.
        """
        try:
            self.file.close()
        finally:
            self._disk.close()
        self.check()

    def give_up(self) -> None:
        """Close a file that will not be completed; what is on the disk then is worthless."""
        with suppress(OSError, RuntimeError):
            self.file.close()
        with suppress(OSError):
            self._disk.close()
