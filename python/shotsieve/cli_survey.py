"""The command ``shotsieve survey``: what the settings of a recipe cost, before anything is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .cli import backend_option, cache_option, json_option, parse_setting, progress_bar

_PATH = click.Path(exists=True, path_type=Path)
_SHOTS = 500  # as SHOTS of surveys.run, which is not imported for --help


@click.command(name="survey")
@click.argument("run", type=_PATH)
@click.option("--recipe", required=True, type=_PATH, help="TOML file; it has a rule.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="survey.html",
    show_default=True,
    help="HTML file to write; the table goes beside it, as .csv and .h5.",
)
@click.option("--constants", type=click.Path(path_type=Path), help="Constants: our HDF5 file or a folder.")
@cache_option
@click.option("--source", help="Detector of the run, e.g. SPB_DET_AGIPD1M-1, where there are several.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override the recipe.")
@click.option(
    "--shots",
    type=click.IntRange(0),
    default=_SHOTS,
    show_default=True,
    help="Shots to look at, drawn by a hash of train and pulse; 0: all.",
)
@click.option(
    "--scan",
    multiple=True,
    metavar="SECTION.KEY=VALUE,VALUE...",
    help="Values of a key instead of the usual ones around the recipe's, as 'measure.peaks.min_snr=4,5,6'; "
    "of keep.rule, numbers for the number in the rule. May be given several times.",
)
@click.option(
    "--truth",
    type=_PATH,
    help="Which shots are hits: truth.h5 of a simulated run, or a text with train and pulse ids.",
)
@click.option(
    "--misses",
    type=_PATH,
    help="A reduced run of RUN (or its table) that kept misses at random: the shots it kept are looked at, "
    "and its false negatives are estimated. By default RUN, if it is one.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of shots.")
@click.option("--force", is_flag=True, help="Go on though constants and run disagree on their conditions.")
@click.option("--tolerant", is_flag=True, help="Pass over what cannot be read, and name it.")
@backend_option
@json_option
def survey_command(
    run: Path, recipe: Path, out: Path, constants: Path | None, constants_cache: Path | None,
    source: str | None, settings: tuple[str, ...], shots: int, scan: tuple[str, ...], truth: Path | None,
    misses: Path | None, seed: int, force: bool, tolerant: bool, backend: str, as_json: bool,
) -> None:  # fmt: skip
    """Look at a sample of RUN with many settings at once, and write a page about what each of them costs.

    Thresholds, SNR, pixel counts, the number in the rule, codecs and rounding: hits, peaks and bytes kept
    against what is lost, each rate with its interval; frames, projections of hits and of misses; what a
    reduction will take. Every frame is read and calibrated once, and nothing is deleted.
    """
    from .recipe import Recipe
    from .surveys import survey
    from .surveys.store import rows_of

    told = Recipe.load(recipe)
    changes = dict(map(parse_setting, settings))
    told = told.override({**({} if source is None else {"detector.source": source}), **changes})
    if constants_cache is not None:
        told = told.with_constants_cache(constants_cache)
    with progress_bar() as progress:
        found = survey(
            run, told, out, constants, backend, shots=shots or None, scan=scan, truth=truth, misses=misses,
            seed=seed, force=force, tolerant=tolerant, progress=progress,
        )  # fmt: skip
    if as_json:
        rows = [{key: _plain(value) for key, value in row.items()} for row in rows_of(found)]
        told_of = {"page": str(found.path), "settings": rows, "notes": found.notes}
        told_of["prediction"] = {key: _plain(value) for key, value in vars(found.prediction).items()}
        told_of["suggestions"] = [vars(one) for one in found.suggestions]
        click.echo(json.dumps(told_of, indent=2))
        return
    click.echo(f"sample        {found.sample.told()}")
    click.echo(f"hits          {found.outcomes[0].rate}")
    if found.false_negatives is not None:
        click.echo(f"lost before   {found.false_negatives[0]}")
    for one in found.suggestions:
        click.echo(f"suggested     {one.key} = {one.value}: {one.reason}")
    click.echo(f"page          {found.path}")


def _plain(value: object) -> object:
    """Return a number that JSON has: none where there is none."""
    return None if isinstance(value, float) and value != value else value
