"""What `shotsieve bench` measures, kept as records: stages and the whole chain of the embedded engine."""

from __future__ import annotations

from collections.abc import Callable

import machine
import pytest
import records
from shotsieve import backend as backends
from shotsieve.bench.cases import KINDS
from shotsieve.bench.run import run
from shotsieve.errors import BackendUnavailable


@pytest.mark.parametrize("detector", KINDS)
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_bench(detector: str, backend: str, record: Callable, quick: bool) -> None:
    """Every stage on all threads; the answers are checked by the bench itself."""
    try:
        chosen = backends.get(backend)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    size = {"modules": 1, "cells": 2, "trains": 1, "rounds": 1, "copy_bytes": 1 << 20} if quick else {}
    report = run(chosen, [detector], **size)
    rows = {row["stage"]: row for row in report["rows"]}
    for stage, row in rows.items():
        if row["peer_of"]:
            continue
        peers = [name for name, other in rows.items() if other["peer_of"] == stage]
        peer = max(peers, key=lambda name: rows[name]["shots_per_s"], default=None)
        record(
            records.make(
                "bench",
                backend=chosen.name,
                detector=detector,
                shots_per_s=row["shots_per_s"],
                gb_per_s=row["gb_per_s"],
                read_fraction=row["gb_per_s"] / report["rates"][detector]["read"],
                floor_fraction=row["floor_fraction"],
                peer=None if peer is None else f"{peer} ({rows[peer]['version']})",
                ratio_to_peer=None if peer is None else row["shots_per_s"] / rows[peer]["shots_per_s"],
                threads=chosen.threads,
                machine=report["machine"],
                versions=machine.versions(),
                notes="through shotsieve.Engine, words from host memory unless the variant says otherwise; "
                f"floor: {row['floor']}",
                details={
                    "variant": stage,
                    "rates_gb_per_s": report["rates"][detector],
                    "median_shots_per_s": row["median_shots_per_s"],
                    "spread": row["spread"],
                    "of_detector": row["of_detector"],
                    "peers": {name: rows[name]["shots_per_s"] for name in peers},
                    "latency": [late for late in report["latency"] if late["stage"] == stage],
                },
            )
        )
