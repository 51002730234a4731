"""Records of measurements: JSON lists in ``history/``, one file per day, benchmark and kind of backend.

Run as a script, it prints the history as a table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import machine
from shotsieve.bench.rounded import rounded

HISTORY = Path(__file__).resolve().parent / "history"

NUMBER, TEXT, WHOLE = (int, float), (str,), (int,)
# name: (types, may be null). Every record has all of them and nothing else.
FIELDS: dict[str, tuple[tuple[type, ...], bool]] = {
    "name": (TEXT, False),
    "date": (TEXT, False),
    "backend": (TEXT, False),  # cpu_v2, cpu_v3, cpu_v4 or cpu; cuda; emu
    "detector": (TEXT, False),
    "shots_per_s": (NUMBER, False),
    "gb_per_s": (NUMBER, False),  # 1e9 bytes of raw words
    "read_fraction": (NUMBER, True),  # of the rate at which the raw words can merely be read
    "floor_fraction": (NUMBER, True),  # least bytes over memory bandwidth, over the time it took
    "peer": (TEXT, True),
    "ratio_to_peer": (NUMBER, True),  # how many times faster than the peer
    "threads": (WHOLE, False),
    "machine": (TEXT, False),
    "versions": ((dict,), False),
    "commit": (TEXT, False),
    "notes": (TEXT, False),
    "details": ((dict,), False),  # what only this benchmark has
}


def make(name: str, **fields: Any) -> dict[str, Any]:
    """Make a record and check it.

    Parameters
    ----------
    name : str
        Name of the benchmark.
    **fields
        The other entries of `FIELDS`. Date, machine, versions, commit, notes and details have defaults;
        numbers are rounded to four digits.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the record is not complete; the text lists every fault.

    Examples
    --------
    >>> record = make(
    ...     "nothing", backend="cpu_v3", detector="AGIPD1M", shots_per_s=1, gb_per_s=1, read_fraction=None,
    ...     floor_fraction=None, peer=None, ratio_to_peer=None, threads=1,
    ... )
    >>> record["name"]
    'nothing'
    """
    record: dict[str, Any] = {
        "name": name,
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "notes": "",
        "details": {},
        **fields,
    }
    record = {key: rounded(record[key]) for key in [*FIELDS, *record] if key in record}
    check(record)
    return record


def alone(name: str, **fields: Any) -> dict[str, Any]:
    """Make a record of something measured on the CPU beside nothing else; no rates where none are given.

    Parameters
    ----------
    name : str
        Name of the benchmark.
    **fields
        As for `make`; needed is `detector` alone.

    Returns
    -------
    dict

    Examples
    --------
    >>> alone("nothing", detector="AGIPD1M")["shots_per_s"]
    0.0
    """
    plain: dict[str, Any] = dict.fromkeys(("read_fraction", "floor_fraction", "peer", "ratio_to_peer"))
    plain |= {"backend": "cpu", "shots_per_s": 0.0, "gb_per_s": 0.0, "threads": 1}
    return make(name, **plain | fields)


def check(record: Any) -> None:
    """Raise ValueError unless a record has every field, with the right type and a possible value."""
    if not isinstance(record, dict):
        raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
    faults = [f"{name} is missing" for name in FIELDS if name not in record]
    faults += [f"there is no field {name!r}" for name in record if name not in FIELDS]
    for name, (types, nullable) in FIELDS.items():
        value = record.get(name)
        if name not in record or (value is None and nullable):
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            faults.append(f"{name} is {value!r}: expected {' or '.join(t.__name__ for t in types)}")
        elif types in (NUMBER, WHOLE) and not (math.isfinite(value) and value >= 0):
            faults.append(f"{name} is {value!r}: expected a finite number, 0 or more")
    if not faults:
        faults += _check_values(record)
    if faults:
        raise ValueError(f"record {record.get('name', '?')!r}: " + "; ".join(faults))


def _check_values(record: dict[str, Any]) -> list[str]:
    faults = []
    if not re.fullmatch(r"[a-z][a-z0-9_]*", record["name"]):
        faults.append(f"name is {record['name']!r}: expected lower-case letters, digits and _")
    if not re.fullmatch(r"cpu(_v[234])?|cuda|emu", record["backend"]):
        faults.append(f"backend is {record['backend']!r}: expected cpu, cpu_v2, cpu_v3, cpu_v4, cuda or emu")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", record["date"]):
        faults.append(f"date is {record['date']!r}: expected YYYY-MM-DD")
    if (record["peer"] is None) != (record["ratio_to_peer"] is None):
        faults.append("peer and ratio_to_peer must both be given, or neither")
    if missing := {"python", "numpy", "h5py", "shotsieve"} - record["versions"].keys():
        faults.append(f"versions lacks {', '.join(sorted(missing))}")
    if record["threads"] < 1:
        faults.append(f"threads is {record['threads']}: expected 1 or more")
    return faults


def append(record: dict[str, Any], folder: Path = HISTORY) -> Path:
    """Append a record to its file, such as ``2026-11-20-calibrate_lit-cpu.json``; return the file.

    A file that is not a list of valid records is refused rather than extended.
    """
    check(record)
    kind = record["backend"].partition("_")[0]
    file = folder / f"{record['date']}-{record['name']}-{kind}.json"
    known = load(file) if file.exists() else []
    folder.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".json.new")
    new.write_text(_dumps([*known, record]) + "\n", encoding="utf-8")
    os.replace(new, file)
    return file


def _dumps(known: list[dict[str, Any]]) -> str:
    """Return JSON with the rows of curves on one line each, so that a change can be read."""
    text = json.dumps(known, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda found: " ".join(found.group().split()), text)


def load(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file, each checked."""
    known = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(known, list):
        raise ValueError(f"{file}: expected a JSON list of records")
    for record in known:
        try:
            check(record)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return known


def lines(records: Iterable[dict[str, Any]]) -> list[str]:
    """Return records as the lines of a table."""
    head = (
        f"{'benchmark':28} {'backend':7} {'thr':>3} {'shots/s':>9} {'GB/s':>7} {'read':>6} {'floor':>6}  peer"
    )
    out = [head]
    for r in records:
        name = r["name"] + (f" ({r['details']['variant']})" if "variant" in r["details"] else "")
        fractions = [
            f"{r[key]:6.2f}" if r[key] is not None else f"{'-':>6}"
            for key in ("read_fraction", "floor_fraction")
        ]
        peer = f"{r['ratio_to_peer']:.1f} x {r['peer']}" if r["peer"] else "-"
        out.append(
            f"{name:28} {r['backend']:7} {r['threads']:3d} {r['shots_per_s']:9.1f} {r['gb_per_s']:7.2f} "
            f"{fractions[0]} {fractions[1]}  {peer}"
        )
    return out


def main() -> None:
    """Print the history, or the part of it whose file names contain the given words."""
    parser = argparse.ArgumentParser(description="print the recorded measurements")
    parser.add_argument("words", nargs="*", help="only files whose name contains all of these")
    words = parser.parse_args().words
    for file in sorted(HISTORY.glob("*.json")):
        if all(word in file.name for word in words):
            found = load(file)
            commits = ", ".join(sorted({record["commit"] for record in found}))
            print(f"{file.name}: {found[0]['machine']}, commit {commits}")
            print("\n".join(f"  {line}" for line in lines(found)))


if __name__ == "__main__":
    main()
