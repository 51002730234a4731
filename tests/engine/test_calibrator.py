"""Calibration of frames in memory: what a reduction writes, in every form that frames may come in."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve import Calibrator, calibrate_frames, frame_queue
from shotsieve import backend as backends
from shotsieve.bench.cases import KINDS, make_case
from shotsieve.constants import Constants
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.constants.steps import Steps
from shotsieve.errors import BadInput
from shotsieve.sources.run import open_run

MODULES = (3, 4)
ALL = ("data", "gain", "mask", "lit_pixels", "lit_pixels_high", "unmasked_pixels", "intensity", "photons")


class Frames:
    """Raw words of a run, its constants, and what a reduction makes of them."""

    def __init__(self, simulated, make_recipe, read_module, out) -> None:
        sim = simulated("usual")
        source = open_run(sim.raw)
        self.energy = source.mode.photon_energy_kev
        raw = np.zeros((len(source.shots), len(source.modules), 2, 512, 128), "u2")
        source.read(0, len(raw), raw)
        places = [source.modules.index(module) for module in MODULES]
        self.raw, self.cells = np.ascontiguousarray(raw[:, places]), source.shots.cell_id
        self.constants = Constants.open(sim.constants, source.detector)
        lit = {"threshold": "0.7 photon", "high_threshold": "2.5 photon"}
        recipe = make_recipe(keep=None, measure={"lit": lit})
        result = shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend="cpu")
        written = [read_module(result, module) for module in MODULES]
        self.images = {
            name: np.stack([one[f"image.{name}"] for one in written], axis=1)
            for name in ("data", "gain", "mask")
        }
        self.numbers = {name: values[:, places] for name, values in result.table.measures.items()}

    def calibrator(self, backend="cpu", **options):
        options = {"modules": MODULES, "photon_energy_kev": self.energy} | options
        options = {"high_threshold": None if options["photon_energy_kev"] is None else "2.5 photon"} | options
        return Calibrator(self.constants, backend=backend, **options)


@pytest.fixture(scope="module")
def frames(simulated, make_recipe, read_module, tmp_path_factory):
    return Frames(simulated, make_recipe, read_module, tmp_path_factory.mktemp("calibrator") / "r0001")


@pytest.mark.parametrize("together", [1, 100])
def test_everything_is_what_a_reduction_writes(frames, backend_name, monkeypatch, together):
    monkeypatch.setattr(frame_queue, "BATCH_BYTES", together * frames.raw[0].nbytes)
    found = frames.calibrator(backend_name)(frames.raw, frames.cells, ALL)
    for name, expected in frames.images.items():
        assert np.array_equal(getattr(found, name), expected, equal_nan=True), name
    for name, expected in frames.numbers.items():
        assert np.array_equal(getattr(found, name), expected), name
    assert found.known.all()


def test_sparse_masks_hold_what_changes_and_give_back_the_masks(frames):
    found = frames.calibrator()(frames.raw, frames.cells, ("mask", "sparse_mask"))
    sparse = found.sparse_mask
    np.testing.assert_array_equal(sparse.restore().reshape(found.mask.shape), found.mask)
    np.testing.assert_array_equal(found.mask, frames.images["mask"])
    assert 0 < len(sparse.pixel) < 0.01 * found.mask.size
    assert sparse.static.any()


@pytest.mark.parametrize("outputs", [("lit_pixels",), "data", ("mask", "photons"), ("gain",)])
def test_only_what_is_asked_for_is_made(frames, outputs):
    found = frames.calibrator()(frames.raw[:3], frames.cells[:3], outputs)
    asked = {outputs} if isinstance(outputs, str) else set(outputs)
    for name in ALL:
        assert (getattr(found, name) is not None) == (name in asked), name


def test_one_module_needs_no_axis(frames):
    one = frames.calibrator(modules=[4])
    assert one.frame_shape == (1, 2, 512, 128)
    for raw in (frames.raw[:, 1], frames.raw[:, 1:]):
        assert np.array_equal(one(raw, frames.cells).data[:, 0], frames.images["data"][:, 1], equal_nan=True)


def test_frames_need_not_be_contiguous_nor_in_order(frames, rng):
    order = rng.permutation(len(frames.raw))
    found = frames.calibrator()(frames.raw[order], frames.cells[order])
    assert np.array_equal(found.data, frames.images["data"][order], equal_nan=True)
    found = frames.calibrator()(frames.raw[::2], frames.cells[::2])
    assert np.array_equal(found.data, frames.images["data"][::2], equal_nan=True)


def test_a_cell_without_constants_is_unknown_and_never_zero(frames, backend_name):
    cells = np.array(frames.cells[:3])
    cells[1] = 351
    found = frames.calibrator(backend_name)(frames.raw[:3], cells, ALL)
    assert found.known.tolist() == [[True, True], [False, False], [True, True]]
    assert np.isnan(found.data[1]).all()
    assert (found.mask[1] == BadPixels.NO_DARK_DATA).all()
    assert (found.lit_pixels[1] == -1).all()
    assert np.isnan(found.intensity[1]).all()
    assert np.array_equal(found.data[2], frames.images["data"][2], equal_nan=True)
    none = frames.calibrator(backend_name, cells=[351])(frames.raw[:1], [351], ("data", "lit_pixels"))
    assert np.isnan(none.data).all()
    assert (none.lit_pixels == -1).all()


def on_the_device(device, array, stream):
    there = device.empty(array.shape, array.dtype)
    device.to_device(there, np.ascontiguousarray(array), stream)
    device.wait(device.record(stream))
    return there


def back(device, array, stream):
    host = device.empty_pinned(array.shape, array.dtype)
    device.to_host(host, array, stream)
    device.wait(device.record(stream))
    return host


@pytest.mark.parametrize("cells_there", [False, True])
def test_words_on_the_device(frames, device_name, cells_there):
    calibrate, device = frames.calibrator(device_name), backends.get(device_name).device
    stream = device.stream()
    raw = on_the_device(device, frames.raw, stream)
    cells = on_the_device(device, frames.cells, stream) if cells_there else frames.cells
    found = calibrate(raw, cells, ("data", "lit_pixels"), stream=stream)
    assert found.mask is None
    assert np.array_equal(back(device, found.data, stream), frames.images["data"], equal_nan=True)
    assert np.array_equal(found.lit_pixels, frames.numbers["lit_pixels"])


def test_masks_of_words_on_the_device(frames, device_name):
    """Full masks lie beside the data; sparse ones are in host memory."""
    calibrate, device = frames.calibrator(device_name), backends.get(device_name).device
    stream = device.stream()
    cells = np.array(frames.cells)
    cells[1] = 351  # without constants
    expected = frames.calibrator("cpu")(frames.raw, cells, ("mask", "sparse_mask"))
    raw = on_the_device(device, frames.raw, stream)
    found = calibrate(raw, cells, ("data", "mask", "sparse_mask"), stream=stream)
    assert type(found.mask) is type(found.data) is type(raw)
    assert found.mask.shape == found.data.shape
    np.testing.assert_array_equal(back(device, found.mask, stream), expected.mask)
    for name in ("static", "group", "first", "pixel", "value"):
        one, other = (getattr(each.sparse_mask, name) for each in (found, expected))
        np.testing.assert_array_equal(one, other)
    alone = calibrate(raw, cells, "sparse_mask", stream=stream)
    assert alone.mask is None
    np.testing.assert_array_equal(alone.sparse_mask.restore(), found.sparse_mask.restore())
    none = calibrate(on_the_device(device, frames.raw[:0], stream), [], ("mask", "sparse_mask"))
    assert none.mask.shape == (0, 2, 512, 128)
    assert len(none.sparse_mask) == 0


def test_cells_on_the_device_beside_words_on_the_host(frames, device_name):
    device = backends.get(device_name).device
    cells = on_the_device(device, frames.cells[:2].astype("u2"), device.stream())
    options = {"photon_energy_kev": frames.energy, "backend": device_name}
    found = calibrate_frames(frames.raw[:2], cells, frames.constants, MODULES, ("data", "mask"), **options)
    np.testing.assert_array_equal(found.data, frames.images["data"][:2])
    np.testing.assert_array_equal(found.mask, frames.images["mask"][:2])


def test_at_once(frames, tmp_path):
    saved = frames.constants.save(tmp_path / "constants.h5", compression=None)
    found = calibrate_frames(
        frames.raw[:2],
        frames.cells[:2],
        saved,
        MODULES,
        ("data", "photons"),
        photon_energy_kev=frames.energy,
        backend="cpu",
    )
    assert np.array_equal(found.data, frames.images["data"][:2], equal_nan=True)
    assert np.array_equal(found.photons, frames.numbers["photons"][:2])


@pytest.mark.parametrize("kind", KINDS)
def test_detectors_of_both_encodings(kind, tmp_path):
    case = make_case(kind, tmp_path, modules=1, cells=2, trains=1)
    calibrate = Calibrator(case.constants, photon_energy_kev=9.3, backend="cpu")
    found = calibrate(case.raw[0], np.arange(2), ("lit_pixels", "data"))
    assert np.array_equal(found.lit_pixels.sum(axis=1), case.lit[0])
    assert np.array_equal(np.nansum(found.data > 0.7 * 9.3, axis=(1, 2, 3)), case.lit[0])


def test_adu_with_a_photon_energy(frames):
    plain = frames.calibrator(steps=Steps(xray_gain=False))
    assert plain.unit == "ADU"
    assert np.isfinite(plain(frames.raw[:1], frames.cells[:1]).data).any()
    with pytest.raises(BadInput, match="lit_threshold in ADU"):
        plain(frames.raw[:1], frames.cells[:1], "lit_pixels")


def test_units_and_thresholds(frames):
    photons = frames.calibrator(unit="photon", steps=Steps(round_photons=True))
    values = photons(frames.raw[:1], frames.cells[:1]).data
    assert np.array_equal(values, np.rint(values), equal_nan=True)
    plain = frames.calibrator(photon_energy_kev=None)
    assert np.array_equal(plain(frames.raw, frames.cells).data, frames.images["data"], equal_nan=True)
    number = frames.calibrator(lit_threshold=0.7 * frames.energy)
    assert np.array_equal(
        number(frames.raw, frames.cells, "lit_pixels").lit_pixels, frames.numbers["lit_pixels"]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"raw": np.zeros((2, 2, 2, 512, 128), "i4")}, "dtype int32; expected .* and uint16"),
        ({"raw": np.zeros((3, 2, 2, 512, 128), "u2")}, r"2 shots \(the length of cell_ids\)"),
        ({"raw": np.zeros((2, 2, 512, 128), "u2")}, "shape"),
        ({"cell_ids": np.array([[0], [1]])}, r"cell_ids has shape \(2, 1\); expected \(n,\).*ravel"),
        ({"outputs": "dta"}, "no output 'dta'. Did you mean"),
        ({"photon_energy_kev": None, "outputs": "photons"}, "give photon_energy_kev"),
        ({"photon_energy_kev": None, "outputs": "lit_pixels"}, "lit pixels are asked for"),
        ({"modules": (3, 3)}, "expected different numbers"),
        ({"unit": "photon", "photon_energy_kev": None}, "photon energy"),
        ({"gain_mode": "fast"}, "fast"),
    ],
)
def test_bad_input(frames, change, words):
    call = {"raw": np.zeros((2, 2, 2, 512, 128), "u2"), "cell_ids": [0, 1], "outputs": "data"}
    options = {key: value for key, value in change.items() if key not in call}
    call |= {key: value for key, value in change.items() if key in call}
    with pytest.raises(BadInput, match=words):
        frames.calibrator(**options)(**call)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([0, 2**32], "0 to 4294967296; expected -2147483648 to 2147483647"),
        (np.array([0, 2**63], "u8"), "0 to 9223372036854775808; expected"),
        ([-(2**31) - 1, 0], "-2147483649 to 0; expected"),
        ([0, 1.5], r"has dtype float64; expected integers, .*got .*1\.5"),
        (np.array([0.0, 1.0], "f4"), "has dtype float32; expected integers"),
        ([False, True], "has dtype bool; expected integers"),
        (["0", "1"], "has dtype <U1; expected integers"),
        ([0, 2**70], "has dtype object; expected integers"),
    ],
)
def test_cells_that_would_be_others(frames, backend_name, cells, words):
    """As an engine refuses them; both where they come and where they are announced."""
    raw, calibrate = frames.raw[:2], frames.calibrator(backend_name)
    with pytest.raises(BadInput, match=f"calibrate_frames: cell_ids:? {words}"):
        calibrate(raw, cells)
    with pytest.raises(BadInput, match=f"calibrate_frames: cell_ids:? {words}"):
        calibrate_frames(raw, cells, frames.constants, MODULES, backend=backend_name)
    with pytest.raises(BadInput, match=f"calibrate_frames: cells:? {words}"):
        frames.calibrator(backend_name, cells=cells)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">u4", "i8", "u8"])
def test_cells_of_any_integer_dtype(frames, dtype):
    found = frames.calibrator()(frames.raw[:2], frames.cells[:2].astype(dtype))
    np.testing.assert_array_equal(found.data, frames.images["data"][:2])
    edge = np.array([-(2**31), 2**31 - 1])  # numbers that no cell has: unknown
    assert not frames.calibrator()(frames.raw[:2], edge).known.any()


@pytest.mark.parametrize(
    ("known", "options", "words"),
    [
        ({"gain_mode": "fixed_medium"}, {}, "gain_mode: given is 'adaptive', .* taken with 'fixed_medium'"),
        ({"gain_mode": "adaptive"}, {"gain_mode": "fixed_high"}, "given is 'fixed_high', .* 'adaptive'"),
        (
            {"gain_mode": ["fixed_medium", "fixed_low"]},
            {"gain_mode": "fixed_high"},
            "taken with 'fixed_medium' or 'fixed_low'",
        ),
        ({"photon_energy_kev": 12.0}, {}, "photon_energy_kev: given is 9.3, .* taken with 12"),
    ],
)
def test_constants_of_other_conditions(frames, known, options, words):
    """They are refused, as an engine refuses them; forced, they are told in the notes."""
    arrays = {name: {m: frames.constants.load(name, m) for m in MODULES} for name in frames.constants.names}
    family = frames.constants.detector
    other = Constants.from_arrays(family, arrays, conditions=known)
    options = {"modules": MODULES, "photon_energy_kev": 9.3, "backend": "cpu"} | options
    with pytest.raises(BadInput, match=f"under other conditions than those given: .*{words}.*force=True"):
        Calibrator(other, **options)
    with pytest.raises(BadInput, match=words):
        calibrate_frames(frames.raw[:1], frames.cells[:1], other, **options)
    [note] = Calibrator(other, force=True, **options).notes
    assert note.startswith("forced: the constants were taken under other conditions than those given: ")
    # What either side does not know is not compared, and neither are conditions of a run.
    unknown = Constants.from_arrays(family, arrays, conditions={"cells": 4, "rate_mhz": 0.5})
    assert Calibrator(unknown, **options).notes == []


def test_parallel_gain_of_constants_is_compared():
    zeros = {0: np.zeros((3, 1, 256, 256), "f4")}
    arrays = {"offset": zeros, "noise": zeros}
    known = {"parallel_gain": 1}
    constants = Constants.from_arrays("LPD1M", arrays, conditions=known)
    steps = Steps(relative_gain=False, ff_map=False, gain_amp_map=False, xray_gain=False)
    options = {"steps": steps, "backend": "cpu"}
    assert Calibrator(constants, **options).frame_shape == (1, 3, 256, 256)
    assert Calibrator(constants, parallel_gain=True, **options).notes == []
    with pytest.raises(BadInput, match="parallel_gain: given is 0, the constants were taken with 1"):
        Calibrator(constants, parallel_gain=False, **options)


def test_one_gain_stage_has_no_mode_to_disagree():
    offset = {0: np.zeros((1, 1, 704, 768), "f4")}
    constants = Constants.from_arrays("EPIX100", {"offset": offset}, conditions={"gain_mode": "fixed_high"})
    calibrate = Calibrator(constants, backend="cpu")
    assert not any("forced" in note for note in calibrate.notes)


def test_no_shots(frames):
    found = frames.calibrator()(np.zeros((0, 2, 2, 512, 128), "u2"), [], (*ALL, "sparse_mask"))
    assert found.data.shape == (0, 2, 512, 128)
    assert found.sparse_mask.restore().shape == (0, 65536)
    assert found.lit_pixels.shape == (0, 2)
