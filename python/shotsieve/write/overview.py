"""The overview of a reduced run: one small file through which EXtra-data opens all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from .._version import __version__
from ..errors import OutputError
from ..steady_file import SteadyHdf5
from .exdf_sections import FORMAT_VERSION
from .hdf5 import LIBVER, STRING, sync
from .virtual import Mapped, create_virtual

FILE_NAME = "overview.h5"
"""Where EXtra-data looks for an overview in the folder of a run."""

VERSION = 1
"""Of the form of the file that EXtra-data reads."""

_COPIED = ("proposalNumber", "runNumber", "sequenceNumber", "creationDate", "updateDate")
_COPIED += ("daqLibrary", "karaboFramework", "runType", "sample")


class _Unfit(Exception):
    """A file that an overview cannot show."""


@dataclass(frozen=True)
class _Part:
    """A source in one file: by index group ("" of a control source) first and count of each train."""

    file: str
    trains: np.ndarray
    index: Mapping[str, tuple[np.ndarray, np.ndarray]]


class Overview:
    """Sources and index of all files of a run, to be written as one file.

    A source that stands in one file is a link to it: EXtra-data then reads the very datasets. One that is
    spread over several sequences is a virtual dataset over them. Names of files are relative to the folder,
    so that it may be renamed and moved. EXtra-data passes an overview over by itself once a file came, went
    or has another size.

    Parameters
    ----------
    files : sequence of Path
        All ``.h5`` files of the folder, finished.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = sorted(files)
        self.parts: dict[tuple[str, str], list[_Part]] = {}
        self.run_values: dict[str, str] = {}
        self.listed: set[str] = set()
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for path in self.files:
            with h5py.File(path) as file:
                self._take(file, path.name)
        order = np.concatenate([rows[0] for rows in self._rows])
        self.trains = np.unique(order)

    def write(self, path: Path) -> None:
        """Write the overview. Promise: exact; the same files give the same bytes."""
        with SteadyHdf5(path, LIBVER, exclusive=True) as out:
            file = out.file
            file.attrs["virtual_overview_version"] = VERSION
            file.attrs["writer"] = f"shotsieve {__version__}"
            told = file.create_group(".source_files")
            told.create_dataset("names", data=[p.name for p in self.files], dtype=STRING)
            told.create_dataset("sizes", data=np.array([p.stat().st_size for p in self.files], "u8"))
            self._write_trains(file)
            self._write_metadata(file)
            for (section, source), parts in sorted(self.parts.items()):
                self._write_source(file, f"{section}/{source}", source, parts)
            for source, name in sorted(self.run_values.items()):
                _link(file, f"RUN/{source}", name)
            file.require_group("RUN")

    # ------------------------------------------------------------------ reading

    def _take(self, file: h5py.File, name: str) -> None:
        if "METADATA/dataFormatVersion" not in file:
            raise _Unfit(f"{name} is of a format before 1.0")
        version = file["METADATA/dataFormatVersion"].asstr()[0]
        trains = file["INDEX/trainId"][:]
        real = trains > 0
        flag = file["INDEX/flag"][:][: len(trains)] > 0
        if version == "1.1":  # there the flag is the place of what told the train id, 0 the time server
            flag = ~flag
        stamp = file["INDEX/timestamp"][:] if "INDEX/timestamp" in file else np.zeros(len(trains), "u8")
        self._rows.append((trains[real], flag[real], stamp[: len(trains)][real]))
        listed = [s for s in file["METADATA/dataSources/dataSourceId"].asstr()[:] if s]
        auxiliary = file.get("METADATA/auxiliarySources", {})
        extra = [s for section in auxiliary for s in auxiliary[section].asstr()[:] if s]
        self.listed.update(listed, extra)
        found: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
        for entry in (*listed, *extra):
            section, _, place = entry.partition("/")
            source, _, group = place.rpartition("/") if section != "CONTROL" else (place, "", "")
            pair = tuple(
                file[f"INDEX/{place}/{key}"][:][: len(trains)][real].astype("i8")
                for key in ("first", "count")
            )
            found.setdefault((section, source), {})[group] = pair
        for key, index in found.items():
            self.parts.setdefault(key, []).append(_Part(name, trains[real], index))
            if f"RUN/{key[1]}" in file:
                self.run_values.setdefault(key[1], name)

    # ------------------------------------------------------------------ writing

    def _write_trains(self, file: h5py.File) -> None:
        flag = np.zeros(len(self.trains), "i4")
        stamp = np.zeros(len(self.trains), "u8")
        for trains, good, when in self._rows:
            place = np.searchsorted(self.trains, trains)
            flag[place] |= good
            stamp[place] = np.where(stamp[place] > 0, stamp[place], when)
        columns = {"trainId": self.trains, "timestamp": stamp, "flag": flag, "origin": np.full_like(flag, -1)}
        for name, values in columns.items():
            file.create_dataset(f"INDEX/{name}", data=values)

    def _write_metadata(self, file: h5py.File) -> None:
        with h5py.File(self.files[0]) as first:
            for name in _COPIED:
                if f"METADATA/{name}" in first:
                    values = first[f"METADATA/{name}"]
                    file.create_dataset(f"METADATA/{name}", data=values[:], dtype=values.dtype)
        texts = {"METADATA/dataFormatVersion": [FORMAT_VERSION]}
        sources = sorted(s for s in self.listed if s.startswith(("CONTROL/", "INSTRUMENT/")))
        texts["METADATA/dataSources/dataSourceId"] = sources
        texts["METADATA/dataSources/root"] = [s.partition("/")[0] for s in sources]
        texts["METADATA/dataSources/deviceId"] = [s.partition("/")[2] for s in sources]
        for section in sorted({s.partition("/")[0] for s in self.listed - set(sources)}):
            chosen = sorted(s for s in self.listed if s.startswith(f"{section}/"))
            texts[f"METADATA/auxiliarySources/{section}"] = chosen
        for name, values in texts.items():
            file.create_dataset(name, data=np.array(values, object), dtype=STRING)

    def _write_source(self, file: h5py.File, path: str, source: str, parts: list[_Part]) -> None:
        # In the order of their trains, as readers expect rows.
        parts = sorted(parts, key=lambda part: (int(part.trains[0]) if len(part.trains) else 0, part.file))
        if len(parts) == 1:
            _link(file, path, parts[0].file)
        for group in sorted({name for part in parts for name in part.index}):
            mine = [part for part in parts if group in part.index]
            blocks = self._write_index(file, f"INDEX/{source}/{group}".rstrip("/"), group, mine)
            if len(parts) > 1:
                self._join(file, f"{path}/{group}".rstrip("/"), mine, blocks)

    def _write_index(
        self, file: h5py.File, path: str, group: str, parts: list[_Part]
    ) -> list[tuple[int, int]]:
        """Write first and count of every train; return the rows of each part that are shown."""
        first, count = np.zeros(len(self.trains), "i8"), np.zeros(len(self.trains), "i8")
        blocks, start = [], 0
        for part in parts:
            at, number = part.index[group]
            filled = number > 0
            low, high = (at[filled].min(), (at + number)[filled].max()) if filled.any() else (0, 0)
            place = np.searchsorted(self.trains, part.trains[filled])
            if (count[place] > 0).any():
                raise _Unfit(f"{path.removeprefix('INDEX/')} has a train in two files")
            # Of a single file the rows are those of the file itself.
            shift = start - low if len(parts) > 1 else 0
            first[place], count[place] = at[filled] + shift, number[filled]
            blocks.append((int(low), int(high)))
            start += high - low
        empty = count == 0
        ends = np.concatenate([[0], np.maximum.accumulate(first + count)[:-1]]) if len(count) else first
        first[empty] = ends[empty]
        for name, values in (("first", first), ("count", count)):
            file.create_dataset(f"{path}/{name}", data=values.astype("u8"))
        return blocks

    def _join(self, file: h5py.File, path: str, parts: list[_Part], blocks: list[tuple[int, int]]) -> None:
        """Show the datasets of several files as one."""
        shapes: dict[str, list[tuple[int, ...]]] = {}
        about: dict[str, tuple[np.dtype, dict]] = {}
        for part in parts:
            with h5py.File(self.files[0].parent / part.file) as source:

                def note(name: str, item: object) -> None:
                    if isinstance(item, h5py.Dataset):
                        shapes.setdefault(name, []).append(item.shape)
                        about.setdefault(name, (item.dtype, dict(item.attrs)))

                source[path].visititems(note)
        total = sum(high - low for low, high in blocks)
        for name, found in sorted(shapes.items()):
            if len(found) < len(parts) or len({shape[1:] for shape in found}) > 1:
                raise _Unfit(f"{path}/{name} is not the same in all files")
            tail, start, mapped = found[0][1:], 0, []
            zeros = (0,) * len(tail)
            for part, shape, (low, high) in zip(parts, found, blocks, strict=True):
                size = (high - low, *tail)
                if high > low:
                    place = (start, *zeros)
                    mapped.append(
                        Mapped(part.file, f"/{path}/{name}", shape, (low, *zeros), size, place, size)
                    )
                start += high - low
            dtype, told = about[name]
            parent, _, last = f"{path}/{name}".rpartition("/")
            fill = b"" if dtype.kind in "OS" else np.zeros((), dtype)
            # EXtra-data looks into the first file for attributes where there are none.
            create_virtual(
                file.require_group(parent),
                last,
                (total, *tail),
                dtype,
                fill,
                mapped,
                told or {"joined": True},
            )


def _link(file: h5py.File, path: str, name: str) -> None:
    """Link to the same path in another file."""
    # Groups that HDF5 makes on the way to a name by itself would store the time.
    parent, _, last = path.rpartition("/")
    file.require_group(parent)[last] = h5py.ExternalLink(name, f"/{path}")


def write_overview(path: Path, files: Sequence[Path]) -> list[str]:
    """Write the overview of all EuXFEL files of a folder; see `Overview`.

    Parameters
    ----------
    path : Path
        In the folder of the files.
    files : sequence of Path
        Finished files; those without the ending ``.h5`` are passed over.

    Returns
    -------
    list of str
        Why there is no overview, where there cannot be one; the file then does not exist.

    Raises
    ------
    OutputError
        If a file cannot be read or written.

    Examples
    --------
    >>> write_overview(folder / FILE_NAME, files)    # doctest: +SKIP
    []
    """
    try:
        Overview([file for file in files if file.suffix == ".h5"]).write(path)
        sync(path)
    except _Unfit as err:
        path.unlink(missing_ok=True)
        return [f"no {path.name} was written: {err}"]
    except (OSError, KeyError, RuntimeError) as err:
        raise OutputError(f"{path}: the overview could not be written ({err})") from err
    return []
