"""What the detector says of each frame in `status`: 0 where nothing went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DAMAGE, UnreadableData
from .exdf import opened, reason


def odd_frames(
    files: Sequence[Sequence[tuple[Path, str]]], where: np.ndarray, base: Sequence[np.ndarray]
) -> np.ndarray:
    """Return which shots have a frame whose status is not 0, bool (S,).

    Parameters
    ----------
    files : sequence of sequence of (Path, str)
        For each module: file and group of each of its parts.
    where : ndarray of int, shape (S, M)
        Frame of a module, counted through its parts; -1 where absent.
    base : sequence of ndarray of int64
        For each module: first number of each of its parts in `where`, and the end.

    Raises
    ------
    UnreadableData
        If a file is damaged. One without `status` says nothing of its frames.

    Examples
    --------
    >>> odd_frames([[]], np.full((2, 1), -1), [np.zeros(1, "i8")]).tolist()
    [False, False]
    """
    odd = np.zeros(len(where), bool)
    for module, parts in enumerate(files):
        mine = where[:, module]
        for number, (path, group) in enumerate(parts):
            here = np.flatnonzero((mine >= base[module][number]) & (mine < base[module][number + 1]))
            with opened(path) as f:
                try:
                    if f"{group}/status" not in f:
                        continue
                    status = f[f"{group}/status"][()].reshape(-1)
                    odd[here] |= status[mine[here] - base[module][number]] != 0
                except DAMAGE as e:
                    raise UnreadableData(f"{path}: {group}/status cannot be read ({reason(e)})") from e
    return odd
