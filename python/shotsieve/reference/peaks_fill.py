"""Which strong pixels of a panel belong together; and which did in older programs.

A component is a set of strong pixels that touch, corners included. OM 23.8, Cheetah and CrystFEL up to 0.12.0
also visit the slot behind the last valid entry of their queue. It holds (0, 0), or the position, in its own
panel, of a pixel of an earlier and larger component. Strong pixels around that position in the present panel
are joined to the component, however far away: two spots of one pixel can become one "peak" of two pixels
between them. The oracle repeats this to show where a difference to such a program comes from; nothing else
does.
"""

from __future__ import annotations

import numpy as np

__all__ = ["components", "stale_fill"]

AROUND = ((0, 0), (-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # in this order


def components(strong, queue=None):
    """Yield the components that have a pixel off the border of the panel, by the first such pixel.

    Parameters
    ----------
    strong : ndarray of bool, shape (height, width)
    queue : dict or None
        Slots written so far: fill as older programs do. None fills correctly.

    Yields
    ------
    ss, fs : ndarray of int
        Positions of the members in the panel.

    Examples
    --------
    >>> strong = np.zeros((8, 8), bool)
    >>> strong[[0, 1, 5], [4, 5, 5]] = True
    >>> [ss.tolist() for ss, fs in components(strong)]
    [[1, 0], [5]]
    """
    free = strong.copy()
    height, width = strong.shape
    for ss, fs in np.argwhere(strong).tolist():
        if not (0 < ss < height - 1 and 0 < fs < width - 1 and free[ss, fs]):
            continue
        fill = _fill(free, ss, fs) if queue is None else stale_fill(free, ss, fs, queue)
        yield np.array([at[0] for at in fill]), np.array([at[1] for at in fill])


def _fill(free, ss, fs):
    """Take the 8-connected pixels of one component out of `free`, and return them breadth first."""
    height, width = free.shape
    free[ss, fs] = False
    members = [(ss, fs)]
    for at_ss, at_fs in members:
        for dy, dx in AROUND:
            y, x = at_ss + dy, at_fs + dx
            if 0 <= y < height and 0 <= x < width and free[y, x]:
                free[y, x] = False
                members.append((y, x))
    return members


def stale_fill(free, ss, fs, queue):
    """Take a component out of `free` as the older programs do.

    Parameters
    ----------
    free : ndarray of bool, shape (height, width)
        Strong pixels of the panel that belong to no component yet; changed.
    ss, fs : int
        Where the component starts.
    queue : dict of int to (int, int)
        Slots written so far, over all panels; changed.

    Returns
    -------
    list of (int, int)
        Positions (ss, fs) of the members in the panel, in the order in which they were joined.

    Examples
    --------
    >>> free = np.zeros((64, 64), bool)
    >>> free[[1, 40], [1, 40]] = True
    >>> stale_fill(free, 40, 40, {})
    [(40, 40), (1, 1)]
    """
    height, width = free.shape
    members = [(ss, fs)]
    free[ss, fs] = False
    queue[0] = (ss, fs)
    before = 0
    while before != len(members):
        before, slot = len(members), 0
        while slot <= len(members):  # one too many
            for dy, dx in AROUND:
                # Read anew for each neighbour: a pixel joined from the stale slot is written into it.
                at_ss, at_fs = queue.get(slot, (0, 0))
                y, x = at_ss + dy, at_fs + dx
                if 0 <= y < height and 0 <= x < width and free[y, x]:
                    free[y, x] = False
                    queue[len(members)] = (y, x)
                    members.append((y, x))
            slot += 1
    return members
