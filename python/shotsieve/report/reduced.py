"""What a reduced run says of itself, read for its report."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import detectors
from ..constants.bad_pixels import DEFAULT_BAD_BITS
from ..decide import Comparison, Rule
from ..errors import BadInput, ShotsieveError, UnreadableData
from ..geometry import Geometry, PixelMap
from ..keep import kept_misses
from ..peak_list import PeakList
from ..recipe_check import sections
from ..recipe_keys import SECTIONS
from ..table import FATES, Table
from ..write.kept_frames import KeptFrames
from ..write.output import SIDE

SCORES = ("n_peaks", "lit_fraction", "lit_pixels", "photons", "intensity")
"""What a shot is judged by where no rule says so: the first that was measured."""


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

    @property
    def kept(self) -> np.ndarray:
        """Bool (S,): shots that were kept."""
        return self.table.fate == FATES.index("kept")

    @property
    def by_chance(self) -> np.ndarray:
        """Bool (S,): misses that were kept at random."""
        return kept_misses(self.table)

    @cached_property
    def rule(self) -> Rule | None:
        """The rule; None where every shot is kept, or where a file says which."""
        text = self.recipe.get("keep", {}).get("rule")
        if not text:
            return None
        try:
            return Rule.parse(text, self.table.names())
        except BadInput:
            return None  # it asks for single modules or for another detector's columns

    @cached_property
    def comparison(self) -> Comparison | None:
        """What the first comparison of the rule says of every shot; None without a rule."""
        if self.rule is None:
            return None
        bounds = {name: self.table.bounds(name) for name in self.rule.names}
        return self.rule.sides(bounds)[0]

    @cached_property
    def score(self) -> tuple[str, np.ndarray]:
        """Name and value (S,) of what shots are judged by; NaN where it is not known."""
        if self.comparison is not None:
            low, high = self.comparison.left
            return self.comparison.words[0], _known(low, high, len(self.table))
        for name in SCORES:
            if name in self.table.names():
                return name, _known(*self.table.bounds(name), len(self.table))
        return "", np.full(len(self.table), np.nan)

    @cached_property
    def limit(self) -> np.ndarray | None:
        """What the score was compared with, (S,); None without a rule."""
        if self.comparison is None:
            return None
        return _known(*self.comparison.right, len(self.table))

    @cached_property
    def frames(self) -> StoredFrames | None:
        """The calibrated frames of the kept shots; None where there are none."""
        if self.recipe.get("write", {}).get("content") == "raw":
            self.notes.append("raw words were kept: no images are drawn")
            return None
        detector = detectors.load(self.accounts["detector"])
        files = sorted(self.out.glob("CORR-*.h5"))
        found = KeptFrames.of(files, detector, self.accounts["source"], self.table.modules)
        return StoredFrames(self.out, found, detector.shape) if len(found) else None

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
    """Kept frames, read one shot at a time.

    Parameters
    ----------
    out : Path
    found : KeptFrames
    shape : (int, int)
        Of a module.
    """

    def __init__(self, out: Path, found: KeptFrames, shape: tuple[int, int]) -> None:
        self._out, self.found, self._shape = out, found, shape

    def __len__(self) -> int:
        return len(self.found)

    def shots_of(self, table: Table) -> np.ndarray:
        """Return the row of the table of each frame, int64 (N,); -1 where the table has no such kept shot.

        Where single cells of a train were dropped, their places are among the frames.
        """
        second = table.pulse_id
        if self.found.detector.layout == "trains":
            starts = np.searchsorted(table.train_id, table.train_id)
            second = (np.arange(len(table)) - starts).astype("u8")
        kept = table.fate == FATES.index("kept")
        every = enumerate(zip(table.train_id.tolist(), second.tolist(), strict=True))
        row = {key: n for n, key in every if kept[n]}
        keys = zip(self.found.train_id.tolist(), self.found.pulse_id.tolist(), strict=True)
        return np.array([row.get(key, -1) for key in keys], np.int64)

    def read(self, shot: int) -> np.ndarray:
        """Return one kept shot, float32 (M, ss, fs); NaN where a pixel is masked or a module has no frame."""
        image = np.full((self.found.modules, *self._shape), np.nan, np.float32)
        for span in self.found.spans:
            within = shot - span.shot
            if not 0 <= within < span.count * span.frames:
                continue
            row, frame = divmod(within, span.frames)
            at = (span.first + row, frame) if self.found.detector.layout == "trains" else span.first + row
            names = self.found.detector.planes[0], "mask"
            try:
                with h5py.File(self._out / span.file) as file:
                    values, mask = (file[f"{span.group}/{name}"][at] for name in names)
            except (OSError, KeyError) as err:
                raise UnreadableData(f"{self._out / span.file}: a frame cannot be read ({err})") from err
            # Bits that tell of a pixel and do not make it bad, such as its size, hide nothing.
            image[span.module] = np.where(mask & np.uint32(DEFAULT_BAD_BITS) == 0, values, np.nan)
        return image

    def mean(self, shots: np.ndarray) -> np.ndarray:
        """Return the mean of some kept shots, float64 (M, ss, fs); NaN where no shot has a value."""
        total = np.zeros((self.found.modules, *self._shape))
        count = np.zeros(total.shape, np.int64)
        for shot in shots.tolist():
            image = self.read(shot)
            there = np.isfinite(image)
            total[there] += image[there]
            count += there
        with np.errstate(invalid="ignore"):
            return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def labels(out: str | os.PathLike) -> list[str]:
    """Return the labels of all detectors of a reduced run; that of the leading one is empty."""
    side = Path(out) / SIDE
    return ["", *sorted(path.parent.name for path in side.glob("*/accounts.json"))]


def _known(low: Any, high: Any, shots: int) -> np.ndarray:
    low, high = np.broadcast_to(low, shots), np.broadcast_to(high, shots)
    return np.where(low == high, low, np.nan).astype("f8")


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
        notes.append(f"images show the modules side by side: the recipe's geometry cannot be used ({err})")
        return None
