"""Peaks beside OM's rows: which are the same, and why the others are not.

Two things of OM's make a difference. It reads one stale entry of its queue, which joins pixels far away to a
peak (docs/peaks.md). And it adds in float32: where a centroid lies beside a half, the ring of the local
background may be centred on the next pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from om_peer import Found, Peer
from peak_frames import SETTINGS, Scene
from shotsieve.measure.peak_finder import Peaks
from shotsieve.reference.peaks import Found as OracleFound
from shotsieve.reference.peaks import find_peaks
from shotsieve.reference.peaks_margin import distance_to_half

POSITION = 5e-3  # pixels: OM's sums of row numbers up to 8191, ten times their rounding
NEAR_HALF = 8192 * 2.0**-22
NAMES = ("fs", "ss", "total", "n_pixels")


def same_component(records: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return bool (records, rows of OM): as many pixels at the same place."""
    return (
        (np.abs(records["fs"][:, None] - rows[:, 1]) < POSITION)
        & (np.abs(records["ss"][:, None] - rows[:, 2]) < POSITION)
        & (records["n_pixels"][:, None] == rows[:, 4])
    )


def same_peak(records: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return bool (records, rows of OM): the same component, and its total within 1e-4."""
    total = rows[:, 3]
    near = np.abs(records["total"][:, None] - total) < 1e-4 * np.abs(total) + 1e-3
    return same_component(records, rows) & near


def same_rows(peaks: Peaks, found: Found) -> int:
    """Count OM's rows that are ours too."""
    return sum(int(same_peak(peaks[shot], found.of(shot)).any(axis=0).sum()) for shot in range(len(peaks)))


@dataclass
class Agreement:
    """What a comparison counted.

    Attributes
    ----------
    rows, same : int
        What OM found, and what of it is ours.
    ours : int
        What we found.
    stale : int
        Rows of OM that are not ours, and are the oracle's as soon as it reads the stale entry too.
    half : int
        Rows whose component is ours, and whose centroid lies beside a half.
    unexplained : int
        Other rows of OM; and peaks of ours that OM lacks, though its entry does not join them.
    """

    rows: int = 0
    same: int = 0
    ours: int = 0
    stale: int = 0
    half: int = 0
    unexplained: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(count + vars(other)[name] for name, count in vars(self).items()))


def compare_set(
    scene: Scene, frames: np.ndarray, setting: str, peaks: Peaks, peer: Peer, name: str
) -> Agreement:
    """Compare what we found in frames with what the peer finds, which has loaded them under a name."""
    found = peer.find(name, SETTINGS[setting])
    shots = (
        compare_shot(scene, frame, setting, peaks[shot], found.of(shot)) for shot, frame in enumerate(frames)
    )
    return sum(shots, Agreement())


def compare_shot(
    scene: Scene, frame: np.ndarray, setting: str, mine: np.ndarray, rows: np.ndarray
) -> Agreement:
    """Compare the records of one shot with OM's rows; the oracle is asked where they differ."""
    equal = same_peak(mine, rows)
    only_mine, only_rows = mine[~equal.any(axis=1)], rows[~equal.any(axis=0)]
    counts = Agreement(rows=len(rows), same=len(rows) - len(only_rows), ours=len(mine))
    if not len(only_mine) and not len(only_rows):
        return counts
    stale = _oracle(scene, frame, setting, "om-23.8").records
    explained = same_peak(stale, only_rows).any(axis=0)
    counts.stale = int(explained.sum())
    joined = ~np.isin(only_mine[list(NAMES)], stale[list(NAMES)])
    for row in only_rows[~explained]:
        twin = same_component(only_mine, row[None])[:, 0]
        if twin.sum() == 1 and _beside_half(scene, frame, _oracle(scene, frame, setting), row):
            counts.half += 1
            joined |= twin
        else:
            counts.unexplained += 1
    counts.unexplained += int((~joined).sum())
    return counts


def _oracle(scene: Scene, frame: np.ndarray, setting: str, compat: str | None = None) -> OracleFound:
    return find_peaks(frame, scene.mask, scene.radius, scene.panels, **SETTINGS[setting], compat=compat)


def _beside_half(scene: Scene, frame: np.ndarray, found: OracleFound, row: np.ndarray) -> bool:
    """Return whether the centroid of a component lies so near a half that float32 decides its side."""
    members = found.members[int(np.argmax(same_component(found.records, row[None])[:, 0]))]
    return distance_to_half(frame, scene.radius, members, found.offset) < NEAR_HALF
