"""The command ``shotsieve ledger``: what a reduced run consists of and was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .cli import json_option

if TYPE_CHECKING:
    from .write.ledger import Ledger


@click.command(name="ledger")
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def ledger_command(out: Path, as_json: bool) -> None:
    """Print the ledger of the reduced run OUT.

    Its last line is the digest: keep it elsewhere, and `shotsieve check OUT --digest D` proves that nothing
    was changed since. Nothing is read but the ledger; `shotsieve check` compares it with the files.
    """
    from .write.ledger import Ledger

    ledger = Ledger.load(out)
    click.echo(ledger.dumps() if as_json else ledger_text(out, ledger), nl=False)


def ledger_text(out: Path, ledger: Ledger) -> str:
    """Return the ledger as lines for a terminal."""
    size = sum(told["bytes"] for told in ledger.files.values())
    lines = [f"{out}: made by {ledger.made_by}", ""]
    lines += [f"  {name:<14}{number:>12,}" for name, number in ledger.accounts.items()]
    lines += ["", f"  {'input':<14}{len(ledger.inputs)} files"]
    lines += [f"    {name}" for name in ledger.inputs]
    lines += ["", f"  {'output':<14}{len(ledger.files)} files, {size:,} bytes"]
    lines += [f"    {told['sha256']}  {told['bytes']:>14,}  {name}" for name, told in ledger.files.items()]
    return "\n".join([*lines, "", f"  {'digest':<14}{ledger.digest}"]) + "\n"
