"""Sizes of kept frames in every content and codec against what the facility stores, and how fast they are.

Hits of a simulated AGIPD-1M run, calibrated to keV by a reduction, in memory; files go to the page cache. The
facility stores float32 data plain, gain and mask with gzip 1: that is 1. Raw words are those of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import records
import shotsieve
from shotsieve.backend import usable_cpus
from shotsieve.bench.rounds import interleave
from shotsieve.constants.container import Constants
from shotsieve.filters import packing
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.write.chunks import RowDataset, append_rows
from shotsieve.write.content import DEFAULT_COMPRESSION, FrameForm
from shotsieve.write.photons import PhotonCounts
from shotsieve.write.rounding import Rounding

ROUNDS, FRAMES, ENERGY = 5, 16, 9.3
MODULES = (0, 3)
PLANES = {"data": "<f4", "gain": "|u1", "mask": "<u4"}
# As a recipe names them; the noise of a pixel is 1 keV.
FORMS: dict[str, dict[str, object]] = {
    "corrected, plain": {},
    "corrected, gzip": {"compression": "gzip"},
    "corrected, bitshuffle-lz4": {"compression": "bitshuffle-lz4"},
    "corrected, bitshuffle-zstd": {"compression": "bitshuffle-zstd"},
    "rounded to 0.1 keV": {"rounding": Rounding.within(0.1)},
    "rounded to 1 %": {"rounding": Rounding.within(relative=0.01)},
    "rounded to 0.1 keV or 1 %": {"rounding": Rounding.within(0.1, 0.01)},
    "rounded to 0.5 keV or 1 %": {"rounding": Rounding.within(0.5, 0.01)},
    "rounded to 0.1 keV or 1 %, plain": {"rounding": Rounding.within(0.1, 0.01), "compression": "none"},
    "rounded to 0.1 keV or 1 %, bitshuffle-lz4": {
        "rounding": Rounding.within(0.1, 0.01),
        "compression": "bitshuffle-lz4",
    },
    "rounded to 0.1 keV or 1 %, bitshuffle-zstd": {
        "rounding": Rounding.within(0.1, 0.01),
        "compression": "bitshuffle-zstd",
    },
    "photons uint16": {"photons": PhotonCounts(1 / ENERGY)},
    "photons uint8": {"photons": PhotonCounts(1 / ENERGY, dtype="uint8")},
    "photons uint16, plain": {"photons": PhotonCounts(1 / ENERGY), "compression": "none"},
    "photons uint16, bitshuffle-lz4": {"photons": PhotonCounts(1 / ENERGY), "compression": "bitshuffle-lz4"},
    "photons uint16, bitshuffle-zstd": {
        "photons": PhotonCounts(1 / ENERGY),
        "compression": "bitshuffle-zstd",
    },
    "raw, plain": {"content": "raw"},
    "raw, gzip": {"content": "raw", "compression": "gzip"},
    "raw, bitshuffle-lz4": {"content": "raw", "compression": "bitshuffle-lz4"},
    "raw, bitshuffle-zstd": {"content": "raw", "compression": "bitshuffle-zstd"},
}
MOST = {"photons uint16": 0.2, "rounded to 0.1 keV or 1 %": 0.6}
"""Of the facility's size: what each has to stay below."""


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> dict[str, np.ndarray]:
    """Hits of two modules, (K, M, ss, fs), and the raw words that they were made of."""
    folder = tmp_path_factory.mktemp("contents")
    cells = 4 if quick else FRAMES
    run = simulate_spi(folder, SpiParameters(n_trains=1, n_cells=cells, modules=MODULES, hit_rate=1.0))
    constants = Constants.open(run.constants)
    found: dict[str, np.ndarray] = {}
    for content in ("corrected", "raw"):
        recipe = {"calibrate": {}, "write": {"content": content}}
        result = shotsieve.reduce(
            run.raw, recipe, folder / f"red-{content}", constants=constants, backend="cpu"
        )
        for name in PLANES if content == "corrected" else ("data",):
            arrays = []
            for path in result.files:
                with h5py.File(path) as file:
                    listed = file["METADATA/dataSources/deviceId"].asstr()
                    [source] = [one for one in listed if one.endswith("image")]
                    arrays.append(file[f"INSTRUMENT/{source}/{name}"][()])
            found["raw" if content == "raw" else name] = np.stack(arrays, axis=1)
    return found


def formed(form: FrameForm, hits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is written of the hits: planes by their names."""
    if form.content == "raw":
        return {"data": hits["raw"]}
    return form.apply({name: hits[name].copy() for name in PLANES})


def write(path: Path, form: FrameForm, hits: dict[str, np.ndarray]) -> None:
    """As a reduction does it: brought into their form, compressed and summed up in threads."""
    made, packed = formed(form, hits), packing(form.compression)
    with h5py.File(path, "w") as file:
        for module in range(len(MODULES)):
            group = file.create_group(str(module))
            append_rows(
                [
                    (
                        RowDataset(group, name, array.shape[2:], array.dtype.str, packed[name]),
                        list(array[:, module]),
                    )
                    for name, array in made.items()
                ]
            )


def facility(path: Path, frames: dict[str, np.ndarray]) -> None:
    """Data plain, gain and mask with gzip 1, without shuffle."""
    with h5py.File(path, "w") as file:
        for name, array in frames.items():
            rows = array.reshape(-1, *array.shape[2:])
            filters = {} if name == "data" else {"compression": "gzip", "compression_opts": 1}
            file.create_dataset(name, data=rows, chunks=(1, *rows.shape[1:]), **filters)


def form_of(options: dict[str, object]) -> FrameForm:
    """Form and default compression as a recipe with these options has them."""
    kind = "photons" if "photons" in options else "rounded" if "rounding" in options else "corrected"
    kind = str(options.get("content", kind))
    return FrameForm(**{"content": kind, "compression": DEFAULT_COMPRESSION[kind], **options})


def test_contents(
    hits: dict[str, np.ndarray], tmp_path: Path, record: Callable, target: Callable, quick: bool
) -> None:
    frames = {name: hits[name] for name in PLANES}
    forms = {name: form_of(options) for name, options in FORMS.items()}
    files = {name: tmp_path / f"{number}.h5" for number, name in enumerate([*forms, "facility"])}
    functions = {
        name: lambda name=name, form=form: write(files[name], form, hits) for name, form in forms.items()
    }
    functions["facility"] = lambda: facility(files["facility"], frames)
    # Truncating the file of the round before would cost all of them a third of the time.
    timed = interleave(functions, 2 if quick else ROUNDS, lambda name: files[name].unlink(missing_ok=True))
    number = frames["data"].shape[0] * len(MODULES)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    seconds = {name: min(times) for name, times in timed.items()}
    lit = float((frames["data"] > 0.7 * ENERGY).mean())
    for name, form in forms.items():
        with h5py.File(files[name]) as file:
            stored = np.stack([file[f"{module}/data"][()] for module in range(len(MODULES))], axis=1)
            pixels = sum(file[f"{module}/data"].id.get_storage_size() for module in range(len(MODULES)))
        made = formed(form, hits)["data"]
        np.testing.assert_array_equal(stored.view("u1"), made.view("u1"))
        record(
            records.make(
                "contents",
                backend="cpu",
                detector="AGIPD1M",
                shots_per_s=number / 16 / seconds[name],
                gb_per_s=hits["raw"].nbytes / seconds[name] / 1e9,
                read_fraction=None,
                floor_fraction=None,
                peer="h5py: data plain, gain and mask gzip 1",
                ratio_to_peer=seconds["facility"] / seconds[name],
                threads=usable_cpus(),
                notes="hits to the page cache, XXH3 of every chunk included; sizes are those of files "
                "with data, gain and mask (raw: the words alone), divided by the facility's",
                details={
                    "variant": name,
                    "frames": number,
                    "lit_share": lit,
                    "size_to_facility": sizes[name] / sizes["facility"],
                    "pixels_to_float32": pixels / frames["data"].nbytes,
                    "bytes_per_frame": sizes[name] / number,
                    "bytes_per_frame_facility": sizes["facility"] / number,
                    "seconds": seconds[name],
                },
            )
        )
    if not quick:
        for name, most in MOST.items():
            share = sizes[name] / sizes["facility"]
            target(share < most, f"contents: {name} takes {share:.2f} of the facility's size, wanted {most}")
