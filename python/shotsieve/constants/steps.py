"""The switches of the calibration: which steps are done, and with which levels."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadInput, nearest
from .bad_pixels import ALL_BITS, DEFAULT_BAD_BITS
from .masks import parse_block

if TYPE_CHECKING:
    from ..detectors import Detector

__all__ = ["Steps"]

MAX_DARK_ADU = 2000  # times 256 times the pixels of an ASIC: sums stay within 32 bits
MAX_ITERATIONS = 100
MAX_VALUE_LIMIT = 16777214.0  # above it the kernels' sums of rint(x * 128) would leave 32 bits

_OFF = {
    "low_medium_gap": False,
    "force_mg_if_below": None,
    "force_hg_if_below": None,
    "offset": False,
    "relative_gain": False,
    "adjust_mg_baseline": False,
    "set_min": False,
    "xray_gain": False,
    "round_photons": False,
    "common_mode": False,
    "cell_common_mode": False,
    "mask_noisy_adc": False,
}


@dataclass(frozen=True)
class Steps:
    """Switches of the calibration, under the names that a recipe uses.

    Thresholding is not here: in adaptive gain it is always done, since the constants are one set per stage.
    Steps that a detector does not have are switched off by `for_detector`.

    Attributes
    ----------
    low_medium_gap : bool
        Where the two thresholds are less than 5 % apart, never go to low gain.
    force_mg_if_below, force_hg_if_below : float or None
        In ADU above the offset: below it a low-gain pixel is taken as medium gain, and then any pixel not in
        high gain as high gain. None switches the step off.
    force_hg_reference : {"hg", "mg"}
        The offset that `force_hg_if_below` counts from.
    offset, relative_gain, xray_gain : bool
        Subtract the offset; multiply with the gain relative to high gain; divide by ADU per keV.
    adjust_mg_baseline, set_min : bool
        Shift medium gain to meet high gain; then set its negative values to 0.
    round_photons : bool
        Round values to whole photons (only with the unit ``"photon"``).
    rounding_threshold : float
        Fraction from which a photon is rounded up.
    value_limit : float
        A larger absolute value is out of range.
    common_mode : bool
        Subtract the mean of the dark pixels of each ASIC in each frame; see `shotsieve.common_mode`.
    cell_common_mode : bool
        Before it, in every iteration, subtract the mean of each pixel over the cells of its row.
    cm_n_itr : int
        Iterations of both.
    cm_dark_range : str
        Which values are dark, in ADU after the offset, both ends included.
    cm_dark_fraction : float
        A group is corrected if strictly more than this share of it is dark.
    mask_noisy_adc : bool
        Flag readout blocks with NOISY_ADC of which strictly more than `noisy_adc_threshold` is bad.
    noisy_adc_block : str
        Pixels of such a block, slow scan x fast scan.
    bad_bits : int
        Bits of the mask that make a pixel bad; the default is all but INTERPOLATED and NON_STANDARD_SIZE.

    Examples
    --------
    >>> Steps(force_hg_if_below=1000.0).unit()
    'keV'
    """

    low_medium_gap: bool = True
    force_mg_if_below: float | None = None
    force_hg_if_below: float | None = None
    force_hg_reference: str = "hg"
    offset: bool = True
    relative_gain: bool = True
    adjust_mg_baseline: bool = True
    set_min: bool = True
    xray_gain: bool = True
    round_photons: bool = False
    rounding_threshold: float = 0.5
    value_limit: float = 1e7
    common_mode: bool = False
    cell_common_mode: bool = False
    cm_n_itr: int = 4
    cm_dark_range: str = "-30 30 ADU"
    cm_dark_fraction: float = 0.15
    mask_noisy_adc: bool = False
    noisy_adc_threshold: float = 0.25
    noisy_adc_block: str = "64x16"
    bad_bits: int = DEFAULT_BAD_BITS

    def __post_init__(self) -> None:
        if self.force_hg_reference not in ("hg", "mg"):
            hint = nearest(str(self.force_hg_reference), ("hg", "mg"))
            raise BadInput(f"force_hg_reference = {self.force_hg_reference!r} must be 'hg' or 'mg'.{hint}")
        for name in ("force_mg_if_below", "force_hg_if_below"):
            level = getattr(self, name)
            if level is not None and not math.isfinite(level):
                raise BadInput(f"{name} = {level} must be a finite number of ADU, or left out.")
        if not 0 < self.rounding_threshold <= 1:
            raise BadInput(f"rounding_threshold = {self.rounding_threshold} must be above 0 and at most 1.")
        if not 0 < self.value_limit <= MAX_VALUE_LIMIT:
            raise BadInput(
                f"value_limit = {self.value_limit} must be above 0, at most {MAX_VALUE_LIMIT:.0f}."
            )
        if not 0 <= self.bad_bits <= ALL_BITS:
            raise BadInput(f"bad_bits = {self.bad_bits} must be a mask of 32 bits (0 ... {ALL_BITS:#x}).")
        self._check_common_mode()
        parse_block(self.noisy_adc_block)
        if not 0 <= self.noisy_adc_threshold < 1:
            raise BadInput(
                f"noisy_adc_threshold = {self.noisy_adc_threshold} must be at least 0 and below 1."
            )
        scaled = [
            name for name in ("relative_gain", "adjust_mg_baseline", "xray_gain") if getattr(self, name)
        ]
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
        if self.cell_common_mode and not self.common_mode:
            raise BadInput(
                "cell_common_mode = true takes turns with the common mode of ASICs: set common_mode = true."
            )
        if self.common_mode and not self.offset:
            raise BadInput(
                "common_mode = true looks for dark pixels after the offset: set offset = true as well."
            )

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
        off = {name: value for name, value in _OFF.items() if name not in detector.steps}
        return dataclasses.replace(self, **off)

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
