"""The command ``shotsieve report``: one page about a reduced run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import BadInput, ShotsieveError

if TYPE_CHECKING:
    from .recipe import Recipe


@click.command(name="report")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="HTML file to write; by default OUT/report.html.",
)
@click.option(
    "--geometry",
    type=click.Path(path_type=Path),
    help="CrystFEL geometry file for images of the whole detector; by default that of the recipe.",
)
def report_command(out: Path, path: Path | None, geometry: Path | None) -> None:
    """Write a page about the reduced run OUT: what was kept and why, and what it looks like.

    Scores against the limit of the rule, mean images of hits and of misses kept by chance, the strongest hits
    with their peaks, modules and cells, accounts, what the recipe changes. One file for a browser, without
    network.
    """
    from .report import write_report

    click.echo(f"report        {write_report(out, path, geometry)}")


def draw_after(out: Path, recipe: Recipe) -> None:
    """Draw the page of a run that was just reduced; what goes wrong here is no error of the reduction."""
    from .report import write_report

    named = recipe.detector.geometry
    try:
        # The recipe that lies with the output is in another folder: a path in it may be seen from the first.
        try:
            write_report(out, None, None if named is None else recipe.path_of(named))
        except BadInput:  # a geometry that nothing needed until now; the page tells what is wrong with it
            write_report(out)
    except ShotsieveError as error:
        click.echo(f"no page was drawn: {error}", err=True)
