"""Single datasets of the facility's store: what a file holds, and reading cells in our order of axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..errors import DAMAGE, UnreadableData

__all__ = ["StoredConstant", "datasets_of"]

_SLAB_BYTES = 32 << 20
_PIECE = 32  # rows


@dataclass(frozen=True)
class StoredConstant:
    """One dataset of the store.

    Attributes
    ----------
    path : Path
    dataset : str
    calibration : str
        Its type, as the facility calls it.
    axes : tuple of str
        As `shotsieve.constants.axes.axes_of` gives them.
    shape : tuple of int
    """

    path: Path
    dataset: str
    calibration: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def cells(self) -> int:
        """Length of the cell axis."""
        return self.shape[self.axes.index("cell")]

    def cells_apart(self) -> bool:
        """Return whether `read` reads no more than the cells that are wanted; False for a damaged file."""
        try:
            with h5py.File(self.path, "r") as file:
                chunks = file[self.dataset].chunks
        except (OSError, KeyError):
            return False  # what is wrong is said where it is read
        return chunks is not None and chunks[self.axes.index("cell")] == 1

    def read(self, rows: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
        """Return (plane, len(rows), ss, fs), by default in its own dtype; no plane axis counts as one."""
        order = [self.axes.index(axis) for axis in ("plane", "cell", "ss", "fs") if axis in self.axes]
        wanted, back = np.unique(rows, return_inverse=True)
        cell_axis = self.axes.index("cell")
        try:
            with h5py.File(self.path, "r") as file:
                dataset = file[self.dataset]
                _refuse_unwritten(dataset)
                shape = list(self.shape)
                shape[cell_axis] = len(wanted)
                out = np.empty([shape[axis] for axis in order], dtype or dataset.dtype)
                in_file = out.transpose(np.argsort(order))
                for source, take, target in _slabs(dataset, cell_axis, wanted):
                    block = dataset[source]
                    if len(take) != block.shape[cell_axis]:
                        block = np.take(block, take, cell_axis)
                    # Turned around in pieces that fit the cache: one assignment would take 20 times as long.
                    for start in range(0, block.shape[1], _PIECE):
                        in_file[target][:, start : start + _PIECE] = block[:, start : start + _PIECE]
        except DAMAGE as error:
            raise UnreadableData(f"{self.path}: {self.dataset} cannot be read ({error}).") from error
        out = out if "plane" in self.axes else out[np.newaxis]
        out = out if "ss" in self.axes else out[:, :, np.newaxis]
        return out if np.array_equal(back, np.arange(len(wanted))) else np.take(out, back, axis=1)


def _refuse_unwritten(dataset: h5py.Dataset) -> None:
    """HDF5 would hand out its fill value where nothing was written, and zeros are no constants."""
    if dataset.chunks:
        chunks = [-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
        complete = dataset.id.get_num_chunks() == int(np.prod(chunks, dtype=np.int64))
    else:
        complete = dataset.id.get_storage_size() > 0 or not dataset.size
    if not complete:
        raise OSError("parts of it were never written")


def _slabs(dataset: h5py.Dataset, cell_axis: int, wanted: np.ndarray) -> Iterator[tuple]:
    """Yield (where to read, cells to take of it, where it goes) so that a read stays within a bounded size.

    Chunked data is read in whole chunks of the cell axis, so that no chunk is inflated twice; contiguous data
    in slabs of another axis, since there the cells of one pixel lie side by side.
    """
    whole = [np.s_[:]] * dataset.ndim
    if dataset.chunks:
        step = dataset.chunks[cell_axis]
        for chunk in np.unique(wanted // step):
            hits = np.flatnonzero(wanted // step == chunk)
            source, target = list(whole), list(whole)
            source[cell_axis] = slice(chunk * step, min((chunk + 1) * step, dataset.shape[cell_axis]))
            target[cell_axis] = slice(hits[0], hits[-1] + 1)
            yield tuple(source), wanted[hits] - chunk * step, tuple(target)
        return
    axis = 0 if cell_axis else 1
    step = max(1, _SLAB_BYTES * dataset.shape[axis] // max(1, dataset.size * dataset.dtype.itemsize))
    for start in range(0, dataset.shape[axis], step):
        source = list(whole)
        source[axis] = slice(start, start + step)
        yield tuple(source), wanted, tuple(source)


def datasets_of(path: Path) -> list[tuple[str, str, str, tuple[int, ...], list[str] | None]]:
    """Return what constants a file of the store holds.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of tuple
        (PDU, calibration, dataset, shape, dims) each; dims are the names of the axes, None where the file
        does not tell them.

    Raises
    ------
    UnreadableData
        If it is no whole HDF5 file.

    Examples
    --------
    >>> datasets_of(Path("cal.1738172761.h5"))  # doctest: +SKIP
    [('M435', 'Offset', '/M435/Offset/0/data', (128, 512, 352, 3), None)]
    """
    result = []
    try:
        with h5py.File(path, "r") as file:
            for pdu, group in file.items():
                for calibration, versions in group.items() if isinstance(group, h5py.Group) else ():
                    for index, version in versions.items() if isinstance(versions, h5py.Group) else ():
                        if not isinstance(version, h5py.Group) or "data" not in version:
                            continue
                        dataset = version["data"]
                        name = f"/{pdu}/{calibration}/{index}/data"
                        result.append((pdu, calibration, name, dataset.shape, _dims(dataset)))
    except DAMAGE as error:
        raise UnreadableData(f"{path} is not a whole HDF5 file ({error}).") from error
    return result


def _dims(dataset: h5py.Dataset) -> list[str] | None:
    """Return the attribute ``dims``, which is a list of names or one text with commas."""
    dims = dataset.attrs.get("dims")
    if dims is None:
        return None
    texts = [dims] if isinstance(dims, str | bytes) else list(np.ravel(dims))
    texts = [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
    return [part.strip() for text in texts for part in text.split(",")]
