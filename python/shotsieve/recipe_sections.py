"""What a recipe may say: its sections, their keys and defaults, and the dataclass of each section."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_type_hints

from .constants.steps import Steps
from .detectors import GAIN_MODES
from .measure.average import ESTIMATORS
from .measure.pump_probe import MODES
from .sources.annotate import ALIGNMENTS, PATTERNS
from .units import Quantity


@dataclass(frozen=True)
class Key:
    """What one key of a section may hold.

    Attributes
    ----------
    kind : type
        str, bool, int, float, or Quantity for a text such as ``"9.3 keV"``.
    default : object
        Value where the recipe is silent; None means "not set: taken from the run, or not used".
    choices : tuple of str
        The allowed words of a text.
    units : tuple of str
        The allowed units of a quantity.
    required : bool
        Whether the section is worthless without it.
    """

    kind: type
    default: Any = None
    choices: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    required: bool = False


def _step_keys() -> dict[str, Key]:
    """Make one key for each switch of `Steps`, so that a switch is named in one place only."""
    hints = get_type_hints(Steps)
    keys = {}
    for switch in fields(Steps):
        default = switch.default if switch.default is not MISSING else switch.default_factory()
        hint = hints[switch.name]
        if hint == float | None:  # a level that may be off: it counts raw words, so the unit is written out
            shown = None if default is None else f"{default:g} ADU"
            keys[switch.name] = Key(Quantity, shown, units=("ADU",))
        else:
            keys[switch.name] = Key(hint, int(default) if hint is int else default)
    return keys


STEP_KEYS = _step_keys()
# Quantities of the operating mode; the unit ends the field's name, as in `OperatingMode`.
MODE_UNITS = {"rate": "mhz", "photon_energy": "kev", "distance": "m"}
ANNOTATE_UNITS = {"reference_rate": "mhz", "reference_distance": "m"}
FRAMES = ("all", "lit", "lit_rows", "super", "super_rows")
PIXEL_UNITS = ("ADU", "keV", "photon", "sigma")
# One entry per section; what is not here is not a section, and what a section does not list is not a key.
SECTIONS: dict[str, dict[str, Key]] = {
    "detector": {"name": Key(str), "source": Key(str), "geometry": Key(str)},
    "annotate": {
        "pattern": Key(str, "auto", choices=PATTERNS),
        "align": Key(str, "first_pulse", choices=ALIGNMENTS),
        "reference_frame": Key(int, 1),
        "reference_delay": Key(float),
        "reference_rate": Key(Quantity, units=("MHz",)),
        "reference_distance": Key(Quantity, units=("m",)),
        "trigger": Key(str),
        "stride": Key(int),
        "exposure": Key(int),
        "guess_missing": Key(bool, False),
        "time_server": Key(str),
        "litfrm": Key(str),
        "xgm": Key(str),
        "laser": Key(str),
        "laser_position": Key(int),
        "laser_offset": Key(int),
        "laser_pulse_offset": Key(float),
        "delay": Key(str),
    },
    "annotate.columns": {},  # named columns, each with its source and key
    "select": {"frames": Key(str, "all", choices=FRAMES), "cells": Key(str), "rule": Key(str)},
    "calibrate": {
        "constants": Key(str),
        "gain_mode": Key(str, choices=GAIN_MODES),
        "cells": Key(int),
        "rate": Key(Quantity, units=("MHz",)),
        "integration_time": Key(float),
        "photon_energy": Key(Quantity, units=("keV",)),
        "distance": Key(Quantity, units=("m",)),
        "unit": Key(str, choices=("ADU", "keV", "photon")),
        **STEP_KEYS,
    },
    "measure.lit": {"threshold": Key(Quantity, "0.7 photon", units=PIXEL_UNITS)},
    "measure.peaks": {
        "threshold": Key(Quantity, units=PIXEL_UNITS, required=True),
        "min_snr": Key(float, 5.0),
        "min_pix_count": Key(int, 2),
        "max_pix_count": Key(int, 200),
        "local_bg_radius": Key(int, 3),
        "min_res": Key(float, 0.0),
        "max_res": Key(float, 0.0),
        "max_num_peaks": Key(int, 2048),
        "noise_floor": Key(Quantity, units=PIXEL_UNITS),
        "radius": Key(str, "float", choices=("float", "crystfel")),
        "panels": Key(str, "geometry"),
        "mask": Key(str),
    },
    "measure.azint": {
        "npt": Key(int, 500),
        "unit": Key(str, "q_A^-1"),
        "radial_min": Key(float),
        "radial_max": Key(float),
        "splitting": Key(str, "no", choices=("no", "full")),
        "solid_angle": Key(bool, True),
        "polarisation": Key(float),
        "absorption": Key(float),
        "error_model": Key(str, "none", choices=("none", "poisson", "detector", "azimuthal")),
        "read_noise": Key(Quantity, units=PIXEL_UNITS),
        "mask": Key(str),
        "normalise": Key(str),
        "estimator": Key(str, "ratio_of_sums", choices=ESTIMATORS),
        "average": Key(str),
        "per_shot": Key(bool, True),
    },
    "measure.pump_probe": {
        "mode": Key(str, "laser", choices=MODES),
        "on": Key(str, ":"),
        "off": Key(str, ":"),
        "reference": Key(str),
        "delay": Key(str),
        "delay_bins": Key(str),
        "normalise": Key(str),
        "estimator": Key(str, "ratio_of_sums", choices=ESTIMATORS),
        "subtract_dark": Key(bool, False),
        "frames": Key(bool, False),
    },
    "measure.average": {"by": Key(str)},
    "measure.roi": {},  # named regions; each is a section of `REGION_KEYS`
    "keep": {
        "rule": Key(str, required=True),
        "undecided": Key(str, "keep", choices=("keep", "drop")),
        "misses": Key(float, 0.0),
        "seed": Key(int, 0),
    },
    "write": {"content": Key(str, "corrected", choices=("corrected", "raw")), "cxi": Key(bool, False)},
}


REGION_KINDS = ("rectangle", "ring", "sector", "polygon", "mask", "projection")
PLACED_KINDS = ("ring", "sector", "polygon")  # they need to know where the pixels are
REGION_KEYS: dict[str, Key] = {
    "kind": Key(str, choices=REGION_KINDS, required=True),
    "module": Key(int),
    "ss_start": Key(int),
    "ss_stop": Key(int),
    "fs_start": Key(int),
    "fs_stop": Key(int),
    "unit": Key(str, "q_A^-1"),
    "low": Key(float),
    "high": Key(float),
    "chi_low": Key(float),
    "chi_high": Key(float),
    "vertices": Key(str),
    "mask": Key(str),
    "axis": Key(str, choices=("ss", "fs")),
}
# What a region of each kind needs, and may have beside.
REGION_NEEDS = {
    "rectangle": (("ss_start", "ss_stop", "fs_start", "fs_stop"), ("module",)),
    "ring": (("low", "high"), ("unit",)),
    "sector": (("low", "high", "chi_low", "chi_high"), ("unit",)),
    "polygon": (("vertices",), ()),
    "mask": (("mask",), ()),
    "projection": (("axis", "ss_start", "ss_stop", "fs_start", "fs_stop"), ("module",)),
}


@dataclass(frozen=True)
class Detector:
    """``[[detector]]``: which detector of the run; None means found in the run."""

    name: str | None = None
    source: str | None = None
    geometry: str | None = None


@dataclass(frozen=True)
class Select:
    """``[select]``: which shots are read at all; see `shotsieve.select`.

    Attributes
    ----------
    frames : {"all", "lit", "lit_rows", "super", "super_rows"}
    cells : str or None
        Memory cells as ranges: ``"1:64, 100"``.
    rule : str or None
        Over columns that are known before anything is read.
    """

    frames: str = "all"
    cells: str | None = None
    rule: str | None = None


@dataclass(frozen=True)
class Calibrate:
    """``[calibrate]``: constants, the operating mode where it overrides the run's, and the switches.

    Attributes
    ----------
    constants : str or None
        As written; `Recipe.constants_path` is the file.
    gain_mode, cells, rate_mhz, integration_time, photon_energy_kev, distance_m
        What overrides the run's control sources, None where it does not; named as in `OperatingMode`.
    unit : str or None
        Unit of the output that was asked for; None leaves it to the steps.
    steps : Steps
        Every switch of the calibration.
    """

    constants: str | None = None
    gain_mode: str | None = None
    cells: int | None = None
    rate_mhz: float | None = None
    integration_time: float | None = None
    photon_energy_kev: float | None = None
    distance_m: float | None = None
    unit: str | None = None
    steps: Steps = field(default_factory=Steps)

    def mode_overrides(self) -> dict[str, Any]:
        """Return the fields of `OperatingMode` that the recipe sets, by name."""
        names = ("gain_mode", "cells", "rate_mhz", "integration_time", "photon_energy_kev", "distance_m")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Lit:
    """``[measure.lit]``: a pixel strictly above `threshold` is lit."""

    threshold: Quantity


@dataclass(frozen=True)
class Peaks:
    """``[measure.peaks]``: Bragg peaks; see `shotsieve.measure.peaks.PeakParams` for what is not here.

    Attributes
    ----------
    threshold : Quantity
        Lowest value of a strong pixel.
    noise_floor : Quantity or None
        Noise added to that of the background; None is none.
    radius : {"float", "crystfel"}
        How the radius map is made from the geometry.
    panels : str
        ``"geometry"``, ``"modules"`` or a size such as ``"512x128"`` (slow scan, fast scan) that divides the
        modules.
    mask : str or None
        NumPy file of bool, True where a pixel may be used; as written, see `Recipe.path_of`.
    """

    threshold: Quantity
    min_snr: float = 5.0
    min_pix_count: int = 2
    max_pix_count: int = 200
    local_bg_radius: int = 3
    min_res: float = 0.0
    max_res: float = 0.0
    max_num_peaks: int = 2048
    noise_floor: Quantity | None = None
    radius: str = "float"
    panels: str = "geometry"
    mask: str | None = None


@dataclass(frozen=True)
class Azint:
    """``[measure.azint]``: azimuthal integration; see `shotsieve.measure.azint_params.AzintParams`.

    Attributes
    ----------
    radial_min, radial_max : float or None
        Both or none; in the unit of the axis.
    error_model : {"none", "poisson", "detector", "azimuthal"}
        ``poisson`` counts photons, also where values are in keV; ``detector`` adds the read noise.
    read_noise : Quantity or None
        Of one pixel.
    mask : str or None
        NumPy file of bool, True where a pixel may be used; as written, see `Recipe.path_of`.
    normalise : str or None
        Column that profiles are divided by, such as ``"pulse_energy"``.
    estimator : {"ratio_of_sums", "mean_of_ratios"}
        How averages are made.
    average : str or None
        ``"train"``, ``"cell"`` or a column: averages are made for each of its values, beside that of the run.
    per_shot : bool
        Write the profile of every shot.
    """

    npt: int = 500
    unit: str = "q_A^-1"
    radial_min: float | None = None
    radial_max: float | None = None
    splitting: str = "no"
    solid_angle: bool = True
    polarisation: float | None = None
    absorption: float | None = None
    error_model: str = "none"
    read_noise: Quantity | None = None
    mask: str | None = None
    normalise: str | None = None
    estimator: str = "ratio_of_sums"
    average: str | None = None
    per_shot: bool = True


@dataclass(frozen=True)
class Region:
    """``[measure.roi.NAME]``: one region of interest; see `shotsieve.measure.regions`.

    Attributes
    ----------
    kind : {"rectangle", "ring", "sector", "polygon", "mask", "projection"}
    module : int or None
        Number of the module that a rectangle counts in; None counts in the slab.
    vertices : str or None
        x and y in mm in the laboratory: ``"-5 -5, 5 -5, 5 5, -5 5"``.
    mask : str or None
        NumPy file of bool, True inside; as written, see `Recipe.path_of`.
    axis : {"ss", "fs"} or None
        Which axis of a rectangle a projection keeps.
    """

    kind: str
    module: int | None = None
    ss_start: int | None = None
    ss_stop: int | None = None
    fs_start: int | None = None
    fs_stop: int | None = None
    unit: str = "q_A^-1"
    low: float | None = None
    high: float | None = None
    chi_low: float | None = None
    chi_high: float | None = None
    vertices: str | None = None
    mask: str | None = None
    axis: str | None = None


@dataclass(frozen=True)
class PumpProbe:
    """``[measure.pump_probe]``: what is measured, with and without the pump.

    Attributes
    ----------
    mode, on, off : str
        See `shotsieve.measure.pump_probe.PumpProbeParams`.
    reference : str or None
        NumPy file of a calibrated frame that stands for what is not pumped; as written, see `Recipe.path_of`.
    delay : str or None
        Column whose values make the bins.
    delay_bins : str or None
        Edges of the bins, ``"-1 0 1 2"``; None makes a bin of each value.
    normalise : str or None
        Column that shots are divided by, such as ``"pulse_energy"``.
    estimator : {"ratio_of_sums", "mean_of_ratios"}
    subtract_dark : bool
        Subtract the average of the shots without X-rays.
    frames : bool
        Average the frames too.
    """

    mode: str = "laser"
    on: str = ":"
    off: str = ":"
    reference: str | None = None
    delay: str | None = None
    delay_bins: str | None = None
    normalise: str | None = None
    estimator: str = "ratio_of_sums"
    subtract_dark: bool = False
    frames: bool = False


@dataclass(frozen=True)
class FrameAverage:
    """``[measure.average]``: statistics of the frames.

    Attributes
    ----------
    by : str or None
        ``"cell"``, ``"train"`` or a column that is known beforehand: a group for each of its values.
    """

    by: str | None = None


@dataclass(frozen=True)
class Measure:
    """``[measure.*]``: what is measured on every shot; None where it is not computed."""

    lit: Lit | None = None
    peaks: Peaks | None = None
    azint: Azint | None = None
    pump_probe: PumpProbe | None = None
    average: FrameAverage | None = None
    roi: dict[str, Region] | None = None


@dataclass(frozen=True)
class Keep:
    """``[keep]``: the rule, and what else is kept; see `shotsieve.keep.Keeper`."""

    rule: str
    undecided: str = "keep"
    misses: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Write:
    """``[write]``: what is written of the kept shots.

    Attributes
    ----------
    content : {"corrected", "raw"}
        Frames of the EuXFEL files.
    cxi : bool
        Also one CXI file with frames and peaks for CrystFEL.
    """

    content: str = "corrected"
    cxi: bool = False
