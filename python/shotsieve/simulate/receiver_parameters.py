"""What can be asked of a simulated run of a receiver's detector."""

from __future__ import annotations

from dataclasses import dataclass

from .. import detectors
from ..detectors import GAIN_MODES, Detector
from ..errors import nearest
from ..sources.instruments import instrument_of
from .options import RUN_RANGES, Options, check_numbers, check_split_at, check_whole, refuse
from .receiver_model import NUMBERS

NAMES = {"JUNGFRAU": "MID_EXD_JF500K1", "EPIX100": "MID_EXP_EPIX-1", "GOTTHARD2": "SQS_EXP_GH2-2"}
MOST_FRAMES = 2700


@dataclass(frozen=True)
class ReceiverParameters(Options):
    """A simulated run of JUNGFRAU, ePix100 or Gotthard-II: a spot, or a line, on a background.

    Trains are counted from 0 in every option, modules have their own numbers.

    Attributes
    ----------
    detector : str
        JUNGFRAU, EPIX100 or GOTTHARD2.
    detector_name : str
        Name in the run, which begins with the instrument; empty takes a usual one.
    n_trains : int
        Trains of the run.
    n_frames : int
        Frames per train: 1 or 16 of JUNGFRAU (memory cells, 15 first), 1 of ePix100, any of Gotthard-II.
    modules : tuple of int
        Modules, counted from 1.
    gain_mode : str
        "adaptive", "fixed_high", "fixed_medium" or "fixed_low".
    hit_rate : float
        Share of the frames with a spot.
    peak_photons : (float, float)
        Range of the expected photons in the brightest pixel of a spot, log-uniform.
    background : float
        Mean background photons per pixel.
    photon_energy_kev : float
        Photon energy, keV.
    bad_fraction : float
        Share of bad pixels.
    common_mode : float
        Of ePix100: noise that the pixels of a bank share, that those of a row of a bank share, and that those
        of a column of a bank share, ADU rms each.
    calibration_rows : bool
        Whether frames of ePix100 have rows of calibration at their edges.
    missing_modules : tuple of int
        Modules of which no file is written.
    missed_trains : tuple of (int, int)
        (module, train): the module recorded nothing in that train.
    split_at : tuple of int
        Trains with which a new sequence file begins.
    seed : int
        Same seed and NumPy version, same bytes.
    proposal, run, first_train : int
        Numbers of the proposal, the run and its first train.

    Raises
    ------
    BadInput
        When an option cannot be met; the text names it.

    Examples
    --------
    >>> ReceiverParameters("JUNGFRAU", n_frames=16).cells[:3]
    (15, 0, 1)
    """

    detector: str = "JUNGFRAU"
    detector_name: str = ""
    n_trains: int = 10
    n_frames: int = 1
    modules: tuple[int, ...] = (1,)
    gain_mode: str = "adaptive"
    hit_rate: float = 0.5
    peak_photons: tuple[float, float] = (3.0, 3e4)
    background: float = 0.01
    photon_energy_kev: float = 9.0
    bad_fraction: float = 0.005
    common_mode: float = 0.0
    calibration_rows: bool = False
    missing_modules: tuple[int, ...] = ()
    missed_trains: tuple[tuple[int, int], ...] = ()
    split_at: tuple[int, ...] = ()
    seed: int = 1
    proposal: int = 900000
    run: int = 1
    first_train: int = 1_500_000_001

    def check(self) -> None:
        """See `Options`."""
        if self.detector.upper() not in NUMBERS:
            hint = nearest(self.detector.upper(), NUMBERS)
            refuse("detector", self.detector, f"there are {', '.join(NUMBERS)}.{hint}")
        object.__setattr__(self, "detector", self.detector.upper())
        if not self.detector_name:
            object.__setattr__(self, "detector_name", NAMES[self.detector])
        _check(self)

    @property
    def family(self) -> Detector:
        """The detector's description."""
        return detectors.load(self.detector)

    @property
    def cells(self) -> tuple[int, ...]:
        """Memory cell of every frame of a train. Burst mode starts at the last cell, as single frames do."""
        family = self.family
        if not family.cell_key:
            return tuple(k % family.cell_cycle for k in range(self.n_frames))
        first = family.max_cells - 1
        return tuple((first + k) % family.max_cells for k in range(self.n_frames))

    @property
    def constants_cells(self) -> tuple[int, ...]:
        """Memory cells with constants, ascending."""
        return tuple(sorted(set(self.cells)))

    @property
    def written_modules(self) -> tuple[int, ...]:
        """Modules of which there are files."""
        return tuple(m for m in self.modules if m not in self.missing_modules)

    @property
    def fixed_stage(self) -> int:
        """Stage of all pixels, -1 where they choose."""
        return GAIN_MODES.index(self.gain_mode) - 1


def _check(p: ReceiverParameters) -> None:
    family = p.family
    most = family.max_cells if family.cell_key else MOST_FRAMES if family.layout == "trains" else 1
    check_whole(p, (("n_trains", 1, 10**7), ("n_frames", 1, most), *RUN_RANGES))
    numbers = (
        ("hit_rate", 0, 1),
        ("bad_fraction", 0, 0.5),
        ("background", 0, 1e3),
        ("photon_energy_kev", 0.2, 100),
        ("common_mode", 0, 1000),
    )
    check_numbers(p, numbers)
    if len(p.peak_photons) != 2 or not 0 < p.peak_photons[0] <= p.peak_photons[1] <= 1e9:
        refuse("peak_photons", p.peak_photons, "it must be two numbers, 0 < low <= high <= 1e9")
    if p.gain_mode not in GAIN_MODES or (family.stages == 1 and p.fixed_stage > 0):
        refuse("gain_mode", p.gain_mode, f"it must be one of {', '.join(GAIN_MODES)} that {p.detector} has")
    found = detectors.match([family.raw_source.format(detector=p.detector_name, module=1)])
    if not found or found[0].detector.name != p.detector or instrument_of(p.detector_name) is None:
        refuse("detector_name", p.detector_name, f"it must look like {NAMES[p.detector]!r}")
    for name in ("common_mode", "calibration_rows"):
        if getattr(p, name) and not any(family.edge_rows):
            refuse(name, getattr(p, name), f"{p.detector} has none")
    most = family.module_count or 99
    modules = p.modules
    if not modules or sorted(set(modules)) != list(modules) or not 1 <= modules[0] <= modules[-1] <= most:
        refuse("modules", modules, f"it must be ascending module numbers from 1 to {most}")
    if not p.written_modules:
        refuse("missing_modules", p.missing_modules, "at least one module must be left")
    for module, train in p.missed_trains:
        if module not in modules or not 0 <= train < p.n_trains:
            refuse("missed_trains", p.missed_trains, "modules and trains must be of the run")
    check_split_at(p)
