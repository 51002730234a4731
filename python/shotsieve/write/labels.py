"""Which frame a row of the images is: train, pulse and memory cell, written beside the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    if detector.layout == "trains":
        train = shots.train_id[rows.max(axis=1)]
        group[detector.cell_key] = np.where(rows < 0, NO_CELL, shots.cell_id[rows]).astype("u1")
    else:
        train = shots.train_id[rows]
        group[detector.pulse_key] = shots.pulse_id[rows]
        group[detector.cell_key] = shots.cell_id[rows].astype("u2")
    group["trainId"] = train
    return train
