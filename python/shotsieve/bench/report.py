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
        row["stage"],
        f"{row['shots_per_s']:,.0f}",
        f"{row['gb_per_s']:.2f}",
        f"{row['floor_fraction']:.2f} ({row['floor']})",
        f"{row['of_detector']:.2f}",
        f"{100 * row['spread']:.0f} %",
    )


def plot(report: dict[str, Any], path: Path) -> None:
    """Write a picture: words per second of every stage, with the rates of the machine as lines.

    Raises
    ------
    BadInput
        If matplotlib is not installed, or does not know the kind of file.
    """
    detectors = list(report["rates"])
    figure = new_figure(9, 1 + 0.35 * len(report["rows"]), "--plot")
    axes = figure.subplots(len(detectors), 1, squeeze=False)[:, 0]
    for ax, detector in zip(axes, detectors, strict=True):
        rows = [row for row in report["rows"] if row["detector"] == detector]
        ax.barh([row["stage"] for row in rows], [row["gb_per_s"] for row in rows], color="tab:blue")
        for place, (how, rate) in enumerate(report["rates"][detector].items()):
            ax.axvline(rate, color=f"C{place + 1}", linestyle="--", label=f"{how} {rate:.0f} GB/s")
        ax.set(xscale="log", xlabel="raw words, GB/s", title=detector)
        ax.invert_yaxis()
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
