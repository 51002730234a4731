"""Bragg peaks of a run: what is prepared from recipe and geometry, and how found peaks become measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants.fold import gain_planes
from ..errors import BadInput
from ..geometry import Geometry
from ..measure.peaks import FILTERS, PeakParams, PeakPlan, thin_bins
from ..measure.threshold import threshold_in_unit
from ..peak_list_build import PeakListBuilder
from ..write.checksums import sha256_of
from .place import distance_of, geometry_of, geometry_sha256, mask_of

if TYPE_CHECKING:
    from ..measure.peak_finder import Peaks
    from ..recipe import Peaks as Section
    from .job import Job

PHOTON_NOISE_FLOOR = 0.1
"""In photons: what `noise_floor` is where values are whole photons and the recipe says nothing."""


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
    files : dict of str to str
        sha256 of the geometry file and of the mask, since both are part of the result.
    user_mask : ndarray of bool, shape (rows, columns), or None
        True where a pixel may be used.
    """

    plan: PeakPlan
    geometry: Geometry
    module_of_panel: np.ndarray
    distance_m: float | None
    photon_energy_kev: float | None
    found: PeakListBuilder
    files: dict[str, str]
    user_mask: np.ndarray | None = None

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the search."""
        told = {f"peaks.{name}": value for name, value in vars(self.plan.params).items()}
        told |= {"peaks.unit": unit, "peaks.panels": len(self.module_of_panel)}
        told |= {f"peaks.{name}": value for name, value in self.files.items()}
        for name in ("distance_m", "photon_energy_kev"):
            if (value := getattr(self, name)) is not None:
                told[f"peaks.{name}"] = value
        return told

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
    geometry = geometry_of(job)
    params = _params(section, job, sigma)
    files = {"geometry_sha256": geometry_sha256(job)}
    good, user_mask = geometry.good_pixels(), None
    if section.mask is not None:
        user_mask = mask_of(job, section.mask, "measure.peaks", geometry.shape)
        files["mask_sha256"] = sha256_of(job.recipe.path_of(section.mask))
        good &= user_mask
    rects = _panels(section.panels, geometry, source.detector.shape)
    plan = PeakPlan.make(params, geometry.radius(section.radius), rects, good)
    job.notes.extend(thin_bins(plan.arrays["bin_of"], good & _calibrated(job)))
    distance = distance_of(job, geometry)
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
        files,
        user_mask,
    )


def _calibrated(job: Job) -> np.ndarray:
    """Which pixels of the slab have frames in the run and good constants, bool (rows, columns)."""
    source, tables = job.source, job.tables
    good = np.zeros((len(source.modules), source.detector.pixels), bool)
    here = source.shots.present[source.readable].any(axis=0)
    if source.detector.is_corrected:  # what is bad stands in every frame of its own
        good[here] = True
        return good.reshape(-1, source.detector.shape[1])
    for module in np.flatnonzero(here & (tables.row_of >= 0).any(axis=1)):
        row = tables.row_of[module].max()  # one cell stands for all
        good[module] = np.isfinite(tables.planes(row, gain_planes(tables.table.shape[1]))).any(axis=0)
    return good.reshape(-1, source.detector.shape[1])


def _params(section: Section, job: Job, sigma: float) -> PeakParams:
    def value(quantity: Any, option: str) -> float:
        return threshold_in_unit(
            quantity, job.unit, job.mode.photon_energy_kev, sigma, option=f"[measure.peaks] {option}"
        )

    floor = None if section.noise_floor is None else value(section.noise_floor, "noise_floor")
    if floor is None and job.recipe.calibrate.steps.round_photons:
        floor = PHOTON_NOISE_FLOOR
        job.notes.append(
            f"[measure.peaks] noise_floor is set to {floor:g} photon, since values are whole photons: "
            "without it peaks on a nearly empty background are lost"
        )
    return PeakParams(
        threshold=value(section.threshold, "threshold"),
        min_snr=section.min_snr,
        min_pix_count=section.min_pix_count,
        max_pix_count=section.max_pix_count,
        local_bg_radius=section.local_bg_radius,
        min_res=section.min_res,
        max_res=section.max_res,
        max_num_peaks=section.max_num_peaks,
        noise_floor=floor or 0.0,
    )


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
