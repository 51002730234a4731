"""The switches of the calibration: which steps are done, and with which levels."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadInput, nearest
from .bad_pixels import DEFAULT_BAD_BITS, BadPixels, read_bits
from .masks import parse_block

if TYPE_CHECKING:
    from ..detectors import Detector
    from .container import Constants

__all__ = ["OPTIONAL_STEPS", "Steps"]

MAX_DARK_ADU = 2000  # times 256 times the pixels of an ASIC: sums stay within 32 bits
MAX_ITERATIONS = 100
MAX_VALUE_LIMIT = 16777214.0  # above it the kernels' sums of rint(x * 128) would leave 32 bits

_STEP_OF = {"adu_per_kev": "xray_gain", "relative_gain": "relative_gain"}
"""The step that needs a constant which a detector may be without."""

OPTIONAL_STEPS = {
    "linearise": False,
    "low_medium_gap": False,
    "force_mg_if_below": None,
    "force_hg_if_below": None,
    "offset": False,
    "relative_gain": False,
    "ff_map": False,
    "gain_amp_map": False,
    "adjust_mg_baseline": False,
    "set_min": False,
    "xray_gain": False,
    "adu_per_photon": None,
    "round_photons": False,
    "wrap256": False,
    "common_mode": False,
    "cell_common_mode": False,
    "mask_noisy_adc": False,
    "blc_noise": False,
}
"""Steps that a detector may be without -> what they are then."""


@dataclass(frozen=True)
class Steps:
    """Switches of the calibration, under the names that a recipe uses.

    Thresholding is not here: in adaptive gain it is always done, since the constants are one set per stage.
    Steps that a detector does not have are switched off by `for_detector`; those that were asked for
    are refused before (`shotsieve.constants.asked`).

    Attributes
    ----------
    low_medium_gap : bool
        Where the two thresholds are less than 5 % apart, never go to low gain.
    force_mg_if_below, force_hg_if_below : float or None
        In ADU above the offset: below it a low-gain pixel is taken as medium gain, and then any pixel not in
        high gain as high gain. None switches the step off.
    force_hg_reference : {"hg", "mg"}
        The offset that `force_hg_if_below` counts from.
    linearise : bool
        Look up every raw word in the table of its strip and cell, before anything else.
    offset, relative_gain, xray_gain : bool
        Subtract the offset; multiply with the gain relative to high gain; divide by ADU per keV.
    ff_map, gain_amp_map : bool
        Multiply with these maps of LPD.
    adu_per_photon : float or None
        ADU of a photon, instead of ADU per keV of the constants, for all pixels and stages alike: in ADU of
        high gain where there is a relative gain.
    parallel_sigma_high, parallel_sigma_mid : float
        In parallel gain: a pixel is taken from the next stage where its signal is less than so many times its
        noise below the end of the range, in high and in medium gain.
    adjust_mg_baseline, set_min : bool
        Shift medium gain to meet high gain; then set its negative values to 0.
    round_photons : bool
        Round values to whole photons (only with the unit ``"photon"``).
    rounding_threshold : float
        Fraction from which a photon is rounded up.
    value_limit : float
        A larger absolute value is out of range.
    wrap256 : bool
        Of detectors with eight bits: a stored 0 is 256, which did not fit. To be switched off for the mode
        with nine bits: a word above 256 proves them, and is refused.
    double_pixels : {"keep", "mark", "mask"}
        Whether pixels that are larger than the others, at the edges of chips, count. They have the bit
        NON_STANDARD_SIZE in any case, or (AGIPD) where it is not ``"keep"``.
    common_mode : bool
        Subtract the mean of the dark pixels of each ASIC in each frame; see `shotsieve.common_mode`. Of a
        detector with banks: the medians of `shotsieve.bank_mode`.
    cell_common_mode : bool
        Before it, in every iteration, subtract the mean of each pixel over the cells of its row.
    cm_n_itr : int
        Iterations of both.
    cm_dark_range : str
        Which values are dark, in ADU after the offset, both ends included.
    cm_dark_fraction : float
        A group is corrected if strictly more than this share of it is dark.
    cm_medians : str
        Of a detector with banks: which medians, of ``"banks rows columns"``.
    cm_passes : int
        How often they are subtracted, 1 or 2: once is what LCLS does; the second time the medians of rows no
        longer see what columns share.
    cm_limit : float or None
        Such a median counts if it is nearer to 0, in ADU; None: always.
    blc_noise : bool
        Before the common mode subtract the noise peak of each frame; see `shotsieve.baseline`.
    blc_noise_threshold : float or None
        A peak lower than minus this, in ADU, is none; None: any peak.
    mask_noisy_adc : bool
        Flag readout blocks with NOISY_ADC of which strictly more than `noisy_adc_threshold` is bad.
    noisy_adc_block : str
        Pixels of such a block, slow scan x fast scan.
    bad_bits : int
        Bits of the mask that make a pixel bad; the default is all but INTERPOLATED and NON_STANDARD_SIZE. May
        be given by names, as ``"default -USER1"``: `shotsieve.constants.bad_pixels.read_bits`.
    packed_constants : bool
        Fold to 16 bytes per pixel and cell instead of 32; see `shotsieve.constants.packed`.

    Examples
    --------
    >>> Steps(force_hg_if_below=1000.0).unit()
    'keV'
    """

    low_medium_gap: bool = True
    force_mg_if_below: float | None = None
    force_hg_if_below: float | None = None
    force_hg_reference: str = "hg"
    linearise: bool = True
    offset: bool = True
    relative_gain: bool = True
    ff_map: bool = True
    gain_amp_map: bool = True
    adjust_mg_baseline: bool = True
    set_min: bool = True
    xray_gain: bool = True
    adu_per_photon: float | None = None
    round_photons: bool = False
    rounding_threshold: float = 0.5
    value_limit: float = 1e7
    wrap256: bool = True
    double_pixels: str = "keep"
    parallel_sigma_high: float = 5.0
    parallel_sigma_mid: float = 100.0
    common_mode: bool = False
    cell_common_mode: bool = False
    cm_n_itr: int = 4
    cm_dark_range: str = "-30 30 ADU"
    cm_dark_fraction: float = 0.15
    cm_medians: str = "banks rows columns"
    cm_passes: int = 2
    cm_limit: float | None = 100.0
    blc_noise: bool = False
    blc_noise_threshold: float | None = 5000.0
    mask_noisy_adc: bool = False
    noisy_adc_threshold: float = 0.25
    noisy_adc_block: str = "64x16"
    bad_bits: int = DEFAULT_BAD_BITS
    packed_constants: bool = False

    def __post_init__(self) -> None:
        words = {"force_hg_reference": ("hg", "mg"), "double_pixels": ("keep", "mark", "mask")}
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                hint = nearest(str(getattr(self, name)), allowed)
                raise BadInput(
                    f"{name} = {getattr(self, name)!r} must be {' or '.join(map(repr, allowed))}.{hint}"
                )
        for name in ("force_mg_if_below", "force_hg_if_below"):
            level = getattr(self, name)
            if level is not None and not math.isfinite(level):
                raise BadInput(f"{name} = {level} must be a finite number of ADU, or left out.")
        if self.adu_per_photon is not None and not 0 < self.adu_per_photon < math.inf:
            raise BadInput(f"adu_per_photon = {self.adu_per_photon} must be a number of ADU above 0.")
        for name in ("parallel_sigma_high", "parallel_sigma_mid"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"{name} = {getattr(self, name)} must be a number of sigma, from 0.")
        if not 0 < self.rounding_threshold <= 1:
            raise BadInput(f"rounding_threshold = {self.rounding_threshold} must be above 0 and at most 1.")
        if not 0 < self.value_limit <= MAX_VALUE_LIMIT:
            raise BadInput(
                f"value_limit = {self.value_limit} must be above 0, at most {MAX_VALUE_LIMIT:.0f}."
            )
        object.__setattr__(self, "bad_bits", read_bits(self.bad_bits))
        self._check_common_mode()
        parse_block(self.noisy_adc_block)
        if not 0 <= self.noisy_adc_threshold < 1:
            raise BadInput(
                f"noisy_adc_threshold = {self.noisy_adc_threshold} must be at least 0 and below 1."
            )
        self._check_offset("relative_gain", "adjust_mg_baseline", "xray_gain")

    def _check_offset(self, *steps: str) -> None:
        scaled = [name for name in steps if getattr(self, name)]
        if not self.offset and scaled:
            raise BadInput(
                f"offset = false leaves the pedestal in the data, and {scaled[0]} would scale it as if it "
                f"were signal: set {' = false, '.join(scaled)} = false as well, or offset = true."
            )

    def _check_common_mode(self) -> None:
        low, high = self.dark_range()
        if not -MAX_DARK_ADU <= low < high <= MAX_DARK_ADU:
            raise BadInput(
                f'cm_dark_range = "{self.cm_dark_range}" must rise, and stay within {MAX_DARK_ADU} ADU.'
            )
        if not 0 <= self.cm_dark_fraction < 1:
            raise BadInput(f"cm_dark_fraction = {self.cm_dark_fraction} must be at least 0 and below 1.")
        if not 1 <= self.cm_n_itr <= MAX_ITERATIONS:
            raise BadInput(f"cm_n_itr = {self.cm_n_itr} must be from 1 to {MAX_ITERATIONS}.")
        words = self.cm_medians.split()
        if not words or len(set(words)) < len(words) or not set(words) <= {"banks", "rows", "columns"}:
            raise BadInput(
                f'cm_medians = "{self.cm_medians}": expected some of "banks rows columns", once each.'
            )
        if self.cm_passes not in (1, 2):
            raise BadInput(f"cm_passes = {self.cm_passes}: expected 1 or 2; a third time brings nothing.")
        if self.cm_limit is not None and not 0 < self.cm_limit < math.inf:
            raise BadInput(f"cm_limit = {self.cm_limit} must be a number of ADU above 0, or left out.")
        if self.cell_common_mode and not self.common_mode:
            raise BadInput(
                "cell_common_mode = true takes turns with the common mode of ASICs: set common_mode = true."
            )
        for name in ("common_mode", "blc_noise"):
            if getattr(self, name) and not self.offset:
                raise BadInput(f"{name} = true looks at values after the offset: set offset = true as well.")
        if self.blc_noise_threshold is not None and not self.blc_noise_threshold > 0:
            raise BadInput(f"blc_noise_threshold = {self.blc_noise_threshold} ADU must be above 0.")

    def dark_range(self) -> tuple[float, float]:
        """Return the ends of the dark range in ADU.

        Raises
        ------
        BadInput
            If `cm_dark_range` is not two numbers and their unit.

        Examples
        --------
        >>> Steps().dark_range()
        (-30.0, 30.0)
        """
        words = self.cm_dark_range.split()
        try:
            low, high = (float(word) for word in words[:2])
        except ValueError:
            low = high = math.nan
        if words[2:] != ["ADU"] or not (math.isfinite(low) and math.isfinite(high)):
            raise BadInput(
                f'cm_dark_range = "{self.cm_dark_range}": expected two numbers and ADU, as in "-30 30 ADU".'
            )
        return low, high

    def for_detector(self, detector: Detector) -> Steps:
        """Return the steps with those that the detector does not have switched off.

        Parameters
        ----------
        detector : Detector

        Returns
        -------
        Steps

        Examples
        --------
        >>> from shotsieve import detectors
        >>> Steps().for_detector(detectors.load("JUNGFRAU")).set_min
        False
        """
        off = {name: value for name, value in OPTIONAL_STEPS.items() if name not in detector.steps}
        steps = dataclasses.replace(self, **off)
        steps._check_offset("ff_map", "gain_amp_map")  # only where the detector has them
        return steps

    def for_constants(self, detector: Detector, constants: Constants) -> tuple[Steps, list[str]]:
        """Return the steps without those that the detector can do without and whose constants are missing.

        Parameters
        ----------
        detector : Detector
        constants : Constants

        Returns
        -------
        steps : Steps
        notes : list of str
            A sentence for each step that was switched off.

        Examples
        --------
        >>> import numpy as np
        >>> from shotsieve.constants import Constants
        >>> constants = Constants.from_arrays("GOTTHARD2", {"offset": {1: np.zeros((3, 2, 1280))}})
        >>> Steps().for_constants(constants.detector, constants)[0].unit()
        'ADU'
        """
        steps, notes = self, []
        for constant in detector.optional_constants:
            step = _STEP_OF[constant]
            given = step == "xray_gain" and steps.adu_per_photon is not None
            if getattr(steps, step) and not given and not constants.has(constant):
                steps = dataclasses.replace(steps, **{step: False})
                notes.append(
                    f"the constants have no {constant!r}: [calibrate] {step} is switched off, and values are "
                    f"in {steps.unit()}"
                )
        return steps, notes

    def all_bad_bits(self) -> int:
        """Return `bad_bits`, with that of double pixels where these are masked."""
        return self.bad_bits | (int(BadPixels.NON_STANDARD_SIZE) if self.double_pixels == "mask" else 0)

    def forcing(self) -> bool:
        """Return whether stages are forced, so that the folded table has its two planes of levels."""
        return self.force_mg_if_below is not None or self.force_hg_if_below is not None

    def unit(self, asked: str | None = None) -> str:
        """Return the unit of the calibrated values.

        Parameters
        ----------
        asked : {"ADU", "keV", "photon"} or None
            What the recipe asks for; None leaves it to the steps.

        Returns
        -------
        str
            ``"ADU"`` without the x-ray gain, else ``"keV"``, or ``"photon"`` when asked for.

        Raises
        ------
        BadInput
            If the steps cannot give the unit asked for, or photons are rounded that are not there.

        Examples
        --------
        >>> Steps(xray_gain=False).unit()
        'ADU'
        """
        units = ("keV", "photon") if self.xray_gain else ("ADU",)
        unit = asked or units[0]
        if unit not in units:
            if unit not in ("ADU", "keV", "photon"):
                raise BadInput(f"unit = {unit!r} is not one of ADU, keV, photon.{nearest(unit, units)}")
            switch = "false" if unit == "ADU" else "true"
            raise BadInput(
                f"unit = {unit!r} does not go with xray_gain = {str(self.xray_gain).lower()}: "
                f"set xray_gain = {switch}, or ask for {' or '.join(units)}."
            )
        if self.round_photons and unit != "photon":
            raise BadInput(
                f"round_photons = true rounds photons, but the unit is {unit!r}: set unit = 'photon'."
            )
        return unit
