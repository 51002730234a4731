"""The reduced run: kept frames as ordinary European XFEL files, and what became of the rest."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..errors import BadInput, OutputError, ShotsieveError
from ..sources.base import ShotStatus
from . import litpx, reduction
from .chunks import RowDataset, append_rows
from .content import COMPRESSIONS, CONTENTS
from .exdf_file import ExdfFile
from .planes import check_planes, dataset_specs, planes_of

if TYPE_CHECKING:
    from ..sources.base import Source
    from ..table import Table
    from .encoded import EncodedFrames

UNITS = ("ADU", "keV", "photon")


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
    content : {"corrected", "raw", "rounded", "photons"}
        Raw: the words as they were recorded, under the source name they were recorded under. Else: data,
        uint8 gain stage, uint32 mask, under the corrected source name; see `shotsieve.write.content`.
    unit : {"keV", "photon", "ADU"}
        Unit of corrected data, kept as an attribute; raw data is in ADU.
    params : mapping of str to scalar, str or list of str
        What the output should say of its making (recipe, thresholds, input files ...): stored in
        ``RUN/SHOTSIEVE/<source>`` of every file and as attributes of its root. Dots become groups. Nothing
        that differs between machines belongs here.
    compression : {"none", "gzip"}
        Of the pixel values; gain and mask are always shuffled and deflated.
    others : bool
        Of raw content: copy the other groups of the source's files, for every train.
    dtype : str
        Of calibrated data.
    modules : collection of int, optional
        Numbers of the modules that get a file; by default all that have frames.

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
        dtype: str = "<f4",
        modules: Collection[int] | None = None,
    ) -> None:
        for name, value, allowed in (
            ("content", content, CONTENTS),
            ("unit", unit, UNITS),
            ("compression", compression, COMPRESSIONS),
        ):
            if value not in allowed:
                raise BadInput(f"write: {name} is {value!r}; it must be {' or '.join(map(repr, allowed))}")
        self.source = source
        self.detector = source.detector
        self.content = content
        self.unit = "ADU" if content == "raw" else unit
        self.dtype = np.dtype(dtype)
        if (content == "photons") != (self.dtype.kind == "u"):
            raise BadInput(f"write: dtype is {dtype}; photons need uint8 or uint16, all others float32")
        self.params = {"version": __version__, "content": content, "unit": self.unit, **params}
        self.compressed = {"data": compression == "gzip", "gain": True, "mask": True}
        # Train 0 is padding for every reader of the format, so such a row could only mislead.
        self._others = others and content == "raw"
        self._trains = source.trains.train_id > 0
        self.train_ids = source.trains.train_id[self._trains]
        self._whole_trains = self.detector.layout == "trains"
        self._cells = self._shots_per_train() if self._whole_trains else 1
        self._kept: list[np.ndarray] = []
        self._present: list[np.ndarray] = []
        self._last = -1
        wanted = [modules is None or number in modules for number in source.modules]
        self.modules = np.flatnonzero(source.shots.present.any(axis=0) & wanted).tolist()
        if not self.modules:
            which = "no module" if modules is None else "none of the chosen modules"
            raise BadInput(f"{source.name}: {which} has a single frame, so there is nothing to write")
        self._files: dict[int, ExdfFile] = {}
        self._data: dict[int, dict[str, RowDataset]] = {}
        self._groups: dict[int, Any] = {}
        try:
            for m in self.modules:
                self._open(Path(folder), m)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> ReducedRunWriter:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        # Files that were finished are closed already; the rest is not a usable run.
        self.abort()

    def append(
        self,
        shots: np.ndarray,
        present: np.ndarray,
        frames: Mapping[str, np.ndarray],
        encoded: EncodedFrames | None = None,
    ) -> None:
        """Append kept shots.

        Parameters
        ----------
        shots : ndarray of int64 (K,)
            Indices into ``source.shots``, ascending, also from call to call.
        present : ndarray of bool (K, M)
            Modules whose frames are written; the same for all kept shots of a train.
        frames : mapping of str to ndarray
            ``data`` of the writer's dtype and unit, ``gain`` uint8, ``mask`` uint32: (K, M, ss, fs).
            Raw: ``raw`` uint16 (K, M, planes, ss, fs). Frames that are not present are not looked at.
        encoded : EncodedFrames, optional
            The same calibrated frames, encoded as the attribute `compressed` says.

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
        shots, present = np.asarray(shots, "i8"), np.asarray(present, bool)
        if not len(shots):
            return
        planes = self._planes(frames, (len(shots), len(self.source.modules)), present.shape)
        self._check_order(shots, present)
        for m in self.modules:
            rows = np.flatnonzero(present[:, m])
            if self._whole_trains:
                rows = rows.reshape(-1, self._cells)
            jobs = [(self._data[m][n], self._rows(n, array, m, rows, encoded)) for n, array in planes.items()]
            try:
                append_rows(jobs)
            except (OSError, RuntimeError) as err:
                raise OutputError(f"{self._files[m].path}: frames could not be written ({err})") from err
        self._kept.append(shots)
        self._present.append(present)
        self._last = int(shots[-1])

    def finish(self, table: Table | None = None) -> list[Path]:
        """Write labels, index, measures of all shots and provenance; put every file on the disk.

        Parameters
        ----------
        table : Table, optional
            Row for row the shots of the source. Where it holds lit pixels each file gets a complete ``litpx``
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
        shots = self.source.shots
        if table is not None and not np.array_equal(table.train_id, shots.train_id):
            raise BadInput(f"the table has {len(table)} rows; expected the {len(shots)} shots of the source")
        kept = np.concatenate([np.zeros(0, "i8"), *self._kept])
        present = np.concatenate([np.zeros((0, len(self.source.modules)), bool), *self._present])
        lit = None if table is None else litpx.collect(table, shots.present)
        for m in self.modules:
            mine = kept[present[:, m]]
            try:
                self._finish_images(m, mine)
                self._finish_reduction(m, mine, table)
                if lit is not None:
                    self._finish_litpx(m, lit)
                if self._others:
                    self._copy_groups(m)
            except (OSError, RuntimeError) as err:
                if isinstance(err, ShotsieveError):
                    raise
                raise OutputError(f"{self._files[m].path}: the file could not be completed ({err})") from err
            self._files[m].close()
        return [self._files[m].path for m in self.modules]

    def abort(self) -> None:
        """Close what is open; the files are not usable.

        Examples
        --------
        >>> writer.abort()    # doctest: +SKIP
        """
        for file in self._files.values():
            file.abort()

    def source_name(self, module: int) -> str:
        """Return the name a module's data has in the output.

        Parameters
        ----------
        module : int
            Module number, as in ``source.modules``.

        Returns
        -------
        str
            For example ``"SPB_DET_AGIPD1M-1/CORR/3CH0:output"``.

        Examples
        --------
        >>> writer.source_name(3)    # doctest: +SKIP
        'SPB_DET_AGIPD1M-1/CORR/3CH0:output'
        """
        if self.content == "raw" and module in self.source.raw_names:
            # Recorded words keep the name they were recorded under, also where it is not the usual one.
            return self.source.raw_names[module]
        template = self.detector.raw_source if self.content == "raw" else self.detector.corrected_source
        return template.format(detector=self.source.name, module=module)

    # ------------------------------------------------------------------ opening

    def _shots_per_train(self) -> int:
        """Rows of such a detector are whole trains, so all kept trains have as many shots as the fullest."""
        shots = self.source.shots
        good = shots.train_id[shots.status == ShotStatus.OK]
        return int(np.unique(good, return_counts=True)[1].max(initial=1))

    def _open(self, folder: Path, m: int) -> None:
        number, detector = self.source.modules[m], self.detector
        meta, trains, shots = self.source.meta, self.source.trains, self.source.shots
        prefix = "RAW" if self.content == "raw" else "CORR"
        path = folder / f"{prefix}-R{meta.run:04d}-{detector.aggregator.format(module=number)}-S00000.h5"
        suspect = np.isin(self.train_ids, shots.train_id[shots.status == ShotStatus.SUSPECT])
        file = self._files[m] = ExdfFile(
            path,
            train_ids=self.train_ids,
            timestamps=trains.timestamp[self._trains],
            meta=meta,
            flags=np.where(suspect, 0, 1),
        )
        self._groups[m] = file.instrument(self.source_name(number), detector.group)
        specs = dataset_specs(detector, self.content, self.dtype.str, self.compressed)
        cells = (self._cells,) if self._whole_trains else ()
        self._data[m] = {
            name: RowDataset(self._groups[m], name, (*cells, *shape), dtype, compressed)
            for name, (shape, dtype, compressed) in specs.items()
        }
        pixels = self._data[m][detector.planes[0]].dataset
        # `units` for people and general tools, `unitSymbol` is where EXtra-data looks (Karabo's word).
        pixels.attrs["units"] = pixels.attrs["unitSymbol"] = self.unit

    # ------------------------------------------------------------------ appending

    def _rows(self, name: str, array: Any, m: int, rows: Any, encoded: EncodedFrames | None) -> list[Any]:
        """Return what goes into the chunks of one dataset: arrays, or what they were encoded to before."""
        if encoded is None or self._cells > 1:
            return [array[row, m] for row in rows]
        plane = "data" if name == self.detector.planes[0] else name
        encoded.check(plane, self._data[m][name].dtype, self.compressed[plane], "write")
        return [encoded.chunk(plane, shot, m) for shot in rows.ravel()]

    def _planes(
        self, frames: Mapping[str, np.ndarray], lead: tuple[int, int], present: tuple[int, ...]
    ) -> dict[str, np.ndarray]:
        """Check the arrays of a call and give each the name of its dataset, module on axis 1."""
        check_planes(self.detector, self.content, frames, lead, present)
        if self.content == "photons" and frames["data"].dtype != self.dtype:
            # A cast would wrap around.
            raise BadInput(f"write: data is {frames['data'].dtype}; expected photons as {self.dtype}")
        return planes_of(self.detector, frames)

    def _check_order(self, shots: np.ndarray, present: np.ndarray) -> None:
        if shots[0] <= self._last or (np.diff(shots) <= 0).any():
            raise BadInput("write: kept shots must come in ascending order, each once")
        train = self.source.shots.train_id[shots]
        if not np.isin(train, self.train_ids).all():
            raise BadInput("write: a kept shot belongs to a train that is not in the source's list of trains")
        if (present & ~self.source.shots.present[shots]).any():
            raise BadInput("write: frames are given for a module that did not record the shot")
        # The last shot of the call before may belong to the same train.
        ids = np.concatenate([self.source.shots.train_id[k[-1:]] for k in self._kept[-1:]] + [train])
        seen = np.concatenate([p[-1:] for p in self._present[-1:]] + [present])
        split = (ids[1:] == ids[:-1]) & (seen[1:] != seen[:-1]).any(axis=1)
        if split.any():
            raise BadInput(
                f"write: train {ids[1:][split][0]}: a module has frames for some of the kept shots only; it"
                " must have all of them or none"
            )
        if self._whole_trains:
            numbers, counts = np.unique(train, return_counts=True)
            short = counts != self._cells
            if short.any():
                raise BadInput(
                    f"write: train {numbers[short][0]} comes with {counts[short][0]} of {self._cells} shots;"
                    " this detector stores whole trains, so a train is kept or dropped as a whole"
                )

    # ------------------------------------------------------------------ finishing

    def _finish_images(self, m: int, kept: np.ndarray) -> None:
        shots, detector, group = self.source.shots, self.detector, self._groups[m]
        if self._whole_trains:
            rows = kept.reshape(-1, self._cells)
            group["trainId"] = shots.train_id[rows[:, 0]]
            group[detector.cell_key] = shots.cell_id[rows].astype("u1")
            train = shots.train_id[rows[:, 0]]
        else:
            train = shots.train_id[kept]
            group["trainId"], group[detector.pulse_key] = train, shots.pulse_id[kept]
            group[detector.cell_key] = shots.cell_id[kept].astype("u2")
        counts = litpx.counts_per_train(self.train_ids, train)
        self._files[m].set_counts(self.source_name(self.source.modules[m]), detector.group, counts)

    def _finish_litpx(self, m: int, lit: litpx.LitPixels) -> None:
        name, file = self.source_name(self.source.modules[m]), self._files[m]
        group = file.instrument(name, "litpx")
        if self._whole_trains:
            train = litpx.write_trains(group, lit, m, self.detector.cell_key, self._cells)
        else:
            train = litpx.write_frames(group, lit, m, self.detector.cell_key)
        file.set_counts(name, "litpx", litpx.counts_per_train(self.train_ids, train))
        group["status"].attrs["meaning"] = litpx.STATUS_MEANING
        group["totalIntensity"].attrs["units"] = str(self.params.get("intensity_unit", self.unit))

    def _copy_groups(self, m: int) -> None:
        name = self.source_name(self.source.modules[m])
        for key, counts, rows in self.source.other_groups(m):
            if key != "litpx":  # of an earlier reduction
                group = self._files[m].instrument(name, key, counts)
                for path, values in rows.items():
                    group[path] = values

    def _finish_reduction(self, m: int, kept: np.ndarray, table: Table | None) -> None:
        """What became of every frame, checksums of those that are there, and how all of it was made."""
        file, shots = self._files[m], self.source.shots
        name = f"SHOTSIEVE/{self.source_name(self.source.modules[m])}"
        reduction.write_trains(file, name, self.detector, shots, m, kept, table)
        rows = shots.train_id[kept.reshape(-1, self._cells)[:, 0]]
        reduction.write_checksums(
            file, name, rows, {plane: dataset.digests for plane, dataset in self._data[m].items()}
        )
        file.run_values(name, self.params)
        file.root_attributes({"writer": f"shotsieve {__version__}", **self.params})
