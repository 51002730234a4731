"""Folded constants that are kept in a folder, so that they are folded once for all runs that need the same.

What is kept is what `shotsieve.folded_tables.make_tables` returns, under everything that enters it: a
checksum of the content of the constants, detector, modules, cells, steps, unit, photon energy, gain mode and
masks. So is the table of `shotsieve.measure.lit_noise`, where pixels are lit by their own noise.

Promise: exact; the same bits as without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .cache_folder import CacheFolder, Damaged, Kept
from .constants.container import Constants
from .constants.masks import StaticMask
from .constants.origin import content_checksum, origin_of
from .constants.steps import Steps
from .cpus import usable_cpus
from .detectors import Detector
from .folded_tables import Tables, make_tables
from .measure.lit_noise import noise_table
from .memory import give_back_freed
from .telling import tell

__all__ = ["ENVIRONMENT", "FOLD_VERSION", "cache_folder", "constants_checksum", "noise_of", "tables_of"]

ENVIRONMENT = "SHOTSIEVE_CONSTANTS_CACHE"
"""Variable of the environment that names the folder where nothing else does."""

FOLD_VERSION = 3
"""To be raised with every change of the bits that folding gives; a test compares them."""

_SIGNATURE = inspect.signature(make_tables)

AFTER_FOLDING = (
    "set_min",
    "round_photons",
    "rounding_threshold",
    "value_limit",
    "wrap256",
    "common_mode",
    "cell_common_mode",
    "cm_n_itr",
    "cm_dark_range",
    "cm_dark_fraction",
    "cm_medians",
    "cm_passes",
    "cm_limit",
    "blc_noise",
    "blc_noise_threshold",
)
"""Steps that folded constants do not depend on: another value needs no other entry."""


def cache_folder(given: str | os.PathLike[str] | None = None) -> CacheFolder | None:
    """Return the folder that was given, else that of the environment; None where there is none.

    Parameters
    ----------
    given : path-like or None

    Returns
    -------
    CacheFolder or None

    Examples
    --------
    >>> cache_folder("folded").path.name
    'folded'
    """
    path = os.environ.get(ENVIRONMENT, "") if given is None else os.fspath(given)
    return CacheFolder(Path(path).expanduser()) if path else None


def constants_checksum(rows: np.ndarray) -> str:
    """Return one SHA-256 of folded constants, whose rows are read in threads."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        sums = pool.map(lambda row: hashlib.sha256(np.ascontiguousarray(row)).digest(), rows)
        return hashlib.sha256(b"".join(sums)).hexdigest()


def tables_of(
    constants: Constants, *args: Any, cache: str | os.PathLike[str] | None = None, **options: Any
) -> Tables:
    """Return the folded constants of a run: from the cache, if there is one and it has them, else folded.

    A cache that cannot be used (its disk is full, it may not be written, an entry is damaged) is told on
    standard error, and constants are folded as without it.

    Parameters
    ----------
    constants : Constants
        Without files, as arrays in memory, they are folded each time.
    *args, **options
        As for `shotsieve.folded_tables.make_tables`.
    cache : path-like or None
        Folder; None takes that of the environment, if any.

    Returns
    -------
    Tables
        Mapped read-only where they are in the cache, with `Tables.sha256`.

    Raises
    ------
    BadInput, UnreadableData
        As `shotsieve.folded_tables.make_tables`.

    Examples
    --------
    >>> tables_of(constants, detector, (3,), cells, steps, "keV", 9.3, "adaptive", cache="folded")
    ... # doctest: +SKIP
    """
    given = _SIGNATURE.bind(constants, *args, **options)
    given.apply_defaults()

    def make() -> Kept:
        tables = make_tables(constants, *args, **options)
        give_back_freed()
        parts = {one.name: getattr(tables, one.name) for one in dataclasses.fields(tables)}
        arrays = {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
        return Kept(arrays, {name: part for name, part in parts.items() if name not in arrays})

    kept = _through(constants, cache, lambda: _told(given.arguments), make)
    return Tables(**kept.arrays, **kept.values)


def noise_of(
    constants: Constants,
    tables: Tables,
    modules: Sequence[int],
    cache: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Return `shotsieve.measure.lit_noise.noise_table`, from the cache where tables are from there.

    Parameters
    ----------
    constants, tables, modules
        As for `shotsieve.measure.lit_noise.noise_table`.
    cache : path-like or None
        As for `tables_of`.

    Returns
    -------
    ndarray of float32, shape (R, P, n_pixels)
        Never packed.

    Raises
    ------
    BadInput, UnreadableData
        As `shotsieve.measure.lit_noise.noise_table`.

    Examples
    --------
    >>> noise_of(constants, tables, source.modules, cache="folded")    # doctest: +SKIP
    """
    if tables.sha256 is None:  # they are not kept, nor would this be
        return noise_table(constants, tables, modules)

    def told() -> dict[str, Any]:
        rows, cells = tables.row_of.tolist(), tables.cell_ids.tolist()
        return {"noise_of": tables.sha256, "modules": list(modules), "cell_id": cells, "rows": rows}

    def make() -> Kept:
        return Kept({"table": noise_table(constants, tables, modules)}, {})

    return _through(constants, cache, told, make).arrays["table"]


def _through(
    constants: Constants,
    cache: str | os.PathLike[str] | None,
    describe: Callable[[], dict[str, Any]],
    make: Callable[[], Kept],
) -> Kept:
    """Return what the cache has of it; else make it, add the checksum of its table, and keep it."""
    if (folder := cache_folder(cache)) is None:
        return make()
    if (origin := origin_of(constants)) is None:
        tell("constants that are not in files of their own are not kept in the cache of constants", once=True)
        return make()
    try:
        before = origin.stamps()
        content = [content_checksum(path, folder.seen) for path in origin.files]
        told = {"version": [__version__, FOLD_VERSION], "content": [content, origin.use], **describe()}
        found = _found(folder, told)
    except OSError as error:
        reason = _reason(error)
        tell(f"the cache of constants {folder.path} cannot be used: {reason}; the run goes on without")
        return make()
    if found is not None:
        return found
    made = make()
    if made.arrays["table"].size == 0:
        return made
    made.values["sha256"] = constants_checksum(made.arrays["table"])
    try:
        if origin.stamps() != before:
            tell("the constants have changed while they were folded: they are not kept in the cache")
            return made
        about = {"text": _text(told, constants), "constants": [str(path) for path in origin.files]}
        folder.save(told, made.arrays, made.values, about)
        gigabytes = sum(array.nbytes for array in made.arrays.values()) / 1e9
        tell(f"folded constants ({gigabytes:.3g} GB) are kept in {folder.path}")
        # Mapped from now on: memory that the kernel can take back.
        return _found(folder, told) or made
    except OSError as error:
        tell(f"folded constants are not kept in {folder.path}: {_reason(error)}; the run goes on without")
        return made


def _found(folder: CacheFolder, told: dict[str, Any]) -> Kept | None:
    """Return what is kept; an entry that is damaged is told, and removed."""
    try:
        return folder.load(told)
    except Damaged as damage:
        tell(f"in the cache of constants {damage}: it is made again")
        folder.remove(told)
        return None


def _reason(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _text(told: dict[str, Any], constants: Constants) -> str:
    """Return what a list of entries calls one."""
    parts = [constants.detector.name, f"{len(told['modules'])} modules", f"{len(told['cell_id'])} cells"]
    if "noise_of" in told:
        return ", ".join([*parts, "noise of each pixel"])
    energy = told["photon_energy_kev"]
    return ", ".join([*parts, told["gain_mode"], told["unit"] + (f" ({energy:g} keV)" if energy else "")])


def _told(given: dict[str, Any]) -> dict[str, Any]:
    """Return what folded constants depend on beside the constants themselves, of what JSON knows."""
    told = {name: _described(value) for name, value in given.items() if name != "constants"}
    return told | {"cell_id": np.unique(given["cell_id"]).tolist()}


def _described(value: Any) -> Any:
    if isinstance(value, StaticMask):
        bits = np.ascontiguousarray(value.bits)
        cells = None if value.cell_ids is None else [int(cell) for cell in value.cell_ids]
        return [hashlib.sha256(bits).hexdigest(), bits.shape, list(map(int, value.modules)), cells]
    if isinstance(value, Steps):
        return {key: one for key, one in vars(value).items() if key not in AFTER_FOLDING}
    if isinstance(value, Detector):
        return dataclasses.asdict(value) | {"control": None}  # which says nothing of pixels
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list, range)):
        return [_described(one) for one in value]
    return value
