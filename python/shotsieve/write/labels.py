"""Which frame a row of the images is: train, pulse and memory cell, written beside the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np

from .cell_rows import NO_CELL

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..sources.base import ShotList


def write_labels(group: h5py.Group, detector: Detector, shots: ShotList, rows: np.ndarray) -> np.ndarray:
    """Write the labels of the rows of a module.

    Promise: exact.

    Parameters
    ----------
    group : h5py.Group
        That of the images.
    detector : Detector
    shots : ShotList
    rows : ndarray of int64, shape (K,) or (R, cells)
        Shots, for detectors that store frames, or trains; -1 is none.

    Returns
    -------
    ndarray of uint64
        Train of each row.

    Examples
    --------
    >>> trains = write_labels(group, detector, source.shots, kept)    # doctest: +SKIP
    """
    by_train = detector.layout == "trains"
    train = shots.train_id[rows.max(axis=1) if by_train else rows]
    if detector.pulse_key:
        group[detector.pulse_key] = shots.pulse_id[rows]
    if detector.cell_key and by_train:
        group[detector.cell_key] = np.where(rows < 0, NO_CELL, shots.cell_id[rows]).astype("u1")
    elif detector.cell_key:
        group[detector.cell_key] = shots.cell_id[rows].astype("u2")
    group["trainId"] = train
    return train


class Labels(NamedTuple):
    """Which frame stands where in the images of a module, as `read_labels` finds it.

    Attributes
    ----------
    per_row : int
        Frames in a row.
    row_train : ndarray of uint64, shape (R,)
    train, pulse : ndarray of uint64, shape (R * per_row,)
        Of every frame. Where the detector has no pulse id, it is the index in the train.
    cell : ndarray of int64, shape (R * per_row,)
    """

    per_row: int
    row_train: np.ndarray
    train: np.ndarray
    pulse: np.ndarray
    cell: np.ndarray


def read_labels(group: h5py.Group, detector: Detector) -> Labels:
    """Read what `write_labels` wrote, and put in what follows from the detector where it has no labels.

    Promise: exact.

    Parameters
    ----------
    group : h5py.Group
        That of the images.
    detector : Detector

    Returns
    -------
    Labels

    Examples
    --------
    >>> labels = read_labels(group, detector)    # doctest: +SKIP
    """
    row_train = group["trainId"][:]
    per_row = group[detector.planes[0]].shape[1] if detector.layout == "trains" else 1
    train = np.repeat(row_train, per_row)
    if detector.pulse_key:
        pulse = group[detector.pulse_key][:].astype("u8")
    elif detector.layout == "trains":
        pulse = np.tile(np.arange(per_row, dtype="u8"), len(row_train))
    else:
        pulse = (np.arange(len(train)) - np.searchsorted(train, train)).astype("u8")
    if detector.cell_key:
        cell = group[detector.cell_key][:].ravel().astype(np.int64)
    else:
        cell = (pulse % np.uint64(detector.cell_cycle)).astype(np.int64)
    return Labels(per_row, row_train, train, pulse, cell)
