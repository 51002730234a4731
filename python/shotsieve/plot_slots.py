"""A picture of what was done with the blocks in the slots of a reduction, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .pages import new_figure, save_figure

COLOURS = {
    "read": "tab:blue",
    "inflate": "tab:cyan",
    "copy in": "tab:purple",
    "compute": "tab:green",
    "copy out": "tab:olive",
    "write": "tab:orange",
}
"""Of what a slot's time is spent on; where nothing is drawn it waits, or is empty."""


def plot_slots(spans: Sequence[Sequence[tuple[str, float, float]]], path: Path) -> None:
    """Write a PNG: a row per slot, a bar for all that was done with the block in it.

    Parameters
    ----------
    spans : sequence of sequence of (str, float, float)
        Of each slot: kind, begin and end in s; `shotsieve.engine.Result.slot_spans`.
    path : Path

    Raises
    ------
    BadInput
        If matplotlib is not installed.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> plot_slots(result.slot_spans, Path("slots.png"))    # doctest: +SKIP
    """
    figure = new_figure(10, 1.4 + 0.5 * len(spans), "--profile-plot")
    axes = figure.subplots()
    first = min((begin for of_slot in spans for _, begin, _ in of_slot), default=0.0)
    for kind, colour in COLOURS.items():
        for number, of_slot in enumerate(spans):
            bars = [(begin - first, end - begin) for name, begin, end in of_slot if name == kind]
            axes.broken_barh(bars, (number - 0.4, 0.8), color=colour, label=kind if number == 0 else None)
    axes.set(xlabel="s", ylabel="slot", yticks=range(len(spans)))
    axes.invert_yaxis()
    axes.legend(ncols=len(COLOURS), fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_figure(figure, path)
