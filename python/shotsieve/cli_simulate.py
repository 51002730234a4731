"""Command lines made from the parameters of a simulation: one option per field, so none is written twice."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import click


class Listed(click.ParamType):
    """``0,2,5-8`` for a tuple of numbers, ``3:0,5:1`` for a tuple of tuples.

    Parameters
    ----------
    item : type
        int, float, or a tuple type for each entry.
    """

    def __init__(self, item: Any) -> None:
        self.parts = get_args(item) or (item,)
        self.nested = get_origin(item) is tuple
        form = ":".join(part.__name__.upper() for part in self.parts)
        self.name = f"{form},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        out: list[Any] = []
        for text in filter(None, (part.strip() for part in value.split(","))):
            span = re.fullmatch(r"(\d+)-(\d+)", text)
            if span and self.parts == (int,):
                out.extend(range(int(span[1]), int(span[2]) + 1))
                continue
            pieces = text.split(":")
            try:
                entry = tuple(kind(piece) for kind, piece in zip(self.parts, pieces, strict=True))
            except ValueError:
                self.fail(f"{text!r} is not {':'.join(kind.__name__ for kind in self.parts)}", param, ctx)
            out.append(entry if self.nested else entry[0])
        return tuple(out)


def options_of(parameters: type) -> list[click.Option]:
    """Return one option per field of a dataclass, with the help text of its docstring.

    Parameters
    ----------
    parameters : type
        A dataclass whose fields are numbers, texts, switches, or tuples of them, described in a NumPy-style
        section Attributes.

    Returns
    -------
    list of click.Option
        A switch ``xgm`` becomes ``--xgm / --no-xgm``; names have dashes, in the help texts too.
    """
    helps = {}
    for kind in reversed(parameters.__mro__):  # what a class adds or says anew is in its own docstring
        helps |= _described(kind.__doc__ or "")
    hints = get_type_hints(parameters)
    options = []
    for field in dataclasses.fields(parameters):
        kind = hints[field.name]
        if get_origin(kind) in (Union, types.UnionType):
            kind = next(part for part in get_args(kind) if part is not type(None))
        flag = _flag(field.name)
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        shown: dict[str, Any] = {"help": helps.get(field.name), "default": default}
        if kind is bool:
            options.append(click.Option([f"{flag}/--no-{flag[2:]}", field.name], **shown, show_default=True))
            continue
        if get_origin(kind) is tuple:
            shown["type"] = Listed(get_args(kind)[0])
        else:
            shown["type"] = kind
        # A long or empty default says nothing on a help page.
        plain = isinstance(default, int | float | str)
        options.append(click.Option([flag, field.name], **shown, show_default=plain))
    return options


def _described(text: str) -> dict[str, str]:
    """Read ``name, other : type`` and the indented lines below it from a docstring.

    A text that fields share begins with the options it is about.
    """
    entries: list[tuple[list[str], list[str]]] = []
    inside = False
    # The compiler of Python 3.13 strips the common indentation, that of earlier versions keeps it.
    for line in inspect.cleandoc(text).splitlines():
        stripped = line.strip()
        if stripped == "Attributes":
            inside = True
        elif inside and stripped in ("Raises", "Examples", "Notes", "Returns"):
            break
        elif inside and (head := re.fullmatch(r"(\w+(?:, \w+)*) : .*", line)):
            entries.append((head[1].split(", "), []))
        elif inside and entries and stripped:
            entries[-1][1].append(stripped)
    # Without an underscore a name may be an ordinary word ("run"), unless it is marked as code.
    every = {name for names, _ in entries for name in names}
    out: dict[str, str] = {}
    for names, lines in entries:
        words = re.sub(
            r"`(\w+)`|\b(\w+_\w+)\b",
            lambda found: _flag(found[1] or found[2]) if (found[1] or found[2]) in every else found[0],
            " ".join(lines),
        )
        about = f"{', '.join(map(_flag, names))}: " if len(names) > 1 else ""
        out |= dict.fromkeys(names, about + words)
    return out


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spi() -> tuple[type, Callable[..., Any], str]:
    from .simulate import SpiParameters, simulate_spi

    return SpiParameters, simulate_spi, "Single-particle imaging at AGIPD, LPD or DSSC"


def _sfx() -> tuple[type, Callable[..., Any], str]:
    from .simulate import SfxParameters, simulate_sfx

    return SfxParameters, simulate_sfx, "Serial crystallography at AGIPD or LPD"


def _saxs() -> tuple[type, Callable[..., Any], str]:
    from .simulate import SaxsParameters, simulate_saxs

    return SaxsParameters, simulate_saxs, "Solution scattering and powder rings at AGIPD, LPD or DSSC"


def _xpcs() -> tuple[type, Callable[..., Any], str]:
    from .simulate import XpcsParameters, simulate_xpcs

    return XpcsParameters, simulate_xpcs, "Speckles that relax, for photon correlation, at AGIPD, LPD or DSSC"


SCENES = {"saxs": _saxs, "sfx": _sfx, "spi": _spi, "xpcs": _xpcs}
"""What the beam hits: name of the command -> its parameters, its function and what it is."""


def scene_command(name: str, progress_bar: Callable[[], Any]) -> click.Command:
    """Return one command of ``shotsieve simulate``.

    Parameters
    ----------
    name : str
        A key of `SCENES`.
    progress_bar : callable
        Context manager that gives a function (done, total, bytes, doing), or None where nobody looks.
    """
    kind, function, what = SCENES[name]()

    def tell(p: Any, made: Any) -> None:
        click.echo(f"raw run    {made.raw}: {p.n_trains} trains, {len(made.files)} files")
        click.echo(f"constants  {made.constants}\ngeometry   {made.geometry or 'none'}")
        click.echo(f"truth      {made.truth_file}")

    return _command(
        name,
        f"{what}: raw run, constants, geometry, truth in OUT.",
        kind,
        function,
        tell,
        progress_bar,
        overwrite="Replace what an earlier simulation of this run number left in OUT; refused where"
        " OUT/truth.h5 is missing or one of the folders holds anything that the simulation did not make.",
    )


def dark_command(progress_bar: Callable[[], Any]) -> click.Command:
    """Return ``shotsieve simulate dark``.

    Parameters
    ----------
    progress_bar : callable
        As for `scene_command`.
    """
    from .simulate.dark_parameters import DarkParameters

    def make(*given: Any, progress: Any, **how: Any) -> Any:
        from .simulate.darks import simulate_darks

        told = None if progress is None else lambda done, total: progress("trains", done, total)
        return simulate_darks(*given, progress=told, **how)

    def tell(p: Any, made: Any) -> None:
        for name, run in zip(p.stage_names, made.runs, strict=True):
            click.echo(f"{name:<8}{run}: {p.n_trains} trains")
        click.echo(f"truth   {made.truth_file}")

    return _command(
        "dark",
        "Simulate dark runs with known offset, noise and bad pixels: a raw run for each gain stage, and the"
        " truth, in OUT.",
        DarkParameters,
        make,
        tell,
        progress_bar,
        overwrite="Replace what an earlier simulation left in OUT; refused where OUT/darks.h5 is missing.",
    )


def receiver_command(progress_bar: Callable[[], Any]) -> click.Command:
    """Return ``shotsieve simulate receiver``.

    Parameters
    ----------
    progress_bar : callable
        As for `scene_command`.
    """
    from .simulate.receiver_parameters import ReceiverParameters

    def make(*given: Any, **how: Any) -> Any:
        from .simulate.receiver import simulate_receiver

        return simulate_receiver(*given, **how)

    def tell(p: Any, made: Any) -> None:
        click.echo(f"raw run    {made.raw}: {p.n_trains} trains, {len(made.files)} files")
        click.echo(f"constants  {made.constants}\ntruth      {made.truth}")

    return _command(
        "receiver",
        "Simulate a run of JUNGFRAU, ePix100 or Gotthard-II: raw run, constants, truth in OUT.",
        ReceiverParameters,
        make,
        tell,
        progress_bar,
    )


def _command(
    name: str,
    what: str,
    kind: type,
    make: Callable[..., Any],
    tell: Callable[[Any, Any], None],
    progress_bar: Callable[[], Any],
    overwrite: str = "",
) -> click.Command:
    """Return a command that makes parameters of its options, simulates, and tells what there is then.

    `make` takes folder, parameters, ``progress(doing, done, total)``, and ``overwrite`` where that is
    described; `tell` gets the parameters and what was made.
    """

    def simulate(out: Path, **values: Any) -> None:
        how = {"overwrite": values.pop("overwrite")} if overwrite else {}
        parameters = kind(**values)
        with progress_bar() as update:
            progress = None if update is None else lambda doing, done, total: update(done, total, 0, doing)
            made = make(out, parameters, progress=progress, **how)
        tell(parameters, made)

    switch = [click.Option(["--overwrite"], is_flag=True, help=overwrite)] if overwrite else []
    return click.Command(
        name,
        callback=simulate,
        params=[click.Argument(["out"], type=click.Path(path_type=Path)), *switch, *options_of(kind)],
        help=f"{what}\n\nTrains are counted from 0. Lists are written 0,2,5-8; entries of several numbers"
        " 3:0,5:1.",
    )


spi_command, sfx_command, saxs_command, xpcs_command = (
    partial(scene_command, name) for name in ("spi", "sfx", "saxs", "xpcs")
)
