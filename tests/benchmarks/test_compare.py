"""`benchmarks/compare.py`: records of two days side by side, and what is neither record nor report."""

from __future__ import annotations

import compare
import pytest
import records
from shotsieve.errors import BadInput

RECORD = {
    "backend": "cpu_v3",
    "detector": "AGIPD1M",
    "gb_per_s": 5.1,
    "read_fraction": None,
    "floor_fraction": None,
    "peer": None,
    "ratio_to_peer": None,
    "threads": 1,
}


def test_the_last_record_of_each_variant_counts(tmp_path, capsys, monkeypatch):
    for folder, rates in (("before", (100.0, 50.0)), ("after", (120.0, 75.0))):
        for variant, rate in zip(("lit", "peaks"), rates, strict=True):
            for shots_per_s in (1.0, rate):
                record = records.make(
                    "bench", shots_per_s=shots_per_s, details={"variant": variant}, **RECORD
                )
                file = records.append(record, tmp_path / folder)
    monkeypatch.setattr(
        "sys.argv", ["compare.py", *(str(tmp_path / name / file.name) for name in ("before", "after"))]
    )
    compare.main()
    printed = capsys.readouterr().out
    for stage, *numbers in (
        ("bench lit cpu_v3", "100", "120", "1.20"),
        ("bench peaks cpu_v3", "50", "75", "1.50"),
    ):
        [line] = [line for line in printed.splitlines() if stage in line]
        assert [cell.strip() for cell in line.strip("│").split("│")][2:] == numbers


@pytest.mark.parametrize("text", ["", "{}", "[1]", None])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "2026-01-01-bench-cpu.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises((BadInput, ValueError)):
        compare.read(path)
