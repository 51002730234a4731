"""How the frames of a job are calibrated and counted: constants folded, thresholds in one unit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..calibrate import CalibrateParams
from ..cell_order import ANY
from ..constants.asked import check_asked
from ..errors import BadInput
from ..folded_cache import tables_of
from ..measure.lit import just_above, photons_per_unit
from ..measure.threshold import median_noise, threshold_in_unit
from ..odd_constants import told_odd
from ..shift_finder import mode_of
from .angular import make_angular_job
from .corrected import take_corrected
from .correlation import make_correlation_job
from .masks import masks_of
from .noise_counts import by_pixel, make_lit_by_noise
from .peaks import make_peak_job
from .profiles import make_profile_job
from .pump_probe import make_pump_probe_job
from .regions import make_region_job
from .scores import make_score_job, wants_scores
from .unknown import note_unknown

if TYPE_CHECKING:
    from ..constants.container import Constants
    from ..constants.steps import Steps
    from ..recipe import Recipe
    from ..sources.base import OperatingMode
    from .job import Job


def _fold(job: Job, constants: Constants, force: bool) -> Steps:
    """Check the constants against the run, and fold them; return the steps that they allow."""
    source, mode, section = job.source, job.mode, job.recipe.calibrate
    detector = source.detector
    constants.check_detector(detector)
    check_asked(section.steps, detector)
    steps, without = section.steps.for_constants(detector, constants)
    job.notes += without
    if disagreements := constants.check_conditions(_compared(job)):
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
    job.tables = tables_of(
        constants,
        detector,
        source.modules,
        shots.cell_id[source.readable],
        steps,
        job.unit,
        energy,
        mode.gain_mode,
        masks_of(job),
        cache=job.recipe.constants_cache(),
    )
    if steps.packed_constants:
        where = "in high gain" if detector.fixed_stage(mode.gain_mode) <= 0 else "of the run's gain stage"
        job.notes.append(
            f"constants are packed to 16 bits ({job.tables.table.nbytes / 1e9:.3g} GB): values {where} are "
            f"within {job.tables.packed_error:.2g} {job.unit} of those with exact constants"
        )
    note_unknown(job, constants)
    job.notes += told_odd(job.tables, detector, mode.gain_mode, steps)
    return steps


def _compared(job: Job) -> OperatingMode:
    """Return the operating mode as constants are compared with it."""
    detector, asked = job.source.detector, job.recipe.calibrate.memory_cell_order
    if asked is None:
        return job.mode
    if not detector.cell_order:
        raise BadInput(
            f"[calibrate] memory_cell_order: constants of {detector.name} do not depend on the order in "
            "which memory cells are filled; leave the key out"
        )
    if asked != ANY:
        return job.mode
    job.notes.append(
        f'the order of memory cells is not compared with that of the constants: memory_cell_order = "{ANY}"'
    )
    return dataclasses.replace(job.mode, memory_cell_order=None)


def set_calibration(job: Job, constants: Constants | None, force: bool) -> None:
    """Make what stands for the constants of every pixel, and set the kernel's parameters."""
    if job.source.detector.is_corrected:
        steps = take_corrected(job)
    else:
        steps = _fold(job, constants, force)
    source, mode = job.source, job.mode
    detector, energy = source.detector, mode.photon_energy_kev
    # What is calibrated already says the stage of every pixel itself.
    gain_mode = "adaptive" if detector.is_corrected else mode.gain_mode
    threshold, to_photon, candidate = float("nan"), 0.0, float("nan")
    unlit = max(detector.fixed_stage(gain_mode), 0)
    sigma = float("nan")
    if constants is not None and _uses_sigma(job.recipe):
        sigma = median_noise(constants, job.tables, source.modules, unlit)
    if job.recipe.measure.lit is not None:
        asked = job.recipe.measure.lit.threshold
        if not by_pixel(job.recipe):
            threshold = threshold_in_unit(asked, job.unit, energy, sigma, option="[measure.lit] threshold")
        if job.counts_high:
            job.high_threshold = _high_threshold(job, sigma, threshold)
            candidate = just_above(job.high_threshold)
            job.table.declare_measure("lit_pixels_high")
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
    if job.recipe.measure.xcca is not None:
        job.pixel_jobs.append(make_angular_job(job))
    if job.recipe.measure.roi is not None:
        job.pixel_jobs.append(make_region_job(job))
    if wants_scores(job):
        job.pixel_jobs.append(make_score_job(job))
    if job.recipe.measure.xpcs is not None:  # after all that may choose its trains
        job.pixel_jobs.append(make_correlation_job(job))
    params = CalibrateParams.from_steps(steps, detector, gain_mode, threshold, to_photon)
    job.params = dataclasses.replace(params, candidate_threshold=candidate)
    if not detector.is_corrected:
        job.common_mode = mode_of(steps, detector, mode.gain_mode, constants, job.tables, source.modules)
    job.lit_by_noise = make_lit_by_noise(job, constants)


def _high_threshold(job: Job, sigma: float, low: float) -> float:
    """Return the second threshold of lit pixels, in the unit of the values.

    Raises
    ------
    BadInput
        If it is not above the first.
    """
    asked, option = job.recipe.measure.lit.high_threshold, "[measure.lit] high_threshold"
    high = threshold_in_unit(asked, job.unit, job.mode.photon_energy_kev, sigma, option=option)
    if high <= low:
        raise BadInput(
            f"{option} = '{asked}' is {high:g} {job.unit}, not above threshold, which is {low:g} {job.unit}"
        )
    return high


def _uses_sigma(recipe: Recipe) -> bool:
    """Whether a threshold is a multiple of the noise, which then has to be looked up."""
    lit, peaks, azint = recipe.measure.lit, recipe.measure.peaks, recipe.measure.azint
    asked = [lit.threshold, lit.high_threshold] if lit and not by_pixel(recipe) else []
    asked += [peaks.threshold, peaks.noise_floor] if peaks else []
    asked += [azint.read_noise] if azint else []
    return any(quantity is not None and quantity.unit == "sigma" for quantity in asked)
