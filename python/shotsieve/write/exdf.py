"""The reduced run: kept frames as ordinary European XFEL files, and what became of the rest."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..errors import BadInput
from ..filters import packing
from ..sources.base import ShotStatus
from ..sources.parallel_gain import in_thirds
from . import litpx, reduction
from .carried import carry_frame_columns, carry_groups
from .cell_rows import CellDataset, TrainCells
from .chunks import RowDataset, append_rows, encoders
from .content import check_content
from .disk_errors import naming
from .exdf_file import ExdfFile
from .hdf5 import EarlySync, sync_all
from .kept import KeptShots, shots_per_train
from .labels import write_labels
from .names import file_name, recorded_name, written_name
from .part import PartOfRun
from .photon_lists import PhotonListFiles, pieces
from .planes import check_planes, dataset_specs, planes_of
from .thirds import Thirds

if TYPE_CHECKING:
    from ..sources.base import Source
    from ..table import Table
    from .encoded import EncodedFrames
    from .part import Part

NOT_COMPLETED = "the file could not be completed"


class ReducedRunWriter:
    """Write the kept shots of a run, one file per module, in format 1.2.

    A dropped frame is an absent row; a dropped train stays in the index with count 0. All modules keep the
    same rows, except that a module without data in a train has no rows for the whole train: readers that put
    modules together rely on both.

    Parameters
    ----------
    folder : path-like
        An existing folder, usually the temporary one of `OutputFolder`.
    source : Source
        The run that is reduced: detector, names, all shots and trains, dates.
    content : {"corrected", "raw", "rounded", "photons", "photon_list"}
        Raw: the words as they were recorded, under the source name they were recorded under. Else: data,
        uint8 gain stage, uint32 mask, under the corrected source name; see `shotsieve.write.content`.
    unit : {"keV", "photon", "ADU"}
        Unit of corrected data, kept as an attribute; raw data is in ADU.
    params : mapping of str to scalar, str or list of str
        What the output should say of its making (recipe, thresholds, input files ...): stored in
        ``RUN/SHOTSIEVE/<source>`` of every file and as attributes of its root. Dots become groups. Nothing
        that differs between machines belongs here.
    compression : {"none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd"}
        Of the pixel values; gain and mask are always compressed, and deflated unless it is bitshuffle.
    others : bool
        Copy what stands in the module's files beside the frames too, for every train: see `carry_groups`.
    legacy_names : bool
        Of calibrated content: links under the name the module was recorded under.
    drop_cells : bool
        Of calibrated content of a detector that stores whole trains: a part of a train may be kept; cells
        that are not stay unwritten.
    dtype : str
        Of calibrated data.
    modules : collection of int, optional
        Numbers of the modules that get a file; by default all that have frames.
    part : Part, optional
        Of the run, whose number is the sequence number of the files; by default all of it.

    Raises
    ------
    BadInput
        If an option is not one of those above, or the run has no module at all.
    OutputError
        If a file cannot be created.

    Notes
    -----
    Promise: exact; the same frames give the same bytes, however they are cut into calls of `append`.

    Examples
    --------
    >>> with ReducedRunWriter(folder, source, "corrected", "keV", {"recipe": text}) as w:    # doctest: +SKIP
    ...     w.append(shots, present, {"data": data, "gain": gain, "mask": mask})
    ...     files = w.finish(table)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        source: Source,
        content: str,
        unit: str,
        params: Mapping[str, Any],
        compression: str = "none",
        others: bool = False,
        legacy_names: bool = False,
        drop_cells: bool = False,
        dtype: str = "<f4",
        modules: Collection[int] | None = None,
        part: Part | None = None,
    ) -> None:
        check_content(content, unit, dtype)
        self.detector = source.detector
        self.content = content
        self.unit = "ADU" if content == "raw" else unit
        self.dtype = np.dtype(dtype)
        self.params = {"version": __version__, "content": content, "unit": self.unit, **params}
        self.compressed = packing(compression)
        self._others, self._legacy_names = others, legacy_names
        by_train = self.detector.layout == "trains"
        thirds = content == "raw" and self.detector.encoding == "parallel"
        if content == "raw" and (legacy_names or drop_cells):
            raise BadInput("write: legacy_names and drop_cells are for calibrated content")
        if drop_cells and not by_train:
            raise BadInput(
                f"[write] drop_cells: {self.detector.name} stores single frames, and a dropped one takes no "
                "room anyway: leave the key out"
            )
        self._whole_trains = by_train and not drop_cells
        self._cells = shots_per_train(source) if by_train else 1
        wanted = [modules is None or number in modules for number in source.modules]
        self.modules = np.flatnonzero(source.shots.present.any(axis=0) & wanted).tolist()
        if not self.modules:
            which = "no module" if modules is None else "none of the chosen modules"
            raise BadInput(f"{source.name}: {which} has a single frame, so there is nothing to write")
        self.source = PartOfRun.of(source, part)
        # Train 0 is padding for every reader of the format, so such a row could only mislead.
        self._trains = self.source.trains.train_id > 0
        self.train_ids = self.source.trains.train_id[self._trains]
        whole = self._cells if self._whole_trains else 0
        self._kept = self._images = KeptShots(self.source, self.train_ids, whole)
        self._lists = None
        if content == "photon_list":
            form = (self.detector.frame_shape, self.dtype.str, self.compressed)
            self._lists = PhotonListFiles(self.source.shots, *form)
            self._images = KeptShots(self.source, self.train_ids, whole)
        self._files: dict[int, ExdfFile] = {}
        self._data: dict[int, dict[str, RowDataset]] = {}
        self._groups: dict[int, Any] = {}
        self._places = {m: TrainCells(self.source.shots, self._cells) for m in self.modules if drop_cells}
        self._thirds = {m: Thirds() for m in self.modules} if thirds else {}
        self._untold = self.modules[::-1]  # files that do not say yet how they were made
        self._early = EarlySync()
        try:
            for m in self.modules:
                self._open(Path(folder), m)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> ReducedRunWriter:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        self.abort()  # files that were finished are closed already

    def begin(self) -> None:
        """Write what is known before any shot is kept, unless that is done: how the files were made."""
        while self._untold:
            file = self._files[m := self._untold.pop()]
            with naming(file.path, NOT_COMPLETED):
                reduction.write_making(file, self._own_name(m), self.params)

    def append(
        self,
        shots: np.ndarray,
        present: np.ndarray,
        frames: Mapping[str, np.ndarray],
        encoded: EncodedFrames | None = None,
        whole: np.ndarray | None = None,
    ) -> None:
        """Append kept shots.

        Parameters
        ----------
        shots : ndarray of int64 (K,)
            Indices into the shots of the run, ascending, also from call to call.
        present : ndarray of bool (K, M)
            Modules whose frames are written; the same for all kept shots of a train.
        frames : mapping of str to ndarray
            ``data`` of the writer's dtype and unit, ``gain`` uint8, ``mask`` uint32: (K, M, ss, fs).
            Raw: ``raw`` uint16 (K, M, planes, ss, fs). Frames that are not present are not looked at.
        encoded : EncodedFrames, optional
            The same calibrated frames, encoded as the attribute `compressed` says.
        whole : ndarray of bool (K,), optional
            Of photon lists: shots whose frames are written too; by default none.

        Raises
        ------
        BadInput
            If shapes, names, order or compression are wrong, a module keeps other shots of a train than the
            others, or a detector that stores whole trains gets a part of one.
        OutputError
            If the disk refuses.

        Examples
        --------
        >>> writer.append(shots, present, {"raw": raw})    # doctest: +SKIP
        """
        shots, present = np.asarray(shots, "i8") - self.source.rows.start, np.asarray(present, bool)
        if not len(shots):
            return
        lead = (len(shots), len(self.source.modules))
        check_planes(self.detector, self.content, frames, lead, present.shape, self.dtype)
        self._kept.check(shots, present)
        if self._lists is None:
            self._append_images(shots, present, frames, encoded)
        else:
            whole = np.zeros(len(shots), bool) if whole is None else np.asarray(whole, bool)
            for piece in pieces(whole, self.source.shots.train_id[shots] if self._whole_trains else shots):
                part = {name: array[piece] for name, array in frames.items()}
                self._lists.append(shots[piece], present[piece], part)
                images = present[piece] & whole[piece, None]
                self._append_images(shots[piece], images, part)
                self._images.add(shots[piece], images)
        self._kept.add(shots, present)

    def _append_images(
        self, shots: np.ndarray, present: np.ndarray, frames: Any, encoded: EncodedFrames | None = None
    ) -> None:
        planes = planes_of(self.detector, frames)
        self._early.begin(file.path for file in self._files.values())
        with encoders() as pool:
            for m in self.modules:
                rows = np.flatnonzero(present[:, m])
                if self._whole_trains:
                    rows = rows.reshape(-1, self._cells)
                elif m in self._places:
                    self._places[m].add(shots[rows])
                if m in self._thirds:
                    trains = self.source.shots.train_id[shots[rows]]
                    self._append_thirds(m, self._thirds[m].add(trains, frames["raw"][rows, m]), pool)
                    continue
                jobs = [(self._data[m][n], self._rows(n, a, m, rows, encoded)) for n, a in planes.items()]
                self._append(m, jobs, pool)

    def finish(self, table: Table | None = None) -> list[Path]:
        """Write labels, index, measures of all shots and provenance; put every file on the disk.

        Parameters
        ----------
        table : Table, optional
            Row for row the shots of the run. Where it holds lit pixels each file gets a complete ``litpx``
            group beside the reduced images.

        Returns
        -------
        list of Path
            The files, in the order of the modules.

        Raises
        ------
        BadInput
            If the table does not have one row for each shot of the source.
        OutputError
            If the disk refuses.

        Examples
        --------
        >>> files = writer.finish(table)    # doctest: +SKIP
        """
        shots, every = self.source.shots, self.source.source.shots
        if table is not None:
            if not np.array_equal(table.train_id, every.train_id):
                raise BadInput(f"the table has {len(table)} rows; expected the {len(every)} shots of the run")
            table = table.part(self.source.rows)
        lit = None if table is None else litpx.collect(table, shots.present)
        self.begin()
        self._early.begin(file.path for file in self._files.values())
        for m in self.modules:
            mine = self._kept.of_module(m)
            if m in self._thirds:
                with encoders() as pool:
                    self._append_thirds(m, self._thirds[m].rest(), pool)
            with naming(self._files[m].path, NOT_COMPLETED):
                self._finish_images(m, self._stored(m, self._images.of_module(m)))
                self._finish_reduction(m, mine, table)
                if self._lists is not None:
                    self._lists.finish(m, mine)
                name, file = self.source_name(self.source.modules[m]), self._files[m]
                if lit is not None:
                    unit, key = str(self.params.get("intensity_unit", self.unit)), self.detector.cell_key
                    cells = self._cells if self.detector.layout == "trains" else 0
                    litpx.write(file, name, lit, m, key or litpx.CELL, cells, unit)
                if self._others:
                    carry_groups(file, self.source, m, name, auxiliary=self.content == "raw")
                if self._legacy_names:
                    file.add_name(recorded_name(self.source, self.source.modules[m]), name)
            self._files[m].close(synced=False)
        sync_all(files := [self._files[m].path for m in self.modules])
        return files

    def abort(self) -> None:
        """Close what is open; the files are not usable."""
        for file in self._files.values():
            file.abort()

    def source_name(self, module: int) -> str:
        """Return the name that the data of a module, by its number, has in the output.

        Examples
        --------
        >>> writer.source_name(3)    # doctest: +SKIP
        'SPB_DET_AGIPD1M-1/CORR/3CH0:output'
        """
        return written_name(self.source, module, self.content)

    # ------------------------------------------------------------------ opening

    def _open(self, folder: Path, m: int) -> None:
        number, detector = self.source.modules[m], self.detector
        trains, shots = self.source.trains, self.source.shots
        suspect = np.isin(self.train_ids, shots.train_id[shots.status == ShotStatus.SUSPECT])
        file = self._files[m] = ExdfFile(
            folder / file_name(self.source, number, self.content),
            train_ids=self.train_ids,
            timestamps=trains.timestamp[self._trains],
            meta=self.source.meta,
            sequence=self.source.number,
            flags=np.where(suspect, 0, 1),
        )
        self._groups[m] = file.instrument(self.source_name(number), detector.group)
        specs = dataset_specs(detector, self.content, self.dtype.str, self.compressed)
        cells = (self._cells,) if self._whole_trains else ()
        self._data[m] = {
            name: CellDataset(self._groups[m], name, shape, dtype, compressed, self._places[m])
            if m in self._places
            else RowDataset(self._groups[m], name, (*cells, *shape), dtype, compressed)
            for name, (shape, dtype, compressed) in specs.items()
        }
        pixels = self._data[m][detector.planes[0]].dataset
        # `units` for people and general tools, `unitSymbol` is where EXtra-data looks (Karabo's word).
        pixels.attrs["units"] = pixels.attrs["unitSymbol"] = self.unit
        if self._lists is not None:
            self._lists.open(m, file, self.source_name(number))

    # ------------------------------------------------------------------ appending

    def _append(self, m: int, jobs: list, pool: Any) -> None:
        with naming(self._files[m].path, "frames could not be written"):
            append_rows(jobs, pool)
            self._files[m].check()

    def _append_thirds(self, m: int, frames: Iterable[np.ndarray], pool: Any) -> None:
        self._append(m, [(self._data[m][self.detector.planes[0]], list(frames))], pool)

    def _stored(self, m: int, kept: np.ndarray) -> np.ndarray:
        """Return the shot of every frame of the file."""
        return in_thirds(kept, self.source.shots.train_id[kept]) if m in self._thirds else kept

    def _rows(self, name: str, array: Any, m: int, rows: Any, encoded: EncodedFrames | None) -> list[Any]:
        """Return what goes into the chunks of one dataset: arrays, or what they were encoded to before."""
        if encoded is None or (self._whole_trains and self._cells > 1):
            return [array[row, m] for row in rows]
        plane = "data" if name == self.detector.planes[0] else name
        encoded.check(plane, self._data[m][name].dtype, self.compressed[plane], "write")
        return [encoded.chunk(plane, shot, m) for shot in rows.ravel()]

    # ------------------------------------------------------------------ finishing

    def _finish_images(self, m: int, kept: np.ndarray) -> None:
        detector, group, rows, cells = self.detector, self._groups[m], kept, None
        if detector.layout == "trains":
            cells = self._cells
            rows = self._places[m].shots_of_rows() if m in self._places else kept.reshape(-1, cells)
        train = write_labels(group, detector, self.source.shots, rows)
        if self.content == "raw" or self._others:
            carry_frame_columns(group, self.source, m, rows, cells)
        counts = litpx.counts_per_train(self.train_ids, train)
        self._files[m].set_counts(self.source_name(self.source.modules[m]), detector.group, counts)

    def _finish_reduction(self, m: int, kept: np.ndarray, table: Table | None) -> None:
        """What became of every frame, and checksums of those that are there."""
        file, shots, name = self._files[m], self.source.shots, self._own_name(m)
        reduction.write_trains(file, name, self.detector, shots, m, kept, table)
        kept = self._images.of_module(m)
        rows = kept.reshape(-1, self._cells)[:, 0] if self._whole_trains else self._stored(m, kept)
        rows = shots.train_id[rows]
        digests = {plane: dataset.digests for plane, dataset in self._data[m].items()}
        slots = self._places[m].slots if m in self._places else None
        reduction.write_checksums(file, name, rows, digests, slots)

    def _own_name(self, m: int) -> str:
        return f"SHOTSIEVE/{self.source_name(self.source.modules[m])}"
