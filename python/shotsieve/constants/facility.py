"""Constants in the layout of the facility's store: ``xfel/cal/<type>-type/<pdu>/cal.<n>.h5``.

Each file holds datasets ``/<PDU>/<calibration>/<index>/data``. Newer ones name their axes in the attribute
``dims``; older ones do not, and are taken only where their shape leaves no doubt. A file ``modules.toml`` in
the folder says which module each PDU is, and may say more::

    detector = "AGIPD1M"
    ff_gain = 1.0                       # x-ray gain = SlopesFF / ff_gain

    [modules]
    AGIPD_SIV1_AGIPDV12_M435 = 0        # PDU = module number

    [conditions]                        # the operating mode they were taken in, as far as known
    gain_mode = "adaptive"
    cells = 352
    rate_mhz = 4.5

    [directions]                        # of LPD: whether a map is a factor, as without a word, or a divisor
    FFMap = "divide"

    [dims]                              # axes of what does not name them; needed where the shape is ambiguous
    Offset = ["fast_scan", "slow_scan", "cell", "gain"]

How the planes of SlopesPC and SlopesFF are used follows recalled practice of the facility and is unverified.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import detectors
from ..detectors import CONTROL_FIELDS, Detector
from ..errors import BadInput, nearest
from ..toml_text import read_toml
from .axes import axes_of
from .conditions import CELL_ORDER, settled
from .container import Constants
from .facility_writer import MODULES_FILE, write_facility
from .layout import DTYPES, as_words
from .stored import StoredConstant, datasets_of

__all__ = ["MODULES_FILE", "check_directions", "made_of", "open_constants", "write_facility"]

_TEXTS = {"gain_mode": "a name, or a list of names", CELL_ORDER: "a text"}
_KEYS = {"detector", "ff_gain", "modules", "conditions", "dims", "directions"}
_FACTORS = ("relative_gain", "ff_map", "gain_amp_map")


class _Folder:
    """The arrays of a store's folder, converted to the container's names while they are read."""

    def __init__(
        self, detector: Detector, found: dict[int, dict[str, StoredConstant]], cells: int, settings: dict
    ):
        self._detector = detector
        self._cell_ids = detector.default_cell_ids(cells)
        self._ff_gain = settings["ff_gain"]
        self._divide = [key for key, value in settings["directions"].items() if value == "divide"]
        self._parts: dict[tuple[str, int], list[StoredConstant]] = {}
        for module, constants in found.items():
            for calibration, constant in constants.items():
                name = detector.facility_constants[calibration]
                self._parts.setdefault((name, module), []).append(constant)
                if name == "relative_gain" and _planes(constant) >= 10:
                    self._parts["mg_baseline", module] = [constant]

    def modules(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(module for key, module in self._parts if key == name))

    def origin(self) -> tuple[tuple[Path, ...], object]:
        parts = sorted(self._parts.items())
        files = tuple(dict.fromkeys(part.path for _, found in parts for part in found))
        use = [
            [*key, [[files.index(p.path), p.dataset, p.calibration, p.axes, p.shape] for p in found]]
            for key, found in parts
        ]
        return files, [use, self._ff_gain, self._divide]

    def cells_apart(self, module: int) -> bool:
        parts = (part for (_, one), found in self._parts.items() if one == module for part in found)
        return all(part.cells_apart() for part in parts)

    def load(self, name: str, module: int, rows: np.ndarray) -> np.ndarray:
        shape = (len(rows), *self._detector.shape)
        parts = self._parts[name, module]
        if name == "bad_pixels":
            mask = np.zeros((self._detector.stages, *shape), DTYPES[name])
            for part in parts:
                mask |= part.read(self._rows(part, rows), mask.dtype)
            return mask
        derived = name in (*_FACTORS, "mg_baseline", "linearisation") or self._ff_gain != 1
        array = parts[0].read(self._rows(parts[0], rows), None if derived else DTYPES[name])
        if name == "thresholds":
            array = array[:2]
        elif name == "linearisation":
            return as_words(array, f"{parts[0].path}: {parts[0].dataset}")
        elif name in ("relative_gain", "mg_baseline") and len(array) >= 10:
            relative, baseline = _slopes(
                array[[0, 1, 3, 4]].astype(np.float64), self._detector.medium_low_ratio
            )
            array = relative if name == "relative_gain" else baseline
        elif name == "adu_per_kev" and self._ff_gain != 1:
            array = array.astype(np.float64) / self._ff_gain
        elif parts[0].calibration in self._divide:
            with np.errstate(
                divide="ignore", invalid="ignore"
            ):  # what has no reciprocal is found when folded
                array = 1 / array.astype(np.float64)
        return np.ascontiguousarray(array, DTYPES[name])

    def _rows(self, part: StoredConstant, rows: np.ndarray) -> np.ndarray:
        """Return where the cells of the container's rows lie in one dataset, which may have other cells."""
        own = self._detector.default_cell_ids(part.cells)
        position = np.full(int(max(own.max(), self._cell_ids.max())) + 1, -1)
        position[own] = np.arange(part.cells)
        found = position[self._cell_ids[rows]]
        if (found < 0).any():
            if part.calibration not in self._detector.facility_repeat_last:
                raise BadInput(
                    f"{part.path}: {part.dataset} has {part.cells} cells, but the offset has "
                    f"{len(self._cell_ids)}: these constants do not belong together."
                )
            found = np.where(found < 0, part.cells - 1, found)  # illuminated runs are taken with few cells
        return found


def _slopes(planes: np.ndarray, medium_low_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Return relative gain (3, ...) and medium-gain baseline (1, ...) from four planes of SlopesPC.

    Slope and intercept in high gain (0, 1 in the file), and in medium gain (3, 4). Unverified.
    """
    high, high_start, medium, medium_start = planes
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = high / medium
        relative = np.stack([np.ones_like(ratio), ratio, medium_low_ratio * ratio])
        return relative, (high_start - medium_start * ratio)[np.newaxis]


def _planes(constant: StoredConstant) -> int:
    return constant.shape[constant.axes.index("plane")] if "plane" in constant.axes else 1


def open_constants(folder: Path, detector: Detector | None = None) -> Constants:
    """Open a folder in the facility's layout.

    Parameters
    ----------
    folder : Path
        Holds `MODULES_FILE` and the store's files, at any depth.
    detector : Detector or None
        None takes the one that `MODULES_FILE` names.

    Returns
    -------
    Constants
        Reads from the folder when asked for arrays.

    Raises
    ------
    BadInput
        If the folder is not complete, of another detector, or its arrays are ambiguous.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> open_constants(Path("caldb_store"))  # doctest: +SKIP
    """
    settings = _settings(folder)
    if detector is None:
        detector = detectors.load(settings["detector"])
    elif settings["detector"].lower() != detector.name.lower():
        raise BadInput(
            f"{folder / MODULES_FILE}: these constants are of {settings['detector']}, "
            f"but the detector is {detector.name}."
        )
    check_directions(folder / MODULES_FILE, detector, settings["directions"])
    modules = settings["modules"]
    if wrong := sorted(set(modules.values()) - set(detector.modules or modules.values())):
        allowed = f"{detector.first_module} ... {detector.first_module + detector.module_count - 1}"
        raise BadInput(
            f"{folder / MODULES_FILE}: there is no module {wrong[0]} in {detector.name} ({allowed})."
        )

    found, ignored = _scan(folder, detector, settings)
    provenance = {
        "layout": "facility",
        "modules": modules,
        "ff_gain": settings["ff_gain"],
        "directions": settings["directions"],
        "files": {
            f"{module}/{calibration}": f"{constant.path.relative_to(folder)}:{constant.dataset}"
            for module, constants in found.items()
            for calibration, constant in constants.items()
        },
        "not_used": ignored,
    }
    where = f"{folder}, of the PDUs in {MODULES_FILE}"
    return made_of(detector, sorted(modules.values()), found, settings, provenance, where)


def made_of(
    detector: Detector,
    modules: list[int],
    found: dict[int, dict[str, StoredConstant]],
    settings: dict,
    provenance: dict,
    where: str,
) -> Constants:
    """Return constants that read from datasets of the store.

    Parameters
    ----------
    detector : Detector
    modules : list of int
        Modules that the constants are for, ascending.
    found : dict
        Module -> calibration -> dataset, as `stored_constant` gives it.
    settings : dict
        What `MODULES_FILE` may say of how constants are used (``ff_gain``, ``directions``), and their
        ``conditions``.
    provenance : dict
        As the attribute of `Constants`.
    where : str
        What an error calls their place.

    Returns
    -------
    Constants

    Raises
    ------
    BadInput
        If there is no offset, or modules differ in their numbers of cells.
    """
    offsets = {
        module: constant
        for module, constants in found.items()
        for calibration, constant in constants.items()
        if detector.facility_constants[calibration] == "offset"
    }
    if not offsets:
        names = [key for key, name in detector.facility_constants.items() if name == "offset"]
        raise BadInput(f"{where}: no file holds {' or '.join(names)}.")
    counts = {module: constant.cells for module, constant in offsets.items()}
    if len(set(counts.values())) > 1:
        raise BadInput(f"{where}: the offsets of the modules have different numbers of cells: {counts}.")
    cells = next(iter(counts.values()))
    store = _Folder(detector, found, cells, settings)
    ids = detector.default_cell_ids(cells)
    return Constants(detector, modules, ids, store, settings["conditions"], provenance)


def _settings(folder: Path) -> dict:
    """Read and check `MODULES_FILE`."""
    path = folder / MODULES_FILE
    if not path.exists():
        raise BadInput(
            f"{folder} has no {MODULES_FILE}: write one that says which module each PDU is, with the lines "
            f'detector = "AGIPD1M", [modules] and e.g. AGIPD_SIV1_AGIPDV12_M435 = 0.'
        )
    settings = read_toml(path, "table of modules")
    if unknown := [key for key in settings if key not in _KEYS]:
        raise BadInput(f"{path}: unknown key {unknown[0]!r}.{nearest(unknown[0], _KEYS)}")
    for table in ("conditions", "dims", "directions"):
        if not isinstance(settings.get(table, {}), dict):
            raise BadInput(
                f"{path}: {table} = {settings[table]!r} must be a table [{table}] of names and values."
            )
    # A misspelt condition would never be compared with the run.
    for key, value in settings.get("conditions", {}).items():
        if key not in CONTROL_FIELDS:
            raise BadInput(
                f"{path}: unknown key {key!r} in [conditions].{nearest(key, CONTROL_FIELDS)} "
                f"It may hold {', '.join(CONTROL_FIELDS)}."
            )
        several = value if key == "gain_mode" and isinstance(value, list) and value else [value]
        wanted = str if key in _TEXTS else int | float
        if not all(isinstance(one, wanted) and not isinstance(one, bool) for one in several):
            kind = _TEXTS.get(key, "a number")
            raise BadInput(f"{path}: {key} = {value!r} in [conditions] must be {kind}.")
    modules = settings.get("modules")
    if not isinstance(settings.get("detector"), str) or not isinstance(modules, dict) or not modules:
        raise BadInput(f'{path} needs detector = "..." and a table [modules] with at least one PDU = number.')
    numbers = list(modules.values())
    if not all(type(number) is int for number in numbers) or len(set(numbers)) != len(numbers):
        raise BadInput(f"{path}: [modules] must give each PDU a module number of its own; got {modules}.")
    ff_gain = settings.get("ff_gain", 1.0)
    if not isinstance(ff_gain, int | float) or not ff_gain > 0:
        raise BadInput(f"{path}: ff_gain = {ff_gain!r} must be a number above 0.")
    known = settled(settings.get("conditions", {}), f"{path}: [conditions]")
    return {"dims": {}, "directions": {}, **settings, "conditions": known, "ff_gain": float(ff_gain)}


def check_directions(where: object, detector: Detector, directions: dict) -> None:
    """Refuse directions of maps that the detector does not have.

    Parameters
    ----------
    where : object
        What an error calls their place.
    detector : Detector
    directions : dict
        Calibration -> ``"multiply"`` or ``"divide"``.

    Raises
    ------
    BadInput

    Examples
    --------
    >>> check_directions("--direction", detectors.load("LPD1M"), {"FFMap": "divide"})
    """
    names = detector.facility_constants
    allowed = [key for key, name in names.items() if name in _FACTORS and "Slopes" not in key]
    for key, value in directions.items():
        if key not in allowed:
            some = f"may name {', '.join(allowed)}" if allowed else f"is not for {detector.name}"
            raise BadInput(f"{where}: {key!r} in [directions], which {some}.{nearest(key, allowed)}")
        if value not in ("multiply", "divide"):
            raise BadInput(f"{where}: {key} = {value!r} in [directions] must be 'multiply' or 'divide'.")


def _scan(
    folder: Path, detector: Detector, settings: dict
) -> tuple[dict[int, dict[str, StoredConstant]], list[str]]:
    """Look into every file of the folder; return module -> calibration -> constant, and what was not used."""
    found: dict[int, dict[str, StoredConstant]] = {}
    ignored: list[str] = []
    for path in sorted(folder.rglob("*.h5")):
        for pdu, calibration, name, shape, dims in datasets_of(path):
            where = f"{path}: {name}"
            if pdu not in settings["modules"] or calibration not in detector.facility_constants:
                ignored.append(f"{path.relative_to(folder)}:{name}")
                continue
            dims = dims or settings["dims"].get(calibration)
            target = detector.facility_constants[calibration]
            constant = StoredConstant(
                path, name, calibration, axes_of(shape, dims, detector, target, where), shape
            )
            constants = found.setdefault(settings["modules"][pdu], {})
            if calibration in constants:
                raise BadInput(
                    f"{where}: {calibration} of {pdu} is also in {constants[calibration].path}; keep one "
                    f"version of each constant in the folder."
                )
            constants[calibration] = constant
    return found, ignored
