"""The bunch pattern of every train: which slots held X-ray pulses, for whom, and which a laser pulse.

A train has a slot every 1 / 4.5139 MHz = 221.5 ns. The time server describes each with a word of 32 bits
(European XFEL timing system, version 2.2); a pulse pattern decoder lists the slots in use instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UnreadableData
from .exdf import RunFile, train_text
from .instruments import laser_bit
from .mode import of_other_beamline

DESTINATION = 0xF << 18
SOFT_KICK = 1 << 27  # photon line deflection: SASE3 instead of SASE1
LASERS = 0x1FFF << 4
T4D, T5D = 4 << 18, 2 << 18
# SASE -> (mask, code) of the pulses that make light for its instruments, and of all that its XGMs list:
# SASE1 and SASE3 lie behind one another, so that their XGMs see the pulses of both.
OWN = {
    1: (DESTINATION | SOFT_KICK, T4D),
    2: (DESTINATION, T5D),
    3: (DESTINATION | SOFT_KICK, T4D | SOFT_KICK),
}
LISTED = {1: (DESTINATION, T4D), 2: (DESTINATION, T5D), 3: (DESTINATION, T4D)}
DECODER = r"\w+/(MDL|TSYS)/(BUNCH|PULSE|PP)\w*_(DECODER|PATTERN)"
DECODER_SLOTS = 2700


@dataclass(frozen=True)
class PulsePattern:
    """The bunch patterns of a run; as most trains look alike, each different one is held once.

    Attributes
    ----------
    train_id : ndarray of uint64, shape (T,)
        Strictly increasing.
    index : ndarray of int64, shape (T,)
        Row of `words` for each train; -1 where sources contradict each other.
    words : ndarray of uint32, shape (P, slots)
        Destination, soft kick and laser bits of the bunch pattern table.
    origin : str
        The source it was read from.
    lasers : tuple of str or None
        Lasers it tells of; None for all.

    Examples
    --------
    >>> words = np.zeros((2, 4), np.uint32)
    >>> words[:, 2] = T4D
    >>> PulsePattern.make(np.array([7, 8], "u8"), words, "server").index
    array([0, 0])
    """

    train_id: np.ndarray
    index: np.ndarray
    words: np.ndarray
    origin: str
    lasers: tuple[str, ...] | None = None

    @classmethod
    def make(cls, train_id: np.ndarray, table: np.ndarray, origin: str, lasers=None) -> PulsePattern:
        """Find the different patterns of a bunch pattern table, uint32 (T, slots)."""
        # The other bits tell of charges and diagnostics; they change from train to train.
        words = table.astype(np.uint32) & np.uint32(DESTINATION | SOFT_KICK | LASERS)
        changed = np.ones(len(words), bool)
        changed[1:] = (words[1:] != words[:-1]).any(axis=1)
        seen: dict[bytes, int] = {}
        rows: list[int] = []
        number = np.zeros(int(changed.sum()), np.int64)
        for k, row in enumerate(np.flatnonzero(changed)):
            number[k] = seen.setdefault(words[row].tobytes(), len(seen))
            if len(seen) > len(rows):
                rows.append(int(row))
        return cls(train_id, number[np.cumsum(changed) - 1], words[rows], origin, lasers)

    def own(self, sase: int) -> np.ndarray:
        """Which slots hold a pulse for the instruments of a SASE, bool (P, slots)."""
        mask, code = OWN[sase]
        return (self.words & np.uint32(mask)) == np.uint32(code)

    def listed(self, sase: int) -> np.ndarray:
        """Which slots hold a pulse that the XGMs of a SASE list, bool (P, slots)."""
        mask, code = LISTED[sase]
        return (self.words & np.uint32(mask)) == np.uint32(code)

    def laser(self, name: str) -> np.ndarray:
        """Which slots are marked for an optical laser, bool (P, slots).

        These begin at slot 0 always: only their number and their distances are real.
        """
        return (self.words & np.uint32(1 << laser_bit(name))) != 0

    def tells_of(self, laser: str) -> bool:
        """Whether the source knows of a laser at all."""
        return self.lasers is None or laser_bit(laser) in map(laser_bit, self.lasers)

    def chosen(self, train_id: np.ndarray) -> PulsePattern:
        """Return the pattern with these trains alone."""
        keep = np.isin(self.train_id, train_id)
        return replace(self, train_id=self.train_id[keep], index=self.index[keep])


def read_pattern(
    files: Sequence[RunFile], name: str, sase: int, notes: list[str], source: str | None = None
) -> PulsePattern | None:
    """Read the bunch patterns of a run.

    Parameters
    ----------
    files : sequence of RunFile
    name : str
        Of the detector, whose instrument's own devices go first.
    sase : int
        Whose pulses the sources have to agree on.
    notes : list of str
        Gets what is odd.
    source : str, optional
        The one source to be used, instead of all that look like one: pipelines of time servers, their older
        control keys, pulse pattern decoders.

    Returns
    -------
    PulsePattern or None
        None where the run has no such source with data. Where two sources disagree on a train, its `index`
        is -1.

    Raises
    ------
    UnreadableData
        When a source is damaged.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> read_pattern(files, "SPB_DET_AGIPD1M-1", 1, notes).origin    # doctest: +SKIP
    'SPB_RR_UTC/TSYS/TIMESERVER:outputBunchPattern'
    """
    found: PulsePattern | None = None
    for candidate, read in _candidates(files, name, source):
        pattern = read(files, candidate)
        if pattern is None:
            continue
        if found is None:
            found = pattern
        else:
            found = _without_contradictions(found, pattern, sase, notes)
    return found


def collect(files: Sequence[RunFile], source: str, group: str, key: str, fill: float = 0):
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


def sources_like(files: Sequence[RunFile], pattern: str, name: str, *, control: bool = False) -> list[str]:
    """Sources that fit, the instrument's own first, without those of other beamlines."""
    known = {s for f in files for s in (f.control if control else f.instrument)}
    fitting = [s for s in known if re.fullmatch(pattern, s) and not of_other_beamline(s, name)]
    return sorted(fitting, key=lambda s: (not s.startswith(name.split("_")[0]), s))


def _candidates(files: Sequence[RunFile], name: str, source: str | None):
    """(source, function that reads it), best first."""
    listed = [
        *((s, _from_pipeline) for s in sources_like(files, r".*/TSYS/.*:outputBunchPattern", name)),
        *((s, _from_control) for s in sources_like(files, r".*/TSYS/[^:]*", name, control=True)),
        *((s, _from_decoder) for s in sources_like(files, DECODER, name, control=True)),
    ]
    if source is None:
        return listed
    device = source.removesuffix(":outputBunchPattern")
    return [(s, read) for s, read in listed if s.removesuffix(":outputBunchPattern") == device]


def _from_pipeline(files: Sequence[RunFile], source: str) -> PulsePattern | None:
    found = collect(files, source, "data", "data.bunchPatternTable")
    return None if found is None else PulsePattern.make(*found, source)


def _from_control(files: Sequence[RunFile], source: str) -> PulsePattern | None:
    found = collect(files, source, "", "bunchPatternTable")
    return None if found is None else PulsePattern.make(*found, source)


def _from_decoder(files: Sequence[RunFile], source: str) -> PulsePattern | None:
    """Write the lists of a decoder as words of the bunch pattern."""
    laser = next((v for f in files if source in f.control and (v := f.run_value(source, "laserSource"))), "")
    codes = {f"sase{sase}": OWN[sase][1] for sase in OWN}
    if laser:
        codes["laser"] = 1 << laser_bit(str(laser))
    lists = {
        node: [collect(files, source, "", f"{node}.{key}") for key in ("nPulses", "pulseIds")]
        for node in codes
    }
    # A beamline that is not listed is not one without pulses.
    if any(found is None for node in lists.values() for found in node):
        return None
    trains = lists["sase1"][0][0]
    if any(not np.array_equal(trains, found[0]) for node in lists.values() for found in node):
        raise UnreadableData(
            f"{source}: its lists are of different trains: name another source with [annotate] time_server"
        )
    width = max(DECODER_SLOTS, *(int(slots.max(initial=0)) + 1 for _, (_, slots) in lists.values()))
    table = np.zeros((len(trains), width), np.uint32)
    for node, ((_, counts), (_, slots)) in lists.items():
        row, k = np.nonzero(np.arange(slots.shape[1]) < counts.reshape(-1, 1).astype(np.int64))
        table[row, slots[row, k].astype(np.int64)] |= np.uint32(codes[node])
    return PulsePattern.make(trains, table, source, (str(laser),) if laser else ())


def _without_contradictions(
    first: PulsePattern, other: PulsePattern, sase: int, notes: list[str]
) -> PulsePattern:
    """Return the first pattern without the trains in which the other one tells other X-ray pulses."""
    _, a, b = np.intersect1d(first.train_id, other.train_id, assume_unique=True, return_indices=True)
    pairs = np.stack([first.index[a], other.index[b]], axis=1)
    kinds, which = np.unique(pairs, axis=0, return_inverse=True)
    mine, theirs = _same_width(first.own(sase), other.own(sase))
    agree = np.array([i < 0 or (mine[i] == theirs[j]).all() for i, j in kinds], bool)
    wrong = a[~agree[which.reshape(-1)]] if len(kinds) else a[:0]
    if len(wrong):
        notes.append(
            f"{first.origin} and {other.origin} tell different X-ray pulses of trains "
            f"{train_text(first.train_id[wrong])}: what depends on these pulses is unknown there"
        )
    index = first.index.copy()
    index[wrong] = -1
    # Trains that only the other one has are taken from there.
    more = np.setdiff1d(np.arange(len(other.train_id)), b)
    words = np.concatenate(_same_width(first.words, other.words))
    trains = np.concatenate([first.train_id, other.train_id[more]])
    order = np.argsort(trains, kind="stable")
    index = np.concatenate([index, other.index[more] + len(first.words)])[order]
    # A laser is told of only where all that was joined tells of it.
    lasers = first.lasers
    if len(more) and other.lasers is not None:
        lasers = tuple(name for name in other.lasers if first.tells_of(name))
    return PulsePattern(trains[order], index, words, first.origin, lasers)


def _same_width(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = max(a.shape[1], b.shape[1])
    return tuple(np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a, b))
