"""The photon lists of a module in all files of a reduced run, by the key of their shot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..check import reduction_of
from ..photon_list_files import ModuleLists

if TYPE_CHECKING:
    from ..detectors import Detector


class StoredLists:
    """The lists of one module.

    Parameters
    ----------
    paths : sequence of Path
    detector : Detector
    key : callable
        Makes one number of the train and the pulse of shots.

    Attributes
    ----------
    seen : ndarray of bool, shape (n,)
        Which shots were asked for.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        detector: Detector,
        key: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        named = []
        for path in paths:
            with h5py.File(path) as file:
                named.append((path, reduction_of(file, detector)))
        self._lists = ModuleLists(named, detector.frame_shape)
        keys = key(self._lists.train_id, self._lists.pulse_id)
        self._order = np.argsort(keys, kind="stable")
        self._known = keys[self._order]
        self.seen = np.zeros(len(keys), bool)

    def differs(
        self, keys: np.ndarray, data: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Compare frames with what the lists of their shots give.

        Parameters
        ----------
        keys : ndarray, shape (n,)
        data, mask : ndarray, shape (n, *frame)

        Returns
        -------
        there : ndarray of bool, shape (n,)
            Shots that have lists.
        differs : dict of str to ndarray of bool, shape (n,)
            ``data`` and ``mask``: shots that have lists, and others than these frames.
        """
        there = np.zeros(len(keys), bool)
        wrong = {name: np.zeros(len(keys), bool) for name in ("data", "mask")}
        if len(self._known):
            place = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
            there = self._known[place] == keys
            rows = self._order[place]
            self.seen[rows[there]] = True
            for k in np.flatnonzero(there).tolist():
                stored = self._lists.frames(rows[k : k + 1])
                for name, one, mine in zip(wrong, stored, (data[k], mask[k]), strict=True):
                    wrong[name][k] = one.dtype != mine.dtype or not np.array_equal(one[0], mine)
        return there, wrong

    def close(self) -> None:
        """Close the files."""
        self._lists.close()
