"""Whole photons of frames in memory: what a reduction writes as ``[write] content = "photons"``."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.constants import BadPixels, Constants, Steps
from shotsieve.errors import BadInput
from shotsieve.sources.run import open_run

MODULES, ENERGY = (3, 4), 9.3
WHOLE = ("photon_counts", "mask", "sparse_mask", "gain")


@pytest.fixture(scope="module")
def frames(simulated):
    """Raw words of a run, their memory cells, and the constants."""
    sim = simulated("usual")
    source = open_run(sim.raw)
    raw = np.zeros((len(source.shots), len(source.modules), 2, 512, 128), "u2")
    source.read(0, len(raw), raw)
    places = [source.modules.index(module) for module in MODULES]
    constants = Constants.open(sim.constants, source.detector)
    return np.ascontiguousarray(raw[:, places]), source.shots.cell_id, constants


@pytest.fixture(scope="module")
def written(simulated, make_recipe, read_module, tmp_path_factory):
    """``written(dtype, threshold, unit)``: images of a reduction to photons, and their sums."""
    made = {}

    def get(*told):
        if told not in made:
            dtype, threshold, unit = told
            recipe = make_recipe(
                keep=None,
                calibrate={"rounding_threshold": threshold, "unit": unit},
                write={"content": "photons", "dtype": dtype},
            )
            sim, out = simulated("usual"), tmp_path_factory.mktemp("photons") / "r0001"
            result = shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend="cpu")
            files = [read_module(result, module) for module in MODULES]
            made[told] = {
                name: np.stack([file[f"image.{name}"] for file in files], axis=1)
                for name in ("data", "mask", "gain")
            }
        return made[told]

    return get


def calibrator(constants, backend, dtype="uint16", threshold=0.5, unit="keV", **more):
    told = {"photon_energy_kev": ENERGY, "unit": unit, "photon_dtype": dtype, "backend": backend} | more
    return shotsieve.Calibrator(constants, steps=Steps(rounding_threshold=threshold), **told)


@pytest.mark.parametrize(
    "told", [("uint16", 0.5, "keV"), ("uint8", 0.5, "keV"), ("uint8", 0.7, "photon"), ("uint16", 1.0, "keV")]
)
def test_they_are_what_a_reduction_writes(frames, written, backend_name, told):
    raw, cells, constants = frames
    expected = written(*told)
    found = calibrator(constants, backend_name, *told)(raw, cells, (*WHOLE, "photons", "data"))
    assert found.photon_counts.dtype == told[0]
    np.testing.assert_array_equal(found.photon_counts, expected["data"])
    np.testing.assert_array_equal(found.mask, expected["mask"])
    np.testing.assert_array_equal(found.gain, expected["gain"])
    np.testing.assert_array_equal(found.sparse_mask.restore().reshape(found.mask.shape), found.mask)
    beyond = (found.mask & BadPixels.VALUE_OUT_OF_RANGE != 0) & np.isfinite(found.data)
    assert beyond.any() == (told[0] == "uint8")
    assert (found.photon_counts[beyond] == np.iinfo(told[0]).max).all()
    assert (found.photon_counts[np.isnan(found.data)] == 0).all()
    if not beyond.any():
        sums = found.photon_counts.sum(axis=(2, 3), dtype="i8")
        np.testing.assert_array_equal(sums, found.photons)
    # What is not asked for beside them says nothing of them.
    apart = calibrator(constants, backend_name, *told)(raw[:2], cells[:2], ("mask", "data"))
    assert apart.photon_counts is None
    np.testing.assert_array_equal(
        apart.mask, np.where(beyond, found.mask & ~np.uint32(1 << 12), found.mask)[:2]
    )
    np.testing.assert_array_equal(apart.data, found.data[:2])


def test_they_need_not_be_asked_for_with_anything_else(frames, written, any_backend):
    raw, cells, constants = frames
    order = np.random.default_rng().permutation(len(raw))
    found = calibrator(constants, any_backend, "uint8")(raw[order], cells[order], "photon_counts")
    assert found.data is found.mask is found.gain is None
    expected = written("uint8", 0.5, "keV")["data"][order]
    np.testing.assert_array_equal(np.asarray(found.photon_counts), expected)


def test_frames_without_constants_hold_none(frames, backend_name):
    raw, cells, constants = frames
    present = np.array([[True, False], [True, True]])
    found = calibrator(constants, backend_name)(raw[:2], [cells[0], 351], WHOLE, present=present)
    assert found.known.tolist() == [[True, False], [False, False]]
    assert (found.photon_counts[~found.known] == 0).all()
    assert (found.mask[~found.known] == BadPixels.NO_DARK_DATA).all()
    assert found.photon_counts[0, 0].any()
    none = calibrator(constants, backend_name)(raw[:0], [], WHOLE)
    assert none.photon_counts.shape == (0, 2, 512, 128)


def test_of_words_on_the_device_they_lie_there(frames, written, device_name):
    raw, cells, constants = frames
    device = backends.get(device_name).device
    stream = device.stream()
    words = device.empty(raw.shape, raw.dtype)
    device.to_device(words, raw, stream)
    device.wait(device.record(stream))
    expected = written("uint8", 0.5, "keV")
    calibrate = calibrator(constants, device_name, "uint8")
    for outputs in (("photon_counts",), ("photon_counts", "mask", "sparse_mask")):
        found = calibrate(words, cells, outputs, stream)
        assert type(found.photon_counts) is type(words)
        for name, values in (("photon_counts", expected["data"]), ("mask", expected["mask"])):
            if name in outputs:
                there = getattr(found, name)
                host = device.empty_pinned(there.shape, there.dtype)
                device.to_host(host, there, stream)
                device.wait(device.record(stream))
                np.testing.assert_array_equal(host, values)


def test_what_they_need(frames):
    raw, cells, constants = frames
    with pytest.raises(BadInput, match="photon_dtype is 'uint32'; expected uint16 or uint8"):
        calibrator(constants, "cpu", "uint32")
    needed = "photon_counts are asked for: give photon_energy_kev, and a unit other than ADU"
    plain = calibrator(constants, "cpu", photon_energy_kev=None)
    with pytest.raises(BadInput, match=needed):
        plain(raw[:1], cells[:1], "photon_counts")
    in_adu = shotsieve.Calibrator(
        constants, photon_energy_kev=ENERGY, steps=Steps(xray_gain=False), backend="cpu"
    )
    with pytest.raises(BadInput, match=needed):
        in_adu(raw[:1], cells[:1], ["photon_counts"])
