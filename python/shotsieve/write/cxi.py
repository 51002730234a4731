"""Hits for CrystFEL: one CXI file in the slab layout with its peak lists, and what is needed to read it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..errors import BadInput, OutputError
from ..filters import packing
from ..steady_file import SteadyHdf5
from . import crystfel
from . import cxi_layout as layout
from .encoded import DTYPES, EncodedFrames
from .hdf5 import LIBVER, sync

if TYPE_CHECKING:
    from ..geometry import Geometry
    from ..sources.base import RunMeta


class CxiWriter:
    """Write hits as one CXI file that CrystFEL reads together with the peaks in it.

    Modules stand one below the other in a 2-D slab (row = place of the module * ss + ss), since CrystFEL can
    use peak lists with no other layout; ``modules`` in the same file shows the frames as (H, M, ss, fs).
    Beside it, `finish` writes the geometry that reads it, a list file and a script that runs indexamajig.

    Parameters
    ----------
    path : path-like
        Ending in ``.cxi``. It and the files beside it must not exist.
    source_name : str
        The detector, for example ``"SPB_DET_AGIPD1M-1"``.
    modules : sequence of int
        Module numbers from the top of the slab.
    module_shape : (int, int)
        Slow-scan and fast-scan size of a module.
    geometry : Geometry
        Of the same slab.
    max_peaks : int
        Peaks stored per frame; the first are taken.
    unit : {"keV", "photon", "ADU"}
        Unit of the frames.
    photon_energy_kev, distance_m : float or None
        None takes what the geometry says.
    pixel_size_m : float or (float, float)
    params : mapping of str to scalar, str or list of str
        What the file should say of its making: attributes of its root, the same on every machine.
    compression : {"none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd"}
        Of the pixel values; the mask is always shuffled and deflated.
    mask_bad : int, default 0xffffffff
        Mask bits that CrystFEL shall take for bad; a calibration that lets some bits pass gives its own.
    adu_per_kev : float, optional
        For frames in ADU.
    meta : RunMeta, optional
        Proposal and run.
    side_files : bool, default True
        Write the geometry, the list and the script; of several files of a run the first has them for all.
    dtype : str
        Of the pixel values; in integers a bad pixel is 0, so `mask_bad` has to have every bit that makes one.
    peak_unit : str, optional
        Unit of the values that the peaks were found in, where it is not that of the frames.

    Attributes
    ----------
    notes : list of str

    Raises
    ------
    BadInput
        If an option is wrong, the geometry has another shape, or distance or photon energy are not known.
    OutputError
        If a file exists or cannot be created.

    Notes
    -----
    Promise: exact; the same frames and peaks give the same bytes, however they are cut into calls of
    `append`. All files have temporary names until the last one is complete.

    Examples
    --------
    >>> with CxiWriter("hits.cxi", source_name=name, ...) as writer:    # doctest: +SKIP
    ...     writer.append(train_id, pulse_id, cell_id, data, mask, peaks)
    ...     files = writer.finish()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source_name: str,
        modules: Sequence[int],
        module_shape: tuple[int, int],
        geometry: Geometry,
        max_peaks: int,
        unit: str,
        photon_energy_kev: float | None,
        distance_m: float | None,
        pixel_size_m: float | tuple[float, float],
        params: Mapping[str, Any],
        compression: str = "none",
        mask_bad: int = layout.MISSING,
        adu_per_kev: float | None = None,
        meta: RunMeta | None = None,
        side_files: bool = True,
        dtype: str = DTYPES["data"],
        peak_unit: str | None = None,
    ) -> None:
        self.path, self._suffixes = Path(path), crystfel.SUFFIXES if side_files else ()
        self.source_name, self.geometry, self.unit = source_name, geometry, unit
        self.dtype, self.peak_unit = np.dtype(dtype).str, peak_unit or unit
        self.modules, self.module_shape = tuple(modules), tuple(int(n) for n in module_shape)
        self.max_peaks, self.mask_bad, self.adu_per_kev = int(max_peaks), int(mask_bad), adu_per_kev
        self.pixel_size_m, self.params, self.meta = np.broadcast_to(pixel_size_m, 2), dict(params), meta
        self.notes: list[str] = []
        layout.check_choice("unit", unit, ("ADU", "keV", "photon"))
        if self.path.suffix != ".cxi":
            raise BadInput(f"CXI: {self.path.name}: the name must end in .cxi, which tells what it is")
        layout.check_numbers(self.max_peaks, self.mask_bad, self.pixel_size_m)
        layout.check_slab(geometry.shape, self.modules, self.module_shape)
        self.photon_energy_kev = self._known(
            "photon energy", photon_energy_kev, geometry.photon_energy_kev, "keV", "photon_energy"
        )
        self.distance_m = self._known("distance", distance_m, geometry.clen_m, "m", "clen")
        if unit == "photon":
            self.notes.append(f"{self.path.name}: {crystfel.PHOTON_NOTE}")
        if not crystfel.gain_keys(unit, adu_per_kev):
            # Then the geometry writes its own gain, if it has one.
            has = any(p.options.adu_per_ev or p.options.adu_per_photon for p in geometry.panels)
            todo = (
                "check the gain, which the given geometry says" if has else "add adu_per_eV or adu_per_photon"
            )
            self.notes.append(
                f"{self.path.stem}.geom: the ADU per keV are not known: {todo}; CrystFEL estimates errors"
                " with it"
            )
        self._compressed = {name: how for name, how in packing(compression).items() if name != "gain"}
        self._keys: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._peaks: list[np.ndarray] = []
        self._found: list[np.ndarray] = []
        self._frames = self._lost = 0
        self._partial = {end: self._hidden(end) for end in (*self._suffixes, ".cxi")}
        for end in self._partial:
            if self._final(end).exists():
                raise OutputError(f"{self._final(end)} exists already; choose another name or remove it")
        self._out: SteadyHdf5 | None = None
        with self._disk("created"):
            self._out = SteadyHdf5(self._partial[".cxi"], LIBVER, exclusive=True)
            shape, packed, file = self.module_shape, self._compressed, self._out.file
            self._slabs = layout.create_frames(
                file, self.modules, shape, packed, unit, self.mask_bad, self.dtype
            )

    def __enter__(self) -> CxiWriter:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        # What was finished has its final name by now; the rest is not a usable file.
        self.abort()

    @property
    def command(self) -> str:
        """The command that indexes the hits, to be run in the folder of the files."""
        return crystfel.command(self.path.stem)

    def append(
        self,
        train_id: Any,
        pulse_id: Any,
        cell_id: Any,
        frames: np.ndarray,
        mask: np.ndarray,
        peaks: Sequence[np.ndarray],
        *,
        n_peaks: Any = None,
        present: Any = None,
        encoded: EncodedFrames | None = None,
    ) -> None:
        """Append hits.

        Parameters
        ----------
        train_id, pulse_id, cell_id : array of int, shape (K,)
            Key of each hit.
        frames : ndarray, shape (K, M, ss, fs)
            In the writer's unit and dtype, NaN (in integers 0) where a pixel is bad.
        mask : ndarray of uint32, shape (K, M, ss, fs)
            BadPixels bits, 0 is good.
        peaks : sequence of K ndarray of PEAK_DTYPE
            Slab positions; `Peaks` and ``[peak_list.records(shot), ...]`` are such sequences. What lies in no
            panel of the geometry is counted in `notes` and left out.
        n_peaks : array of int, shape (K,), optional
            Peaks found, where more were found than `peaks` holds.
        present : array of bool, shape (K, M), optional
            Modules with data. A module without is 0 with every bit of the mask set.
        encoded : EncodedFrames, optional
            The same frames with ``data``, ``mask`` or both encoded as this file stores them.

        Raises
        ------
        BadInput
            If shapes or the compression of `encoded` disagree.
        OutputError
            If the disk refuses.

        Examples
        --------
        >>> writer.append(tid, pid, cell, data, mask, found)    # doctest: +SKIP
        """
        keys = tuple(np.array(k, t) for k, t in ((train_id, "u8"), (pulse_id, "u8"), (cell_id, "i4")))
        shots = len(keys[0])
        lead = (shots, len(self.modules))
        present = np.ones(lead, bool) if present is None else np.asarray(present, bool)
        n_peaks = np.array([len(p) for p in peaks] if n_peaks is None else n_peaks, "i4")
        shapes = {"pulse_id": (keys[1], lead[:1]), "cell_id": (keys[2], lead[:1]), "present": (present, lead)}
        shapes |= {"n_peaks": (n_peaks, lead[:1]), "frames": (frames, (*lead, *self.module_shape))}
        shapes |= {"mask": (mask, (*lead, *self.module_shape))}
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise BadInput(f"{self.path.name}: {name} has shape {array.shape}; expected {shape}")
        if len(peaks) != shots:
            raise BadInput(f"{self.path.name}: peaks of {len(peaks)} shots are given for {shots} shots")
        stored = self._storable(peaks)
        planes = {"data": frames, "mask": mask}
        shared = {} if encoded is None else {name: encoded for name in planes if name in encoded.dtypes}
        for name, packed in shared.items():
            packed.check(name, self._slabs[name].dtype, self._compressed[name], self.path.name)
        own = {name: values for name, values in planes.items() if name not in shared}
        shared |= dict.fromkeys(own, EncodedFrames(own, present, self._compressed, dtype=self.dtype))
        start, ss = self._frames, self.module_shape[0]
        with self._disk("written"):
            for dataset in self._slabs.values():
                dataset.resize(start + shots, axis=0)
            # Frame by frame, so that the bytes do not depend on how hits are shared out among calls. Chunks
            # of missing modules stay unwritten and cost nothing: they read as the fill value.
            for shot, m in np.argwhere(present).tolist():
                for name, dataset in self._slabs.items():
                    place = (start + shot, m * ss, 0)
                    dataset.id.write_direct_chunk(place, shared[name].chunk(name, shot, m))
            self._out.check()
        self._frames += shots
        self._keys.append(keys)
        self._peaks.extend(stored)
        self._found.append(n_peaks)

    def finish(self) -> list[Path]:
        """Write keys, peaks and views, put everything on the disk, and give all files their names.

        Returns
        -------
        list of Path
            ``x.cxi``, and where they are written ``x.geom``, ``x.lst`` and ``x.indexamajig.sh``.

        Raises
        ------
        OutputError
            If the disk refuses; nothing stands under the final names then.

        Examples
        --------
        >>> cxi, geom, listed, script = writer.finish()    # doctest: +SKIP
        """
        given: list[Path] = []
        try:
            with self._disk("completed"):
                self._complete()
                if self._suffixes:
                    crystfel.write_side_files(
                        self._partial, self.path.stem, self.geometry, self.unit, **self._geom_keys()
                    )
                for partial in self._partial.values():
                    sync(partial)
                # The CXI file comes last: where it stands, everything that belongs to it does.
                for end, partial in self._partial.items():
                    os.rename(partial, self._final(end))
                    given.append(self._final(end))
                sync(self.path.parent)
        except BaseException:
            self.abort()
            for file in given:
                file.unlink(missing_ok=True)
            raise
        return [self._final(end) for end in (".cxi", *self._suffixes)]

    def abort(self) -> None:
        """Give up what is not finished and remove it; a second call does nothing.

        Examples
        --------
        >>> writer.abort()    # doctest: +SKIP
        """
        out, self._out = self._out, None
        if out is not None:
            out.give_up()
        for partial in self._partial.values():
            partial.unlink(missing_ok=True)

    # ------------------------------------------------------------------ inside

    def _known(self, what: str, given: float | None, of_geometry: float | None, unit: str, key: str) -> float:
        """Return the value that was given, else the geometry's; note where the two disagree."""
        value = of_geometry if given is None else given
        if value is None or not (np.isfinite(value) and value > 0):
            raise BadInput(
                f"CXI: the {what} is {'not known' if value is None else f'{value} {unit}'}; CrystFEL needs"
                f" it, so set it in [calibrate], or {key} in the geometry file"
            )
        if of_geometry is not None and abs(value - of_geometry) > 0.01 * abs(value):
            self.notes.append(
                f"{self.path.stem}.geom: {what} {value:g} {unit} is written; the geometry that was given says"
                f" {of_geometry:g} {unit}"
            )
        return float(value)

    def _hidden(self, end: str) -> Path:
        return self.path.with_name(f".{self.path.stem}{end}.partial-{os.getpid()}")

    def _final(self, end: str) -> Path:
        return self.path.with_name(self.path.stem + end)

    @contextmanager
    def _disk(self, done: str) -> Iterator[None]:
        """Give up the file at an error; what the disk says becomes an OutputError."""
        try:
            if self._out is None and done != "created":
                raise OutputError(f"{self.path} is closed; it cannot be {done} any more")
            yield
        except (BadInput, OutputError):
            self.abort()
            raise
        except (OSError, RuntimeError) as err:
            self.abort()
            raise OutputError(f"{self.path}: the file could not be {done} ({err})") from err
        except BaseException:
            self.abort()
            raise

    def _storable(self, peaks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the peaks as they are stored: in the panels of the geometry, the first `max_peaks`.

        A centroid between panels would be refused by CrystFEL; it is counted, and no reason to end a run.
        """
        found = [np.empty(len(part), layout.STORED) for part in peaks]
        for ours, part in zip(found, peaks, strict=True):
            for field in layout.STORED.names:
                ours[field] = part[field]
        every = np.concatenate([np.empty(0, layout.STORED), *found])
        inside = np.asarray(self.geometry.panel_at(every["fs"], every["ss"])) >= 0
        self._lost += int(np.count_nonzero(~inside))
        cuts = np.cumsum([len(part) for part in found])
        kept = np.split(inside, cuts[:-1]) if len(found) else []
        return [part[keep][: self.max_peaks] for part, keep in zip(found, kept, strict=True)]

    def _complete(self) -> None:
        file = self._out.file
        if self._lost:
            self.notes.append(
                f"{self.path.name}: {self._lost} peaks lie in no panel of the geometry and are not written;"
                " search in its own panels (geometry.rectangles())"
            )
        columns = (
            zip(*self._keys, strict=True) if self._keys else [np.zeros((1, 0), t) for t in ("u8", "u8", "i4")]
        )
        keys = [np.concatenate(list(column)) for column in columns]
        layout.write_keys(file, *keys, self.photon_energy_kev)
        layout.write_peaks(
            file, self._peaks, np.concatenate([np.zeros(0, "i4"), *self._found]), self.peak_unit
        )
        layout.write_views(file, self.modules, self.module_shape)
        scalars = {"distance": self.distance_m, "description": self.source_name}
        scalars |= zip(("x_pixel_size", "y_pixel_size"), self.pixel_size_m.tolist(), strict=True)
        params = {"writer": f"shotsieve {__version__}", "unit": self.unit, "max_peaks": self.max_peaks}
        layout.write_about(file, params | self.params, scalars)
        if self.notes:
            self._slabs["data"].attrs["notes"] = self.notes
        if self.meta is not None:
            file["entry_1"].attrs["euxfelProposalNumber"] = self.meta.proposal
            file["entry_1"].attrs["euxfelRunNumber"] = self.meta.run
        self._out.close()
        self._out = None

    def _geom_keys(self) -> dict[str, Any]:
        return {
            "clen_m": self.distance_m,
            "photon_energy_kev": self.photon_energy_kev,
            "mask_bad": self.mask_bad,
            "comments": (
                f"reads {self.path.name}: {self.source_name}, values in {self.unit};"
                f" written by shotsieve {__version__}",
                *self.notes,
            ),
            **crystfel.gain_keys(self.unit, self.adu_per_kev),
        }
