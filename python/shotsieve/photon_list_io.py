"""Photon lists of a reduced run: shots as lists, as frames again, and what is summed straight from lists."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from . import detectors
from .check import files_of, reduction_of
from .errors import DAMAGE, BadInput, UnreadableData
from .measure.integrator import FRAME_ARRAYS, SUM_ARRAYS
from .photon_list import PhotonList
from .photon_list_files import ModuleLists
from .table import FATES, ModuleStatus, Table
from .write.ledger import FILE_NAME, Ledger
from .write.output import SIDE

if TYPE_CHECKING:
    from .measure.azint import AzintResult
    from .measure.integrator import AzimuthalIntegrator

MISSING = 0xFFFFFFFF
"""Mask of a module that has no frame of a shot."""


@dataclass(frozen=True)
class Shot:
    """One kept shot.

    Attributes
    ----------
    train_id, pulse_id, cell_id : int
    lists : dict of int to PhotonList
        By module number, each of one frame; modules that have no frame of the shot are not among them.
    """

    train_id: int
    pulse_id: int
    cell_id: int
    lists: dict[int, PhotonList]


class PhotonLists:
    """The kept shots of a run that was reduced to photon lists.

    Promise: exact. Frames and masks are those that ``content = "photons"`` would have stored, bit for bit.

    Parameters
    ----------
    out : path-like
        The reduced run.
    label : str
        Of a further detector.

    Attributes
    ----------
    detector : Detector
    modules : tuple of int
        Module numbers, in the order of axis 1 of frames.
    train_id, pulse_id : ndarray of uint64, shape (N,)
        Of every kept shot, in the order of the run.
    cell_id : ndarray of int32, shape (N,)
    present : ndarray of bool, shape (N, M)
        Modules that have a frame of the shot.

    Raises
    ------
    BadInput
        If it is no reduced run, or has no photon lists.
    UnreadableData
        If a file is gone or damaged, or lists are not those of the shots that the table tells.

    Examples
    --------
    >>> with PhotonLists("red/r0001") as photons:    # doctest: +SKIP
    ...     for shot in photons:
    ...         print(shot.train_id, {m: one.photons.sum() for m, one in shot.lists.items()})
    ...     data, mask = photons.frames(range(10))
    """

    def __init__(self, out: str | os.PathLike[str], label: str = "") -> None:
        out = Path(out)
        self._modules: list[ModuleLists] = []
        side = out / SIDE / label
        if not (side / "table.h5").is_file():
            raise BadInput(f"{side} has no table.h5: {out} is not a reduced run")
        if (out / SIDE / FILE_NAME).is_file():
            for name in Ledger.load(out).files:
                if "/" not in name and not (out / name).is_file():
                    raise UnreadableData(f"{out / name} is gone: the photon lists are not complete")
        table = Table.open(side / "table.h5")
        accounts = json.loads((side / "accounts.json").read_text(encoding="utf-8"))
        self.detector = detectors.load(accounts["detector"])
        files = {module: _files_of(out, self, accounts["source"], module) for module in table.modules}
        self.modules = tuple(module for module, found in files.items() if found)
        if not self.modules:
            raise BadInput(f"{out} has no data files of {accounts['source']}: only its table was written")
        kept = np.flatnonzero(table.fate == FATES.index("kept"))
        self.train_id, self.pulse_id = table.train_id[kept], table.pulse_id[kept]
        self.cell_id = table.cell_id[kept]
        columns = [table.modules.index(module) for module in self.modules]
        in_file = (ModuleStatus.OK, ModuleStatus.NO_CONSTANTS)
        self.present = np.isin(table.module_status[kept][:, columns], in_file)
        try:
            for m, module in enumerate(self.modules):
                self._modules.append(ModuleLists(files[module], self.detector.frame_shape))
                lists, here = self._modules[m], self.present[:, m]
                told = (self.train_id[here], self.pulse_id[here])
                if not all(map(np.array_equal, (lists.train_id, lists.pulse_id), told)):
                    raise UnreadableData(
                        f"{out}: module {module} has photon lists of {len(lists)} shots, and the table tells "
                        f"of {int(here.sum())}; they are not the same: `shotsieve check` says what is damaged"
                    )
        except BaseException:
            self.close()
            raise
        self._rows = np.cumsum(self.present, axis=0) - 1

    def __enter__(self) -> PhotonLists:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for module in self._modules:
            module.close()

    def __len__(self) -> int:
        return len(self.train_id)

    def __iter__(self) -> Iterator[Shot]:
        for start in range(0, len(self), 256):
            shots = np.arange(start, min(start + 256, len(self)))
            held = {module: self.lists(module, shots) for module in self.modules}
            for k, shot in enumerate(shots.tolist()):
                lists = {
                    module: held[module].part(k, k + 1)
                    for m, module in enumerate(self.modules)
                    if self.present[shot, m]
                }
                keys = (self.train_id, self.pulse_id, self.cell_id)
                yield Shot(*(int(one[shot]) for one in keys), lists)

    def trains(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each train that has kept shots, and these shots, int64 (k,).

        Examples
        --------
        >>> for train, shots in photons.trains():    # doctest: +SKIP
        ...     first, frame, count = photons.lists(3, shots).by_pixel()
        """
        found, first = np.unique(self.train_id, return_index=True)
        # Of no shots at all there is still one part, an empty one.
        yield from zip(found.tolist(), np.split(np.arange(len(self)), first[1:]), strict=False)

    def lists(self, module: int, shots: range | np.ndarray | None = None) -> PhotonList:
        """Return the lists of one module.

        Parameters
        ----------
        module : int
            Its number.
        shots : range or ndarray of int, shape (k,), optional
            By default all.

        Returns
        -------
        PhotonList
            Of k frames; one that the module does not have holds no photons: see `present`.

        Examples
        --------
        >>> photons.lists(3).photons    # doctest: +SKIP
        """
        m, shots = self._place(module), self._chosen(shots)
        here = self.present[shots, m]
        found = self._modules[m].lists(self._rows[shots[here], m])
        number = np.zeros(len(shots), "i8")
        number[here] = found.number
        return replace(found, first=np.concatenate([np.zeros(1, "i8"), np.cumsum(number)]))

    def slab(self, shots: range | np.ndarray | None = None) -> PhotonList:
        """Return the lists of all modules as those of one slab, with one module under the other.

        Parameters
        ----------
        shots : range or ndarray of int, shape (k,), optional
            By default all.

        Returns
        -------
        PhotonList
            Of k frames of shape (M * ss, fs), those of `modules` in their order: what `shotsieve.two_time`,
            `g2` and `multitau` take, with the bins of a geometry of these modules.

        Examples
        --------
        >>> for train, shots in photons.trains():    # doctest: +SKIP
        ...     shotsieve.g2(photons.slab(shots), bins, valid=photons.good(shots))
        """
        return PhotonList.beside([self.lists(module, shots) for module in self.modules])

    def good(self, shots: range | np.ndarray | None = None) -> np.ndarray:
        """Return the pixels of the slab that are masked in none of some shots.

        Parameters
        ----------
        shots : range or ndarray of int, shape (k,), optional
            By default all.

        Returns
        -------
        ndarray of bool, shape (M * ss, fs)
            False for all of a module that lacks a frame of them.
        """
        shots = self._chosen(shots)
        out = np.zeros((len(self.modules), *self.detector.frame_shape), bool)
        for m, module in enumerate(self._modules):
            if self.present[shots, m].all():
                out[m] = module.good(self._rows[shots, m])
        return out.reshape(-1, *self.detector.frame_shape[1:])

    def frames(self, shots: range | np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return frames again.

        Parameters
        ----------
        shots : range or ndarray of int, shape (k,), optional
            By default all, which may be more than memory holds.

        Returns
        -------
        photons : ndarray of uint8 or uint16, shape (k, M, *frame)
            0 where a pixel is masked or the module has no frame.
        mask : ndarray of uint32 of the same shape
            BadPixels bits; all of them where the module has no frame.

        Examples
        --------
        >>> data, mask = photons.frames(range(10))    # doctest: +SKIP
        """
        shots = self._chosen(shots)
        shape = (len(shots), len(self.modules), *self.detector.frame_shape)
        data = np.zeros(shape, self._modules[0].count_dtype)
        mask = np.full(shape, MISSING, "u4")
        for m, module in enumerate(self._modules):
            here = np.flatnonzero(self.present[shots, m])
            data[here, m], mask[here, m] = module.frames(self._rows[shots[here], m])
        return data, mask

    def profiles(self, integrator: AzimuthalIntegrator, batch: int = 16) -> AzintResult:
        """Integrate every shot over the azimuth.

        Promise: exact; the same as that of the photon frames with their masks.

        Parameters
        ----------
        integrator : AzimuthalIntegrator
            Of a geometry of the whole detector, or of the modules of `modules` alone.
        batch : int
            Shots that are frames at a time.

        Returns
        -------
        AzintResult
            A row for each shot.

        Raises
        ------
        BadInput
            If there is no shot, or the geometry has other modules.

        Examples
        --------
        >>> photons.profiles(shotsieve.AzimuthalIntegrator("agipd.geom")).intensity    # doctest: +SKIP
        """
        if not len(self):
            raise BadInput("profiles of photon lists: no shot was kept, so there is nothing to integrate")
        detector, lines = self.detector, integrator.pixels.shape[0]
        places = np.arange(len(self.modules))
        if lines == len(detector.modules) * detector.frame_shape[0]:
            places = np.asarray(self.modules) - detector.first_module
        elif lines != len(places) * detector.frame_shape[0]:
            raise BadInput(
                f"profiles of photon lists: the integrator's geometry has {lines} rows; expected "
                f"{len(places) * detector.frame_shape[0]}, of modules {', '.join(map(str, self.modules))}, "
                f"or {len(detector.modules) * detector.frame_shape[0]}, of the whole {detector.name}"
            )
        slab = lines // detector.frame_shape[0]
        parts = []
        for start in range(0, len(self), batch):
            data, mask = self.frames(range(start, min(start + batch, len(self))))
            values = np.zeros((len(data), slab, *detector.frame_shape), "f4")
            masked = np.full(values.shape, MISSING, "u4")
            values[:, places], masked[:, places] = data, mask
            parts.append(integrator(values, mask=masked))
        joined = {}
        for name in (*FRAME_ARRAYS, *SUM_ARRAYS):
            values = [getattr(part, name) for part in parts]
            joined[name] = None if values[0] is None else np.concatenate(values)
        return replace(parts[0], **joined)

    def sums(self, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Sum photons over labelled pixels, straight from the lists.

        Promise: exact; whole numbers, the same as those of the photon frames.

        Parameters
        ----------
        labels : ndarray of int, shape (M, *frame)
            0 to `number` - 1 for each pixel of every module of `modules`: a bin in q, a region; -1 is none.
        number : int
            Of labels.

        Returns
        -------
        photons : ndarray of int64, shape (N, number)
            Photons of every shot on the pixels of a label that are not masked.
        pixels : ndarray of int64, shape (N, number)
            How many these are.

        Raises
        ------
        BadInput
            If the labels do not fit.

        Examples
        --------
        >>> ring, pixels = photons.sums(np.digitize(q, edges) - 1, len(edges) - 1)    # doctest: +SKIP
        """
        labels = np.asarray(labels)
        shape = (len(self.modules), *self.detector.frame_shape)
        if labels.shape != shape or labels.dtype.kind not in "iu" or not number >= 1:
            raise BadInput(
                f"sums of photon lists: labels are {labels.dtype} of shape {labels.shape}, {number} of them; "
                f"expected whole numbers of shape {shape}, and at least 1"
            )
        if labels.min(initial=0) < -1 or labels.max(initial=-1) >= number:
            raise BadInput(
                f"sums of photon lists: labels go from {labels.min()} to {labels.max()}; expected -1 (none) "
                f"to {number - 1}"
            )
        photons, pixels = np.zeros((2, len(self), number), "i8")
        for m, module in enumerate(self._modules):
            here = np.flatnonzero(self.present[:, m])
            for start in range(0, len(here), 1024):
                part = here[start : start + 1024]
                found = module.sums(self._rows[part, m], labels[m].reshape(-1).astype("i8"), number)
                photons[part] += found[0]
                pixels[part] += found[1]
        return photons, pixels

    def _place(self, module: int) -> int:
        if module not in self.modules:
            raise BadInput(f"there is no module {module}; there are {', '.join(map(str, self.modules))}")
        return self.modules.index(module)

    def _chosen(self, shots: range | np.ndarray | None) -> np.ndarray:
        chosen = np.arange(len(self)) if shots is None else np.asarray(shots)
        wrong = chosen.dtype.kind not in "iu" if chosen.size else False
        if chosen.ndim != 1 or wrong or ((chosen < 0) | (chosen >= len(self))).any():
            raise BadInput(
                f"shots of photon lists: expected whole numbers from 0 to {len(self) - 1}, which count the "
                "kept shots in the order of the run"
            )
        return chosen.astype("i8")


def _files_of(out: Path, lists: PhotonLists, source: str, module: int) -> list[tuple[Path, str]]:
    """Return the files of a module with its source in them, of this detector alone."""
    found = []
    for path in files_of(out, lists.detector, module):
        try:
            with h5py.File(path) as file:
                name = reduction_of(file, lists.detector)
        except DAMAGE as err:
            raise UnreadableData(f"{path} cannot be read: {err}") from err
        if name.startswith(f"{source}/"):
            found.append((path, name))
    return found
