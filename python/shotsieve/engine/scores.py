"""Scores of single particles in a run: what is prepared from the recipe, and how sums become measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..constants.mask_file import read_array
from ..errors import BadInput
from ..measure.lit import photons_per_unit
from ..measure.scores import ScorePlan, ScoreSummer, SpiResult
from ..write.checksums import sha256_of
from .place import geometry_of, geometry_sha256, pixels_of
from .stages import InTable

if TYPE_CHECKING:
    from ..backend import Backend
    from ..table import Table
    from .job import Job


@dataclass
class ScoreJob(InTable):
    """The scores of a run, decided in all their parts.

    Attributes
    ----------
    plan : ScorePlan
    counts_high : bool
        Pixels above the high threshold are counted here, since the calibrating kernel has another use for
        its second threshold.
    edges : ndarray of float64, shape (n_rings + 1,), or None
        Of the rings, in `ring_unit`.
    ring_unit : str
    table : Table
    told : dict
        What the output says of maps and geometry.
    """

    plan: ScorePlan
    counts_high: bool
    edges: np.ndarray | None
    ring_unit: str
    table: Table
    told: dict[str, Any]

    def measures(self, found: SpiResult) -> dict[str, np.ndarray]:
        """Name what was found, shape (n, M)."""
        named = {"lit_pixels_high": found.lit} if self.counts_high else {}
        rings = {f"photons_ring_{ring}": found.rings[..., ring] for ring in range(self.plan.n_rings)}
        scores = {f"score_{name}": found.scores[..., k] for k, name in enumerate(found.names)}
        return {**named, **rings, **scores}

    def declare(self) -> None:
        """Make room in the table: every value is unknown until it is measured."""
        for name in self.measures(self.plan.result(np.zeros((0, 1, self.plan.width), "i8"))):
            self.table.declare_measure(name)
        for ring in range(self.plan.n_rings):
            name = f"photons_ring_{ring}"
            low, high = self.edges[ring : ring + 2]
            meaning = f"sum of whole photons over unmasked pixels from {low:g} to {high:g} {self.ring_unit}"
            self.table.meanings[name] = replace(self.table.meanings[name], meaning=meaning)

    def stage(self, backend: Backend, shots: int) -> ScoreStage:
        """Return the measure with buffers for so many shots."""
        return ScoreStage(self, ScoreSummer(backend, self.plan, shots))

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the scores."""
        steps = {f"score.{n}_step": s for n, s in zip(self.plan.names, self.plan.steps, strict=True)}
        edges = {} if self.edges is None else {"rings.edges": " ".join(map(str, self.edges.tolist()))}
        return {**self.told, **steps, **edges}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        names = [f"score_{name}" for name in self.plan.names]
        if self.plan.n_rings:
            names.append(f"photons of {self.plan.n_rings} rings")
        if self.counts_high:
            names.append("lit_pixels_high")
        return f"scores: {', '.join(names)}"


@dataclass(frozen=True)
class ScoreStage:
    """Scores the shots of a block; see `shotsieve.engine.stages.PixelStage`."""

    any_order: ClassVar[bool] = True
    job: ScoreJob
    summer: ScoreSummer

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Measure some shots, and wait for the result."""
        for name, values in self.job.measures(self.summer.sum(pixels, stream)).items():
            self.job.table.set_measure(name, shots, values)

    def deliver(self) -> None:
        """Do nothing: the table takes shots in any order."""


def wants_scores(job: Job) -> bool:
    """Whether something has to be summed on the pixels of every shot."""
    measure = job.recipe.measure
    return bool(measure.scores or measure.rings) or (job.counts_high and job.peaks is not None)


def make_score_job(job: Job) -> ScoreJob:
    """Prepare the scores from a job whose calibration is decided.

    Parameters
    ----------
    job : Job

    Returns
    -------
    ScoreJob
        Its measures are in the table.

    Raises
    ------
    BadInput
        If a map does not fit the detector, rings hold no pixel, or the photon energy is not known.
    """
    source, measure, told = job.source, job.recipe.measure, {}
    shape = (len(source.modules), *source.detector.frame_shape)
    steps, section = job.recipe.calibrate.steps, measure.rings
    rings = edges = None
    if section is not None:
        told["rings.geometry_sha256"] = geometry_sha256(job)
        rings, edges = _rings(job)
    maps = {}
    for name, score in (measure.scores or {}).items():
        maps[name] = _map_of(job, f"[measure.score.{name}] map", score.map, shape)
        told[f"score.{name}_sha256"] = sha256_of(_file_of(job, score.map))
    counts_high = job.counts_high and job.peaks is not None
    try:
        plan = ScorePlan.make(
            maps,
            shape,
            rings=None if rings is None else rings.reshape(shape),
            of={name: score.of for name, score in (measure.scores or {}).items()},
            to_photon=photons_per_unit(job.unit, job.mode.photon_energy_kev),
            threshold=job.high_threshold if counts_high else float("nan"),
            rounding_threshold=steps.rounding_threshold,
            value_limit=steps.value_limit,
        )
    except BadInput as err:
        raise BadInput(f"[measure] {err}") from None
    made = ScoreJob(plan, counts_high, edges, "" if section is None else section.unit, job.table, told)
    made.declare()
    return made


def _rings(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring of every pixel, -1 in none, and the edges of the rings."""
    section, pixels = job.recipe.measure.rings, pixels_of(job, geometry_of(job))
    try:
        radial = pixels.radial(section.unit, job.mode.photon_energy_kev)
    except BadInput as err:
        raise BadInput(f"[measure.rings] {err}") from None
    known = np.isfinite(radial)
    least, most = (float(end(radial[known])) for end in (np.min, np.max))
    low = least if section.low is None else section.low
    # The last pixel of the detector belongs to the last ring.
    high = np.nextafter(most, np.inf) if section.high is None else section.high
    inside = known & (radial >= low) & (radial < high)
    if not low < high or not inside.any():
        raise BadInput(
            f"[measure.rings] low = {low:g}, high = {high:g}: no pixel lies between; pixels run from "
            f"{least:g} to {most:g} {section.unit}"
        )
    edges = np.linspace(low, high, section.number + 1)
    ring = np.clip(np.searchsorted(edges, radial, "right") - 1, 0, section.number - 1)
    rings = np.where(inside, ring, -1)
    # Rings at the end that hold no pixel have columns of zeros all the same: one label marks their number.
    if rings.max() < section.number - 1:
        raise BadInput(
            f"[measure.rings] number = {section.number}: no pixel lies in the last ring, from "
            f"{edges[-2]:g} to {edges[-1]:g} {section.unit}; pixels run from {least:g} to {most:g}"
        )
    return rings, edges


def _file_of(job: Job, written: str) -> Path:
    """Return the file of a map, which may be named with a dataset in it."""
    path, colon, _ = written.rpartition(":")
    return job.recipe.path_of(path if colon and Path(written).suffix != ".npy" else written)


def _map_of(job: Job, option: str, written: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read a map, and take the modules of the run from one of the whole detector."""
    detector, modules = job.source.detector, job.source.modules
    values = read_array(str(job.recipe.path_of(written)), option)
    whole = (len(detector.modules), *detector.frame_shape)
    if values.shape in (whole, (2, *whole)) and whole != shape:
        places = [module - detector.first_module for module in modules]
        return values[places] if values.shape == whole else values[:, places]
    if values.shape not in (shape, (2, *shape)):
        raise BadInput(
            f"{option} = {written}: shape {values.shape}; expected weights {shape}, or weights and constants "
            f"{(2, *shape)}, as shotsieve.likelihood_map makes them"
        )
    return values
