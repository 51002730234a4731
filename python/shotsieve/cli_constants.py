"""The commands ``shotsieve constants``: show what they hold, convert any form, compare two of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli import json_option
from .errors import BadInput, OutputError, nearest

if TYPE_CHECKING:
    from .constants import Constants, ImportOptions

LAYOUTS = ("own", "facility")
_PATH = click.Path(path_type=Path)


def _import_options(command: Any) -> Any:
    """Add the options that some forms of constants need."""
    options = (
        click.option("--detector", help="Detector family, such as AGIPD1M; found by itself where possible."),
        click.option(
            "--store", type=_PATH, help="Folder with the files that the metadata of a correction names."
        ),
        click.option(
            "--module",
            "numbers",
            multiple=True,
            metavar="NAME=NUMBER",
            help="Module number of a PDU or of a file, where the form does not tell it; repeat it.",
        ),
        click.option(
            "--dims",
            multiple=True,
            metavar="CALIBRATION=AXIS,...",
            help="Names of the axes in a file that does not tell them, as "
            "Offset=fast_scan,slow_scan,cell,gain.",
        ),
        click.option(
            "--direction",
            "directions",
            multiple=True,
            metavar="CALIBRATION=multiply|divide",
            help="Of LPD: whether a map is a factor, as without a word, or a divisor; repeat it.",
        ),
        click.option(
            "--condition",
            "conditions",
            multiple=True,
            metavar="NAME=VALUE",
            help="Operating mode that they were taken in, as cells=352; repeat it.",
        ),
        click.option("--pedestals", type=_PATH, help="Pedestals that belong to gain maps of PSI."),
        click.option("--high-gain", is_flag=True, help="Gain maps of PSI: data in the mode of high gain 0."),
        click.option("--ff-gain", type=float, help="SlopesFF is divided by it; the metadata tells it."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _options(**given: Any) -> ImportOptions:
    from .constants import ImportOptions

    return ImportOptions(
        store=given["store"],
        modules={name: _whole(name, text) for name, text in _pairs("--module", given["numbers"])},
        dims={name: tuple(text.split(",")) for name, text in _pairs("--dims", given["dims"])},
        directions=dict(_pairs("--direction", given["directions"])),
        conditions={name: _value(text) for name, text in _pairs("--condition", given["conditions"])},
        pedestals=given["pedestals"],
        high_gain=given["high_gain"],
        ff_gain=given["ff_gain"],
    )


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [
        text.rpartition("=")[::2] if option == "--module" else text.partition("=")[::2] for text in texts
    ]
    for (name, value), text in zip(pairs, texts, strict=True):
        if not name or not value:
            raise BadInput(f"{option} {text}: expected NAME=VALUE")
    return pairs


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise BadInput(f"--module {name}={text}: expected a whole number")
    return int(text)


def _value(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@click.group(name="constants")
def constants_command() -> None:
    """Work on calibration constants: show, convert and compare them."""


@constants_command.command(name="convert")
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="IN...")
@click.option("-o", "--out", required=True, type=_PATH, help="File, or folder of the facility's layout.")
@click.option(
    "--layout", type=click.Choice(LAYOUTS), default="own", show_default=True, help="Form that is written."
)
@click.option("--recipe", type=_PATH, help="Write the parameters of a correction as a recipe, too.")
@click.option("--overwrite", is_flag=True, help="Replace what exists.")
@_import_options
def convert(
    inputs: tuple[Path, ...], out: Path, layout: str, recipe: Path | None, overwrite: bool,
    detector: str | None, **given: Any,
) -> None:  # fmt: skip
    """Turn constants IN of any form into one HDF5 file.

    IN is a folder in the facility's layout (with a modules.toml, or --detector and --module), the
    calibration_metadata_*.yml of a corrected run, calibration files of Cheetah, or gain maps of PSI.
    """
    from .constants import read_any

    for path in (out, *([] if recipe is None else [recipe])):
        _refuse_existing(path, overwrite)
    if recipe is not None:
        _check_metadata(inputs[0])
    found = read_any(list(inputs) if len(inputs) > 1 else inputs[0], detector, _options(**given))
    names, left_out = found.names, []
    if layout == "own":
        found.save(out)
    else:
        from .constants.to_facility import LEFT_OUT, save_facility

        save_facility(found, out)
        # The levels lie beside the thresholds.
        left_out = [n for n in names if n in LEFT_OUT and not (n == "levels" and "thresholds" in names)]
        names = [n for n in names if n not in left_out]
    modules = len(found.modules)
    click.echo(f"{out}: {', '.join(names)}; {modules} modules, {len(found.cell_ids)} cells")
    if left_out:
        click.echo(f"  left out, since the layout has no name for them: {', '.join(left_out)}", err=True)
    _warn(found)
    if recipe is not None:
        _write_recipe(inputs[0], detector, recipe, out)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and (not overwrite or path.is_dir()):
        hint = "" if path.is_dir() else ", or say --overwrite"
        raise BadInput(f"{path} exists; choose another name{hint}")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: the folder {path.parent} does not exist")


def _check_metadata(path: Path) -> None:
    from .constants.importers import form_of

    if form_of(path) != "metadata":
        raise BadInput(f"--recipe goes with the metadata of a correction; {path} tells no parameters")


def _write_recipe(metadata: Path, detector: str | None, recipe: Path, out: Path) -> None:
    """Write what a correction was made with as a recipe, and say what is not in it."""
    from .constants.importers import read_metadata
    from .pages import write_whole

    told = read_metadata(metadata, detector)
    write_whole(recipe, told.recipe_text(_relative(out, recipe.parent)), "the recipe")
    click.echo(f"{recipe}: {len(told.configuration)} parameters of pycalibration {told.version}")
    for one in told.translation().not_mapped:
        click.echo(f"  not mapped: {one.name} = {one.value}: {one.told}")


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a recipe in a folder names it."""
    try:
        return str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        return str(path.resolve())


def _warn(found: Constants) -> None:
    from .constants.examine import lacking, not_used

    for line in (*lacking(found), *(f"not used: {line}" for line in not_used(found))):
        click.echo(f"  {line}", err=True)


@constants_command.command(name="show")
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="IN...")
@click.option("--modules", help="Modules to look at, as 0,3; all by default.")
@click.option("--every-module", is_flag=True, help="A line for each module too.")
@click.option("--plot", type=_PATH, help="Folder for maps, histograms and trends over cells (PNG).")
@json_option
@_import_options
def show(
    inputs: tuple[Path, ...], modules: str | None, every_module: bool, plot: Path | None, as_json: bool,
    detector: str | None, **given: Any,
) -> None:  # fmt: skip
    """Say what constants IN of any form hold: detector, modules, cells, conditions, and statistics per gain.

    A line stands for all modules: the median of their medians with its range, the median of their MAD (median
    absolute deviation), and how many values are what no good constant is.
    """
    from .constants import read_any
    from .constants.told import as_dict, show_text

    found = read_any(list(inputs) if len(inputs) > 1 else inputs[0], detector, _options(**given))
    told = as_dict(found, _numbers(modules, found.modules))
    click.echo(json.dumps(told, indent=2) if as_json else show_text(told, every_module))
    if plot is not None:
        from .plot_constants import plot_constants

        _announce(plot_constants(found, _folder(plot), _numbers(modules, found.modules)))


@constants_command.command(name="compare")
@click.argument("a", type=_PATH)
@click.argument("b", type=_PATH)
@click.option("--detector", help="Detector family, where the forms do not tell it.")
@click.option("--modules", help="Modules to compare, as 0,3; those in common by default.")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="NAME=VALUE",
    help="Largest difference of a constant, as offset=0.5; of bad_pixels the largest share. Else none.",
)
@click.option("--plot", type=_PATH, help="Folder for maps, histograms and trends over cells (PNG).")
@json_option
def compare(
    a: Path, b: Path, detector: str | None, modules: str | None, tolerances: tuple[str, ...],
    plot: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Compare the constants A and B; the exit status is 1 if they differ by more than they may.

    Differences are B minus A, by constant, gain and module. What is in one of them alone is told, and does
    not count as a difference.
    """
    from .constants import differ, read_any
    from .constants.told import compare_text, comparison_dict

    limits = {name: _limit(name, text) for name, text in _pairs("--tolerance", tolerances)}
    one, two = read_any(a, detector), read_any(b, detector)
    found = differ.compare(one, two, _numbers(modules, one.modules) if modules else None)
    differing = found.differing(limits)
    told = comparison_dict(found, differing)
    click.echo(json.dumps(told, indent=2) if as_json else compare_text(found, differing))
    if plot is not None:
        from .plot_constants import plot_comparison

        _announce(plot_comparison(one, two, found, _folder(plot)))
    return 1 if differing else 0


@constants_command.command(name="cache")
@click.argument("folder", required=False, type=_PATH)
@click.option("--check", is_flag=True, help="Read everything, and compare it with its checksums.")
@click.option("--clear", is_flag=True, help="Remove all that is kept there.")
@json_option
def cache(folder: Path | None, check: bool, clear: bool, as_json: bool) -> int:
    """List the folded constants that are kept in FOLDER (by default: SHOTSIEVE_CONSTANTS_CACHE).

    The exit status is 1 if something is damaged; it is made again when it is needed.
    """
    from .folded_cache import ENVIRONMENT, cache_folder

    place = cache_folder(folder)
    if place is None:
        raise BadInput(f"no FOLDER was given, and the environment has no {ENVIRONMENT}: give one of them")
    if not place.path.is_dir():
        raise BadInput(f"{place.path}: there is no such folder; a reduction with --constants-cache makes it")
    entries = place.entries(check)
    if clear:
        place.clear()
    if as_json:
        click.echo(json.dumps([entry._asdict() for entry in entries], indent=2))
    else:
        for entry in entries:
            click.echo(f"{entry.name}  {entry.nbytes / 1e9:7.3f} GB  {_cached(entry)}")
        total = sum(entry.nbytes for entry in entries)
        click.echo(f"{'removed' if clear else 'in all'}: {len(entries)} entries, {total / 1e9:.3f} GB")
    return int(not clear and any(entry.fault for entry in entries))


def _cached(entry: Any) -> str:
    """Return what an entry is of, or what is wrong with it."""
    if entry.fault:
        return f"damaged: {entry.fault}"
    return ", ".join([entry.about["text"], *entry.about["constants"][:1]])


def _limit(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise BadInput(f"--tolerance {name}={text}: expected a number of at least 0")
    return value


def _numbers(text: str | None, there: tuple[int, ...]) -> tuple[int, ...]:
    if text is None:
        return there
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise BadInput(f"--modules {text}: expected whole numbers with commas between, as 0,3")
    numbers = tuple(dict.fromkeys(int(part) for part in parts))
    if absent := [number for number in numbers if number not in there]:
        hint = nearest(str(absent[0]), map(str, there))
        raise BadInput(
            f"--modules: there is no module {absent[0]}; there are {', '.join(map(str, there))}.{hint}"
        )
    return numbers


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {path} cannot be made: {error}") from error
    return path


def _announce(files: list[Path]) -> None:
    for path in files:
        click.echo(f"written: {path}", err=True)
