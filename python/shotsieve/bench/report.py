"""What `shotsieve bench` measured, for people: tables, a picture, and one report beside another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..errors import BadInput, OutputError
from ..pages import new_figure

HEAD = ("stage", "shots/s", "GB/s", "of the floor", "of the detector", "spread")
NO_PART = "-"


def tables(report: dict[str, Any]) -> Group:
    """Return a report as tables for rich."""
    parts: list[Any] = [
        Text(f"{report['machine']}; backend {report['backend']}, {report['threads']} threads"),
    ]
    for detector, rates in report["rates"].items():
        told = ", ".join(f"{how} {rate:.1f} GB/s" for how, rate in rates.items())
        table = Table("", *HEAD[1:], title=f"{detector}   ({told})", title_justify="left", title_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in report["rows"]:
            if row["detector"] == detector:
                table.add_row(*_cells(row))
        parts.append(table)
        for late in report["latency"]:
            if late["detector"] == detector:
                parts.append(
                    Text(
                        f"{late['stage']}: a train of {late['shots']} shots, {late['modules']} modules, from "
                        f"submit to its table {late['p50_ms']:.1f} ms (99 %: {late['p99_ms']:.1f} ms)"
                    )
                )
    return Group(*parts)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['stage']} ({row['version']})" if row.get("version") else row["stage"],
        f"{row['shots_per_s']:,.0f}",
        f"{row['gb_per_s']:.2f}",
        f"{row['floor_fraction']:.2f} ({row['floor']})",
        f"{row['of_detector']:.2f}",
        f"{100 * row['spread']:.0f} %",
    )


def plot(report: dict[str, Any], path: Path) -> None:
    """Write a picture: words per second of every stage beside the roofs of the machine.

    A roof is a rate of memory, over what has to move for each byte of raw words: across is how many raw bytes
    there are in a byte that a stage has to move at least. A stage below its roof does more than move bytes.

    Raises
    ------
    BadInput
        If matplotlib is not installed, or does not know the kind of file.
    """
    detectors = list(report["rates"])
    figure = new_figure(9, 4.5 * len(detectors), "--plot")
    axes = figure.subplots(len(detectors), 1, squeeze=False)[:, 0]
    for ax, detector in zip(axes, detectors, strict=True):
        rates = report["rates"][detector]
        rows = [row for row in report["rows"] if row["detector"] == detector and row["floor_fraction"] > 0]
        across = [row["gb_per_s"] / (row["floor_fraction"] * rates[row["floor"]]) for row in rows]
        ends = [0.8 * min(across, default=1.0), 1.2 * max(across, default=1.0)]
        for place, (how, rate) in enumerate(rates.items()):
            ax.plot(ends, [rate * end for end in ends], f"C{place}--", label=f"{how} {rate:.0f} GB/s")
        for number, (row, x) in enumerate(zip(rows, across, strict=True)):
            ax.plot(x, row["gb_per_s"], f"C{number % 10}o")
            ax.annotate(row["stage"], (x, row["gb_per_s"]), fontsize="small", xytext=(5, 0),
                        textcoords="offset points", va="center")  # fmt: skip
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="raw bytes for each byte that has to move",
            ylabel="raw words, GB/s",
            title=detector,
        )
        ax.legend(fontsize="small")
    try:
        figure.savefig(path)
    except ValueError as error:
        raise BadInput(f"--plot {path}: {error}") from error
    except OSError as error:
        raise OutputError(f"--plot {path} cannot be written: {error}") from error


def compare(before: dict[str, Any], after: dict[str, Any]) -> Table:
    """Return two reports side by side: rates, and the ratio of the second to the first."""
    table = Table("detector", "stage", "before", "after", "ratio", title="shots/s", title_style="bold")
    for column in table.columns[2:]:
        column.justify = "right"
    old = {(row["detector"], row["stage"]): row["shots_per_s"] for row in before["rows"]}
    new = {(row["detector"], row["stage"]): row["shots_per_s"] for row in after["rows"]}
    for key in dict.fromkeys([*old, *new]):
        rates = [f"{rows[key]:,.0f}" if key in rows else NO_PART for rows in (old, new)]
        ratio = f"{new[key] / old[key]:.2f}" if key in old and key in new else NO_PART
        table.add_row(*key, *rates, ratio)
    return table
