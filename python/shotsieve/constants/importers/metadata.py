"""The facility's ``calibration_metadata_*.yml``: what a correction was made with, to make it again.

A folder of corrected data holds one such file per detector: every parameter of the correction, and file and
dataset of every constant that was used. Nothing is looked up: constants are read from the files that are
named, or from a copy of the facility's store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...detectors import Detector
from ...errors import BadInput, UnreadableData
from ...toml_text import dumps_toml
from ..container import Constants
from .parameters import OUTCOMES, Translation, translate
from .references import Reference, detector_named, known, module_of, open_references

__all__ = ["SUFFIXES", "CorrectionMetadata", "find_metadata", "open_metadata", "read_metadata"]

SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True)
class CorrectionMetadata:
    """What a correction of the facility was made with.

    Attributes
    ----------
    path : Path
    name : str
        The detector's name in the run, e.g. ``"SPB_DET_AGIPD1M-1"``.
    detector : Detector or None
        None where no detector of ours is called so: parameters are told, constants are not read.
    version : str
        Of the facility's program.
    configuration : dict
        Parameter -> value.
    modules : tuple of int
        That were corrected.
    references : tuple of Reference
        Constants that were used, at the paths of the file.
    """

    path: Path
    name: str
    detector: Detector | None
    version: str
    configuration: dict[str, Any] = field(repr=False)
    modules: tuple[int, ...]
    references: tuple[Reference, ...] = field(repr=False)

    @property
    def lacking(self) -> tuple[int, ...]:
        """Modules that were corrected without any constant being named."""
        return tuple(sorted(set(self.modules) - {one.module for one in self.references}))

    def translation(self) -> Translation:
        """Return every parameter in our own words."""
        return translate(self.configuration, None if self.detector is None else self.detector.family)

    def recipe_text(self, constants: str | None = None) -> str:
        """Return a recipe that calibrates as the correction did, with every parameter in its comments.

        Parameters
        ----------
        constants : str or None
            What the recipe names as its constants.

        Returns
        -------
        str
            TOML.

        Examples
        --------
        >>> print(read_metadata("calibration_metadata.yml").recipe_text("constants.h5"))  # doctest: +SKIP
        """
        found = self.translation()
        calibrate = {**({} if constants is None else {"constants": constants}), **found.calibrate}
        lines = [f"# As {self.name} was corrected by pycalibration {self.version} ({self.path.name}).", "#"]
        for outcome in reversed(OUTCOMES):
            of_it = [one for one in found.parameters if one.outcome == outcome]
            if of_it:
                lines += [f"# {_TITLES[outcome]}:"]
                lines += [f"#   {one.name} = {_short(one.value)}: {one.told}" for one in of_it]
        place = {} if self.detector is None else {"name": self.detector.name}
        recipe = {"detector": [{**place, "source": self.name}], "calibrate": calibrate}
        return "\n".join([*lines, "", dumps_toml(recipe)])


_TITLES = {
    "recipe": "Parameters that are keys of this recipe",
    "constants": "Parameters that are properties of the constants",
    "same": "Parameters at whose value nothing differs",
    "no effect": "Parameters that change no value",
    "not mapped": "NOT MAPPED: by these the facility's values differ from those of this recipe",
}


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def find_metadata(folder: Path) -> list[Path]:
    """Return the metadata files of a folder of corrected data, by name.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Examples
    --------
    >>> find_metadata(Path("proc/r0022"))  # doctest: +SKIP
    [PosixPath('proc/r0022/calibration_metadata_SPB_DET_AGIPD1M-1.yml')]
    """
    return sorted(p for p in folder.glob("calibration_metadata*") if p.suffix in SUFFIXES)


def read_metadata(path: str | os.PathLike[str], detector: Detector | str | None = None) -> CorrectionMetadata:
    """Read the metadata of a correction.

    Parameters
    ----------
    path : path-like
        The file, or the folder of corrected data that holds it.
    detector : Detector, str or None
        The detector's family; None finds it by its name.

    Returns
    -------
    CorrectionMetadata

    Raises
    ------
    BadInput
        If it is no such file, PyYAML is not installed, a folder holds several, or the detector is not known.

    Examples
    --------
    >>> read_metadata("proc/r0022").version  # doctest: +SKIP
    '3.16.0'
    """
    path = Path(path)
    if path.is_dir():
        files = find_metadata(path)
        if len(files) != 1:
            named = ", ".join(one.name for one in files) or "none"
            raise BadInput(f"{path}: expected one calibration_metadata_*.yml, found {named}: name the file.")
        path = files[0]
    tree = _load(path)
    try:
        configuration, retrieved = tree["calibration-configurations"], tree["retrieved-constants"]
        name, aggregators = str(configuration["karabo-id"]), list(configuration["karabo-da"])
        if detector is not None or known(name):
            detector = detector_named(name, detector)
        references = []
        for aggregator, group in retrieved.items():
            if not isinstance(group, Mapping) or "constants" not in group:
                continue  # times that the look-up took
            module, pdu = module_of(aggregator, detector), str(group["physical-name"])
            for calibration, told in group["constants"].items():
                version = {key: str(told[key]) for key in ("ccv_id", "creation-time") if key in told}
                where = Path(str(told["path"])), str(told["dataset"])
                references.append(Reference(module, pdu, calibration, *where, version))
        modules = {module_of(one, detector) for one in aggregators} | {one.module for one in references}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} is not the metadata of a correction ({type(error).__name__}: {error}): expected "
            "calibration-configurations with karabo-id and karabo-da, and retrieved-constants."
        ) from error
    version = str(tree.get("pycalibration-version", "of unknown version"))
    return CorrectionMetadata(
        path, name, detector, version, dict(configuration), tuple(sorted(modules)), tuple(references)
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise BadInput(f"{path}: PyYAML is not installed ({error}): pip install 'shotsieve[yaml]'") from error
    try:
        with open(path, encoding="utf-8") as file:
            tree = yaml.safe_load(file)
    except OSError as error:
        raise UnreadableData(f"{path} cannot be read ({error}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, Mapping):
        raise BadInput(f"{path} is not the metadata of a correction: it holds {type(tree).__name__}.")
    return tree


def open_metadata(
    metadata: CorrectionMetadata,
    store: str | os.PathLike[str] | None = None,
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    directions: Mapping[str, str] | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> Constants:
    """Open the constants that a correction was made with.

    Parameters
    ----------
    metadata : CorrectionMetadata
    store : path-like or None
        A folder with copies of the files: in the folders of the facility's store, from any depth of them
        on, or all in one. None: the files are where the metadata says.
    dims : mapping or None
        Axes, by calibration, of files that do not name them.
    directions : mapping or None
        Of LPD: calibration -> ``"multiply"`` or ``"divide"``.
    conditions : mapping or None
        Operating mode that they were taken in, as far as it is known beside what the metadata tells.

    Returns
    -------
    Constants

    Raises
    ------
    BadInput
        If files are missing, all of which are counted, or their axes are ambiguous.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> open_metadata(read_metadata("proc/r0022"), "caldb_store").save("constants.h5")  # doctest: +SKIP
    """
    detector = metadata.detector or detector_named(metadata.name)
    found, absent = [], []
    for one in metadata.references:
        path = one.path if store is None else _below(Path(store), one.path)
        if path is None or not path.is_file():
            absent.append(one)
            continue
        found.append(Reference(one.module, one.pdu, one.calibration, path, one.dataset, one.version))
    if absent:
        first, where = absent[0], "there" if store is None else f"below {store}"
        raise BadInput(
            f"{metadata.path}: {len(absent)} of {len(metadata.references)} files of constants are not "
            f"{where}, "
            f"the first {first.path} ({first.calibration} of module {first.module}): copy them from the "
            "facility's store, and say with --store (store=) where they are."
        )
    translation = metadata.translation()
    told = {**translation.conditions, **_of_recipe(translation.calibrate), **(conditions or {})}
    provenance = {
        "layout": "metadata of a correction",
        "metadata": metadata.path.name,
        "source": metadata.name,
        "pycalibration": metadata.version,
        "modules_without_constants": list(metadata.lacking),
        "pdus": {str(one.module): one.pdu for one in metadata.references},
    }
    return open_references(
        detector,
        found,
        modules=metadata.modules,
        dims=dims,
        directions=directions,
        ff_gain=translation.imports.get("ff_gain", 1.0),
        conditions=told,
        provenance=provenance,
        where=str(metadata.path),
    )


def _of_recipe(calibrate: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions that the recipe sets too, in their own units."""
    plain = {key: calibrate[key] for key in ("cells", "integration_time", "gain_mode") if key in calibrate}
    if "rate" in calibrate:
        plain["rate_mhz"] = float(calibrate["rate"].split()[0])
    return plain


def _below(store: Path, path: Path) -> Path | None:
    """Return the file in a copy of the store: the longest end of its path that is there."""
    for at in range(1, len(path.parts)):
        if (candidate := store.joinpath(*path.parts[at:])).is_file():
            return candidate
    return None
