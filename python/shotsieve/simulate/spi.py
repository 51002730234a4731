"""Simulate a single-particle run: raw files, constants, geometry and truth in one folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py

from ..errors import BadInput, OutputError
from .constants import write_constants
from .kinds import geometry_name, geometry_of
from .memory import build
from .parameters import SpiParameters
from .run import write_run
from .truth import SpiTruth, TruthFile

# Names of all that a simulation makes below the folder of its raw run and of its constants; EXtra-data leaves
# the map, a cache, in every run that it opens.
_RAW_FILE = r"RAW-R\d{{4}}-({family}\d\d|{detector}CTRL00|DA01)-S\d{{5}}\.h5|karabo_data_map\.json"
_CONSTANTS_FILE = r"modules\.toml|xfel/cal/[\w-]+/{lower}_sim_m\d{{3}}/cal\.\d+\.h5"

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
    geometry : pathlib.Path or None
        CrystFEL geometry file; None for hexagonal pixels, which such a file cannot describe.
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
    geometry: Path | None
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
        Folder: gets ``raw/rNNNN``, ``constants``, a geometry such as ``agipd.geom``, and ``truth.h5``.
    params : SpiParameters, optional
        What to simulate; the default is the demonstration (12 trains of 8 cells, 403 MB of raw words).
    overwrite : bool, default False
        Replace what an earlier simulation of the same run number left in these places; ``truth.h5`` marks
        it, and nothing that the simulation did not make is removed.
    progress : callable, optional
        Called with (trains done, trains in all, bytes written); the constants come before the first train.

    Returns
    -------
    SimulatedRun

    Raises
    ------
    BadInput
        When one of the places is taken and `overwrite` is not set or would remove what no simulation made,
        or when an option cannot be met.
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
    geometry, truth_file = out / geometry_name(p.detector), out / "truth.h5"
    places = (raw, constants, geometry, truth_file)
    _make_room(out, places, p.run, overwrite)
    try:
        raw.mkdir(parents=True)
        schedule, model, maker = build(p)
        truth = SpiTruth.of(p, schedule, maker)
        if progress is not None:
            progress(0, p.n_trains, 0)
        write_constants(constants, p, model)
        with TruthFile(truth_file, p, truth) as file:
            files = write_run(raw, p, schedule, maker, file.collect, progress)
        made = geometry_of(p, out)
    except BaseException as error:
        for place in places:
            _remove(place)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(
                f"{out}: the simulated run could not be written ({error}); free space or choose another"
            ) from error
        raise
    return SimulatedRun(raw, constants, made, truth_file, tuple(files), truth, p)


def _make_room(out: Path, places: tuple[Path, ...], run: int, overwrite: bool) -> None:
    """Refuse a place that is taken, or clear it."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file; give a folder for the simulated run")
    taken = [p for p in places if p.is_symlink() or (p.exists() and (not p.is_dir() or any(p.iterdir())))]
    if taken and not overwrite:
        names = ", ".join(str(p) for p in taken)
        raise BadInput(
            f"{names} exists already: choose another folder, or replace what an earlier simulation left there"
            " (--overwrite; from Python: overwrite=True)"
        )
    if taken:
        _check_ours(places, run)
    for place in places:
        _remove(place)


def _check_ours(places: tuple[Path, ...], run: int) -> None:
    """Raise BadInput unless all that stands in the places was made by an earlier simulation of this run."""
    raw, constants, geometry, truth_file = places
    advice = "so nothing is overwritten; choose another folder or remove it yourself"
    if not truth_file.is_file():
        raise BadInput(
            f"{truth_file} is missing, the mark of a simulation, and {truth_file.parent} is not empty,"
            f" {advice}"
        )
    try:
        with h5py.File(truth_file, "r") as file:
            parameters = json.loads(file.attrs["parameters"])
            before, kind = parameters["run"], parameters.get("detector", "AGIPD1M")
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{truth_file} is not the truth of a simulation ({error}), {advice}") from error
    if raw.is_dir() and any(raw.iterdir()) and before != run:
        raise BadInput(f"{raw} is not of the simulation in {truth_file}, which is of run {before}, {advice}")
    for place in places:
        if place.is_symlink():
            raise BadInput(f"{place} is a link, which no simulation makes, {advice}")
    family = re.sub(r"\d+[KM]$", "", kind)
    names = {"detector": kind, "family": family, "lower": family.lower()}
    for folder, pattern in ((raw, _RAW_FILE), (constants, _CONSTANTS_FILE)):
        ours = re.compile(pattern.format(**names))
        entries = sorted(folder.rglob("*")) if folder.is_dir() else [folder] if folder.exists() else []
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                continue
            if entry.is_symlink() or not ours.fullmatch(entry.relative_to(folder).as_posix()):
                raise BadInput(f"{entry} was not made by a simulation, {advice}")
    if geometry.exists() and not _is_our_geometry(geometry):
        raise BadInput(f"{geometry} was not made by a simulation, {advice}")


def _is_our_geometry(path: Path) -> bool:
    """Whether a geometry file says in its first line that it was simulated."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"shotsieve simulate" in file.readline()


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
