"""What one EuXFEL HDF5 file says about itself: trains, sources, indices, run values. No pixels here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from ..errors import DAMAGE, BadInput, UnreadableData
from .base import RunMeta

FILE_NAME = re.compile(r"([A-Z]+)-R(\d{4})-(\w+?)(?:-S(\d{5}))?\.h5")


@dataclass(frozen=True, eq=False)
class RunFile:
    """The metadata of one file; the file itself is open only while it is being asked.

    Attributes
    ----------
    path : Path
    category, aggregator : str
        ``RAW``/``CORR`` and e.g. ``AGIPD03``, from the file name; empty where it says nothing.
    sequence : int
        From the file name; 0 where it says nothing.
    version : str
        ``METADATA/dataFormatVersion``; ``"0.5"`` where there is none.
    train_id, timestamp : ndarray of uint64, shape (T,)
        ``INDEX/trainId`` without the padding at its end; timestamps are 0 where there are none.
    good : ndarray of bool, shape (T,)
        False for suspect trains. Format 1.1 has the flag upside down, 0.5 has none (all good).
    control : frozenset of str
        Control sources.
    instrument : dict of str to frozenset of str
        Instrument sources and their index groups, without legacy names that are links to other sources.
    meta : RunMeta
    """

    path: Path
    category: str
    aggregator: str
    sequence: int
    version: str
    train_id: np.ndarray
    timestamp: np.ndarray
    good: np.ndarray
    control: frozenset[str]
    instrument: dict[str, frozenset[str]] = field(repr=False)
    meta: RunMeta = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> RunFile:
        """Read the metadata of a file.

        Parameters
        ----------
        path : Path
            A file of a run.

        Returns
        -------
        RunFile

        Raises
        ------
        UnreadableData
            When the file cannot be opened or its metadata is damaged; names the file and the reason.
        NotARunFile
            When it is a sound HDF5 file of another kind.

        Examples
        --------
        >>> RunFile.load(Path("RAW-R0035-AGIPD00-S00000.h5")).train_id    # doctest: +SKIP
        array([10000, 10001], dtype=uint64)
        """
        category, _, aggregator, sequence = parse_name(path)
        with opened(path) as f:
            if "METADATA" not in f or "INDEX" not in f:
                raise NotARunFile(
                    f"{path} has no METADATA and INDEX: it is no file of the European XFEL format"
                )
            try:
                version = _text(f.get("METADATA/dataFormatVersion")) or "0.5"
                train_id, timestamp, good = _trains(f, version)
                control, instrument = _sources(f, version)
                meta = _meta(f)
            except DAMAGE as e:
                raise UnreadableData(
                    f"{path}: METADATA or INDEX cannot be read ({reason(e)}): the file is damaged or was "
                    "not written to its end; restore it, or give the list of files to use without it"
                ) from e
        return cls(
            path,
            category,
            aggregator,
            sequence,
            version,
            train_id,
            timestamp,
            good,
            control,
            instrument,
            meta,
        )

    def index(self, f: h5py.File, source: str, group: str = "") -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of every train, int64 (T,) each.

        Parameters
        ----------
        f : h5py.File
            This file, open.
        source, group : str
            An instrument source and its index group, or a control source and ``""``.

        Raises
        ------
        UnreadableData
            When the index is damaged, too short, or two trains claim the same rows.

        Examples
        --------
        >>> first, count = file.index(f, "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", "image")    # doctest: +SKIP
        """
        where = f"INDEX/{source}/{group}".rstrip("/")
        n = len(self.train_id)
        try:
            entry = f[where]
            first = entry["first"][:].astype(np.int64)
            if "count" in entry:
                count = entry["count"][:].astype(np.int64)
            else:
                # Before format 1.0 some files hold the last row and a status instead of a count.
                last, status = entry["last"][:].astype(np.int64), entry["status"][:].astype(np.int64)
                count = (last - first + 1) * (status > 0)
        except DAMAGE as e:
            raise UnreadableData(
                f"{self.path}: {where} cannot be read ({reason(e)}): the file is damaged"
            ) from e
        if len(first) < n or len(count) < n:
            raise UnreadableData(
                f"{self.path}: {where} has {min(len(first), len(count))} entries for {n} trains; trains "
                f"{train_text(self.train_id[min(len(first), len(count)) :])} have none"
            )
        first, count = first[:n], count[:n]
        wrong = (count < 0) | (first < 0)
        full = np.flatnonzero(count > 0)
        order = full[np.argsort(first[full], kind="stable")]
        over = first[order[1:]] < first[order[:-1]] + count[order[:-1]]
        wrong[order[1:][over]] = True
        if wrong.any():
            raise UnreadableData(
                f"{self.path}: {where} gives rows that are negative or belong to another train already, for "
                f"trains {train_text(self.train_id[wrong])}: the index is damaged"
            )
        return first, count

    def label(self, f: h5py.File, dataset: str, frames: int) -> np.ndarray:
        """An ID per frame, flattened: raw files have a spurious axis of length 1, others have not.

        Raises `UnreadableData` when it is damaged or has fewer entries than `frames`.
        """
        try:
            values = f[dataset][...].reshape(-1)
        except DAMAGE as e:
            raise UnreadableData(
                f"{self.path}: {dataset} cannot be read ({reason(e)}); this affects trains "
                f"{train_text(self.train_id)}"
            ) from e
        if len(values) < frames:
            raise UnreadableData(
                f"{self.path}: {dataset} has {len(values)} entries, but the index speaks of {frames}: the "
                f"file is damaged; this affects trains {train_text(self.train_id)}"
            )
        return values

    def per_train(self, source: str, group: str, key: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Values of a key with one row per train: (train ids, values), or None where it does not exist.

        `group` is ``""`` for a control source; suspect trains and those without a row are left out. Raises
        `UnreadableData` when it is damaged.

        Examples
        --------
        >>> file.per_train("SA1_XTD2_XGM/XGM/DOOCS:output", "data", "data.intensityTD")    # doctest: +SKIP
        """
        section = "INSTRUMENT" if group else "CONTROL"
        path = f"{section}/{source}/{key.replace('.', '/')}" + ("" if group else "/value")
        with opened(self.path) as f:
            if path not in f:
                return None
            first, count = self.index(f, source, group)
            have = (count > 0) & self.good
            try:
                rows = f[path][: int((first + count).max(initial=0))]
                return self.train_id[have], rows[first[have]]
            except DAMAGE as e:
                raise UnreadableData(
                    f"{self.path}: {path} cannot be read ({reason(e)}); this affects trains "
                    f"{train_text(self.train_id[have])}"
                ) from e

    def run_value(self, source: str, key: str):
        """Value of a control key at the start of the run, else its first value in CONTROL, else None.

        Examples
        --------
        >>> file.run_value("SPB_IRU_AGIPD1M1/MDL/FPGA_COMP", "bunchStructure.nPulses")    # doctest: +SKIP
        352
        """
        tail = f"{source}/{key.replace('.', '/')}/value"
        with opened(self.path) as f:
            for section in ("RUN", "CONTROL"):
                try:
                    found = f.get(f"{section}/{tail}")
                    if isinstance(found, h5py.Dataset) and len(found):
                        value = found[0]
                        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                except DAMAGE as e:
                    raise UnreadableData(f"{self.path}: {section}/{tail} cannot be read ({reason(e)})") from e
        return None


class NotARunFile(BadInput):
    """A sound HDF5 file that is not of the European XFEL format."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; what keeps it from being opened becomes an `UnreadableData` that names it."""
    try:
        f = _open(path)
    except FileNotFoundError as e:
        raise UnreadableData(f"{path} does not exist: check the path") from e
    except PermissionError as e:
        raise UnreadableData(f"{path} must not be read by you: ask for permission ({reason(e)})") from e
    except DAMAGE as e:
        size = path.stat().st_size if path.exists() else 0
        raise UnreadableData(
            f"{path} ({size} bytes) cannot be opened as HDF5: {reason(e)}. It is truncated or damaged: "
            "restore it, or give the list of files to use without it"
        ) from e
    with f:
        yield f


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as e:
        # Some file systems know no locks; and a file that this process has open without one (or with one)
        # can be opened a second time in the same way only. Reading needs no lock.
        if "lock" not in str(e):
            raise
        return h5py.File(path, "r", locking=False)


def parse_name(path: Path) -> tuple[str, int, str, int]:
    """(category, run, aggregator, sequence) of a file name; ``("", 0, "", 0)`` where it says nothing.

    Examples
    --------
    >>> parse_name(Path("RAW-R0035-AGIPD00-S00002.h5"))
    ('RAW', 35, 'AGIPD00', 2)
    """
    m = FILE_NAME.fullmatch(path.name)
    return (m[1], int(m[2]), m[3], int(m[4] or 0)) if m else ("", 0, "", 0)


def train_text(train_id: np.ndarray, most: int = 6) -> str:
    """Train ids as words, in ranges: ``10000-10003, 10007 (5 trains)``.

    Examples
    --------
    >>> train_text(np.array([1, 2, 3, 7]))
    '1-3, 7 (4 trains)'
    """
    ids = np.unique(np.asarray(train_id).astype(np.uint64))
    if len(ids) == 0:
        return "none"
    if len(ids) == 1:
        return str(ids[0])
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ids) != 1]))
    stops = np.append(starts[1:], len(ids)) - 1
    words = [str(ids[a]) if a == b else f"{ids[a]}-{ids[b]}" for a, b in zip(starts, stops, strict=True)]
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "") + f" ({len(ids)} trains)"


def reason(e: BaseException) -> str:
    """The error of the library in one line."""
    return " ".join(str(e.args[0] if len(e.args) == 1 else e).split()) or type(e).__name__


def _text(dataset) -> str:
    if dataset is None:
        return ""
    value = np.asarray(dataset[...]).reshape(-1)
    if len(value) == 0:
        return ""
    return value[0].decode("utf-8", "replace") if isinstance(value[0], bytes) else str(value[0])


def _number(dataset) -> int:
    return 0 if dataset is None else int(np.asarray(dataset[...]).reshape(-1)[0])


def _meta(f: h5py.File) -> RunMeta:
    meta = f["METADATA"]
    return RunMeta(
        proposal=_number(meta.get("proposalNumber")),
        run=_number(meta.get("runNumber")),
        creation_date=_text(meta.get("creationDate")),
        update_date=_text(meta.get("updateDate")),
        sample=_text(meta.get("sample")),
        run_type=_text(meta.get("runType")),
        daq_library=_text(meta.get("daqLibrary")),
        karabo_framework=_text(meta.get("karaboFramework")),
    )


def _trains(f: h5py.File, version: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stored = f["INDEX/trainId"][:].reshape(-1).astype(np.uint64)
    # Zeros at the end are padding; a zero in between is a train without a name: suspect, but not forgotten.
    n = int(np.max(np.flatnonzero(stored), initial=-1)) + 1
    train_id = stored[:n]
    timestamp = np.zeros(n, np.uint64)
    if "INDEX/timestamp" in f:
        given = f["INDEX/timestamp"][:n].reshape(-1)
        timestamp[: len(given)] = given
    good = train_id != 0
    if version != "0.5" and "INDEX/flag" in f:
        flag = f["INDEX/flag"][:n].reshape(-1) != 0
        good[: len(flag)] &= ~flag if version == "1.1" else flag
    return train_id, timestamp, good


def _sources(f: h5py.File, version: str) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    where = "METADATA/dataSourceId" if version == "0.5" else "METADATA/dataSources/dataSourceId"
    control: set[str] = set()
    instrument: dict[str, set[str]] = {}
    for entry in f[where][:].reshape(-1):
        name = entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry)
        root, _, source = name.rstrip("\0").partition("/")
        if root == "CONTROL":
            control.add(source)
        elif root == "INSTRUMENT":
            device, _, rest = source.partition(":")
            pipeline, _, group = rest.partition("/")
            instrument.setdefault(f"{device}:{pipeline}", set()).add(group)
    # Corrected files may offer their data under the raw name too, through a link: not a source of its own.
    found = {
        source: frozenset(groups)
        for source, groups in instrument.items()
        if not isinstance(f.get(f"INSTRUMENT/{source}", getlink=True), h5py.SoftLink)
    }
    return frozenset(control), found


def list_run(folder: Path) -> list[Path]:
    """The HDF5 files of a run folder, sorted, without virtual overviews (they only point at the others).

    Raises
    ------
    BadInput
        When the folder does not exist or holds no HDF5 file.
    UnreadableData
        When it must not be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError as e:
        raise BadInput(f"{folder} does not exist: give the folder of a run, e.g. .../raw/r0035") from e
    except NotADirectoryError as e:
        raise BadInput(f"{folder} is not a folder: give the folder of a run, or a list of .h5 files") from e
    except PermissionError as e:
        raise UnreadableData(f"{folder} must not be read by you: ask for permission") from e
    files = [folder / n for n in names if n.endswith(".h5") and not n.lower().endswith("overview.h5")]
    if not files:
        raise BadInput(
            f"{folder} holds no .h5 files ({len(names)} other entries): is this the folder of a run?"
        )
    return files
