"""Folding: the constants of a cell become two thresholds, three offsets and three gains for the kernels.

Subtracting the offset, the relative gain, the medium-gain baseline, ADU per keV and the photon energy are all
affine for one pixel, cell and stage g, so they are one subtraction and one product::

    x = (adc - offset[g]) * gain[g]
    gain[g]   = r[g] / (F[g] * E)        (r with further factors, of LPD; F * E is the ADU of a photon)
    offset[g] = pedestal[g] - baseline / r[g]        (the baseline for g = 1 only)

All of it is done in float64 and rounded once, to float32.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..cpus import usable_cpus
from ..detectors import Detector
from ..errors import BadInput
from ..units import check_photon_energy
from .bad_pixels import BadPixels
from .container import Constants
from .masks import StaticMask, flag_noisy, parse_block
from .steps import Steps
from .thresholds import flag_thresholds

__all__ = [
    "FORCED_PLANES",
    "NAN",
    "PLAIN_PLANES",
    "SINGLE_PLANES",
    "FoldedModule",
    "fold",
    "gain_planes",
    "required",
    "table_planes",
]

NAN = np.uint32(0x7FC00000).view(np.float32)
PLAIN_PLANES, FORCED_PLANES, SINGLE_PLANES = 8, 10, 2
THRESHOLDS, OFFSETS, GAINS, FORCE = slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 10)
SINGLE_OFFSET, SINGLE_GAIN = slice(0, 1), slice(1, 2)
NEVER = 65535.0  # no digital level is above it

_BYTES = 1 << 19  # of a constant in float64 that a thread folds at once: it stays in its cache
_SWITCH = {
    "linearisation": "linearise = false",
    "offset": "offset = false",
    "relative_gain": "relative_gain = false",
    "ff_map": "ff_map = false",
    "gain_amp_map": "gain_amp_map = false",
    "mg_baseline": "adjust_mg_baseline = false",
    "adu_per_kev": 'xray_gain = false (the output is then in "ADU")',
    "noise": "parallel_gain = false, if the run was not taken so",
    "thresholds": 'gain_mode = "fixed_high" or another fixed mode, if the run was taken so',
}


class FoldedModule(NamedTuple):
    """Folded constants of one module.

    Attributes
    ----------
    table : ndarray of float32, shape (C, P, npix)
        P = 8: planes 0-1 thresholds, 2-4 offsets (ADU), 5-7 gains (output unit per ADU, NaN for a bad pixel);
        P = 10 where stages are forced: 8 the raw ADC below which low gain is taken as medium gain, 9 the one
        below which every other stage is taken as high gain. Thresholds and levels are rounded to the integers
        that compare with raw words in the same way. P = 2 for a detector with one gain stage: its offset and
        its gain.
    mask : ndarray of uint32, shape (C, stages, npix)
        All bits of the bad pixels, for each stage.
    known : ndarray of bool, shape (C,)
        False for a cell without constants, or with none worth anything (all pixels without an offset or with
        the bit NO_DARK_DATA): NaN throughout, and the bit NO_DARK_DATA in the mask. Such a cell has no row
        for a kernel: counting its frames would say 0 where nothing is known.
    crossed : ndarray of int64, shape (C,)
        Pixels of a known cell whose threshold to low gain is below the one to medium gain, though no bit of
        the mask took them out already.
    not_finite : ndarray of int64, shape (C,)
        Likewise, pixels with a threshold that is not finite.
    """

    table: np.ndarray
    mask: np.ndarray
    known: np.ndarray
    crossed: np.ndarray
    not_finite: np.ndarray


def table_planes(detector: Detector, steps: Steps, gain_mode: str = "adaptive") -> int:
    """Return how many planes the folded table of a detector has.

    Parameters
    ----------
    detector : Detector
    steps : Steps
    gain_mode : str

    Returns
    -------
    int

    Examples
    --------
    >>> from shotsieve import detectors
    >>> table_planes(detectors.load("JUNGFRAU"), Steps())
    8
    """
    if detector.stages == 1:
        return SINGLE_PLANES
    forcing = detector.encoding == "threshold" and steps.for_detector(detector).forcing()
    return FORCED_PLANES if forcing and detector.fixed_stage(gain_mode) < 0 else PLAIN_PLANES


def gain_planes(planes: int) -> slice:
    """Return which planes of a folded table are the gains of the stages.

    Parameters
    ----------
    planes : int
        Number of planes of the table.

    Returns
    -------
    slice

    Examples
    --------
    >>> gain_planes(8)
    slice(5, 8, None)
    """
    return SINGLE_GAIN if planes == SINGLE_PLANES else GAINS


def required(detector: Detector, steps: Steps, gain_mode: str = "adaptive") -> tuple[str, ...]:
    """Return the constants that a calibration cannot do without.

    Parameters
    ----------
    detector : Detector
    steps : Steps
    gain_mode : str
        ``"adaptive"`` or a fixed mode.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from shotsieve import detectors
    >>> required(detectors.load("JUNGFRAU"), Steps())
    ('offset', 'adu_per_kev')
    """
    steps = steps.for_detector(detector)
    adaptive = detector.fixed_stage(gain_mode) < 0
    wanted = {
        "linearisation": steps.linearise,
        "offset": steps.offset or (adaptive and steps.forcing()),
        "thresholds": adaptive and detector.encoding == "threshold",
        "noise": detector.encoding == "parallel",
        "relative_gain": steps.relative_gain,
        "mg_baseline": steps.adjust_mg_baseline,
        "ff_map": steps.ff_map,
        "gain_amp_map": steps.gain_amp_map,
        "adu_per_kev": steps.xray_gain and steps.adu_per_photon is None,
    }
    return tuple(name for name, needed in wanted.items() if needed)


def fold(
    constants: Constants,
    detector: Detector,
    module: int,
    cell_ids: np.ndarray,
    steps: Steps,
    unit: str | None = None,
    photon_energy_kev: float | None = None,
    *,
    gain_mode: str = "adaptive",
    masks: StaticMask | None = None,
    into: tuple[np.ndarray, np.ndarray] | None = None,
) -> FoldedModule:
    """Fold the constants of one module for some memory cells, in threads.

    Promise: exact; the same constants and steps give the same bits.

    Parameters
    ----------
    constants : Constants
    detector : Detector
    module : int
    cell_ids : array of int, shape (C,)
        Memory cells; those without constants are marked in `FoldedModule.known`.
    steps : Steps
        Steps that the detector does not have are ignored.
    unit : {"ADU", "keV", "photon"} or None
        Unit of the calibrated values; None leaves it to the steps.
    photon_energy_kev : float or None
        In keV; needed for ``"photon"``.
    gain_mode : str
        ``"adaptive"`` or a fixed mode, for which thresholds and forced stages are left out.
    masks : StaticMask or None
        Bits of bad pixels beside those of the constants.
    into : tuple of ndarray, optional
        Table and mask of the result, of any content; by default they are made.

    Returns
    -------
    FoldedModule

    Raises
    ------
    BadInput
        If the constants are of another detector, a constant that a step needs is in no module, the steps do
        not give the unit, or the photon energy is missing.
    UnreadableData
        If a file of the constants is damaged.

    Examples
    --------
    >>> fold(constants, detector, 3, [0, 1, 2], Steps(), "photon", 9.3).table.shape  # doctest: +SKIP
    (3, 8, 65536)
    """
    constants.check_detector(detector)
    steps = steps.for_detector(detector)
    energy = _energy(steps, steps.unit(unit), photon_energy_kev)
    names = required(detector, steps, gain_mode)
    for name in names:
        if not constants.has(name):
            scalar = name == "adu_per_kev" and "adu_per_photon" in detector.steps
            raise BadInput(
                f"The constants have no {name!r} for any module, and the calibration needs it: give "
                f"constants with it, or set [calibrate] {_SWITCH[name]}"
                + (', or adu_per_photon = "14.4 ADU" (what it is for you).' if scalar else ".")
            )
    cell_ids = np.asarray(cell_ids)
    planes = table_planes(detector, steps, gain_mode)
    if into is None:
        into = (
            np.empty((len(cell_ids), planes, detector.pixels), np.float32),
            np.empty((len(cell_ids), detector.stages, detector.pixels), np.uint32),
        )
    table, mask = into
    # A module that lacks one constant of those needed cannot be calibrated at all: unknown, not half right.
    known = constants.row_of_cell(cell_ids) >= 0
    known &= all(constants.has(name, module) for name in names)
    rows = np.flatnonzero(known)
    mask[~known] = 0
    crossed, not_finite = np.zeros((2, len(cell_ids)), np.int64)
    loaded = {}
    if rows.size:
        loaded = {
            name: constants.load(name, module, cell_ids[rows]) for name in names if name != "linearisation"
        }
        if constants.has("bad_pixels", module):
            loaded["bad_pixels"] = constants.load("bad_pixels", module, cell_ids[rows])
    marked = detector.wide_marked or steps.double_pixels != "keep"
    wide_pixels = detector.wide_pixels() & marked
    static = np.where(wide_pixels, np.uint32(BadPixels.NON_STANDARD_SIZE), np.uint32(0))
    static[~detector.sensor_pixels()] |= np.uint32(BadPixels.NON_SENSITIVE)
    step = max(1, _BYTES // (8 * detector.stages * detector.pixels))
    span = max(1, _BYTES // (8 * detector.stages))

    def fold_some(start: int) -> None:
        part = rows[start : start + step]
        arrays = {
            name: array[:, start : start + step].reshape(len(array), part.size, detector.pixels)
            for name, array in loaded.items()
        }
        bits = arrays.pop("bad_pixels", np.zeros((detector.stages, part.size, detector.pixels), np.uint32))
        bits = bits | static
        if masks is not None:
            bits = bits | masks.of(module, cell_ids[part])
        if "thresholds" in arrays:
            bits, crossed[part], not_finite[part] = flag_thresholds(*arrays["thresholds"], bits, steps)
        if steps.mask_noisy_adc:
            block = parse_block(steps.noisy_adc_block, detector.shape)
            bits = flag_noisy(bits, detector.shape, block, steps.noisy_adc_threshold, steps.bad_bits)
        for at in range(0, detector.pixels, span):
            pixels = slice(at, at + span)
            wide = {name: array[..., pixels].astype(np.float64) for name, array in arrays.items()}
            some = table[..., pixels], part, wide, bits[..., pixels]
            _fold_cells(*some, steps, energy, detector.signed_gain, detector.adc_max)
        mask[part] = bits.swapaxes(0, 1)
        known[part] = _worth(arrays.get("offset"), bits, detector.fixed_stage(gain_mode))
        crossed[part] *= known[part]
        not_finite[part] *= known[part]

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for _ in pool.map(fold_some, range(0, rows.size, step)):
            pass
    table[~known] = NAN
    mask[~known] |= np.uint32(BadPixels.NO_DARK_DATA)
    return FoldedModule(table, mask, known, crossed, not_finite)


def _worth(offset: np.ndarray | None, bits: np.ndarray, fixed_stage: int) -> np.ndarray:
    """Return for each cell whether any pixel has dark constants, in the stages that the run can be in."""
    dark = (bits & np.uint32(BadPixels.NO_DARK_DATA)) == 0
    if offset is not None:
        dark &= np.isfinite(offset)
    stages = slice(None) if fixed_stage < 0 else slice(fixed_stage, fixed_stage + 1)
    return dark[stages].any(axis=(0, 2))


def _fold_cells(table, rows, wide, bits, steps, energy, signed, top) -> None:
    """Fold some cells; `wide` holds (gain, cell, pixel) in float64, `rows` are their rows in the table."""
    pedestal = wide.get("offset", np.zeros(bits.shape))
    relative = wide["relative_gain"] if steps.relative_gain else np.ones((len(bits), 1, 1))
    divisor = wide["adu_per_kev"] if "adu_per_kev" in wide else np.ones((1, 1, 1))
    positive = (relative > 0) & (divisor > 0)
    offset = pedestal.copy() if steps.offset else np.zeros_like(pedestal)
    with np.errstate(all="ignore"):  # zero and NaN gains are constants that are found broken below
        for name in ("ff_map", "gain_amp_map"):
            if getattr(steps, name):
                relative = relative * wide[name]
                positive = positive & (wide[name] > 0)
        gain = relative / (divisor * energy)
        if steps.adjust_mg_baseline:
            offset[1] -= wide["mg_baseline"][0] / relative[1]
        good = np.isfinite(relative) & np.isfinite(divisor) & np.isfinite(offset) & (gain != 0)
        if not signed:
            good &= positive
        good &= (bits & np.uint32(steps.all_bad_bits())) == 0
        offset32 = offset.astype(np.float32)
        gain32 = np.where(good, gain, np.nan).astype(np.float32)
        # What is too large or too small for float32 is as broken as what was never finite.
        broken = ~np.isfinite(gain32) | (gain32 == 0) | ~np.isfinite(offset32)
    offsets = SINGLE_OFFSET if table.shape[1] == SINGLE_PLANES else OFFSETS
    if offsets is OFFSETS:
        table[rows, THRESHOLDS] = NAN  # where the run needs none
    table[rows, offsets] = np.where(np.isfinite(offset32), offset32, NAN).swapaxes(0, 1)
    table[rows, gain_planes(table.shape[1])] = np.where(broken, NAN, gain32).swapaxes(0, 1)
    if "noise" in wide:
        # Parallel gain: high and medium gain are good up to so many sigma below the end of their range.
        sigma = np.array([steps.parallel_sigma_high, steps.parallel_sigma_mid])
        with np.errstate(invalid="ignore"):  # a noise that is not finite, as elsewhere
            ends = top - sigma[:, None, None] * wide["noise"][:2]
        table[rows, THRESHOLDS] = _canonical(np.floor(ends.swapaxes(0, 1)))
    if "thresholds" in wide:
        low, high = wide["thresholds"]
        if steps.low_medium_gap:
            high = np.where(high <= 1.05 * low, NEVER, high)
        # A word is an integer, so d > t is d > floor(t): exact in float32, whatever t was.
        table[rows, THRESHOLDS] = _canonical(np.floor(np.stack([low, high], axis=1)))
    if table.shape[1] == FORCED_PLANES:
        reference = pedestal[0] if steps.force_hg_reference == "hg" else pedestal[1]
        medium = _level(pedestal[1], steps.force_mg_if_below)
        high = _level(reference, steps.force_hg_if_below)
        # Likewise adc < level is adc < ceil(level).
        table[rows, FORCE] = _canonical(np.ceil(np.stack([medium, high], axis=1)))


def _level(pedestal: np.ndarray, above: float | None) -> np.ndarray:
    """Return the raw ADC below which a stage is forced; NaN, which nothing is below, where it never is."""
    return np.full_like(pedestal, np.nan) if above is None else pedestal + above


def _canonical(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), NAN, values.astype(np.float32))


def _energy(steps: Steps, unit: str, photon_energy_kev: float | None) -> float:
    """Return what is divided by for the unit: keV without a step that divides ADU by a number, else ADU."""
    adu = steps.adu_per_photon if steps.xray_gain else None
    if unit == "ADU" or (unit == "keV" and adu is None):
        return 1.0
    if unit == "photon" and adu is not None:
        return adu
    if photon_energy_kev is None:
        other = '"keV"' if adu is None else '"photon"'
        raise BadInput(
            f'The unit is "{unit}", but the run does not say the photon energy: set [calibrate] '
            f'photon_energy = "9.3 keV" (the energy of your experiment) in the recipe, or unit = {other}.'
        )
    energy = check_photon_energy(photon_energy_kev)
    return energy if adu is None else adu / energy
