"""The table outside the program: HDF5, pandas and xarray."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput, OutputError
from .side_file import created, get, opened, put
from .table import FATES, ModuleStatus, Table
from .table_columns import Column, known_exactly

if TYPE_CHECKING:
    import h5py
    import pandas
    import xarray

FORMAT = "shotsieve table"
VERSION = 1
_STATE = {
    "fate": Column("", "what became of the shot: " + ", ".join(f"{i} {f}" for i, f in enumerate(FATES))),
    "verdict": Column("", "what the rule says: 1 true, 0 false, -1 unknown or not asked"),
    "module_status": Column(
        "",
        "measures of a module: "
        + ", ".join(f"{s.value} {s.name.lower().replace('_', ' ')}" for s in ModuleStatus),
    ),
}


def save(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a table as one HDF5 file.

    Groups ``shots`` (keys, fate, verdict; one value per shot), ``columns`` (extra columns; NaN is unknown)
    and ``measures`` (shot by module, with ``module_status``, which says where they are known); where there
    are columns of other detectors, ``joined`` (shot by 2: the least and the greatest value). Every dataset
    has the attributes ``unit`` and ``meaning``.

    Parameters
    ----------
    table : Table
    path : path-like
        The file; it is replaced if it exists.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Notes
    -----
    Promise: exact; the same table gives the same bytes (no dates are stored, the order is fixed).
    """
    described = {**table.describe(), **_STATE}

    def store(group: h5py.Group, name: str, values: np.ndarray) -> None:
        put(group, name, values, described[name].unit, described[name].meaning)

    with created(path, FORMAT, VERSION, "the table") as out:
        file = out.file
        file.attrs["modules"] = np.array(table.modules, "i4")
        file.attrs["module_pixels"] = table.module_pixels
        file.attrs["fates"] = ",".join(FATES)
        shots = file.create_group("shots")
        for name in ("train_id", "pulse_id", "cell_id", "fate", "verdict"):
            store(shots, name, getattr(table, name))
        columns = file.create_group("columns", track_order=True)
        for name, values in table.columns.items():
            store(columns, name, values)
        measures = file.create_group("measures", track_order=True)
        store(measures, "module_status", table.module_status)
        for name, values in table.measures.items():
            store(measures, name, values)
        if table.joined:
            joined = file.create_group("joined", track_order=True)
            for name, ends in table.joined.items():
                store(joined, name, np.stack(ends, axis=1))


def load(path: str | os.PathLike[str], names: Iterable[str] | None = None) -> Table:
    """Read a table that `save` wrote.

    Parameters
    ----------
    path : path-like
        The file, or the output folder of a reduction (its ``shotsieve/table.h5`` is read).
    names : iterable of str, optional
        Read only what these need, as in `Table.bounds`; ``lit_fraction`` needs two measures. Keys, fates,
        verdicts and the state of the modules are always read. A name that the file lacks is left out.

    Returns
    -------
    Table
        Equal to the one that was saved; with `names` it lacks the other measures and columns.

    Raises
    ------
    BadInput
        If the file is something else, or of a newer version.
    UnreadableData
        If it cannot be read.
    """
    with opened(path, "table.h5", FORMAT, VERSION, "the table") as file:
        return _read(file, get, None if names is None else _stored_names(names))


def outline(path: str | os.PathLike[str]) -> Table:
    """Return a table without shots which has the measures and columns of one that `save` wrote.

    So a rule can be checked before any of their values is read. Parameters and errors are those of `load`.
    """

    def nothing(dataset: h5py.Dataset) -> np.ndarray:
        return np.empty((0, *dataset.shape[1:]), dataset.dtype)

    with opened(path, "table.h5", FORMAT, VERSION, "the table") as file:
        return _read(file, nothing, None)


def _stored_names(names: Iterable[str]) -> set[str]:
    """Return what has to be read for some names of `Table.bounds`."""
    stored: set[str] = set()
    for name in names:
        base = name.partition("[")[0]
        stored |= {"lit_pixels", "unmasked_pixels"} if base == "lit_fraction" else {base, name}
    return stored


def _read(
    file: h5py.File, values: Callable[[h5py.Dataset], np.ndarray], wanted: Collection[str] | None
) -> Table:
    """Make a table of what `values` gives for each dataset that is wanted; None is all of them."""
    # Lists: h5py holds its lock while somebody iterates, and a thread that frees an object of h5py would wait
    # for it for ever.
    shots = {name: values(dataset) for name, dataset in list(file["shots"].items())}
    table = Table(
        shots["train_id"],
        shots["pulse_id"],
        shots["cell_id"],
        file.attrs["modules"].tolist(),
        int(file.attrs["module_pixels"]),
    )
    table.fate[:] = shots["fate"]
    table.verdict[:] = shots["verdict"]
    table.set_module_status(slice(None), values(file["measures/module_status"]))
    for group in ("columns", "measures", "joined"):
        for name, dataset in list(file.get(group, {}).items()):
            if name == "module_status" or (wanted is not None and name not in wanted):
                continue
            if dataset is None:  # what h5py lists of a damaged group
                raise KeyError(f"{group}/{name} leads nowhere")
            unit, meaning = dataset.attrs["unit"], dataset.attrs["meaning"]
            if group == "columns":
                table.add_column(name, values(dataset), unit, meaning)
            elif group == "measures":
                table.take_measure(name, values(dataset))
                table.meanings[name] = replace(table.meanings[name], unit=unit)
            else:
                table.add_joined(name, *values(dataset).T, unit, meaning)
    return table


def to_dataframe(table: Table) -> pandas.DataFrame:
    """Return one row per shot, with types that know "unknown" (``pandas.NA``).

    Parameters
    ----------
    table : Table

    Returns
    -------
    pandas.DataFrame
        train_id, pulse_id (UInt64), cell_id (Int32), fate (category), verdict (boolean), n_modules (Int32);
        for each measure its sum over all modules, NA where a module was not measured, and
        ``<measure>_measured``, the sum over the modules that were; the extra columns and those of other
        detectors (Float64), NA where they are not known. Units are in ``frame.attrs["units"]``.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    import pandas as pd

    def nullable(values: np.ndarray, dtype: str, unknown: np.ndarray | None = None) -> pandas.Series:
        series = pd.Series(values, dtype=dtype)
        return series if unknown is None else series.mask(unknown)

    ok = table.ok()
    frame = {
        "train_id": nullable(table.train_id, "UInt64"),
        "pulse_id": nullable(table.pulse_id, "UInt64"),
        "cell_id": nullable(table.cell_id, "Int32"),
        "fate": pd.Series(pd.Categorical.from_codes(table.fate.astype("i1"), FATES)),
        "verdict": nullable(table.verdict == 1, "boolean", table.verdict < 0),
        "n_modules": nullable(ok.sum(1), "Int32"),
    }
    for name, values in table.measures.items():
        dtype = "Int64" if values.dtype.kind == "i" else "Float64"
        measured = np.where(ok, values, 0).sum(1)
        frame[name] = nullable(measured, dtype, ~ok.all(1))
        frame[f"{name}_measured"] = nullable(measured, dtype)
    for name, values in table.columns.items():
        frame[name] = nullable(values, "Float64", np.isnan(values))
    for name, ends in table.joined.items():
        frame[name] = nullable(known_exactly(*ends), "Float64", np.isnan(known_exactly(*ends)))
    out = pd.DataFrame(frame)
    out.attrs["units"] = {name: column.unit for name, column in table.describe().items() if column.unit}
    return out


def to_parquet(table: Table, path: str | os.PathLike[str], modules: bool = False) -> Path:
    """Write the table as one Parquet file: the columns of `to_dataframe`, NA as null.

    Parameters
    ----------
    table : Table
    path : path-like
        Replaced if it exists, once the new file is complete.
    modules : bool
        Every measure of every module too, ``lit_pixels[3]``, null where it was not measured.

    Returns
    -------
    Path

    Raises
    ------
    BadInput
        If pandas or pyarrow is not installed.
    OutputError
        If the file cannot be written; nothing of it is left then.

    Notes
    -----
    Promise: exact. Unit and meaning of a column are the metadata of its field.

    Examples
    --------
    >>> to_parquet(table, "r0001.parquet")    # doctest: +SKIP
    """
    try:
        import pandas as pd
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise BadInput(
            f"Parquet needs pandas and pyarrow: pip install 'shotsieve[table]' ({error})"
        ) from None
    frame = to_dataframe(table)
    if modules:
        ok = table.ok()
        single = {
            f"{name}[{module}]": pd.Series(
                values[:, m], dtype="Int64" if values.dtype.kind == "i" else "Float64"
            ).mask(~ok[:, m])
            for name, values in table.measures.items()
            for m, module in enumerate(table.modules)
        }
        frame = pd.concat([frame, pd.DataFrame(single)], axis=1)
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    described = table.describe()
    fields = []
    for field in arrow.schema:
        plain = field.name.partition("[")[0].removesuffix("_measured")
        column = described.get(field.name, described.get(plain))
        told = {} if column is None else {"unit": column.unit, "meaning": column.meaning}
        fields.append(field.with_metadata(told))
    arrow = arrow.cast(pa.schema(fields, metadata={"made_by": "shotsieve", "fates": ",".join(FATES)}))
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        parquet.write_table(arrow, new, compression="zstd")
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OutputError(f"the table {path} cannot be written: {error}") from error
    return path


def to_xarray(table: Table) -> xarray.Dataset:
    """Return the table with axes shot and module.

    Parameters
    ----------
    table : Table

    Returns
    -------
    xarray.Dataset
        Coordinates train_id, pulse_id, cell_id (shot) and module; measures as float64 (shot, module), NaN
        where not measured; fate (text), verdict, module_status and the extra columns. Unit and meaning are
        attributes.

    Raises
    ------
    ImportError
        If xarray is not installed.
    """
    import xarray as xr

    described = {**table.describe(), **_STATE}

    def variable(name: str, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        column = described[name]
        return ("shot", "module")[: values.ndim], values, {"units": column.unit, "long_name": column.meaning}

    ok = table.ok()
    data = {name: variable(name, np.where(ok, values, np.nan)) for name, values in table.measures.items()}
    data |= {name: variable(name, values.copy()) for name, values in table.columns.items()}
    data |= {name: variable(name, known_exactly(*ends)) for name, ends in table.joined.items()}
    data["module_status"] = variable("module_status", table.module_status.copy())
    data["verdict"] = variable("verdict", table.verdict.copy())
    data["fate"] = variable("fate", np.array(FATES)[table.fate])
    keys = {name: variable(name, getattr(table, name).copy()) for name in ("train_id", "pulse_id", "cell_id")}
    return xr.Dataset(data, coords={**keys, "module": ("module", np.array(table.modules))})
