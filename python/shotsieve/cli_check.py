"""The command ``shotsieve check``: whether a reduced run is what was written, and right."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .cli import backend_option, json_option, progress_bar
from .errors import BadInput


@click.command(name="check")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--digest", help="What `reduce` printed: it must be the same still.")
@click.option(
    "--against",
    "run",
    type=click.Path(exists=True, path_type=Path),
    help="The raw run: kept frames are compared with it, and dropped shots are measured again.",
)
@click.option("--constants", type=click.Path(path_type=Path), help="As for `reduce`; with --against.")
@click.option(
    "--recipe-folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="What relative paths in the recipe are relative to: the folder of the recipe; with --against.",
)
@backend_option
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the dropped shots, chosen at random, that are measured again.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of that choice.")
@json_option
def check_command(
    out: Path, digest: str | None, run: Path | None, constants: Path | None, recipe_folder: Path,
    backend: str, sample: float, seed: int, as_json: bool,
) -> int:  # fmt: skip
    """Check the reduced run OUT; the exit status is 1 if anything is wrong.

    Every file, every stored frame, the index and the accounts are compared with the checksums and numbers
    that were written with them; the raw data may be gone. With --against it is read again.
    """
    from .check import check

    report = check(out, digest)
    if run is not None:
        if report.faults:
            report.notes.append("not compared with the raw run, since the output itself is not in order")
        else:
            from .engine.against import check_against

            with progress_bar() as progress:
                check_against(
                    report, run, constants=constants, recipe_folder=recipe_folder, backend=backend,
                    sample=sample, seed=seed, progress=progress,
                )  # fmt: skip
    elif constants is not None or sample != 1.0:
        raise BadInput("--constants and --sample go with --against RUN")
    told = {**vars(report), "out": str(out), "ok": report.ok}
    click.echo(json.dumps(told, indent=2) + "\n" if as_json else report.summary(), nl=False)
    return 0 if report.ok else 1
