"""The whole of a benchmark: rates of the machine, stages and peers in turns, and the latency of a train."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, OutputError
from . import machine
from .cases import KINDS, Case, check_case, make_case
from .files import reading
from .peers import Calibrated, corrected_lit, extra_redu_peer, numpy_peer, om_peers, pyfai_peer
from .rounded import rounded
from .rounds import interleave
from .stages import SECTIONS, EngineStage, Measured, measured_stage

if TYPE_CHECKING:
    from ..backend import Backend

FORMAT, VERSION = "shotsieve bench", 1
COPY_BYTES = 1 << 28
LATENCIES = 50


def run(
    backend: Backend,
    detectors: Sequence[str] = tuple(KINDS),
    *,
    modules: int = 4,
    cells: int | None = None,
    trains: int = 4,
    rounds: int = 7,
    peers: bool = True,
    copy_bytes: int = COPY_BYTES,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure a machine.

    Everything of a detector runs once in each round, so that it shares the machine's moods; the fastest round
    counts. The first answer and the last are checked.

    Parameters
    ----------
    backend : Backend
    detectors : sequence of str
        Some of `cases.KINDS`.
    modules, cells, trains : int
        Size of a case; see `make_case`.
    rounds : int
    peers : bool
        NumPy, and pyFAI, EXtra-data, EXtra-redu and OM where they are installed.
    copy_bytes : int
        Size of the arrays that are copied.
    say : callable
        Told what comes next.

    Returns
    -------
    dict
        ``machine``, ``versions``, ``backend``, ``rates`` (GB/s, by detector), ``rows`` and ``latency``. What
        ``shots_per_s`` says is of a whole detector, though only some of its modules were measured.

    Raises
    ------
    BadInput
        As `check_case`, before anything is measured.
    WrongAnswer
        If a stage did not compute what it should have.
    """
    for name in detectors:
        check_case(name, modules, cells, trains)
    report: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "machine": machine.describe(backend.detail if backend.name == "cuda" else ""),
        "versions": machine.versions(),
        "backend": backend.name,
        "threads": backend.threads,
        "rounds": rounds,
        "rates": {},
        "rows": [],
        "latency": [],
    }
    for name in detectors:
        say(f"{name}: making {trains} trains of {modules} modules")
        with tempfile.TemporaryDirectory(prefix="shotsieve-bench-") as folder:
            case = make_case(name, Path(folder), modules, cells, trains)
            _measure(report, case, backend, rounds, peers, copy_bytes, Path(folder), say)
    return report


def _measure(
    report: dict[str, Any],
    case: Case,
    backend: Backend,
    rounds: int,
    peers: bool,
    copy_bytes: int,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    name = case.detector.name
    copies = machine.copies(backend, copy_bytes)
    readers = machine.readers(case.raw, backend.threads)
    places = (False, True) if backend.name != "cpu" else (False,)
    stages = [measured_stage(case, backend, stage, place) for place in places for stage in SECTIONS]
    stages += reading(case, folder, peers)
    frames = Calibrated.of(case)
    stages.append(corrected_lit(frames, backend))
    if peers:
        others = [numpy_peer(case), pyfai_peer(case), extra_redu_peer(frames), *om_peers(frames)]
        stages += [peer for peer in others if peer is not None]
    say(f"{name}: {rounds} rounds of {len(stages)} stages")
    functions: dict[str, Callable[[], object]] = {f"read {how}": reader for how, reader in readers.items()}
    functions |= {f"rate {how}": function for how, (function, _) in copies.items()}
    functions |= {f"stage {stage.name}": stage.run for stage in stages}
    seconds = interleave(functions, rounds)
    rates = {"read": case.raw.nbytes / min(min(seconds[f"read {how}"]) for how in readers)}
    rates |= {how: moved / min(seconds[f"rate {how}"]) for how, (_, moved) in copies.items()}
    report["rates"][name] = {how: rate / 1e9 for how, rate in rates.items()}
    for stage in stages:
        report["rows"].append(_row(case, stage, seconds[f"stage {stage.name}"], rates))
        stage.close()
    say(f"{name}: latency of a train")
    report["latency"] += [_latency(case, backend, stage) for stage in ("lit", "chain")]


def _row(case: Case, stage: Measured, seconds: list[float], rates: dict[str, float]) -> dict[str, Any]:
    stage.check()
    shots, least = stage.shots or case.shots, min(seconds)
    floor = stage.floor_bytes / rates[stage.floor]
    return {
        "detector": case.detector.name,
        "stage": stage.name,
        "peer_of": stage.peer_of,
        "version": stage.version,
        "shots_per_s": shots * case.whole / least,
        "median_shots_per_s": shots * case.whole / median(seconds),
        "spread": (max(seconds) - least) / least,
        "gb_per_s": case.raw.nbytes * shots / case.shots / least / 1e9,
        "floor": stage.floor,
        "floor_fraction": floor / least,
        "of_detector": shots * case.whole / least / case.kind.shots_per_s,
    }


def _latency(case: Case, backend: Backend, name: str) -> dict[str, Any]:
    stage = EngineStage(case, backend, SECTIONS[name])
    stage.latencies(3)
    seconds = stage.latencies(LATENCIES)
    stage.engine.close()
    return {
        "detector": case.detector.name,
        "stage": name,
        "shots": case.raw.shape[1],
        "modules": len(case.modules),
        "p50_ms": 1e3 * float(np.percentile(seconds, 50)),
        "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
    }


def save(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON, numbers with four digits."""
    try:
        path.write_text(json.dumps(rounded(report), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the report {path} cannot be written: {error}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a report that `save` wrote.

    Raises
    ------
    BadInput
        If the file is none.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no report of shotsieve bench: {error}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT or report.get("version") != VERSION:
        raise BadInput(f"{path} is no report of shotsieve bench, version {VERSION}")
    return report
