"""What `shotsieve bench` measures on: raw words with known photons and spots, and constants for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from .. import detectors
from ..constants.bad_pixels import BadPixels
from ..constants.container import Constants
from ..constants.fold import required
from ..constants.steps import Steps
from ..detectors import Detector
from ..errors import BadInput
from ..geometry import Geometry
from ..geometry.panel import Panel

PHOTON_KEV = 9.3
DISTANCE_M = 0.2
OFFSETS = (5000.0, 8000.0, 8600.0)
LEVELS = (5000.0, 6600.0, 7800.0)  # of the digital word, by stage
LIT_SHARE, BAD_SHARE, NOISE_KEV = 0.02, 0.01, 0.5
SPOTS, HIT_SHARE = 24, 0.05
CENTRE, ARM = 60, 20  # photons of a spot
GAP = 8  # pixels between modules


@dataclass(frozen=True)
class Kind:
    """How a family of detectors is simulated, and what a whole one is.

    Attributes
    ----------
    modules : int
        Of a whole detector.
    shots_per_s : float
        Its own rate.
    adu_per_kev : tuple of float
        By stage; with relative gains where the detector has them.
    relative_gain : tuple of float
    offsets : tuple of float
        By stage, ADU.
    highest : int
        Largest signal.
    noise_kev : float
        Beside that of the rounding to whole ADU.
    """

    modules: int
    shots_per_s: float
    adu_per_kev: tuple[float, ...]
    relative_gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    offsets: tuple[float, ...] = OFFSETS
    highest: int = 16383
    noise_kev: float = NOISE_KEV


KINDS = {
    "AGIPD1M": Kind(16, 3520.0, (7.2,), (1.0, 30.0, 134.0)),
    "JUNGFRAU": Kind(8, 160.0, (41.0, -1.4, -0.1)),
    "LPD1M": Kind(16, 5120.0, (1.2,), (1.0, 10.0, 100.0), (1000.0, 950.0, 900.0), 4095),
    "DSSC1M": Kind(16, 8000.0, (0.3,), (1.0,), (40.0,), 255, 0.1),
}
"""Detectors there are benchmarks for; a JUNGFRAU has 4 megapixels and 16 cells, ten trains a second."""


@dataclass(frozen=True)
class Case:
    """Trains of a detector, or of some of its modules.

    Attributes
    ----------
    detector : Detector
    raw : ndarray of uint16, shape (trains, cells, M, planes, ss, fs)
    lit : ndarray of int, shape (trains, cells)
        Good pixels with photons: what has to be counted.
    hits : ndarray of bool, shape (trains, cells)
        Shots with spots.
    spots : int
        Of a hit.
    constants : Constants
    geometry : Path
        A CrystFEL geometry of the modules.
    """

    detector: Detector
    raw: np.ndarray
    lit: np.ndarray
    hits: np.ndarray
    spots: int
    constants: Constants
    geometry: Path

    @property
    def modules(self) -> tuple[int, ...]:
        return self.constants.modules

    @property
    def shots(self) -> int:
        return self.hits.size

    @property
    def kind(self) -> Kind:
        return KINDS[self.detector.name]

    @property
    def whole(self) -> float:
        """Share of a whole detector that the modules are."""
        return len(self.modules) / self.kind.modules

    @cached_property
    def frame_pixels(self) -> int:
        return len(self.modules) * self.detector.pixels


def check_case(name: str, modules: int, cells: int | None, trains: int) -> None:
    """Refuse a case that `make_case` cannot make, before another one is measured.

    Raises
    ------
    BadInput
        If there is no such detector, or a number is out of range.
    """
    if name not in KINDS:
        raise BadInput(f"bench: no detector {name!r}; there are {', '.join(KINDS)}")
    most, detector = KINDS[name].modules, detectors.load(name)
    enough = cells is None or 1 <= cells <= detector.max_cells
    if not (1 <= modules <= most and enough and trains >= 1):
        raise BadInput(
            f"bench: {modules} modules, {cells} cells, {trains} trains of {name}: expected 1 to {most}, 1 to "
            f"{detector.max_cells}, and at least 1"
        )


def make_case(
    name: str, folder: Path, modules: int = 4, cells: int | None = None, trains: int = 4, seed: int = 1
) -> Case:
    """Make trains of a detector.

    Parameters
    ----------
    name : str
        One of `KINDS`.
    folder : Path
        For the geometry file.
    modules, cells, trains : int
        How much; None takes 32 cells, or all that the detector has.
    seed : int

    Returns
    -------
    Case

    Raises
    ------
    BadInput
        As `check_case`.
    """
    check_case(name, modules, cells, trains)
    kind, detector = KINDS[name], detectors.load(name)
    cells = min(32, detector.max_cells) if cells is None else cells
    rng = np.random.Generator(np.random.SFC64(seed))
    numbers = range(detector.first_module, detector.first_module + modules)
    names = {*required(detector, Steps()), "bad_pixels"}
    arrays = {module: _module_constants(rng, detector, kind, cells, names) for module in numbers}
    constants = Constants.from_arrays(
        detector,
        {name: {module: parts[name] for module, parts in arrays.items()} for name in names},
        cell_ids=np.arange(cells),
    )
    per_module = -(-SPOTS // modules)
    raw = np.empty((trains, cells, modules, detector.plane_count, *detector.shape), "u2")
    lit = np.zeros((trains, cells), "i8")
    hits = rng.random((trains, cells)) < HIT_SHARE
    hits[0, 0], hits[-1, -1] = True, False  # one of each at least
    for place, module in enumerate(numbers):
        for train, cell in np.ndindex(trains, cells):
            spots = per_module if hits[train, cell] else 0
            lit[train, cell] += _fill(
                rng, raw[train, cell, place], arrays[module], cell, detector, kind, spots
            )
    geometry = _geometry(detector, modules).save(
        folder / f"{name.lower()}.geom",
        data_path="/entry_1/data_1/data",
        clen_m=DISTANCE_M,
        photon_energy_kev=PHOTON_KEV,
        adu_per_ev=0.001,
    )
    return Case(detector, raw, lit, hits, per_module * modules, constants, geometry)


def _module_constants(
    rng: np.random.Generator, detector: Detector, kind: Kind, cells: int, names: Collection[str]
) -> dict[str, np.ndarray]:
    shape = (cells, *detector.shape)

    def around(means: tuple[float, ...], spread: float) -> np.ndarray:
        found = np.empty((len(means), *shape), "f4")
        for values, mean in zip(found, means, strict=True):
            rng.standard_normal(out=values, dtype="f4")
            values *= abs(mean) * spread
            values += mean
        return found

    def flat(*values: float) -> np.ndarray:
        return np.stack([np.full(shape, value, "f4") for value in values])

    middle = tuple(0.5 * (low + high) for low, high in pairwise(LEVELS))
    bad = np.zeros((detector.stages, *shape), "u4")
    # Most bad pixels are bad in every cell.
    bad[:, :, rng.random(detector.shape) < BAD_SHARE] = int(BadPixels.OFFSET_OUT_OF_THRESHOLD)
    bad[:, rng.random(shape) < BAD_SHARE / 10] = int(BadPixels.NOISE_OUT_OF_THRESHOLD)
    make = {
        "offset": lambda: around(kind.offsets, 0.01),
        "thresholds": lambda: np.rint(around(middle, 0.002)),
        "relative_gain": lambda: flat(*kind.relative_gain),
        "mg_baseline": lambda: flat(0.0),
        "ff_map": lambda: flat(1.0),
        "gain_amp_map": lambda: flat(*[1.0] * detector.stages),
        "adu_per_kev": lambda: around(kind.adu_per_kev, 0.02),
        "bad_pixels": lambda: bad,
    }
    return {name: function() for name, function in make.items() if name in names}


def _fill(
    rng: np.random.Generator,
    words: np.ndarray,
    constants: dict[str, np.ndarray],
    cell: int,
    detector: Detector,
    kind: Kind,
    spots: int,
) -> int:
    """Fill one frame, (planes, ss, fs), the centres of spots in medium gain; return its lit pixels."""
    ss, fs = detector.shape
    offset, factor = constants["offset"][:, cell], constants["adu_per_kev"][:, cell]
    photons = (rng.random((ss, fs), "f4") < LIT_SHARE).astype("f4")
    stage = np.zeros((ss, fs), "u1")
    # On a grid, so that they never touch each other nor the border of an ASIC.
    rows, columns = np.meshgrid(np.arange(16, ss - 16, 32), np.arange(16, fs - 16, 32), indexing="ij")
    good = constants["bad_pixels"][0, cell] == 0
    places = np.flatnonzero(_all_good(good, rows.ravel(), columns.ravel()))
    for place in rng.permutation(places)[:spots]:
        y, x = rows.ravel()[place], columns.ravel()[place]
        photons[y - 1 : y + 2, x] = photons[y, x - 1 : x + 2] = ARM
        photons[y, x], stage[y, x] = CENTRE, min(1, detector.stages - 1)
    energy = PHOTON_KEV * photons + kind.noise_kev * rng.standard_normal((ss, fs), "f4")
    analogue = offset[0] + energy * factor[0]
    medium = stage == 1
    gain = factor[-1 if len(factor) == 1 else 1]
    if detector.stages > 1:
        analogue[medium] = (offset[1] + energy * gain / kind.relative_gain[1])[medium]
    words[0] = np.clip(np.rint(analogue), 0, kind.highest)
    if detector.encoding == "word":
        words[0] |= np.asarray(detector.codes, "u2")[stage] << np.uint16(detector.adc_bits)
    elif detector.encoding == "threshold":
        words[1] = np.rint(np.where(medium, LEVELS[1], LEVELS[0]) + 20 * rng.standard_normal((ss, fs), "f4"))
    elif detector.encoding == "code":
        words[1] = np.asarray(detector.codes)[stage]
    return int(np.count_nonzero(good & (photons > 0)))


def _all_good(good: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return of which places all nine pixels around are good."""
    around = [good[rows + y, columns + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return np.logical_and.reduce(around)


def _geometry(detector: Detector, modules: int) -> Geometry:
    """Return the modules in a square, the beam in the middle, one panel for each ASIC."""
    ss, fs = detector.shape
    high, wide = detector.asic
    across = int(np.ceil(np.sqrt(modules * ss / fs)))
    down = -(-modules // across)
    panels = []
    for module in range(modules):
        row, column = divmod(module, across)
        x0 = (column - across / 2) * (fs + GAP)
        y0 = (row - down / 2) * (ss + GAP)
        for top in range(0, ss, high):
            for left in range(0, fs, wide):
                first = module * ss + top
                panels.append(
                    Panel(
                        f"p{module}r{top}c{left}",
                        module,
                        (first, first + high, left, left + wide),
                        (x0 + left, y0 + top),
                        (1.0, 0.0, 0.0),
                        (0.0, 1.0, 0.0),
                        1 / detector.pixel_size_m,
                    )
                )
    return Geometry(panels=tuple(panels), module_shape=detector.shape, modules=modules)
