"""What the file of a detector may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput

if TYPE_CHECKING:
    from .descriptor import Detector

ENCODINGS = ("threshold", "code", "word", "plain", "parallel")
"""How raw words are read; their place is the number that the kernels know them by. The last is
a mode and no detector's own."""

CORRECTED = "corrected"
"""Of frames that are calibrated already; no file of a detector says it."""

GAIN_MODES = ("adaptive", "fixed_high", "fixed_medium", "fixed_low")
"""Names of the gain modes; the fixed ones in the order of the stages 0, 1, 2."""


def check(detector: Detector, path: Path) -> None:
    """Refuse a file that says something the rest of the package does not know.

    Parameters
    ----------
    detector : Detector
        As read from the file.
    path : Path
        For the error.

    Raises
    ------
    BadInput
        Which names the key, what it says, and what it may say.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> check(detectors.load("AGIPD1M"), Path("agipd1m.toml"))
    """
    choices = {
        "layout": ("frames", "trains"),
        "encoding": ENCODINGS[:4],
        "keep_unit": ("shot", "train"),
    }
    for key, allowed in choices.items():
        if getattr(detector, key) not in allowed:
            raise BadInput(
                f"{path}: {key} = {getattr(detector, key)!r}; it must be one of {', '.join(allowed)}."
            )
    if unknown := sorted(set(detector.gain_modes.values()) - set(GAIN_MODES)):
        raise BadInput(
            f"{path}: [gain_modes] names {unknown[0]!r}; it must be one of {', '.join(GAIN_MODES)}."
        )
    if odd := sorted(stage for stage in detector.dark_modes.values() if stage not in range(detector.stages)):
        raise BadInput(
            f"{path}: [dark_modes] names the stage {odd[0]!r}; it must be below {detector.stages}."
        )
    if odd := [number for number in detector.gain_settings.values() if type(number) is not int]:
        raise BadInput(f"{path}: [gain_settings] names {odd[0]!r}; it must be a whole number.")
    if detector.gain_settings and "gain_setting" not in detector.control:
        raise BadInput(f"{path}: [gain_settings] needs [[control.gain_setting]], where the run says it.")
    if detector.dimensions not in (1, 2) or (detector.dimensions == 1 and detector.shape[0] != 1):
        raise BadInput(
            f"{path}: dimensions = {detector.dimensions} with shape {detector.shape}; it must be 2, or 1 "
            f"with one row of strips."
        )
    _check_sensor_rows(detector, path)
    if not set(detector.wide_edges) <= {"ss", "fs"}:
        raise BadInput(f"{path}: wide_edges = {detector.wide_edges}; it may hold 'ss' and 'fs'.")
    if "linearise" in detector.steps and {"common_mode", "blc_noise"} & set(detector.steps):
        raise BadInput(
            f"{path}: steps has 'linearise' and a common mode or baseline, which are found in raw words and "
            f"would miss the linearisation; leave one out."
        )
    if not detector.cell_key and detector.cell_cycle < 1:
        raise BadInput(f"{path}: without a cell_key, cell_cycle must say how many cells take turns.")
    coded = detector.encoding in ("code", "word")
    if coded and (len(set(detector.codes)) != 3 or detector.codes[0] != 0):
        raise BadInput(
            f"{path}: encoding {detector.encoding!r} needs three codes, for the stages 0, 1, 2, the first of "
            f"them 0; got {detector.codes}."
        )
    if not 1 <= detector.adc_bits <= (14 if detector.encoding == "word" else 16):
        raise BadInput(
            f"{path}: adc_bits = {detector.adc_bits}; a word has 16 bits, and 'word' needs two for the "
            f"gain code."
        )
    planes = 1 if detector.encoding in ("word", "plain") else 2
    if detector.plane_count != planes:
        raise BadInput(
            f"{path}: plane_count = {detector.plane_count}; encoding {detector.encoding!r} needs {planes}."
        )
    for key in ("raw_source_pattern", "corrected_source_pattern"):
        try:
            groups = re.compile(getattr(detector, key)).groupindex
        except re.error as error:
            raise BadInput(f"{path}: {key} is not a regular expression: {error}.") from error
        if not {"detector", "module"} <= set(groups):
            raise BadInput(f"{path}: {key} needs the named groups (?P<detector>...) and (?P<module>...).")


def _check_sensor_rows(detector: Detector, path: Path) -> None:
    """Refuse rows of sensors that are none of a frame, or not one after the other."""
    before = 0
    for pair in detector.sensor_rows:
        whole = isinstance(pair, tuple) and len(pair) == 2 and all(type(row) is int for row in pair)
        if not whole or not before <= pair[0] < pair[1] <= detector.shape[0]:
            raise BadInput(
                f"{path}: sensor_rows has {pair}; it must hold pairs, first row and the one behind the last, "
                f"ascending and up to {detector.shape[0]}."
            )
        before = pair[1]
