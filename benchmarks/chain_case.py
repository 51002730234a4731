"""What the benchmarks `chain_corrected` and `chain_raw` measure: AGIPD-1M files with Bragg spots.

The facility's layout: sixteen files, one chunk a frame; corrected data float32 plain, mask and gain with
shuffle and gzip 1; raw words plain. A twentieth of the shots are hits of `peak_frames`, the others blanks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from peak_frames import PHOTON, SETTINGS, Scene
from shotsieve.calibrator import Calibrator
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.constants.container import Constants
from shotsieve.simulate.geometry import write_geometry
from shotsieve.sources.base import RunMeta
from shotsieve.sources.corrected import planes_in
from shotsieve.sources.run import open_run
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
        case = cls._empty(folder, trains, pulses, seed)
        packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        datasets = {"data": ((), "f4", {}), "mask": ((), "u4", packed), "gain": ((), "u1", packed)}
        bad = np.where(case.scene.mask, 0, int(BadPixels.OFFSET_OUT_OF_THRESHOLD)).astype("u4")

        def planes(values: np.ndarray) -> dict[str, np.ndarray]:
            values[:, ~case.scene.mask] = np.nan
            data = values.reshape(pulses, MODULES, *SHAPE)
            mask = np.broadcast_to(bad.reshape(MODULES, *SHAPE), data.shape)
            return {"data": data, "mask": mask, "gain": np.zeros(data.shape, "u1")}

        return case._write("CORR", "CORR/{}CH0:output", datasets, planes, seed)

    @classmethod
    def _empty(cls, folder: Path, trains: int, pulses: int, seed: int, **more: Any) -> Any:
        """Decide which shots are hits, and write the geometry."""
        hit = np.zeros(trains * pulses, bool)
        rng = np.random.default_rng(seed)
        hit[rng.choice(hit.size, max(1, round(HIT_SHARE * hit.size)), replace=False)] = True
        (run := folder / "r0001").mkdir(parents=True)
        geometry = write_geometry(folder / "agipd.geom", DISTANCE_M, PHOTON)
        return cls(run, geometry, Scene.make(BACKGROUND, seed=seed), trains, pulses, hit, 0, **more)

    def _write(
        self, kind: str, source: str, datasets: dict[str, Any], planes: Callable[..., Any], seed: int
    ) -> Any:
        """Write the files of the modules, of whose datasets `planes` makes what a train has."""
        trains, pulses, rng = self.trains, self.pulses, np.random.default_rng([seed, 2])
        ids = np.arange(1000, 1000 + trains, dtype="u8")
        files, groups = [], []
        for module in range(MODULES):
            path = self.run / f"{kind}-R0001-AGIPD{module:02d}-S00000.h5"
            file = ExdfFile(path, train_ids=ids, timestamps=ids, meta=RunMeta(run=1))
            counts = np.full(trains, pulses)
            group = file.instrument(f"{DETECTOR}/{source.format(module)}", "image", counts)
            for name, (own, dtype, how) in datasets.items():
                shape = (*own, *SHAPE)
                group.create_dataset(name, (self.shots, *shape), dtype, chunks=(1, *shape), **how)
            group["trainId"] = np.repeat(ids, pulses)
            group["pulseId"] = np.tile(4 * np.arange(pulses, dtype="u8"), trains)
            group["cellId"] = np.tile(np.arange(pulses, dtype="u2"), trains)
            files.append(file)
            groups.append(group)
        for train in range(trains):
            rows = slice(train * pulses, (train + 1) * pulses)
            values, here = self.scene.blanks(rng, pulses), np.flatnonzero(self.hit[rows])
            if len(here):
                values[here] = self.scene.hits(rng, len(here))[0]
            for name, of_shots in planes(values).items():
                for module, group in enumerate(groups):
                    group[name][rows] = of_shots[:, module]
        for file in files:
            file.close()
        return replace(self, file_bytes=sum(path.stat().st_size for path in self.run.iterdir()))

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the calibrated frames of a train at a time, float32 (pulses, 8192, 128); 0 where masked."""
        source = open_run(self.run)
        raw = np.empty((self.pulses, MODULES, 5, *SHAPE), "u2")
        for train in range(self.trains):
            source.read(train * self.pulses, (train + 1) * self.pulses, raw)
            yield np.nan_to_num(planes_in(raw)["data"].reshape(self.pulses, -1, SHAPE[1]))

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


# Of the chip: where the gain switches (keV), its levels, and how many units of the converter a keV gives.
SWITCHES = (600.0, 30_000.0)
LEVELS = (6000, 8000, 10_000)
THRESHOLDS = (7000, 9000)
ADU_PER_KEV, GAIN_RATIO = 7.5, (1.0, 30.0, 130.0)
OFFSETS = (4200.0, 3600.0, 3700.0)


@dataclass(frozen=True)
class RawChainCase(ChainCase):
    """Raw words in adaptive gain, and constants for them.

    Attributes
    ----------
    constants : Path
    """

    constants: Path

    @classmethod
    def make(cls, folder: Path, trains: int, pulses: int, seed: int = 1) -> RawChainCase:
        """Write the run and its constants; a train is in memory at a time."""
        case = cls._empty(folder, trains, pulses, seed, constants=folder / "constants.h5")
        arrays = _constants(case.scene.mask, pulses, np.random.default_rng([seed, 3]))
        modules, cells = list(range(MODULES)), np.arange(pulses)
        Constants.from_arrays("AGIPD1M", arrays, modules=modules, cell_ids=cells).save(case.constants)
        offset = np.stack([arrays["offset"][module] for module in modules], axis=2)  # gain, cell, module

        def planes(values: np.ndarray) -> dict[str, np.ndarray]:
            values = values.reshape(pulses, MODULES, *SHAPE)
            stage = np.digitize(values, SWITCHES)
            words = np.empty((pulses, MODULES, 2, *SHAPE), "u2")
            scale = (ADU_PER_KEV / np.array(GAIN_RATIO))[stage]
            counted = np.choose(stage, offset) + values * scale
            words[:, :, 0] = np.clip(np.rint(counted), 0, 16383)
            words[:, :, 1] = np.array(LEVELS)[stage]
            return {"data": words}

        return case._write("RAW", "DET/{}CH0:xtdf", {"data": ((2,), "u2", {})}, planes, seed)

    def recipe(self) -> dict[str, Any]:
        """Return what is done; the gain mode is told, since the files are those of the detector alone."""
        recipe = super().recipe()
        return {**recipe, "calibrate": {**recipe["calibrate"], "gain_mode": "adaptive"}}

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the calibrated frames of a train at a time, float32 (pulses, 8192, 128); 0 where masked."""
        source, cells, calibrate = open_run(self.run), np.arange(self.pulses), self._calibrator()
        raw = np.empty((self.pulses, MODULES, 2, *SHAPE), "u2")
        for train in range(self.trains):
            source.read(train * self.pulses, (train + 1) * self.pulses, raw)
            yield np.nan_to_num(calibrate(raw, cells).data.reshape(self.pulses, -1, SHAPE[1]))

    def save_folded(self, path: Path) -> Path:
        """Write folded constants for the peers, once: float32 (module, cell, 8, pixel).

        Two thresholds, three offsets, and three factors, which are NaN for bad pixels.
        """
        if not path.exists():
            tables = self._calibrator().tables
            np.save(path, tables.table[tables.row_of])
        return path

    def _calibrator(self) -> Calibrator:
        return Calibrator(
            self.constants, gain_mode="adaptive", photon_energy_kev=PHOTON, unit="keV", backend="cpu"
        )


def _constants(good: np.ndarray, cells: int, rng: np.random.Generator) -> dict[str, dict[int, np.ndarray]]:
    """Return constants of all modules, by name and module: (gain, cell, ss, fs)."""
    good = good.reshape(MODULES, *SHAPE)
    found: dict[str, dict[int, np.ndarray]] = {}
    for module in range(MODULES):
        bad = np.where(good[module], 0, int(BadPixels.OFFSET_OUT_OF_THRESHOLD)).astype("u4")
        spread = rng.normal(0, 40, (3, cells, *SHAPE)).astype("f4")
        of_module = {
            "offset": spread + np.float32(OFFSETS)[:, None, None, None],
            "thresholds": _filled(THRESHOLDS, cells),
            "relative_gain": _filled(GAIN_RATIO, cells),
            "mg_baseline": _filled((0.0,), cells),
            "adu_per_kev": _filled((ADU_PER_KEV,), cells),
            "bad_pixels": np.broadcast_to(bad, (3, cells, *SHAPE)).copy(),
        }
        for name, array in of_module.items():
            found.setdefault(name, {})[module] = array
    return found


def _filled(values: tuple[float, ...], cells: int) -> np.ndarray:
    return np.repeat(np.float32(values), cells * SHAPE[0] * SHAPE[1]).reshape(-1, cells, *SHAPE)
