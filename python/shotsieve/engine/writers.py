"""Kept shots of a part of a run on their way to every file that gets them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..errors import BadInput, OutputError
from ..keep import kept_whole
from ..write.crystfel import list_text
from ..write.cxi import CxiWriter
from ..write.encoded import EncodedFrames
from ..write.exdf import ReducedRunWriter

if TYPE_CHECKING:
    from ..write.part import Part
    from .job import Job

NO_VALUE = (
    BadPixels.NO_DARK_DATA
    | BadPixels.VALUE_IS_NAN
    | BadPixels.VALUE_OUT_OF_RANGE
    | BadPixels.WRONG_GAIN_VALUE
)
"""Bits that calibration and counting set themselves, whatever bits of the constants are bad."""


class KeptWriters:
    """The EuXFEL files of a part of a run and, where the recipe asks for it, its CXI file.

    Parameters
    ----------
    job : Job
        With something to write.
    folder : Path
        Where the files grow.
    part : Part
        The trains whose shots come.

    Attributes
    ----------
    notes : list of str
        What a reader of the accounts should know, once it is finished.

    Raises
    ------
    BadInput, OutputError
        As the writers.
    """

    def __init__(self, job: Job, folder: Path, part: Part) -> None:
        self.job, self.part = job, part
        self.notes: list[str] = []
        others = job.recipe.write.others
        write, form = job.recipe.write, job.form
        self._exdf = ReducedRunWriter(
            folder,
            job.source,
            job.content,
            form.unit,
            job.settings,
            form.compression,
            others=others,
            legacy_names=write.legacy_names,
            drop_cells=write.drop_cells,
            dtype=form.dtype,
            modules=job.modules,
            part=part,
        )
        self._cxi = None
        if job.recipe.write.cxi:
            try:
                self._cxi = self._open_cxi(folder)
            except BaseException:
                self._exdf.abort()
                raise

    def _open_cxi(self, folder: Path) -> CxiWriter:
        job, source = self.job, self.job.source
        detector, peaks, form = source.detector, job.peaks, job.form
        bad = job.tables.bad_bits | BadPixels.USER1
        if form.photons is not None:
            # A pixel that has no value is 0 there, and nothing but the mask tells it from an empty one.
            bad |= NO_VALUE
        if form.written is not None:
            bad |= BadPixels.USER2
        return CxiWriter(
            folder / cxi_name(job, self.part.number),
            source_name=source.name,
            modules=source.modules,
            module_shape=detector.shape,
            geometry=peaks.geometry,
            max_peaks=peaks.plan.params.max_num_peaks,
            unit=form.unit,
            photon_energy_kev=peaks.photon_energy_kev,
            distance_m=peaks.distance_m,
            pixel_size_m=detector.pixel_sizes_m,
            params=job.settings,
            compression=form.compression,
            mask_bad=bad,
            meta=source.meta,
            side_files=self.part.number == 0,
            dtype=form.dtype,
            peak_unit=job.unit,
        )

    def begin(self) -> None:
        """Write what is known before any shot is kept."""
        self._exdf.begin()

    def append(
        self,
        shots: np.ndarray,
        present: np.ndarray,
        frames: Mapping[str, np.ndarray],
        peaks: Sequence[np.ndarray] = (),
    ) -> None:
        """Append kept shots; a frame that is the same in several files is compressed once.

        Parameters
        ----------
        shots : ndarray of int, shape (K,)
            Rows of the table, ascending.
        present : ndarray of bool, shape (K, M)
        frames : mapping of str to ndarray
            As `ReducedRunWriter.append` takes them.
        peaks : sequence of K ndarray of PEAK_DTYPE
            For the CXI file.
        """
        if self._cxi is None:
            self._exdf.append(shots, present, frames, whole=whole_of_lists(self.job, shots))
            return
        encoded = EncodedFrames(frames, present, self._exdf.compressed, dtype=self.job.form.dtype)
        self._exdf.append(shots, present, frames, encoded)
        table, mask = self.job.table, frames["mask"]
        if self.job.peaks.user_mask is not None:
            # What was not searched is not to be integrated either; the EuXFEL files keep their own bits.
            outside = ~self.job.peaks.user_mask.reshape(mask.shape[1:])
            mask = mask | np.where(outside, np.uint32(BadPixels.USER1), np.uint32(0))
            encoded = encoded.only("data")
        self._cxi.append(
            table.train_id[shots],
            table.pulse_id[shots],
            table.cell_id[shots],
            frames["data"],
            mask,
            peaks,
            n_peaks=self.job.peaks.found.n_peaks[shots],
            present=present,
            encoded=encoded,
        )

    def finish(self) -> list[Path]:
        """Complete all files and return them."""
        files = self._exdf.finish(self.job.table)
        if self._cxi is not None:
            # The list is of all parts: `finish_run` writes it, and no part tells of it.
            files += [file for file in self._cxi.finish() if file.suffix != ".lst"]
            self.notes.extend(self._cxi.notes)
        return files

    def abort(self) -> None:
        """Give up what is not finished."""
        self._exdf.abort()
        if self._cxi is not None:
            self._cxi.abort()


def whole_of_lists(job: Job, shots: np.ndarray) -> np.ndarray | None:
    """Return which shots of photon lists have their frames written too; None where there are no lists."""
    form, table = job.form, job.table
    if form.content != "photon_list":
        return None
    by_train = job.recipe.keeps_whole_trains(job.source.detector.layout == "trains")
    return kept_whole(form.whole, form.seed, table.train_id[shots], table.pulse_id[shots], by_train)


def cxi_name(job: Job, number: int) -> str:
    """Return the name of the CXI file of a part."""
    source = job.source
    return f"CORR-R{source.meta.run:04d}-{source.name}-S{number:05d}.cxi"


def others_of(job: Job) -> list[Path]:
    """Return the files of the run that the output gets a copy of.

    Raises
    ------
    BadInput
        If two have the same name.
    """
    if job.recipe.write is None or not job.recipe.write.others:
        return []
    names = [path.name for path in job.source.others]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(
            f"[write] others: two files of the run are called {twice[0]}: they cannot both be kept"
        )
    return list(job.source.others)


def finish_run(job: Job, folder: Path, parts: int, copies: bool = True) -> list[Path]:
    """Write what belongs to all parts: copies of other files, and the list of CXI files.

    Parameters
    ----------
    job : Job
    folder : Path
    parts : int
        Their number.
    copies : bool
        Whether to copy; where the run has several detectors one of them does it for all.

    Returns
    -------
    list of Path
    """
    files = []
    for path in others_of(job) if copies else []:
        files.append(folder / path.name)
        try:
            shutil.copyfile(path, files[-1])
        except OSError as err:
            raise OutputError(f"{path} cannot be copied into the output: {err}") from err
    if job.recipe.write is not None and job.recipe.write.cxi:
        files.append(folder / cxi_name(job, 0).replace(".cxi", ".lst"))
        text = "".join(list_text(cxi_name(job, number)) for number in range(parts))
        files[-1].write_text(text, encoding="utf-8", newline="\n")
    return files
