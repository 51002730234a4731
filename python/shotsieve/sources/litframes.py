"""What every frame of every train has seen: read from the facility's lit-frame finder, or computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .bunches import PulsePattern, collect, sources_like
from .exdf import RunFile
from .exposure import Alignment, exposed_pulses
from .xgm import PulseEnergies

MOST_PULSES = 2700  # length of the lists of exposed pulses
NO_XGM = 10000.0  # what the facility puts for each pulse when the XGM is missing


@dataclass(frozen=True)
class LitFrames:
    """Pulses and energies of every frame, under the names of the facility's lit-frame finder.

    Attributes
    ----------
    train_id : ndarray of uint64, shape (T,)
        Strictly increasing.
    n_frames : ndarray of int64, shape (T,)
        Frames that the detector recorded (``nFrame``).
    n_pulses : ndarray of float64, shape (T, F)
        X-ray pulses in each frame (``nPulsePerFrame``); NaN where it is not known.
    energy, sigma : ndarray of float64, shape (T, F)
        Their energy and its uncertainty in uJ (``energyPerFrame``, ``energySigma``): 0 without a pulse, NaN
        where it is not known.
    data_frame : ndarray of bool, shape (T, F)
        Frames worth keeping (``dataFramePattern``): the lit ones, or all in a run without X-rays.
    detector_pulse_id : ndarray of uint64, shape (F,), or (T, F)
        What the detector calls each frame (``detectorPulseId``).
    master, xgm : tuple of ndarray of int64
        Per train, slots of the exposed pulses and their places in the XGM's rows (``masterPulseId``,
        ``xgmPulseId``).
    origin : str
        Source, or how it was computed.
    """

    train_id: np.ndarray
    n_frames: np.ndarray
    n_pulses: np.ndarray
    energy: np.ndarray
    sigma: np.ndarray
    data_frame: np.ndarray
    detector_pulse_id: np.ndarray
    master: tuple[np.ndarray, ...]
    xgm: tuple[np.ndarray, ...]
    origin: str

    def facility_arrays(self, cells: int = 352) -> dict[str, np.ndarray]:
        """Return the arrays that the facility's device sends, one row per train.

        Parameters
        ----------
        cells : int
            Length of the rows by frame.

        Returns
        -------
        dict of str to ndarray
            ``nFrame`` (T,), the others (T, cells) or (T, 2700), with the facility's dtypes and fill values:
            an energy that is not known is 10000 for each pulse.
        """
        trains, frames = self.n_pulses.shape
        used = min(frames, cells)
        pulses = np.nan_to_num(self.n_pulses[:, :used])
        energy = np.where(np.isnan(self.energy[:, :used]), NO_XGM * pulses, self.energy[:, :used])

        def wide(values: np.ndarray, dtype: str) -> np.ndarray:
            out, known = np.zeros((trains, cells), dtype), values[..., :used]
            out[:, : known.shape[-1]] = known
            return out

        return {
            "nFrame": np.minimum(self.n_frames, used).astype("u2"),
            "detectorPulseId": wide(self.detector_pulse_id, "u2"),
            "nPulsePerFrame": wide(pulses, "u2"),
            "energyPerFrame": wide(energy, "f4"),
            "energySigma": wide(np.nan_to_num(self.sigma), "f4"),
            "dataFramePattern": wide(self.data_frame, "?"),
            "masterPulseId": _packed(self.master),
            "xgmPulseId": _packed(self.xgm),
        }


def _packed(rows: Sequence[np.ndarray]) -> np.ndarray:
    out = np.zeros((len(rows), MOST_PULSES), "u2")
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values[:MOST_PULSES]
    return out


def compute_lit_frames(
    pattern: PulsePattern,
    energies: PulseEnergies | None,
    sase: int,
    align: Alignment,
    *,
    unsure: Alignment | None = None,
    first_pulse_id: int = 0,
    xray_run: bool = True,
    shutter_open: bool = True,
) -> LitFrames:
    """Work out what every frame has seen.

    Parameters
    ----------
    pattern : PulsePattern
    energies : PulseEnergies or None
        None makes every energy unknown, but that of a dark frame.
    sase : int
    align : Alignment
    unsure : Alignment, optional
        The other extreme where the exposure is not known: a frame on which the two differ is unknown.
    first_pulse_id : int
        What the detector calls its first frame.
    xray_run : bool
        False for a run without X-rays by intent: every frame is worth keeping then.
    shutter_open : bool
        False makes every frame dark.

    Returns
    -------
    LitFrames

    Notes
    -----
    Promise: exact; equals EXtra-redu's ``make_litframe_finder(...).process()``, except that what is not
    known is NaN here.

    Examples
    --------
    >>> pattern = PulsePattern.make(np.array([7], "u8"), np.array([[0, 4 << 18]], "u4"), "server")
    >>> compute_lit_frames(pattern, None, 1, Alignment(1, 1, 1, 3)).n_pulses
    array([[0., 1., 0.]])
    """
    trains, frames, kinds = len(pattern.train_id), align.n_frames, len(pattern.words)
    own, listed = pattern.own(sase), pattern.listed(sase)
    if not shutter_open:
        own = np.zeros_like(own)
    found = exposed_pulses(own, own if energies is not None and energies.own else listed, align)
    per_kind = found.per_frame(kinds, frames).astype(np.float64)
    if unsure is not None:
        other = exposed_pulses(own, listed, unsure).per_frame(kinds, frames)
        per_kind[per_kind != other] = np.nan
    n_pulses = np.full((trains, frames), np.nan)
    known = pattern.index >= 0
    n_pulses[known] = per_kind[pattern.index[known]]
    energy, sigma = (np.where(n_pulses == 0, 0.0, np.nan) for _ in range(2))
    rows = None if energies is None else energies.rows(pattern.train_id)
    # EXtra-redu gives places in the XGM's rows among all listed pulses, also where the own ones are read.
    places = exposed_pulses(own, listed, align).number
    lists: list[tuple[np.ndarray, np.ndarray]] = []
    for kind in range(kinds):
        here = found.pattern == kind
        lists.append((found.slot[here], places[here]))
        of_kind = np.flatnonzero(pattern.index == kind)
        if rows is not None and len(of_kind) and here.any():
            _add_energies(energy, sigma, of_kind, found.frame[here], found.number[here], rows)
    if unsure is not None:
        energy[np.isnan(n_pulses)] = sigma[np.isnan(n_pulses)] = np.nan
    nothing = np.zeros(0, np.int64)
    per_train = [lists[k] if k >= 0 else (nothing, nothing) for k in pattern.index]
    return LitFrames(
        train_id=pattern.train_id,
        n_frames=np.full(trains, frames),
        n_pulses=n_pulses,
        energy=energy,
        sigma=sigma,
        data_frame=(n_pulses > 0) | (not xray_run),
        detector_pulse_id=first_pulse_id + align.stride * np.arange(frames, dtype=np.uint64),
        master=tuple(slots for slots, _ in per_train),
        xgm=tuple(numbers for _, numbers in per_train),
        origin=pattern.origin,
    )


def _add_energies(energy, sigma, trains, frame, number, rows: PulseEnergies) -> None:
    """Sum the energies of pulses into the frames of some trains; uncertainties add in quadrature."""
    there = number < rows.energy.shape[1]
    at = np.where(there, number, 0)
    value, error = (v[np.ix_(trains, at)] if v.shape[1] else np.full((len(trains), len(at)), np.nan)
                    for v in (rows.energy, rows.sigma))  # fmt: skip
    value[:, ~there] = error[:, ~there] = np.nan
    # Pulses of one frame stand side by side: the first of each frame is added, then the second, ...
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)
    for k in range(int(rank.max()) + 1):
        place, pick = np.ix_(trains, frame[rank == k]), rank == k
        before = (energy[place], sigma[place]) if k else (0.0, 0.0)
        energy[place] = before[0] + value[:, pick]
        sigma[place] = np.sqrt(before[1] ** 2 + error[:, pick] ** 2) if k else error[:, pick]


def read_lit_frames(files: Sequence[RunFile], name: str, source: str | None = None) -> LitFrames | None:
    """Read what the facility's lit-frame finder has worked out.

    Parameters
    ----------
    files : sequence of RunFile
    name : str
        Of the detector.
    source : str, optional
        The device, where it is not ``<instrument>_.../REDU/LITFRM``.

    Returns
    -------
    LitFrames or None
        None where the run has no such data.

    Raises
    ------
    UnreadableData
        When it is damaged.

    Examples
    --------
    >>> read_lit_frames(files, "SPB_DET_AGIPD1M-1").origin    # doctest: +SKIP
    'SPB_IRU_AGIPD1M1/REDU/LITFRM:output'
    """
    pattern = rf"{re.escape(name.split('_')[0])}_.*/REDU/LITFRM:output"
    if source is not None:
        pattern = re.escape(source.removesuffix(":output") + ":output")
    for candidate in sources_like(files, pattern, name):
        found = collect(files, candidate, "data", "data.nPulsePerFrame")
        if found is not None and (read := _read(files, candidate, *found)) is not None:
            return read
    return None


def _read(files: Sequence[RunFile], source: str, trains: np.ndarray, pulses: np.ndarray) -> LitFrames | None:
    """Read the other keys of a finder; None where it does not tell the energies of the same trains."""

    def values(key: str) -> np.ndarray | None:
        found = collect(files, source, "data", f"data.{key}")
        return found[1] if found is not None and np.array_equal(found[0], trains) else None

    energy, sigma = values("energyPerFrame"), values("energySigma")
    if energy is None:
        return None
    n_pulses, energy = pulses.astype(np.float64), energy.astype(np.float64)
    recorded, worth, ids = values("nFrame"), values("dataFramePattern"), values("detectorPulseId")
    n_frames = np.full(len(trains), pulses.shape[1]) if recorded is None else recorded.reshape(-1)
    # Only frames that the detector recorded say anything.
    outside = np.arange(pulses.shape[1]) >= n_frames[:, None]
    n_pulses[outside] = np.nan
    energy[outside | ((n_pulses > 0) & (energy == NO_XGM * n_pulses))] = np.nan
    # The lists are packed: as many entries count as the frames have seen pulses.
    seen = np.nansum(n_pulses, axis=1).astype(np.int64)
    lists = []
    for key in ("masterPulseId", "xgmPulseId"):
        packed = values(key)
        rows = np.zeros((len(trains), 0), np.int64) if packed is None else packed.astype(np.int64)
        lists.append(tuple(row[:n] for row, n in zip(rows, seen, strict=True)))
    return LitFrames(
        train_id=trains,
        n_frames=n_frames.astype(np.int64),
        n_pulses=n_pulses,
        energy=energy,
        sigma=np.full_like(energy, np.nan) if sigma is None else np.where(np.isnan(energy), np.nan, sigma),
        data_frame=(n_pulses > 0) if worth is None else worth.astype(bool) & ~outside,
        detector_pulse_id=np.zeros(0, np.uint64) if ids is None else ids.astype(np.uint64),
        master=lists[0],
        xgm=lists[1],
        origin=source,
    )


def merged(first: LitFrames, other: LitFrames) -> LitFrames:
    """Return the trains of both, sorted; the other one's go before where both have a train.

    Examples
    --------
    >>> zero, one = np.zeros((1, 2)), np.ones(1)
    >>> one, two = (
    ...     LitFrames(np.array([t], "u8"), one, zero, zero, zero, zero > 0, zero[0], (), (), "")
    ...     for t in (8, 5)
    ... )
    >>> merged(one, two).train_id
    array([5, 8], dtype=uint64)
    """
    stay = ~np.isin(first.train_id, other.train_id)
    order = np.argsort(np.concatenate([first.train_id[stay], other.train_id]), kind="stable")
    width = max(first.n_pulses.shape[1], other.n_pulses.shape[1])

    def rows(name: str, fill: float) -> np.ndarray:
        parts = (getattr(first, name)[stay], getattr(other, name))
        wide = [np.pad(v, ((0, 0), (0, width - v.shape[1])), constant_values=fill) for v in parts]
        return np.concatenate(wide)[order]

    def lists(name: str) -> tuple[np.ndarray, ...]:
        mine = [values for values, here in zip(getattr(first, name), stay, strict=False) if here]
        every = [*mine, *getattr(other, name)]
        return tuple(every[k] for k in order) if every else ()

    ids = [
        np.broadcast_to(v.detector_pulse_id, (len(v.train_id), v.detector_pulse_id.shape[-1]))
        for v in (first, other)
    ]
    most = max(v.shape[1] for v in ids)
    wide = [np.pad(v, ((0, 0), (0, most - v.shape[1]))) for v in (ids[0][stay], ids[1])]
    return replace(
        first,
        train_id=np.concatenate([first.train_id[stay], other.train_id])[order],
        n_frames=np.concatenate([first.n_frames[stay], other.n_frames])[order],
        n_pulses=rows("n_pulses", np.nan),
        energy=rows("energy", np.nan),
        sigma=rows("sigma", np.nan),
        data_frame=rows("data_frame", 0),
        detector_pulse_id=np.concatenate(wide)[order],
        master=lists("master"),
        xgm=lists("xgm"),
    )


def guess_missing(found: LitFrames, wanted: np.ndarray, farthest: int = 8) -> tuple[LitFrames, np.ndarray]:
    """Fill trains that are missing from the patterns around them; their energies stay unknown.

    Parameters
    ----------
    found : LitFrames
    wanted : ndarray of uint64
        Trains that are asked for, sorted.
    farthest : int
        The longest period of patterns that is looked for, in trains.

    Returns
    -------
    filled : LitFrames
    guessed : ndarray of uint64
        The trains that were filled; what could not be guessed is left out.

    Notes
    -----
    The pattern of train t is that of t - s and of t + s, for the least period s by which all trains within
    2 s of it repeat. Patterns that change at the gap are not guessed.

    Examples
    --------
    >>> zero, trains = np.zeros((2, 1)), np.array([4, 6], "u8")
    >>> two = LitFrames(trains, np.ones(2), zero, zero, zero, zero > 0, np.zeros(1), (), (), "")
    >>> guess_missing(two, np.array([5], "u8"))[1]
    array([5], dtype=uint64)
    """
    known = {int(t): k for k, t in enumerate(found.train_id)}
    unknown = np.isnan(found.n_pulses).all(axis=1)
    kinds = np.unique(np.nan_to_num(found.n_pulses, nan=-1.0), axis=0, return_inverse=True)[1].reshape(-1)
    kind = {t: int(kinds[k]) for t, k in known.items() if not unknown[k]}
    trains, rows = [], []
    for train in (int(t) for t in wanted if int(t) not in kind):
        for period in range(1, farthest + 1):
            before, after = kind.get(train - period), kind.get(train + period)
            if before is None or before != after:
                continue
            around = range(train - 2 * period, train + period + 1)
            if all(kind.get(t + period, kind[t]) == kind[t] for t in around if t in kind):
                trains.append(train)
                rows.append(known[train - period])
                break
    if not trains:
        return found, np.zeros(0, np.uint64)
    new, at = np.array(trains, np.uint64), np.array(rows)
    dark = np.where(found.n_pulses[at] == 0, 0.0, np.nan)
    per_train = found.detector_pulse_id.ndim == 2
    guesses = replace(
        found,
        train_id=new,
        n_frames=found.n_frames[at],
        n_pulses=found.n_pulses[at],
        energy=dark,
        sigma=dark,
        data_frame=found.data_frame[at],
        detector_pulse_id=found.detector_pulse_id[at] if per_train else found.detector_pulse_id,
        master=tuple(found.master[k] for k in rows) if found.master else (),
        xgm=tuple(found.xgm[k] for k in rows) if found.xgm else (),
    )
    filled = merged(found, guesses)
    return filled, np.sort(new)
