"""What a detector's TOML file holds, and how it is read and checked."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import BadInput, nearest
from ..units import convert
from .check import CORRECTED, GAIN_MODES, check

CONTROL_FIELDS = {
    "gain_mode": "",
    "cells": "",
    "rate_mhz": "MHz",
    "integration_time": "",
    "gain_setting": "",
    "bias_voltage": "V",
    "photon_energy_kev": "keV",
    "distance_m": "m",
}
"""Fields of the operating mode and the unit each is kept in."""


@dataclass(frozen=True)
class ControlKey:
    """Where one value of the operating mode may be found in a run.

    Attributes
    ----------
    source : str
        Regular expression for the whole source name, with the placeholders ``{detector}`` and
        ``{instrument}``.
    key : str
        Key of the source, with dots.
    unit : str
        Unit of the value there; ``""`` for a pure number or a name.
    factor, add : float
        ``value * factor + add`` is the value in `unit`.
    """

    source: str
    key: str
    unit: str = ""
    factor: float = 1.0
    add: float = 0.0

    def pattern(self, name: str) -> re.Pattern:
        """Return the compiled pattern of the source for the detector called `name`.

        Parameters
        ----------
        name : str
            The detector's name in the run, e.g. ``"SPB_DET_AGIPD1M-1"``.

        Returns
        -------
        re.Pattern
            To be used with ``fullmatch`` on a source name.

        Examples
        --------
        >>> ControlKey("{detector}/DET/CONTROL", "gainMode").pattern("FXE_XAD_JF1M").pattern
        'FXE_XAD_JF1M/DET/CONTROL'
        """
        text = self.source.replace("{detector}", re.escape(name))
        return re.compile(text.replace("{instrument}", re.escape(name.split("_")[0])))

    def convert(self, value: float, field_name: str) -> float:
        """Return a number read from the run in the unit of `field_name`.

        Parameters
        ----------
        value : float
            As it stands in the run.
        field_name : str
            A key of `CONTROL_FIELDS`.

        Returns
        -------
        float
            In the field's own unit (keV, m, MHz, V or a pure number).

        Examples
        --------
        >>> ControlKey("", "storageCells", add=1).convert(15, "cells")
        16.0
        """
        number = float(value) * self.factor + self.add
        own = CONTROL_FIELDS[field_name]
        return convert(number, self.unit, own, option=self.key) if self.unit and own else number


@dataclass(frozen=True)
class Detector:
    """What a detector's TOML file says; see ``agipd1m.toml`` for what each field means.

    Attributes
    ----------
    module_count : int
        Number of modules; 0 means any number.
    shape, asic : tuple of int
        (slow scan, fast scan) in pixels.
    sensor_material : str
        Chemical symbol or formula.
    sensor_thickness_m : float
    encoding : {"threshold", "code", "word", "plain"}
        Whether plane 1 is compared with two thresholds, or is the gain code itself; whether the words of the
        only plane hold signal and gain code; or whether there is one gain stage, and words are signals. Of
        frames that are calibrated already it is ``"corrected"``; see `corrected`.
    codes : tuple of int
        For ``"code"`` and ``"word"``: the codes of the stages 0, 1, 2, of which the first is 0; every other
        code is invalid.
    adc_bits : int
        Bits of the signal. For ``"word"`` the two above them are the gain code.
    lost_adc, saturated_adc : int
        Likewise: the signal that, with the code of low gain, stands for a lost packet, and with that of
        medium or low gain for a saturated pixel; -1 where there is no such word.
    planes : tuple of str
        Datasets of the raw words; several are stacked on a planes axis. `plane_count` is that axis' length.
    clocks_per_slot : float
        How much of the integration time, in its own unit, fits into a slot of the bunch pattern; 0 where
        that is not known.
    single_cell : int
        The cell that constants with one cell stand for; -1 means cell 0.
    steps : tuple of str
        Steps of the calibration (fields of `shotsieve.constants.steps.Steps`) that exist for this detector.
    control : dict
        Field of the operating mode -> candidates, best first.
    gain_modes : dict
        What the run says (as a string) -> one of `GAIN_MODES`.
    facility_constants : dict
        Type in the facility's constant store -> name in `shotsieve.constants.Constants`.
    facility_repeat_last : tuple of str
        Those types that may have fewer cells: their last cell stands for all later ones.
    """

    name: str
    family: str
    module_count: int
    first_module: int
    shape: tuple[int, int]
    asic: tuple[int, int]
    pixel_size_m: float
    sensor_material: str
    sensor_thickness_m: float
    name_pattern: str
    raw_source_pattern: str
    raw_source: str
    corrected_source_pattern: str
    corrected_source: str
    aggregator: str
    group: str
    layout: str
    planes: tuple[str, ...]
    plane_count: int
    pulse_key: str
    cell_key: str
    encoding: str
    codes: tuple[int, ...]
    adc_bits: int
    lost_adc: int
    saturated_adc: int
    max_cells: int
    row_cells: int
    clocks_per_slot: float
    keep_unit: str
    adc_max: int
    single_cell: int
    signed_gain: bool
    medium_low_ratio: float
    steps: tuple[str, ...]
    gain_modes: dict[str, str]
    facility_type: str
    facility_constants: dict[str, str]
    facility_repeat_last: tuple[str, ...]
    # Not shown: it would make every error text with a detector in it a page long.
    control: dict[str, tuple[ControlKey, ...]] = field(default_factory=dict, repr=False)

    @property
    def pixels(self) -> int:
        """Number of pixels of one module."""
        return self.shape[0] * self.shape[1]

    @property
    def stages(self) -> int:
        """Number of gain stages that a pixel can be in: the length of the gain axis of the constants."""
        return 1 if self.encoding == "plain" else 3

    @property
    def modules(self) -> tuple[int, ...]:
        """Numbers of all modules; empty where the detector has any number of them."""
        return tuple(range(self.first_module, self.first_module + self.module_count))

    @property
    def is_corrected(self) -> bool:
        """Whether frames are calibrated already, and nothing of them is to be calibrated again."""
        return self.encoding == CORRECTED

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in the files, all planes."""
        return (9 if self.is_corrected else 2 * self.plane_count) * self.pixels

    def corrected(self) -> Detector:
        """Return the same detector as its corrected files have it: values, mask and gain stage.

        A block holds them as the bytes of float32, uint32 and uint8 in five planes of 16-bit words; see
        `shotsieve.sources.corrected`.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").corrected().planes
        ('adc', 'mask', 'gain')
        """
        return dataclasses.replace(
            self,
            encoding=CORRECTED,
            codes=(),
            planes=(self.planes[0], "mask", "gain"),
            plane_count=5,
            steps=("round_photons",),
        )

    def gain_mode_name(self, value: object) -> str | None:
        """Return the name of a gain mode as the run's control source gives it, or None if it is not known.

        Parameters
        ----------
        value : int, str or bytes
            E.g. 0 (AGIPD) or ``"fixg1"`` (JUNGFRAU).

        Returns
        -------
        str or None
            One of `GAIN_MODES`.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").gain_mode_name(b"fixg1")
        'fixed_medium'
        """
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        return self.gain_modes.get(str(value))

    def fixed_stage(self, gain_mode: str) -> int:
        """Return the gain stage of a fixed gain mode, or -1 for ``"adaptive"``.

        Parameters
        ----------
        gain_mode : str
            One of `GAIN_MODES`.

        Returns
        -------
        int
            -1, 0, 1 or 2.

        Raises
        ------
        BadInput
            If `gain_mode` is not one of `GAIN_MODES`.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("AGIPD1M").fixed_stage("fixed_medium")
        1
        """
        if gain_mode not in GAIN_MODES:
            hint = nearest(str(gain_mode), GAIN_MODES)
            raise BadInput(f"gain_mode = {gain_mode!r} is not one of {', '.join(GAIN_MODES)}.{hint}")
        return GAIN_MODES.index(gain_mode) - 1

    def default_cell_ids(self, count: int) -> np.ndarray:
        """Return the cell ids that `count` cells of constants stand for when nothing else says so.

        Parameters
        ----------
        count : int
            Length of the constants' cell axis.

        Returns
        -------
        ndarray of int32, shape (count,)

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").default_cell_ids(1)
        array([15], dtype=int32)
        """
        if count == 1 and self.single_cell >= 0:
            return np.array([self.single_cell], np.int32)
        return np.arange(count, dtype=np.int32)


def read(path: Path) -> Detector:
    """Read and check one TOML file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Detector

    Raises
    ------
    BadInput
        If the file cannot be read, or says something the package does not know.

    Examples
    --------
    >>> read(Path(__file__).with_name("agipd1m.toml")).name
    'AGIPD1M'
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"The detector file {path} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"The detector file {path} is not valid TOML: {error}.") from error
    facility = values.pop("facility", {})
    values["facility_type"] = facility.get("type", "")
    values["facility_constants"] = facility.get("constants", {})
    values["facility_repeat_last"] = facility.get("repeat_last", [])
    values["control"] = _control(values.get("control", {}), path)

    fields = {item.name: item for item in dataclasses.fields(Detector)}
    if unknown := [key for key in values if key not in fields]:
        raise BadInput(f"{path}: unknown key {unknown[0]!r}.{nearest(unknown[0], fields)}")
    if missing := [key for key in fields if key not in values]:
        raise BadInput(
            f"{path}: the key {missing[0]!r} is missing; a detector needs all of {', '.join(fields)}."
        )
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = tuple(value)
    detector = Detector(**values)
    check(detector, path)
    return detector


def _control(table: dict, path: Path) -> dict[str, tuple[ControlKey, ...]]:
    known = {item.name for item in dataclasses.fields(ControlKey)}
    result = {}
    for name, candidates in table.items():
        if name not in CONTROL_FIELDS:
            raise BadInput(f"{path}: [[control.{name}]] is not a known field.{nearest(name, CONTROL_FIELDS)}")
        for item in candidates:
            if unknown := [key for key in item if key not in known]:
                hint = nearest(unknown[0], known)
                raise BadInput(f"{path}: unknown key {unknown[0]!r} in [[control.{name}]].{hint}")
        result[name] = tuple(ControlKey(**item) for item in candidates)
    return result
