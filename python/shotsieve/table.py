"""One row per shot: its key, its measures module by module, its verdict and its fate.

The table survives whatever is dropped. A measure of a module that could not be computed is unknown, never 0:
`Table.bounds` gives every column as an interval, which is all that a rule sees.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from . import shown
from .errors import BadInput, nearest
from .table_columns import ALL, EXPLAIN, KEYS, KNOWN_COLUMNS, Column, check_column_name, measure_column

if TYPE_CHECKING:
    from pathlib import Path

    import pandas
    import xarray

FATES = ("kept", "dropped", "suspect", "duplicate", "inconsistent", "unreadable")
Bounds = tuple[np.ndarray, np.ndarray]


class ModuleStatus(IntEnum):
    """Why the measures of a module in a shot are what they are; only those of `OK` are known."""

    OK = 0
    MISSING = 1
    NO_CONSTANTS = 2
    UNREADABLE = 3
    NOT_READ = 4  # a rejected shot, or one the reduction has not reached


class Table:
    """One row per shot of a run.

    Parameters
    ----------
    train_id, pulse_id : array of uint64, shape (S,)
        Key of each shot.
    cell_id : array of int32, shape (S,)
        Memory cell of each shot.
    modules : sequence of int
        Module numbers; axis 1 of every measure.
    module_pixels : int
        Pixels of one module: bounds what an unknown module does to ``lit_fraction``.
    measures : iterable of str
        Measures that will be set, so that rules can be checked before anything is read.

    Attributes
    ----------
    fate : ndarray of uint8, shape (S,)
        Index into `FATES`; "kept" until set.
    verdict : ndarray of int8, shape (S,)
        1 true, 0 false, -1 unknown (also where the rule was never asked).
    module_status : ndarray of uint8, shape (S, M)
        Values of `ModuleStatus`; NOT_READ until set.
    measures : dict of str to ndarray, shape (S, M)
        Per module; to be read together with `module_status`, 0 where that is not OK.
    columns : dict of str to ndarray of float64, shape (S,)
        Extra columns; NaN is unknown.
    joined : dict of str to (low, high), ndarray of float64, shape (S,)
        Columns of another detector: the least and the greatest value each shot may have.

    Raises
    ------
    BadInput
        If lengths disagree or there is no such measure.

    Notes
    -----
    Promise: exact; holds what it is given, and sums only integers and multiples of 1/128.

    Examples
    --------
    >>> table = Table([7, 7], [0, 4], [0, 1], modules=(0, 1), module_pixels=100, measures=["lit_pixels"])
    >>> table.set_module_status(slice(None), [[0, 0], [0, 1]])
    >>> table.set_measure("lit_pixels", slice(None), [[3, 4], [9, 0]])
    >>> low, high = table.bounds("lit_pixels")
    >>> low.tolist(), high.tolist()
    ([7.0, 9.0], [7.0, inf])
    """

    def __init__(
        self,
        train_id: Any,
        pulse_id: Any,
        cell_id: Any,
        modules: Sequence[int],
        module_pixels: int,
        measures: Iterable[str] = (),
    ) -> None:
        self.train_id = np.array(train_id, "u8")
        self.pulse_id = np.array(pulse_id, "u8")
        self.cell_id = np.array(cell_id, "i4")
        self.modules = tuple(int(m) for m in modules)
        self.module_pixels = int(module_pixels)
        shots = len(self.train_id)
        for name in ("pulse_id", "cell_id"):
            self._check(name, getattr(self, name), (shots,))
        self.fate = np.zeros(shots, "u1")
        self.verdict = np.full(shots, -1, "i1")
        self.module_status = np.full((shots, len(self.modules)), ModuleStatus.NOT_READ, "u1")
        self.measures: dict[str, np.ndarray] = {}
        self.columns: dict[str, np.ndarray] = {}
        self.joined: dict[str, Bounds] = {}
        self.meanings: dict[str, Column] = {}
        for name in measures:
            self.declare_measure(name)

    def __len__(self) -> int:
        return len(self.train_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        mine, theirs = self._content(), other._content()
        return mine.keys() == theirs.keys() and all(
            np.array_equal(mine[key], theirs[key], equal_nan=mine[key].dtype.kind == "f") for key in mine
        )

    __hash__ = None  # a table changes

    def _content(self) -> dict[str, np.ndarray]:
        shape = np.array([*self.modules, self.module_pixels])
        keys = {name: getattr(self, name) for name in (*KEYS, "fate", "verdict", "module_status")}
        joined = {f"{name}, {i}": ends for name, pair in self.joined.items() for i, ends in enumerate(pair)}
        return {"modules": shape, **keys, **self.measures, **self.columns, **joined}

    def _check(self, name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
        if values.shape != shape:
            raise BadInput(
                f"{name}: expected shape {shape}, got {values.shape}: one value per shot (and module)"
            )

    # ------------------------------------------------------------------ filling

    def declare_measure(self, name: str) -> None:
        """Make room for a measure (as in `set_measure`); it is unknown until `set_measure`."""
        column = measure_column(name)
        if column is None:
            raise BadInput(f"{name!r} is not a measure.{nearest(name, ALL)} Measures are {', '.join(ALL)}")
        if name in self.columns:
            raise BadInput(f"{name!r} is a column already, and would be a measure: rename one of the two")
        if name not in self.measures:
            self.measures[name] = np.zeros((len(self), len(self.modules)), column.dtype)
            self.meanings[name] = column

    def set_measure(self, name: str, rows: Any, values: Any) -> None:
        """Set a measure of some shots.

        Parameters
        ----------
        name : str
            One that `shotsieve.table_columns.measure_column` knows.
        rows : slice or array of int (n,) or bool (S,)
            Which shots.
        values : array, shape (n, M)
            One value per shot and module; whatever stands where `module_status` is not OK is not used.

        Raises
        ------
        BadInput
            If the name or the shape is wrong.
        """
        self.declare_measure(name)
        values = np.asarray(values)
        self._check(name, values, self.measures[name][rows].shape)
        self.measures[name][rows] = values

    def take_measure(self, name: str, values: np.ndarray) -> None:
        """Set a measure of all shots, shape (S, M), without a copy: the table keeps the array itself.

        Raises
        ------
        BadInput
            If the name or the shape is wrong.
        """
        self.declare_measure(name)
        self._check(name, values, (len(self), len(self.modules)))
        self.measures[name] = np.asarray(values, measure_column(name).dtype)

    def set_module_status(self, rows: Any, status: Any) -> None:
        """Set `ModuleStatus` values, shape (n, M), of some shots (`rows` as in `set_measure`)."""
        status = np.asarray(status)
        self._check("module_status", status, self.module_status[rows].shape)
        if status.size and not (status.min() >= 0 and status.max() <= max(ModuleStatus)):
            raise BadInput(
                f"module_status: expected 0 to {int(max(ModuleStatus))}, got {status.min()} to {status.max()}"
            )
        self.module_status[rows] = status

    def set_fate(self, rows: Any, fate: str) -> None:
        """Give some shots (`rows` as in `set_measure`) one of `FATES`."""
        if fate not in FATES:
            raise BadInput(f"{fate!r} is not a fate.{nearest(fate, FATES)} Fates are {', '.join(FATES)}")
        self.fate[rows] = FATES.index(fate)

    def set_verdict(self, rows: Any, verdict: Any) -> None:
        """Set what the rule said of some shots: 1 true, 0 false, -1 unknown."""
        self.verdict[rows] = verdict

    def add_column(self, name: str, values: Any, unit: str = "", meaning: str = "") -> None:
        """Add one value per shot.

        Parameters
        ----------
        name : str
            A word usable in rules.
        values : array of float64, shape (S,)
            NaN is unknown.
        unit, meaning : str
            Stored with the column; for `KNOWN_COLUMNS` they may be left out.

        Raises
        ------
        BadInput
            If the name is taken or not a word, or the length is wrong.
        """
        check_column_name(name, self.measures)
        values = np.array(values, "f8")
        self._check(name, values, (len(self),))
        known = KNOWN_COLUMNS.get(name, Column("", ""))
        self.columns[name] = values
        self.meanings[name] = Column(unit or known.unit, meaning or known.meaning)

    def add_joined(self, name: str, low: Any, high: Any, unit: str = "", meaning: str = "") -> None:
        """Add a column of another detector, or replace it.

        Parameters
        ----------
        name : str
            ``jf_lit_pixels``, or ``jf_lit_pixels[3]`` for one of its modules.
        low, high : array of float64, shape (S,)
            What the value is at least and at most; never NaN.
        unit, meaning : str

        Raises
        ------
        BadInput
            If the length is wrong.
        """
        ends = np.array(low, "f8"), np.array(high, "f8")
        for values in ends:
            self._check(name, values, (len(self),))
        self.joined[name] = ends
        self.meanings[name] = Column(unit, meaning)

    # ------------------------------------------------------------------ reading

    def part(self, rows: Any) -> Table:
        """Return a copy of some rows (as in `set_measure`), so that a rule can be asked about them alone."""
        picked = Table(
            self.train_id[rows], self.pulse_id[rows], self.cell_id[rows], self.modules, self.module_pixels
        )
        for name in ("fate", "verdict", "module_status"):
            setattr(picked, name, getattr(self, name)[rows])
        picked.measures = {name: values[rows] for name, values in self.measures.items()}
        picked.columns = {name: values[rows] for name, values in self.columns.items()}
        picked.joined = {name: (low[rows], high[rows]) for name, (low, high) in self.joined.items()}
        picked.meanings = dict(self.meanings)
        return picked

    def names(self) -> list[str]:
        """Return every name that `bounds` answers, ``lit_pixels[3]`` (module 3 alone) among them."""
        summed = [*self.measures]
        if {"lit_pixels", "unmasked_pixels"} <= self.measures.keys():
            summed.append("lit_fraction")
        single = [f"{name}[{module}]" for name in summed for module in self.modules]
        columns = dict.fromkeys([*KNOWN_COLUMNS, *self.columns])
        return [*KEYS, "n_modules", *summed, *columns, *self.joined, *single]

    def explain(self) -> dict[str, str]:
        """Return, for names that exist but are not computed here, what computes them (for error texts)."""
        names = set(self.names())
        return {name: text for name, text in EXPLAIN.items() if name not in names}

    def bounds(self, name: str) -> Bounds:
        """Return what is known of a column: the least and the greatest value each shot may have.

        Parameters
        ----------
        name : str
            One of `names`. Sums run over all modules, ``name[3]`` is module 3 alone.

        Returns
        -------
        low, high : ndarray of float64, shape (S,)
            Equal where the value is known. A count with a module that is not OK is at least the sum of the
            others; an intensity then may be anything. Never NaN.

        Raises
        ------
        BadInput
            If there is no such column.
        """
        if name in KEYS:
            return _point(getattr(self, name).astype("f8"))
        if name in self.joined:
            return self.joined[name]
        if name == "n_modules":
            return _point(self.ok().sum(1, dtype="f8"))
        if name in self.columns or name in KNOWN_COLUMNS:
            values = self.columns.get(name, np.full(len(self), np.nan))
            unknown = np.isnan(values)
            if not unknown.any():
                return _point(values)
            return np.where(unknown, -np.inf, values), np.where(unknown, np.inf, values)
        base, _, module = name.partition("[")
        if name not in self.names():
            raise BadInput(f"the table has no column {name!r}.{nearest(name, self.names())}")
        picked = [self.modules.index(int(module[:-1]))] if module else slice(None)
        ok = self.ok()[:, picked]
        if base != "lit_fraction" and ok.all():
            return _point(self._sum(base, picked, ok))
        unknown = (~ok).sum(1)
        if base == "lit_fraction":
            return self._fraction(picked, ok, unknown)
        known = self._sum(base, picked, ok)
        least = measure_column(base).least
        some = unknown > 0  # unknown modules, of which each may add this much; 0 * inf would be NaN
        return known + np.where(some, least, 0), known + np.where(some, np.inf, 0)

    def ok(self) -> np.ndarray:
        """Which modules of which shots were measured, bool (S, M)."""
        return self.module_status == ModuleStatus.OK

    def _sum(self, name: str, picked: Any, ok: np.ndarray) -> np.ndarray:
        values = self.measures[name][:, picked]
        return (values if ok.all() else np.where(ok, values, 0)).sum(1).astype("f8")

    def _fraction(self, picked: Any, ok: np.ndarray, unknown: np.ndarray) -> Bounds:
        """Lit over unmasked pixels: an unknown module pulls it down most when unlit, up most when all lit.

        Without one unmasked pixel that is known the fraction may not even exist, so it is unknown.
        """
        lit, unmasked = self._sum("lit_pixels", picked, ok), self._sum("unmasked_pixels", picked, ok)
        more = unknown * float(self.module_pixels)
        exists = unmasked > 0
        whole = np.where(exists, unmasked + more, 1)
        return np.where(exists, lit / whole, -np.inf), np.where(exists, (lit + more) / whole, np.inf)

    def _repr_html_(self) -> str:
        return shown.table(self)

    def counts(self) -> dict[str, int]:
        """Return the number of shots of each fate, in the order of `FATES`."""
        number = np.bincount(self.fate, minlength=len(FATES))
        return {fate: int(n) for fate, n in zip(FATES, number, strict=True)}

    # ------------------------------------------------------------------ handing over

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame, one row per shot; see `shotsieve.table_io.to_dataframe`."""
        from .table_io import to_dataframe

        return to_dataframe(self)

    def to_parquet(self, path: str | os.PathLike[str], modules: bool = False) -> Path:
        """Write the table as Parquet; see `shotsieve.table_io.to_parquet`."""
        from .table_io import to_parquet

        return to_parquet(self, path, modules)

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray Dataset with axes shot and module; see `shotsieve.table_io.to_xarray`."""
        from .table_io import to_xarray

        return to_xarray(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as HDF5; the same table gives the same bytes. See `shotsieve.table_io.save`."""
        from .table_io import save

        save(self, path)

    @classmethod
    def open(cls, path: str | os.PathLike[str], names: Iterable[str] | None = None) -> Table:
        """Read a table that `save` wrote, or of it what some names need; see `shotsieve.table_io.load`."""
        from .table_io import load

        return load(path, names)

    def describe(self) -> Mapping[str, Column]:
        """Return unit and meaning of every stored column."""
        return {**KEYS, **self.meanings}


def _point(values: np.ndarray) -> Bounds:
    return values, values
