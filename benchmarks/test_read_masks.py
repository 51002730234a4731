"""Reading compressed masks from the page cache, two threads: our way, and EXtra-data's with zlib_into.

Modules of a corrected AGIPD run, masks of uint32 (N, 512, 128), deflate of level 1 with a frame a chunk, with
and without shuffle. EXtra-data reads them as a careful user would: the component's array of all modules into
a buffer that is there already, its fast path for compressed chunks, with two threads and with its own 16; the
better counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import machine
import numpy as np
import pytest
import records
from shotsieve.bench.rounds import ROUNDS, interleave
from shotsieve.sources.extents import map_frames, read_frames

SHAPE, MODULES, CELLS = (512, 128), 4, 64
NAME = "SPB_DET_AGIPD1M-1"
THREADS, THEIR_THREADS = 2, (2, 16)
MIN_RATIO = 4.0
FORMS = {"gzip": False, "shuffled gzip": True}


def masks(number: int) -> np.ndarray:
    """Masks as of corrected frames: edges of chips, bad pixels of the constants, some of every frame."""
    rng = np.random.default_rng(5)
    of_constants = np.where(rng.random(SHAPE) < 0.02, np.uint32(1), np.uint32(0))
    of_constants[::64] |= np.uint32(1 << 17)
    of_constants[:, ::64] |= np.uint32(1 << 17)
    own = np.where(rng.random((number, *SHAPE)) < 0.01, np.uint32(1 << 15), np.uint32(0))
    return of_constants | own


def write(folder: Path, trains: int, shuffle: bool) -> list[Path]:
    """Write the files of a corrected run, as far as its masks are concerned."""
    folder.mkdir()
    some, number, paths = masks(16), trains * CELLS, []
    train = np.arange(10, 10 + trains, dtype="u8")
    for module in range(MODULES):
        source = f"{NAME}/DET/{module}CH0:xtdf"
        paths.append(folder / f"CORR-R0001-AGIPD{module:02d}-S00000.h5")
        with h5py.File(paths[-1], "w") as f:
            f["METADATA/dataFormatVersion"] = [b"1.2"]
            f["METADATA/dataSources/root"] = [b"INSTRUMENT"]
            f["METADATA/dataSources/deviceId"] = [f"{source}/image".encode()]
            f["METADATA/dataSources/dataSourceId"] = [f"INSTRUMENT/{source}/image".encode()]
            f["INDEX/trainId"], f["INDEX/timestamp"] = train, train
            f["INDEX/flag"] = np.ones(trains, "i4")
            f[f"INDEX/{source}/image/first"] = np.arange(trains, dtype="u8") * CELLS
            f[f"INDEX/{source}/image/count"] = np.full(trains, CELLS, "u8")
            group = f.create_group(f"INSTRUMENT/{source}/image")
            group["trainId"] = np.repeat(train, CELLS)
            for key, dtype in (("pulseId", "u8"), ("cellId", "u2")):
                group[key] = np.tile(np.arange(CELLS, dtype=dtype), trains)
            group.create_dataset("data", (number, *SHAPE), "f4", chunks=(1, *SHAPE))  # what it asks for first
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": shuffle}
            data = group.create_dataset("mask", (number, *SHAPE), "u4", chunks=(1, *SHAPE), **options)
            for first in range(0, number, len(some)):
                data[first : first + len(some)] = np.roll(some, first + module, axis=2)
    return paths


@pytest.mark.parametrize("form", FORMS)
def test_read_masks(form: str, tmp_path: Path, record: Callable, target: Callable, quick: bool) -> None:
    """Rate, and ratio to EXtra-data."""
    pytest.importorskip("zlib_into")
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    trains = 1 if quick else 8
    paths = write(tmp_path / "r0001", trains, FORMS[form])
    frames = np.arange(trains * CELLS)
    out = np.zeros((MODULES, len(frames), *SHAPE), "u4")
    masks_of = components.AGIPD1M(extra_data.RunDirectory(tmp_path / "r0001"))["image.mask"]
    maps = [
        map_frames(path, f"INSTRUMENT/{NAME}/DET/{module}CH0:xtdf/image/mask", 1)
        for module, path in enumerate(paths)
    ]

    def ours() -> None:
        size = int(np.prod(SHAPE))
        for module, where in enumerate(maps):
            read_frames(where, frames, out, (module * len(frames) + frames) * size, THREADS)

    def theirs(threads: int) -> None:
        masks_of.ndarray(out=out, decompress_threads=threads)

    theirs(2)
    wanted = out.copy()
    out[:] = 0
    ours()
    np.testing.assert_array_equal(out, wanted)
    functions: dict[str, Callable[[], object]] = {"ours": ours}
    functions |= {f"theirs {n}": lambda n=n: theirs(n) for n in THEIR_THREADS}
    seconds = {name: min(times) for name, times in interleave(functions, 2 if quick else ROUNDS).items()}
    peer = min(seconds[f"theirs {n}"] for n in THEIR_THREADS)
    ratio = peer / seconds["ours"]
    record(
        records.make(
            "read_masks",
            backend="cpu",
            detector="AGIPD1M",
            shots_per_s=len(frames) * MODULES / 16 / seconds["ours"],
            gb_per_s=out.nbytes / seconds["ours"] / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer="EXtra-data with zlib_into",
            ratio_to_peer=ratio,
            threads=THREADS,
            versions=machine.versions(),
            notes="files in the page cache; GB/s of unpacked masks; EXtra-data with the better of 2 and 16 "
            "threads",
            details={
                "variant": f"compressed masks, {form}",
                "peer_gb_per_s": out.nbytes / peer / 1e9,
                "times_smaller": out.nbytes / sum(int(where.stored.sum()) for where in maps),
            },
        )
    )
    if not quick:
        target(
            ratio >= MIN_RATIO, f"compressed masks, {form}: {ratio:.1f} x EXtra-data, wanted {MIN_RATIO:g}"
        )
