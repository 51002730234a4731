"""Bragg peaks of a run: what is prepared from recipe and geometry, and how found peaks become measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..geometry import Geometry
from ..measure.peaks import FILTERS, PeakParams, PeakPlan
from ..measure.threshold import threshold_in_unit
from ..peak_list import PeakListBuilder

if TYPE_CHECKING:
    from ..measure.peak_finder import Peaks
    from ..recipe import Peaks as Section
    from .job import Job


@dataclass
class PeakJob:
    """The search of a run, decided in all its parts.

    Attributes
    ----------
    plan : PeakPlan
    geometry : Geometry
        Of the run's modules.
    module_of_panel : ndarray of int, shape (P,)
        Place of each panel's module among those of the run.
    distance_m, photon_energy_kev : float or None
        For q; None is unknown.
    found : PeakListBuilder
    """

    plan: PeakPlan
    geometry: Geometry
    module_of_panel: np.ndarray
    distance_m: float | None
    photon_energy_kev: float | None
    found: PeakListBuilder

    def store(self, shots: np.ndarray, peaks: Peaks) -> np.ndarray:
        """Add the peaks of some shots to the list of the run.

        Parameters
        ----------
        shots : ndarray of int, shape (n,)
            Rows of the table.
        peaks : Peaks

        Returns
        -------
        ndarray of int64, shape (n, M)
            Peaks in each module.
        """
        self.found.set(shots, peaks, self._q(peaks.records))
        counts = np.zeros((len(shots), len(self.found.modules)), "i8")
        np.add.at(counts, (slice(None), self.module_of_panel), peaks.panel_counts)
        return counts

    def _q(self, records: np.ndarray) -> np.ndarray | None:
        if self.distance_m is None or self.photon_energy_kev is None or len(records) == 0:
            return None
        # Panels of the geometry, which need not be those that are searched.
        panel = self.geometry.panel_at(records["fs"], records["ss"])
        known = panel >= 0
        q = np.full(len(records), np.nan)
        q[known] = self.geometry.q_at(
            records["fs"][known], records["ss"][known], panel[known], self.distance_m, self.photon_energy_kev
        )
        return q

    def summary(self) -> str:
        """Return one sentence for the accounts: peaks found, and components that each filter rejected."""
        n_peaks, rejected = self.found.n_peaks, np.maximum(self.found.rejected, 0).sum(axis=0, dtype="i8")
        text = f"peaks: {np.maximum(n_peaks, 0).sum(dtype='i8')} in {np.count_nonzero(n_peaks > 0)} shots"
        if beyond := int(np.count_nonzero(n_peaks > self.plan.params.max_num_peaks)):
            text += f" ({beyond} with more than the {self.plan.params.max_num_peaks} that are stored)"
        filters = [f"{name} {n}" for name, n in zip(FILTERS, rejected.tolist(), strict=True) if n]
        return f"{text}; components rejected: {', '.join(filters) or 'none'}"


def make_peak_job(job: Job, sigma: float) -> PeakJob:
    """Prepare the search from a job whose calibration is decided.

    Parameters
    ----------
    job : Job
    sigma : float
        Noise of a typical pixel in the job's unit, for thresholds in sigma; NaN unknown.

    Returns
    -------
    PeakJob

    Raises
    ------
    BadInput
        If geometry, mask, panels or parameters do not fit the detector or each other.
    """
    section, source = job.recipe.measure.peaks, job.source
    geometry = _geometry(job)
    params = _params(section, job, sigma)
    good = geometry.good_pixels()
    if section.mask is not None:
        good &= _mask(job, geometry.shape)
    rects = _panels(section.panels, geometry, source.detector.shape)
    plan = PeakPlan.make(params, geometry.radius(section.radius), rects, good)
    job.notes.extend(plan.notes)
    origin = job.mode.origin.get("distance_m")
    # The recipe is asked for its own sake; a motor's zero is not the sample, so the geometry goes before it.
    known = geometry.clen_m is not None and origin != "recipe"
    distance = geometry.clen_m if known else job.mode.distance_m
    energy = job.mode.photon_energy_kev or geometry.photon_energy_kev
    shots = source.shots
    return PeakJob(
        plan,
        geometry,
        rects[:, 0] // source.detector.shape[0],
        distance,
        energy,
        PeakListBuilder(
            shots.train_id,
            shots.pulse_id,
            shots.cell_id,
            source.modules,
            source.detector.shape,
            job.unit,
            rects,
        ),
    )


def _geometry(job: Job) -> Geometry:
    source, path = job.source, job.recipe.path_of(job.recipe.detector.geometry)
    geometry = Geometry.load(path, module_shape=source.detector.shape)
    places = [module - source.detector.first_module for module in source.modules]
    if geometry.modules < max(places) + 1:
        raise BadInput(
            f"{path} describes {geometry.modules} modules, and the run has module {max(source.modules)} of "
            f"{source.name}: give the geometry of this detector."
        )
    job.notes.extend(f"{path.name}: {note}" for note in geometry.notes)
    return geometry if places == list(range(geometry.modules)) else geometry.part(places)


def _params(section: Section, job: Job, sigma: float) -> PeakParams:
    def value(quantity: Any, option: str) -> float:
        return threshold_in_unit(
            quantity, job.unit, job.mode.photon_energy_kev, sigma, option=f"[measure.peaks] {option}"
        )

    floor = section.noise_floor
    return PeakParams(
        threshold=value(section.threshold, "threshold"),
        min_snr=section.min_snr,
        min_pix_count=section.min_pix_count,
        max_pix_count=section.max_pix_count,
        local_bg_radius=section.local_bg_radius,
        min_res=section.min_res,
        max_res=section.max_res,
        max_num_peaks=section.max_num_peaks,
        noise_floor=0.0 if floor is None else value(floor, "noise_floor"),
    )


def _mask(job: Job, shape: tuple[int, int]) -> np.ndarray:
    """Read the user's mask, bool (rows, columns), True where a pixel may be used."""
    path = job.recipe.path_of(job.recipe.measure.peaks.mask)
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"[measure.peaks] mask: {path} cannot be read as a NumPy file: {error}") from error
    modules = (len(job.source.modules), *job.source.detector.shape)
    if mask.dtype != bool or mask.shape not in (shape, modules):
        raise BadInput(
            f"[measure.peaks] mask: {path} holds {mask.dtype} {mask.shape}: expected bool {shape} or "
            f"{modules}, True where a pixel may be used"
        )
    return mask.reshape(shape)


def _panels(asked: str, geometry: Geometry, module_shape: tuple[int, int]) -> np.ndarray:
    """Return the panels that are searched one by one, int32 (P, 4)."""
    if asked == "geometry":
        return geometry.rectangles()
    size = module_shape
    if asked != "modules":
        parts = asked.lower().split("x")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            raise BadInput(
                f'[measure.peaks] panels = {asked!r}: expected "geometry", "modules" or a size (slow scan, '
                'fast scan) such as "64x128"'
            )
        size = (int(parts[0]), int(parts[1]))
    if 0 in size or module_shape[0] % size[0] or module_shape[1] % size[1]:
        raise BadInput(
            f"[measure.peaks] panels = {asked!r}: panels of {size[0]} x {size[1]} do not divide a module of "
            f"{module_shape[0]} x {module_shape[1]} pixels"
        )
    rows, columns = geometry.shape
    ss, fs = np.meshgrid(np.arange(0, rows, size[0]), np.arange(0, columns, size[1]), indexing="ij")
    corners = np.stack([ss, ss + size[0], fs, fs + size[1]], axis=-1)
    return corners.reshape(-1, 4).astype("i4")
