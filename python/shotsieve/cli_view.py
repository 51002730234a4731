"""The command ``shotsieve view``: step through the kept shots of a reduced run."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click


@click.command(name="view")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--geometry",
    type=click.Path(path_type=Path),
    help="CrystFEL geometry file; by default that of the recipe, else the modules stand side by side.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default a free one.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
def view_command(out: Path, geometry: Path | None, port: int, browser: bool) -> None:
    """Show the kept shots of the reduced run OUT on a page of this machine, until Ctrl-C.

    Arrow keys step, the wheel zooms, the mouse moves; peaks, resolution rings and the row of the table are
    shown. The page can be opened on this machine only; over SSH: ssh -L PORT:127.0.0.1:PORT HOST.
    """
    from .view import serve

    def ready(url: str) -> None:
        click.echo(f"view          {url} (Ctrl-C ends)")
        if browser:
            webbrowser.open(url)

    try:
        serve(out, geometry=geometry, port=port, ready=ready)
    except KeyboardInterrupt:
        click.echo()
