"""What a source of shots is: the words every reader of runs and every stage above it share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from .annotate import AnnotateParams

if TYPE_CHECKING:
    from .beside import Beside
    from .corrected import CorrectedForm


class ShotStatus(IntEnum):
    """What is known about a shot before a single pixel of it is read.

    ``UNREADABLE`` is set by whoever meets the damage while reading; a source never
    hides a shot it could not read.
    """

    OK = 0
    SUSPECT = 1
    DUPLICATE = 2
    INCONSISTENT = 3
    UNREADABLE = 4


@dataclass(frozen=True)
class RunMeta:
    """Where a run comes from, as its files say it (``METADATA`` of the EuXFEL format).

    Attributes
    ----------
    proposal, run : int
        Numbers of the proposal and of the run; 0 where the files do not say.
    creation_date, update_date : str
        ``YYYYMMDDThhmmssZ``, or empty. These dates go to the output, so that the
        same input gives the same bytes.
    sample, run_type, daq_library, karabo_framework : str
        Free text of the data acquisition, or empty.
    """

    proposal: int = 0
    run: int = 0
    creation_date: str = ""
    update_date: str = ""
    sample: str = ""
    run_type: str = ""
    daq_library: str = ""
    karabo_framework: str = ""


@dataclass(frozen=True)
class OperatingMode:
    """How the detector was driven; every value is ``None`` where the run does not say.

    Attributes
    ----------
    gain_mode : str or None
        ``"adaptive"``, ``"fixed_high"``, ``"fixed_medium"`` or ``"fixed_low"``.
    cells : int or None
        Number of memory cells.
    rate_mhz : float or None
        Frame rate in MHz.
    integration_time : float or None
        In the unit of the detector's constants (AGIPD: clock cycles, JUNGFRAU: us).
    photon_energy_kev : float or None
        In keV.
    distance_m : float or None
        Sample to detector, in m.
    gain_setting : int or None
        Setting of the analogue gain, where the detector has one (a condition of its constants).
    bias_voltage : float or None
        Sensor bias in V.
    parallel_gain : int or None
        1 where every pulse was recorded in high, medium and low gain at once, else 0; only LPD says so.
    memory_cell_order : str or None
        Memory cells in the order in which a train fills them, as `shotsieve.cell_order.order_of` writes it;
        only where constants depend on it (`Detector.cell_order`).
    origin : mapping of str to str
        For each field that is known: the source and key it was read from.
    """

    gain_mode: str | None = None
    cells: int | None = None
    rate_mhz: float | None = None
    integration_time: float | None = None
    photon_energy_kev: float | None = None
    distance_m: float | None = None
    gain_setting: int | None = None
    bias_voltage: float | None = None
    parallel_gain: int | None = None
    memory_cell_order: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShotList:
    """Every shot of a run, one row each, sorted by (train_id, pulse_id).

    Attributes
    ----------
    train_id, pulse_id : ndarray of uint64, shape (S,)
        The key of a shot. Where the detector has no pulseId it is the index in the train.
    cell_id : ndarray of int32, shape (S,)
        Memory cell: the address of the constants.
    present : ndarray of bool, shape (S, M)
        Which modules recorded the shot.
    status : ndarray of uint8, shape (S,)
        Values of `ShotStatus`.
    """

    train_id: np.ndarray
    pulse_id: np.ndarray
    cell_id: np.ndarray
    present: np.ndarray
    status: np.ndarray

    def __len__(self) -> int:
        return len(self.train_id)


@dataclass(frozen=True)
class TrainList:
    """Every train that any detector file of the run mentions, empty ones included.

    Attributes
    ----------
    train_id : ndarray of uint64, shape (T,)
        Strictly increasing.
    timestamp : ndarray of uint64, shape (T,)
        Nanoseconds since the epoch; 0 where the files do not say.
    expected : ndarray of int32, shape (T,)
        Shots the train should hold: those it holds, or for a train without any the
        usual number of the run.
    """

    train_id: np.ndarray
    timestamp: np.ndarray
    expected: np.ndarray

    def __len__(self) -> int:
        return len(self.train_id)


@runtime_checkable
class Source(Protocol):
    """Where shots come from: a run folder, arrays in memory, a simulation.

    Attributes
    ----------
    detector : shotsieve.detectors.Detector
        The detector family.
    name : str
        The detector's own name, e.g. ``"SPB_DET_AGIPD1M-1"``.
    modules : tuple of int
        Module numbers, ascending: axis 1 of everything this source gives. Detectors with
        a fixed number of modules list all of them, absent ones too.
    raw_names : dict of int to str
        Module number -> name under which the run recorded it, e.g. ``"SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"``;
        without the modules that no file has, and empty for a source in memory.
    shots : ShotList
    trains : TrainList
    mode : OperatingMode
    meta : RunMeta
    readable : ndarray of int64
        Indices into `shots` with status OK, ascending.
    notes : list of str
        The odd things met, in words, with counts.
    files : list of str
        Names and sizes of the input files, in words; empty for a source in memory.
    paths : list of Path
        The same files; empty for a source in memory.
    others : list of Path
        Those of them that hold no detector's frames: control data, beam, motors.
    beside : Beside or None
        What the detector's files hold beside the frames; None for a source in memory.
    missing_shots : int
        Shots that should be there by the usual pattern of the run and are not.
    sequences : list of int
        First train of each file of the first module that was recorded; empty for a source in memory.
    corrected : CorrectedForm or None
        What is known of the values of frames that are calibrated already; None for raw words.
    """

    detector: Any
    name: str
    modules: tuple[int, ...]
    raw_names: dict[int, str]
    shots: ShotList
    trains: TrainList
    mode: OperatingMode
    meta: RunMeta
    readable: np.ndarray
    notes: list[str]
    files: list[str]
    paths: list[Path]
    others: list[Path]
    beside: Beside | None
    missing_shots: int
    sequences: list[int]
    corrected: CorrectedForm | None

    def columns(
        self, params: AnnotateParams | None = None, mode: OperatingMode | None = None
    ) -> dict[str, np.ndarray]:
        """Extra columns per shot (float64, shape (S,)); NaN means unknown.

        `params` says how shots are annotated, `mode` how the detector was driven, where that is known better
        than by the source.
        """
        ...

    def selected(self, wanted: np.ndarray) -> Source:
        """Return this source with only those shots readable that are wanted, bool (S,)."""
        ...

    def of_modules(self, modules: Sequence[int]) -> Source:
        """Return this source with only those modules; its shots and their status stay the same."""
        ...

    def changed(self) -> list[str]:
        """Names of input files that are gone or were written since the source was opened."""
        ...

    def cuts(self, max_bytes: int) -> list[tuple[int, int]]:
        """Consecutive ranges of `readable` that fit into `max_bytes` of raw words."""
        ...

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Fill `out`, uint16 (stop - start, M, planes, ss, fs), with the raw words of a range.

        Frames of absent modules are left untouched: `ShotList.present` says which.

        Raises
        ------
        UnreadableData
            When anything could not be read; the text names file, dataset and trains.
        """
        ...


def lost_of(source: Any, rows: np.ndarray) -> np.ndarray | None:
    """Return which frames of some shots could not be read, bool (n, M), once they were asked for.

    None for a source to which that is an error; only runs that were opened as tolerant know losses.
    """
    losses = getattr(source, "losses", None)
    return None if losses is None else losses.frames[rows]


def begin(source: Any) -> None:
    """Tell a source that it is read from its begin: what it gave out before is not used any more."""
    if (losses := getattr(source, "losses", None)) is not None:
        losses.begin()


def cut_ranges(
    train_id: np.ndarray, row: np.ndarray, shot_bytes: int, max_bytes: int
) -> list[tuple[int, int]]:
    """Cut consecutive shots into ranges of at most `max_bytes`.

    A range holds as many whole trains as fit. A train that does not fit is cut where a row of memory cells
    ends, because decisions by row and the common mode of a cell need the whole row; such a part may exceed
    `max_bytes` when one row alone does. Where cells come in an odd order, shots of a row and whatever lies
    between them stay together.

    Parameters
    ----------
    train_id : ndarray of uint64, shape (N,)
        Train of each shot, sorted.
    row : ndarray of int, shape (N,)
        What must stay together within a train: see `rows_together`.
    shot_bytes : int
        Raw bytes of one shot, all modules.
    max_bytes : int
        Size of a block in bytes.

    Returns
    -------
    list of (int, int)
        Ranges that cover 0..N in order, without gaps.

    Examples
    --------
    >>> train = np.array([1, 1, 2, 2, 3], "u8")
    >>> cut_ranges(train, np.zeros(5, int), shot_bytes=10, max_bytes=45)
    [(0, 4), (4, 5)]
    >>> cut_ranges(train[:4] * 0, np.array([0, 1, 1, 2]), shot_bytes=10, max_bytes=25)
    [(0, 1), (1, 3), (3, 4)]
    """
    n = len(train_id)
    if n == 0:
        return []
    room = max(1, max_bytes // max(1, shot_bytes))
    edges = np.flatnonzero(np.concatenate([[True], train_id[1:] != train_id[:-1], [True]]))
    cuts: list[tuple[int, int]] = []
    start = 0
    while start < n:
        limit = start + room
        # The last train end that still fits; edges[0] == 0 keeps the index in range.
        at = int(edges[np.searchsorted(edges, limit, side="right") - 1])
        if at > start:
            cuts.append((start, at))
            start = at
            continue
        end = int(edges[np.searchsorted(edges, start, side="right")])
        cuts += _cut_train(row[start:end], start, room)
        start = end
    return cuts


def _cut_train(row: np.ndarray, start: int, room: int) -> list[tuple[int, int]]:
    """Cut a train that begins at `start` where no row lies on both sides."""
    n = len(row)
    first = np.unique(row, return_index=True)[1]
    last = n - 1 - np.unique(row[::-1], return_index=True)[1]
    open_rows = np.zeros(n + 1, np.int64)  # at the edge before each shot, and the last one
    open_rows[first + 1] += 1
    np.subtract.at(open_rows, last + 1, 1)
    edges = np.flatnonzero(np.cumsum(open_rows) == 0)  # 0 and n among them
    cuts, at = [], 0
    while at < n:
        fits = int(edges[np.searchsorted(edges, at + room, side="right") - 1])
        end = fits if fits > at else int(edges[np.searchsorted(edges, at, side="right")])
        cuts.append((start + at, start + end))
        at = end
    return cuts


def rows_together(detector: Any, cell_id: np.ndarray) -> np.ndarray:
    """Return for each shot the number of what stays together within its train, for `cut_ranges`.

    It is the row of memory cells; of a detector that stores whole trains, the train.
    """
    cell_id = np.asarray(cell_id, np.int64)
    return np.zeros_like(cell_id) if detector.keep_unit == "train" else cell_id // detector.row_cells


def identity(path: Path) -> tuple[int, ...] | None:
    """What tells a file from what may stand in its place later; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
