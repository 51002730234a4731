"""What the benchmark `chain_corrected` measures: corrected AGIPD-1M files with Bragg spots.

The facility's layout: sixteen files, one chunk a frame, data float32 plain, mask and gain with shuffle and
gzip 1. A twentieth of the shots are hits of `peak_frames`, the others blanks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peak_frames import PHOTON, SETTINGS, Scene
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.simulate.geometry import write_geometry
from shotsieve.sources.base import RunMeta
from shotsieve.write.exdf_file import ExdfFile

DETECTOR = "SPB_DET_AGIPD1M-1"
MODULES, SHAPE = 16, (512, 128)
HIT_SHARE, KEPT_SHARE = 0.05, 0.1
BACKGROUND = 0.05
DISTANCE_M = 0.2
SETTING = "A"
LEAST_PEAKS = 3
LIT = 0.7 * PHOTON
NPT = 500


@dataclass(frozen=True)
class ChainCase:
    """A run on disk, and what is known of it.

    Attributes
    ----------
    run, geometry : Path
    scene : Scene
        Mask and radius of all shots.
    trains, pulses : int
    hit : ndarray of bool, shape (shots,)
    file_bytes : int
    """

    run: Path
    geometry: Path
    scene: Scene
    trains: int
    pulses: int
    hit: np.ndarray
    file_bytes: int

    @classmethod
    def make(cls, folder: Path, trains: int, pulses: int, seed: int = 1) -> ChainCase:
        """Write the run; a train is in memory at a time."""
        scene = Scene.make(BACKGROUND, seed=seed)
        rng = np.random.default_rng(seed)
        hit = np.zeros(trains * pulses, bool)
        hit[rng.choice(hit.size, max(1, round(HIT_SHARE * hit.size)), replace=False)] = True
        run = folder / "r0001"
        run.mkdir(parents=True)
        bad = np.where(scene.mask, 0, int(BadPixels.OFFSET_OUT_OF_THRESHOLD)).astype("u4")
        mask = bad.reshape(MODULES, *SHAPE)
        ids = np.arange(1000, 1000 + trains, dtype="u8")
        files, groups = [], []
        for module in range(MODULES):
            path = run / f"CORR-R0001-AGIPD{module:02d}-S00000.h5"
            file = ExdfFile(path, train_ids=ids, timestamps=ids, meta=RunMeta(run=1))
            group = file.instrument(f"{DETECTOR}/CORR/{module}CH0:output", "image", np.full(trains, pulses))
            shape, packed = (
                (hit.size, *SHAPE),
                {"compression": "gzip", "compression_opts": 1, "shuffle": True},
            )
            group.create_dataset("data", shape, "f4", chunks=(1, *SHAPE))
            group.create_dataset("mask", shape, "u4", chunks=(1, *SHAPE), **packed)
            group.create_dataset("gain", shape, "u1", chunks=(1, *SHAPE), **packed)
            group["trainId"] = np.repeat(ids, pulses)
            group["pulseId"] = np.tile(4 * np.arange(pulses, dtype="u8"), trains)
            group["cellId"] = np.tile(np.arange(pulses, dtype="u2"), trains)
            files.append(file)
            groups.append(group)
        for train in range(trains):
            rows = slice(train * pulses, (train + 1) * pulses)
            data, here = scene.blanks(rng, pulses), np.flatnonzero(hit[rows])
            if len(here):
                data[here] = scene.hits(rng, len(here))[0]
            data[:, ~scene.mask] = np.nan
            for module, group in enumerate(groups):
                group["data"][rows] = data.reshape(pulses, MODULES, *SHAPE)[:, module]
                group["mask"][rows] = mask[module]
                group["gain"][rows] = 0
        for file in files:
            file.close()
        geometry = write_geometry(folder / "agipd.geom", DISTANCE_M, PHOTON)
        size = sum(path.stat().st_size for path in run.iterdir())
        return cls(run, geometry, scene, trains, pulses, hit, size)

    @property
    def shots(self) -> int:
        return len(self.hit)

    def recipe(self) -> dict[str, Any]:
        """Return what is done: lit pixels, photons, peaks and a profile of every shot; a tenth is kept."""
        peaks = {key: value for key, value in SETTINGS[SETTING].items() if key != "threshold"}
        return {
            "detector": [{"name": "AGIPD1M", "geometry": str(self.geometry)}],
            "calibrate": {"unit": "keV", "photon_energy": f"{PHOTON} keV"},
            "measure": {
                "lit": {"threshold": f"{LIT} keV"},
                "peaks": {"threshold": f"{SETTINGS[SETTING]['threshold']} keV", **peaks},
                "azint": {"npt": NPT, "solid_angle": False},
            },
            "keep": {"rule": f"n_peaks >= {LEAST_PEAKS}", "misses": KEPT_SHARE - HIT_SHARE},
            "write": {"content": "corrected"},
        }
