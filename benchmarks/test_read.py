"""Reading raw frames from the page cache, two threads: our way, h5py's `read_direct`, and copying memory.

One module of AGIPD, 2,048 frames of 262 kB in one dataset: contiguous, in chunks of 16 frames, of one frame.
Everything is read in order; then a random twentieth of the frames, or as many as a block holds, as a second
pass over kept shots does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import machine
import numpy as np
import pytest
import records
from shotsieve import backend as backends
from shotsieve.bench.machine import copies
from shotsieve.bench.rounds import ROUNDS, interleave
from shotsieve.sources.extents import map_frames, read_frames

FRAMES, SHAPE = 2048, (2, 512, 128)
BLOCKS = (64, 1024)  # frames: 17 MB, which a last-level cache holds, and 268 MB, a block of the pipeline
LAYOUTS = {"contiguous": None, "16 frames": (16, *SHAPE), "1 frame": (1, *SHAPE)}
MIN_OF_COPY = {"contiguous": 0.65, "16 frames": 0.65, "1 frame": 0.45}
MIN_RATIO, MIN_SCATTERED = 2.0, 20.0
THREADS = 2


class Files:
    """The dataset in every layout, and what reads it into one buffer: in order or scattered."""

    def __init__(self, folder: Path, frames: int, together: int) -> None:
        rng = np.random.default_rng(1)
        self.frames, self.bytes = frames, frames * 2 * int(np.prod(SHAPE))
        self.together = together
        one = rng.integers(0, 16384, (together, *SHAPE), "u2")
        self.paths = {}
        for layout, chunks in LAYOUTS.items():
            path = folder / f"{layout.replace(' ', '_')}.h5"
            with h5py.File(path, "w") as file:
                data = file.create_dataset("data", (frames, *SHAPE), "u2", chunks=chunks)
                for first in range(0, frames, together):
                    data[first : first + together] = one + np.uint16(first % 1000)
            self.paths[layout] = path
        self.out = np.zeros((together, *SHAPE), "u2")
        self.maps = {layout: map_frames(path, "data", 1) for layout, path in self.paths.items()}
        self.some = np.sort(rng.permutation(frames)[: min(together, frames // 20)])

    def ours(self, layout: str, frames: np.ndarray) -> None:
        """Read frames, block by block, into one buffer."""
        size = int(np.prod(SHAPE))
        for first in range(0, len(frames), self.together):
            part = frames[first : first + self.together]
            read_frames(self.maps[layout], part, self.out, np.arange(len(part)) * size, THREADS)

    def h5py_in_order(self, layout: str) -> None:
        with h5py.File(self.paths[layout]) as file:
            for first in range(0, self.frames, self.together):
                file["data"].read_direct(self.out, np.s_[first : first + self.together])

    def h5py_scattered(self, layout: str) -> None:
        with h5py.File(self.paths[layout]) as file:
            file["data"].read_direct(self.out, (self.some,), np.s_[: len(self.some)])


@pytest.fixture(scope="module", params=BLOCKS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, quick: bool) -> Files:
    frames = 128 if quick else FRAMES
    return Files(tmp_path_factory.mktemp("read"), frames, min(request.param, frames))


def check(files: Files, layout: str) -> None:
    """Compare what is read with what h5py reads."""
    part = files.some
    files.ours(layout, part)
    with h5py.File(files.paths[layout]) as file:
        np.testing.assert_array_equal(files.out[: len(part)], file["data"][part])


def test_read(files: Files, record: Callable, target: Callable, quick: bool) -> None:
    """Rates over the rate of copying memory, and over h5py's."""
    everything = np.arange(files.frames)
    for layout in LAYOUTS:
        check(files, layout)
    copy, moved = copies(backends.get("cpu"), 1 << (24 if quick else 28))["copy"]
    functions: dict[str, Callable[[], object]] = {"copy": copy}
    for layout in LAYOUTS:
        functions |= {
            f"ours {layout}": lambda layout=layout: files.ours(layout, everything),
            f"h5py {layout}": lambda layout=layout: files.h5py_in_order(layout),
            f"ours {layout} scattered": lambda layout=layout: files.ours(layout, files.some),
            f"h5py {layout} scattered": lambda layout=layout: files.h5py_scattered(layout),
        }
    seconds = {name: min(times) for name, times in interleave(functions, 2 if quick else ROUNDS).items()}
    copying = moved / 2 / seconds["copy"]  # bytes that arrive, as for a file
    for layout in LAYOUTS:
        for way, n_bytes in (
            ("", files.bytes),
            (" scattered", files.bytes * len(files.some) // files.frames),
        ):
            mine, theirs = (seconds[f"{who} {layout}{way}"] for who in ("ours", "h5py"))
            of_copy, ratio = n_bytes / mine / copying, theirs / mine
            record(
                records.make(
                    "read",
                    backend="cpu",
                    detector="AGIPD1M",
                    shots_per_s=n_bytes / (2 * int(np.prod(SHAPE))) / 16 / mine,
                    gb_per_s=n_bytes / mine / 1e9,
                    read_fraction=of_copy,
                    floor_fraction=of_copy,
                    peer="h5py read_direct",
                    ratio_to_peer=ratio,
                    threads=THREADS,
                    versions=machine.versions(),
                    notes="files in the page cache; fractions are of the rate of copying memory with as many "
                    "threads, bytes copied once",
                    details={
                        "variant": f"{layout}{way}, {files.together} at once",
                        "copy_gb_per_s": copying / 1e9,
                    },
                )
            )
            if quick:
                continue
            if way and LAYOUTS[layout] is not None:
                target(
                    ratio >= MIN_SCATTERED,
                    f"read {layout}{way}, {files.together}: {ratio:.1f} x h5py, wanted {MIN_SCATTERED:g}",
                )
            if way:
                continue
            least = MIN_OF_COPY[layout]
            target(
                of_copy >= least, f"read {layout}, {files.together}: {of_copy:.2f} of copying, wanted {least}"
            )
            if LAYOUTS[layout] is not None:
                target(
                    ratio >= MIN_RATIO,
                    f"read {layout}, {files.together}: {ratio:.1f} x h5py, wanted {MIN_RATIO:g}",
                )
