"""The command ``shotsieve table``: what the table of a run holds, and the same for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from .errors import BadInput

if TYPE_CHECKING:
    from .table import Table

SUFFIXES = (".parquet", ".csv")


@click.command(name="table")
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it as .parquet or .csv."
)
@click.option("--modules", is_flag=True, help="Measures of every module too (Parquet).")
@click.option(
    "--list",
    "which",
    metavar="WHICH",
    help='Instead, lines "trainId pulseId" of some shots, to --out or the screen: kept, dropped, undecided, '
    "misses (kept by chance), or another fate.",
)
def table_command(table: Path, out: Path | None, modules: bool, which: str | None) -> None:
    """Say what the table of a run holds: TABLE is the folder of a reduced run, or a table.h5.

    Values are the sums over modules where all of them are known.
    """
    from .table import Table

    if which is not None:
        _list(table, out, modules, which)
        return
    if out is not None and out.suffix not in SUFFIXES:
        raise BadInput(f"--out {out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if modules and (out is None or out.suffix != ".parquet"):
        raise BadInput("--modules goes with --out FILE.parquet")
    found = Table.open(table)
    click.echo(table_text(found))
    if out is None:
        return
    if out.suffix == ".parquet":
        found.to_parquet(out, modules)
    else:
        _save_csv(found, out)
    click.echo(f"written: {out}", err=True)


def _list(table: Path, out: Path | None, modules: bool, which: str) -> None:
    from .errors import OutputError
    from .shot_list import shot_list
    from .table import Table

    if modules:
        raise BadInput("--list takes no --modules: its lines are keys of shots")
    if out is not None and out.suffix in SUFFIXES:
        raise BadInput(f"--out {out}: a list of shots is text; expected another ending, such as .lst")
    text = shot_list(Table.open(table), which)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OutputError(f"the list {out} cannot be written: {error}") from error
    click.echo(f"written: {out}", err=True)


def _save_csv(table: Table, path: Path) -> None:
    from .errors import OutputError

    try:
        frame = table.to_dataframe()
    except ImportError as error:
        raise BadInput(f"CSV needs pandas: pip install 'shotsieve[table]' ({error})") from None
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise OutputError(f"the table {path} cannot be written: {error}") from error


def table_text(table: Table) -> str:
    """Return shots, fates and columns, with range and number of unknown values, as lines."""
    counts = ", ".join(f"{number:,} {fate}" for fate, number in table.counts().items() if number)
    trains = len(np.unique(table.train_id))
    lines = [f"{len(table):,} shots of {trains:,} trains, {len(table.modules)} modules: {counts or 'none'}"]
    for name, column in table.describe().items():
        low, high = table.bounds(name)
        known = (low == high) & np.isfinite(low)
        form = "g" if column.dtype.startswith("f") else ".0f"
        ends = (low[known].min(), low[known].max()) if known.any() else ()
        span = " to ".join(f"{end:{form}}" for end in ends) or "nothing known"
        unknown = len(table) - int(known.sum())
        odd = f", {unknown:,} unknown" if unknown and known.any() else ""
        unit = f" {column.unit}" if column.unit else ""
        lines.append(f"  {name:<22} {span}{unit}{odd}   {column.meaning}")
    return "\n".join(lines)
