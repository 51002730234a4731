"""What a run and a recipe come to: everything that is decided before the first frame is read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import CalibrateParams, Tables, make_tables
from ..decide import Rule
from ..derive import WHOLE_TABLE, declare
from ..errors import BadInput
from ..keep import Keeper, kept_misses
from ..measure.lit import photons_per_unit
from ..measure.threshold import median_noise, threshold_in_unit
from ..shift_finder import mode_of
from ..sources.base import ShotStatus
from ..table import FATES, ModuleStatus, Table
from ..write.modules import written_modules
from .averages import AverageJob, make_average_job
from .cell_rows import check_rows
from .content import form_of, modules_with_pixels
from .facility import check_redu
from .masks import masks_of
from .matching import declare_joined
from .peaks import PeakJob, make_peak_job
from .profiles import ProfileJob, make_profile_job
from .pump_probe import PumpProbeJob, make_pump_probe_job
from .regions import RegionJob, make_region_job
from .selection import selection_of, whole_of
from .settings import describe
from .unknown import listed, note_unknown
from .user import UserJob, UserStage, make_user_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..bank_mode import BankModeParams
    from ..common_mode import CommonModeParams
    from ..constants.container import Constants
    from ..recipe import Recipe
    from ..sources.base import OperatingMode, Source
    from ..write.content import FrameForm

_FATE_OF_STATUS = {
    ShotStatus.OK: "dropped",
    ShotStatus.SUSPECT: "suspect",
    ShotStatus.DUPLICATE: "duplicate",
    ShotStatus.INCONSISTENT: "inconsistent",
    ShotStatus.UNREADABLE: "unreadable",
}


@dataclass
class Job:
    """A reduction, decided in all its parts.

    Attributes
    ----------
    source : Source
    recipe : Recipe
    mode : OperatingMode
        Of the run, with what the recipe overrides.
    table : Table
        One row per shot; keys, extra columns and fates of rejected shots are filled in.
    unit : str
        Unit of calibrated values.
    tables, params : Tables, CalibrateParams or None
        None where the recipe has no [calibrate].
    common_mode : CommonModeParams, BankModeParams or None
        None where none is subtracted.
    peaks : PeakJob or None
        None where the recipe has no [measure.peaks].
    pixel_jobs : list of ProfileJob, RegionJob, AverageJob or UserJob
        What else is measured on the pixels of every shot: profiles, regions of interest, averages.
    pump : PumpProbeJob or None
        Compares what is measured with and without the pump; None without [measure.pump_probe].
    form : FrameForm or None
        What kept frames are written as; None where only the table is.
    modules : tuple of int
        Numbers of the modules that are written.
    keeper : Keeper
        Decides which shots are kept.
    mask_files : dict of str to str
        SHA-256 of the files of masks, by key of the recipe.
    settings : dict
        What the output says of its making.
    notes : list of str
        What a reader of the accounts should know.
    seconds : dict of str to float
        Where the time went; see `shotsieve.engine.clock`.
    """

    source: Source
    recipe: Recipe
    mode: OperatingMode
    table: Table
    unit: str = "ADU"
    tables: Tables | None = None
    params: CalibrateParams | None = None
    common_mode: CommonModeParams | BankModeParams | None = None
    peaks: PeakJob | None = None
    pixel_jobs: list[ProfileJob | RegionJob | AverageJob | UserJob] = field(default_factory=list)
    pump: PumpProbeJob | None = None
    form: FrameForm | None = None
    modules: tuple[int, ...] = ()
    keeper: Keeper = field(default_factory=Keeper)
    mask_files: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def decides_late(self) -> bool:
        """Whether shots are decided about once all were measured; what is kept is then read again."""
        # A block may hold a part of a train only, unless the detector's files hold whole ones.
        trains = self.keeper.whole == "train" and self.source.detector.keep_unit != "train"
        return self.asks_all_shots or trains

    @property
    def asks_all_shots(self) -> bool:
        """Whether a column that the rule may ask for follows from all shots of the run."""
        return any(section.kind in WHOLE_TABLE for section in self.recipe.derive.values())

    @property
    def counts_frames(self) -> bool:
        """Whether every frame is calibrated and counted."""
        return self.recipe.measure.lit is not None or self.recipe.measure.peaks is not None

    @property
    def needs_pixels(self) -> bool:
        """Whether something is measured on pixels, before a shot is kept or dropped."""
        frames = self.pump is not None and self.pump.frames is not None
        return self.peaks is not None or bool(self.pixel_jobs) or frames

    def finish_notes(self) -> None:
        """Add what is known only once every shot was seen."""
        for part in self.parts():
            self.notes.append(part.summary())
        if self.keeper.misses > 0:
            number = int(kept_misses(self.table).sum())
            self.notes.append(
                f"misses kept at random: {number}, a share of {self.keeper.misses:g}, seed "
                f"{self.keeper.seed}; their keep_probability is in the table"
            )
        self._advise()

    def parts(self) -> list[Any]:
        """List all that has something to say of itself."""
        form = self.form if self.form is not None and self.form.changes else None
        return [part for part in (self.peaks, *self.pixel_jobs, self.pump, form) if part is not None]

    def _advise(self) -> None:
        """Note what a user can do about shots that stayed undecided since a module was missing."""
        undecided = (self.table.verdict == -1) & (self.table.fate <= FATES.index("dropped"))
        partial = undecided & ~self.table.ok().all(axis=1)
        if partial.any():
            self.notes.append(
                f"{int(partial.sum())} shots are undecided since a module is missing or has no constants: "
                f"name the modules that count in the rule (as {self._countable()}[3]), or set [keep] "
                "undecided"
            )

    def _countable(self) -> str:
        """Return a measure of the rule of which single modules can be named."""
        rule = self.keeper.rule
        names = [] if rule is None else [name.partition("[")[0] for name in rule.names]
        return next((name for name in names if name in self.table.measures), "lit_pixels")

    @property
    def content(self) -> str | None:
        """What is written of kept shots, None if only the table is."""
        return self.recipe.write.content if self.recipe.write else None

    @property
    def writes_pixels(self) -> bool:
        """Whether kept shots are written as calibrated pixels, in whatever form."""
        return self.content not in (None, "raw")


def make_job(
    source: Source,
    recipe: Recipe,
    constants: Constants | None,
    force: bool = False,
    columns: Mapping[str, np.ndarray] | None = None,
    stages: tuple[UserStage, ...] = (),
    others: Mapping[str, Table] | None = None,
) -> Job:
    """Decide everything about a reduction.

    Parameters
    ----------
    source : Source
    recipe : Recipe
    constants : Constants or None
        Needed where the recipe calibrates.
    force : bool
        Accept constants whose conditions disagree with the run; the disagreement is then recorded.
    columns : mapping of str to ndarray, optional
        Columns of every shot that go before those of the source.
    stages : tuple of UserStage
        Measures of the user's own.
    others : mapping of str to Table, optional
        Of other detectors of the run, by label: the rule may ask for their columns.

    Returns
    -------
    Job

    Raises
    ------
    BadInput
        If something is missing or does not fit together.
    """
    shots = source.shots
    mode = _override(source.mode, recipe)
    table = Table(shots.train_id, shots.pulse_id, shots.cell_id, source.modules, source.detector.pixels)
    for name, values in {**source.columns(recipe.annotate, mode), **(columns or {})}.items():
        table.add_column(name, values)
    for status, fate in _FATE_OF_STATUS.items():
        table.set_fate(shots.status == status, fate)
    for label, other in (others or {}).items():
        declare_joined(table, label, other, recipe)
    job = Job(source, recipe, mode, table)
    recorded = source.readable
    if recipe.select is not None:
        _select(job)
    if recipe.calibrate is not None:
        if constants is None:
            raise BadInput(
                "no constants: the recipe has [calibrate], so give them with --constants FILE or FOLDER, "
                'or in the recipe as [calibrate] constants = "constants.h5".'
            )
        _calibration(job, constants, force)
    written = next((part.written for part in job.pixel_jobs if isinstance(part, RegionJob)), None)
    job.form = form_of(recipe, job.unit, mode.photon_energy_kev, written)
    here = modules_with_pixels(source, recipe, job.form)
    job.modules, lacking = written_modules(recipe, source.detector, here)
    if lacking:
        job.notes.append(f"[write] modules names {listed(lacking)}, which the run does not have")
    if stages:
        if job.params is None:
            raise BadInput("stages look at calibrated frames: add a section [calibrate] to the recipe")
        # First, so that a user's error comes before anything is added to an average.
        job.pixel_jobs = [*make_user_jobs(job, stages), *job.pixel_jobs]
    if recipe.derive:
        declare(table, recipe.derive, recipe.folder)
    if recipe.keep is not None:
        job.keeper = _keeper(job)
        job.notes.insert(0, f"kept where {recipe.keep.rule}; undecided shots: {recipe.keep.undecided}")
        job.keeper.prepare(table)
    check_rows(job, recorded)
    check_redu(job)
    describe(job, constants, here)
    return job


def _select(job: Job) -> None:
    """Leave out the shots that the recipe does not want to be read: they are dropped."""
    section, table = job.recipe.select, job.table
    selection = selection_of(job.recipe, table, job.source.detector)
    readable = job.source.readable
    wanted = np.zeros(len(table), bool)
    wanted[readable] = selection.wanted(table.part(readable))  # what was rejected has no say
    left_out = readable[~wanted[readable]]
    job.source = job.source.selected(wanted)
    table.set_fate(left_out, "dropped")
    table.set_verdict(left_out, 0)
    told = [f"{key} = {value}" for key, value in vars(section).items() if value is not None]
    job.notes.append(
        f"{len(left_out)} shots were not read, since [select] leaves them out: {', '.join(told)}"
    )


def _keeper(job: Job) -> Keeper:
    """Build the decision of the recipe's [keep]."""
    keep, table = job.recipe.keep, job.table
    rule = Rule.parse(keep.rule, table.names(), explain=table.explain())
    detector = job.source.detector
    whole = whole_of(job.recipe, detector)
    try:
        return Keeper(rule, keep.undecided, keep.misses, keep.seed, whole, detector.row_cells)
    except BadInput as err:
        raise BadInput(f"[keep] {err}") from None


def _override(mode: OperatingMode, recipe: Recipe) -> OperatingMode:
    """Return the run's operating mode with what the recipe sets, and where each value is from."""
    changes = recipe.calibrate.mode_overrides() if recipe.calibrate else {}
    origin = {**mode.origin, **dict.fromkeys(changes, "recipe")}
    return dataclasses.replace(mode, **changes, origin=origin)


def _calibration(job: Job, constants: Constants, force: bool) -> None:
    """Check the constants against the run, fold them, and set the kernel's parameters."""
    source, mode, section = job.source, job.mode, job.recipe.calibrate
    detector = source.detector
    constants.check_detector(detector)
    steps, without = section.steps.for_constants(detector, constants)
    job.notes += without
    if disagreements := constants.check_conditions(mode):
        text = "the constants were taken under other conditions than the run: " + "; ".join(disagreements)
        if overridden := [name for name, origin in mode.origin.items() if origin == "recipe"]:
            text += f" (the recipe sets {', '.join(overridden)})"
        if not force:
            raise BadInput(
                f"{text}. Give the right constants, correct the run's values in [calibrate], or go on with "
                "--force, which is then recorded in the output."
            )
        job.notes.append(f"forced: {text}")
    if mode.gain_mode is None:
        raise BadInput(
            f"{source.name}: the run's control sources do not tell the gain mode: set [calibrate] "
            'gain_mode = "adaptive" (or fixed_high, fixed_medium, fixed_low).'
        )
    energy = mode.photon_energy_kev
    try:
        job.unit = steps.unit(section.unit)
    except BadInput as err:
        raise BadInput("; ".join([*without, str(err)])) from None
    shots = source.shots
    job.tables = make_tables(
        constants,
        detector,
        source.modules,
        shots.cell_id[source.readable],
        steps,
        job.unit,
        energy,
        mode.gain_mode,
        masks_of(job),
    )
    note_unknown(job, constants)
    threshold, to_photon, candidate = float("nan"), 0.0, float("nan")
    unlit = max(detector.fixed_stage(mode.gain_mode), 0)
    sigma = float("nan")
    if _uses_sigma(job.recipe):
        sigma = median_noise(constants, job.tables, source.modules, unlit)
    if job.recipe.measure.lit is not None:
        asked = job.recipe.measure.lit.threshold
        threshold = threshold_in_unit(asked, job.unit, energy, sigma, option="[measure.lit] threshold")
        to_photon = photons_per_unit(job.unit, energy)
        for name in ("lit_pixels", "unmasked_pixels", "intensity", *(("photons",) if to_photon else ())):
            job.table.declare_measure(name)
        # The table says the unit that this run's intensities have.
        meaning = job.table.meanings["intensity"]
        job.table.meanings["intensity"] = dataclasses.replace(meaning, unit=job.unit)
    if job.recipe.measure.peaks is not None:
        job.peaks = make_peak_job(job, sigma)
        job.table.declare_measure("n_peaks")
        candidate = job.peaks.plan.params.threshold
    if job.recipe.measure.pump_probe is not None:
        job.pump = make_pump_probe_job(job)
    if job.recipe.measure.azint is not None:
        job.pixel_jobs.append(make_profile_job(job, sigma))
    if job.recipe.measure.roi is not None:
        job.pixel_jobs.append(make_region_job(job))
    if job.recipe.measure.average is not None:
        job.pixel_jobs.append(make_average_job(job))
    params = CalibrateParams.from_steps(steps, detector, mode.gain_mode, threshold, to_photon)
    job.params = dataclasses.replace(params, candidate_threshold=candidate)
    job.common_mode = mode_of(steps, detector, mode.gain_mode, constants, job.tables, source.modules)


def _uses_sigma(recipe: Recipe) -> bool:
    """Whether a threshold is a multiple of the noise, which then has to be looked up."""
    lit, peaks, azint = recipe.measure.lit, recipe.measure.peaks, recipe.measure.azint
    asked = [lit.threshold] if lit else []
    asked += [peaks.threshold, peaks.noise_floor] if peaks else []
    asked += [azint.read_noise] if azint else []
    return any(quantity is not None and quantity.unit == "sigma" for quantity in asked)


def module_status(present: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """Return the `ModuleStatus` of each frame of a block, uint8 (n, M).

    Parameters
    ----------
    present : ndarray of bool, shape (n, M)
    rows : ndarray of int32, shape (n, M) or None
        Rows of the tables, -1 without constants; None where nothing is calibrated.
    """
    status = np.where(present, ModuleStatus.OK, ModuleStatus.MISSING).astype("u1")
    if rows is not None:
        status[present & (rows < 0)] = ModuleStatus.NO_CONSTANTS
    return status
