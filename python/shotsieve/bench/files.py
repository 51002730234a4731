"""A case as files of a run, and reading them: ours, and EXtra-data's where it is installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..sources.base import RunMeta
from ..sources.run import open_run
from ..write.exdf_file import ExdfFile
from .cases import Case
from .stages import Measured, WrongAnswer

NAMES = {
    "AGIPD1M": "SPB_DET_AGIPD1M-1",
    "JUNGFRAU": "SPB_IRDA_JF4M",
    "LPD1M": "FXE_DET_LPD1M-1",
    "DSSC1M": "SCS_DET_DSSC1M-1",
}
MOST_BYTES = 1 << 27
"""Words that are written, but one train at least: a JUNGFRAU of four modules has as much in each."""


def reading(case: Case, folder: Path, peers: bool) -> list[Measured]:
    """Write trains of a case to files, one chunk for each frame or row, and return what reads them again.

    Parameters
    ----------
    case : Case
    folder : Path
        Empty; the files stay there, and in the page cache.
    peers : bool
        EXtra-data too, if it is installed.

    Raises
    ------
    OutputError
        If there is no room for them.
    """
    trains = max(1, MOST_BYTES * len(case.raw) // case.raw.nbytes)
    part = dataclasses.replace(case, raw=case.raw[:trains], lit=case.lit[:trains], hits=case.hits[:trains])
    _write(part, folder)
    found = [_ours(part, folder)]
    if peers and (peer := _extra_data(part, folder)) is not None:
        found.append(peer)
    return found


def _write(case: Case, folder: Path) -> None:
    detector = case.detector
    trains, cells = case.hits.shape
    ids, by_trains = np.arange(1, trains + 1), detector.layout == "trains"
    chunk = (1, *(cells,) * by_trains, *detector.recorded_shape)
    for place, module in enumerate(case.modules):
        path = folder / f"RAW-R0001-{detector.aggregator.format(module=module)}-S00000.h5"
        with ExdfFile(path, train_ids=ids, timestamps=ids, meta=RunMeta(run=1)) as exdf:
            source = detector.raw_source.format(detector=NAMES[detector.name], module=module)
            rows = np.full(trains, 1 if by_trains else cells)
            group = exdf.instrument(source, detector.group, rows)
            group["trainId"] = np.repeat(ids, rows).astype("u8")
            labels = np.tile(case.constants.cell_ids, (trains, 1))
            group[detector.cell_key] = (
                labels.astype("u1") if by_trains else labels.astype("u2").reshape(-1, 1)
            )
            if detector.pulse_key:
                group[detector.pulse_key] = labels.astype("u8").reshape(-1, 1)
            for plane, key in enumerate(detector.planes):
                words = case.raw[:, :, place]
                words = words if detector.plane_axis else words[:, :, plane]
                words = words.reshape(-1, *chunk[1:]).astype("u1" if plane else "u2", copy=False)
                group.create_dataset(key, data=words, chunks=chunk)


def _measured(
    case: Case, name: str, run: Callable[[], object], words: Callable[[], np.ndarray], **more: Any
) -> Measured:
    """Return what reads a case; `words` are those of the modules, shaped as those of the case."""

    def check() -> None:
        if not np.array_equal(words(), case.raw):
            raise WrongAnswer(f"{name}: other words were read than had been written")

    return Measured(name, run, 2 * case.raw.nbytes, "copy", check, shots=case.shots, **more)


def _ours(case: Case, folder: Path) -> Measured:
    source = open_run(folder, case.detector.name, data="raw")
    step = case.raw.shape[1]
    # Modules that the run has not are left as they are: they cost no memory.
    out = np.empty((case.shots, len(source.modules), *case.raw.shape[3:]), "u2")
    at = np.searchsorted(source.modules, case.modules)

    def run() -> None:
        for start in range(0, case.shots, step):
            source.read(start, start + step, out[start : start + step])

    return _measured(case, "reading files", run, lambda: out[:, at].reshape(case.raw.shape))


def _extra_data(case: Case, folder: Path) -> Measured | None:
    """Return EXtra-data's reading of all trains into arrays that were made before; None without it."""
    try:
        import extra_data
        from extra_data import components
    except ImportError:
        return None
    detector, shape = case.detector, case.raw.shape
    opened = getattr(components, detector.name)(extra_data.RunDirectory(str(folder)), raw=True)
    keys = [opened[f"{detector.group}.{key}"] for key in detector.planes]
    out = [np.empty(key.buffer_shape(), key.dtype) for key in keys]

    def run() -> None:
        for key, array in zip(keys, out, strict=True):
            key.ndarray(out=array)

    def words() -> np.ndarray:
        planes = [array.reshape(shape[2], *shape[:2], -1, *shape[4:]) for array in out]
        return np.concatenate(planes, axis=3).transpose(1, 2, 0, 3, 4, 5)

    version = metadata.version("EXtra-data")
    return _measured(case, "reading files, EXtra-data", run, words, peer_of="reading files", version=version)
