"""What can be asked of the simulation, and the checks that make a wrong wish an error with a reason."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput, nearest
from ..sources.instruments import Instrument, instrument_of, laser_bit
from .detector import STAGES
from .geometry import MODULES

STRIDES = {4.5: 1, 2.2: 2, 1.1: 4, 0.5: 8}
MAX_CELLS = 352
BUNCH_SLOTS = 2700
PATTERN_SOURCES = ("pipeline", "control", "decoder")
PUMPS = ("none", "every", "even_pulses", "odd_pulses", "even_trains")


@dataclass(frozen=True)
class SpiParameters:
    """A simulated single-particle run at AGIPD-1M.

    Trains are counted from 0 in every option, modules and cells have their own numbers.

    Attributes
    ----------
    n_trains : int
        Trains of the run, empty ones included.
    n_cells : int
        Frames per train; cells 0 to n_cells - 1 unless `cell_ids` says otherwise.
    cell_ids : tuple of int, optional
        Memory cell of each stored frame. Ascending: a selection of a longer sequence of frames, so that frame
        number and pulseId follow the cell. Otherwise (wrapped memory): frames in this order.
    rate_mhz : float
        4.5, 2.2, 1.1 or 0.5: pulseId runs in steps of 1, 2, 4, 8.
    reference_frame : int
        Frame in which the first instrument pulse sits; frames before it are dark.
    dark_cells : tuple of int
        Further cells without an X-ray pulse.
    later_from : int, optional
        Train from which on `later_dark_cells` are dark instead: the pulse pattern changes.
    later_dark_cells : tuple of int
        See there.
    dark_trains : tuple of int
        Trains without X-ray pulses.
    first_slot : int
        Slot of the bunch pattern that holds the first X-ray pulse.
    pulses_per_frame : int
        X-ray pulses in the exposure of a lit frame, in slots that follow one another.
    gain_mode : str
        "adaptive", "fixed_high", "fixed_medium" or "fixed_low".
    integration_time : int
        In units of 10 ns.
    hit_rate : float
        Share of the lit shots that hit a particle.
    photons_per_hit : (float, float)
        Range of the expected photons of a hit on all simulated modules at mean pulse energy, log-uniform.
    background : float
        Mean background photons per pixel at mean pulse energy.
    radius_nm, size_jitter : float
        Mean radius of the spheres and its relative scatter.
    pulse_energy_uj, energy_jitter : float
        Mean pulse energy and its relative scatter (gamma distribution).
    photon_energy_kev, distance_m : float
        Photon energy, keV, and distance of the detector, m.
    bad_fraction : float
        Share of bad pixels.
    mg_baseline : float
        Step between high and medium gain in high-gain ADU, which adjust_mg_baseline puts right; 0 = none.
    common_mode_adu : float
        rms of what all pixels of an ASIC have more in one frame, ADU; 0 = none.
    seed : int
        Same seed and NumPy version, same bytes.
    proposal, run, first_train : int
        Numbers of the proposal, the run and its first train.
    detector_name : str
        Begins with the instrument: SPB, FXE, MID, HED, SQS, SCS or SXP.
    modules : tuple of int
        Modules that are simulated at all.
    missing_modules : tuple of int
        Modules of which no file is written.
    missed_trains : tuple of (int, int)
        (module, train): the module recorded nothing in that train.
    empty_trains : tuple of int
        Trains in which no module recorded anything.
    short_trains : tuple of (int, int, int)
        (module, train, frames): the module has only so many frames in that train.
    suspect_trains : tuple of int
        Trains that every detector file flags as suspect.
    suspect : tuple of (int, int)
        (module, train): flagged as suspect in the files of that module alone.
    split_at : tuple of int
        Trains with which a new sequence file of the detector begins.
    sequence_overlap : int
        Trains that a sequence file repeats from the end of the one before.
    xgm, time_server : bool
        Whether the run has pulse energies and a bunch pattern.
    pattern_source : str
        Where the bunch pattern stands: "pipeline" or "control" of the time server, or a "decoder".
    litfrm : bool
        Whether the facility's lit-frame finder has run.
    litfrm_misses : tuple of int
        Trains of which it says nothing.
    pump : str
        Which X-ray pulses the optical laser accompanies: "none", "every", "even_pulses", "odd_pulses",
        "even_trains".
    pump_effect : float
        Relative change of the background in the inner half of q where the laser was on.
    delays : tuple of float
        Delays of the laser, taken in turns by the trains; empty for none.
    constants_cells : int, optional
        Memory cells with constants; by default the largest cell + 1.
    constants_without_cells : tuple of int
        Cells the constants say nothing about.
    constants_dims : bool
        Whether the constant files name their axes.
    constants_dtype : str
        "f4" or, as at the facility, "f8".
    truth_stage : bool
        Whether truth.h5 holds the gain stage of every pixel.

    Raises
    ------
    BadInput
        When an option cannot be met; the text names it.

    Examples
    --------
    >>> SpiParameters(n_trains=2, cell_ids=(0, 2, 5)).frames
    (0, 2, 5)
    """

    n_trains: int = 12
    n_cells: int = 8
    cell_ids: tuple[int, ...] | None = None
    rate_mhz: float = 1.1
    reference_frame: int = 1
    dark_cells: tuple[int, ...] = ()
    later_from: int | None = None
    later_dark_cells: tuple[int, ...] = ()
    dark_trains: tuple[int, ...] = ()
    first_slot: int = 120
    pulses_per_frame: int = 1
    gain_mode: str = "adaptive"
    integration_time: int = 20
    hit_rate: float = 0.3
    photons_per_hit: tuple[float, float] = (3e3, 1e6)
    background: float = 0.02
    radius_nm: float = 30.0
    size_jitter: float = 0.05
    pulse_energy_uj: float = 1500.0
    energy_jitter: float = 0.2
    photon_energy_kev: float = 9.3
    distance_m: float = 1.6
    bad_fraction: float = 0.01
    mg_baseline: float = 0.0
    common_mode_adu: float = 0.0
    seed: int = 1
    proposal: int = 900000
    run: int = 1
    first_train: int = 1_500_000_001
    detector_name: str = "SPB_DET_AGIPD1M-1"
    modules: tuple[int, ...] = tuple(range(MODULES))
    missing_modules: tuple[int, ...] = ()
    missed_trains: tuple[tuple[int, int], ...] = ()
    empty_trains: tuple[int, ...] = ()
    short_trains: tuple[tuple[int, int, int], ...] = ()
    suspect_trains: tuple[int, ...] = ()
    suspect: tuple[tuple[int, int], ...] = ()
    split_at: tuple[int, ...] = ()
    sequence_overlap: int = 0
    xgm: bool = True
    time_server: bool = True
    pattern_source: str = "pipeline"
    litfrm: bool = False
    litfrm_misses: tuple[int, ...] = ()
    pump: str = "none"
    pump_effect: float = 0.0
    delays: tuple[float, ...] = ()
    constants_cells: int | None = None
    constants_without_cells: tuple[int, ...] = ()
    constants_dims: bool = True
    constants_dtype: str = "f4"
    truth_stage: bool = True

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list | range):
                value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
                object.__setattr__(self, field.name, value)
        _check(self)

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> SpiParameters:
        """Make parameters from options by name.

        Parameters
        ----------
        options : dict
            Names of the attributes and their values.

        Returns
        -------
        SpiParameters

        Raises
        ------
        BadInput
            For an unknown name, with the nearest right one.

        Examples
        --------
        >>> SpiParameters.from_dict({"n_trains": 3}).n_trains
        3
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for name in options:
            if name not in names:
                raise BadInput(f"simulate: there is no option {name!r}.{nearest(name, names)}")
        return cls(**options)

    @property
    def cells(self) -> tuple[int, ...]:
        """Memory cell of every stored frame of a train, in the order of time."""
        return tuple(range(self.n_cells)) if self.cell_ids is None else tuple(self.cell_ids)

    @property
    def frames(self) -> tuple[int, ...]:
        """Frame number of every stored frame: its place in the detector's own sequence."""
        cells = self.cells
        ascending = all(a < b for a, b in itertools.pairwise(cells))
        return cells if ascending else tuple(range(len(cells)))

    @property
    def instrument(self) -> Instrument:
        """Instrument that the detector stands at."""
        return instrument_of(self.detector_name)

    @property
    def laser_name(self) -> str:
        """Name of the instrument's optical laser; SXP, whose own is not known, borrows one."""
        return self.instrument.laser or "SCS"

    @property
    def laser_bit(self) -> int:
        """Bit of the bunch pattern that tells this laser."""
        return laser_bit(self.laser_name)

    @property
    def stride(self) -> int:
        """Bunch slots from one frame to the next, and the step of pulseId."""
        return STRIDES[self.rate_mhz]

    @property
    def memory_cells(self) -> int:
        """Memory cells the detector was set to."""
        return max(self.cells) + 1

    @property
    def cells_with_constants(self) -> int:
        """Length of the cell axis of the constants."""
        return self.memory_cells if self.constants_cells is None else self.constants_cells

    @property
    def written_modules(self) -> tuple[int, ...]:
        """Modules of which there are files."""
        return tuple(m for m in self.modules if m not in self.missing_modules)


def _refuse(option: str, came: Any, expected: str) -> None:
    raise BadInput(f"simulate option {option}: {came!r} was given, but {expected}")


def _check(p: SpiParameters) -> None:
    """Raise BadInput for the first option that cannot be met."""
    for name, low, high in (
        ("n_trains", 1, 10**7),
        ("n_cells", 1, MAX_CELLS),
        ("seed", 0, 2**63),
        ("reference_frame", 0, MAX_CELLS),
        ("integration_time", 1, 10**5),
        ("proposal", 0, 999_999),
        ("run", 0, 9999),
        ("first_train", 1, 2**63),
        ("sequence_overlap", 0, 10**7),
        ("first_slot", 10, BUNCH_SLOTS),
        ("pulses_per_frame", 1, 8),
    ):
        value = getattr(p, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            _refuse(name, value, f"it must be a whole number from {low} to {high}")
    for name, low, high in (
        ("hit_rate", 0, 1),
        ("bad_fraction", 0, 0.5),
        ("background", 1e-9, 1e3),
        ("radius_nm", 1e-3, 1e4),
        ("size_jitter", 0, 0.2),
        ("pulse_energy_uj", 1e-3, 1e5),
        ("energy_jitter", 0, 1),
        ("photon_energy_kev", 0.2, 100),
        ("distance_m", 0.05, 100),
        ("mg_baseline", -1000, 1000),
        ("common_mode_adu", 0, 1000),
        ("pump_effect", -1, 10),
    ):
        value = getattr(p, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            _refuse(name, value, f"it must be a number from {low} to {high}")
    if p.rate_mhz not in STRIDES:
        _refuse("rate_mhz", p.rate_mhz, "the detector knows " + ", ".join(map(str, STRIDES)))
    if p.gain_mode not in STAGES:
        _refuse(
            "gain_mode",
            p.gain_mode,
            f"it must be one of {', '.join(STAGES)}.{nearest(str(p.gain_mode), STAGES)}",
        )
    for name, allowed in (("pattern_source", PATTERN_SOURCES), ("pump", PUMPS)):
        value = getattr(p, name)
        if value not in allowed:
            _refuse(name, value, f"it must be one of {', '.join(allowed)}.{nearest(str(value), allowed)}")
    if p.constants_dtype not in ("f4", "f8"):
        _refuse("constants_dtype", p.constants_dtype, "it must be 'f4' or 'f8'")
    low, high = p.photons_per_hit if len(p.photons_per_hit) == 2 else (math.nan, math.nan)
    if not 0 < low <= high < 1e9:
        _refuse("photons_per_hit", p.photons_per_hit, "it must be two numbers 0 < low <= high < 1e9")
    if p.instrument is None or "/" in p.detector_name or "_AGIPD1M" not in p.detector_name:
        _refuse("detector_name", p.detector_name, "it must look like 'SPB_DET_AGIPD1M-1'")
    _check_cells(p)
    _check_modules_and_trains(p)


def _check_cells(p: SpiParameters) -> None:
    cells = p.cells
    if not cells or len(set(cells)) != len(cells) or min(cells) < 0 or max(cells) >= MAX_CELLS:
        _refuse("cell_ids", p.cell_ids, f"it must be different cells from 0 to {MAX_CELLS - 1}")
    if p.frames[-1] * p.stride + p.first_slot + 4 * p.stride >= BUNCH_SLOTS:
        _refuse("rate_mhz", p.rate_mhz, f"{p.frames[-1] + 1} frames at this rate do not fit into a train")
    at_reference = [c for c, f in zip(cells, p.frames, strict=True) if f == p.reference_frame]
    for option in ("dark_cells", "later_dark_cells"):
        given = getattr(p, option)
        for cell in given:
            if cell not in cells:
                _refuse(option, given, f"cell {cell} is not recorded (cells are {cells})")
            if cell in at_reference:
                _refuse(option, given, f"cell {cell} holds the first pulse; move it with reference_frame")
    if p.pulses_per_frame > 1 and p.pulses_per_frame >= p.stride:
        _refuse("pulses_per_frame", p.pulses_per_frame, f"at this rate a frame takes {p.stride} slots")
    if p.constants_cells is not None and not 1 <= p.constants_cells <= MAX_CELLS:
        _refuse("constants_cells", p.constants_cells, f"it must be from 1 to {MAX_CELLS}")
    without = p.constants_without_cells
    for cell in without:
        if not 0 <= cell < p.cells_with_constants:
            _refuse("constants_without_cells", without, f"the constants have no cell {cell}")
    if len(set(without)) >= p.cells_with_constants:
        _refuse("constants_without_cells", without, "at least one cell must have constants")


def _check_modules_and_trains(p: SpiParameters) -> None:
    modules = p.modules
    if not modules or sorted(set(modules)) != list(modules) or modules[0] < 0 or modules[-1] >= MODULES:
        _refuse("modules", modules, f"it must be ascending module numbers from 0 to {MODULES - 1}")
    if not p.written_modules:
        _refuse("missing_modules", p.missing_modules, "at least one module must be left")
    for name in ("missing_modules", "missed_trains", "short_trains", "suspect"):
        for entry in getattr(p, name):
            module = entry if name == "missing_modules" else entry[0]
            if module not in modules:
                _refuse(name, getattr(p, name), f"module {module} is not simulated (modules are {modules})")
    trains = [("empty_trains", t) for t in p.empty_trains] + [("suspect_trains", t) for t in p.suspect_trains]
    trains += [(n, t) for n in ("dark_trains", "litfrm_misses") for t in getattr(p, n)]
    trains += [("later_from", p.later_from)] if p.later_from is not None else []
    trains += [("missed_trains", e[1]) for e in p.missed_trains] + [("suspect", e[1]) for e in p.suspect]
    trains += [("short_trains", e[1]) for e in p.short_trains] + [("split_at", t - 1) for t in p.split_at]
    for name, train in trains:
        if not 0 <= train < p.n_trains:
            _refuse(name, getattr(p, name), f"trains are counted from 0 to {p.n_trains - 1}")
    for _, _, frames in p.short_trains:
        if not 0 < frames < len(p.cells):
            _refuse(
                "short_trains", p.short_trains, f"the number of frames must be from 1 to {len(p.cells) - 1}"
            )
    if sorted(set(p.split_at)) != list(p.split_at) or (p.split_at and p.split_at[-1] >= p.n_trains):
        _refuse("split_at", p.split_at, f"it must be ascending train numbers from 1 to {p.n_trains - 1}")
