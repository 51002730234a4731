"""A recipe: the one TOML file that says what a reduction does, checked key by key."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import shown
from .errors import BadInput, nearest
from .recipe_build import (
    build_annotate,
    build_calibrate,
    build_derived,
    build_regions,
    build_write,
)
from .recipe_check import checked, nest, sections, with_defaults
from .recipe_correlation import Xcca, Xpcs
from .recipe_detectors import Other, detector_table, filled_others, split
from .recipe_keys import NAMED, SECTIONS
from .recipe_rules import check_sections
from .recipe_scores import Derived, Lit, Rings, Score, build_rings, build_scores
from .recipe_sections import (
    Azint,
    Calibrate,
    Detector,
    FrameAverage,
    Keep,
    Ledger,
    Measure,
    Peaks,
    PumpProbe,
    Redu,
    Region,
    Select,
    Write,
)
from .sources.annotate import AnnotateParams
from .toml_text import dumps_toml, read_toml

__all__ = [
    "AnnotateParams",
    "Azint",
    "Calibrate",
    "Detector",
    "FrameAverage",
    "Keep",
    "Lit",
    "Measure",
    "Peaks",
    "PumpProbe",
    "Recipe",
    "Redu",
    "Region",
    "Rings",
    "Score",
    "Select",
    "Write",
    "Xcca",
    "Xpcs",
]


@dataclass(frozen=True)
class Recipe:
    """A whole reduction, checked; sections that are absent are None and not computed.

    Made by `load`, `from_dict` or `override`, which know what was written.

    Attributes
    ----------
    detector : Detector
    annotate : AnnotateParams
    select : Select or None
        None reads every shot.
    calibrate : Calibrate or None
    measure : Measure
    derive : dict of str to Derived
        Columns that follow from others, by name.
    keep : Keep or None
        None keeps every shot.
    ledger : Ledger
    redu : Redu or None
        None writes no file for the facility's hit finder.
    write : Write or None
        None writes the table only.
    others : dict of str to Other
        Detectors that are reduced along with this one, by label, each with its own recipe.
    folder : Path
        What relative paths in the recipe are relative to: the folder of its file.

    Examples
    --------
    >>> recipe = Recipe.from_dict({"calibrate": {"photon_energy": "9300 eV"}, "measure": {"lit": {}}})
    >>> recipe.calibrate.photon_energy_kev, recipe.measure.lit.threshold.unit, recipe.keep is None
    (9.3, 'photon', True)
    """

    detector: Detector = field(default_factory=Detector)
    annotate: AnnotateParams = field(default_factory=AnnotateParams)
    select: Select | None = None
    calibrate: Calibrate | None = None
    measure: Measure = field(default_factory=Measure)
    derive: dict[str, Derived] = field(default_factory=dict)
    keep: Keep | None = None
    ledger: Ledger = field(default_factory=Ledger)
    redu: Redu | None = None
    write: Write | None = None
    others: dict[str, Other] = field(default_factory=dict)
    folder: Path = field(default=Path(), compare=False)
    _given: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, given: Recipe | Mapping[str, Any] | str | os.PathLike[str]) -> Recipe:
        """Return a recipe as it is, or make it of a mapping, or read it from a TOML file.

        Raises
        ------
        BadInput
            As `from_dict` and `load`.
        """
        if isinstance(given, Recipe):
            return given
        return cls.from_dict(given) if isinstance(given, Mapping) else cls.load(given)

    @classmethod
    def load(cls, path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Recipe:
        """Read and check a TOML file.

        Parameters
        ----------
        path : path-like
            The recipe.
        folder : path-like, optional
            What relative paths in it are relative to; by default its own folder.

        Returns
        -------
        Recipe

        Raises
        ------
        BadInput
            If the file cannot be read, is not TOML, or holds a section, key or value that is not allowed;
            the text names file, section and key.
        """
        path = Path(path)
        given = read_toml(path, "recipe")
        return cls.from_dict(given, name=str(path), folder=path.parent if folder is None else folder)

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], *, name: str = "recipe", folder: str | os.PathLike[str] = "."
    ) -> Recipe:
        """Check a recipe that is already a dictionary, as `tomllib` gives it.

        Parameters
        ----------
        given : mapping
            Sections by name; ``detector`` is a list of tables, ``measure`` holds one table per measure. The
            sections are those of the first detector; see `shotsieve.recipe_detectors` for the others.
        name : str
            What error texts call the recipe.
        folder : path-like
            What relative paths in the recipe are relative to.

        Returns
        -------
        Recipe

        Raises
        ------
        BadInput
            As `load`.
        """
        values = {}
        lead, others = split(given, name)
        for section, table in sections(lead, name):
            values[section] = checked(section, table, name)
        recipe = cls(
            detector=Detector(**values.get("detector", {})),
            annotate=build_annotate(
                values.get("annotate", {}), values.get("annotate.columns", {}), name, Path(folder)
            ),
            select=Select(**values["select"]) if "select" in values else None,
            calibrate=build_calibrate(values.get("calibrate"), name),
            measure=Measure(
                lit=Lit(**values["measure.lit"]) if "measure.lit" in values else None,
                peaks=Peaks(**values["measure.peaks"]) if "measure.peaks" in values else None,
                azint=Azint(**values["measure.azint"]) if "measure.azint" in values else None,
                xcca=Xcca(**values["measure.xcca"]) if "measure.xcca" in values else None,
                xpcs=Xpcs(**values["measure.xpcs"]) if "measure.xpcs" in values else None,
                pump_probe=PumpProbe(**values["measure.pump_probe"])
                if "measure.pump_probe" in values
                else None,
                average=FrameAverage(**values["measure.average"]) if "measure.average" in values else None,
                roi=build_regions(values["measure.roi"], name) if values.get("measure.roi") else None,
                rings=build_rings(values.get("measure.rings"), name),
                scores=build_scores(values.get("measure.score"), name),
            ),
            derive=build_derived(values.get("derive", {}), name),
            keep=Keep(**values["keep"]) if "keep" in values else None,
            ledger=Ledger(**values.get("ledger", {})),
            redu=Redu(**values["redu"]) if "redu" in values else None,
            write=build_write(values.get("write"), name),
            others={
                label: Other(label, keep, cls.from_dict(own, name=f"{name}, detector {label}", folder=folder))
                for label, keep, own in others
            },
            folder=Path(folder),
            _given=copy.deepcopy(dict(given)),
        )
        check_sections(recipe, name)
        return recipe

    def keeps_whole_trains(self, by_train: bool) -> bool:
        """Whether one kept shot keeps its train, of a detector that stores trains or not (`by_train`)."""
        return by_train and not (self.write is not None and self.write.drop_cells)

    def path_of(self, written: str) -> Path:
        """Return a path of the recipe, seen from the recipe's own folder."""
        return self.folder / Path(written).expanduser()

    def constants_path(self) -> Path | None:
        """Return the constants as a path; None where none are named."""
        if self.calibrate is None or self.calibrate.constants is None:
            return None
        return self.path_of(self.calibrate.constants)

    def constants_cache(self) -> Path | None:
        """Return the folder in which folded constants are kept; None where none is named."""
        if self.calibrate is None or self.calibrate.constants_cache is None:
            return None
        return self.path_of(self.calibrate.constants_cache)

    def with_constants_cache(self, folder: str | os.PathLike[str]) -> Recipe:
        """Return a recipe of which all detectors keep their folded constants in a folder."""
        place, others = os.path.abspath(folder), self.others.items()
        return dataclasses.replace(
            self,
            calibrate=self.calibrate and dataclasses.replace(self.calibrate, constants_cache=place),
            others={
                label: dataclasses.replace(other, recipe=other.recipe.with_constants_cache(folder))
                for label, other in others
            },
        )

    def filled(self) -> dict[str, Any]:
        """Return the recipe as a dictionary with every default written out.

        Keys that are not set and have no default (None) are left out; quantities stay as they were written.
        ``Recipe.from_dict(recipe.filled())`` equals the recipe.
        """
        out: dict[str, Any] = {}
        for section, table in sections(split(self._given, "recipe")[0], "recipe"):
            if section == "annotate.columns":
                filled = dict(table)
            elif section in NAMED:
                filled = {name: with_defaults(keys, NAMED[section][1]) for name, keys in table.items()}
            else:
                filled = with_defaults(table, SECTIONS[section])
            if section == "detector":
                out["detector"] = [filled, *filled_others(self.others)]
            else:
                nest(out, section.split("."))[section.split(".")[-1]] = filled
        return out

    def dumps_toml(self) -> str:
        """Return `filled` as TOML text, but for `calibrate.constants_cache`.

        Where a machine keeps what it has folded changes nothing that is measured or written.
        """
        told = self.filled()
        for one in (told, *told.get("detector", [])):
            if "calibrate" in one:
                one["calibrate"].pop("constants_cache", None)
        return dumps_toml(told)

    def _repr_html_(self) -> str:
        return shown.recipe(self, dumps_toml(self._given))

    def override(self, changes: Mapping[str, Any] | None = None, /, **options: Any) -> Recipe:
        """Return a recipe with some keys changed, checked like a file.

        Parameters
        ----------
        changes : mapping
            Values by dotted key, e.g. ``{"calibrate.cells": 64, "measure.lit.threshold": "1 photon"}``;
            None removes a key. A section that did not exist is made.
        **options
            The same with two underscores for the dot: ``calibrate__cells=64``.

        Returns
        -------
        Recipe
            A new one; this one stays as it is.

        Raises
        ------
        BadInput
            If a key does not exist or a value is not allowed.

        Examples
        --------
        >>> recipe = Recipe.from_dict({"keep": {"rule": "n_modules > 3"}})
        >>> recipe.override(keep__undecided="drop").keep.undecided
        'drop'
        """
        given = copy.deepcopy(dict(self._given))
        for dotted, value in {
            **(changes or {}),
            **{k.replace("__", "."): v for k, v in options.items()},
        }.items():
            *path, key = dotted.split(".")
            section = ".".join(path)
            if section not in SECTIONS and not section.startswith(
                ("measure.roi.", "measure.score.", "derive.", "detector.")
            ):
                raise BadInput(
                    f"option {dotted!r}: expected section.key with one of the sections {', '.join(SECTIONS)}."
                    + nearest(section, SECTIONS)
                )
            if path[0] == "detector":
                table = detector_table(given, path, dotted)
            else:
                table = nest(given, path).setdefault(path[-1], {})
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        return Recipe.from_dict(given, name="recipe with options", folder=self.folder)
