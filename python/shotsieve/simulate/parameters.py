"""What can be asked of the simulation, and the checks that make a wrong wish an error with a reason."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .. import detectors
from ..sources.instruments import Instrument, instrument_of, laser_bit
from .options import Options
from .parameters_check import BUNCH_SLOTS, STRIDES, check

if TYPE_CHECKING:
    import numpy as np

    from .scenes import Scene
    from .schedule import Schedule

__all__ = ["BUNCH_SLOTS", "SpiParameters"]


@dataclass(frozen=True)
class SpiParameters(Options):
    """A simulated single-particle run at an area detector.

    Trains are counted from 0 in every option, modules and cells have their own numbers.

    Attributes
    ----------
    detector : str
        "AGIPD1M", "AGIPD500K", "LPD1M", "LPDMINI" or "DSSC1M".
    parallel_gain : bool
        LPD: every pulse is recorded in high, medium and low gain.
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
        "adaptive", "fixed_high", "fixed_medium" or "fixed_low"; fixed only at AGIPD.
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
        AGIPD: rms of what all pixels of an ASIC have more in one frame, ADU; 0 = none.
    seed : int
        Same seed and NumPy version, same bytes.
    proposal, run, first_train : int
        Numbers of the proposal, the run and its first train.
    detector_name : str
        Begins with the instrument: SPB, FXE, MID, HED, SQS, SCS or SXP; empty: one that has this detector.
    modules : tuple of int
        Modules that are simulated at all; by default all that the detector has.
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

    detector: str = "AGIPD1M"
    parallel_gain: bool = False
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
    detector_name: str = ""
    modules: tuple[int, ...] = ()
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

    OWN_RANGES: ClassVar[tuple[tuple[str, float, float], ...]] = ()
    """Ranges of what a subclass adds."""

    def check(self) -> None:
        """See `Options`."""
        check(self)

    def scene(self, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> Scene:
        """Return what the beam hits: spheres, one a hit."""
        from .scenes import Spheres

        return Spheres(self, schedule, q, weight)

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
    def max_cells(self) -> int:
        """Memory cells that the detector has; in parallel gain a frame takes three."""
        return detectors.load(self.detector).max_cells // (3 if self.parallel_gain else 1)

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
