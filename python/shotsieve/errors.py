"""The errors shotsieve raises: each says what came, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ShotsieveError(Exception):
    """Base of every error that shotsieve raises on purpose; its text is meant for a user."""


class BadInput(ShotsieveError, ValueError):
    """An option, a recipe, a constant or a run is not what it has to be."""


class BackendUnavailable(ShotsieveError, RuntimeError):
    """The backend asked for does not exist on this machine; the text gives the reason."""


class NoRoom(ShotsieveError, MemoryError):
    """The memory of a device is not enough; the text gives the sizes."""


class UnreadableData(ShotsieveError, OSError):
    """A file exists but its data cannot be read; the text names the file and the trains it affects."""


class LateLoss(UnreadableData):
    """A module cannot be read in a train of which frames were given out before: what came of them is wrong.

    Whoever then reads the run from its begin, with the same source, is given none of that module and train.

    Parameters
    ----------
    lost : str
        What cannot be read, and in which trains.

    Attributes
    ----------
    lost : str
        The same, without what to do.
    """

    def __init__(self, lost: str) -> None:
        self.lost = f"{lost}, of which frames were given out before"
        super().__init__(f"{self.lost}: begin the run anew, with the same source")


class OutputError(ShotsieveError, OSError):
    """The output could not be written; nothing stands under its final names."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint such as ``" Did you mean 'threshold'?"``, or an empty string.

    Parameters
    ----------
    word : str
        What the user wrote.
    choices : iterable of str
        What would have been right.

    Returns
    -------
    str
        The hint, with a leading space, or ``""`` when nothing is near.

    Examples
    --------
    >>> nearest("treshold", ["threshold", "rule"])
    " Did you mean 'threshold'?"
    """
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError)
"""What h5py raises when a file is damaged: the library reports it in all these ways."""
