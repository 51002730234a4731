"""Found peaks against true spots: which were found, what was not there, and two finders on the same frames.

A spot is found when a peak lies within 1.5 pixels of its centre, and a peak is real when a spot lies within
1.5 pixels. Recall is over good spots only (`peak_frames.SPOT_DTYPE`), by their true photons; a peak near any
spot is real, and precision goes by the photons it was found with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from peak_frames import PHOTON

REACH = 1.5
CLASSES = (10.0, 30.0, 100.0, 300.0, math.inf)


def matched(spots: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match the spots and the peaks of one shot, both with fields or columns fs, ss as float64 (n, 2).

    Returns
    -------
    distance : ndarray of float64
        To the nearest peak of every spot within reach, else inf.
    real : ndarray of bool
        Of every peak.

    Examples
    --------
    >>> distance, real = matched(np.array([[5.0, 5.0], [9.0, 9.0]]), np.array([[5.0, 6.0]]))
    >>> distance.tolist(), real.tolist()
    ([1.0, inf], [True])
    """
    if len(spots) == 0 or len(peaks) == 0:
        return np.full(len(spots), np.inf), np.zeros(len(peaks), bool)
    apart = np.hypot(
        spots[:, None, 0] - peaks[None, :, 0],
        spots[:, None, 1] - peaks[None, :, 1],
    )
    nearest = apart.min(axis=1)
    return np.where(nearest <= REACH, nearest, np.inf), apart.min(axis=0) <= REACH


@dataclass
class Tally:
    """What one finder found of many shots; `add` takes one batch after the other.

    Attributes
    ----------
    found : list of ndarray of bool
        Of every good spot of a batch, in order.
    """

    found: list[np.ndarray] = field(default_factory=list)
    _photons: list[np.ndarray] = field(default_factory=list)  # of good spots
    _squares: float = 0.0  # of the distances of found good spots above 100 photons
    _counted: int = 0
    _peaks: np.ndarray = field(default_factory=lambda: np.zeros((len(CLASSES), 2), "i8"))  # all, real

    def add(self, spots: np.ndarray, shots: int, shot: np.ndarray, peaks: np.ndarray) -> None:
        """Add a batch.

        Parameters
        ----------
        spots : ndarray of SPOT_DTYPE
            Sorted by shot; empty for blanks.
        shots : int
        shot : ndarray of int, shape (n,)
            Shot of every peak, ascending.
        peaks : ndarray of float64, shape (n, 3)
            fs, ss, total.
        """
        numbers = np.arange(shots + 1)
        of_spots, of_peaks = np.searchsorted(spots["shot"], numbers), np.searchsorted(shot, numbers)
        centre = np.stack([spots["fs"], spots["ss"]], axis=1)
        distance, real = np.full(len(spots), np.inf), np.zeros(len(peaks), bool)
        for k in range(shots):
            mine, his = slice(*of_spots[k : k + 2]), slice(*of_peaks[k : k + 2])
            distance[mine], real[his] = matched(centre[mine], peaks[his, :2])
        good = spots["good"]
        self.found.append(np.isfinite(distance[good]))
        self._photons.append(spots["photons"][good])
        sure = good & np.isfinite(distance) & (spots["photons"] > 100)
        self._squares += float((distance[sure] ** 2).sum())
        self._counted += int(sure.sum())
        # What was found with less than the weakest spot stands in a class of its own, the first.
        kind = np.digitize(peaks[:, 2] / PHOTON, CLASSES)
        np.add.at(self._peaks, (kind, 0), 1)
        np.add.at(self._peaks, (kind, 1), real)

    def merge(self, other: Tally) -> None:
        """Add what another one has."""
        self.found += other.found
        self._photons += other._photons
        self._squares += other._squares
        self._counted += other._counted
        self._peaks += other._peaks

    def by_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Return of every good spot its class of true photons, 0 to 3, and whether it was found."""
        photons = np.concatenate([np.zeros(0), *self._photons])
        return np.digitize(photons, CLASSES) - 1, np.concatenate([np.zeros(0, bool), *self.found])

    def summary(self) -> dict[str, Any]:
        """Return recall and precision by class and in all, None where there is nothing to judge.

        ``recall`` has rows of from, to (None: no end), spots, found, share; ``precision`` has rows of from,
        to, peaks, real, share, the first row for peaks below 10 photons.
        """
        kind, found = self.by_class()
        spots = np.bincount(kind, minlength=len(CLASSES) - 1)
        hit = np.bincount(kind[found], minlength=len(CLASSES) - 1)
        peaks, real = self._peaks.T
        ends = [*CLASSES[:-1], None]
        return {
            "recall": [
                [ends[k], ends[k + 1], int(spots[k]), int(hit[k]), _share(hit[k], spots[k])]
                for k in range(len(CLASSES) - 1)
            ],
            "precision": [
                [([0.0, *ends])[k], ends[k], int(peaks[k]), int(real[k]), _share(real[k], peaks[k])]
                for k in range(len(CLASSES))
            ],
            "recall_all": _share(hit.sum(), spots.sum()),
            "precision_all": _share(real.sum(), peaks.sum()),
            "peaks": int(peaks.sum()),
            "real_peaks": int(real.sum()),
            "centroid_rms": math.sqrt(self._squares / self._counted) if self._counted else None,
        }


def _share(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def compare(ours: Tally, other: Tally) -> list[list[Any]]:
    """Compare two finders: rows of from, to, spots that only ours found, spots that only the other found.

    Both must have seen the same frames in the same order.
    """
    kind, found = ours.by_class()
    others_kind, others = other.by_class()
    np.testing.assert_array_equal(kind, others_kind)
    ends = [*CLASSES[:-1], None]
    return [
        [
            ends[k],
            ends[k + 1],
            int((found & ~others)[kind == k].sum()),
            int((others & ~found)[kind == k].sum()),
        ]
        for k in range(len(CLASSES) - 1)
    ]


def no_worse(gained: int, lost: int) -> bool:
    """Whether a finder that alone found `gained` spots, and alone missed `lost`, is as good as the other.

    Two finders that are equally good each win half of the spots on which they disagree; three standard
    deviations are allowed.

    Examples
    --------
    >>> no_worse(0, 0), no_worse(1, 4), no_worse(0, 20)
    (True, True, False)
    """
    return lost - gained <= 3 * math.sqrt(gained + lost)
