"""Angular correlation of a run: what is prepared from recipe and geometry, and the sums of all shots."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.angular import AngularSums
from ..measure.azint import AzintPlan
from ..measure.azint_params import AzintParams
from ..measure.azint_summer import AzintSummer
from ..measure.state import State, joined, under
from ..measure.xcca import XccaResult, check_rings, polar_maps, with_rings
from ..memory import half_of_memory
from ..write.xcca import FILE_NAME, write_xcca
from .grouping import GROUPS, check_column, column_of
from .place import geometry_of, good_pixels_of, pixels_of

if TYPE_CHECKING:
    from ..backend import Backend
    from ..recipe import Xcca as Section
    from ..table import Table
    from .job import Job


@dataclass
class AngularJob:
    """``[measure.xcca]``: how rings of the shots of a run go together.

    Attributes
    ----------
    plan : AzintPlan
        Of the polar maps.
    section : Section
    table : Table
        Keys of the shots, and the column that groups.
    unit : str
        Of the frames.
    files : dict of str to str
        sha256 of the geometry file and of the mask, since both are part of the result.
    values : ndarray of float64, shape (G,)
        Of the groups; none without.
    """

    plan: AzintPlan
    section: Section
    table: Table
    unit: str
    files: dict[str, str]
    values: np.ndarray
    sums: AngularSums = field(init=False)
    groups: dict[float, AngularSums] = field(init=False, default_factory=dict)
    _last: float = float("nan")
    _folder: Path | None = None

    def __post_init__(self) -> None:
        self.sums = self._new()

    def stage(self, backend: Backend, shots: int) -> AngularStage:
        """Return the measure with buffers for so many shots."""
        return AngularStage(self, AzintSummer(backend, self.plan, shots))

    def open(self, folder: Path) -> None:
        """Remember where the file goes; it is written at the end."""
        self._folder = folder

    def begin(self, table: Table) -> None:
        """Take the table of the next block."""
        self.table = table

    def close(self, complete: bool = True) -> None:
        """Write the file, if all shots were seen."""
        if not complete or self._folder is None:
            return
        by = self.section.average
        with_shots = [value for value in self.values.tolist() if value in self.groups]
        results = (self.groups[value].result() for value in with_shots)
        plan = self.plan
        axis = (plan.axis, plan.params.unit, plan.centres, plan.edges)
        path, settings = self._folder / FILE_NAME, self.settings(self.unit)
        write_xcca(path, settings, axis, self.sums.result(), by, np.array(with_shots), results)

    def take(self, folder: Path) -> None:
        """Nothing: there are no rows of shots."""

    def snapshot(self) -> State:
        """Return all sums; `restore` goes on from them."""
        groups = {f"g{k}": self.groups[value].snapshot() for k, value in enumerate(sorted(self.groups))}
        values = np.array([self._last, *sorted(self.groups)])
        return {"values": values, **joined(run=self.sums.snapshot(), **groups)}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self._last, *values = state["values"].tolist()
        self.sums.restore(under(state, "run"))
        for k, value in enumerate(values):
            self.groups[value] = self._new()
            self.groups[value].restore(under(state, f"g{k}"))

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the correlation."""
        told = {f"xcca.{name}": value for name, value in self.plan.describe().items()}
        told |= {"xcca.normalise": self.section.normalise, "xcca.intensity_unit": unit}
        return told | {f"xcca.{name}": value for name, value in self.files.items()}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        text = (
            f"angular correlation: {self.sums.n_frames} shots on {self.section.npt} rings of "
            f"{self.section.npt_chi} azimuths"
        )
        left_out = self.sums.left_out()
        return f"{text}; {left_out} rings of shots left out, whose mean is not above 0" if left_out else text

    def result(self) -> XccaResult:
        """Return the correlation of all shots so far."""
        return with_rings(self.sums.result(), self.plan)

    def store(self, shots: np.ndarray, cakes: Any) -> None:
        """Take the polar maps of some shots, in the order of the run."""
        maps, valid = polar_maps(cakes)
        self.sums.add(maps, valid)
        if self.section.average is None:
            return
        group = column_of(self.table, self.section.average)[shots]
        for value in np.unique(group[~np.isnan(group)]).tolist():
            if self.section.average == "train" and value != self._last and self._last in self.groups:
                self.groups[self._last].settle()  # trains do not come back
            self._last = value
            if value not in self.groups:
                self.groups[value] = self._new()
            here = group == value
            self.groups[value].add(maps[here], valid[here])

    def _new(self) -> AngularSums:
        section = self.section
        return AngularSums(
            section.npt, section.npt_chi, normalise=section.normalise, diagonal=section.diagonal
        )


class AngularStage:
    """Correlates the shots of a block; see `shotsieve.engine.stages.PixelStage`."""

    def __init__(self, job: AngularJob, summer: AzintSummer) -> None:
        self.job, self.summer = job, summer

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Measure some shots, and wait for the result."""
        self.job.store(shots, self.summer.integrate(pixels, stream))


def make_angular_job(job: Job) -> AngularJob:
    """Prepare the correlation from a job whose calibration is decided.

    Raises
    ------
    BadInput
        If geometry, mask or keys do not fit the detector or each other, a column does not exist, or the sums
        take more than half of the memory.
    """
    section = job.recipe.measure.xcca
    geometry = geometry_of(job)
    mask, files = good_pixels_of(job, geometry, section.mask, "measure.xcca")
    by, table, values = section.average, job.table, np.zeros(0)
    if by is not None:
        check_column(table, "[measure.xcca] average", by, GROUPS)
        column = column_of(table, by)[job.source.readable]
        values = np.unique(column[~np.isnan(column)])
    needed = (1 + len(values)) * AngularSums.n_bytes(section.npt, section.npt_chi, section.diagonal)
    if needed > (most := half_of_memory()):
        raise BadInput(
            f"[measure.xcca]: {1 + len(values)} correlations of {section.npt} rings and {section.npt_chi} "
            f"azimuths take {needed / 1e9:.1f} GB, and {most / 1e9:.1f} GB may be used: take fewer "
            "rings or azimuths, diagonal = true, or no average"
        )
    params = AzintParams(
        npt=section.npt,
        npt_chi=section.npt_chi,
        unit=section.unit,
        radial_range=None if section.radial_min is None else (section.radial_min, section.radial_max),
        splitting=section.splitting,
        polarisation=section.polarisation,
        photon_energy_kev=job.mode.photon_energy_kev,
    )
    plan = AzintPlan.make(pixels_of(job, geometry), mask, params)
    check_rings(plan)
    return AngularJob(plan, section, table, job.unit, files, values)
