"""What a reduced run says of itself, read for its report."""

from __future__ import annotations

import itertools
import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import detectors
from ..accounts import Accounts
from ..constants.bad_pixels import DEFAULT_BAD_BITS
from ..errors import BadInput, OutputError, ShotsieveError, UnreadableData
from ..geometry import Geometry, PixelMap
from ..judged import Judged
from ..peak_list import PeakList
from ..recipe_check import sections
from ..recipe_keys import SECTIONS
from ..sources.choose import modules_text
from ..table import FATES, ModuleStatus, Table
from ..write.kept_frames import KeptFrames, Span
from ..write.output import SIDE


@dataclass(frozen=True)
class Reduced:
    """A reduced run, or one of its detectors.

    Attributes
    ----------
    out : Path
        Folder of the run.
    label : str
        Of a further detector; empty for the leading one.
    table : Table
    recipe, settings, accounts, machine : dict
        As they are stored.
    pixels : PixelMap or None
        Where its pixels are, if a geometry was given or can be found.
    notes : list of str
        What could not be shown, and why.
    """

    out: Path
    label: str
    table: Table
    recipe: dict[str, Any]
    settings: dict[str, Any]
    accounts: dict[str, Any]
    machine: dict[str, Any]
    pixels: PixelMap | None = None
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        told = self.accounts
        of = f"{told['kept']} of {told['expected']} shots kept"
        return f"Reduced({str(self.out)!r}, {told['detector']} {told['source']}, {of})"

    @classmethod
    def open(
        cls, out: str | os.PathLike, label: str = "", geometry: str | os.PathLike | None = None
    ) -> Reduced:
        """Read what stands beside the frames.

        Parameters
        ----------
        out : path
        label : str
        geometry : path or None
            CrystFEL geometry file; by default the one that the recipe names, where it is still there.

        Raises
        ------
        BadInput
            If the folder is no output of shotsieve.
        UnreadableData
            If one of its files is damaged.

        Examples
        --------
        >>> run = shotsieve.Reduced.open("red/r0001")    # doctest: +SKIP
        >>> shotsieve.plot.image(run.frames.read(0), run.pixels)    # doctest: +SKIP
        """
        out = Path(out)
        side = out / SIDE / label
        if not (side / "accounts.json").is_file():
            raise BadInput(f"{out} is not an output of shotsieve: {side / 'accounts.json'} is missing")
        try:
            told = {
                name: json.loads((side / f"{name}.json").read_text("utf-8"))
                for name in ("settings", "accounts")
            }
            recipe = tomllib.loads((side / "recipe.toml").read_text("utf-8"))
            machine = json.loads((out / SIDE / "machine.json").read_text("utf-8"))
        except (OSError, ValueError) as err:
            raise UnreadableData(f"{side}: a file of the reduced run cannot be read ({err})") from err
        notes: list[str] = []
        pixels = _pixels(side, recipe, told["settings"], geometry, notes)
        table = Table.open(side / "table.h5")
        return cls(out, label, table, recipe, told["settings"], told["accounts"], machine, pixels, notes)

    def _repr_html_(self) -> str:
        return Accounts.from_dict(self.accounts)._repr_html_()

    @cached_property
    def judged(self) -> Judged:
        """What the shots were judged by."""
        return Judged(self.table, self.recipe.get("keep", {}).get("rule"))

    @property
    def kept(self) -> np.ndarray:
        """Bool (S,): shots that were kept."""
        return self.judged.kept

    @property
    def by_chance(self) -> np.ndarray:
        """Bool (S,): misses that were kept at random."""
        return self.judged.by_chance

    @property
    def score(self) -> tuple[str, np.ndarray]:
        """Name and value (S,) of what shots are judged by; NaN where it is not known."""
        return self.judged.score

    @property
    def limit(self) -> np.ndarray | None:
        """What the score was compared with, (S,); None without a rule."""
        return self.judged.limit

    @cached_property
    def frames(self) -> StoredFrames | None:
        """The calibrated frames of the kept shots; None where there are none."""
        write = self.recipe.get("write")
        if write is None or write.get("content") == "raw":
            why = "no frames were written" if write is None else "raw words were kept"
            self.notes.append(f"{why}: no images are drawn")
            return None
        detector = detectors.load(self.accounts["detector"])
        files = sorted(self.out.glob("CORR-*.h5"))
        try:
            found = KeptFrames.of(files, detector, self.accounts["source"], self.table.modules)
        except OutputError as err:  # of a writer; here it is what was written some time ago
            raise UnreadableData(str(err).replace(" was just written and", "")) from err
        bits = self.recipe.get("calibrate", {}).get("bad_bits", DEFAULT_BAD_BITS)
        frames = StoredFrames(self.out, found, detector.shape, self.table, bits)
        if not len(frames):
            why = "the files of the kept shots are not there" if self.kept.any() else "no shot was kept"
            if self.kept.any() and write.get("content") == "photon_list":
                why = (
                    "photons were kept as lists, without frames beside them ([write] whole = 0.01 keeps some)"
                )
            self.notes.append(f"{why}: no images are drawn")
            return None
        there = {span.module for span in found.spans}
        written = (self.table.module_status[self.kept] == ModuleStatus.OK).any(axis=0)
        lost = [m for at, m in enumerate(self.table.modules) if written[at] and at not in there]
        if lost:
            self.notes.append(f"no file has the frames of {modules_text(lost)}: images are empty there")
        if lacking := int(self.kept.sum()) - len(frames):
            self.notes.append(f"{lacking} kept shots have no frame in the files")
        return frames

    @cached_property
    def peaks(self) -> PeakList | None:
        path = self.out / SIDE / self.label / "peaks.h5"
        return PeakList.open(path) if path.is_file() else None

    def changed(self) -> list[tuple[str, Any, Any]]:
        """Return what the recipe says other than a recipe that says nothing: key, value, default."""
        out = []
        for section, table in sections(self.recipe, "recipe"):
            keys = SECTIONS[section]
            for key, value in table.items():
                known = keys.get(key) if hasattr(keys, "get") else None
                default = None if known is None else known.default
                if value != default:
                    out.append((f"{section}.{key}", value, default))
        return out


class StoredFrames:
    """Kept frames, read one shot at a time, or summed file by file.

    Parameters
    ----------
    out : Path
    found : KeptFrames
    shape : (int, int)
        Of a module.
    table : Table
    bad_bits : int
        Bits of the mask that make a pixel bad.

    Attributes
    ----------
    rows : ndarray of int64, shape (N,)
        Row of the table of each.
    """

    def __init__(
        self, out: Path, found: KeptFrames, shape: tuple[int, int], table: Table, bad_bits: int
    ) -> None:
        self._out, self.found, self._shape, self._bad = out, found, shape, np.uint32(bad_bits)
        second = table.pulse_id
        if found.detector.layout == "trains":
            starts = np.searchsorted(table.train_id, table.train_id)
            second = (np.arange(len(table)) - starts).astype("u8")
        kept = np.flatnonzero(table.fate == FATES.index("kept"))
        row = dict(
            zip(
                zip(table.train_id[kept].tolist(), second[kept].tolist(), strict=True),
                kept.tolist(),
                strict=True,
            )
        )
        # Rows that are trains have places for cells that were dropped, too.
        keys = zip(found.train_id.tolist(), found.pulse_id.tolist(), strict=True)
        rows = np.array([row.get(key, -1) for key in keys], np.int64)
        self._places = np.flatnonzero(rows >= 0)
        self.rows = rows[self._places]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, shot: int) -> np.ndarray:
        """Return one kept shot, float32 (M, ss, fs); NaN where a pixel is masked or a module has no frame."""
        image = np.full((self.found.modules, *self._shape), np.nan, np.float32)
        place = int(self._places[shot])
        for span in self.found.spans:
            if span.shot <= place < span.shot + span.count * span.frames:
                with self._opened(span.file) as file:
                    image[span.module] = self._frame(file, span, place)
        return image

    def mean(self, shots: np.ndarray) -> np.ndarray:
        """Return the mean of some kept shots, float64 (M, ss, fs); NaN where no shot has a value."""
        total = np.zeros((self.found.modules, *self._shape))
        count = np.zeros(total.shape, np.int64)
        places = np.sort(self._places[shots])
        wanted = []
        for span in sorted(self.found.spans, key=lambda span: (span.module, span.shot)):
            first, stop = np.searchsorted(places, [span.shot, span.shot + span.count * span.frames])
            if first < stop:
                wanted.append((span, places[first:stop].tolist()))
        for name, spans in itertools.groupby(wanted, key=lambda one: one[0].file):
            with self._opened(name) as file:
                for span, its in spans:
                    for place in its:
                        image = self._frame(file, span, place)
                        there = np.isfinite(image)
                        total[span.module][there] += image[there]
                        count[span.module] += there
        with np.errstate(invalid="ignore"):
            return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @contextmanager
    def _opened(self, name: str) -> Iterator[h5py.File]:
        try:
            with h5py.File(self._out / name) as file:
                yield file
        except (OSError, KeyError) as err:
            raise UnreadableData(f"{self._out / name}: a frame cannot be read ({err})") from err

    def _frame(self, file: h5py.File, span: Span, place: int) -> np.ndarray:
        """Read the frame of a module of the kept shot at some place among those of the files."""
        row, frame = divmod(place - span.shot, span.frames)
        at = (span.first + row, frame) if self.found.detector.layout == "trains" else span.first + row
        names = (self.found.detector.planes[0], "mask")
        values, mask = (file[f"{span.group}/{name}"][at] for name in names)
        # Files of one-dimensional detectors hold strips: (fs,).
        return np.where(mask & self._bad == 0, values, np.float32(np.nan)).reshape(self._shape)


def labels(out: str | os.PathLike) -> list[str]:
    """Return the labels of all detectors of a reduced run; that of the leading one is empty."""
    side = Path(out) / SIDE
    return ["", *sorted(path.parent.name for path in side.glob("*/accounts.json"))]


def _pixels(
    side: Path,
    recipe: dict[str, Any],
    settings: dict[str, Any],
    geometry: str | os.PathLike | None,
    notes: list[str],
) -> PixelMap | None:
    named = geometry or (recipe.get("detector") or [{}])[0].get("geometry")
    if named is None:
        notes.append(
            "no geometry: images show the modules side by side (give one: shotsieve report --geometry)"
        )
        return None
    distance = settings.get("mode.distance_m")
    try:
        found = Geometry.open(Path(named) if geometry else side / named)
        return PixelMap.from_geometry(found, distance if found.clen_m is None else None)
    except ShotsieveError as err:
        if geometry:
            raise
        notes.append(
            f"images show the modules side by side: the recipe's geometry cannot be used ({err}); give one: "
            "--geometry"
        )
        return None
