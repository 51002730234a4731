"""The command ``shotsieve bench``: how fast this machine reduces, stage by stage."""

from __future__ import annotations

from pathlib import Path

import click

from .backend import NAMES


@click.command(name="bench")
@click.option(
    "--backend",
    type=click.Choice(("auto", *NAMES)),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
@click.option(
    "-d",
    "--detector",
    "detectors",
    multiple=True,
    help="AGIPD1M, JUNGFRAU, LPD1M or DSSC1M; may be repeated.  [default: all of them]",
)
@click.option(
    "--modules", default=4, show_default=True, help="Modules that are measured; rates are scaled up."
)
@click.option("--cells", type=int, help="Shots of a train: memory cells.  [default: 32, or all of them]")
@click.option(
    "--trains", default=4, show_default=True, help="Trains, which share the constants of their cells."
)
@click.option("--rounds", default=7, show_default=True, help="The fastest counts.")
@click.option(
    "--no-peers",
    is_flag=True,
    help="Leave out NumPy, and what is installed of pyFAI, EXtra-data, EXtra-redu and OM.",
)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write a report too.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture too (matplotlib)."
)
@click.option(
    "--compare",
    "other",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put an earlier report beside this one.",
)
@click.option("--show", is_flag=True, help="Measure nothing: show the report of --compare.")
def bench_command(
    backend: str,
    detectors: tuple[str, ...],
    modules: int,
    cells: int | None,
    trains: int,
    rounds: int,
    no_peers: bool,
    file: Path | None,
    plot: Path | None,
    other: Path | None,
    show: bool,
) -> None:
    """Measure this machine: memory, then each stage and the whole chain, from raw words to results.

    The words are made up, with photons and spots that the answers have to contain: a wrong one is an error.
    Some of them are written to temporary files (in TMPDIR, up to 140 MB) for the stage that reads. shots/s
    are those of a whole detector. OM is a program of its own: SHOTSIEVE_OM_PYTHON names a Python that has it.
    """
    from rich.console import Console

    from .bench.report import compare, tables
    from .bench.report import plot as draw
    from .bench.run import load, run, save
    from .errors import BadInput
    from .pages import need_matplotlib

    console = Console()
    before = None if other is None else load(other)
    if show:
        if before is None:
            raise BadInput("--show shows a report: name it with --compare FILE")
        console.print(tables(before))
        return
    if rounds < 1:
        raise BadInput(f"--rounds {rounds}: expected at least 1")
    for path in (file, plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise BadInput(f"{path}: there is no folder {path.absolute().parent}: make it first")
    if plot is not None:
        need_matplotlib("--plot")
    from .backend import get
    from .bench.cases import KINDS

    report = run(
        get(backend),
        detectors or tuple(KINDS),
        modules=modules,
        cells=cells,
        trains=trains,
        rounds=rounds,
        peers=not no_peers,
        say=lambda text: click.echo(text, err=True),
    )
    console.print(tables(report))
    if before is not None:
        console.print(compare(before, report))
    if file is not None:
        save(report, file)
    if plot is not None:
        draw(report, plot)
