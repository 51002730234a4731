"""Which X-ray pulses each memory cell has seen, and their energy.

The XGM lists one value per pulse *of the beamline*, in the order of the pulses. Neither the detector's
pulseId nor the memory cell is that index: both only number what the detector was told to record. The way from
a shot to its energy is: bunch pattern -> pulses of the instrument -> memory cell each pulse falls into ->
running number of that pulse among all of the beamline -> XGM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..detectors import Detector
from .base import OperatingMode, ShotList, ShotStatus
from .exdf import RunFile, train_text
from .mode import BEAMLINE, of_other_beamline

DESTINATION = 0xF << 18
SOFT_KICK = 1 << 27  # photon line deflection: SASE3 instead of SASE1
T4D, T5D = 4 << 18, 2 << 18
# Beamline -> (mask, code) of the pulses that make light for its instruments, and of all that its XGMs list:
# SASE1 and SASE3 lie behind one another, so that their XGMs see the pulses of both.
OWN = {
    1: (DESTINATION | SOFT_KICK, T4D),
    2: (DESTINATION, T5D),
    3: (DESTINATION | SOFT_KICK, T4D | SOFT_KICK),
}
LISTED = {1: (DESTINATION, T4D), 2: (DESTINATION, T5D), 3: (DESTINATION, T4D)}
STRIDES = (1, 2, 4, 8)
SLOT_MHZ = 4.5139  # rate of the bunch pattern's slots; detectors record every 1st, 2nd, 4th or 8th
CLOCKS_PER_SLOT = 22  # integration time is counted in 10 ns clocks, 22 of which fit into a slot
XGM_FILL = 1.0
LITFRM_NO_XGM = 10000.0  # what the lit-frame finder puts for each pulse when the XGM is missing
BATCH = 1000  # trains worked on at once: bounds memory for long runs


@dataclass(frozen=True)
class Exposed:
    """The pulses that fall into memory cells, one row each.

    Attributes
    ----------
    train : ndarray of int64
        Row of the bunch pattern table.
    cell : ndarray of int64
        Memory cell.
    xgm : ndarray of int64
        Index into the XGM's arrays.
    """

    train: np.ndarray
    cell: np.ndarray
    xgm: np.ndarray


def exposed_pulses(
    table: np.ndarray, beamline: int, stride: int, exposure: int, n_cells: int, reference_frame: int = 1
) -> Exposed:
    """Find the memory cell and the XGM index of every pulse, aligned by the first pulse of the train.

    Parameters
    ----------
    table : ndarray of uint32, shape (T, slots)
        Bunch patterns.
    beamline : int
        1, 2 or 3 (SASE).
    stride : int
        Slots from one memory cell to the next.
    exposure : int
        Slots at the beginning of a cell's stride in which it is sensitive.
    n_cells : int
    reference_frame : int
        The cell (from 0) in which the instrument's first pulse falls.

    Returns
    -------
    Exposed

    Examples
    --------
    >>> table = np.zeros((1, 8), np.uint32)
    >>> table[0, [2, 4]] = T4D                    # two pulses of SASE1 ...
    >>> table[0, 3] = T4D | SOFT_KICK             # ... and one of SASE3 between them
    >>> found = exposed_pulses(table, 1, stride=1, exposure=1, n_cells=6)
    >>> found.cell, found.xgm
    (array([1, 3]), array([0, 2]))
    """
    mask, code = OWN[beamline]
    mine = (table & np.uint32(mask)) == np.uint32(code)
    mask, code = LISTED[beamline]
    number = np.cumsum((table & np.uint32(mask)) == np.uint32(code), axis=1) - 1
    train, slot = np.nonzero(mine)
    position = slot - np.argmax(mine, axis=1)[train] + reference_frame * stride
    cell, phase = np.divmod(position, stride)
    hit = (cell >= 0) & (cell < n_cells) & (phase < exposure)
    return Exposed(train[hit], cell[hit], number[train[hit], slot[hit]])


def cell_energy(
    exposed: Exposed, intensity: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Number of pulses and summed pulse energy of every memory cell.

    Parameters
    ----------
    exposed : Exposed
    intensity : ndarray of float, shape (T, n)
        XGM values per train, in uJ; NaN rows where a train has none. The fill value 1 at the end of a row is
        no measurement.
    shape : (int, int)
        (T, cells).

    Returns
    -------
    n_pulses, energy : ndarray of float64, shape (T, cells)
        Energy in uJ: 0 for a cell without a pulse, NaN where the XGM does not say it.

    Examples
    --------
    >>> one = Exposed(np.array([0]), np.array([1]), np.array([0]))
    >>> cell_energy(one, np.array([[900.0, 1.0]]), (1, 2))[1]
    array([[  0., 900.]])
    """
    at = exposed.train * shape[1] + exposed.cell
    n_pulses = np.bincount(at, minlength=shape[0] * shape[1]).astype(np.float64)
    valid = intensity.shape[1] - np.argmax(intensity[:, ::-1] != XGM_FILL, axis=1)
    valid[(intensity == XGM_FILL).all(axis=1)] = 0
    known = exposed.xgm < valid[exposed.train]
    value = np.full(len(at), np.nan)
    value[known] = intensity[exposed.train[known], exposed.xgm[known]]
    energy = np.bincount(at, weights=value, minlength=shape[0] * shape[1])
    return n_pulses.reshape(shape), energy.reshape(shape)


def pulse_columns(
    files: Sequence[RunFile], detector: Detector, name: str, mode: OperatingMode, shots: ShotList
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns ``pulse_energy`` (uJ) and ``n_pulses`` for every shot.

    Parameters
    ----------
    files : sequence of RunFile
        All files of the run.
    detector : Detector
    name : str
        The detector's name; its first part is the instrument.
    mode : OperatingMode
        Rate and integration time are used.
    shots : ShotList

    Returns
    -------
    columns : dict of str to ndarray of float64, shape (S,)
        NaN where the run does not allow to know, be it for all shots: a rule may ask for them all the same.
    notes : list of str

    Raises
    ------
    UnreadableData
        When a source that should say it is damaged.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> pulse_columns(files, detector, name, mode, shots)[0]["pulse_energy"]    # doctest: +SKIP
    array([  0. , 912.4, 1033.1])
    """
    notes: list[str] = []
    columns = {key: np.full(len(shots), np.nan) for key in ("pulse_energy", "n_pulses")}
    found = _per_frame(files, detector, name, mode, shots, notes)
    if isinstance(found, str):
        return columns, [*notes, f"pulse_energy and n_pulses are unknown for all shots: {found}"]
    trains, frame, n_pulses, energy = found
    at, have = _rows_of(trains, shots.train_id)
    have &= (frame >= 0) & (frame < n_pulses.shape[1])
    for key, values in (("pulse_energy", energy), ("n_pulses", n_pulses)):
        columns[key][have] = values[at[have], frame[have]]
    unknown = np.isnan(columns["pulse_energy"])
    if unknown.any():
        lost = train_text(shots.train_id[unknown])
        notes.append(f"pulse_energy is unknown for {int(unknown.sum())} shots, in trains {lost}")
    return columns, notes


def _per_frame(files, detector: Detector, name: str, mode: OperatingMode, shots: ShotList, notes: list[str]):
    """Trains (T,), frame of every shot (S,), pulses and energy (T, frames); or why they are unknown."""
    if not detector.pulse_key:
        return f"shots of {detector.name} carry no pulseId"
    beamline = BEAMLINE.get(name.split("_")[0])
    if beamline is None:
        return f"the beamline of {name} is not known"
    found, pattern = _from_litfrm(files, name, notes), None
    if found is None and (pattern := _bunch_pattern(files, name)) is None:
        return "the run has no time server with a bunch pattern"
    stride = _stride(mode, shots, notes)
    if stride is None:
        return "the detector's frame rate is not known"
    frame = _frames(shots, stride, notes)
    if found is None:
        keep = np.isin(pattern[0], shots.train_id)
        trains, table = pattern[0][keep], pattern[1][keep].astype(np.uint32)
        n_cells = min(int(frame.max(initial=0)) + 1, table.shape[1])
        intensity = _xgm(files, name, beamline, trains, notes)
        clocks = mode.integration_time
        found = (trains, *_from_pattern(table, intensity, beamline, stride, clocks, n_cells, notes))
    return found[0], frame, found[1], found[2]


def _rows_of(trains: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of each wanted train in sorted `trains`, and whether it is there."""
    if len(trains) == 0:
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(trains, wanted), len(trains) - 1)
    return at, trains[at] == wanted


def _collect(files: Sequence[RunFile], source: str, group: str, key: str, fill: float = 0):
    """(train ids, values) of a key over all files, sorted; the first of a train that is there twice."""
    got = [f.per_train(source, group, key) for f in files if source in (f.instrument if group else f.control)]
    got = [g for g in got if g is not None and len(g[0])]
    if not got:
        return None
    # Rows can differ in length between files (the bunch pattern grew over the years): pad them.
    width = max(g[1][0].size for g in got)
    values = []
    for _, v in got:
        flat = v.reshape(len(v), -1)
        values.append(np.pad(flat, ((0, 0), (0, width - flat.shape[1])), constant_values=fill))
    trains, first = np.unique(np.concatenate([g[0] for g in got]), return_index=True)
    return trains, np.concatenate(values)[first]


def _sources(files: Sequence[RunFile], pattern: str, name: str, *, control: bool = False) -> list[str]:
    """Sources that fit, the instrument's own first, without those of other beamlines."""
    known = {s for f in files for s in (f.control if control else f.instrument)}
    fitting = [s for s in known if re.fullmatch(pattern, s) and not of_other_beamline(s, name)]
    return sorted(fitting, key=lambda s: (not s.startswith(name.split("_")[0]), s))


def _frames(shots: ShotList, stride: int, notes: list[str]) -> np.ndarray:
    """Place of each shot in the detector's sequence of frames: what the pulses are assigned to.

    That is the cell, as long as the memory is filled in order. Where frames were vetoed or the memory has
    wrapped, cells do not follow the pulseIds, and only these keep the time.
    """
    cell, pulse = shots.cell_id.astype(np.int64), shots.pulse_id.astype(np.int64)
    ok = shots.status == ShotStatus.OK
    if len(np.unique((pulse - stride * cell)[ok])) <= 1:
        return cell
    # What is between two frames of the sequence is not a frame of it.
    frame = np.where((pulse >= 0) & (pulse % stride == 0), pulse // stride, -1)
    odd = int((frame < 0).sum())
    notes.append(
        "cellIds do not follow the pulseIds (vetoed frames, or wrapped memory): pulses are assigned by "
        f"pulseId, in steps of {stride}" + (f"; unknown for {odd} shots between two steps" if odd else "")
    )
    return frame


def _from_litfrm(files: Sequence[RunFile], name: str, notes: list[str]):
    """What the facility's lit-frame finder has worked out, where the run has it."""
    instrument = re.escape(name.split("_")[0])
    for source in _sources(files, rf"{instrument}_.*/REDU/LITFRM:output", name):
        pulses = _collect(files, source, "data", "data.nPulsePerFrame")
        energy = _collect(files, source, "data", "data.energyPerFrame")
        if pulses is None or energy is None or not np.array_equal(pulses[0], energy[0]):
            continue
        n_pulses, value = pulses[1].astype(np.float64), energy[1].astype(np.float64)
        value[(n_pulses > 0) & (value == LITFRM_NO_XGM * n_pulses)] = np.nan
        notes.append(f"pulse_energy comes from {source}")
        return pulses[0], n_pulses, value
    return None


def _from_pattern(
    table: np.ndarray,
    intensity: np.ndarray,
    beamline: int,
    stride: int,
    clocks: float | None,
    n_cells: int,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Pulses and energies (T, cells) by bunch pattern and XGM; NaN where an unknown exposure counts."""
    if clocks is None and stride > 1:
        notes.append("the integration time is not known: energies that depend on it are unknown")
    # Without the integration time a cell was sensitive for between one slot and its whole stride.
    slots = [1, stride] if clocks is None else [min(max(1, int(np.ceil(clocks / CLOCKS_PER_SLOT))), stride)]
    n_pulses = np.zeros((len(table), n_cells))
    energy = np.zeros((len(table), n_cells))
    for a in range(0, len(table), BATCH):
        b = min(a + BATCH, len(table))
        results = [
            cell_energy(
                exposed_pulses(table[a:b], beamline, stride, slot, n_cells), intensity[a:b], (b - a, n_cells)
            )
            for slot in dict.fromkeys(slots)
        ]
        n_pulses[a:b], energy[a:b] = results[0]
        for other in results[1:]:
            unsure = other[0] != n_pulses[a:b]
            n_pulses[a:b][unsure] = energy[a:b][unsure] = np.nan
    return n_pulses, energy


def _bunch_pattern(files: Sequence[RunFile], name: str):
    for source in _sources(files, r".*/TSYS/.*:outputBunchPattern", name):
        if (found := _collect(files, source, "data", "data.bunchPatternTable")) is not None:
            return found
    for source in _sources(files, r".*/TSYS/.*", name, control=True):
        if (found := _collect(files, source, "", "bunchPatternTable")) is not None:
            return found
    return None


def _xgm(
    files: Sequence[RunFile], name: str, beamline: int, trains: np.ndarray, notes: list[str]
) -> np.ndarray:
    """Intensities of the trains (T, n) in uJ; NaN rows for trains without."""
    own = rf"({re.escape(name.split('_')[0])}|SA{beamline})_.*XGM/.*:output"
    for source in _sources(files, own, name):
        found = _collect(files, source, "data", "data.intensityTD", XGM_FILL)
        if found is None:
            continue
        at, have = _rows_of(found[0], trains)
        intensity = np.full((len(trains), found[1].shape[1]), np.nan)
        intensity[have] = found[1][at[have]]
        notes.append(f"pulse_energy comes from {source}, by the bunch pattern, aligned by first pulse")
        return intensity
    notes.append("the run has no XGM: pulse_energy is unknown where there was a pulse")
    return np.full((len(trains), 1), np.nan)


def _stride(mode: OperatingMode, shots: ShotList, notes: list[str]) -> int | None:
    if mode.rate_mhz:
        stride = min(STRIDES, key=lambda s: abs(np.log(mode.rate_mhz * s / SLOT_MHZ)))
        # The rates are written down roughly (0.5 MHz for 0.564).
        return stride if abs(np.log(mode.rate_mhz * stride / SLOT_MHZ)) < 0.15 else None
    ok = shots.status == ShotStatus.OK
    same = np.diff(shots.train_id[ok]) == 0
    cells = np.diff(shots.cell_id[ok].astype(np.int64))[same]
    pulses = np.diff(shots.pulse_id[ok].astype(np.int64))[same]
    for stride in STRIDES:
        if len(cells) and (cells > 0).any() and (pulses == stride * cells).all():
            notes.append(
                f"the frame rate is not in the run; pulseIds advance by {stride} per cell, which gives it"
            )
            return stride
    return None
