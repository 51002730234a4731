"""`check`: a reduced run verified alone, and against its raw run; beside the reduction that made it.

The run is that of `test_end_to_end`: AGIPD-1M, 16 modules, files in the page cache. Whole calls, with
constants.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import records
import shotsieve
from shotsieve import backend as backends
from shotsieve.bench.rounds import interleave
from shotsieve.check import check
from shotsieve.constants.container import Constants
from shotsieve.engine.against import check_against
from shotsieve.simulate import SpiParameters, simulate_spi
from test_end_to_end import BLOCK_BYTES, RECIPES

ROUNDS = 5
MIN_SPEED = 0.5  # of the reduction's


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_check(content: str, tmp_path: Path, record: Callable, target: Callable, quick: bool) -> None:
    """Every kept frame compared, every dropped shot measured again."""
    parameters = SpiParameters(n_trains=1, n_cells=4, modules=(0, 3)) if quick else SpiParameters(n_trains=12)
    run = simulate_spi(tmp_path / "sim", parameters)
    constants = tmp_path / "constants.h5"
    Constants.open(run.constants).save(constants)
    out = tmp_path / "red"
    options = {"constants": constants, "backend": "cpu", "block_bytes": BLOCK_BYTES}

    def reduce() -> None:
        shotsieve.reduce(run.raw, RECIPES[content], out, overwrite=True, **options)

    def alone() -> None:
        assert check(out).ok

    def against() -> None:
        report = check_against(check(out), run.raw, **options)
        assert report.ok, report.summary()

    reduce()
    functions = {"reduce": reduce, "alone": alone, "against": against}
    seconds = {name: min(times) for name, times in interleave(functions, 2 if quick else ROUNDS).items()}
    table = shotsieve.Table.open(out)
    assert table.counts()["kept"] > 0
    shots, ratio = len(table), seconds["reduce"] / seconds["against"]
    raw_bytes = 2 * 2 * shots * len(parameters.modules) * table.module_pixels
    cpu = backends.get("cpu")
    record(
        records.make(
            "check",
            backend=cpu.native.__name__.rpartition("._")[2],
            detector="AGIPD1M",
            shots_per_s=shots / seconds["against"],
            gb_per_s=raw_bytes / seconds["against"] / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer="shotsieve reduce, whole call",
            ratio_to_peer=ratio,
            threads=cpu.threads,
            notes="check and check --against in one, whole call with constants; files in the page cache",
            details={
                "variant": content,
                "shots": shots,
                "kept": table.counts()["kept"],
                "reduce_s": seconds["reduce"],
                "against_s": seconds["against"],
                "alone_s": seconds["alone"],
            },
        )
    )
    if not quick:
        target(ratio >= MIN_SPEED, f"check --against, {content}: {ratio:.2f} of reduce, wanted {MIN_SPEED}")
