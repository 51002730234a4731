"""Constants, broken ones among them, through folding and kernel: every backend against both oracles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from kernels import Case, calibrate
from shotsieve.calibrate import CalibrateParams
from shotsieve.constants import Steps
from shotsieve.folded_tables import make_tables
from shotsieve.frame_masks import make_masks
from shotsieve.reference.calibrate import calibrate_count_folded, calibrate_unfolded

# Cells 5, 7 and 250 of the run have constants; 351 lies beyond them and must never pass through.
CELLS = np.array([5, 7, 250], "i4")
SHOT_CELLS = np.array([250, 5, 351, 7, 7, 5, 250, 351], "i4")
WORDS = ("medium_code", "low_code", "lost_adc", "saturated_adc", "adc_bits", "zero_adc")
CALIBRATIONS = {
    "usual": (Steps(), "adaptive", None),
    "forced": (Steps(force_mg_if_below=1000.0, force_hg_if_below=1000.0), "adaptive", None),
    "forced from medium": (Steps(force_hg_if_below=999.5, force_hg_reference="mg"), "adaptive", None),
    "photons": (Steps(round_photons=True, rounding_threshold=0.7), "adaptive", 9.3),
    "ADU": (Steps(relative_gain=False, adjust_mg_baseline=False, xray_gain=False), "adaptive", None),
    "raw": (
        Steps(offset=False, relative_gain=False, adjust_mg_baseline=False, xray_gain=False),
        "adaptive",
        None,
    ),
    "fixed": (Steps(), "fixed_medium", None),
    "some bits": (Steps(bad_bits=0x0000FFFF, value_limit=1000.0), "adaptive", None),
}


@pytest.mark.parametrize(
    "name", ["agipd", "jungfrau", "plain", "lpd", "parallel", "dssc", "epix100", "gotthard2"]
)
@pytest.mark.parametrize("calibration", CALIBRATIONS.values(), ids=CALIBRATIONS.keys())
def test_every_backend_gives_the_bits_of_the_reference_and_the_masks_of_the_oracle(
    request, native_backend, make_constants, make_words, name, calibration, rng
):
    detector = request.getfixturevalue(name)
    steps, gain_mode, energy = calibration
    steps = dataclasses.replace(steps, linearise=False)  # words become words: tests/native/test_linearise.py
    if name in ("plain", "dssc", "epix100"):
        gain_mode = "fixed_high"
    elif name == "parallel":
        gain_mode = "adaptive"
    if not steps.offset:
        steps = dataclasses.replace(steps, ff_map=False, gain_amp_map=False)
    elif energy and name in ("lpd", "dssc"):
        steps = dataclasses.replace(steps, adu_per_photon=14.25)
    unit = "photon" if energy else steps.unit()
    constants = make_constants(detector, rng, len(CELLS))
    constants = type(constants).from_arrays(
        detector,
        {key: constants.load(key, 0)[None] for key in constants.names},
        modules=[0],
        cell_ids=CELLS,
    )
    words = make_words(detector, rng, len(SHOT_CELLS))
    tables = make_tables(constants, detector, (0,), SHOT_CELLS, steps, unit, energy, gain_mode)
    rows = tables.rows(SHOT_CELLS)
    assert ((rows[:, 0] < 0) == (SHOT_CELLS == 351)).all()
    params = CalibrateParams.from_steps(steps, detector, gain_mode, 0.7, 0.1).kernel_args()
    present = np.ones((len(words), 1), bool)
    found = calibrate(native_backend, Case(words[:, None], rows, present, tables.table, params))

    wanted = calibrate_count_folded(words, rows[:, 0], tables.table, **params)
    np.testing.assert_array_equal(found["counts"], wanted.counts)
    np.testing.assert_array_equal(found["stage"], wanted.stage)
    np.testing.assert_array_equal(found["pixels"].view("u4"), wanted.pixels.view("u4"))

    applied = steps.for_detector(detector)
    index = np.searchsorted(CELLS, SHOT_CELLS)
    oracle = calibrate_unfolded(
        words,
        np.where(SHOT_CELLS == 351, -1, index),
        encoding=params["encoding"],
        fixed_stage=params["fixed_stage"],
        **{key: params[key] for key in WORDS},
        subtract_offset=applied.offset,
        signed_gain=detector.signed_gain,
        low_medium_gap=applied.low_medium_gap,
        force_mg_if_below=applied.force_mg_if_below,
        force_hg_if_below=applied.force_hg_if_below,
        force_hg_reference=applied.force_hg_reference,
        set_min=applied.set_min,
        round_photons=applied.round_photons,
        rounding_threshold=applied.rounding_threshold,
        value_limit=applied.value_limit,
        photon_energy_kev=energy,
        bad_bits=applied.bad_bits,
        adu_per_photon=applied.adu_per_photon,
        **{
            argument: constants.load(key, 0).reshape(-1, len(CELLS), detector.pixels)
            if used and constants.has(key)
            else None
            for argument, key, used in (
                ("offset", "offset", True),
                ("thresholds", "thresholds", True),
                ("relative_gain", "relative_gain", applied.relative_gain),
                ("mg_baseline", "mg_baseline", applied.adjust_mg_baseline),
                ("ff_map", "ff_map", applied.ff_map),
                ("gain_amp_map", "gain_amp_map", applied.gain_amp_map),
                ("noise", "noise", True),
                ("adu_per_kev", "adu_per_kev", applied.xray_gain and applied.adu_per_photon is None),
                ("bad_pixels", "bad_pixels", True),
            )
        },
    )
    np.testing.assert_array_equal(found["stage"] & 3, oracle.stage)
    masks = make_masks(found["stage"].reshape(len(words), 1, -1), rows, tables)[:, 0]
    static_bad = (oracle.mask & ~oracle.found & np.uint32(steps.bad_bits)) != 0
    sure = ~static_bad & ~near_the_limit(found["pixels"], oracle.pixels, steps.value_limit)
    np.testing.assert_array_equal(masks[sure], oracle.mask[sure])
    # A bad pixel has no value in the folded way, so what its value would have shown is not in its mask.
    np.testing.assert_array_equal(masks[static_bad] & ~oracle.mask[static_bad], 0)
    static = oracle.mask & ~oracle.found
    np.testing.assert_array_equal(masks[static_bad] & static[static_bad], static[static_bad])


def near_the_limit(found: np.ndarray, wanted: np.ndarray, limit: float) -> np.ndarray:
    """Where one side may say out of range and the other not, since float32 rounds."""
    with np.errstate(invalid="ignore"):
        return np.abs(np.fmax(np.abs(found), np.abs(wanted)) - limit) <= limit * 2.0**-20
