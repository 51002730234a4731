"""The operating mode of the detector, from the run's control sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..detectors import CONTROL_FIELDS, ControlKey, Detector
from .base import OperatingMode
from .exdf import RunFile

# The number in the beamline's source names (SA1_..., SA2_..., SA3_...) that serves an instrument.
BEAMLINE = {"SPB": 1, "FXE": 1, "MID": 2, "HED": 2, "SCS": 3, "SQS": 3, "SXP": 3}
WHOLE = ("cells", "gain_setting")
# These are set once; when they change inside a run, one set of constants cannot be right for all of it.
STEADY = ("gain_mode", "cells", "rate_mhz", "integration_time", "gain_setting")


def read_mode(files: Sequence[RunFile], detector: Detector, name: str) -> tuple[OperatingMode, list[str]]:
    """Read the operating mode of a detector.

    Parameters
    ----------
    files : sequence of RunFile
        All files of the run, in reading order.
    detector : Detector
        Its `control` says where each value may be found.
    name : str
        The detector's name in the run, e.g. ``"SPB_DET_AGIPD1M-1"``.

    Returns
    -------
    mode : OperatingMode
        ``None`` where the run does not say; values at the start of the run (RUN) go before the first of the
        train by train ones (CONTROL).
    notes : list of str
        What was odd about the values.

    Raises
    ------
    UnreadableData
        When a source that should say it is damaged.

    Examples
    --------
    >>> mode, notes = read_mode(files, detector, "SPB_DET_AGIPD1M-1")    # doctest: +SKIP
    >>> mode.gain_mode, mode.origin["gain_mode"]    # doctest: +SKIP
    ('adaptive', 'SPB_IRU_AGIPD1M1/MDL/FPGA_COMP.gainModeIndex')
    """
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    notes: list[str] = []
    for field in CONTROL_FIELDS:
        for candidate in detector.control.get(field, ()):
            hit = _find(files, candidate, name)
            if hit is None:
                continue
            source, raw = hit
            value = _convert(detector, candidate, field, raw)
            if value is None:
                notes.append(
                    f"{source}.{candidate.key} = {raw!r} is not a {field} that is known for {detector.name}"
                )
                continue
            values[field], origin[field] = value, f"{source}.{candidate.key}"
            if field in STEADY:
                notes += _changes(files, source, candidate.key)
            break
    return OperatingMode(**values, origin=origin), notes


def of_other_beamline(source: str, name: str) -> bool:
    """Whether a source belongs to an undulator that does not serve the detector's instrument."""
    own = BEAMLINE.get(name.split("_")[0])
    return own is not None and source[:2] == "SA" and source[2:3].isdigit() and int(source[2]) != own


def _find(files: Sequence[RunFile], candidate: ControlKey, name: str):
    """(source, value) of the first source that fits and has the key, or None."""
    pattern = candidate.pattern(name)
    fitting = {s for f in files for s in f.control if pattern.fullmatch(s)}
    # The instrument's own devices know best; then the order is that of the names.
    for source in sorted(fitting, key=lambda s: (not s.startswith(name.split("_")[0]), s)):
        if of_other_beamline(source, name):
            continue
        for file in files:
            if source in file.control and (value := file.run_value(source, candidate.key)) is not None:
                return source, value
    return None


def _convert(detector: Detector, candidate: ControlKey, field: str, raw):
    if field == "gain_mode":
        return detector.gain_mode_name(raw.item() if isinstance(raw, np.generic) else raw)
    try:
        value = np.asarray(raw, np.float64)
    except (TypeError, ValueError):
        return None
    if value.size != 1 or not np.isfinite(value).all():
        return None
    if field == "photon_energy_kev" and value.item() <= 0:
        # A wavelength or energy of zero is a device that is switched off.
        return None
    number = float(candidate.convert(value.item(), field))
    return round(number) if field in WHOLE else number


def _changes(files: Sequence[RunFile], source: str, key: str) -> list[str]:
    found = [f.per_train(source, "", key) for f in files if source in f.control]
    values = np.concatenate(
        [v[1].reshape(len(v[1]), -1)[:, :1] for v in found if v is not None and len(v[1])] or [[]]
    )
    different = np.unique(values)
    if len(different) > 1:
        shown = ", ".join(str(v.decode() if isinstance(v, bytes) else v) for v in different[:4])
        return [f"{source}.{key} changes during the run ({shown}{', ...' if len(different) > 4 else ''})"]
    return []
