"""Checks of the parameters of a simulation: a wrong wish is an error that names the option."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from .. import detectors
from ..errors import nearest
from .detector import STAGES
from .kinds import KINDS
from .options import RUN_RANGES, check_numbers, check_split_at, check_whole, refuse

if TYPE_CHECKING:
    from .parameters import SpiParameters

STRIDES = {4.5: 1, 2.2: 2, 1.1: 4, 0.5: 8}
BUNCH_SLOTS = 2700
PATTERN_SOURCES = ("pipeline", "control", "decoder")
PUMPS = ("none", "every", "even_pulses", "odd_pulses", "even_trains")


def _check_detector(p: SpiParameters) -> None:
    """Fill in name and modules where they are left to the detector, and check what it can do."""
    if p.detector not in KINDS:
        refuse(
            "detector", p.detector, f"it must be one of {', '.join(KINDS)}.{nearest(str(p.detector), KINDS)}"
        )
    kind, known = KINDS[p.detector], detectors.load(p.detector)
    for option, usual in (("detector_name", kind.detector_name), ("modules", known.modules)):
        if not getattr(p, option):
            object.__setattr__(p, option, usual)
    name = p.detector_name
    if p.instrument is None or "/" in name or not re.fullmatch(known.name_pattern, name):
        refuse("detector_name", name, f"it must look like {kind.detector_name!r}")
    if p.parallel_gain and "parallel_gain" not in known.control:
        refuse("parallel_gain", True, f"{p.detector} has no parallel gain")
    if kind.chip is not None and p.gain_mode in STAGES and p.gain_mode != "adaptive":
        refuse("gain_mode", p.gain_mode, f"{p.detector} is simulated with the gain that it chooses itself")
    if kind.chip is not None and p.common_mode_adu:
        refuse("common_mode_adu", p.common_mode_adu, "a common mode is simulated at AGIPD alone")


def check(p: SpiParameters) -> None:
    """Fill in what is left to the detector, and raise `BadInput` for the first option that cannot be met.

    Parameters
    ----------
    p : SpiParameters
    """
    _check_detector(p)
    whole = (
        ("n_trains", 1, 10**7),
        ("n_cells", 1, p.max_cells),
        ("reference_frame", 0, p.max_cells),
        ("integration_time", 1, 10**5),
        ("sequence_overlap", 0, 10**7),
        ("first_slot", 10, BUNCH_SLOTS),
        ("pulses_per_frame", 1, 8),
        *RUN_RANGES,
    )
    check_whole(p, whole)
    numbers = (
        ("hit_rate", 0, 1),
        ("bad_fraction", 0, 0.5),
        ("background", 1e-9, 1e3),
        ("radius_nm", 1e-3, 1e4),
        ("size_jitter", 0, 0.2),
        ("pulse_energy_uj", 1e-3, 1e5),
        ("energy_jitter", 0, 1),
        ("photon_energy_kev", 0.2, 100),
        ("distance_m", 0.05, 100),
        ("mg_baseline", -1000, 1000),
        ("common_mode_adu", 0, 1000),
        ("pump_effect", -1, 10),
        *p.OWN_RANGES,
    )
    check_numbers(p, numbers)
    if p.rate_mhz not in STRIDES:
        refuse("rate_mhz", p.rate_mhz, "the detector knows " + ", ".join(map(str, STRIDES)))
    if p.gain_mode not in STAGES:
        refuse(
            "gain_mode",
            p.gain_mode,
            f"it must be one of {', '.join(STAGES)}.{nearest(str(p.gain_mode), STAGES)}",
        )
    for name, allowed in (("pattern_source", PATTERN_SOURCES), ("pump", PUMPS)):
        value = getattr(p, name)
        if value not in allowed:
            refuse(name, value, f"it must be one of {', '.join(allowed)}.{nearest(str(value), allowed)}")
    if p.constants_dtype not in ("f4", "f8"):
        refuse("constants_dtype", p.constants_dtype, "it must be 'f4' or 'f8'")
    low, high = p.photons_per_hit if len(p.photons_per_hit) == 2 else (math.nan, math.nan)
    if not 0 < low <= high < 1e9:
        refuse("photons_per_hit", p.photons_per_hit, "it must be two numbers 0 < low <= high < 1e9")
    _check_cells(p)
    _check_modules_and_trains(p)


def _check_cells(p: SpiParameters) -> None:
    cells = p.cells
    if not cells or len(set(cells)) != len(cells) or min(cells) < 0 or max(cells) >= p.max_cells:
        refuse("cell_ids", p.cell_ids, f"it must be different cells from 0 to {p.max_cells - 1}")
    if p.frames[-1] * p.stride + p.first_slot + 4 * p.stride >= BUNCH_SLOTS:
        refuse("rate_mhz", p.rate_mhz, f"{p.frames[-1] + 1} frames at this rate do not fit into a train")
    at_reference = [c for c, f in zip(cells, p.frames, strict=True) if f == p.reference_frame]
    for option in ("dark_cells", "later_dark_cells"):
        given = getattr(p, option)
        for cell in given:
            if cell not in cells:
                refuse(option, given, f"cell {cell} is not recorded (cells are {cells})")
            if cell in at_reference:
                refuse(option, given, f"cell {cell} holds the first pulse; move it with reference_frame")
    if p.pulses_per_frame > 1 and p.pulses_per_frame >= p.stride:
        refuse("pulses_per_frame", p.pulses_per_frame, f"at this rate a frame takes {p.stride} slots")
    if p.constants_cells is not None and not 1 <= p.constants_cells <= p.max_cells:
        refuse("constants_cells", p.constants_cells, f"it must be from 1 to {p.max_cells}")
    without = p.constants_without_cells
    for cell in without:
        if not 0 <= cell < p.cells_with_constants:
            refuse("constants_without_cells", without, f"the constants have no cell {cell}")
    if len(set(without)) >= p.cells_with_constants:
        refuse("constants_without_cells", without, "at least one cell must have constants")


def _check_modules_and_trains(p: SpiParameters) -> None:
    modules = p.modules
    last = detectors.load(p.detector).modules[-1]
    if not modules or sorted(set(modules)) != list(modules) or modules[0] < 0 or modules[-1] > last:
        refuse("modules", modules, f"it must be ascending module numbers from 0 to {last}")
    if not p.written_modules:
        refuse("missing_modules", p.missing_modules, "at least one module must be left")
    for name in ("missing_modules", "missed_trains", "short_trains", "suspect"):
        for entry in getattr(p, name):
            module = entry if name == "missing_modules" else entry[0]
            if module not in modules:
                refuse(name, getattr(p, name), f"module {module} is not simulated (modules are {modules})")
    trains = [("empty_trains", t) for t in p.empty_trains] + [("suspect_trains", t) for t in p.suspect_trains]
    trains += [(n, t) for n in ("dark_trains", "litfrm_misses") for t in getattr(p, n)]
    trains += [("later_from", p.later_from)] if p.later_from is not None else []
    trains += [("missed_trains", e[1]) for e in p.missed_trains] + [("suspect", e[1]) for e in p.suspect]
    trains += [("short_trains", e[1]) for e in p.short_trains]
    for name, train in trains:
        if not 0 <= train < p.n_trains:
            refuse(name, getattr(p, name), f"trains are counted from 0 to {p.n_trains - 1}")
    for _, _, frames in p.short_trains:
        if not 0 < frames < len(p.cells):
            refuse(
                "short_trains", p.short_trains, f"the number of frames must be from 1 to {len(p.cells) - 1}"
            )
    if len(set(p.empty_trains)) == p.n_trains:
        refuse("empty_trains", p.empty_trains, "at least one train must have frames")
    check_split_at(p)
