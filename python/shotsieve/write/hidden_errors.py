"""Errors of HDF5 that nobody would hear of."""

from __future__ import annotations

import errno
import sys
from typing import Any

from .disk_errors import number_in


class HiddenErrors:
    """Hears of errors that h5py meets where it cannot raise them: when an object goes away.

    HDF5 writes what it holds back of a dataset when that is closed, and h5py closes it when nobody refers to
    it any more. If that write fails, Python only prints "Exception ignored": the data would be lost, and the
    file would look complete.

    Examples
    --------
    >>> with HiddenErrors() as hidden:
    ...     hidden.check()
    """

    def __init__(self) -> None:
        self._found: list[str] = []
        self._over = False
        self._before: Any = None

    def __enter__(self) -> HiddenErrors:
        self._over = False
        self._before, sys.unraisablehook = sys.unraisablehook, self._hear
        return self

    def __exit__(self, *error: object) -> None:
        # Somebody else may have taken the place meanwhile: they go on calling us, and we only pass it on.
        self._over = True
        if sys.unraisablehook == self._hear:
            sys.unraisablehook = self._before

    def _hear(self, told: Any) -> None:
        if (
            not self._over
            and isinstance(told.exc_value, (OSError, RuntimeError))
            and "h5py" in repr(told.object)
        ):
            self._found.append(str(told.exc_value))
        self._before(told)

    def check(self) -> None:
        """Raise what was heard of.

        Raises
        ------
        OSError
            With the number that HDF5 tells.
        """
        if self._found:
            code = number_in(self._found[0]) or errno.EIO
            raise OSError(code, f"HDF5 could not write what it held back: {self._found[0]}")
