"""The raw run: a file per module and sequence, one of the detector's control devices, one of the machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from ..detectors import Detector
from ..sources.base import RunMeta
from ..write.exdf_file import ExdfFile
from .detector import PIXELS
from .frames import FrameMaker
from .kinds import KINDS, detector_of
from .machine import write_machine
from .parameters import SpiParameters
from .schedule import Schedule

DETECTOR_DATA_BYTES = 5408
JUNK_PULSE, JUNK_CELL = 3, 40000

# Called after each (train, module): its shots, row of the module, photons drawn, gain stages.
Collector = Callable[[np.ndarray, int, np.ndarray, "np.ndarray | None"], None]


def run_meta(p: SpiParameters) -> RunMeta:
    """Return the METADATA of a simulated run.

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    RunMeta
        Dates are fixed, so that the same parameters give the same bytes.

    Examples
    --------
    >>> run_meta(SpiParameters()).run
    1
    """
    return RunMeta(
        proposal=p.proposal,
        run=p.run,
        creation_date="20231114T221320Z",
        update_date="20231114T221320Z",
        sample="simulated spheres",
        run_type="simulation",
        daq_library="shotsieve",
        karabo_framework="none",
    )


def sequences(p: SpiParameters) -> list[np.ndarray]:
    """Return the trains of each sequence file of the detector.

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    list of numpy.ndarray
        Indices of trains, ascending; neighbours share `SpiParameters.sequence_overlap` trains.

    Examples
    --------
    >>> [s.tolist() for s in sequences(SpiParameters(n_trains=3, split_at=(2,)))]
    [[0, 1], [2]]
    """
    edges = [0, *p.split_at, p.n_trains]
    overlap = [0] + [p.sequence_overlap] * len(p.split_at)
    pairs = zip(edges[:-1], edges[1:], overlap, strict=True)
    return [np.arange(max(start - back, 0), stop) for start, stop, back in pairs]


def control_values(p: SpiParameters) -> dict[str, tuple[str, dict]]:
    """Return the control devices of the detector: source -> (class, values).

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    dict
        Constant values.

    Examples
    --------
    >>> int(control_values(SpiParameters())["SPB_IRU_AGIPD1M1/MDL/FPGA_COMP"][1]["gain"])
    0
    """
    return KINDS[p.detector].control(p)


def write_run(
    folder: Path,
    p: SpiParameters,
    schedule: Schedule,
    maker: FrameMaker,
    collect: Collector | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> list[Path]:
    """Write the raw run; one train of one module is in memory at a time.

    Parameters
    ----------
    folder : Path
        Folder of the run; it must exist and be empty.
    p, schedule, maker
        What to write.
    collect : callable, optional
        Receives the truth of every (train, module), in the order of trains and modules.
    progress : callable, optional
        Called with (trains done, trains in all, bytes written).

    Returns
    -------
    list of Path
        The files, sorted.

    Examples
    --------
    >>> write_run(folder, p, schedule, maker)  # doctest: +SKIP
    """
    files: list[Path] = []
    done, total, size = 0, sum(map(len, sequences(p))), 0
    rows = [p.modules.index(m) for m in p.written_modules]
    detector = detector_of(p)
    for number, trains in enumerate(sequences(p)):
        with ExitStack() as stack:
            images = []
            for module in p.written_modules:
                path = (
                    folder / f"RAW-R{p.run:04d}-{detector.aggregator.format(module=module)}-S{number:05d}.h5"
                )
                exdf = stack.enter_context(_module_file(path, p, schedule, module, trains, number))
                images.append(_module_groups(exdf, p, schedule, module, trains))
                files.append(path)
            at = np.zeros(len(rows), np.int64)
            for train in trains:
                for k, row in enumerate(rows):
                    shots = schedule.shots_of(train)
                    shots = shots[schedule.present[shots, row]]
                    words, drawn, stage = _make(maker, detector, shots, row, p.truth_stage)
                    n = len(words)
                    if n:
                        images[k][at[k] : at[k] + n] = words
                        at[k] += n
                        size += words.nbytes
                    if collect is not None:
                        collect(shots, row, drawn, stage)
                done += 1
                if progress is not None:
                    progress(done, total, size)
    files.append(_control_file(folder, p, schedule))
    files.append(folder / f"RAW-R{p.run:04d}-DA01-S00000.h5")
    write_machine(files[-1], p, schedule, run_meta(p))
    return sorted(files)


def _make(maker: FrameMaker, detector: Detector, shots: np.ndarray, row: int, with_stage: bool):
    """Return the words of a module's shots as they are recorded, photons drawn and stages or None.

    In parallel gain a train has all frames in high gain, then all in medium and all in low gain.
    """
    planes = detector.plane_count
    words = np.empty((shots.size, planes, PIXELS), np.uint16)
    stage = np.zeros((shots.size, PIXELS), np.uint8) if with_stage else None
    drawn = np.zeros(shots.size, np.int64)
    for i, shot in enumerate(shots):
        drawn[i] = maker.make(int(shot), row, words[i], None if stage is None else stage[i])
    if detector.encoding == "parallel":
        words, planes = words.swapaxes(0, 1), 1
    return words.reshape(-1, planes, *detector.shape), drawn, stage


def _module_file(
    path: Path, p: SpiParameters, schedule: Schedule, module: int, trains, number: int
) -> ExdfFile:
    flags = np.ones(len(trains), np.int32)
    flags[np.isin(trains, p.suspect_trains)] = 0
    flags[np.isin(trains, [t for m, t in p.suspect if m == module])] = 0
    return ExdfFile(
        path,
        train_ids=schedule.train_id[trains],
        timestamps=schedule.timestamp[trains],
        meta=run_meta(p),
        sequence=number,
        flags=flags,
        origin=np.where(flags == 1, -1, 0),
    )


def _module_groups(exdf: ExdfFile, p: SpiParameters, schedule: Schedule, module: int, trains) -> h5py.Dataset:
    """Make the four groups of a module with everything but the frames; return the dataset of the frames."""
    source = f"{p.detector_name}/DET/{module}CH0:xtdf"
    row = p.modules.index(module)
    by_train = [schedule.shots_of(t) for t in trains]
    by_train = [shots[schedule.present[shots, row]] for shots in by_train]
    detector = detector_of(p)
    planes, copies = detector.plane_count, 1
    if detector.encoding == "parallel":
        planes, copies = 1, 3
        by_train = [np.tile(shots, 3) for shots in by_train]
    shots, counts = np.concatenate(by_train), np.array([len(s) for s in by_train])
    n = len(shots)
    # Only the first third of a train has ids of its own in parallel gain; what the others say is junk.
    junk = np.concatenate([np.arange(len(s)) >= len(s) // copies for s in by_train])
    image = exdf.instrument(source, "image", counts)
    data = image.create_dataset(
        "data",
        (n, planes, *detector.shape),
        "u2",
        chunks=(1, planes, *detector.shape),
        maxshape=(None, planes, *detector.shape),
    )
    tid = schedule.train_id[schedule.train[shots]]
    for key, values, dtype in (
        ("trainId", tid, "u8"),
        ("pulseId", np.where(junk, JUNK_PULSE, schedule.pulse_id[shots]), "u8"),
        ("cellId", np.where(junk, JUNK_CELL, schedule.cell_id[shots]), "u2"),
        ("length", np.full(n, 2 * planes * PIXELS), "u4"),
        ("status", np.zeros(n), "u2"),
    ):
        image[key] = np.asarray(values).astype(dtype)[:, None]  # raw labels carry an axis of length 1
    there = (counts > 0).astype(np.int64)
    k, tids = int(there.sum()), schedule.train_id[trains][counts > 0]
    header = exdf.instrument(source, "header", there)
    detector = exdf.instrument(source, "detector", there)
    trailer = exdf.instrument(source, "trailer", there)
    for group in (header, detector, trailer):
        group["trainId"] = tids
    header["pulseCount"] = counts[counts > 0].astype("u8")
    header["dataId"], header["linkId"] = np.zeros(k, "u8"), np.full(k, module, "u8")
    header["majorTrainFormatVersion"], header["minorTrainFormatVersion"] = (
        np.full(k, 2, "u4"),
        np.ones(k, "u4"),
    )
    header["magicNumberBegin"] = np.tile(np.arange(8, dtype="i1"), (k, 1))
    header["reserved"] = np.zeros((k, 16), "u1")
    detector.create_dataset("data", (k, DETECTOR_DATA_BYTES), "u1")
    trailer["checksum"], trailer["status"] = np.zeros((k, 16), "i1"), np.zeros(k, "u8")
    trailer["magicNumberEnd"] = np.tile(np.arange(8, 16, dtype="i1"), (k, 1))
    return data


def _control_file(folder: Path, p: SpiParameters, schedule: Schedule) -> Path:
    path = folder / f"RAW-R{p.run:04d}-{p.detector}CTRL00-S00000.h5"
    with ExdfFile(path, train_ids=schedule.train_id, timestamps=schedule.timestamp, meta=run_meta(p)) as exdf:
        for source, (class_id, values) in control_values(p).items():
            exdf.control(source, values, class_id)
    return path
