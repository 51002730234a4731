"""Values of control sources and other data with one row per train, joined to the shots by train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import BadInput, nearest
from .annotate import source_and_key
from .bunches import collect
from .exdf import RunFile, train_text
from .xgm import rows_of


def slow_column(
    files: Sequence[RunFile], name: str, text: str, train_id: np.ndarray, notes: list[str]
) -> np.ndarray:
    """Read one value per train, and give it to every shot of the train.

    Parameters
    ----------
    files : sequence of RunFile
    name : str
        Of the column, for error texts.
    text : str
        ``source:key``; the key of a control source, or of an instrument source with one number per train.
    train_id : ndarray of uint64, shape (S,)
        Train of every shot.
    notes : list of str
        Gets the trains without a value.

    Returns
    -------
    ndarray of float64, shape (S,)
        NaN where the train has none.

    Raises
    ------
    BadInput
        If the run has no such source or key, or it is no number, or there are several per train.
    UnreadableData
        When it is damaged.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> slow_column(files, "delay", "SPB_LAS/MOTOR/DELAY:actualPosition", trains, [])    # doctest: +SKIP
    array([0.2, 0.2, 0.3])
    """
    source, group, key = source_and_key(text, name)
    known = sorted({s for f in files for s in (f.instrument if group else f.control)})
    if source not in known:
        raise BadInput(
            f'[annotate] {name} = "{text}": the run has no {"instrument" if group else "control"} source '
            f"{source!r}.{nearest(source, known)}"
        )
    found = collect(files, source, group, key)
    if found is None:
        raise BadInput(f'[annotate] {name} = "{text}": {source} has no key {key!r}, or no data under it')
    values = found[1]
    if values.shape[1] != 1 or values.dtype.kind not in "iufb":
        raise BadInput(
            f'[annotate] {name} = "{text}": {values.shape[1]} values of type {values.dtype} per train; '
            "expected one number"
        )
    at, have = rows_of(found[0], train_id)
    column = np.where(have, values[at, 0].astype(np.float64), np.nan)
    if np.isnan(column).any():
        notes.append(
            f"{name} is unknown in trains {train_text(train_id[np.isnan(column)])}: {text} has no value"
        )
    return column
