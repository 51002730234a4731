"""Columns of a user's own: values of other sources, joined to the shots by train, or by train and pulse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from ..errors import DAMAGE, BadInput, UnreadableData, nearest
from .annotate import AnnotateParams, source_and_key
from .base import ShotList
from .bunches import collect
from .exdf import NotARunFile, RunFile, list_run, opened, reason, train_text
from .groups import ranges
from .xgm import rows_of

_PLACE = re.compile(r"(.+)\[(\d+)\]")


@dataclass
class OwnColumns:
    """Reads what ``[annotate.columns]`` and ``delay`` name.

    An instrument source whose group has a ``pulseId`` is matched by train and pulse; any other source has one
    row per train, which every shot of the train gets.

    Attributes
    ----------
    files : sequence of RunFile
        All files of the run.
    params : AnnotateParams
        ``beside`` is where sources are looked for that the run does not have.
    shots : ShotList
    notes : list of str
        Gets where values are from, and what stays unknown.
    """

    files: Sequence[RunFile]
    params: AnnotateParams
    shots: ShotList
    notes: list[str]

    def read(self, name: str, text: str) -> np.ndarray:
        """Return one column.

        Parameters
        ----------
        name : str
            Of the column.
        text : str
            ``source:key``; ``source:key[3]`` is the fourth of several numbers in a row.

        Returns
        -------
        ndarray of float64 (S,)
            NaN where the source has no row of the train, or of the shot.

        Raises
        ------
        BadInput
            If there is no such source or key, it is no number, there are several in a row and none is
            named, or a shot has two different values.
        UnreadableData
            When it is damaged, or its rows do not fit its pulses.

        Notes
        -----
        Promise: exact.

        Examples
        --------
        >>> own.read("hit", "SPB_DET_AGIPD1M-1/REDU/SPI_HITFINDER:output:data.hitFlag")    # doctest: +SKIP
        array([0., 1., 0.])
        """
        source, group, key = source_and_key(text, name)
        place = None
        if match := _PLACE.fullmatch(key):
            key, place = match[1], int(match[2])
        what = f'[annotate] {name} = "{text}"'
        files = self._files_of(source, group, what)
        by_pulse = bool(group) and any(_has(file, f"{source}/{group}/pulseId") for file in files)
        if by_pulse:
            parts = [
                part for file in files if (part := _rows(file, source, group, key, place, what)) is not None
            ]
            found = tuple(map(np.concatenate, zip(*parts, strict=True))) if parts else None
        else:
            found = collect(files, source, group, key)
        if found is None:
            hint = _keys(files, source, key)
            raise BadInput(f"{what}: {source} has no key {key!r}, or no data under it.{hint}")
        if by_pulse:
            column = _by_pulse(*found, self.shots, what)
        else:
            trains, values = found
            _check_place(values.shape[1], values.dtype, place, key, what, "train")
            at, have = rows_of(trains, self.shots.train_id)
            column = np.where(have, values[at, place or 0].astype(np.float64), np.nan)
        self._note(name, text, column, by_pulse)
        return column

    def _files_of(self, source: str, group: str, what: str) -> list[RunFile]:
        """The files that have a source: those of the run, else those beside it."""
        here = [file for file in self.files if source in _sources(file, group)]
        if here:
            return here
        there = [file for file in self._beside if source in _sources(file, group)]
        if there:
            names = ", ".join(file.path.name for file in there)
            self.notes.append(f"{source} comes from {names} in {self.params.beside}")
            return there
        known = sorted({s for file in (*self.files, *self._beside) for s in _sources(file, group)})
        kind = "instrument" if group else "control"
        where = f", nor has {self.params.beside}" if self.params.beside else ""
        raise BadInput(f"{what}: the run has no {kind} source {source!r}{where}.{nearest(source, known)}")

    @cached_property
    def _beside(self) -> list[RunFile]:
        """The files beside the run, which have to be of the same run."""
        if self.params.beside is None:
            return []
        folder = self.params.folder / Path(self.params.beside).expanduser()
        found = []
        for path in [folder] if folder.is_file() else list_run(folder):
            try:
                found.append(RunFile.load(path))
            except NotARunFile:
                continue
        for file in found:
            if other := [mine for mine in self.files if not _same_run(mine, file)]:
                raise BadInput(
                    f"[annotate] beside: {file.path} is of proposal {file.meta.proposal} run "
                    f"{file.meta.run}, and the run is {other[0].meta.proposal}, {other[0].meta.run}: "
                    "give the folder of the same run"
                )
        return found

    def _note(self, name: str, text: str, column: np.ndarray, by_pulse: bool) -> None:
        unknown = np.isnan(column)
        if by_pulse:
            self.notes.append(
                f"{name} is matched by train and pulse; unknown for {int(unknown.sum())} of {len(column)}"
                " shots"
            )
        elif unknown.any():
            trains = train_text(self.shots.train_id[unknown])
            self.notes.append(f"{name} is unknown in trains {trains}: {text} has no value")


def _sources(file: RunFile, group: str):
    return file.instrument if group else file.control


def _same_run(one: RunFile, other: RunFile) -> bool:
    """Whether two files may be of one run; tools of the facility leave the proposal at 0."""
    pairs = ((one.meta.run, other.meta.run), (one.meta.proposal, other.meta.proposal))
    return all(a == b or 0 in (a, b) for a, b in pairs)


def _has(file: RunFile, path: str) -> bool:
    with opened(file.path) as f:
        return f"INSTRUMENT/{path}" in f


def _keys(files: Sequence[RunFile], source: str, key: str) -> str:
    """A hint at the keys that a source has."""
    found: set[str] = set()

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.add(name.replace("/", ".").removesuffix(".value"))

    for file in files:
        with opened(file.path) as f:
            for section in ("INSTRUMENT", "CONTROL"):
                if f"{section}/{source}" in f:
                    f[f"{section}/{source}"].visititems(add)
    return nearest(key, sorted(found))


def _check_place(wide: int, dtype: np.dtype, place: int | None, key: str, what: str, row: str) -> None:
    """Refuse what is not one number of a row."""
    numbers = dtype.kind in "iufb"
    if not numbers or (wide != 1 and place is None):
        hint = f": name one of them, counted from 0, as {key}[0]" if numbers else ""
        raise BadInput(f"{what}: {wide} values of type {dtype} per {row}; expected one number{hint}")
    if place is not None and place >= wide:
        raise BadInput(f"{what}: there are {wide} values per {row}, so the last one is {key}[{wide - 1}]")


def _rows(file: RunFile, source: str, group: str, key: str, place: int | None, what: str):
    """(trains, pulses, numbers) of all rows of good trains in a file; None where it has no such key."""
    base = f"INSTRUMENT/{source}/{group}"
    path = f"INSTRUMENT/{source}/{key.replace('.', '/')}"
    with opened(file.path) as f:
        data = f.get(path)
        if not isinstance(data, h5py.Dataset):
            return None
        first, count = file.index(f, source, group)
        end = int((first + count).max(initial=0))
        if f"{base}/pulseId" not in f:
            raise UnreadableData(f"{file.path}: {base} has no pulseId, and other files of the source have")
        for name in (key, f"{group}.pulseId"):
            dataset = f[f"INSTRUMENT/{source}/{name.replace('.', '/')}"]
            there = dataset.shape[0] if dataset.shape else 0
            if there < end:
                raise UnreadableData(
                    f"{file.path}: {source} {name} has {there} rows, and its index counts {end}"
                )
        if data.ndim > 2 or f[f"{base}/pulseId"].size != len(f[f"{base}/pulseId"]):
            raise BadInput(f"{what}: rows of shape {data.shape[1:]}; expected a number, or a list of numbers")
        _check_place(data.shape[1] if data.ndim > 1 else 1, data.dtype, place, key, what, "shot")
        have = (count > 0) & file.good
        rows = ranges(first[have], count[have])
        train = np.repeat(file.train_id[have], count[have])
        try:
            values = data[(slice(end), place or 0)[: data.ndim]][rows].astype(np.float64)
        except DAMAGE as e:
            raise UnreadableData(f"{file.path}: {path} cannot be read ({reason(e)})") from e
        pulse = file.label(f, f"{base}/pulseId", end)[rows].astype(np.uint64)
        if f"{base}/trainId" in f:
            wrong = file.label(f, f"{base}/trainId", end)[rows].astype(np.uint64) != train
            if wrong.any():
                raise UnreadableData(
                    f"{file.path}: {base}/trainId does not fit its index in trains {train_text(train[wrong])}"
                )
    return train, pulse, values


def _by_pulse(
    train: np.ndarray, pulse: np.ndarray, values: np.ndarray, shots: ShotList, what: str
) -> np.ndarray:
    """Give every shot the value of its train and pulse, NaN where there is none."""
    column = np.full(len(shots), np.nan)
    if not len(train):
        return column
    trains, pulses = np.unique(train), np.unique(pulse)
    key = np.searchsorted(trains, train) * len(pulses) + np.searchsorted(pulses, pulse)
    order = np.argsort(key, kind="stable")
    key, values = key[order], values[order]
    again = np.flatnonzero(key[1:] == key[:-1])
    differs = again[(values[again] != values[again + 1]) & ~np.isnan(values[again] + values[again + 1])]
    differs = np.union1d(differs, again[np.isnan(values[again]) != np.isnan(values[again + 1])])
    if len(differs):
        at = order[differs[0]]
        raise BadInput(
            f"{what}: {len(differs)} shots have two different values; the first is pulse {pulse[at]} of "
            f"train {train[at]}: give files in which each shot stands once, or leave the column out"
        )
    t_at, t_have = rows_of(trains, shots.train_id)
    p_at, p_have = rows_of(pulses, shots.pulse_id)
    at, have = rows_of(key, t_at * len(pulses) + p_at)
    have &= t_have & p_have
    column[have] = values[at[have]]
    return column
