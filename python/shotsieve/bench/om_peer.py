"""The peer of the peak benchmarks: OM's peakfinder8, a program of its own in a Python of its own.

OM is under the GPL and needs NumPy 1: nothing of it is imported here. It runs in another environment, whose
Python the variable SHOTSIEVE_OM_PYTHON names, and only its compiled extension is used. This file is both
sides: imported it is the parent (`Peer`), run as a script it is the child. Arrays travel as .npy files,
everything else as lines of JSON.

The extension works in one thread, one frame a call; its time is the CPU time of that thread, of the calls
alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE = "SHOTSIEVE_OM_PYTHON"
MODES = ("normal", "fast")
SAMPLE = 100  # pixels per radial bin that fast mode looks at
COLUMNS = ("shot", "fs", "ss", "total", "n_pixels", "max", "sigma", "snr")
MOST = 2048


class NoPeer(Exception):
    """No OM is named; the text says how to name one. An OM that is named and fails is a RuntimeError."""


@dataclass(frozen=True)
class Found:
    """What OM found in a stack of frames.

    Attributes
    ----------
    rows : ndarray of float64, shape (n, 8)
        One peak each, `COLUMNS`; in OM's order. OM's list called snr holds sigma, and is named so here.
    n_peaks : ndarray of int64, shape (shots,)
    seconds : ndarray of float64, shape (shots,)
        CPU time of each call.
    """

    rows: np.ndarray
    n_peaks: np.ndarray
    seconds: np.ndarray

    def of(self, shot: int) -> np.ndarray:
        """Return the rows of one shot."""
        return self.rows[self.rows[:, 0] == shot]


class Peer:
    """A running OM; a context manager.

    Parameters
    ----------
    radius : ndarray of float32, shape (rows, columns)
    mask : ndarray of bool, shape (rows, columns)
        True: good.
    panel : (int, int)
        Rows and columns of the equal panels, which fill the slab from top to bottom.

    Raises
    ------
    NoPeer
        If the variable is not set.
    RuntimeError
        If OM does not load there, here or later.

    Examples
    --------
    >>> with Peer(radius, mask) as om:  # doctest: +SKIP
    ...     om.load("some", frames)
    ...     found = om.find("some", setting, "fast")
    """

    def __init__(self, radius: np.ndarray, mask: np.ndarray, panel: tuple[int, int] = (64, 128)) -> None:
        python = os.environ.get(VARIABLE, "")
        if not python:
            raise NoPeer(f"{VARIABLE} is not set: it names a Python that has OM (pip install ondamonitor)")
        self._folder = tempfile.TemporaryDirectory(prefix="om-peer-")
        try:
            # Isolated: what the parent imports from has another NumPy, and files beside this one other names.
            self._child = subprocess.Popen(
                [python, "-I", str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            self._folder.cleanup()
            raise RuntimeError(f"{VARIABLE}={python} cannot be run: {error}") from error
        try:
            hello = self._answer()
            self.name = f"OM {hello['version']}"
            self.versions = {"om": hello["version"], "om_numpy": hello["numpy"]}
            self._ask(
                do="detector",
                radius=self._save("radius", np.asarray(radius, "f4")),
                mask=self._save("mask", np.asarray(mask, "i1")),
                panel=list(panel),
            )
        except BaseException:
            self.close()
            raise

    def load(self, name: str, frames: np.ndarray) -> None:
        """Hand frames over, float32 (shots, rows, columns); they stay in the child's memory until `drop`."""
        path = self._save("frames", np.asarray(frames, "f4"))
        self._ask(do="load", name=name, path=path)
        Path(path).unlink()

    def drop(self, name: str) -> None:
        """Forget frames."""
        self._ask(do="drop", name=name)

    def find(self, name: str, setting: Mapping[str, Any], mode: str = "normal") -> Found:
        """Search loaded frames.

        Parameters
        ----------
        name : str
            As given to `load`.
        setting : mapping
            threshold, min_snr, min_pix_count, max_pix_count, local_bg_radius.
        mode : {"normal", "fast"}

        Returns
        -------
        Found
        """
        if mode not in MODES:
            raise ValueError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
        path = str(Path(self._folder.name) / "rows.npy")
        answer = self._ask(do="find", name=name, setting=dict(setting), fast=mode == "fast", rows=path)
        return Found(np.load(path), np.array(answer["n_peaks"], "i8"), np.array(answer["seconds"]))

    def seconds(self, name: str, setting: Mapping[str, Any], mode: str = "normal") -> float:
        """Return the CPU seconds of searching all loaded frames once; the peaks are thrown away."""
        return float(
            sum(self._ask(do="find", name=name, setting=dict(setting), fast=mode == "fast")["seconds"])
        )

    def close(self) -> None:
        """End the child."""
        for end in (self._child.stdin, self._child.stdout):
            end.close()
        try:
            self._child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._folder.cleanup()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _save(self, name: str, array: np.ndarray) -> str:
        path = str(Path(self._folder.name) / f"{name}.npy")
        np.save(path, array)
        return path

    def _ask(self, **question: Any) -> dict[str, Any]:
        try:
            self._child.stdin.write(json.dumps(question) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the answer below says that the child is gone
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the process of {VARIABLE}={os.environ.get(VARIABLE)} ended with status {self._child.wait()}"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{VARIABLE}={os.environ.get(VARIABLE)}: {answer['error']}")
        return answer


# The child. It runs with whatever Python and NumPy OM needs, and imports nothing of ours.


def _extension() -> Any:
    """Load OM's extension alone: the package around it may not import without all of OM's dependencies."""
    package = importlib.util.find_spec("om")
    places = list(package.submodule_search_locations) if package else []
    files = [file for place in places for file in Path(place).glob("algorithms/_crystallography*.so")]
    if not files:
        raise ImportError("OM's extension om.algorithms._crystallography is not installed there")
    spec = importlib.util.spec_from_file_location("om.algorithms._crystallography", files[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _sampled(radius: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels for fast mode and their bins: at most so many a bin, masked ones too, as OM does."""
    bins = np.rint(radius).astype("i8").ravel()
    order = np.random.default_rng(seed).permutation(bins.size)
    order = order[np.argsort(bins[order], kind="stable")]
    size = np.bincount(bins)
    place = np.arange(bins.size) - np.repeat(np.cumsum(size) - size, size)
    chosen = np.sort(order[place < SAMPLE])
    return chosen.astype("i4"), bins[chosen].astype("i4")


class _Child:
    def __init__(self) -> None:
        self.search = _extension().peakfinder_8
        self.frames: dict[str, np.ndarray] = {}

    def detector(self, radius: str, mask: str, panel: list[int]) -> dict[str, Any]:
        self.radius, self.mask = np.load(radius), np.load(mask)
        rows, columns = self.radius.shape
        self.layout = (panel[1], panel[0], columns // panel[1], rows // panel[0])
        self.sample, self.sample_bins = _sampled(self.radius)
        return {}

    def load(self, name: str, path: str) -> dict[str, Any]:
        self.frames[name] = np.load(path)
        return {}

    def drop(self, name: str) -> dict[str, Any]:
        del self.frames[name]
        return {}

    def find(self, name: str, setting: dict[str, Any], fast: bool, rows: str = "") -> dict[str, Any]:
        sampling = (self.sample.size, self.sample, self.sample_bins, 1) if fast else (0, None, None, 0)
        criteria = (
            float(setting["threshold"]),
            float(setting["min_snr"]),
            setting["min_pix_count"],
            setting["max_pix_count"],
            setting["local_bg_radius"],
        )
        seconds, n_peaks, found = [], [], []
        for shot, frame in enumerate(self.frames[name]):
            began = time.thread_time()
            lists = self.search(MOST, frame, self.mask, self.radius, *sampling, *self.layout, *criteria)
            seconds.append(time.thread_time() - began)
            fs, ss, total, _, n_pixels, highest, sigma, snr = lists
            n_peaks.append(len(fs))
            if rows:
                columns = (np.full(len(fs), shot), fs, ss, total, n_pixels, highest, sigma, snr)
                found.append(np.stack([np.asarray(column, "f8") for column in columns], axis=1))
        if rows:
            np.save(rows, np.concatenate(found) if found else np.zeros((0, len(COLUMNS))))
        return {"seconds": seconds, "n_peaks": n_peaks}


def _serve() -> None:
    try:
        child = _Child()
        hello = {"version": metadata.version("ondamonitor"), "numpy": np.__version__}
    except Exception as error:
        hello, child = {"error": f"{type(error).__name__}: {error}"}, None
    print(json.dumps(hello), flush=True)
    for line in sys.stdin if child else ():
        question = json.loads(line)
        answer = getattr(child, question.pop("do"))(**question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
