"""The peer of `chain_corrected` and `chain_raw`: EXtra-data, NumPy or numba, pyFAI and h5py in two processes.

As a careful user writes it: each process has half of the trains, a train at a time, and one core; masks are
inflated by EXtra-data with `zlib_into`, raw words calibrated by compiled loops of numba, or by NumPy over
whole trains, with constants folded before, bad pixels set to NaN, lit pixels and photons counted by NumPy,
profiles made by pyFAI's fastest engine without splitting, prepared before, and kept frames written with gzip
masks. Peaks are not found here: OM needs another NumPy, and its time is added by `shotsieve.bench.om_peer`.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ENGINE = ("no", "csc", "cython")


@dataclass
class Told:
    """What the workers found: (shots,) each, and profiles (shots, npt)."""

    lit: np.ndarray
    photons: np.ndarray
    profiles: np.ndarray
    radial: np.ndarray


class ChainPeer:
    """Two processes that wait to be told to start; a context manager.

    Parameters
    ----------
    case : ChainCase
    kept : ndarray of bool, shape (shots,)
        Shots whose frames are written: given, since the peaks are found elsewhere.
    folder : Path
        Where kept frames go.
    calibrated_by : {"files", "numba", "numpy"}
        Frames of corrected files; or what makes them of raw words.
    workers : int
    """

    def __init__(
        self, case: Any, kept: np.ndarray, folder: Path, calibrated_by: str = "files", workers: int = 2
    ) -> None:
        folded = None if calibrated_by == "files" else str(case.save_folded(folder / "folded.npy"))
        context = multiprocessing.get_context("spawn")
        parts = np.array_split(np.arange(case.trains), workers)
        self._pipes, self._processes = [], []
        for number, part in enumerate(parts):
            mine, theirs = context.Pipe()
            task = {
                "run": str(case.run), "geometry": str(case.geometry), "trains": part, "pulses": case.pulses,
                "kept": kept, "out": str(folder / f"peer-{calibrated_by}-{number}.h5"), "folded": folded,
                "calibrated_by": calibrated_by,
            }  # fmt: skip
            process = context.Process(target=_work, args=(theirs, task), daemon=True)
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()  # everything is prepared

    def run(self) -> None:
        """Pass the run once."""
        for pipe in self._pipes:
            pipe.send("go")
        answers = [pipe.recv() for pipe in self._pipes]
        if wrong := [answer for answer in answers if isinstance(answer, str)]:
            raise RuntimeError(wrong[0])
        joined = [np.concatenate(column) for column in zip(*(answer[:3] for answer in answers), strict=True)]
        self.told = Told(*joined, answers[0][3])
        self.steps = answers[0][4]

    def __enter__(self) -> ChainPeer:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=10)
            process.kill()


def _work(pipe: Any, task: dict[str, Any]) -> None:
    os.environ["EXTRA_NUM_THREADS"] = "1"  # two processes on two cores
    try:
        worker = (_Worker if task["folded"] is None else _RawWorker)(task)
    except BaseException as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(worker.run())
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


class _Worker:
    def __init__(self, task: dict[str, Any]) -> None:
        import chain_case
        import extra_data
        from extra_geom import AGIPD_1MGeometry
        from pyFAI.integrator.azimuthal import AzimuthalIntegrator

        self.task, self.case = task, chain_case
        self.run_files = extra_data.RunDirectory(task["run"])
        detector = AGIPD_1MGeometry.from_crystfel_geom(task["geometry"]).to_pyfai_detector()
        wavelength = 12.398419843320026e-10 / chain_case.PHOTON
        self.ai = AzimuthalIntegrator(dist=chain_case.DISTANCE_M, detector=detector, wavelength=wavelength)
        self._profile(np.zeros((8192, 128), "f4"))  # its matrix is made once

    def _profile(self, frame: np.ndarray) -> Any:
        return self.ai.integrate1d(
            frame, self.case.NPT, unit="q_A^-1", method=ENGINE, correctSolidAngle=False, dummy=np.nan
        )

    def _read(self, train: int) -> Any:
        from extra_data.components import AGIPD1M

        detector = AGIPD1M(self.run_files.select_trains(np.s_[train : train + 1]), raw=False)
        return detector, detector["image.data"].ndarray(), detector["image.mask"].ndarray()

    def _frames(self, words: Any) -> tuple[np.ndarray, Any]:
        """Return frames with NaN for bad pixels, and what gives mask and gain of some of them."""
        detector, data, mask = words
        data[mask != 0] = np.nan

        def rest(keep: np.ndarray) -> dict[str, np.ndarray]:
            return {"mask": mask[:, keep], "gain": detector["image.gain"].ndarray()[:, keep]}

        return data, rest

    def run(self) -> tuple[Any, ...]:
        import h5py

        case, pulses = self.case, self.task["pulses"]
        lit, photons, profiles, steps = (
            [],
            [],
            [],
            dict.fromkeys(("read", "calibrate", "numpy", "pyfai", "write"), 0.0),
        )
        rows = np.concatenate([np.arange(pulses) + train * pulses for train in self.task["trains"]])
        n_kept = int(self.task["kept"][rows].sum())
        packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        with h5py.File(self.task["out"], "w") as file:
            shape = (n_kept, case.MODULES, *case.SHAPE)
            out = {
                name: file.create_dataset(
                    name, shape, dtype, chunks=(1, 1, *case.SHAPE), maxshape=(None, *shape[1:]), **how
                )
                for name, dtype, how in (("data", "f4", {}), ("mask", "u4", packed), ("gain", "u1", packed))
            }
            done = 0
            for train in self.task["trains"]:
                began = time.perf_counter()
                words = self._read(train)
                now = _add(steps, "read", began)
                data, rest = self._frames(words)
                now = _add(steps, "calibrate", now)
                keep = np.flatnonzero(self.task["kept"][train * pulses : (train + 1) * pulses])
                lit.append((data > np.float32(case.LIT)).sum(axis=(0, 2, 3)))
                counted = np.nan_to_num(np.floor(data / np.float32(case.PHOTON) + np.float32(0.5)))
                photons.append(np.maximum(counted, 0).sum(axis=(0, 2, 3)))
                now = _add(steps, "numpy", now)
                for pulse in range(pulses):
                    found = self._profile(np.ascontiguousarray(data[:, pulse]).reshape(8192, 128))
                    profiles.append(found.intensity)
                now = _add(steps, "pyfai", now)
                if len(keep):
                    for name, planes in {"data": data[:, keep], **rest(keep)}.items():
                        out[name][done : done + len(keep)] = planes.swapaxes(0, 1)
                    done += len(keep)
                    _add(steps, "write", now)
        return np.concatenate(lit), np.concatenate(photons), np.array(profiles), found.radial, steps


class _RawWorker(_Worker):
    """Raw words, and constants that are folded and in the page cache."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__(task)
        self.table = np.load(task["folded"], mmap_mode="r")  # module, cell, of which see `save_folded`, pixel
        self.calibrate = _compiled() if task["calibrated_by"] == "numba" else by_numpy
        shape = (self.case.MODULES, task["pulses"], *self.case.SHAPE)
        self.data, self.gain = np.empty(shape, "f4"), np.empty(shape, "u1")
        self._frames(np.zeros((*shape[:2], 2, *shape[2:]), "u2"))  # compiled now

    def _read(self, train: int) -> np.ndarray:
        from extra_data.components import AGIPD1M

        return AGIPD1M(self.run_files.select_trains(np.s_[train : train + 1]))["image.data"].ndarray()

    def _frames(self, words: np.ndarray) -> tuple[np.ndarray, Any]:
        pixels = self.case.SHAPE[0] * self.case.SHAPE[1]
        for module in range(self.case.MODULES):
            self.calibrate(
                words[module].reshape(-1, 2, pixels),
                self.table[module],
                self.data[module].reshape(-1, pixels),
                self.gain[module].reshape(-1, pixels),
            )

        def rest(keep: np.ndarray) -> dict[str, np.ndarray]:
            return {"mask": np.isnan(self.data[:, keep]).astype("u4"), "gain": self.gain[:, keep]}

        return self.data, rest


def by_numpy(words: np.ndarray, table: np.ndarray, data: np.ndarray, gain: np.ndarray) -> None:
    """Calibrate frames of a module, all at once: float32 (n, pixels) and uint8."""
    above = words[:, 1] > table[:, 0]
    np.add(above, above & (words[:, 1] > table[:, 1]), out=gain, dtype="u1", casting="unsafe")
    stages = table.transpose(1, 0, 2)
    np.subtract(words[:, 0], np.choose(gain, stages[2:5]), out=data)
    np.multiply(data, np.choose(gain, stages[5:8]), out=data)


def _compiled() -> Any:
    import numba

    @numba.njit(error_model="numpy")
    def calibrate(words, table, data, gain):
        for shot in range(words.shape[0]):
            for pixel in range(words.shape[2]):
                level = words[shot, 1, pixel]
                stage = 0
                if level > table[shot, 0, pixel]:
                    stage = 2 if level > table[shot, 1, pixel] else 1
                value = np.float32(words[shot, 0, pixel]) - table[shot, 2 + stage, pixel]
                data[shot, pixel] = value * table[shot, 5 + stage, pixel]
                gain[shot, pixel] = stage

    return calibrate


def _add(steps: dict[str, float], name: str, began: float) -> float:
    now = time.perf_counter()
    steps[name] += now - began
    return now
