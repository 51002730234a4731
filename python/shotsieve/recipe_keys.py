"""What a recipe may say: its sections, their keys, and what each value may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from .constants.bad_pixels import read_bits
from .constants.masks import MEANINGS as MASK_MEANINGS
from .constants.steps import Steps
from .detectors import GAIN_MODES
from .filters import COMPRESSIONS
from .keep import WHOLE
from .measure.average import ESTIMATORS
from .measure.pump_probe import MODES
from .sources.annotate import ALIGNMENTS, PATTERNS
from .sources.corrected import KINDS
from .units import Quantity
from .write.content import CONTENTS
from .write.photons import DTYPES as PHOTON_DTYPES


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
    read : callable or None
        Makes the value of what is written, which may be of several kinds; takes it, and what errors call it.
    """

    kind: type
    default: Any = None
    choices: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    required: bool = False
    read: Callable[[Any, str], Any] | None = None


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
            read = read_bits if switch.name == "bad_bits" else None
            keys[switch.name] = Key(hint, int(default) if hint is int else default, read=read)
    return keys


STEP_KEYS = _step_keys()
# Quantities of the operating mode; the unit ends the field's name, as in `OperatingMode`.
MODE_UNITS = {"rate": "mhz", "photon_energy": "kev", "distance": "m"}
ANNOTATE_UNITS = {"reference_rate": "mhz", "reference_distance": "m"}
FRAMES = ("all", "lit", "lit_rows", "super", "super_rows")
PIXEL_UNITS = ("ADU", "keV", "photon", "sigma")
# One entry per section; what is not here is not a section, and what a section does not list is not a key.
SECTIONS: dict[str, dict[str, Key]] = {
    "detector": {
        "name": Key(str),
        "source": Key(str),
        "data": Key(str, choices=KINDS),
        "geometry": Key(str),
        "label": Key(str),
    },
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
        "beside": Key(str),
    },
    "annotate.columns": {},  # named columns, each with its source and key
    "select": {"frames": Key(str, "all", choices=FRAMES), "cells": Key(str), "rule": Key(str)},
    "calibrate": {
        "constants": Key(str),
        "constants_cache": Key(str),
        "gain_mode": Key(str, choices=GAIN_MODES),
        "cells": Key(int),
        "rate": Key(Quantity, units=("MHz",)),
        "integration_time": Key(float),
        "photon_energy": Key(Quantity, units=("keV",)),
        "distance": Key(Quantity, units=("m",)),
        "parallel_gain": Key(bool),
        "memory_cell_order": Key(str),
        "unit": Key(str, choices=("ADU", "keV", "photon")),
        "mask": Key(str),
        "mask_bad": Key(str, choices=MASK_MEANINGS),
        "mask_zero_std": Key(str),
        **STEP_KEYS,
    },
    "measure.lit": {
        "threshold": Key(Quantity, "0.7 photon", units=PIXEL_UNITS),
        "high_threshold": Key(Quantity, units=PIXEL_UNITS),
        "noise": Key(str, "median", choices=("median", "pixel")),
    },
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
    "measure.xcca": {
        "npt": Key(int, 100),
        "npt_chi": Key(int, 360),
        "unit": Key(str, "q_A^-1"),
        "radial_min": Key(float),
        "radial_max": Key(float),
        "splitting": Key(str, "no", choices=("no", "full")),
        "polarisation": Key(float),
        "mask": Key(str),
        "normalise": Key(str, "mean_of_ratios", choices=(*ESTIMATORS, "none")),
        "diagonal": Key(bool, False),
        "average": Key(str),
    },
    "measure.xpcs": {
        "q_edges": Key(str),
        "npt": Key(int, 10),
        "radial_min": Key(float),
        "radial_max": Key(float),
        "unit": Key(str, "q_A^-1", choices=("q_A^-1", "q_nm^-1")),
        "sectors": Key(int, 1),
        "static_q": Key(int, 1),
        "static_phi": Key(int, 1),
        "static_weights": Key(str, "pixels", choices=("pixels", "equal")),
        "mask": Key(str),
        "counts": Key(bool, True),
        "pixels": Key(str, "all_frames", choices=("all_frames", "each_pair")),
        "lags": Key(str, "all", choices=("all", "lumma", "doubling")),
        "two_time": Key(bool, True),
        "strides": Key(str, "1"),
        "weights": Key(str, "intensity", choices=("intensity", "equal")),
        "column": Key(str),
        "least": Key(float),
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
    "measure.average": {"by": Key(str), "bins": Key(str)},
    "measure.roi": {},  # named regions; each is a section of `REGION_KEYS`
    "measure.rings": {
        "number": Key(int, 8),
        "unit": Key(str, "q_A^-1"),
        "low": Key(float),
        "high": Key(float),
    },
    "measure.score": {},  # named scores; each is a section of `SCORE_KEYS`
    "derive": {},  # columns that follow from others, each in a section of its own; see `DERIVED_KEYS`
    "keep": {
        "rule": Key(str, required=True),
        "undecided": Key(str, "keep", choices=("keep", "drop")),
        "misses": Key(float, 0.0),
        "seed": Key(int, 0),
        "whole": Key(str, choices=WHOLE),
    },
    "ledger": {"checksum_inputs": Key(bool, False)},
    "redu": {"modules": Key(str), "threshold": Key(float)},
    "write": {
        "content": Key(str, "corrected", choices=CONTENTS),
        "dtype": Key(str, choices=PHOTON_DTYPES),
        "whole": Key(float),
        "rounding_absolute": Key(Quantity, units=("ADU", "keV", "photon")),
        "rounding_relative": Key(float),
        "compression": Key(str, choices=COMPRESSIONS),
        "modules": Key(str),
        "regions": Key(str),
        "cxi": Key(bool, False),
        "nexus": Key(bool, False),
        "overview": Key(bool, False),
        "others": Key(bool, False),
        "trains_per_file": Key(int, 500),
        "legacy_names": Key(bool, False),
        "drop_cells": Key(bool, False),
    },
}


DERIVED_KEYS: dict[str, Key] = {
    "kind": Key(str, choices=("adaptive", "rank", "scaled", "value", "list"), required=True),
    "of": Key(str),
    "k": Key(float),
    "width": Key(str, "mad", choices=("mad", "quartiles", "lower_quartile")),
    "window": Key(int),
    "around": Key(int),
    "by": Key(str),
    "least": Key(float),
    "per_cell": Key(bool, False),
    "file": Key(str),
}
# What a derived column of each kind needs, and may have beside.
DERIVED_NEEDS = {
    "adaptive": (("of", "k"), ("width", "window", "around", "per_cell")),
    "rank": (("of",), ("window", "per_cell")),
    "scaled": (("of", "by"), ("least", "around")),
    "value": (("of",), ()),
    "list": (("file",), ()),
}
SCORE_KEYS: dict[str, Key] = {
    "map": Key(str, required=True),
    "of": Key(str, "photons", choices=("photons", "values")),
}
REGION_KINDS = ("rectangle", "strips", "ring", "sector", "polygon", "mask", "projection")
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
    "strips": (("fs_start", "fs_stop"), ("module",)),
    "ring": (("low", "high"), ("unit",)),
    "sector": (("low", "high", "chi_low", "chi_high"), ("unit",)),
    "polygon": (("vertices",), ()),
    "mask": (("mask",), ()),
    "projection": (("axis", "ss_start", "ss_stop", "fs_start", "fs_stop"), ("module",)),
}
# Sections of sections, each with a name: what a name is of, and the keys of each.
NAMED = {
    "measure.roi": ("region", REGION_KEYS),
    "measure.score": ("score", SCORE_KEYS),
    "derive": ("column", DERIVED_KEYS),
}
