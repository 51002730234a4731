"""Where the frames of datasets lie: asked of HDF5 once for each, and what there is to say about it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from .frame_map import FrameMap, map_frames

if TYPE_CHECKING:
    from ..detectors import Detector
    from .recorded import Recorded

EDGES = "rows of calibration at the edges of the recorded frames are not read, nor written"

MOST = 1024
"""Layouts kept at a time; one holds 8 bytes per chunk of a file."""


class Layouts:
    """The layouts of a run's datasets. May be asked by several threads.

    Parameters
    ----------
    detector : Detector
    notes : list of str
        What a reader of the accounts should know is added, once.
    first_plane : bool
        Of every frame the first plane alone is wanted.

    Examples
    --------
    >>> Layouts(detector, notes).of(piece, "data").why_h5py    # doctest: +SKIP
    ''
    """

    def __init__(self, detector: Detector, notes: list[str], first_plane: bool = False) -> None:
        self._detector, self._notes, self._first_plane = detector, notes, first_plane
        self._maps: OrderedDict[tuple[str, str], FrameMap] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, piece: Recorded, key: str) -> FrameMap:
        """Return the layout of a dataset."""
        name = (str(piece.file.path), f"{piece.group}/{key}")
        with self._lock:
            if name in self._maps:
                self._maps.move_to_end(name)
                return self._maps[name]
            layout = map_frames(piece.file.path, name[1], self._lead(piece)).without_edges(self._detector)
            if any(layout.edges):
                self._say(EDGES)
            if layout.why_h5py:
                self._say(f"{self._detector.group}.{key} is read through h5py: {layout.why_h5py}")
            self._maps[name] = layout = layout.first_plane() if self._first_plane else layout
            if len(self._maps) > MOST:
                self._maps.popitem(last=False)
            return layout

    def _lead(self, piece: Recorded) -> int:
        """Return the number of axes that count frames."""
        if piece.form is not None:
            return piece.form.lead
        return 1 if self._detector.layout == "frames" else 2

    def _say(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)
