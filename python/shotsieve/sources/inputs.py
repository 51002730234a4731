"""What `open_run` accepts, brought to one form: files, and what is selected of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, UnreadableData
from .exdf import FILE_NAME, NotARunFile, RunFile, list_run, parse_name, train_text


@dataclass
class Inputs:
    """The files of a run.

    Attributes
    ----------
    label : str
        How error texts call the input.
    files : list of RunFile
        In reading order: by sequence number, then by name.
    detector_files : set of Path or None
        Files from which detector data may be taken; None: all.
    trains : ndarray of uint64 or None
        Selected trains; None: all.
    sources : set of str or None
        Selected detector sources; None: all.
    name : str
        Name of the detector, where a detector component was given.
    parallel_gain : bool
        Whether such a component was told of parallel gain.
    notes : list of str
    """

    label: str
    files: list[RunFile]
    detector_files: set[Path] | None = None
    trains: np.ndarray | None = None
    sources: set[str] | None = None
    name: str = ""
    parallel_gain: bool = False
    notes: list[str] = field(default_factory=list)


def find_inputs(run, tolerant: bool = False) -> Inputs:
    """Find the files behind a run folder, a list of files, an EXtra-data collection or detector component.

    Of EXtra-data objects only the file names and the selected trains (and modules) are used. The other
    files of the same folders are opened too, for the control data: a selection by source does not hide the
    operating mode, and a damaged file that EXtra-data has skipped is found.

    Parameters
    ----------
    run : path-like, sequence of path-like, DataCollection or detector component
    tolerant : bool
        Files that cannot be read are left out, with a note.

    Returns
    -------
    Inputs

    Raises
    ------
    BadInput
        When it is none of these, does not exist, or holds no file of a run.
    UnreadableData
        When a file cannot be read; names it and the trains it affects.

    Examples
    --------
    >>> find_inputs("raw/r0035").files[0].aggregator    # doctest: +SKIP
    'AGIPD00'
    """
    if isinstance(run, str | os.PathLike):
        path = Path(run)
        return _load([path] if path.is_file() else list_run(path), str(path), tolerant)
    if _is_component(run):
        inputs = _from_collection(run.data, type(run).__name__, tolerant)
        inputs.sources = set(run.source_to_modno)
        inputs.name = str(getattr(run, "detector_name", ""))
        inputs.parallel_gain = bool(getattr(run, "parallel_gain", False))
        return inputs
    if _is_collection(run):
        return _from_collection(run, type(run).__name__, tolerant)
    if isinstance(run, Sequence) and run and all(isinstance(p, str | os.PathLike) for p in run):
        return _load([Path(p) for p in run], f"{len(run)} files", tolerant)
    raise BadInput(
        f"a run is a folder, a file, a list of files, an EXtra-data DataCollection or detector component, "
        f"not {type(run).__name__}"
    )


def is_run(run: Any) -> bool:
    """Whether something is a run by itself: a path, or what EXtra-data opened.

    Examples
    --------
    >>> is_run("raw/r0035"), is_run(["a", "b"])
    (True, False)
    """
    return isinstance(run, str | os.PathLike) or _is_component(run) or _is_collection(run)


def _is_component(run: Any) -> bool:
    return hasattr(run, "source_to_modno") and hasattr(run, "data")


def _is_collection(run: Any) -> bool:
    return hasattr(run, "train_ids") and hasattr(run, "files")


def _from_collection(collection, kind: str, tolerant: bool) -> Inputs:
    own: set[Path] = set()
    for access in collection.files:
        path = Path(access.filename)
        own.update(_behind_overview(path) if _is_overview(path) else [path])
    folders = sorted({p.parent for p in own})
    inputs = _load(
        sorted({p for folder in folders for p in list_run(folder)} | own), f"this {kind}", tolerant
    )
    inputs.detector_files = own
    chosen = np.asarray(collection.train_ids, np.uint64)
    # EXtra-data leaves out suspect and empty trains by itself: only leaving out others is a choice.
    kept = [f.train_id[f.good] for f in inputs.files if f.path in own]
    if np.setdiff1d(np.concatenate(kept or [chosen]), chosen).size:
        inputs.trains = chosen
    return inputs


def _is_overview(path: Path) -> bool:
    return path.name.lower().endswith("overview.h5")


def _behind_overview(path: Path) -> list[Path]:
    """The files that a virtual overview points at; its name says in which run folder they are."""
    if path.name.lower() == "overview.h5":
        return list_run(path.parent)
    raise BadInput(
        f"{path} is a virtual overview outside the run's folder: give the folder of the run itself, or open "
        "it with RunDirectory(..., _use_voview=False)"
    )


def _load(paths: list[Path], label: str, tolerant: bool = False) -> Inputs:
    files: list[RunFile] = []
    broken: list[tuple[Path, UnreadableData]] = []
    inputs = Inputs(label, files)
    for path in paths:
        try:
            files.append(RunFile.load(path))
        except UnreadableData as e:
            broken.append((path, e))
        except NotARunFile as e:
            if FILE_NAME.fullmatch(path.name):
                raise UnreadableData(f"{e}, though it is named so: was it written to its end?") from e
            inputs.notes.append(f"{path.name} is no file of the European XFEL format and was not used")
    if tolerant:
        inputs.notes += [
            f"{without_folder(error, path)}. {_affected(path, files)} It was left out"
            for path, error in broken
        ]
    elif broken:
        path, error = broken[0]
        others = f" {len(broken) - 1} more files cannot be read either." if len(broken) > 1 else ""
        raise UnreadableData(f"{error}. {_affected(path, files)}{others}") from error
    if not files:
        raise BadInput(f"{label} holds no file of the European XFEL format: is this the folder of a run?")
    files.sort(key=lambda f: (f.sequence, f.path.name, str(f.path)))
    told = {(f.meta.proposal, f.meta.run) for f in files if f.meta.run}
    # Tools of the facility leave the proposal at 0.
    runs = sorted((p, r) for p, r in told if p or all(other == (0, r) or other[1] != r for other in told))
    if len(runs) > 1:
        named = ", ".join(f"p{p:06d} r{r:04d}" for p, r in runs)
        raise BadInput(f"{label} holds files of several runs ({named}): give those of one run")
    return inputs


def without_folder(error: Exception, path: Path) -> str:
    """Return the text of an error, in which a file goes by its name alone: notes are the same everywhere."""
    return str(error).replace(str(path), path.name)


def _affected(path: Path, files: list[RunFile]) -> str:
    """Trains of a file that cannot be read, as its siblings tell them."""
    category, _, aggregator, sequence = parse_name(path)
    same = [f for f in files if f.sequence == sequence and f.category == category and f.aggregator]
    kind = re.sub(r"\d+$", "", aggregator)
    near = [f for f in same if re.sub(r"\d+$", "", f.aggregator) == kind] or same
    if not near:
        return "Which trains it affects is not known: no other file of the run has its sequence number."
    trains = train_text(np.concatenate([f.train_id for f in near]))
    return f"By the other files of sequence {sequence} it affects trains {trains}."
