"""Growing datasets whose chunk is one row, written chunk by chunk and compressed in threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import h5py
import numpy as np

from ..cpus import usable_cpus
from .checksums import chunk_checksum
from .encoded import encode_chunk, filter_options

ROWS_AT_ONCE = 8
"""Rows that a thread encodes before it hands them over to be written, at most."""


class RowDataset:
    """A dataset that grows along its first axis, one chunk per row.

    Chunks bypass HDF5's filter pipeline: HDF5 compresses in one thread under one lock, here every core
    compresses. Readers see ordinary shuffle + deflate, the one form EXtra-data decompresses in parallel.

    Parameters
    ----------
    group : h5py.Group
        Where the dataset is created.
    name : str
        Its name.
    row_shape : tuple of int
        Shape of one row.
    dtype : str
        Little-endian NumPy dtype, for example ``"<f4"``.
    compressed : bool or str
        Shuffle + deflate level 1, no filter, or a name of `shotsieve.filters.BITSHUFFLE`.
    cells : int, optional
        A row is a train of so many chunks of `row_shape`; see `CellDataset`, which stores them one by one.
    fill : number, optional
        What chunks that are never stored read as.

    Attributes
    ----------
    digests : list of bytes
        Checksum of what is stored of each row, as it is stored; see `chunk_checksum`.

    Notes
    -----
    Promise: exact; the same rows in the same order give the same bytes, whatever the number of threads.

    Examples
    --------
    >>> data = RowDataset(group, "data", (512, 128), "<f4", compressed=False)    # doctest: +SKIP
    >>> append_rows([(data, list(frames))], pool)    # doctest: +SKIP
    """

    def __init__(
        self,
        group: h5py.Group,
        name: str,
        row_shape: tuple[int, ...],
        dtype: str,
        compressed: bool | str,
        *,
        cells: int | None = None,
        fill: float | None = None,
    ) -> None:
        self.row_shape = tuple(row_shape)
        self.dtype = np.dtype(dtype)
        self.compressed = compressed
        self.digests: list[bytes] = []
        inner = () if cells is None else (cells,)
        self.dataset = group.create_dataset(
            name,
            shape=(0, *inner, *self.row_shape),
            maxshape=(None, *inner, *self.row_shape),
            chunks=(1, *(1 for _ in inner), *self.row_shape),
            dtype=self.dtype,
            fillvalue=fill,
            **filter_options(compressed),
        )

    def encode(self, row: np.ndarray | bytes) -> tuple[bytes | np.ndarray, bytes]:
        """Return the bytes of one chunk and their checksum; safe to call from several threads.

        Parameters
        ----------
        row : ndarray, shape `row_shape`, or bytes
            One row, of any dtype that converts to the dataset's; or what it was encoded to before.

        Returns
        -------
        chunk : bytes or ndarray
            What is stored.
        digest : bytes

        Examples
        --------
        >>> chunk, digest = data.encode(frame)    # doctest: +SKIP
        """
        chunk = row if isinstance(row, bytes) else encode_chunk(row, self.dtype, self.compressed)
        return chunk, chunk_checksum(chunk)

    def grow(self, count: int) -> int:
        """Make room for rows and return the index of the first of them.

        Parameters
        ----------
        count : int
            Number of rows to come.

        Returns
        -------
        int
            Where they start.

        Examples
        --------
        >>> start = data.grow(3)    # doctest: +SKIP
        """
        start = len(self.dataset)
        self.dataset.resize(start + count, axis=0)
        return start

    def store(self, index: int, chunk: bytes | np.ndarray, digest: bytes) -> None:
        """Store one encoded row, the next.

        Parameters
        ----------
        index : int
            Row, below the length that `grow` gave the dataset.
        chunk, digest
            Result of `encode`.

        Raises
        ------
        OSError
            If the disk refuses.

        Examples
        --------
        >>> data.store(start, *data.encode(frame))    # doctest: +SKIP
        """
        self.dataset.id.write_direct_chunk((index, *(0,) * len(self.row_shape)), chunk)
        self.digests.append(digest)


def append_rows(jobs: list[tuple[RowDataset, list[np.ndarray | bytes]]], pool: ThreadPoolExecutor) -> None:
    """Append the same number of rows to several datasets of one file.

    Compression and checksums run in threads. Chunks go to the file row by row, not dataset by dataset: so
    the bytes do not depend on how rows are shared out among calls.

    Parameters
    ----------
    jobs : list of (RowDataset, list of ndarray or bytes)
        Rows for each dataset; bytes were encoded before.
    pool : ThreadPoolExecutor
        Of `encoders`; after an error it is shut down.

    Raises
    ------
    OSError
        If the disk refuses.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> with encoders() as pool:    # doctest: +SKIP
    ...     append_rows([(mask, list(masks)), (gain, list(gains))], pool)
    """
    rows = list(zip(*(rows for _, rows in jobs), strict=True))
    # A hand-over between threads costs as much as a row; fewer rows than that leave threads idle.
    run = min(ROWS_AT_ONCE, max(1, len(rows) // (2 * usable_cpus())))

    def encode(first: int) -> list[list[tuple[bytes | np.ndarray, bytes]]]:
        return [
            [dataset.encode(row) for (dataset, _), row in zip(jobs, of_all, strict=True)]
            for of_all in rows[first : first + run]
        ]

    try:
        encoded = chain.from_iterable(pool.map(encode, range(0, len(rows), run)))
        starts = [d.grow(len(rows)) for d, _ in jobs]
        for number, chunks in enumerate(encoded):
            for (dataset, _), start, chunk in zip(jobs, starts, chunks, strict=True):
                dataset.store(start + number, *chunk)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise


def encoders() -> ThreadPoolExecutor:
    """Return threads for `append_rows`: one pool for the files of a call, since to start a thread takes a
    millisecond where all cores are at work; none is left standing to hang in a forked child.

    Examples
    --------
    >>> with encoders() as pool:
    ...     pool.submit(len, "abc").result()
    3
    """
    return ThreadPoolExecutor(usable_cpus(), thread_name_prefix="shotsieve-encode")
