"""What can be asked of simulated dark runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .. import detectors
from ..detectors import Detector
from ..errors import nearest
from . import receiver_model
from .kinds import BIAS_VOLTAGE
from .kinds import KINDS as KINDS_OF_DETECTORS
from .options import RUN_RANGES, Options, check_numbers, check_whole, refuse
from .parameters import SpiParameters
from .receiver_model import NUMBERS

STAGES = ("high", "medium", "low")
DETECTORS = (*KINDS_OF_DETECTORS, *NUMBERS)
KINDS = ("dead", "hot", "noisy", "stuck")


@dataclass(frozen=True)
class DarkParameters(Options):
    """Simulated dark runs, one for each gain stage.

    Trains are counted from 0 in every option, modules and cells have their own numbers.

    Attributes
    ----------
    detector : str
        AGIPD1M, AGIPD500K, LPD1M, LPDMINI, DSSC1M, JUNGFRAU, EPIX100 or GOTTHARD2.
    stages : str
        Gain stages, one run each, in this order, separated by commas; by default all that the detector has.
    n_trains : int
        Trains of each run.
    n_cells : int
        Frames per train: of AGIPD, LPD and DSSC cells 0 to n_cells - 1, of JUNGFRAU 1 (cell 15) or 16, of
        ePix100 1, of Gotthard-II any number, in two cells by turns.
    modules : tuple of int
        By default the detector's first.
    dead, hot, noisy, stuck : float
        Share of pixels with a tenth of the noise; with an offset that is higher by ten times the scatter of
        the offsets; with three times the noise; that never leave high gain.
    outliers : float
        Share of samples that are too high by 60 times the noise.
    common_mode : float
        What the pixels of a bank share in a frame, ADU rms; half of it the pixels of each row and of each
        column of a bank. Of ePix100 only.
    bad_fraction : float
        Share of bad pixels of `shotsieve simulate spi` beside those; of its detectors only.
    fixed : bool
        Whether the runs are of fixed gain modes.
    parallel_gain : bool
        LPD only: one run, whose trains hold frames of all stages.
    missed_trains : tuple of (int, int)
        (module, train): the module recorded nothing in that train, in every run; detectors of
        `shotsieve simulate spi` only.
    short_trains : tuple of (int, int, int)
        (module, train, frames): the module has only so many frames in that train; the same detectors only.
    suspect_trains : tuple of int
        Trains that every detector file flags as suspect.
    split_at : tuple of int
        Trains with which a new sequence file begins; the same detectors only.
    rate_mhz : float
        Frame rate of the same detectors: 4.5, 2.2, 1.1 or 0.5.
    integration_time : int
        AGIPD: in units of 10 ns; JUNGFRAU, ePix100 and Gotthard-II: in us. 0 takes that of the detector's
        other simulated runs.
    seed : int
        Same seed and NumPy version, same bytes. The detector is that of `shotsieve simulate spi` with this
        seed.
    proposal, run, first_train : int
        Numbers of the proposal, of the first run and of its first train.

    Raises
    ------
    BadInput
        When an option cannot be met; the text names it.

    Examples
    --------
    >>> DarkParameters(detector="JUNGFRAU", n_cells=1).wanted_modules
    (1,)
    """

    detector: str = "AGIPD1M"
    stages: str = ""
    n_trains: int = 100
    n_cells: int = 1
    modules: tuple[int, ...] = ()
    dead: float = 0.001
    hot: float = 0.001
    noisy: float = 0.001
    stuck: float = 0.001
    outliers: float = 0.0
    common_mode: float = 0.0
    bad_fraction: float = 0.0
    fixed: bool = False
    parallel_gain: bool = False
    missed_trains: tuple[tuple[int, int], ...] = ()
    short_trains: tuple[tuple[int, int, int], ...] = ()
    suspect_trains: tuple[int, ...] = ()
    split_at: tuple[int, ...] = ()
    rate_mhz: float = 1.1
    integration_time: int = 0
    seed: int = 1
    proposal: int = 900000
    run: int = 1
    first_train: int = 1_500_000_001

    def check(self) -> None:
        """See `Options`."""
        if self.detector not in DETECTORS:
            hint = nearest(self.detector, DETECTORS)
            refuse("detector", self.detector, f"darks are simulated of {', '.join(DETECTORS)}.{hint}")
        names = self.stage_names
        if not names or len(set(names)) != len(names) or not set(names) <= set(STAGES):
            refuse("stages", self.stages, f"it must be some of {', '.join(STAGES)}, each once")
        if set(names) - set(STAGES[: self.family.stages]):
            refuse("stages", self.stages, f"{self.detector} has one gain stage, high")
        family = self.family
        most = family.max_cells if family.cell_key or family.cell_cycle == 1 else 2700
        check_whole(self, (("n_trains", 1, 10**7), ("n_cells", 1, most), *RUN_RANGES))
        if family.cell_key and family.single_cell >= 0 and self.n_cells not in (1, most):
            refuse("n_cells", self.n_cells, f"{self.detector} has 1 or {most} cells in use")
        check_numbers(self, ((name, 0, 0.2) for name in (*KINDS, "outliers", "bad_fraction")))
        check_numbers(self, (("common_mode", 0, 1000),))
        if self.common_mode and not all(family.bank):
            refuse("common_mode", self.common_mode, f"{self.detector} has no banks that share it")
        if self.is_receiver:
            for name in ("missed_trains", "short_trains", "split_at", "bad_fraction"):
                if getattr(self, name):
                    refuse(name, getattr(self, name), f"it is not simulated for {self.detector}")
        own = self.family.modules or range(self.family.first_module, self.family.first_module + 99)
        if unknown := [m for m in self.wanted_modules if m not in own]:
            refuse("modules", self.modules, f"{self.detector} has no module {unknown[0]}")

    @property
    def family(self) -> Detector:
        """The detector's descriptor."""
        found = detectors.load(self.detector)
        return found.in_parallel_gain() if self.parallel_gain else found

    @property
    def is_receiver(self) -> bool:
        """Whether it is a detector of a receiver, and not one of `shotsieve simulate spi`."""
        return self.detector in NUMBERS

    @property
    def exposure(self) -> int:
        """The integration time, where none was given too."""
        usual = receiver_model.INTEGRATION_TIME if self.is_receiver else SpiParameters.integration_time
        return self.integration_time or int(usual)

    @property
    def bias_voltage(self) -> float:
        """In V; that of the detector's other simulated runs."""
        return receiver_model.BIAS_VOLTAGE if self.is_receiver else BIAS_VOLTAGE

    def as_spi(self, gain_mode: str = "adaptive") -> SpiParameters:
        """Return a run as a single-particle run without X-rays."""
        return SpiParameters(
            detector=self.detector,
            parallel_gain=self.parallel_gain,
            n_trains=self.n_trains,
            n_cells=self.n_cells,
            rate_mhz=self.rate_mhz,
            integration_time=self.exposure,
            gain_mode=gain_mode,
            dark_trains=tuple(range(self.n_trains)),
            hit_rate=0.0,
            bad_fraction=self.bad_fraction,
            modules=self.wanted_modules,
            missed_trains=self.missed_trains,
            short_trains=self.short_trains,
            suspect_trains=self.suspect_trains,
            split_at=self.split_at,
            seed=self.seed,
            proposal=self.proposal,
            run=self.run,
            first_train=self.first_train,
            truth_stage=False,
        )

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages as a list."""
        named = tuple(part.strip() for part in self.stages.split(",") if part.strip())
        return named or STAGES[: 1 if self.parallel_gain else self.family.stages]

    @property
    def wanted_modules(self) -> tuple[int, ...]:
        """The modules, where none were named too."""
        return self.modules or (self.family.first_module,)

    @property
    def cells(self) -> tuple[int, ...]:
        """Memory cell of every frame of a train."""
        family, n = self.family, self.n_cells
        if not family.cell_key:
            return tuple(k % family.cell_cycle for k in range(n))
        # Bursts begin with the cell of single-cell operation.
        first = max(family.single_cell, 0)
        return tuple((first + k) % family.max_cells for k in range(n))

    @property
    def constants_cells(self) -> tuple[int, ...]:
        """Memory cells with constants, ascending."""
        return tuple(sorted(set(self.cells)))

    def place(self, frame: int) -> int:
        """Return the place of a frame's cell among those of the constants."""
        return self.constants_cells.index(self.cells[frame])

    def of_run(self, number: int) -> DarkParameters:
        """Return the parameters of one of the runs: its own number and trains."""
        first = self.first_train + number * (self.n_trains + 10)
        return dataclasses.replace(self, run=self.run + number, first_train=first)
