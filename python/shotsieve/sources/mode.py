"""The operating mode of the detector, from the run's control sources.

A run that was reduced to raw words holds no control sources. Its module files say the mode it was reduced
with under ``RUN/SHOTSIEVE/<source>/mode``, so that it can be calibrated later without any help.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import h5py
import numpy as np

from ..cell_order import read_order
from ..detectors import CONTROL_FIELDS, GAIN_MODES, ControlKey, Detector, as_key
from ..errors import DAMAGE, BadInput, UnreadableData
from .base import OperatingMode
from .exdf import RunFile, opened, reason
from .instruments import instrument_of

WHOLE = ("cells", "gain_setting", "parallel_gain")
# These are set once; when they change inside a run, one set of constants cannot be right for all of it.
STEADY = ("gain_mode", "cells", "rate_mhz", "integration_time", "gain_setting", "parallel_gain")


def read_mode(
    files: Sequence[RunFile], detector: Detector, name: str, sources: Iterable[str] = ()
) -> tuple[OperatingMode, list[str]]:
    """Read the operating mode of a detector.

    Parameters
    ----------
    files : sequence of RunFile
        All files of the run, in reading order.
    detector : Detector
        Its `control` says where each value may be found.
    name : str
        The detector's name in the run, e.g. ``"SPB_DET_AGIPD1M-1"``.
    sources : iterable of str, optional
        The recorded names of its modules: where a reduced run keeps what the control sources do not tell.

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
    _add_stored(values, origin, files, sources, notes)
    if detector.stages == 1 and "gain_mode" not in values:
        values["gain_mode"], origin["gain_mode"] = "fixed_high", f"{detector.name} has one gain stage"
    # One key may tell several fields, and changes for all of them.
    return OperatingMode(**values, origin=origin), list(dict.fromkeys(notes))


def read_dark_mode(files: Sequence[RunFile], detector: Detector, name: str) -> str | float | None:
    """Return the gain mode of a dark run in the run's own words.

    Parameters
    ----------
    files : sequence of RunFile
    detector : Detector
    name : str
        The detector's name in the run.

    Returns
    -------
    str, number or None
        None where the run does not say it. `Detector.dark_stage` tells the gain stage that it stands for.

    Examples
    --------
    >>> read_dark_mode(files, detector, "FXE_XAD_JF1M")    # doctest: +SKIP
    'forceswitchg1'
    """
    for candidate in detector.control.get("gain_mode", ()):
        if (hit := _find(files, candidate, name)) is not None:
            raw = hit[1].item() if isinstance(hit[1], np.generic) else hit[1]
            return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return None


def of_other_beamline(source: str, name: str) -> bool:
    """Whether a source belongs to an undulator that does not serve the detector's instrument."""
    own = instrument_of(name)
    return own is not None and source[:2] == "SA" and source[2:3].isdigit() and int(source[2]) != own.sase


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


def _add_stored(values: dict, origin: dict, files: Sequence[RunFile], sources: Iterable[str], notes) -> None:
    """Fill the fields that are still unknown from what a reduction stored beside the modules' data."""
    unknown = [field for field in CONTROL_FIELDS if field not in values]
    found: dict[str, dict[object, str]] = {}
    for source in sources if unknown else ():
        # All files of a module say the same.
        file = next((f for f in files if source in f.instrument), None)
        if file is None:
            continue
        for field, value in _stored(file, f"RUN/SHOTSIEVE/{source}/mode", unknown).items():
            found.setdefault(field, {}).setdefault(value, file.path.name)
    for field, where in found.items():
        (value, name), *others = where.items()
        if others:
            notes.append(
                f"the {field} that shotsieve stored is {value!r} in {name}, but {others[0][0]!r} in "
                f"{others[0][1]}: not used"
            )
        elif not _is_a(field, value):
            notes.append(f"{value!r}, which shotsieve stored in {name}, is not a {field}: not used")
        else:
            values[field] = round(value) if field in WHOLE else value
            origin[field] = f"stored by shotsieve in {name}"


def _is_a(field: str, value: object) -> bool:
    """Whether a stored value can be one of a field."""
    if field == "gain_mode":
        return value in GAIN_MODES
    if field == "memory_cell_order":
        try:
            return isinstance(value, str) and read_order(value) == value
        except BadInput:
            return False
    return isinstance(value, float) and bool(np.isfinite(value))


def _stored(file: RunFile, group: str, fields: Sequence[str]) -> dict[str, object]:
    """The stored values of some fields, as text or float, of one file."""
    found: dict[str, object] = {}
    with opened(file.path) as f:
        for field in fields:
            path = f"{group}/{field}/value"
            try:
                if path in f and isinstance(f[path], h5py.Dataset) and len(f[path]):
                    raw = f[path][0]
                    found[field] = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else float(raw)
            except DAMAGE as e:
                raise UnreadableData(f"{file.path}: {path} cannot be read ({reason(e)})") from e
    return found


def _convert(detector: Detector, candidate: ControlKey, field: str, raw):
    word = raw.item() if isinstance(raw, np.generic) else raw
    if field == "gain_mode":
        return detector.gain_mode_name(word)
    if field == "gain_setting" and detector.gain_settings:
        return detector.gain_settings.get(as_key(word))
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
