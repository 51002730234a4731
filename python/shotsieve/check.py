"""Checks of a reduced run by itself, with the raw data gone: files, checksums, index, sums."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from . import detectors
from .check_frames import check_frames
from .check_told import RECORDED, Told, lacking_columns, wrong_accounts, wrong_numbers, wrong_settings
from .cpus import usable_cpus
from .detectors import Detector
from .errors import DAMAGE, BadInput
from .recipe import Recipe
from .stage_settings import stages_in
from .table import FATES, ModuleStatus, Table
from .write.checksums import sha256_of
from .write.ledger import FILE_NAME, Ledger, counted, names_in, told_checksums
from .write.modules import WITH_PIXELS, written_modules
from .write.output import SIDE
from .write.redu import AGGREGATOR, compare_redu

_IN_FILE = (ModuleStatus.OK, ModuleStatus.NO_CONSTANTS)
"""Status of a module that recorded the shot: where that is kept, its frame is in the file."""


@dataclass
class Report:
    """What a check found.

    Attributes
    ----------
    out : Path
    digest : str
        Of the ledger.
    faults : list of str
        Everything that is not as it should be, in words.
    files, chunks, shots : int
        How much was looked at.
    notes : list of str
        What else a reader should know.
    """

    out: Path
    digest: str = ""
    faults: list[str] = field(default_factory=list)
    files: int = 0
    chunks: int = 0
    shots: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def take(self, label: str, own: Report) -> None:
        """Add what was found of one of several detectors, under its label."""
        before = f"{label}: " if label else ""
        self.faults += [f"{before}{fault}" for fault in own.faults]
        self.notes += [f"{before}{note}" for note in own.notes]
        self.chunks += own.chunks
        self.shots += own.shots

    def summary(self) -> str:
        """Return the report as lines for a terminal."""
        lines = [
            f"{self.out}: {'in order' if self.ok else f'{len(self.faults)} FAULTS'}",
            f"  {'looked at':<14}{self.files} files, {self.chunks:,} chunks, {self.shots:,} shots",
            f"  {'digest':<14}{self.digest}",
        ]
        lines += [f"  {'note':<14}{note}" for note in self.notes]
        lines += [f"  {'fault':<14}{fault}" for fault in self.faults]
        return "\n".join(lines) + "\n"


def check(out: str | os.PathLike[str], digest: str | None = None) -> Report:
    """Check a reduced run with nothing but itself.

    Promise: a bit that changed in any listed file, a frame or train that is gone, and numbers that disagree
    are found; so is whatever was forged along with the ledger, where `digest` was kept elsewhere.

    Parameters
    ----------
    out : path
        The reduced run.
    digest : str, optional
        What `reduce` printed.

    Returns
    -------
    Report

    Raises
    ------
    BadInput
        If there is no ledger.

    Examples
    --------
    >>> check("red/r0001").ok    # doctest: +SKIP
    True
    """
    out = Path(out)
    report = Report(out)
    path = out / SIDE / FILE_NAME
    if not path.is_file():
        raise BadInput(f"{path} does not exist, so {out} cannot be checked: is it a reduced run?")
    try:
        ledger = Ledger.load(out)
    except BadInput as err:
        report.faults.append(str(err))
        return report
    report.digest = ledger.digest
    if digest is not None and digest.strip().lower() != ledger.digest:
        report.faults.append(f"the digest is {ledger.digest}; expected {digest}: it is not what was written")
    _check_files(out, ledger, report)
    try:
        labels = ["", *Recipe.load(out / SIDE / "recipe.toml").others]
    except BadInput as err:
        report.faults.append(f"{out / SIDE} cannot be read: {err}")
        return report
    inputs: set[str] = set()
    for label in labels:
        own = Report(out)
        inputs |= _check_detector(out, out / SIDE / label, label, ledger, own)
        report.take(label, own)
    known = told_checksums(ledger.inputs) or dict.fromkeys(ledger.inputs)
    report.faults += [
        f"no settings.json names the input {name} of the ledger" for name in sorted(known.keys() - inputs)
    ]
    return report


def _check_detector(out: Path, side: Path, label: str, ledger: Ledger, report: Report) -> set[str]:
    """Accounts, table and data files of one detector say the same; return what was read for them."""
    try:
        table = Table.open(side / "table.h5")
        accounts = json.loads((side / "accounts.json").read_text(encoding="utf-8"))
        recipe = Recipe.load(side / "recipe.toml")
        detector = detectors.load(accounts["detector"])
        settings = json.loads((side / "settings.json").read_text(encoding="utf-8"))
        # Without [write] modules, those of no region that is written have no file.
        told = settings.get(WITH_PIXELS)
        here = table.modules if told is None else tuple(int(number) for number in told.split(","))
        written, _ = written_modules(recipe, detector, here)
    except (BadInput, *DAMAGE) as err:
        report.faults.append(f"{side} cannot be read: {err}")
        return {*ledger.inputs, *told_checksums(ledger.inputs)}
    report.shots = len(table)
    told = {name: ledger.accounts.get(counted(name, label)) for name in (*FATES, "missing", "expected")}
    _check_accounts(accounts, table, told, report)
    report.faults += wrong_accounts(accounts, table)
    if not (label or recipe.others):
        size = sum(told["bytes"] for name, told in ledger.files.items() if "/" not in name)
        if accounts.get("bytes_out") != size:
            report.faults.append(
                f"accounts: bytes_out is {accounts.get('bytes_out')}, the ledger gives {size}"
            )
    _check_making(side, recipe, settings, ledger, report)
    report.faults += lacking_columns(settings, table)
    report.notes += [
        f"columns of the stage {name} ({', '.join(columns) or 'none'}) are of a function of a user's own: "
        "without it they are covered by the checksum of the table alone"
        for name, columns in stages_in(settings).items()
    ]
    if recipe.write is not None:
        every = {"version": ledger.made_by.rpartition(" ")[2], "content": recipe.write.content}
        making, parts = (settings, every), {}
        for module in written:
            _check_module(out, detector, accounts["source"], module, table, making, parts, report)
    if recipe.redu is not None:
        _check_redu(out, table, report)
    return set(settings.get("input_files", ()))


def _check_redu(out: Path, table: Table, report: Report) -> None:
    """Lit pixels and flags for the facility's tools are those of the table."""
    for path in sorted(out.glob(f"*-{AGGREGATOR}-S*.h5")):
        try:
            report.faults += compare_redu(path, table)
        except DAMAGE as err:
            report.faults.append(f"{path.name} cannot be read: {err}")


def _check_files(out: Path, ledger: Ledger, report: Report) -> None:
    """Every file is there as it was listed, and none beside."""
    there = set(names_in(out))
    for name in sorted(ledger.files.keys() - there):
        report.faults.append(f"{name} is gone")
    for name in sorted(there - ledger.files.keys()):
        report.faults.append(f"{name} is not in the ledger")
    listed = sorted(there & ledger.files.keys())

    def fault(name: str) -> str | None:
        told = ledger.files[name]
        try:
            size = (out / name).stat().st_size
            if size != told["bytes"]:
                return f"{name} has {size} bytes, the ledger says {told['bytes']}"
            if sha256_of(out / name) != told["sha256"]:
                return f"{name} is not what it was: its checksum differs from the ledger's"
        except OSError as err:
            return f"{name} cannot be read: {err}"
        return None

    with ThreadPoolExecutor(usable_cpus()) as pool:
        report.faults += [found for found in pool.map(fault, listed) if found is not None]
    report.files = len(listed)


def _check_accounts(accounts: dict, table: Table, in_ledger: dict, report: Report) -> None:
    """The table, the accounts and the ledger say the same of the shots, and nothing is missing."""
    counts = table.counts()
    for name in (*FATES, "missing", "expected"):
        told, listed = accounts.get(name), in_ledger[name]
        if told != listed:
            report.faults.append(f"accounts: {told} shots {name}, the ledger says {listed}")
        if name in counts and counts[name] != told:
            report.faults.append(f"the table has {counts[name]} shots {name}, the accounts say {told}")
    total = sum(accounts.get(name, 0) for name in (*FATES, "missing"))
    if total != accounts.get("expected"):
        report.faults.append(
            f"the accounts do not add up: {accounts.get('expected')} expected, {total} found"
        )


def _check_making(side: Path, recipe: Recipe, settings: dict, ledger: Ledger, report: Report) -> None:
    """The settings have the recipe, and input files of the ledger."""
    if settings.get("recipe") != recipe.dumps_toml():
        report.faults.append(f"{side.name}/settings.json has another recipe than recipe.toml")
    listed = {*ledger.inputs, *told_checksums(ledger.inputs)}
    for name in settings.get("input_files", ()):
        if name not in listed:
            report.faults.append(f"the input {name} of {side.name}/settings.json is not in the ledger")


def _check_module(
    out: Path,
    detector: Detector,
    source: str,
    module: int,
    table: Table,
    making: tuple[dict, dict],
    parts: dict[bytes, Told],
    report: Report,
) -> None:
    """The files of a module have the frames that the table tells, and say of them what it says.

    `making` is what they should say of their making; `parts` keeps what the table tells of their trains.
    """
    m = table.modules.index(module)
    status = table.module_status[:, m]
    kept = (table.fate == FATES.index("kept")) & np.isin(status, _IN_FILE)
    left, absent, found = kept.copy(), table.train_id > 0, False
    for path in files_of(out, detector, module):
        try:
            with h5py.File(path) as file:
                name = reduction_of(file, detector)
                if not name.startswith(f"{source}/"):
                    continue  # of another detector of this family
                trains = file["INDEX/trainId"][:]
                here = np.isin(table.train_id, trains)
                _check_index(file, path.name, report)
                check_frames(file, path.name, name, detector, table, left & here, making[0], report)
                found = True
                told = _told(parts, table, trains)
                unit = making[0].get("intensity_unit", making[0]["unit"])
                wrong = [*wrong_settings(file, name, detector, *making)]
                wrong += wrong_numbers(file, name, detector, told, m, kept[here], unit)
                report.faults += [f"{path.name}: {fault}" for fault in wrong]
                left &= ~here
                absent &= ~here
        except DAMAGE as err:
            report.faults.append(f"{path.name} cannot be read: {err}")
            return
    if left.any():
        report.faults.append(f"module {module} has {int(left.sum())} frames of kept shots, and no file")
    if not found and not np.isin(status, RECORDED).any():
        return  # the run has no frame of it, so there is no file
    for train in np.unique(table.train_id[absent])[:3]:
        report.faults.append(f"train {train} is in the table, and in no index of module {module}")


def _told(parts: dict[bytes, Told], table: Table, trains: np.ndarray) -> Told:
    """Return what the table tells of some trains, which most modules share."""
    key = trains.tobytes()
    if key not in parts:
        parts[key] = Told.of(table, trains)
    return parts[key]


def files_of(out: Path, detector: Detector, module: int) -> list[Path]:
    """Return the data files of a module in a reduced run, in the order of their trains."""
    aggregator = detector.aggregator.format(module=module)
    return sorted(out.glob(f"*-R*-{aggregator}-S*.h5"))


def reduction_of(file: h5py.File, detector: Detector) -> str:
    """Return the name of the source of a reduced file, without its root."""
    for name in file["METADATA/auxiliarySources/REDUCTION"].asstr()[:]:
        if name.startswith("REDUCTION/SHOTSIEVE/") and name.endswith(f"/{detector.group}"):
            return name.removeprefix("REDUCTION/SHOTSIEVE/").removesuffix(f"/{detector.group}")
    raise KeyError("no REDUCTION source of shotsieve")


def _check_index(file: h5py.File, name: str, report: Report) -> None:
    """Every group has the rows that the index counts, one train after the other."""
    trains = file["INDEX/trainId"][:]
    listed = [*file["METADATA/dataSources/dataSourceId"].asstr()[:]]
    for section in file["METADATA/auxiliarySources"].values():
        listed += [*section.asstr()[:]]
    for path in listed:
        place = path.partition("/")[2]
        first, count = file[f"INDEX/{place}/first"][:], file[f"INDEX/{place}/count"][:]
        if not np.array_equal(first, np.cumsum(count) - count) or len(count) != len(trains):
            report.faults.append(f"{name}: the index of {place} is not in order")
        for key, dataset in file[path].items():
            if isinstance(dataset, h5py.Dataset) and len(dataset) != count.sum():
                report.faults.append(
                    f"{name}: {place}/{key} has {len(dataset)} rows, its index counts {count.sum()}"
                )
        if "trainId" in file[path] and not np.array_equal(
            file[path]["trainId"][:], np.repeat(trains, count.astype("i8"))
        ):
            report.faults.append(f"{name}: {place}/trainId does not fit the index")
