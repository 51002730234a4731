"""Regions of interest of a run: what is prepared from the recipe, and how sums become columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..geometry import PixelMap
from ..measure import regions
from ..measure.roi import RoiPlan, RoiResult
from ..measure.state import State
from ..table import ModuleStatus, Table
from ..write.checksums import sha256_of
from ..write.projections import FILE_NAME, ProjectionFile
from .place import geometry_of, geometry_sha256, mask_of, pixels_of
from .stages import in_order, shot_keys

if TYPE_CHECKING:
    from ..backend import Backend
    from ..recipe import Region
    from .job import Job
    from .pump_probe import PumpProbeJob

WORDS = {
    "sum": "sum over the valid pixels of the region",
    "mean": "mean of the valid pixels of the region",
    "std": "standard deviation of the valid pixels of the region",
    "max": "largest valid pixel of the region",
    "count": "valid pixels of the region",
}


@dataclass
class RegionJob:
    """The regions of a run, decided in all their parts.

    Attributes
    ----------
    plan : RoiPlan or None
        Regions that become columns.
    projections : dict of str to Projection
        Regions that become spectra.
    touches : dict of str to ndarray of bool, shape (M,)
        Which modules each region has pixels in.
    table : Table
    unit : str
        Of the frames.
    files : dict of str to str
        sha256 of files that are part of the result.
    pump : PumpProbeJob or None
        Gets the sums of all shots too.
    written : ndarray of bool, shape (M * ss, fs), or None
        Pixels that lie in a region of [write] regions; None without.
    """

    plan: RoiPlan | None
    projections: dict[str, Projection]
    touches: dict[str, np.ndarray]
    table: Table
    unit: str
    files: dict[str, str]
    pump: PumpProbeJob | None = None
    written: np.ndarray | None = None
    _file: ProjectionFile | None = field(default=None, repr=False)

    def declare(self) -> None:
        """Make room in the table: every value is unknown until it is measured."""
        for name in () if self.plan is None else self.plan.names:
            for word, meaning in WORDS.items():
                unit = "" if word == "count" else self.unit
                nothing = np.full(len(self.table), np.nan)
                self.table.add_column(f"roi_{name}_{word}", nothing, unit, f"{meaning} {name}")

    def stage(self, backend: Backend, shots: int) -> RegionStage:
        """Return the measure with buffers for so many shots."""
        return RegionStage(self, backend, shots)

    def open(self, folder: Path) -> None:
        """Begin the file of projections, if there are any."""
        if self.projections:
            places = {name: (one.axis, one.places) for name, one in self.projections.items()}
            self._file = ProjectionFile(folder / FILE_NAME, places, self.unit, self.settings(self.unit))

    def rows_go_to(self, sink: Any) -> None:
        """Hand projections to something else than a file."""
        self._file = sink

    def begin(self, table: Table) -> None:
        """Take the table of the next block, which has the columns."""
        self.table = table

    def close(self, complete: bool = True) -> None:
        """Close that file."""
        if self._file is not None:
            self._file.__exit__(None, None, None)
            self._file = None

    def take(self, folder: Path) -> None:
        """Add the projections of a part, from the file that it has in a folder."""
        if self._file is not None:
            self._file.take(folder / FILE_NAME)

    def snapshot(self) -> State:
        """Return nothing: all that is known stands in the table."""
        return {}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the regions."""
        return {"roi.unit": unit, **{f"roi.{name}": value for name, value in self.files.items()}}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        return f"regions of interest: {', '.join(self.touches)}"

    def store(self, shots: np.ndarray, found: RoiResult) -> None:
        """Put what was found into the table; a region that a missing module has a part in stays unknown."""
        if self.pump is not None:
            known = np.stack([self._known(name, shots) for name in found.names], axis=1)
            self.pump.add("regions", shots, found.sum, np.where(known, found.count, 0))
        for name in found.names:
            known = self._known(name, shots)
            for word, values in found[name].items():
                if word in WORDS:
                    self.table.columns[f"roi_{name}_{word}"][shots] = np.where(known, values, np.nan)

    def append(self, name: str, shots: np.ndarray, found: RoiResult) -> None:
        """Put a projection into its file; unknown ones are NaN."""
        known = self._known(name, shots)[:, None]
        if self.pump is not None:
            self.pump.add(name, shots, found.sum, np.where(known, found.count, 0))
        sums, pixels = (np.where(known, values, np.nan) for values in (found.sum, found.count))
        self._file.append(name, shot_keys(self.table, shots), sums, pixels)

    def _known(self, name: str, shots: np.ndarray) -> np.ndarray:
        ok = self.table.module_status[shots] == ModuleStatus.OK
        return ok[:, self.touches[name]].all(axis=1)


@dataclass(frozen=True)
class Projection:
    """A region that keeps one of its axes.

    Attributes
    ----------
    plan : RoiPlan
        A region for every place.
    axis : {"ss", "fs"}
    places : ndarray of int, shape (n,)
        In the slab.
    """

    plan: RoiPlan
    axis: str
    places: np.ndarray


class RegionStage:
    """Sums the shots of a block; see `shotsieve.engine.stages.PixelStage`."""

    any_order = True

    def __init__(self, job: RegionJob, backend: Backend, shots: int) -> None:
        self.job = job
        self.summer = None if job.plan is None else job.plan.summer(backend, shots)
        self.projections = {name: one.plan.summer(backend, shots) for name, one in job.projections.items()}
        self._found: list[tuple[np.ndarray, RoiResult]] = []
        self._projected: dict[str, list[tuple[np.ndarray, RoiResult]]] = {n: [] for n in self.projections}
        pump = job.pump
        if pump is not None and pump.reference is not None:
            frame, stream = pump.on_device(backend)
            if self.summer is not None:
                pump.refer("regions", job.plan.result(self.summer.sum(frame, stream)).mean[0])
            for name, summer in self.projections.items():
                pump.refer(name, job.projections[name].plan.result(summer.sum(frame, stream)).mean[0])

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Measure some shots, and wait for the result."""
        if self.summer is not None:
            self._found.append((shots, self.job.plan.result(self.summer.sum(pixels, stream))))
        for name, summer in self.projections.items():
            found = self.job.projections[name].plan.result(summer.sum(pixels, stream))
            self._projected[name].append((shots, found))

    def deliver(self) -> None:
        """Hand over what was measured, in the order of the run."""
        if self._found:
            self.job.store(*in_order(self._found, RoiResult.PER_FRAME))
            self._found = []
        for name, found in self._projected.items():
            if found:
                self.job.append(name, *in_order(found, RoiResult.PER_FRAME))
                self._projected[name] = []


def make_region_job(job: Job) -> RegionJob:
    """Prepare the regions from a job whose calibration is decided.

    Parameters
    ----------
    job : Job

    Returns
    -------
    RegionJob
        Its columns are in the table.

    Raises
    ------
    BadInput
        If a region is empty or does not fit the detector, or a file is not right.
    """
    source, wanted, files = job.source, job.recipe.measure.roi, {}
    shape = (len(source.modules) * source.detector.shape[0], source.detector.shape[1])
    pixels = None
    if job.recipe.detector.geometry is not None:
        geometry = geometry_of(job)
        files["geometry_sha256"] = geometry_sha256(job)
        # Rectangles and masks need no distance.
        if any(region.kind in ("ring", "sector", "polygon") for region in wanted.values()):
            pixels = pixels_of(job, geometry)
    masks, projections = {}, {}
    for name, region in wanted.items():
        try:
            masks[name] = _mask(job, name, region, shape, pixels)
        except BadInput as err:
            raise BadInput(f"[measure.roi.{name}] {err}") from None
        if region.mask is not None:
            files[f"{name}_sha256"] = sha256_of(job.recipe.path_of(region.mask))
    names = () if job.recipe.write is None else job.recipe.write.region_names
    written = np.any([masks[name] for name in names], axis=0) if names else None
    touches = {name: mask.reshape(len(source.modules), -1).any(axis=1) for name, mask in masks.items()}
    for name in [name for name, region in wanted.items() if region.kind == "projection"]:
        mask, axis = masks.pop(name), wanted[name].axis
        labels = regions.projection(mask, axis)
        places = np.flatnonzero(mask.any(axis=1 if axis == "ss" else 0))
        projections[name] = Projection(RoiPlan.make(labels, shape), axis, places)
    plan = RoiPlan.make(masks, shape) if masks else None
    if job.pump is not None:
        if plan is not None:
            job.pump.part("regions", "region", np.array(plan.names), "", job.unit)
        for name, one in projections.items():
            job.pump.part(name, one.axis, one.places, "pixel", job.unit)
    found = RegionJob(plan, projections, touches, job.table, job.unit, files, job.pump, written)
    found.declare()
    return found


def _mask(job: Job, name: str, region: Region, shape: tuple[int, int], pixels: PixelMap | None) -> np.ndarray:
    source = job.source
    if region.kind in ("rectangle", "strips", "projection"):
        place = region.module
        if place is not None:
            if place not in source.modules:
                raise BadInput(f"module = {place}: the run has modules {', '.join(map(str, source.modules))}")
            place = list(source.modules).index(place)
        ss, fs = (region.ss_start, region.ss_stop), (region.fs_start, region.fs_stop)
        if region.kind == "strips":  # the whole slow scan
            ss = (0, shape[0] if place is None else source.detector.shape[0])
        return regions.rectangle(shape, ss, fs, module=place, module_ss=source.detector.shape[0])
    if region.kind == "mask":
        return mask_of(job, region.mask, f"measure.roi.{name}", shape)
    if region.kind == "polygon":
        x, y = (pixels.centres[..., axis] * 1e3 for axis in range(2))
        return regions.polygon(x, y, _vertices(region.vertices))
    limits, energy = (region.unit, region.low, region.high), job.mode.photon_energy_kev
    if region.kind == "ring":
        return regions.ring(pixels, *limits, photon_energy_kev=energy)
    return regions.sector(pixels, *limits, region.chi_low, region.chi_high, photon_energy_kev=energy)


def _vertices(text: str) -> list[tuple[float, float]]:
    try:
        return [(float(x), float(y)) for x, y in (pair.split() for pair in text.split(","))]
    except ValueError:
        raise BadInput(
            f'vertices = "{text}": expected x and y in mm of each corner, as in "-5 -5, 5 -5, 5 5"'
        ) from None
