"""The command ``shotsieve``: talks to a person or, with ``--json``, to a program; the work is done elsewhere.

Exit status: 0 done, 1 an error that says what to do, 2 a wrong command line, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import threading
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._version import __version__
from .errors import ShotsieveError

if TYPE_CHECKING:
    from collections.abc import Callable

BACKENDS = ("auto", "cpu", "cuda", "emu")
_OPTIONAL = ("extra_data", "cupy", "pandas", "xarray")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to standard output."
)


backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes the GPU if there is one. `shotsieve info` says what there is.",
)

cache_option = click.option(
    "--constants-cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep folded constants in FOLDER, for all later runs with the same; goes before the recipe's and"
    " SHOTSIEVE_CONSTANTS_CACHE.",
)

_LATER = (
    "bench",
    "check",
    "compare",
    "constants",
    "dark",
    "decide",
    "ledger",
    "mask",
    "pulses",
    "reduce",
    "report",
    "survey",
    "table",
    "view",
)


class _Terminated(BaseException):
    """SIGTERM came: not an Exception, so that nothing but the clean-up on the way out takes notice of it."""


class _Commands(click.Group):
    """Imports what a command needs when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LATER])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _LATER:
            return super().get_command(ctx, name)
        return getattr(importlib.import_module(f".cli_{name}", __package__), f"{name}_command")


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="shotsieve")
def cli() -> None:
    """Reduce European XFEL detector runs: one read, every measure, only what matters kept."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit status.

    Examples
    --------
    >>> main(["info", "--nonsense"])
    2
    """
    try:
        with _stopped_by_sigterm():
            status = cli.main(arguments, prog_name="shotsieve", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        return _end("interrupted", error, 130)
    except _Terminated as error:
        return _end("terminated", error, 143)
    except ShotsieveError as error:
        return _end(f"error: {error}", error, 1)
    except (RuntimeError, MemoryError) as error:
        if not _is_device_fault(error):
            raise
        return _end(f"error: the device failed: {' '.join(str(error).split())}", error, 1)


def _end(text: str, error: BaseException, status: int) -> int:
    """Say how the program ends, with what was noted on the way, and return its exit status."""
    for line in (text, *getattr(error, "__notes__", ())):
        click.echo(line, err=True)
    return status


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, with which a batch system ends a job, clean up like Ctrl-C instead of ending at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(number: int, frame: Any) -> None:
        # A second one must not interrupt the clean-up; whoever cannot wait sends SIGKILL.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        # None: the handler before was not set from Python and cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _is_device_fault(error: BaseException) -> bool:
    """Whether an error is the device's; any other of these kinds is a bug and shows its traceback."""
    if type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends"):
        return True
    # Native backends report a refused kernel as a plain RuntimeError with these words.
    return type(error) is RuntimeError and "launch refused" in str(error)


# ----------------------------------------------------------------------------- info


@cli.command()
@json_option
def info(as_json: bool) -> None:
    """Say which backends and devices there are, and why each other one is not."""
    from . import backend, detectors

    found = {
        "versions": _versions(),
        "backends": {
            status.name: {"available": status.available, "detail": status.detail}
            for status in backend.describe()
        },
        "detectors": list(detectors.names()),
    }
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    click.echo("versions")
    for name, version in found["versions"].items():
        click.echo(f"  {name:<12}{version or 'not installed'}")
    click.echo("backends")
    for name, status in found["backends"].items():
        click.echo(f"  {name:<12}{'yes' if status['available'] else 'no ':<5}{status['detail']}")
    click.echo("detectors")
    click.echo(f"  {', '.join(found['detectors'])}")


def _versions() -> dict[str, str | None]:
    """Versions of what is installed, asked without importing anything."""
    import platform
    from importlib import metadata

    import h5py
    import numpy as np

    # CuPy comes under one name per CUDA version.
    names = {"extra_data": ["EXtra-data"], "cupy": ["cupy-cuda13x", "cupy-cuda12x", "cupy"]}
    out: dict[str, str | None] = {
        "shotsieve": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": f"{h5py.__version__} (HDF5 {h5py.version.hdf5_version})",
    }
    for module in _OPTIONAL:
        out[module] = None
        for name in names.get(module, [module]):
            try:
                out[module] = metadata.version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return out


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``section.key=value``; the value is TOML where it can be read as such, else a text."""
    key, sign, value = (part.strip() for part in text.partition("="))
    if not sign or "." not in key:
        raise click.BadParameter(
            f"{text!r}: expected SECTION.KEY=VALUE, such as keep.undecided=drop", param_hint="--set"
        )
    try:
        read = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value
    return key, read["value"] if len(read) == 1 else value


@contextmanager
def progress_bar() -> Iterator[Callable[..., None] | None]:
    """Give a function (done, total, bytes=0, doing="shots") that draws a bar, or None where nobody looks.

    The bar is on standard error, with rate and time left; what is not a terminal gets none.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.description} {task.completed:,.0f} of {task.total:,.0f} {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1, rate="", visible=False)

        def update(done: int, total: int, size: int = 0, doing: str = "shots") -> None:
            if bar.tasks[task].description != doing:
                bar.reset(task, description=doing)
            elapsed = bar.tasks[task].elapsed
            rate = f"{done / elapsed:,.0f}/s" if elapsed and done else ""
            rate += f", {size / elapsed / 1e9:.2f} GB/s" if rate and size else ""
            bar.update(task, completed=done, total=max(total, 1), rate=rate, visible=True)

        yield update


# ------------------------------------------------------------------------- simulate


class _Simulations(click.Group):
    """Makes its commands only when one is asked for: they import what the others do not need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["dark", "receiver", "saxs", "sfx", "spi", "xpcs"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        from . import cli_simulate

        return getattr(cli_simulate, f"{name}_command")(progress_bar)


@cli.group(cls=_Simulations)
def simulate() -> None:
    """Make raw runs with known truth."""
