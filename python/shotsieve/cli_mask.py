"""The command ``shotsieve mask``: pixels of a run that never change, as a mask for its calibration."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="mask")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="HDF5 file to write.")
@click.option("--detector", help="Family of the detector, where it is not found by itself.")
@click.option("--source", help="Name of the detector, where the run has several.")
@click.option(
    "--min-trains", default=10, show_default=True, type=click.IntRange(2),
    help="Frames that a memory cell must have; the others stay unmarked.",
)  # fmt: skip
def mask_command(run: Path, output: Path, detector: str | None, source: str | None, min_trains: int) -> None:
    """Find the pixels of the raw RUN that have zero standard deviation over its trains, for each memory cell.

    They get the bit DATA_STD_IS_ZERO. Use the whole run, before it is reduced, and name the file in a recipe
    as [calibrate] mask_zero_std: every reduction of the run then has the same mask.
    """
    from .constants.mask_file import save_mask
    from .errors import BadInput
    from .sources.run import open_run
    from .zero_std import find_zero_std

    if output.exists():
        raise BadInput(f"{output} exists already: give another name, or remove it")
    if not output.parent.is_dir():
        raise BadInput(f"{output.parent} is no folder: make it first, or give another name")
    opened = open_run(run, detector=detector, source=source)
    mask, notes = find_zero_std(opened, min_trains)
    save_mask(output, mask, opened.detector.shape, source=opened.name, min_trains=min_trains)
    marked = int((mask.bits != 0).sum())
    click.echo(f"{output}: {marked} pixels of a cell marked, {100 * mask.share():.3g} %")
    for note in notes:
        click.echo(f"note: {note}")
