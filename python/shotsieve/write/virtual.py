"""Virtual datasets: what stands in several files as one array, without a copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np


@dataclass(frozen=True)
class Mapped:
    """A block of one dataset, and where it stands in the virtual one.

    Attributes
    ----------
    file : str
        Name of the file, as seen from the folder of the virtual one; ``"."`` is the virtual one itself.
        Relative, so that the folder may be renamed and moved.
    path : str
        The dataset in it.
    shape : tuple of int
        Of that dataset.
    start, count : tuple of int
        The block in that dataset.
    at, size : tuple of int
        Where it stands, with as many elements; dimensions may differ, since blocks are matched row by row.
    """

    file: str
    path: str
    shape: tuple[int, ...]
    start: tuple[int, ...]
    count: tuple[int, ...]
    at: tuple[int, ...]
    size: tuple[int, ...]


def create_virtual(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    fill: Any,
    blocks: Iterable[Mapped],
    attributes: Mapping[str, Any] | None = None,
) -> h5py.Dataset:
    """Create a virtual dataset. Promise: exact; the same arguments give the same bytes.

    Parameters
    ----------
    group : h5py.Group
    name : str
    shape : tuple of int
    dtype : dtype
    fill : scalar
        What is read where no block stands, or where the file of a block is gone.
    blocks : iterable of Mapped
        Without any it is an ordinary dataset, since tools stumble over a virtual one of nothing.
    attributes : mapping of str to value, optional

    Returns
    -------
    h5py.Dataset

    Examples
    --------
    >>> half = Mapped(".", "/slab", (10, 4), (0, 0), (10, 2), (0, 0), (10, 2))
    >>> create_virtual(file, "half", (10, 2), np.dtype("f4"), 0, [half])    # doctest: +SKIP
    """
    # By the low-level interface: the other one stores the time of creation, and times are never the same.
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)
    blocks = list(blocks)
    if blocks:
        plist.set_layout(h5py.h5d.VIRTUAL)
    if np.dtype(dtype).kind != "O":
        plist.set_fill_value(np.array(fill, dtype))
    for block in blocks:
        here, there = h5py.h5s.create_simple(shape), h5py.h5s.create_simple(block.shape)
        here.select_hyperslab(block.at, block.size)
        there.select_hyperslab(block.start, block.count)
        plist.set_virtual(here, block.file.encode(), block.path.encode(), there)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(dtype, logical=True), space, plist)
    made = group[name]
    for key, value in (attributes or {}).items():
        made.attrs[key] = value
    return made
