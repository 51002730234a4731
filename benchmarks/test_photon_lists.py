"""Room of photon lists beside compressed photon frames, and how fast lists are made beside NumPy.

Speckles of one module of AGIPD-1M go through a reduction to files; sizes are those of their datasets. Of
the lists masks are told apart: there is one for each memory cell, however many trains there are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import records
import shotsieve
from shotsieve import PhotonList
from shotsieve.bench.rounds import interleave
from shotsieve.simulate import XpcsParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.kinds import model_of
from shotsieve.simulate.memory import spi_source

MODULE, CELLS, TRAINS, ROUNDS = 3, 32, 4, 7
FORMS = {
    "photons, none": {"content": "photons", "compression": "none"},
    "photons, gzip": {"content": "photons"},
    "photons, bitshuffle-zstd": {"content": "photons", "compression": "bitshuffle-zstd"},
    "photon_list, none": {"content": "photon_list", "compression": "none"},
    "photon_list, gzip": {"content": "photon_list"},
    "photon_list, bitshuffle-zstd": {"content": "photon_list", "compression": "bitshuffle-zstd"},
}
MASKS = ("image/mask", "photonMask/mask", "photonMaskList/pixel", "photonMaskList/bits")


def sizes(path: Path) -> dict[str, int]:
    """Stored bytes of each dataset of the module's source; groups that others have too are left out."""
    found: dict[str, int] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("litpx"):
            found[name] = item.id.get_storage_size()

    with h5py.File(path) as file:
        [source] = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR"].values()
        source.visititems(take)
    return found


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_photon_lists(
    rate: float, dtype: str, tmp_path: Path, record: Callable, target: Callable, quick: bool
) -> None:
    p = XpcsParameters(
        n_trains=1 if quick else TRAINS,
        n_cells=4 if quick else CELLS,
        modules=(MODULE,),
        photons_per_pixel=rate,
        reference_frame=0,  # every frame has photons
        truth_stage=False,
    )
    source, _ = spi_source(p)
    constants = constants_in_memory(p, model_of(p))
    of_form, frames = {}, None
    for name, write in FORMS.items():
        recipe = {"calibrate": {}, "write": {**write, "dtype": dtype}}
        out = tmp_path / name.replace(", ", "-")
        result = shotsieve.reduce(source, recipe, out, constants=constants, backend="cpu")
        of_form[name] = sizes(result.files[0])
        if name == "photons, none":
            with h5py.File(result.files[0]) as file:
                [images] = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR"].values()
                frames, masks = images["image/data"][:], images["image/mask"][:]
        elif write["content"] == "photon_list":
            with shotsieve.PhotonLists(out) as photons:
                data, mask = photons.frames()
            np.testing.assert_array_equal(data[:, 0], frames)
            np.testing.assert_array_equal(mask[:, 0], masks)
            assert data.dtype == frames.dtype
    flat = frames.reshape(len(frames), -1)
    timed = interleave(
        {"numpy": lambda: [np.flatnonzero(frame) for frame in flat],
         "ours": lambda: PhotonList.of(frames, threads=1)},
        2 if quick else ROUNDS,
    )  # fmt: skip
    seconds = {name: min(times) for name, times in timed.items()}
    shots = len(frames)
    per_shot = {
        name: {
            "values": sum(n for key, n in found.items() if key.startswith(("image/data", "photonList/")))
            / shots,
            "masks": sum(found.get(key, 0) for key in MASKS) / shots,
            "gain": found["image/gain"] / shots,
            "labels": sum(n for key, n in found.items() if key.startswith("photons/")) / shots,
        }
        for name, found in of_form.items()
    }
    for name, found in per_shot.items():
        record(
            records.make(
                "photon_lists",
                backend="cpu",
                detector="AGIPD1M",
                shots_per_s=shots / 16 / seconds["ours"],
                gb_per_s=shots * 65536 * 4 / seconds["ours"] / 1e9,
                read_fraction=None,
                floor_fraction=None,
                peer="numpy.flatnonzero, frame by frame, without the counts",
                ratio_to_peer=seconds["numpy"] / seconds["ours"],
                threads=1,
                notes="rates and ratio are of making the lists, on one core, measured in turn; bytes are "
                "those of one module; masks of lists are one for each of the cells, here seen "
                f"{1 if quick else TRAINS} times",
                details={
                    "variant": f"{name}, {dtype}, {rate:g} photons a pixel",
                    "photons_per_pixel": rate,
                    "lit_share": float((frames > 0).mean()),
                    "frames": shots,
                    "bytes_values": found["values"],
                    "bytes_labels": found["labels"],
                    "bytes_masks": found["masks"],
                    "bytes_gain": found["gain"],
                },
            )
        )
    if not quick and rate <= 0.1:
        mine, frame = (per_shot[f"{kind}, gzip"] for kind in ("photon_list", "photons"))
        target(
            mine["values"] + mine["labels"] < frame["values"],
            f"photon_lists: {mine['values']:.0f} + {mine['labels']:.0f} bytes at {rate:g}, of frames "
            f"{frame['values']:.0f}",
        )
