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

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from .. import detectors
from ..detectors import CONTROL_FIELDS, Detector
from ..errors import BadInput, UnreadableData, nearest
from .axes import axes_of
from .container import Constants
from .facility_writer import MODULES_FILE, write_facility
from .layout import DTYPES, as_words

__all__ = ["MODULES_FILE", "open_constants", "write_facility"]

_SLAB_BYTES = 32 << 20
_PIECE = 32  # rows
_KEYS = {"detector", "ff_gain", "modules", "conditions", "dims", "directions"}
_FACTORS = ("relative_gain", "ff_map", "gain_amp_map")


@dataclass(frozen=True)
class _Constant:
    """One dataset of the store."""

    path: Path
    dataset: str
    calibration: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def cells(self) -> int:
        return self.shape[self.axes.index("cell")]

    def read(self, rows: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
        """Return (plane, len(rows), ss, fs), by default in its own dtype; no plane axis counts as one."""
        order = [self.axes.index(axis) for axis in ("plane", "cell", "ss", "fs") if axis in self.axes]
        wanted, back = np.unique(rows, return_inverse=True)
        cell_axis = self.axes.index("cell")
        try:
            with h5py.File(self.path, "r") as file:
                dataset = file[self.dataset]
                shape = list(self.shape)
                shape[cell_axis] = len(wanted)
                out = np.empty([shape[axis] for axis in order], dtype or dataset.dtype)
                in_file = out.transpose(np.argsort(order))
                for source, take, target in _slabs(dataset, cell_axis, wanted):
                    block = dataset[source]
                    if len(take) != block.shape[cell_axis]:
                        block = np.take(block, take, cell_axis)
                    # Turned around in pieces that fit the cache: one assignment would take 20 times as long.
                    for start in range(0, block.shape[1], _PIECE):
                        in_file[target][:, start : start + _PIECE] = block[:, start : start + _PIECE]
        except (OSError, KeyError) as error:
            raise UnreadableData(f"{self.path}: {self.dataset} cannot be read ({error}).") from error
        out = out if "plane" in self.axes else out[np.newaxis]
        out = out if "ss" in self.axes else out[:, :, np.newaxis]
        return out if np.array_equal(back, np.arange(len(wanted))) else np.take(out, back, axis=1)


def _slabs(dataset: h5py.Dataset, cell_axis: int, wanted: np.ndarray) -> Iterator[tuple]:
    """Yield (where to read, cells to take of it, where it goes) so that a read stays within a bounded size.

    Chunked data is read in whole chunks of the cell axis, so that no chunk is inflated twice; contiguous data
    in slabs of another axis, since there the cells of one pixel lie side by side.
    """
    whole = [np.s_[:]] * dataset.ndim
    if dataset.chunks:
        step = dataset.chunks[cell_axis]
        for chunk in np.unique(wanted // step):
            hits = np.flatnonzero(wanted // step == chunk)
            source, target = list(whole), list(whole)
            source[cell_axis] = slice(chunk * step, min((chunk + 1) * step, dataset.shape[cell_axis]))
            target[cell_axis] = slice(hits[0], hits[-1] + 1)
            yield tuple(source), wanted[hits] - chunk * step, tuple(target)
        return
    axis = 0 if cell_axis else 1
    step = max(1, _SLAB_BYTES * dataset.shape[axis] // max(1, dataset.size * dataset.dtype.itemsize))
    for start in range(0, dataset.shape[axis], step):
        source = list(whole)
        source[axis] = slice(start, start + step)
        yield tuple(source), wanted, tuple(source)


class _Folder:
    """The arrays of a store's folder, converted to the container's names while they are read."""

    def __init__(
        self, detector: Detector, found: dict[int, dict[str, _Constant]], cells: int, settings: dict
    ):
        self._detector = detector
        self._cell_ids = detector.default_cell_ids(cells)
        self._ff_gain = settings["ff_gain"]
        self._divide = [key for key, value in settings["directions"].items() if value == "divide"]
        self._parts: dict[tuple[str, int], list[_Constant]] = {}
        for module, constants in found.items():
            for calibration, constant in constants.items():
                name = detector.facility_constants[calibration]
                self._parts.setdefault((name, module), []).append(constant)
                if name == "relative_gain" and _planes(constant) >= 10:
                    self._parts["mg_baseline", module] = [constant]

    def modules(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(module for key, module in self._parts if key == name))

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
            relative, baseline = _slopes(array.astype(np.float64), self._detector.medium_low_ratio)
            array = relative if name == "relative_gain" else baseline
        elif name == "adu_per_kev" and self._ff_gain != 1:
            array = array.astype(np.float64) / self._ff_gain
        elif parts[0].calibration in self._divide:
            with np.errstate(
                divide="ignore", invalid="ignore"
            ):  # what has no reciprocal is found when folded
                array = 1 / array.astype(np.float64)
        return np.ascontiguousarray(array, DTYPES[name])

    def _rows(self, part: _Constant, rows: np.ndarray) -> np.ndarray:
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
    """Return relative gain (3, ...) and medium-gain baseline (1, ...) from the planes of SlopesPC.

    Planes 0, 1: slope and intercept in high gain; 3, 4: in medium gain. Unverified.
    """
    high, high_start, medium, medium_start = planes[[0, 1, 3, 4]]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = high / medium
        relative = np.stack([np.ones_like(ratio), ratio, medium_low_ratio * ratio])
        return relative, (high_start - medium_start * ratio)[np.newaxis]


def _planes(constant: _Constant) -> int:
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
    _check_directions(folder / MODULES_FILE, detector, settings["directions"])
    modules = settings["modules"]
    if wrong := sorted(set(modules.values()) - set(detector.modules or modules.values())):
        allowed = f"{detector.first_module} ... {detector.first_module + detector.module_count - 1}"
        raise BadInput(
            f"{folder / MODULES_FILE}: there is no module {wrong[0]} in {detector.name} ({allowed})."
        )

    found, ignored = _scan(folder, detector, settings)
    offsets = {
        module: constant
        for module, constants in found.items()
        for calibration, constant in constants.items()
        if detector.facility_constants[calibration] == "offset"
    }
    if not offsets:
        names = [key for key, name in detector.facility_constants.items() if name == "offset"]
        raise BadInput(f"{folder}: no file holds {' or '.join(names)} of the PDUs in {MODULES_FILE}.")
    counts = {module: constant.cells for module, constant in offsets.items()}
    if len(set(counts.values())) > 1:
        raise BadInput(f"{folder}: the offsets of the modules have different numbers of cells: {counts}.")
    cells = next(iter(counts.values()))
    store = _Folder(detector, found, cells, settings)
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
    return Constants(
        detector,
        sorted(modules.values()),
        detector.default_cell_ids(cells),
        store,
        settings["conditions"],
        provenance,
    )


def _settings(folder: Path) -> dict:
    """Read and check `MODULES_FILE`."""
    path = folder / MODULES_FILE
    if not path.exists():
        raise BadInput(
            f"{folder} has no {MODULES_FILE}: write one that says which module each PDU is, with the lines "
            f'detector = "AGIPD1M", [modules] and e.g. AGIPD_SIV1_AGIPDV12_M435 = 0.'
        )
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as TOML: {error}.") from error
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
        if not isinstance(value, str if key == "gain_mode" else int | float) or isinstance(value, bool):
            kind = "a name" if key == "gain_mode" else "a number"
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
    return {"conditions": {}, "dims": {}, "directions": {}, **settings, "ff_gain": float(ff_gain)}


def _check_directions(path: Path, detector: Detector, directions: dict) -> None:
    names = detector.facility_constants
    allowed = [key for key, name in names.items() if name in _FACTORS and "Slopes" not in key]
    for key, value in directions.items():
        if key not in allowed:
            some = f"may name {', '.join(allowed)}" if allowed else f"is not for {detector.name}"
            raise BadInput(f"{path}: {key!r} in [directions], which {some}.{nearest(key, allowed)}")
        if value not in ("multiply", "divide"):
            raise BadInput(f"{path}: {key} = {value!r} in [directions] must be 'multiply' or 'divide'.")


def _scan(
    folder: Path, detector: Detector, settings: dict
) -> tuple[dict[int, dict[str, _Constant]], list[str]]:
    """Look into every file of the folder; return module -> calibration -> constant, and what was not used."""
    found: dict[int, dict[str, _Constant]] = {}
    ignored: list[str] = []
    for path in sorted(folder.rglob("*.h5")):
        for pdu, calibration, name, shape, dims in _datasets(path):
            where = f"{path}: {name}"
            if pdu not in settings["modules"] or calibration not in detector.facility_constants:
                ignored.append(f"{path.relative_to(folder)}:{name}")
                continue
            dims = dims or settings["dims"].get(calibration)
            target = detector.facility_constants[calibration]
            constant = _Constant(
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


def _datasets(path: Path) -> list[tuple[str, str, str, tuple[int, ...], list[str] | None]]:
    """Return (PDU, calibration, dataset, shape, dims) of every constant in a file."""
    result = []
    try:
        with h5py.File(path, "r") as file:
            for pdu, group in file.items():
                for calibration, versions in group.items() if isinstance(group, h5py.Group) else ():
                    for index, version in versions.items() if isinstance(versions, h5py.Group) else ():
                        if not isinstance(version, h5py.Group) or "data" not in version:
                            continue
                        dataset = version["data"]
                        name = f"/{pdu}/{calibration}/{index}/data"
                        result.append((pdu, calibration, name, dataset.shape, _dims(dataset)))
    except (OSError, KeyError) as error:
        raise UnreadableData(f"{path} is not a whole HDF5 file ({error}).") from error
    return result


def _dims(dataset: h5py.Dataset) -> list[str] | None:
    """Return the attribute ``dims``, which is a list of names or one text with commas."""
    dims = dataset.attrs.get("dims")
    if dims is None:
        return None
    texts = [dims] if isinstance(dims, str | bytes) else list(np.ravel(dims))
    texts = [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
    return [part.strip() for text in texts for part in text.split(",")]
