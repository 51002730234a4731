"""The command ``shotsieve reduce``: a run in, a reduced run out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli import backend_option, cache_option, json_option, parse_setting, progress_bar
from .errors import BadInput

if TYPE_CHECKING:
    from .engine import Result


@click.command(name="reduce")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--recipe", "-r", "recipe_path", required=True, type=click.Path(path_type=Path), help="TOML file."
)
@click.option("--constants", type=click.Path(path_type=Path), help="Constants: our HDF5 file or a folder.")
@cache_option
@click.option("--source", help="Detector of the run, e.g. SPB_DET_AGIPD1M-1, where there are several.")
@backend_option
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override the recipe.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an earlier output of shotsieve once the new one is complete; a folder that holds anything"
    " else is refused.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where an interrupted reduction has stopped; with the same run, recipe and constants.",
)
@click.option(
    "--table",
    type=click.Path(exists=True, path_type=Path),
    help="Table of an earlier reduction of RUN: nothing is measured, and only kept shots are read.",
)
@click.option("--profile", is_flag=True, help="Say where the time went, by steps and by slots.")
@click.option(
    "--profile-plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw what was done with the blocks in each slot, and when; PNG, needs matplotlib.",
)
@click.option(
    "--block",
    "block_mb",
    type=click.FloatRange(min=0, min_open=True),
    default=256.0,
    show_default=True,
    metavar="MB",
    help="Raw data handled at once: less of it takes less memory.",
)
@click.option(
    "--slots", type=click.IntRange(min=1), default=3, show_default=True, help="Such blocks in flight."
)
@click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    envvar="SHOTSIEVE_REPORT",
    show_envvar=True,
    help="Draw OUTPUT/report.html, a page about the reduced run, which needs matplotlib.",
)
@click.option("--force", is_flag=True, help="Go on though constants and run disagree on their conditions.")
@click.option(
    "--tolerant",
    is_flag=True,
    help="Count what of RUN cannot be read (damaged, cut off, never written, refused by the disk) instead of "
    "giving up.",
)
@json_option
def reduce_command(
    run: Path,
    out: Path,
    recipe_path: Path,
    constants: Path | None,
    constants_cache: Path | None,
    source: str | None,
    backend: str,
    settings: tuple[str, ...],
    overwrite: bool,
    resume: bool,
    table: Path | None,
    profile: bool,
    profile_plot: Path | None,
    block_mb: float,
    slots: int,
    report: bool,
    force: bool,
    tolerant: bool,
    as_json: bool,
) -> None:
    """Reduce the raw RUN (a folder of EuXFEL files) as a recipe says.

    Options override the recipe; the recipe as it was used is stored with the output.
    """
    from .pages import need_matplotlib
    from .recipe import Recipe

    if profile_plot is not None:
        need_matplotlib("--profile-plot")
        if not (folder := profile_plot.absolute().parent).is_dir():
            raise BadInput(f"{profile_plot}: there is no folder {folder}: make it first")
    recipe = Recipe.load(recipe_path)
    changes = dict(parse_setting(text) for text in settings)
    if source is not None:
        changes["detector.source"] = source
    if changes:
        recipe = recipe.override(changes)
    if constants_cache is not None:
        recipe = recipe.with_constants_cache(constants_cache)
    from . import engine

    with progress_bar() as progress:
        result = engine.reduce(
            run,
            recipe,
            out,
            constants=constants,
            backend=backend,
            overwrite=overwrite,
            resume=resume,
            force=force,
            tolerant=tolerant,
            table=table,
            progress=progress,
            block_bytes=max(1, round(block_mb * 1e6)),
            slots=slots,
        )
    if profile_plot is not None:
        from .plot_slots import plot_slots

        plot_slots(result.slot_spans, profile_plot)
    if report:
        from .cli_report import draw_after

        draw_after(out, recipe)
    if as_json:
        click.echo(json.dumps(_answer(result, out), indent=2, sort_keys=True))
        return
    click.echo(result.accounts.summary(), nl=False)
    for label, other in result.others.items():
        click.echo(f"\n{label}: {other.accounts.summary()}", nl=False)
    number = sum(len(one.files) for one in (result, *result.others.values()))
    files = f"{number} file{'s' if number > 1 else ''}" if number else "table only"
    click.echo(f"  {'output':<14}{out}, {files}")
    click.echo(f"  {'digest':<14}{result.digest}")
    if profile:
        click.echo(engine.profile_text(result.performance), nl=False)


def _answer(result: Result, out: Path) -> dict[str, Any]:
    performance = {**result.accounts.performance, **(result.performance or {})}
    files = [str(path) for path in result.files]
    answer = {"output": str(out), "files": files, "digest": result.digest, **result.accounts.to_dict()}
    if result.others:
        answer["others"] = {label: _answer(other, out) for label, other in result.others.items()}
    return {**answer, "performance": performance}
