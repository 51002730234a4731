"""Switches that were asked for: what a detector does not have is refused, and never left out in silence."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .steps import OPTIONAL_STEPS, Steps

if TYPE_CHECKING:
    from ..detectors import Detector

__all__ = ["check_asked", "options_of"]

_OF_STEP = {
    "force_hg_reference": "force_hg_if_below",
    "rounding_threshold": "round_photons",
    "cm_n_itr": "common_mode",
    "cm_dark_range": "common_mode",
    "cm_dark_fraction": "common_mode",
    "cm_medians": "common_mode",
    "cm_passes": "common_mode",
    "cm_limit": "common_mode",
    "blc_noise_threshold": "blc_noise",
    "noisy_adc_threshold": "mask_noisy_adc",
    "noisy_adc_block": "mask_noisy_adc",
}
"""Options that say how a step is done."""

_OF_BANKS = ("cm_medians", "cm_passes", "cm_limit")
_OF_ASICS = ("cm_n_itr", "cm_dark_range", "cm_dark_fraction")
_PARALLEL = ("parallel_sigma_high", "parallel_sigma_mid")

_BESIDE_OFFSET = ("relative_gain", "adjust_mg_baseline", "xray_gain")
"""Steps that have to be off where the offset is, whether the detector has them or not."""


def _has(detector: Detector, option: str) -> bool:
    """Whether an option of `Steps` means anything for a detector."""
    if option == "double_pixels":
        return bool(detector.wide_edges)
    if option in _PARALLEL:
        return "parallel_gain" in detector.control
    if option in (_OF_ASICS if any(detector.bank) else _OF_BANKS):
        return False
    step = _OF_STEP.get(option, option)
    return step not in OPTIONAL_STEPS or step in detector.steps


def options_of(detector: Detector) -> tuple[str, ...]:
    """Return which options of `Steps` a detector has.

    Parameters
    ----------
    detector : Detector

    Returns
    -------
    tuple of str
        In the order of `Steps`.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> options_of(detectors.load("GOTTHARD2"))[:4]
    ('linearise', 'offset', 'xray_gain', 'round_photons')
    """
    return tuple(one.name for one in dataclasses.fields(Steps) if _has(detector, one.name))


def check_asked(steps: Steps, detector: Detector, where: str = "[calibrate]") -> None:
    """Refuse options that differ from what is usual and that the detector does not have.

    Parameters
    ----------
    steps : Steps
        As they were given, before `Steps.for_detector`.
    detector : Detector
    where : str
        What the error begins with.

    Raises
    ------
    BadInput
        The text names every such option, and those that the detector has.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> check_asked(Steps(common_mode=True, cm_n_itr=2), detectors.load("AGIPD1M"))
    >>> check_asked(Steps(common_mode=True), detectors.load("JUNGFRAU"))
    Traceback (most recent call last):
    ...
    shotsieve.errors.BadInput: [calibrate] common_mode = true: JUNGFRAU does not have this, ...
    """
    has = options_of(detector)
    asked = [
        f"{one.name} = {_shown(getattr(steps, one.name))}"
        for one in dataclasses.fields(Steps)
        if one.name not in has
        and getattr(steps, one.name) != one.default
        and (steps.offset or one.name not in _BESIDE_OFFSET)
    ]
    if asked:
        raise BadInput(
            f"{where} {', '.join(asked)}: {detector.name} does not have this, and values would be as if "
            "it had not been asked for. Leave it out; of several detectors in a recipe each may have a "
            f"[detector.calibrate] of its own. {detector.name} has {', '.join(has)}."
        )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else "none" if value is None else f"{value:g}"
