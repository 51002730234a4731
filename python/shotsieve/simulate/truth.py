"""What really happened in a simulated run: hits, energies, photons, and the gain stage of every pixel."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import h5py
import numpy as np

from ..errors import UnreadableData
from .common_mode import common_mode_of_run
from .frames import Expected, FrameMaker
from .kinds import detector_of
from .parameters import SpiParameters
from .schedule import Schedule, make_schedule

MEANING = {
    "train_id": "train of the shot",
    "pulse_id": "pulseId of the shot as the detector numbers it",
    "cell_id": "memory cell",
    "n_pulses": "X-ray pulses in the frame",
    "laser": "pulses of the optical laser in the frame",
    "pulse_energy": "energy of the pulse; 0 in dark frames",
    "hit": "1 where the pulse hit a particle",
    "strength": "expected photons of the particle on all simulated modules at mean pulse energy",
    "radius": "radius of the particle; 0 for a miss",
    "modules": "module numbers: axis 1 of everything by module",
    "present": "1 where the module recorded the shot",
    "photons_expected": "expected photons, background and particle",
    "hit_photons_expected": "expected photons of the particle",
    "lit_expected": "expected pixels with a photon among those good in high gain",
    "background_lit_expected": "the same without the particle",
    "photons": "photons drawn, good and bad pixels; -1 where the frame was not made",
    "stage": "true gain stage of every pixel (shot, module, ss, fs)",
}
UNITS = {"pulse_energy": "uJ", "radius": "nm", "photons": "photon", "strength": "photon"}


@dataclass
class SpiTruth:
    """The truth of a simulated run, one row per shot of a train that is not empty.

    Attributes
    ----------
    train_id, pulse_id : numpy.ndarray
        (S,) uint64.
    cell_id, n_pulses, laser : numpy.ndarray
        (S,) int32.
    pulse_energy, strength, radius : numpy.ndarray
        (S,) float64: uJ, photons, nm.
    hit : numpy.ndarray
        (S,) bool.
    modules : numpy.ndarray
        (M,) int32.
    present : numpy.ndarray
        (S, M) bool.
    photons_expected, hit_photons_expected, lit_expected, background_lit_expected : numpy.ndarray
        (S, M) float64.
    photons : numpy.ndarray
        (S, M) int64 drawn; -1 where the frame was never made.

    Examples
    --------
    >>> SpiTruth.open("demo/truth.h5").hit.sum()  # doctest: +SKIP
    """

    train_id: np.ndarray
    pulse_id: np.ndarray
    cell_id: np.ndarray
    n_pulses: np.ndarray
    laser: np.ndarray
    pulse_energy: np.ndarray
    hit: np.ndarray
    strength: np.ndarray
    radius: np.ndarray
    modules: np.ndarray
    present: np.ndarray
    photons_expected: np.ndarray
    hit_photons_expected: np.ndarray
    lit_expected: np.ndarray
    background_lit_expected: np.ndarray
    photons: np.ndarray

    @classmethod
    def of(cls, p: SpiParameters, schedule: Schedule, maker: FrameMaker) -> SpiTruth:
        """Collect what is known before any frame is made.

        Parameters
        ----------
        p, schedule, maker
            The run.

        Returns
        -------
        SpiTruth
            With `photons` -1 everywhere.

        Examples
        --------
        >>> SpiTruth.of(p, schedule, maker).photons.max()  # doctest: +SKIP
        -1
        """
        shape = (len(schedule), len(p.modules))
        values = np.empty((len(Expected._fields), *shape))
        for shot in range(shape[0]):
            for row in range(shape[1]):
                values[:, shot, row] = maker.expected(shot, row)
        return cls(
            train_id=schedule.train_id[schedule.train],
            pulse_id=schedule.pulse_id,
            cell_id=schedule.cell_id,
            n_pulses=schedule.n_pulses,
            laser=schedule.laser,
            pulse_energy=schedule.pulse_energy,
            hit=schedule.hit,
            strength=schedule.strength,
            radius=schedule.radius,
            modules=np.array(p.modules, np.int32),
            present=schedule.present,
            photons_expected=values[0],
            hit_photons_expected=values[1],
            lit_expected=values[2],
            background_lit_expected=values[3],
            photons=np.full(shape, -1, np.int64),
        )

    @classmethod
    def open(cls, path: str | os.PathLike) -> SpiTruth:
        """Read a truth file; the gain stages stay in the file.

        Parameters
        ----------
        path : path
            As `TruthFile` wrote it.

        Returns
        -------
        SpiTruth

        Raises
        ------
        UnreadableData
            When it is not such a file.

        Examples
        --------
        >>> SpiTruth.open("demo/truth.h5").modules  # doctest: +SKIP
        """
        try:
            with h5py.File(path, "r") as file:
                arrays = {f.name: file[f.name][()] for f in dataclasses.fields(cls)}
        except (OSError, KeyError) as error:
            raise UnreadableData(f"{path} is not a truth file of `shotsieve simulate` ({error})") from error
        for name in ("hit", "present"):
            arrays[name] = arrays[name].astype(bool)
        return cls(**arrays)


class TruthFile:
    """Write truth.h5 while a run is made.

    Parameters
    ----------
    path : path
        File to create.
    p : SpiParameters
        Stored as JSON in the attribute `parameters`.
    truth : SpiTruth
        Its `photons` are filled by `collect`.
    more : mapping of str to (ndarray, unit, meaning)
        What else the scene knows.

    Examples
    --------
    >>> with TruthFile("truth.h5", p, truth) as file:  # doctest: +SKIP
    ...     write_run(folder, p, schedule, maker, file.collect)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        p: SpiParameters,
        truth: SpiTruth,
        more: Mapping[str, tuple[np.ndarray, str, str]] = MappingProxyType({}),
    ):
        self.truth, self._more = truth, more
        self._file = h5py.File(path, "x", libver=("v110", "v110"))
        self._file.attrs["parameters"] = json.dumps(dataclasses.asdict(p), sort_keys=True)
        shots, modules = truth.present.shape
        self._parameters = p
        self._stage, shape = None, detector_of(p).shape
        if p.truth_stage:
            self._stage = self._file.create_dataset(
                "stage",
                (shots, modules, *shape),
                "u1",
                chunks=(1, 1, *shape),
                compression="gzip",
                compression_opts=1,
                fillvalue=0,
            )
            self._stage.attrs["meaning"] = MEANING["stage"]

    def __enter__(self) -> TruthFile:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        try:
            if exc_type is None:
                self._write_table()
        finally:
            self._file.close()

    def collect(self, shots: np.ndarray, row: int, drawn: np.ndarray, stage: np.ndarray | None) -> None:
        """Take the truth of one module in one train.

        Parameters
        ----------
        shots : numpy.ndarray
            Indices of the shots.
        row : int
            Index of the module.
        drawn : numpy.ndarray
            Photons of each shot.
        stage : numpy.ndarray or None
            (shots, pixels) uint8.

        Examples
        --------
        >>> file.collect(np.array([0]), 0, np.array([12]), None)  # doctest: +SKIP
        """
        self.truth.photons[shots, row] = drawn
        if self._stage is not None and stage is not None:
            for shot, plane in zip(shots, stage, strict=True):
                if plane.any():  # an absent chunk reads as stage 0
                    self._stage[int(shot), row] = plane.reshape(self._stage.shape[2:])

    def _write_table(self) -> None:
        for field in dataclasses.fields(SpiTruth):
            array = getattr(self.truth, field.name)
            dataset = self._file.create_dataset(
                field.name, data=array.astype("u1") if array.dtype == bool else array
            )
            dataset.attrs["meaning"] = MEANING[field.name]
            dataset.attrs["unit"] = UNITS.get(field.name, "photon" if "photons" in field.name else "")
        for name, (values, unit, meaning) in self._more.items():
            dataset = self._file.create_dataset(name, data=values)
            dataset.attrs["meaning"], dataset.attrs["unit"] = meaning, unit
        if self._parameters.common_mode_adu:
            found = common_mode_of_run(self._parameters, make_schedule(self._parameters))
            dataset = self._file.create_dataset("common_mode", data=found)
            dataset.attrs["meaning"] = "common mode of each ASIC (shot, module, asic), counted along the rows"
            dataset.attrs["unit"] = "ADU"
