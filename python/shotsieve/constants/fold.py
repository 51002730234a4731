"""Folding: the constants of a cell become two thresholds, three offsets and three gains for the kernels.

Subtracting the offset, the relative gain, the medium-gain baseline, ADU per keV and the photon energy are all
affine for one pixel, cell and stage g, so they are one subtraction and one product::

    x = (adc - offset[g]) * gain[g]
    gain[g]   = r[g] / (F[g] * E)
    offset[g] = pedestal[g] - baseline / r[g]        (the baseline for g = 1 only)

All of it is done in float64 and rounded once, to float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..detectors import Detector
from ..errors import BadInput
from ..units import check_photon_energy
from .bad_pixels import BadPixels
from .container import Constants
from .masks import StaticMask, flag_noisy, parse_block
from .steps import Steps

__all__ = ["FORCED_PLANES", "NAN", "PLAIN_PLANES", "FoldedModule", "fold", "required"]

NAN = np.uint32(0x7FC00000).view(np.float32)
PLAIN_PLANES, FORCED_PLANES = 8, 10
THRESHOLDS, OFFSETS, GAINS, FORCE = slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 10)
NEVER = 65535.0  # no digital level is above it

_CHUNK = 8  # cells folded at once: a few MB of float64, whatever the number of cells
_SWITCH = {
    "offset": "offset = false",
    "relative_gain": "relative_gain = false",
    "mg_baseline": "adjust_mg_baseline = false",
    "adu_per_kev": 'xray_gain = false (the output is then in "ADU")',
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
        that compare with raw words in the same way.
    mask : ndarray of uint32, shape (C, 3, npix)
        All bits of the bad pixels, for each stage.
    known : ndarray of bool, shape (C,)
        False for a cell without constants, or with none worth anything (all pixels without an offset or with
        the bit NO_DARK_DATA): NaN throughout, and the bit NO_DARK_DATA in the mask. Such a cell has no row
        for a kernel: counting its frames would say 0 where nothing is known.
    """

    table: np.ndarray
    mask: np.ndarray
    known: np.ndarray


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
        "offset": steps.offset or (adaptive and steps.forcing()),
        "thresholds": adaptive and detector.encoding == "threshold",
        "relative_gain": steps.relative_gain,
        "mg_baseline": steps.adjust_mg_baseline,
        "adu_per_kev": steps.xray_gain,
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
) -> FoldedModule:
    """Fold the constants of one module for some memory cells.

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
    energy = _energy(steps.unit(unit), photon_energy_kev)
    adaptive = detector.fixed_stage(gain_mode) < 0
    names = required(detector, steps, gain_mode)
    for name in names:
        if not constants.has(name):
            raise BadInput(
                f"The constants have no {name!r} for any module, and the calibration needs it: give "
                f"constants with it, or set [calibrate] {_SWITCH[name]}."
            )
    forced = adaptive and steps.forcing() and detector.encoding == "threshold"
    cell_ids = np.asarray(cell_ids)
    planes = FORCED_PLANES if forced else PLAIN_PLANES
    table = np.full((len(cell_ids), planes, detector.pixels), NAN, np.float32)
    mask = np.full((len(cell_ids), 3, detector.pixels), int(BadPixels.NO_DARK_DATA), np.uint32)
    # A module that lacks one constant of those needed cannot be calibrated at all: unknown, not half right.
    known = constants.row_of_cell(cell_ids) >= 0
    known &= all(constants.has(name, module) for name in names)
    rows = np.flatnonzero(known)
    if rows.size == 0:
        return FoldedModule(table, mask, known)

    # Whole modules are loaded at once, since the facility's files hold the cells of a pixel side by side.
    loaded = {name: constants.load(name, module, cell_ids[rows]) for name in names}
    if constants.has("bad_pixels", module):
        loaded["bad_pixels"] = constants.load("bad_pixels", module, cell_ids[rows])
    for start in range(0, rows.size, _CHUNK):
        part = rows[start : start + _CHUNK]
        arrays = {
            name: array[:, start : start + _CHUNK].reshape(len(array), part.size, detector.pixels)
            for name, array in loaded.items()
        }
        bits = arrays.pop("bad_pixels", np.zeros((3, part.size, detector.pixels), np.uint32))
        if masks is not None:
            bits = bits | masks.of(module, cell_ids[part])
        if steps.mask_noisy_adc:
            block = parse_block(steps.noisy_adc_block, detector.shape)
            bits = flag_noisy(bits, detector.shape, block, steps.noisy_adc_threshold, steps.bad_bits)
        wide = {name: array.astype(np.float64) for name, array in arrays.items()}
        _fold_cells(table, part, wide, bits, steps, energy, detector.signed_gain, forced)
        mask[part] = bits.swapaxes(0, 1)
        known[part] = _worth(wide.get("offset"), bits, detector.fixed_stage(gain_mode))
    table[~known] = NAN
    mask[~known] |= np.uint32(BadPixels.NO_DARK_DATA)
    return FoldedModule(table, mask, known)


def _worth(offset: np.ndarray | None, bits: np.ndarray, fixed_stage: int) -> np.ndarray:
    """Return for each cell whether any pixel has dark constants, in the stages that the run can be in."""
    dark = (bits & np.uint32(BadPixels.NO_DARK_DATA)) == 0
    if offset is not None:
        dark &= np.isfinite(offset)
    stages = slice(None) if fixed_stage < 0 else slice(fixed_stage, fixed_stage + 1)
    return dark[stages].any(axis=(0, 2))


def _fold_cells(table, rows, wide, bits, steps, energy, signed, forced) -> None:
    """Fold some cells; `wide` holds (gain, cell, pixel) in float64, `rows` are their rows in the table."""
    pedestal = wide.get("offset", np.zeros((3, *bits.shape[1:])))
    relative = wide["relative_gain"] if steps.relative_gain else np.ones((3, 1, 1))
    divisor = wide["adu_per_kev"] if steps.xray_gain else np.ones((1, 1, 1))
    offset = pedestal.copy() if steps.offset else np.zeros_like(pedestal)
    with np.errstate(all="ignore"):  # zero and NaN gains are constants that are found broken below
        gain = relative / (divisor * energy)
        if steps.adjust_mg_baseline:
            offset[1] -= wide["mg_baseline"][0] / relative[1]
        good = np.isfinite(relative) & np.isfinite(divisor) & np.isfinite(offset) & (gain != 0)
        if not signed:
            good &= (relative > 0) & (divisor > 0)
        good &= (bits & np.uint32(steps.bad_bits)) == 0
        offset32 = offset.astype(np.float32)
        gain32 = np.where(good, gain, np.nan).astype(np.float32)
        # What is too large or too small for float32 is as broken as what was never finite.
        broken = ~np.isfinite(gain32) | (gain32 == 0) | ~np.isfinite(offset32)
    table[rows, OFFSETS] = np.where(np.isfinite(offset32), offset32, NAN).swapaxes(0, 1)
    table[rows, GAINS] = np.where(broken, NAN, gain32).swapaxes(0, 1)
    if "thresholds" in wide:
        low, high = wide["thresholds"]
        if steps.low_medium_gap:
            high = np.where(high <= 1.05 * low, NEVER, high)
        # A word is an integer, so d > t is d > floor(t): exact in float32, whatever t was.
        table[rows, THRESHOLDS] = _canonical(np.floor(np.stack([low, high], axis=1)))
    if forced:
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


def _energy(unit: str, photon_energy_kev: float | None) -> float:
    """Return what keV are divided by for the unit."""
    if unit != "photon":
        return 1.0
    if photon_energy_kev is None:
        raise BadInput(
            'The unit is "photon", but the run does not say the photon energy: set [calibrate] '
            'photon_energy = "9.3 keV" (the energy of your experiment) in the recipe, or unit = "keV".'
        )
    return check_photon_energy(photon_energy_kev)
