"""Pump-probe differences as NXdata, in ``shotsieve/pump_probe.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..measure.pump_probe import Difference
from .nxdata import NxFile

FORMAT = "shotsieve pump-probe"
VERSION = 1
FILE_NAME = "pump_probe.h5"
_WORDS = {
    "difference": "pumped minus not pumped",
    "relative": "difference over the average that is not pumped",
    "on": "average of the pumped shots",
    "off": "average of the shots that are not pumped",
}


class PumpProbeFile(NxFile):
    """A file of differences, with a group for each thing that was measured; see `NxFile`.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    settings : mapping of str to str, int, float or bool
        Attributes of the entry.

    Examples
    --------
    >>> with PumpProbeFile(path, {}) as file:    # doctest: +SKIP
    ...     file.put_difference("profile", "q", q, "1/A", "keV", delays, [found])
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        super().__init__(path, FORMAT, VERSION, "the file of pump-probe differences", settings)

    def put_difference(
        self,
        name: str,
        axis: str,
        values: np.ndarray,
        axis_unit: str,
        unit: str,
        delays: np.ndarray,
        found: Iterable[Difference],
        shape: tuple[int, ...] = (),
    ) -> None:
        """Write averages and differences.

        Parameters
        ----------
        name : str
            Of the group.
        axis : str
        values : ndarray of shape (n,)
            Of the axis, numbers or names.
        axis_unit, unit : str
        delays : ndarray of float64, shape (D,)
            Bins of the delay; a single NaN where there is none, and the arrays then have no such axis.
        found : iterable of Difference
            Of all delays, in parts: those of frames may take more memory than there is.
        shape : tuple of int
            What the n values are, where that is more than one axis.
        """
        single = len(delays) == 1 and np.isnan(delays[0])
        tail = shape or (len(values),)
        axes = (() if single else ("delay",)) + ((axis,) if not shape else (".",) * len(shape))
        self.entry.attrs.setdefault("default", name)
        group = self.data(name, "difference", axes)
        if not single:
            self.put(group, "delay", delays, "", "delay, middle of the bin")
        if not shape:
            stored = values.astype(object) if values.dtype.kind == "U" else values
            self.put(group, axis, stored, axis_unit, f"{axis} of the values")
        told = {}
        for word, meaning in _WORDS.items():
            own = "" if word == "relative" else unit
            told |= {word: (own, meaning), f"{word}_errors": (own, f"standard error of: {meaning}")}
        told |= dict.fromkeys(("on_shots", "off_shots"), ("", "shots that were averaged"))
        datasets, first = {}, 0
        for part in found:
            for word, how in told.items():
                array = getattr(part, word)
                if word not in datasets:
                    whole = tail if single else (len(delays), *tail)
                    datasets[word] = self.room(group, word, whole, array.dtype, *how)
                rows = array.reshape(len(array), *tail)
                datasets[word][... if single else slice(first, first + len(rows))] = (
                    rows[0] if single else rows
                )
            first += len(array)
            self.check()
