"""The command ``shotsieve compare``: our calibration of a raw run beside corrected files of the facility."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .cli import backend_option, json_option, parse_setting, progress_bar
from .errors import BadInput, OutputError

_PATH = click.Path(exists=True, path_type=Path)
_SAMPLE = 20
_LONGEST = 100_000  # trains that a list may name: nearly three hours


@click.command(name="compare")
@click.argument("raw", type=_PATH)
@click.argument("corrected", type=_PATH)
@click.option("--constants", type=click.Path(path_type=Path), help="Constants: our HDF5 file or a folder.")
@click.option(
    "--recipe",
    "-r",
    type=_PATH,
    help="How to calibrate: only its detector and [calibrate] count. `shotsieve constants convert METADATA "
    "--recipe FILE` makes the one of a correction.",
)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Override the recipe.")
@click.option("--source", help="Name of the detector, where the run holds several.")
@click.option("--trains", help="Trains to look at, as 10000-10009,10020.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=_SAMPLE,
    show_default=True,
    help="Number of trains, evenly spread over the run; 0: all.",
)
@click.option("--modules", help="Modules to compare, as 0,3; those that both have by default.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Make it a check: values differ beyond this, in our unit (and 1e-5 of the value). Exit status is "
    "1 if more of them than --share differ, or of gains, or of bad pixels.",
)
@click.option(
    "--share", type=click.FloatRange(0, 1), help="Share that may differ; with --tolerance.  [default: 0]"
)
@click.option(
    "--dropped-last",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="So many last frames of every train the correction left out, which are then not missing: its "
    "parameter drop-last-frames-parallelgain of LPD.",
)
@click.option("--plot", type=click.Path(file_okay=False, path_type=Path), help="Folder for pictures (PNG).")
@click.option("--force", is_flag=True, help="Go on though constants and run disagree on their conditions.")
@backend_option
@json_option
def compare_command(
    raw: Path, corrected: Path, constants: Path | None, recipe: Path | None, changes: tuple[str, ...],
    source: str | None, trains: str | None, sample: int, modules: str | None, tolerance: float | None,
    share: float | None, dropped_last: int, plot: Path | None, force: bool, backend: str, as_json: bool,
) -> int:  # fmt: skip
    """Calibrate the raw run RAW and compare with the corrected run CORRECTED, frame by frame.

    Values are compared by gain stage, of pixels that are good in both; stages and every bit of the masks are
    counted. What differs is named: an offset, a scale, single pixels, gains, bits.
    """
    from .compare import compare_runs
    from .compare.told import as_dict, text_of
    from .recipe import Recipe

    if share is not None and tolerance is None:
        raise BadInput("--share goes with --tolerance")
    if plot is not None:
        try:
            plot.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {plot} cannot be made: {error}") from error
    told = Recipe.from_dict({"calibrate": {}}) if recipe is None else Recipe.load(recipe)
    settings = {} if source is None else {"detector.source": source}
    told = told.override({**settings, **dict(map(parse_setting, changes))})
    with progress_bar() as progress:
        found = compare_runs(
            raw, corrected, constants, told, trains=whole_numbers("--trains", trains), sample=sample,
            modules=whole_numbers("--modules", modules), tolerance=tolerance,
            dropped_last=dropped_last, backend=backend, force=force, progress=progress,
        )  # fmt: skip
    click.echo(json.dumps(as_dict(found), indent=2) if as_json else text_of(found))
    if plot is not None:
        from .plot_compare import plot_runs

        for path in plot_runs(found, plot):
            click.echo(f"written: {path}", err=True)
    return 0 if tolerance is None or found.within(share or 0.0) else 1


def whole_numbers(option: str, text: str | None) -> list[int] | None:
    """Return whole numbers and ranges of them with both ends: 3-5,9."""
    if text is None:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise BadInput(f"{option} {text}: expected whole numbers and ranges, as 3-5,9")
        if dash and int(last) - int(first) > _LONGEST:
            raise BadInput(f"{option} {part}: more than {_LONGEST:,} numbers")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
