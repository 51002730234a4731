"""Writing corrected frames: ours, with checksums, against h5py with the same filters; and sizes of files.

Frames of one AGIPD-1M train, calibrated from a simulated run, in memory; files go to the page cache. The
facility writes data plain, gain and mask with gzip 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import records
import shotsieve
from shotsieve.backend import usable_cpus
from shotsieve.bench.rounds import interleave
from shotsieve.constants.container import Constants
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.write.chunks import RowDataset, append_rows

ROUNDS, FRAMES = 7, 32
MIN_RATIO = 3.0
PLANES = {"data": "<f4", "gain": "|u1", "mask": "<u4"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> dict[str, np.ndarray]:
    """Frames of two modules, calibrated by a reduction that keeps all shots."""
    folder = tmp_path_factory.mktemp("write")
    run = simulate_spi(folder, SpiParameters(n_trains=1, n_cells=4 if quick else FRAMES, modules=(0, 3)))
    constants = Constants.open(run.constants)
    recipe = {"calibrate": {}, "write": {"content": "corrected"}}
    result = shotsieve.reduce(run.raw, recipe, folder / "red", constants=constants, backend="cpu")
    found: dict[str, list[np.ndarray]] = {name: [] for name in PLANES}
    for path in result.files:
        with h5py.File(path) as file:
            [source] = file["METADATA/dataSources/deviceId"].asstr()[:1]
            for name, arrays in found.items():
                arrays.append(file[f"INSTRUMENT/{source.removesuffix('/litpx')}/{name}"][()])
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def ours(path: Path, frames: dict[str, np.ndarray], compressed: dict[str, bool]) -> None:
    """As `ReducedRunWriter` does it: chunk by chunk, compressed and summed up in threads."""
    with h5py.File(path, "w") as file:
        jobs = [
            (RowDataset(file, name, array.shape[1:], PLANES[name], compressed[name]), list(array))
            for name, array in frames.items()
        ]
        append_rows(jobs)


def h5py_alone(path: Path, frames: dict[str, np.ndarray], filters: dict[str, dict[str, Any]]) -> None:
    """As h5py does it, with one chunk per frame too."""
    with h5py.File(path, "w") as file:
        for name, array in frames.items():
            file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), **filters[name])


def test_write(
    frames: dict[str, np.ndarray], tmp_path: Path, record: Callable, target: Callable, quick: bool
) -> None:
    """Data plain, gain and mask shuffled and deflated, as the reduced run has them."""
    mine = {"data": False, "gain": True, "mask": True}
    gzip = {"compression": "gzip", "compression_opts": 1}
    same = {"data": {}, "gain": {**gzip, "shuffle": True}, "mask": {**gzip, "shuffle": True}}
    facility = {"data": {}, "gain": gzip, "mask": gzip}
    functions = {
        "ours": lambda: ours(tmp_path / "ours.h5", frames, mine),
        "h5py": lambda: h5py_alone(tmp_path / "h5py.h5", frames, same),
        "facility": lambda: h5py_alone(tmp_path / "facility.h5", frames, facility),
    }
    # Truncating the file of the round before would cost all of them a third of the time.
    timed = interleave(
        functions, 2 if quick else ROUNDS, lambda name: (tmp_path / f"{name}.h5").unlink(missing_ok=True)
    )
    seconds = {name: min(times) for name, times in timed.items()}
    ours(tmp_path / "all.h5", frames, dict.fromkeys(PLANES, True))
    for name, array in frames.items():
        for file in ("ours", "h5py", "facility", "all"):
            with h5py.File(tmp_path / f"{file}.h5") as f:
                np.testing.assert_array_equal(f[name][()].view("u1"), array.view("u1"))
    number, size = len(frames["data"]), sum(array.nbytes for array in frames.values())
    ratio = seconds["h5py"] / seconds["ours"]
    per_frame = {
        file: (tmp_path / f"{file}.h5").stat().st_size / number for file in ("ours", "facility", "all")
    }
    record(
        records.make(
            "write",
            backend="cpu",
            detector="AGIPD1M",
            shots_per_s=number / 16 / seconds["ours"],
            gb_per_s=size / seconds["ours"] / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer="h5py, the same chunks and filters",
            ratio_to_peer=ratio,
            threads=usable_cpus(),
            notes="corrected frames to the page cache, XXH3 of every chunk included; bytes of float32, "
            "uint8 and uint32 arrays",
            details={
                "variant": "data plain, gain and mask deflated",
                "frames": number,
                "seconds": seconds["ours"],
                "facility_s": seconds["facility"],
                "bytes_per_frame": per_frame["ours"],
                "bytes_per_frame_facility": per_frame["facility"],
                "bytes_per_frame_all_deflated": per_frame["all"],
                "bytes_per_frame_raw_words": 4 * frames["data"][0].size,
            },
        )
    )
    if not quick:
        target(ratio >= MIN_RATIO, f"write: {ratio:.1f} x h5py, wanted {MIN_RATIO} on two threads")
