"""What an output says of itself, made once more from its own table and settings, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import h5py
import numpy as np

from .accounts import Accounts, Split, counts_of
from .detectors import Detector
from .stage_settings import stages_in
from .table import FATES, ModuleStatus, Table
from .write import litpx
from .write.hdf5 import storable
from .write.reduction import numbers_of_trains

RECORDED = (ModuleStatus.OK, ModuleStatus.NO_CONSTANTS, ModuleStatus.UNREADABLE)
"""Status of a module that recorded the shot."""

_GROUP = "litpx"


@dataclass(frozen=True)
class Told:
    """The shots of one file: what the table tells of them.

    Attributes
    ----------
    trains : ndarray of uint64, shape (T,)
        Of the file.
    table : Table
        Their shots.
    lit : LitPixels or None
        Rows of the ``litpx`` group as if every module had recorded every shot.
    """

    trains: np.ndarray
    table: Table
    lit: litpx.LitPixels | None

    @classmethod
    def of(cls, table: Table, trains: np.ndarray) -> Told:
        """Take the shots of some trains out of a table."""
        part = table.part(np.isin(table.train_id, trains))
        return cls(trains, part, litpx.collect(part, np.ones(part.module_status.shape, bool)))


def wrong_accounts(told: Mapping[str, Any], table: Table) -> list[str]:
    """Compare ``accounts.json`` with what follows from the table, and with itself.

    Parameters
    ----------
    told : mapping
        What the file says.
    table : Table

    Returns
    -------
    list of str
        Empty where they agree. What only the raw run knows is not looked at: see `Accounts.from_run`.
    """
    faults = []
    for name, value in counts_of(table).items():
        now = asdict(value) if isinstance(value, Split) else value
        if name not in FATES and told.get(name) != now:
            faults.append(f"the table has {name} = {now}, the accounts say {told.get(name)}")
    try:
        again = Accounts.from_dict(told).to_dict()
    except (TypeError, KeyError, AttributeError) as err:
        return [*faults, f"the accounts cannot be read: {err!r}"]
    for name in sorted(again.keys() | told.keys()):
        if again.get(name) != told.get(name):
            faults.append(f"accounts: {name} is {told.get(name)}, its parts give {again.get(name)}")
    return faults


def lacking_columns(settings: Mapping[str, Any], table: Table) -> list[str]:
    """Name the columns of a user's stages that settings tell of, and that the table has not."""
    return [
        f"the table has no column {column} of the stage {name}, which settings.json tells of"
        for name, columns in stages_in(settings).items()
        for column in columns
        if column not in table.columns
    ]


def wrong_settings(
    file: h5py.File, source: str, detector: Detector, settings: Mapping[str, Any], told: Mapping[str, Any]
) -> Iterator[str]:
    """Compare what a data file says of its making with settings and recipe of the output.

    Parameters
    ----------
    file : h5py.File
        Open.
    source : str
        Name of the module's source.
    detector : Detector
    settings : mapping
        Of ``settings.json``.
    told : mapping
        What else every file says: ``version`` and ``content``.

    Yields
    ------
    str
        A fault.
    """
    params = {**settings, **told}
    if told["content"] == "raw":
        params["unit"] = "ADU"
    group = file[f"RUN/SHOTSIEVE/{source}"]
    found: dict[str, Any] = {}
    group.visititems(
        lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None
    )
    wanted = {f"{key.replace('.', '/')}/value": storable(value)[None] for key, value in params.items()}
    stamp = file["INDEX/timestamp"][:1]
    stamp = stamp if len(stamp) else np.zeros(1, "u8")
    wanted |= {f"{key.replace('.', '/')}/timestamp": stamp for key in params}
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found or name not in wanted or not _same(_read(found[name]), wanted[name]):
            yield f"RUN/SHOTSIEVE/{source}/{name} is not what settings.json and recipe.toml say"
    attrs = {"writer": f"shotsieve {told['version']}", **params}
    for name in sorted(file.attrs.keys() | attrs.keys()):
        if name not in file.attrs or name not in attrs or not _same(file.attrs[name], storable(attrs[name])):
            yield f"the attribute {name} is not what settings.json and recipe.toml say"
    pixels = file[f"INSTRUMENT/{source}/{detector.group}/{detector.planes[0]}"]
    for name in ("units", "unitSymbol"):
        if pixels.attrs.get(name) != params["unit"]:
            yield f"the pixels are in {pixels.attrs.get(name)}, and should be in {params['unit']}"


def thirds_of(file: h5py.File, source: str) -> bool:
    """Whether a file holds raw words of parallel gain: three frames of every shot."""
    told = file[f"RUN/SHOTSIEVE/{source}"]
    parallel = told.get("mode/parallel_gain/value")
    return told["content/value"].asstr()[0] == "raw" and parallel is not None and bool(parallel[0])


def wrong_numbers(
    file: h5py.File, source: str, detector: Detector, told: Told, m: int, kept: np.ndarray, unit: str
) -> Iterator[str]:
    """Compare flags, numbers of frames and lit pixels of a file of a module with the table.

    Parameters
    ----------
    file : h5py.File
        Open.
    source : str
        Name of the module's source.
    detector : Detector
    told : Told
        Of the trains of the file.
    m : int
        The module, as a column of the table.
    kept : ndarray of bool
        Its shots, of those of `told`, that are in the file.
    unit : str
        Of intensities.

    Yields
    ------
    str
        A fault.

    Notes
    -----
    Which modules recorded a shot that nobody read stands in no table: the ``litpx`` group says it where
    there is one; without it such a shot may count or not.
    """
    table = told.table
    suspect = np.isin(told.trains, table.train_id[table.fate == FATES.index("suspect")])
    if not np.array_equal(file["INDEX/flag"][:], np.where(suspect, 0, 1)):
        yield "INDEX/flag does not say which trains the table has as suspect"
    if not (file["INDEX/origin"][:] == -1).all():
        yield "INDEX/origin is not that of an output"
    status = table.module_status[:, m]
    least = np.isin(status, RECORDED)
    most = least | (status == ModuleStatus.NOT_READ)
    if told.lit is not None:
        yield from wrong_lit_pixels(file, source, detector, told.lit, m, unit)
        _narrow(file, source, detector, told, m, least, most)
    elif _GROUP in file[f"INSTRUMENT/{source}"]:
        yield f"there are lit pixels in {source}/{_GROUP}, and none in the table"
    lost = status == ModuleStatus.UNREADABLE
    ends = [
        numbers_of_trains(
            told.trains, detector.max_cells, table.train_id, table.cell_id, present, kept, table, lost
        )
        for present in (least, most)
    ]
    group = file[f"REDUCTION/SHOTSIEVE/{source}/{detector.group}"]
    for key in sorted(group.keys() | ends[0].keys()):
        if key not in group or key not in ends[0]:
            yield f"{key} of {source} is {'gone' if key in ends[0] else 'not of an output'}"
            continue
        now, pair = group[key][:], (ends[0][key], ends[1][key])
        other = now.shape != pair[0].shape
        wrong = np.True_ if other else (now < np.minimum(*pair)) | (now > np.maximum(*pair))
        if np.any(wrong):
            yield f"{key} of {_trains(told.trains, wrong)} is not what the table gives"


def wrong_lit_pixels(
    file: h5py.File, source: str, detector: Detector, lit: litpx.LitPixels, m: int, unit: str
) -> Iterator[str]:
    """Compare the ``litpx`` group of a module with what it should hold.

    A status of "not read" stands for "missing" too, where nobody knows whether the module recorded the shot.
    """
    wanted = _group_of(file, source, detector, lit, m)
    if _GROUP not in file[f"INSTRUMENT/{source}"]:
        yield f"{source}/{_GROUP} is gone"
        return
    group = file[f"INSTRUMENT/{source}/{_GROUP}"]
    for key in sorted(group.keys() | wanted.keys()):
        if key not in group or key not in wanted:
            yield f"{source}/{_GROUP}/{key} is {'gone' if key in wanted else 'not of an output'}"
            continue
        now, told = group[key][:], wanted[key]
        same = now.shape == told.shape and now == told
        if key == "status" and now.shape == told.shape:
            same = same | ((told == ModuleStatus.NOT_READ) & (now == ModuleStatus.MISSING))
        if not np.all(same):
            yield f"{source}/{_GROUP}/{key} is not what the table has"
    meaning, units = group["status"].attrs.get("meaning"), group["totalIntensity"].attrs.get("units")
    if (meaning, units) != (litpx.STATUS_MEANING, unit):
        yield f"{source}/{_GROUP} says another meaning of its status, or another unit than {unit}"


def _group_of(
    file: h5py.File, source: str, detector: Detector, lit: litpx.LitPixels, m: int
) -> dict[str, np.ndarray]:
    """Return the datasets of the group, as they would be written into this file."""
    made: dict[str, np.ndarray] = {}
    if detector.layout == "trains":
        cells = file[f"INSTRUMENT/{source}/{detector.group}/{detector.planes[0]}"].shape[1]
        litpx.write_trains(made, lit, m, detector.cell_key or litpx.CELL, cells)
    else:
        litpx.write_frames(made, lit, m, detector.cell_key or litpx.CELL)
    return made


def _narrow(
    file: h5py.File, source: str, detector: Detector, told: Told, m: int, least: np.ndarray, most: np.ndarray
) -> None:
    """Take from the file which shots that nobody read the module recorded; changes `least` and `most`."""
    rows = np.broadcast_to(litpx.distinct(told.table)[:, None] + 1, told.lit.status.shape)
    at = _group_of(file, source, detector, replace(told.lit, values={"row": rows}), m)["row"]
    group = file[f"INSTRUMENT/{source}"].get(_GROUP, {})
    if "status" not in group or group["status"].shape != at.shape:
        return  # said before
    status, at = group["status"][:][at > 0], at[at > 0] - 1
    unsure = told.table.module_status[at, m] == ModuleStatus.NOT_READ
    most[at[unsure & (status == ModuleStatus.MISSING)]] = False
    least[at[unsure & (status == ModuleStatus.NOT_READ)]] = True


def _read(dataset: h5py.Dataset) -> Any:
    return dataset.asstr()[()] if h5py.check_string_dtype(dataset.dtype) else dataset[()]


def _same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if "O" in (one.dtype.kind, other.dtype.kind):
        return one.shape == other.shape and one.tolist() == other.tolist()
    numbers = one.dtype.kind == other.dtype.kind == "f"
    return one.dtype.kind == other.dtype.kind and np.array_equal(one, other, equal_nan=numbers)


def _trains(trains: np.ndarray, wrong: Any) -> str:
    if np.ndim(wrong) == 0:
        return "all trains"
    found = trains[wrong.reshape(len(trains), -1).any(axis=1)]
    return f"train {', '.join(map(str, found[:3]))}" + (" ..." if len(found) > 3 else "")
