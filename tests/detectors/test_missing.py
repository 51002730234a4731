"""Cells and modules without constants, modules that missed a train: unknown on every detector and backend."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.constants import BadPixels, Constants
from shotsieve.sources.base import OperatingMode
from shotsieve.sources.memory import MemorySource
from shotsieve.table import ModuleStatus

IN_PARALLEL = " in parallel gain"
NAMES = (
    "AGIPD1M",
    "AGIPD500K",
    "LPD1M",
    "LPD1M" + IN_PARALLEL,
    "LPDMINI",
    "DSSC1M",
    "JUNGFRAU",
    "EPIX100",
    "GOTTHARD2",
)
OFFSET, LIT_ADU, PIXELS = 40, 50, (8, 128)
TRAINS = 3


def detector_of(name):
    """A detector with few pixels and, where it had one, two modules."""
    detector = detectors.load(name.removesuffix(IN_PARALLEL))
    shape = PIXELS if detector.dimensions == 2 else (1, PIXELS[1])
    detector = dataclasses.replace(detector, shape=shape, module_count=2, edge_rows=(0, 0))
    return detector.in_parallel_gain() if name.endswith(IN_PARALLEL) else detector


def constants_of(detector, modules, cells):
    """Constants of nothing but an offset and one ADU per keV."""
    one = np.ones((detector.stages, len(cells), *detector.shape))
    arrays = {"offset": OFFSET * one, "adu_per_kev": one}
    if detector.encoding in ("threshold", "parallel"):
        arrays["thresholds"] = np.stack([7000 * one[0], 9000 * one[0]])
        arrays["noise"] = one
    arrays |= {name: one for name in ("relative_gain", "ff_map", "gain_amp_map") if name in detector.steps}
    if "adjust_mg_baseline" in detector.steps:
        arrays["mg_baseline"] = np.zeros_like(one[:1])
    if "linearise" in detector.steps:
        words = np.arange(4096, dtype="u2").reshape(4096, 1, 1, 1)
        arrays["linearisation"] = np.broadcast_to(words, (4096, *one.shape[1:]))
    every = {name: dict.fromkeys(modules, array) for name, array in arrays.items()}
    return Constants.from_arrays(detector, every, modules=modules, cell_ids=cells)


def masks_of(path):
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append(item[()]) if name.endswith("/mask") else None)
    return found[0]


@pytest.fixture(params=NAMES)
def run(request):
    """A run of two modules whose second has no constants and missed the second train; shot k has k + 1 lit
    pixels; of its memory cells the last has no constants where there are several.
    """
    detector = detector_of(request.param)
    cells = min(3, detector.max_cells)
    shots, first = TRAINS * cells, detector.first_module
    frames = np.full((shots, 2, detector.plane_count, *detector.frame_shape), OFFSET, "u2")
    if detector.encoding in ("threshold", "code"):
        frames[:, :, -1] = 6000 if detector.encoding == "threshold" else 0
    for shot in range(shots):
        frames[shot, :, 0].reshape(2, -1)[:, : shot + 1] += LIT_ADU
    train, cell = np.repeat(np.arange(10, 10 + TRAINS), cells), np.tile(np.arange(cells), TRAINS)
    present = np.ones((shots, 2), bool)
    present[train == 11, 1] = False
    mode = OperatingMode(gain_mode="adaptive", photon_energy_kev=10.0)
    known = np.arange(max(1, cells - 1))
    return SimpleNamespace(
        detector=detector,
        source=MemorySource(
            detector, frames, train, cell, cell, modules=(first, first + 1), present=present, mode=mode
        ),
        constants=constants_of(detector, (first,), known),
        has=np.isin(cell, known),
        present=present,
        shots=shots,
    )


def test_a_reduction_keeps_what_is_unknown(any_backend, run, tmp_path):
    recipe = {
        "calibrate": {
            "unit": "keV",
            **({"common_mode": False} if "common_mode" in run.detector.steps else {}),
        },
        "measure": {"lit": {"threshold": "30 keV"}},
        "keep": {"rule": f"lit_pixels[{run.source.modules[0]}] > 100000"},
        "write": {"content": "corrected"},
    }
    result = shotsieve.reduce(run.source, recipe, tmp_path / "o", constants=run.constants, backend="cpu")
    status, first = result.table.module_status, np.where(run.has, ModuleStatus.OK, ModuleStatus.NO_CONSTANTS)
    np.testing.assert_array_equal(status[:, 0], first)
    np.testing.assert_array_equal(
        status[:, 1], np.where(run.present[:, 1], ModuleStatus.NO_CONSTANTS, ModuleStatus.MISSING)
    )
    lit = result.table.measures["lit_pixels"]
    np.testing.assert_array_equal(lit[:, 0][run.has], np.arange(1, run.shots + 1)[run.has])
    low, high = result.table.bounds(f"lit_pixels[{run.source.modules[0]}]")
    assert (low[run.has] == high[run.has]).all()
    # Nothing is known of the others: they are undecided, and kept.
    assert (high[~run.has] > low[~run.has]).all()
    kept = ~run.has if run.detector.keep_unit == "shot" else np.full(run.shots, not run.has.all())
    np.testing.assert_array_equal(result.table.fate == 0, kept)
    assert any(f"no constants for module {run.source.modules[1]}" in note for note in result.accounts.notes)
    for place, path in enumerate(sorted(result.files)):
        known = run.has[kept & run.present[:, place]] & (place == 0)
        masks = masks_of(path).reshape(len(known), run.detector.pixels)
        assert ((masks == BadPixels.NO_DARK_DATA) == ~known[:, None]).all()


def test_arrays_of_ones_own_have_no_value(any_backend, run):
    calibrate = shotsieve.Calibrator(
        run.constants,
        modules=run.source.modules,
        gain_mode="adaptive",
        unit="keV",
        lit_threshold=30.0,
        photon_energy_kev=10.0,
        backend=any_backend,
    )
    raw = np.empty((run.shots, 2, run.detector.plane_count, *run.detector.frame_shape), "u2")
    run.source.read(0, run.shots, raw)
    found = calibrate(raw, run.source.shots.cell_id, outputs=("data", "mask", "lit_pixels"))
    has = np.stack([run.has, np.zeros(run.shots, bool)], axis=1)
    np.testing.assert_array_equal(np.asarray(found.known), has)
    data, mask = np.asarray(found.data), np.asarray(found.mask)
    assert np.isnan(data[~has]).all()
    assert (mask[~has] == BadPixels.NO_DARK_DATA).all()
    assert (mask[has] == 0).all()
    assert set(np.unique(data[has]).tolist()) == {0.0, float(LIT_ADU)}
    np.testing.assert_array_equal(
        np.asarray(found.lit_pixels)[:, 0][run.has], np.arange(1, run.shots + 1)[run.has]
    )
