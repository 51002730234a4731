"""The command ``shotsieve decide``: asks a rule of a table, without touching a frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .cli import json_option
from .decide import Rule
from .derive import declare, fill
from .errors import BadInput
from .keep import PROBABILITY, Keeper, kept_misses, unread
from .table import FATES, Table
from .table_io import outline

if TYPE_CHECKING:
    from .recipe import Recipe


@click.command(name="decide")
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option("--rule", help="The rule to be asked, an expression over columns of the table.")
@click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take [derive] from this recipe, and without --rule all of [keep] too.",
)
@click.option(
    "--undecided",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="What happens to shots whose verdict is unknown.",
)
@click.option(
    "--misses",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of the dropped shots that is kept at random.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of that choice.")
@click.option("--whole-trains", is_flag=True, help="One kept shot keeps its train (JUNGFRAU).")
@click.option(
    "--whole-rows",
    type=int,
    metavar="CELLS",
    help="One kept shot keeps its row of so many memory cells (AGIPD 32) in the same train.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the table as it would be.")
@json_option
def decide_command(
    table: Path, rule: str | None, recipe: Path | None, undecided: str, misses: float, seed: int,
    whole_trains: bool, whole_rows: int | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Ask a rule of TABLE (a table.h5 or a reduced run), and say what it would change.

    Nothing is read but the table, and nothing is written but what -o names.
    """
    if out is not None and out.exists():
        raise BadInput(f"{out} is there already: give another name for the new table")
    if whole_trains and whole_rows is not None:
        raise BadInput("--whole-trains and --whole-rows: give one of them")
    from .recipe import Recipe

    given = None if recipe is None else Recipe.load(recipe)
    if rule is None:
        if given is None or given.keep is None:
            raise BadInput("there is nothing to decide by: give --rule, or --recipe with a section [keep]")
        rule, undecided, misses, seed = (
            getattr(given.keep, key) for key in ("rule", "undecided", "misses", "seed")
        )
        if not whole_trains and whole_rows is None:
            whole_trains = given.keep.whole == "train"
            whole_rows = _row_cells(table, given) if given.keep.whole == "row" else None
    whole = "train" if whole_trains else "shot" if whole_rows is None else "row"
    # Opening a table takes longer than deciding: only a new table needs more than the rule asks for.
    loaded = Table.open(table, _asked_for(table, rule, given) if out is None else None)
    changed = replay(loaded, rule, undecided, misses, seed, whole, whole_rows or 0, given)
    if out is not None:
        loaded.save(out)
    click.echo(json.dumps(changed) if as_json else _text(changed, out))


def _row_cells(table: Path, recipe: Recipe) -> int:
    """Return the cells of a row: of the detector that the recipe names, or the accounts beside the table."""
    name = recipe.detector.name
    beside = (table / "shotsieve" if table.is_dir() else table.parent) / "accounts.json"
    if name is None and beside.is_file():
        name = json.loads(beside.read_text(encoding="utf-8"))["detector"]
    if name is None:
        raise BadInput(
            f'[keep] whole = "row": nothing beside {table} says which detector it is of: give the cells of a '
            "row, as in --whole-rows 32, or [[detector]] name in the recipe"
        )
    from . import detectors

    return detectors.load(name).row_cells


def _parse(table: Table, rule: str, recipe: Recipe | None) -> Rule:
    """Check a rule by the columns that a table will have: its own, and those that the recipe derives."""
    sections = {} if recipe is None else recipe.derive
    # A probability of an earlier decision is no measure.
    for name in (PROBABILITY, *sections):
        table.columns.pop(name, None)
        table.meanings.pop(name, None)
    if recipe is not None:
        declare(table, sections, recipe.folder)
    return Rule.parse(rule, table.names(), explain=table.explain())


def _asked_for(path: Path, rule: str, recipe: Recipe | None) -> tuple[str, ...] | None:
    """Return the names that a rule takes from a table; None is all, where a recipe derives columns."""
    return None if recipe is not None and recipe.derive else _parse(outline(path), rule, recipe).names


def replay(
    table: Table, rule: str, undecided: str = "keep", misses: float = 0.0, seed: int = 0,
    whole: str = "shot", row_cells: int = 0, recipe: Recipe | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Decide about all shots of a table anew; the table then holds the new verdicts and fates.

    Parameters
    ----------
    table : Table
        Changed in place.
    rule : str
    undecided, misses, seed, whole, row_cells
        See `shotsieve.keep.Keeper`.
    recipe : Recipe or None
        Its derived columns are made anew.

    Returns
    -------
    dict of str to int
        Shots that were ``asked``; ``kept``, ``dropped``, ``undecided`` and ``misses`` (kept by chance) now;
        ``kept_before``, and how many are ``newly_kept`` and ``newly_dropped``.

    Raises
    ------
    BadInput
        If the rule is not right, or asks for a column that the table lacks.

    Examples
    --------
    >>> table = Table([7, 7], [0, 4], [0, 1], modules=(0,), module_pixels=100)
    >>> replay(table, "cell_id > 0")["newly_dropped"]
    1
    """
    parsed = _parse(table, rule, recipe)
    if recipe is not None:
        fill(table, recipe.derive)
    keeper = Keeper(parsed, undecided, misses, seed, whole, row_cells)
    keeper.prepare(table)
    # The others were rejected, or never looked at.
    rows = np.flatnonzero((table.fate <= FATES.index("dropped")) & ~unread(table))
    before = table.fate[rows] == FATES.index("kept")
    kept = keeper.decide(table, rows)
    return {
        "asked": len(rows),
        "kept": int(kept.sum()),
        "dropped": int((~kept).sum()),
        "undecided": int((table.verdict[rows] == -1).sum()),
        "misses": int(kept_misses(table).sum()),
        "kept_before": int(before.sum()),
        "newly_kept": int((kept & ~before).sum()),
        "newly_dropped": int((before & ~kept).sum()),
    }


def _text(changed: dict[str, Any], out: Path | None) -> str:
    width = len(f"{changed['asked']:,}")

    def line(name: str, key: str) -> str:
        return f"  {name:<16}{changed[key]:>{width},}"

    lines = [
        line("asked", "asked"),
        line("kept", "kept") + f"   before {changed['kept_before']:,}",
        line("  by chance", "misses"),
        line("dropped", "dropped"),
        line("undecided", "undecided"),
        line("newly kept", "newly_kept"),
        line("newly dropped", "newly_dropped"),
    ]
    if changed["newly_kept"]:
        lines.append("  the frames of newly kept shots are in the raw run only: reduce it again to have them")
    return "\n".join([*lines, *([f"  written to {out}"] if out is not None else [])])
