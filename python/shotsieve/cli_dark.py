"""The command ``shotsieve dark``: constants from dark runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from .cli import backend_option, json_option, progress_bar
from .cli_compare import whole_numbers
from .errors import BadInput

RULES = ("default", "facility-agipd", "psana", "agipd-toolbox", "jungfraujoch")


@click.command(name="dark")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="File of constants to make."
)
@click.option("--detector", help="Family of the detector, or the TOML file of one; found by itself.")
@click.option("--source", help="Detector of the runs, e.g. SPB_DET_AGIPD1M-1, where there are several.")
@click.option(
    "--modules", help="Modules to make constants of, as 0-3,9; all that recorded something by default."
)
@click.option(
    "--stages",
    help="Gain stages of the runs, such as high,medium,low, and not against what a run says; by default what"
    " the runs say, else that order.",
)
@click.option(
    "--fixed",
    is_flag=True,
    help="The runs are of fixed gain modes; fewer than the detector has stages will do.",
)
@click.option(
    "--rules",
    type=click.Choice(RULES),
    default="default",
    show_default=True,
    help="Rules for bad pixels; see docs/darks.md.",
)
@click.option(
    "--per-asic", is_flag=True, help="Compare pixels with those of their ASIC instead of those of the module."
)
@click.option(
    "--offset-sigma",
    help="A pixel is bad whose offset is further from the others' than so many times their scatter: 4, or 5,3"
    " for below and above, or none; by default as the rules have it.",
)
@click.option("--noise-sigma", help="The same for the noise.")
@click.option(
    "--gate",
    "gated",
    is_flag=True,
    help="Leave out outliers: a gate for each pixel and cell, from its first frames.",
)
@click.option(
    "--gate-frames", type=int, default=50, show_default=True, help="Frames that the gate is made of."
)
@click.option(
    "--gate-widen",
    type=float,
    default=1.0,
    show_default=True,
    help="How far the gate reaches beyond the quantiles 5 % and 95 %, in units of their distance;"
    " 0 as psana.",
)
@click.option(
    "--min-frames",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Frames that every memory cell of a run must have.",
)
@click.option(
    "--gain-from",
    type=click.Path(exists=True, path_type=Path),
    help="Constants whose gains are taken over, so that the result calibrates completely.",
)
@click.option(
    "--no-wrap256", is_flag=True, help="A stored 0 is 0, and not 256; for detectors with that step only."
)
@click.option(
    "--parallel-gain/--no-parallel-gain",
    default=None,
    help="Trains hold frames of all gain stages, one after the other (LPD); by default as the run says.",
)
@click.option(
    "--common-mode/--no-common-mode",
    default=None,
    help="Subtract what the pixels of a bank share in a frame before the noise is summed (ePix100); by"
    " default of detectors that have banks.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    help="GB that may be taken, for sums, blocks and constants; by default half of the machine's memory.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="HTML page to make; by default OUTPUT with the ending .html.",
)
@click.option("--no-report", is_flag=True, help="Make no page; it needs matplotlib.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT, and the report, if they exist.")
@backend_option
@json_option
def dark_command(
    runs: tuple[Path, ...], out: Path, detector: str | None, source: str | None, modules: str | None,
    stages: str | None, fixed: bool, rules: str, per_asic: bool, offset_sigma: str | None,
    noise_sigma: str | None, gated: bool, gate_frames: int, gate_widen: float, min_frames: int,
    gain_from: Path | None, no_wrap256: bool, parallel_gain: bool | None, common_mode: bool | None,
    memory: float | None,
    report: Path | None, no_report: bool, overwrite: bool, backend: str, as_json: bool,
) -> None:  # fmt: skip
    """Make constants of dark RUNS: offset, noise, gain thresholds, bad pixels, and a report.

    One run for each gain stage of the detector, in the order high, medium, low where the runs do not say it
    themselves; what they are taken for is checked in their data.
    """
    from .darks.build import DarkOptions, make_dark_constants
    from .darks.collect import Gate
    from .darks.report import write_report
    from .darks.rules import preset
    from .pages import need_matplotlib

    if no_report and report is not None:
        raise click.UsageError("--report and --no-report exclude each other")
    page = None if no_report else report or out.with_suffix(".html")
    if page is not None:
        need_matplotlib("report", ", or leave the report out with --no-report")
        if page.resolve() == out.resolve():
            raise BadInput(f"{page} would be the constants and the report: name the report with --report")
        if report is not None and (page.is_dir() or not page.parent.is_dir()):
            raise BadInput(f"--report {page}: expected the name of a file in a folder that exists")
        if page.exists() and not overwrite:
            raise BadInput(f"{page} exists; choose another name with --report, or say --overwrite")
    changes: dict[str, object] = {"scope": "asic"} if per_asic else {}
    for name, text in (("offset_sigma", offset_sigma), ("noise_sigma", noise_sigma)):
        if text is not None:
            changes[name] = _sigma(f"--{name.replace('_', '-')}", text)
    options = DarkOptions(
        rules=preset(rules).changed(**changes),
        stages=None if stages is None else [name.strip() for name in stages.split(",")],
        fixed=fixed,
        gate=Gate(frames=gate_frames, widen=gate_widen) if gated else None,
        min_frames=min_frames,
        wrap256=not no_wrap256,
        parallel_gain=parallel_gain,
        gain_from=gain_from,
        common_mode=common_mode,
        memory=memory,
        modules=whole_numbers("--modules", modules),
    )
    with progress_bar() as progress:
        told = None if as_json else lambda text: click.echo(text, err=True)
        step = None if progress is None else lambda done, total, size: progress(done, total, size, "frames")
        made = make_dark_constants(
            runs,
            out,
            options,
            detector=detector,
            source=source,
            backend=backend,
            overwrite=overwrite,
            progress=step,
            told=told,
        )
        if page is not None:
            draw = None if progress is None else lambda done, total: progress(done, total, 0, "pages")
            write_report(out, page, draw)
    if as_json:
        answer = {
            "output": str(out),
            "report": None if page is None else str(page),
            "modules": made.modules,
            "cells": made.cell_ids.tolist(),
            **made.provenance,
        }
        click.echo(json.dumps(answer, indent=2, sort_keys=True))
        return
    click.echo(made.summary(), nl=False)
    if page is not None:
        click.echo(f"  report: {page}")


def _sigma(option: str, text: str) -> tuple[float, ...]:
    """Return how far below and above, of an option: one number for both, two, or none."""
    if text.strip() == "none":
        return ()
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 2) or not all(math.isfinite(k) and k > 0 for k in found):
        raise BadInput(
            f"{option} {text}: expected a number above 0, as 4, two of them, below and above, as 5,3, or none"
        )
    return found[0], found[-1]
