"""Simulate a single-particle run: raw files, constants, geometry and truth in one folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, OutputError
from .constants import write_constants
from .geometry import write_geometry
from .memory import build
from .parameters import SpiParameters
from .run import write_run
from .truth import SpiTruth, TruthFile

__all__ = ["SimulatedRun", "SpiParameters", "simulate_spi"]


@dataclass(frozen=True)
class SimulatedRun:
    """Where the parts of a simulated run lie.

    Attributes
    ----------
    raw : pathlib.Path
        Folder of the raw run, ``raw/r0001``.
    constants : pathlib.Path
        Folder of the constants in the facility's layout.
    geometry : pathlib.Path
        CrystFEL geometry file.
    truth_file : pathlib.Path
        HDF5 file of the truth.
    files : tuple of pathlib.Path
        Files of the raw run.
    truth : SpiTruth
        The truth without the gain stages.
    parameters : SpiParameters
        What was asked for.
    """

    raw: Path
    constants: Path
    geometry: Path
    truth_file: Path
    files: tuple[Path, ...]
    truth: SpiTruth
    parameters: SpiParameters


def simulate_spi(
    out: str | os.PathLike,
    params: SpiParameters | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> SimulatedRun:
    """Write a simulated single-particle run.

    Parameters
    ----------
    out : path
        Folder: gets ``raw/rNNNN``, ``constants``, ``agipd.geom`` and ``truth.h5``.
    params : SpiParameters, optional
        What to simulate; the default is the demonstration (12 trains of 8 cells, 403 MB of raw words).
    overwrite : bool, default False
        Replace what an earlier simulation left in these places; nothing else in the folder is touched.
    progress : callable, optional
        Called with (trains done, trains in all, bytes written); the constants come before the first train.

    Returns
    -------
    SimulatedRun

    Raises
    ------
    BadInput
        When one of the places is taken and `overwrite` is not set, or an option cannot be met.
    OutputError
        When the disk refuses; what was written is removed.

    Notes
    -----
    Promise: exact; the same parameters and NumPy version give the same bytes in every file. One train of
    one module is in memory at a time.

    Examples
    --------
    >>> simulate_spi("demo", SpiParameters(n_trains=2)).raw  # doctest: +SKIP
    PosixPath('demo/raw/r0001')
    """
    p = SpiParameters() if params is None else params
    out = Path(out)
    raw, constants = out / "raw" / f"r{p.run:04d}", out / "constants"
    geometry, truth_file = out / "agipd.geom", out / "truth.h5"
    places = (raw, constants, geometry, truth_file)
    _make_room(out, places, overwrite)
    try:
        raw.mkdir(parents=True)
        schedule, model, maker = build(p)
        truth = SpiTruth.of(p, schedule, maker)
        if progress is not None:
            progress(0, p.n_trains, 0)
        write_constants(constants, p, model)
        with TruthFile(truth_file, p, truth) as file:
            files = write_run(raw, p, schedule, maker, file.collect, progress)
        write_geometry(geometry, p.distance_m, p.photon_energy_kev)
    except BaseException as error:
        for place in places:
            _remove(place)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(
                f"{out}: the simulated run could not be written ({error}); free space or choose another"
            ) from error
        raise
    return SimulatedRun(raw, constants, geometry, truth_file, tuple(files), truth, p)


def _make_room(out: Path, places: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse a place that is taken, or clear it."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file; give a folder for the simulated run")
    taken = [p for p in places if p.exists() and (not p.is_dir() or any(p.iterdir()))]
    if taken and not overwrite:
        names = ", ".join(str(p) for p in taken)
        raise BadInput(
            f"{names} exists already: choose another folder or remove it (from Python: overwrite=True)"
        )
    for place in places:
        _remove(place)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
