"""Peaks beside OM's rows: which are the same, and why the others are not.

Two things of OM's make a difference. It reads one stale entry of its queue, which joins pixels far away to a
peak (docs/peaks.md). And it adds in float32, with row numbers of the whole slab: where a centroid lies beside
a half, it may centre the ring of the local background on the next pixel. So every frame is searched by the
oracle too, with the stale entry: that has to find all that OM finds, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from peak_frames import SETTINGS
from shotsieve.bench.om_peer import Found, Peer
from shotsieve.measure.peak_finder import Peaks
from shotsieve.reference.peaks import Found as OracleFound
from shotsieve.reference.peaks import find_peaks

POSITION = 5e-3  # pixels: OM's sums of row numbers up to 8191, ten times their rounding
NEAR_HALF = 8192 * 2.0**-22


@dataclass(frozen=True)
class Layout:
    """Where the pixels of a slab are: all that a search needs beside a frame and a setting."""

    radius: np.ndarray  # float32 (rows, columns)
    mask: np.ndarray  # bool (rows, columns)
    panels: np.ndarray  # int32 (n, 4)


def same_component(records: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return bool (records, rows of OM): as many pixels at the same place."""
    return (
        (np.abs(records["fs"][:, None] - rows[:, 1]) < POSITION)
        & (np.abs(records["ss"][:, None] - rows[:, 2]) < POSITION)
        & (records["n_pixels"][:, None] == rows[:, 4])
    )


def same_peak(records: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return bool (records, rows of OM): the same component, and its total within 1e-4."""
    return same_component(records, rows) & _same_total(records["total"][:, None], rows[:, 3])


def _same_total(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one - other) < 1e-4 * np.abs(other) + 1e-3


def same_rows(peaks: Peaks, found: Found) -> int:
    """Count OM's rows that are ours too."""
    return sum(int(same_peak(peaks[shot], found.of(shot)).any(axis=0).sum()) for shot in range(len(peaks)))


@dataclass
class Agreement:
    """What a comparison counted.

    Attributes
    ----------
    rows, same : int
        What OM found, and what of it is ours, pixels and total alike.
    ours : int
        What we found.
    stale : int
        Rows of OM that are not ours; the oracle finds them as soon as it reads the stale entry too.
    half : int
        Rows with the pixels of a peak of ours, whose centroid lies beside a half: their total is that of a
        ring around the next pixel.
    emulated : int
        Rows of OM that the oracle finds when it reads the stale entry, those beside a half among them.
    unexplained : int
        Other rows of OM; peaks of the oracle with the stale entry that OM lacks; and peaks of ours that OM
        lacks, though its entry does not join them.
    """

    rows: int = 0
    same: int = 0
    ours: int = 0
    stale: int = 0
    half: int = 0
    emulated: int = 0
    unexplained: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(count + vars(other)[name] for name, count in vars(self).items()))


def compare_set(
    layout: Layout, frames: np.ndarray, setting: str, peaks: Peaks, peer: Peer, name: str
) -> Agreement:
    """Compare what we found in frames with what the peer finds, which has loaded them under a name."""
    found = peer.find(name, SETTINGS[setting])
    shots = (
        compare_shot(layout, frame, setting, peaks[shot], found.of(shot)) for shot, frame in enumerate(frames)
    )
    return sum(shots, Agreement())


def compare_shot(
    layout: Layout, frame: np.ndarray, setting: str, mine: np.ndarray, rows: np.ndarray
) -> Agreement:
    """Compare the records of one shot with OM's rows, and both with the oracle that reads the stale entry."""
    stale = find_peaks(
        frame, layout.mask, layout.radius, layout.panels, **SETTINGS[setting], compat="om-23.8"
    )
    same, like_stale = same_peak(mine, rows), same_peak(stale.records, rows)
    beside = np.zeros(len(rows), bool)
    for number in np.flatnonzero(~like_stale.any(axis=0)):
        (twins,) = np.nonzero(same_component(stale.records, rows[number, None])[:, 0])
        if len(twins) == 1 and beside_half(layout, frame, setting, stale, int(twins[0]), rows[number]):
            beside[number] = like_stale[twins[0], number] = True
    emulated, ours = like_stale.any(axis=0), same.any(axis=0)
    half = beside & same_component(mine, rows).any(axis=0)
    lacking = mine[~(same | (same_component(mine, rows) & half)).any(axis=1)]
    as_rows = np.stack([stale.records[name] for name in ("panel", "fs", "ss", "total", "n_pixels")], axis=1)
    return Agreement(
        rows=len(rows),
        same=int(ours.sum()),
        ours=len(mine),
        stale=int((emulated & ~ours & ~half).sum()),
        half=int(half.sum()),
        emulated=int(emulated.sum()),
        unexplained=int(
            (~emulated).sum()
            + (~like_stale.any(axis=1)).sum()
            + same_component(lacking, as_rows).any(axis=1).sum()
        ),
    )


def beside_half(
    layout: Layout, frame: np.ndarray, setting: str, found: OracleFound, number: int, row: np.ndarray
) -> bool:
    """Return whether a row is a peak of the oracle with its ring around the next pixel.

    Parameters
    ----------
    number : int
        Of the peak in `found`; its centroid must lie so near a half that float32 decides its side.
    row : ndarray of float64
        OM's, with another total than that peak.
    """
    members = found.members[number]
    bins = np.rint(layout.radius).astype(int)
    values = frame.ravel()[members].astype("f8")
    weights = values - found.offset[bins.ravel()[members]]
    centre = np.array(np.unravel_index(members, frame.shape)) @ weights / weights.sum()
    top, bottom, left, right = layout.panels[found.records["panel"][number]]
    inside = np.zeros(frame.shape, bool)
    inside[top:bottom, left:right] = True
    with np.errstate(invalid="ignore"):
        usable = inside & layout.mask & np.isfinite(frame) & (frame < found.threshold[bins])
    reach = 2 * SETTINGS[setting]["local_bg_radius"]
    for ss, fs in product(*({np.rint(at - NEAR_HALF), np.rint(at + NEAR_HALF)} for at in centre)):
        y, x = np.ogrid[: frame.shape[0], : frame.shape[1]]
        y, x = y - ss, x - fs
        ring = (y * y + x * x <= reach * reach) & (y < reach) & (x < reach) & usable
        background = frame[ring].astype("f8")
        total = values.sum() - len(values) * background.mean()
        if _same_total(total, row[3]) and abs(background.std() - row[6]) < 1e-3 * row[6]:
            return (ss, fs) != tuple(np.rint(centre))
    return False
