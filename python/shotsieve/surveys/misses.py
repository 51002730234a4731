"""The false negatives of a reduction that kept some of its misses at random."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..keep import PROBABILITY
from ..table import FATES, Table
from ..write.output import SIDE
from .intervals import LEVEL, Share, weighted_share

if TYPE_CHECKING:
    from ..detectors import Detector


@dataclass(frozen=True)
class Reduction:
    """What a reduction kept, as far as a survey needs it.

    Attributes
    ----------
    kept : ndarray of bool, shape (S,)
        Shots of the run that is looked at which it kept.
    probability : ndarray of float64, shape (S,)
        With which each was kept: 1 by the rule, less by chance; NaN for others.
    by_rule, refused : int
        Shots of the whole reduction that the rule kept, and that it did not keep.
    """

    kept: np.ndarray
    probability: np.ndarray
    by_rule: int
    refused: int

    @classmethod
    def find(cls, path: str | os.PathLike[str], table: Table, detector: Detector) -> Reduction:
        """Read the table of a reduction, and find the shots of a run in it.

        Parameters
        ----------
        path : path
            A reduced run, or its table.
        table : Table
            Of the run that is looked at: raw or reduced.
        detector : Detector

        Raises
        ------
        BadInput
            If no misses were kept at random, or the run is another.
        """
        told = Table.open(path)
        if PROBABILITY not in told.columns:
            raise BadInput(
                f"{path}: this reduction kept no misses at random, so nothing tells what it lost: reduce "
                "with [keep] misses = 0.01, for instance, or leave --misses out"
            )
        # In a reduced run whose files hold trains, frames are counted anew; their cells stay.
        key = "cell_id" if detector.layout == "trains" else "pulse_id"
        places = zip(told.train_id.tolist(), getattr(told, key).tolist(), strict=True)
        where = {place: at for at, place in enumerate(places)}
        mine = zip(table.train_id.tolist(), getattr(table, key).tolist(), strict=True)
        at = np.array([where.get(place, -1) for place in mine], "i8")
        probability = told.columns[PROBABILITY]
        kept = told.fate == FATES.index("kept")
        asked = (told.fate <= FATES.index("dropped")) & (probability > 0)
        here = (at >= 0) & kept[at]
        if not here.any():
            raise BadInput(
                f"{path}: none of the shots that this reduction kept is in the run: is it another run?"
            )
        return cls(
            here,
            np.where(here, probability[at], np.nan),
            int((asked & (probability >= 1)).sum()),
            int((asked & (probability < 1)).sum()),
        )


def table_beside(run: Any) -> Path | None:
    """Return the table of a reduced run; None where it is none, or keeps no misses."""
    if not isinstance(run, str | os.PathLike):
        return None
    path = Path(run) / SIDE / "table.h5"
    if not path.is_file() or PROBABILITY not in Table.open(path).columns:
        return None
    return path


def false_negatives(hit: np.ndarray, probability: np.ndarray, reduction: Reduction) -> Share:
    """Return which share of all hits a reduction did not keep by its rule.

    Hits are those that some setting calls so, of the shots that were kept: by the rule, and by chance. Each
    of the latter stands for 1 / probability. Both shares have intervals of half the error (Bonferroni), so
    that what follows from both has the level of `LEVEL`.

    Parameters
    ----------
    hit : ndarray of bool, shape (n,)
    probability : ndarray of float64, shape (n,)
        Of these shots being kept.
    reduction : Reduction

    Returns
    -------
    Share
        Counts are numbers of shots of the whole reduction, estimated.

    Examples
    --------
    >>> none = np.zeros(0, bool)
    >>> hit, probability = np.array([True, True, False]), np.array([1.0, 0.5, 0.5])
    >>> false_negatives(hit, probability, Reduction(none, none, by_rule=1, refused=4)).value
    0.6666666666666666
    """
    chance = probability < 1
    level = 1 - (1 - LEVEL) / 2
    lost = weighted_share(hit[chance], 1 / probability[chance], level)
    found = weighted_share(hit[~chance], probability[~chance], level)

    def rate(of_refused: float, of_kept: float) -> float:
        """Share of the hits that are lost, at shares of hits among the refused and the kept."""
        gone, there = reduction.refused * of_refused, reduction.by_rule * of_kept
        return gone / (gone + there) if gone + there > 0 else 0.0

    if not lost.of or not found.of:
        return Share(0, 0, 0.0, 1.0)
    gone, there = reduction.refused * lost.value, reduction.by_rule * found.value
    return Share(gone, gone + there, rate(lost.low, found.high), rate(lost.high, found.low))
