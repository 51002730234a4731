"""Bins of a column: edges as a recipe writes them, and the bin that every shot falls into."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput


def edges_of(text: str, option: str) -> tuple[float, ...]:
    """Read edges of bins, separated by blanks or commas.

    Parameters
    ----------
    text : str
    option : str
        Key of the recipe, for the message.

    Raises
    ------
    BadInput
        If they are no numbers; `check_edges` looks at their order.

    Examples
    --------
    >>> edges_of("0, 0.5 1", "bins")
    (0.0, 0.5, 1.0)
    """
    edges = []
    for part in text.replace(",", " ").split():
        try:
            edges.append(float(part))
        except ValueError:
            raise BadInput(f'{option}: "{part}" is no number; expected edges such as "-1 0 1 2"') from None
    return tuple(edges)


def check_edges(edges: tuple[float, ...], option: str) -> None:
    """Refuse edges that make no bins.

    Raises
    ------
    BadInput
        If there are fewer than two, or they do not ascend.
    """
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise BadInput(f"{option} = {edges}: expected at least two edges, ascending")


def bin_of(values: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    """Return the bin of every value: from its lower edge to below the upper one, the last with both.

    Parameters
    ----------
    values : ndarray of float64, shape (S,)
        NaN is in no bin.
    edges : tuple of float
        Of G bins, G + 1 of them.

    Returns
    -------
    ndarray of int64, shape (S,)
        -1 outside of all bins.

    Examples
    --------
    >>> bin_of(np.array([0.2, 1.0, 2.0, 3.0]), (0, 1, 2)).tolist()
    [0, 1, 1, -1]
    """
    lines = np.asarray(edges, "f8")
    where = np.searchsorted(lines, values, side="right") - 1
    where[values == lines[-1]] = len(lines) - 2
    where[~((values >= lines[0]) & (values <= lines[-1]))] = -1
    return where


def middles(edges: tuple[float, ...]) -> np.ndarray:
    """Return the middle of every bin, float64.

    Examples
    --------
    >>> middles((0, 1, 3)).tolist()
    [0.5, 2.0]
    """
    lines = np.asarray(edges, "f8")
    return (lines[1:] + lines[:-1]) / 2
