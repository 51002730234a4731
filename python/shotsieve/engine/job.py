"""What a run and a recipe come to: everything that is decided before the first frame is read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import CalibrateParams
from ..decide import Rule
from ..derive import WHOLE_TABLE, declare
from ..errors import BadInput
from ..folded_tables import Tables
from ..keep import Keeper, kept_misses
from ..lit_by_noise import LitByNoise
from ..sources.base import ShotStatus
from ..table import FATES, ModuleStatus, Table
from ..write.modules import written_modules
from .angular import AngularJob
from .averages import AverageJob, make_average_job
from .calibration import set_calibration
from .cell_rows import check_rows
from .content import check_cxi, form_of, modules_with_pixels
from .corrected import check_corrected
from .correlation import CorrelationJob
from .facility import check_redu
from .matching import declare_joined
from .peaks import PeakJob
from .profiles import ProfileJob
from .pump_probe import PumpProbeJob
from .regions import RegionJob
from .scores import ScoreJob
from .selection import selection_of, whole_of
from .settings import describe
from .unknown import listed
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
    lit_by_noise : LitByNoise or None
        Where pixels are lit by their own noise, and not by one threshold for all.
    high_threshold : float
        Second threshold of lit pixels, in the unit of the values; NaN where there is none.
    common_mode : CommonModeParams, BankModeParams or None
        None where none is subtracted.
    peaks : PeakJob or None
        None where the recipe has no [measure.peaks].
    pixel_jobs : list of ProfileJob, AngularJob, CorrelationJob, RegionJob, ScoreJob, AverageJob or UserJob
        What else is measured on the pixels of every shot: profiles, regions of interest, scores, averages.
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
    slot_times : list of dict
        The same of each slot; see `shotsieve.engine.slot_times`.
    """

    source: Source
    recipe: Recipe
    mode: OperatingMode
    table: Table
    unit: str = "ADU"
    tables: Tables | None = None
    params: CalibrateParams | None = None
    lit_by_noise: LitByNoise | None = None
    high_threshold: float = float("nan")
    common_mode: CommonModeParams | BankModeParams | None = None
    peaks: PeakJob | None = None
    pixel_jobs: list[
        ProfileJob | AngularJob | CorrelationJob | RegionJob | ScoreJob | AverageJob | UserJob
    ] = field(default_factory=list)
    pump: PumpProbeJob | None = None
    form: FrameForm | None = None
    modules: tuple[int, ...] = ()
    keeper: Keeper = field(default_factory=Keeper)
    mask_files: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    slot_times: list[dict[str, Any]] = field(default_factory=list)

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
    def measured_at_end(self) -> list[AverageJob]:
        """What is measured on all frames once the whole table is known: averages by what follows from it."""
        return [one for one in self.pixel_jobs if isinstance(one, AverageJob) and one.at_end]

    @property
    def measured_on_the_way(self) -> list[ProfileJob | RegionJob | AverageJob | UserJob]:
        """What else is measured on pixels, before anything is decided that needs the whole table."""
        return [one for one in self.pixel_jobs if not (isinstance(one, AverageJob) and one.at_end)]

    @property
    def counts_frames(self) -> bool:
        """Whether every frame is calibrated and counted."""
        return self.recipe.measure.lit is not None or self.recipe.measure.peaks is not None

    @property
    def counts_high(self) -> bool:
        """Whether pixels above a second threshold are counted."""
        lit = self.recipe.measure.lit
        return lit is not None and lit.high_threshold is not None

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
    def copies_frames(self) -> bool:
        """Whether kept frames are written as they came: raw words, or what was calibrated before."""
        return self.content == "raw" or (self.source.detector.is_corrected and self.content == "corrected")

    @property
    def writes_pixels(self) -> bool:
        """Whether kept shots are written as they come out of the calibration, in whatever form."""
        return self.content is not None and not self.copies_frames


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
    beforehand = list(table.columns)
    for status, fate in _FATE_OF_STATUS.items():
        table.set_fate(shots.status == status, fate)
    for label, other in (others or {}).items():
        declare_joined(table, label, other, recipe)
    job = Job(source, recipe, mode, table)
    recorded = source.readable
    check_cxi(recipe, source.detector)
    if recipe.select is not None:
        _select(job)
    if source.detector.is_corrected:
        check_corrected(job)
    if recipe.calibrate is not None:
        if constants is None and not source.detector.is_corrected:
            raise BadInput(
                "no constants: the recipe has [calibrate], so give them with --constants FILE or FOLDER, "
                'or in the recipe as [calibrate] constants = "constants.h5".'
            )
        set_calibration(job, constants, force)
    written = next((part.written for part in job.pixel_jobs if isinstance(part, RegionJob)), None)
    job.form = form_of(recipe, job.unit, mode.photon_energy_kev, written)
    if job.form is not None and job.copies_frames and source.corrected is not None:
        job.form.values = source.corrected.dtype
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
        beforehand += [name for name, section in recipe.derive.items() if section.kind == "list"]
    if recipe.keep is not None:
        job.keeper = _keeper(job)
        job.notes.insert(0, f"kept where {recipe.keep.rule}; undecided shots: {recipe.keep.undecided}")
        job.keeper.prepare(table)
    for one in job.pixel_jobs:
        if isinstance(one, CorrelationJob):
            one.choose_trains(job, beforehand)
    if recipe.measure.average is not None:
        # The last: its groups may follow from all that is measured before.
        job.pixel_jobs.append(make_average_job(job, beforehand))
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


def module_status(present: np.ndarray, rows: np.ndarray | None, lost: np.ndarray | None = None) -> np.ndarray:
    """Return the `ModuleStatus` of each frame of a block, uint8 (n, M).

    Parameters
    ----------
    present : ndarray of bool, shape (n, M)
    rows : ndarray of int32, shape (n, M) or None
        Rows of the tables, -1 without constants; None where nothing is calibrated.
    lost : ndarray of bool, shape (n, M), optional
        Frames that were recorded and could not be read; they are not present.
    """
    status = np.where(present, ModuleStatus.OK, ModuleStatus.MISSING).astype("u1")
    if rows is not None:
        status[present & (rows < 0)] = ModuleStatus.NO_CONSTANTS
    if lost is not None:
        status[lost] = ModuleStatus.UNREADABLE
    return status


def leave_out_gain(job: Job) -> None:
    """Read the first plane of frames alone, where the other is neither looked at nor written."""
    alone = getattr(job.source, "without_gain_plane", None)  # of sources of somebody else there may be none
    if alone is None or job.params is None or job.copies_frames:
        return
    if not job.source.detector.needs_gain_plane(job.mode.gain_mode):
        job.source = alone()
