"""One file of the European XFEL container, format 1.2: the shape of the file and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import BadInput, OutputError
from ..steady_file import SteadyHdf5
from .exdf_sections import check_rows, metadata
from .hdf5 import LIBVER, put, storable, stored_dtype, sync

if TYPE_CHECKING:
    from ..sources.base import RunMeta


class ExdfFile:
    """Write one European XFEL HDF5 file, format version 1.2.

    Parameters
    ----------
    path : path-like
        The file to create; it must not exist.
    train_ids : array of uint64 (T,)
        All trains of the file, empty ones included. They should increase; this is not enforced.
    timestamps : array of uint64 (T,)
        Nanoseconds since the epoch, one per train.
    meta : RunMeta
        Proposal, run, dates, sample ...: copied from the input, so no clock enters the bytes.
    sequence : int, default 0
        Sequence number of the file in its run.
    flags : array of int32 (T,), optional
        1 = good, 0 = suspect train; all good when absent.
    origin : array of int32 (T,), optional
        -1 = time server, else the index of the source that gave the train id; -1 when absent.

    Raises
    ------
    BadInput
        If arrays per train do not have one entry per train.
    OutputError
        If the file cannot be created or completed.

    Notes
    -----
    Promise: exact; the same calls give the same bytes.

    Examples
    --------
    >>> with ExdfFile(path, train_ids=tids, timestamps=stamps, meta=meta) as f:     # doctest: +SKIP
    ...     image = f.instrument("SPB_DET_AGIPD1M-1/CORR/3CH0:output", "image", counts)
    ...     image["pulseId"] = pulse_id
    ...     f.control("SPB_XTD9_XGM/XGM/DOOCS", {"pulseEnergy.photonFlux": flux}, class_id="DoocsXGM")
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        train_ids: Any,
        timestamps: Any,
        meta: RunMeta,
        sequence: int = 0,
        flags: Any = None,
        origin: Any = None,
    ) -> None:
        self.path = Path(path)
        self.meta = meta
        self.sequence = int(sequence)
        self.train_ids = np.asarray(train_ids, "u8").reshape(-1)
        self.timestamps = self._per_train("timestamps", timestamps, "u8")
        flags = np.ones(self.train_ids.shape) if flags is None else flags
        origin = -np.ones(self.train_ids.shape) if origin is None else origin
        self._index = {
            "trainId": self.train_ids,
            "timestamp": self.timestamps,
            "flag": self._per_train("flags", flags, "i4"),
            "origin": self._per_train("origin", origin, "i4"),
        }
        self._sources: list[str] = []
        self._auxiliary: dict[str, list[str]] = {}
        self._counts: dict[tuple[str, str], np.ndarray | None] = {}
        self._first: dict[tuple[str, str], np.ndarray] = {}
        self._groups: dict[tuple[str, str], h5py.Group] = {}
        try:
            self._out: SteadyHdf5 | None = SteadyHdf5(self.path, LIBVER, exclusive=True)
        except OSError as err:
            raise OutputError(f"{self.path}: the file cannot be created ({err})") from err
        # Without a RUN group EXtra-data's run_values() fails with a bare KeyError.
        self.file.create_group("RUN")

    def __enter__(self) -> ExdfFile:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abort()

    def instrument(self, source: str, group: str, counts: Any = None, first: Any = None) -> h5py.Group:
        """Create one index group of an instrument source.

        Parameters
        ----------
        source : str
            ``<device>:<pipeline>``, for example ``"SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"``.
        group : str
            Index group, for example ``"image"``.
        counts : array of int (T,), optional
            Rows per train. Absent: `set_counts` must be called before the file is closed.
        first : array of int (T,), optional
            First row of every train; by default the running cursor, also for empty trains (a 0 there reads as
            a gap and an overlap).

        Returns
        -------
        h5py.Group
            ``INSTRUMENT/<source>/<group>``, to be filled with datasets whose first axis counts rows.

        Raises
        ------
        BadInput
            If `counts` or `first` does not have one entry per train, or the group exists already.

        Examples
        --------
        >>> image = f.instrument("SPB_DET_AGIPD1M-1/DET/3CH0:xtdf", "image", [3, 0, 2])    # doctest: +SKIP
        """
        self._new(source, group, counts, first)
        self._sources.append(f"INSTRUMENT/{source}/{group}")
        return self._create(f"INSTRUMENT/{source}/{group}", source, group)

    def auxiliary(
        self, section: str, source: str, group: str, counts: Any = None, first: Any = None
    ) -> h5py.Group:
        """Create one index group of an auxiliary source (``REDUCTION`` or ``ERRATA``).

        Parameters
        ----------
        section : str
            ``"REDUCTION"`` or ``"ERRATA"``.
        source, group, counts, first
            As in `instrument`.

        Returns
        -------
        h5py.Group
            ``<section>/<source>/<group>``.

        Examples
        --------
        >>> kept = f.auxiliary("REDUCTION", f"SHOTSIEVE/{source}", "image", counts)    # doctest: +SKIP
        """
        if section not in ("REDUCTION", "ERRATA"):
            raise BadInput(f"auxiliary section {section!r}: it must be 'REDUCTION' or 'ERRATA'")
        self._new(source, group, counts, first)
        # Auxiliary sources must not be listed in dataSourceId: readers refuse a root they do not know.
        self._auxiliary.setdefault(section, []).append(f"{section}/{source}/{group}")
        return self._create(f"{section}/{source}/{group}", source, group)

    def set_counts(self, source: str, group: str, counts: Any, first: Any = None) -> None:
        """Give the rows per train of a group, for writers that learn them at the end.

        Parameters
        ----------
        source, group : str
            A group made by `instrument` or `auxiliary`.
        counts, first : array of int (T,)
            As in `instrument`.

        Examples
        --------
        >>> f.set_counts("SPB_DET_AGIPD1M-1/CORR/3CH0:output", "image", [3, 0, 2])    # doctest: +SKIP
        """
        if (source, group) not in self._counts:
            raise BadInput(f"{self.path.name}: {source}/{group} was not created, so it cannot have counts")
        counts = self._per_train(f"counts of {source}/{group}", counts, "u8")
        self._counts[source, group] = counts
        if first is not None:
            self._first[source, group] = self._per_train(f"first of {source}/{group}", first, "u8")

    def control(
        self, source: str, values: Mapping[str, Any], class_id: str | None = None, counts: Any = None
    ) -> None:
        """Write a control source: CONTROL, INDEX, and its values at the start of the run in RUN.

        Parameters
        ----------
        source : str
            Device, for example ``"SPB_IRU_AGIPD1M1/MDL/FPGA_COMP"``.
        values : mapping of str to array (T, ...)
            Value of every key by train; dots in a key become groups. A scalar or a string stands for a
            value that never changes.
        class_id : str, optional
            Karabo class of the device, written to ``RUN/<source>/classId``.
        counts : array of 0 or 1 (T,), optional
            Trains that have a value; the arrays then have ``sum(counts)`` entries. All trains when absent.

        Raises
        ------
        BadInput
            If an array does not have one entry per train that has a value.

        Examples
        --------
        >>> f.control("SPB_IRU_AGIPD1M1/MDL/FPGA_COMP", {"bunchStructure.nPulses": 352})    # doctest: +SKIP
        """
        counts = np.ones(len(self.train_ids)) if counts is None else counts
        self.control_group(source, counts)
        stamps = self.timestamps[self._counts[source, ""] > 0]
        at_start = {} if class_id is None else {"classId": class_id}
        for key, value in values.items():
            array = storable(value)
            if array.ndim == 0:
                at_start[key] = array  # as an array it keeps its dtype, that of fixed text too
                array = np.full(len(stamps), array[()], array.dtype)
            elif len(array) != len(stamps):
                raise BadInput(
                    f"{self.path.name}: control key {source}.{key} has {len(array)} values for"
                    f" {len(stamps)} trains"
                )
            elif len(array):
                at_start[key] = array[0]
            self._put(f"CONTROL/{source}/{key.replace('.', '/')}/value", array)
            self._put(f"CONTROL/{source}/{key.replace('.', '/')}/timestamp", stamps)
        self.run_values(source, at_start)

    def control_group(self, source: str, counts: Any) -> h5py.Group:
        """Create ``CONTROL/<source>``, whose datasets the caller fills, timestamps included.

        Parameters
        ----------
        source : str
            Device.
        counts : array of int (T,)
            Entries per train.

        Examples
        --------
        >>> group = f.control_group("SPB_XTD9_XGM/XGM/DOOCS", [1, 1, 0])    # doctest: +SKIP
        """
        self._new(source, "", counts, None)
        self._sources.append(f"CONTROL/{source}")
        return self.file.require_group(f"CONTROL/{source}")

    def add_name(self, old: str, source: str) -> None:
        """Offer an instrument source under a second name too, as the facility did for corrected data.

        Parameters
        ----------
        old : str
            The other name.
        source : str
            A source made by `instrument`, with all of its groups.

        Raises
        ------
        BadInput
            If the other name is taken.

        Examples
        --------
        >>> f.add_name("DET/3CH0:xtdf", "CORR/3CH0:output")    # doctest: +SKIP
        """
        if f"INSTRUMENT/{old}" in self.file:
            raise BadInput(f"{self.path.name}: {old} is the name of a source already")
        for root in ("INSTRUMENT", "INDEX"):
            parent, _, last = f"{root}/{old}".rpartition("/")
            # Groups that HDF5 makes on the way would tell the time of the day.
            self.file.require_group(parent)[last] = h5py.SoftLink(f"/{root}/{source}")
        groups = [group for name, group in self._counts if name == source]
        self._sources += [f"INSTRUMENT/{old}/{group}" for group in groups]

    def run_values(self, source: str, values: Mapping[str, Any]) -> None:
        """Write values that hold for the whole run to ``RUN/<source>/<key>/{value,timestamp}``.

        Parameters
        ----------
        source : str
            Device or auxiliary source.
        values : mapping of str to scalar, str or array
            Each is stored with a first axis of length 1; dots in a key become groups.

        Raises
        ------
        BadInput
            If a value cannot be stored in HDF5.

        Examples
        --------
        >>> f.run_values(f"SHOTSIEVE/{source}", {"measure.lit.threshold": 0.7})    # doctest: +SKIP
        """
        group = self.file.require_group(f"RUN/{source}")
        stamp = self.timestamps[:1] if len(self.timestamps) else np.zeros(1, "u8")
        for key, value in values.items():
            own = group.require_group(key.replace(".", "/"))
            put(own, "value", storable(value)[None])
            put(own, "timestamp", stamp)

    def root_attributes(self, values: Mapping[str, Any]) -> None:
        """Set attributes of the file's root, for users who look at it with HDF5 tools alone.

        Parameters
        ----------
        values : mapping of str to scalar, str or list
            What to say.

        Examples
        --------
        >>> f.root_attributes({"writer": "me"})    # doctest: +SKIP
        """
        for key, value in values.items():
            array = storable(value)
            self.file.attrs.create(key, array if array.ndim else array[()], dtype=stored_dtype(array))

    def close(self, synced: bool = True) -> None:
        """Write INDEX and METADATA, check the rows against the index, and put the file on the disk.

        Not `synced` leaves the disk to the caller.

        Raises
        ------
        OutputError
            If a group has no counts or holds fewer rows than they say, or the disk refuses.
        """
        if self._out is None:
            return
        try:
            check_rows(self.path.name, self._groups, self._counts, self._first)
            self._write_index_and_metadata()
            self._out.close()
            self._out = None
            if synced:
                sync(self.path)
        except OutputError:
            raise
        except (OSError, RuntimeError) as err:
            raise OutputError(f"{self.path}: the file could not be completed ({err})") from err
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the file without completing it; what is on the disk is not a usable file."""
        out, self._out = self._out, None
        if out is not None:
            out.give_up()

    def check(self) -> None:
        """Raise what the disk refused so far, as an OSError, for those who write for long."""
        if self._out is not None:
            self._out.check()

    @property
    def file(self) -> h5py.File:
        """The HDF5 file, as long as it is open."""
        if self._out is None:
            raise OutputError(f"{self.path} is closed; it cannot be written to any more")
        return self._out.file

    def _new(self, source: str, group: str, counts: Any, first: Any) -> None:
        if (source, group) in self._counts:
            raise BadInput(f"{self.path.name}: {source}/{group} exists already; each group is made once")
        self._counts[source, group] = None
        if counts is not None:
            self.set_counts(source, group, counts, first)

    def _create(self, path: str, source: str, group: str) -> h5py.Group:
        return self._groups.setdefault((source, group), self.file.require_group(path))

    def _per_train(self, what: str, values: Any, dtype: str) -> np.ndarray:
        array = np.asarray(values)
        if array.shape != self.train_ids.shape:
            raise BadInput(
                f"{self.path.name}: {what} has shape {array.shape}; one value for each of the"
                f" {len(self.train_ids)} trains was expected"
            )
        if dtype == "u8" and array.dtype.kind in "if" and (array < 0).any():
            raise BadInput(f"{self.path.name}: {what} holds negative values")
        return array.astype(dtype)

    def _put(self, path: str, array: np.ndarray) -> None:
        folder, _, name = path.rpartition("/")
        put(self.file.require_group(folder), name, array)

    def _write_index_and_metadata(self) -> None:
        for name, array in self._index.items():
            self._put(f"INDEX/{name}", array)
        for (source, group), counts in self._counts.items():
            path = f"INDEX/{source}/{group}".rstrip("/")
            first = self._first.get((source, group), np.cumsum(counts) - counts)
            self._put(f"{path}/first", first.astype("u8"))
            self._put(f"{path}/count", counts)
        for path, array in metadata(self.meta, self.sequence, self._sources, self._auxiliary).items():
            self._put(f"METADATA/{path}", array)
