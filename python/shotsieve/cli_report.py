"""The command ``shotsieve report``: one page about a reduced run."""

from __future__ import annotations

from pathlib import Path

import click

from .errors import ShotsieveError


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


def draw_after(out: Path) -> None:
    """Draw the page of a run that was just reduced; what goes wrong here is no error of the reduction."""
    from .report import write_report

    try:
        write_report(out)
    except ShotsieveError as error:
        click.echo(f"no page was drawn: {error}", err=True)
