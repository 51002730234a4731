"""Profiles of a run: what is prepared from recipe and geometry, and where the profiles of the shots go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.average import GroupedAverages, ProfileAverage
from ..measure.azint import AzintPlan, AzintResult
from ..measure.azint_params import AzintParams
from ..measure.azint_summer import AzintSummer
from ..measure.state import State, joined, under
from ..measure.threshold import threshold_in_unit
from ..write.profiles import FILE_NAME, ProfileFile
from .grouping import GROUPS, check_column, column_of
from .place import geometry_of, good_pixels_of, pixels_of
from .stages import in_order, shot_keys

if TYPE_CHECKING:
    from ..backend import Backend
    from ..recipe import Azint as Section
    from ..table import Table
    from .job import Job
    from .pump_probe import PumpProbeJob


@dataclass
class ProfileJob:
    """The azimuthal integration of a run, decided in all its parts.

    Attributes
    ----------
    plan : AzintPlan
    section : Section
    table : Table
        Keys of the shots, and the columns that normalise and group.
    unit : str
        Of the frames.
    files : dict of str to str
        sha256 of the geometry file and of the mask, since both are part of the result.
    average : ProfileAverage
        Of the run.
    groups : GroupedAverages or None
    pump : PumpProbeJob or None
        Gets the profiles of all shots too.
    left_out : int
        Shots that no average holds, since what they are divided by is unknown or not above 0.
    """

    plan: AzintPlan
    section: Section
    table: Table
    unit: str
    files: dict[str, str]
    average: ProfileAverage
    groups: GroupedAverages | None = None
    pump: PumpProbeJob | None = None
    left_out: int = 0
    measured: int = 0
    _file: ProfileFile | None = field(default=None, repr=False)

    def stage(self, backend: Backend, shots: int) -> ProfileStage:
        """Return the measure with buffers for so many shots."""
        summer = AzintSummer(backend, self.plan, shots)
        if self.pump is not None and self.pump.reference is not None:
            self.pump.refer("profile", summer.integrate(*self.pump.on_device(backend)).intensity[0])
        return ProfileStage(self, summer)

    def open(self, folder: Path) -> None:
        """Begin the file in a folder."""
        normalised = f" / {self.section.normalise}" if self.section.normalise else ""
        self._file = ProfileFile(
            folder / FILE_NAME,
            self.plan.axis,
            self.plan.params.unit,
            self.unit + normalised,
            self.plan.centres,
            self.plan.edges,
            self.settings(self.unit),
        )

    def rows_go_to(self, sink: Any) -> None:
        """Hand the profile of every shot to something else than a file."""
        self._file = sink

    def begin(self, table: Table) -> None:
        """Take the table of the next block."""
        self.table = table

    def close(self, complete: bool = True) -> None:
        """Write the averages, if all shots were seen, and close the file."""
        if self._file is None:
            return
        with self._file as file:
            self._file = None
            if not complete:
                return
            file.put_average(self.average.result())
            if self.groups is not None:
                file.put_average(self.groups.result(), self.section.average, self.groups.values())

    def take(self, folder: Path) -> None:
        """Add the profiles of a part, from the file that it has in a folder."""
        self._file.take(folder / FILE_NAME)

    def snapshot(self) -> State:
        """Return all sums; `restore` goes on from them."""
        groups = {} if self.groups is None else self.groups.snapshot()
        counts = np.array([self.left_out, self.measured])
        return {"counts": counts, **joined(average=self.average.snapshot(), groups=groups)}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self.left_out, self.measured = state["counts"].tolist()
        self.average.restore(under(state, "average"))
        if self.groups is not None:
            self.groups.restore(under(state, "groups"))

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the integration."""
        told = {f"azint.{name}": value for name, value in self.plan.describe().items()}
        told |= {"azint.estimator": self.section.estimator, "azint.intensity_unit": unit}
        return told | {f"azint.{name}": value for name, value in self.files.items()}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        text = f"profiles: {self.measured} shots in {len(self.plan.centres)} bins"
        if self.left_out:
            why = f"{self.section.normalise} is unknown or not above 0"
            text += f"; {self.left_out} in no average, since {why}"
        return text

    def store(self, shots: np.ndarray, profiles: Any) -> None:
        """Take the profiles of some shots, in the order of the run."""
        monitor = np.ones(len(shots))
        if self.section.normalise is not None:
            monitor = column_of(self.table, self.section.normalise)[shots]
        sums = (profiles.sum_signal, profiles.sum_normalization * monitor[:, None], profiles.sum_variance)

        def add(average: ProfileAverage, which: np.ndarray) -> None:
            average.add(*(None if values is None else values[which] for values in sums))

        normal = monitor > 0
        self.left_out += int(np.count_nonzero(~normal))
        add(self.average, normal)
        if self.groups is not None:
            group = column_of(self.table, self.section.average)[shots]
            for value in np.unique(group[normal & ~np.isnan(group)]).tolist():
                add(self.groups.at(value), normal & (group == value))
        if self.pump is not None:
            sums = (profiles.sum_signal, profiles.sum_normalization, profiles.sum_variance)
            self.pump.add("profile", shots, *sums)
        self.measured += len(shots)
        if self._file is not None and self.section.per_shot:
            scale = np.where(monitor > 0, monitor, np.nan)[:, None]
            errors = np.full(profiles.intensity.shape, np.nan) if profiles.sigma is None else profiles.sigma
            self._file.append(
                shot_keys(self.table, shots), profiles.intensity / scale, errors / scale, profiles.count
            )


class ProfileStage:
    """Integrates the shots of a block; see `shotsieve.engine.stages.PixelStage`."""

    any_order = True

    def __init__(self, job: ProfileJob, summer: AzintSummer) -> None:
        self.job, self.summer = job, summer
        self._found: list[tuple[np.ndarray, AzintResult]] = []

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Measure some shots, and wait for the result."""
        self._found.append((shots, self.summer.integrate(pixels, stream)))

    def deliver(self) -> None:
        """Hand over what was measured, in the order of the run."""
        if self._found:
            self.job.store(*in_order(self._found, AzintResult.PER_FRAME))
            self._found = []


def make_profile_job(job: Job, sigma: float) -> ProfileJob:
    """Prepare the integration from a job whose calibration is decided.

    Parameters
    ----------
    job : Job
    sigma : float
        Noise of a typical pixel in the job's unit, for a read noise in sigma; NaN unknown.

    Returns
    -------
    ProfileJob

    Raises
    ------
    BadInput
        If geometry, mask or parameters do not fit the detector or each other, or a column does not exist.
    """
    section = job.recipe.measure.azint
    geometry = geometry_of(job)
    mask, files = good_pixels_of(job, geometry, section.mask, "measure.azint")
    plan = AzintPlan.make(pixels_of(job, geometry), mask, _params(section, job, sigma))
    for option, name in (("normalise", section.normalise), ("average", section.average)):
        if name is not None:
            check_column(job.table, f"[measure.azint] {option}", name, GROUPS if option == "average" else ())
    bins = len(plan.centres)
    groups = None if section.average is None else GroupedAverages(bins, section.estimator)
    average = ProfileAverage(bins, section.estimator)
    if job.pump is not None:
        job.pump.part("profile", plan.axis, plan.centres, plan.params.unit, job.unit)
    return ProfileJob(plan, section, job.table, job.unit, files, average, groups, job.pump)


def _params(section: Section, job: Job, sigma: float) -> AzintParams:
    """Turn the section into the parameters of the integration, in the unit of the job."""
    energy = job.mode.photon_energy_kev
    model, gain, noise = section.error_model, 1.0, 0.0
    if model in ("poisson", "detector"):
        if job.unit == "ADU" or (job.unit == "keV" and energy is None):
            raise BadInput(
                f'[measure.azint] error_model = "{model}" needs to know what a photon is in {job.unit}: '
                'calibrate to photons or keV with a photon energy, or take error_model = "azimuthal"'
            )
        # Photons are counted: in keV a photon's energy turns the counted variance into that of the sum.
        gain = energy if job.unit == "keV" else 1.0
        model = "detector"
    if section.read_noise is not None:
        noise = threshold_in_unit(
            section.read_noise, job.unit, energy, sigma, option="[measure.azint] read_noise"
        )
    return AzintParams(
        npt=section.npt,
        unit=section.unit,
        radial_range=None if section.radial_min is None else (section.radial_min, section.radial_max),
        splitting=section.splitting,
        solid_angle=section.solid_angle,
        polarisation=section.polarisation,
        absorption=section.absorption,
        error_model=None if model == "none" else model,
        gain=gain,
        read_noise=noise,
        photon_energy_kev=energy,
    )
