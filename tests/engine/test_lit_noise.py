"""Lit pixels by the noise of each pixel, memory cell and gain stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve import detectors, frame_queue
from shotsieve.constants import Constants, Steps
from shotsieve.errors import BadInput
from shotsieve.sources.memory import MemorySource

SHAPE, CELLS, TRAINS = (64, 128), (0, 15), 2
RECIPE = {
    "calibrate": {"gain_mode": "adaptive", "unit": "keV"},
    "measure": {"lit": {"threshold": "4 sigma", "noise": "pixel"}},
    "keep": {"rule": "lit_fraction > 2"},
}


@pytest.fixture(scope="module")
def run() -> tuple[MemorySource, Constants, np.ndarray]:
    """Words of all stages around k sigma, and pixels without noise; what is lit by the letter."""
    rng = np.random.default_rng(6)
    detector = dataclasses.replace(detectors.load("JUNGFRAU"), shape=SHAPE, asic=(32, 64))
    offset = (
        rng.uniform(2000, 3000, (3, 2, *SHAPE)).astype("f4")
        + np.float32([0, 11000, 11000])[:, None, None, None]
    )
    noise = rng.uniform(2, 20, offset.shape).astype("f4")
    noise[:, :, :2], noise[0, 1, 2:4], noise[0, 0, 5] = np.nan, 0, -3
    gains = np.broadcast_to(np.float32([41.0, -1.4, -0.1])[:, None, None, None], offset.shape)
    bad = np.zeros(offset.shape, "u4")
    bad[:, :, 7] = 1
    arrays = {"offset": offset, "noise": noise, "adu_per_kev": gains, "bad_pixels": bad}
    constants = Constants.from_arrays(detector, arrays, modules=[1], cell_ids=np.array(CELLS))
    n = TRAINS * len(CELLS)
    raw = np.empty((n, 1, 2, *SHAPE), "u2")
    stage = rng.integers(0, 3, (n, *SHAPE))
    cell = np.tile(np.arange(len(CELLS)), TRAINS)[:, None, None]
    ss, fs = np.indices(SHAPE)
    level, sigma = (
        array[stage, cell, ss, fs].astype("f8") for array in (offset, np.where(noise > 0, noise, 5))
    )
    sign = np.where(stage == 0, 1, -1)
    raw[:, 0, 0] = np.clip(np.rint(level + sign * sigma * rng.uniform(2, 6, stage.shape)), 1, 16382)
    raw[:, 0, 1] = np.array([0, 1, 3])[stage]
    # By the letter, in float32 as the kernel has it.
    of_pixel = noise[stage, cell, ss, fs]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (raw[:, 0, 0].astype("f4") - level.astype("f4")) * (sign / of_pixel.astype("f8")).astype("f4")
    known = np.isfinite(of_pixel) & (of_pixel > 0) & (bad[stage, cell, ss, fs] == 0)
    lit = np.stack([((value > 4) & known).sum((1, 2)), known.sum((1, 2))], axis=1)
    train, pulse = np.repeat([7, 8], len(CELLS)), np.tile([0, 1], TRAINS)
    return MemorySource(detector, raw, train, pulse, np.tile(CELLS, TRAINS), modules=[1]), constants, lit


@pytest.mark.parametrize("late", [False, True])
def test_counts_are_those_of_the_letter(run, tmp_path: Path, backend_name: str, late: bool) -> None:
    """Also where all shots are calibrated to pixels, and all else is counted on the way."""
    source, constants, lit = run
    recipe = {**RECIPE, "measure": dict(RECIPE["measure"])}
    if late:
        box = dict.fromkeys(("ss_start", "fs_start"), 0) | dict.fromkeys(("ss_stop", "fs_stop"), 8)
        recipe["measure"]["roi"] = {"some": {"kind": "rectangle", "module": 1, **box}}
    result = shotsieve.reduce(source, recipe, tmp_path / "out", constants=constants, backend=backend_name)
    table = result.table
    np.testing.assert_array_equal(table.measures["lit_pixels"][:, 0], lit[:, 0])
    np.testing.assert_array_equal(table.measures["unmasked_pixels"][:, 0], lit[:, 1])
    # All else is that of the usual pass.
    usual = {**RECIPE, "measure": {"lit": {"threshold": "4 sigma"}}}
    other = shotsieve.reduce(
        source, usual, tmp_path / "usual", constants=constants, backend=backend_name
    ).table
    np.testing.assert_array_equal(table.measures["intensity"], other.measures["intensity"])
    assert (table.measures["lit_pixels"] != other.measures["lit_pixels"]).any()


def test_it_goes_with_sigma_and_noise_only(run, tmp_path: Path) -> None:
    source, constants, _ = run
    recipe = {**RECIPE, "measure": {"lit": {"threshold": "4 keV", "noise": "pixel"}}}
    with pytest.raises(BadInput, match='goes with a threshold in sigma, such as "5 sigma"; it is 4 keV'):
        shotsieve.reduce(source, recipe, tmp_path / "out", constants=constants, backend="cpu")
    limited = {**RECIPE, "calibrate": {**RECIPE["calibrate"], "value_limit": 12.0}}
    with pytest.raises(BadInput, match="value_limit = 12 is in keV"):
        shotsieve.reduce(source, limited, tmp_path / "out", constants=constants, backend="cpu")
    names = ("offset", "adu_per_kev")
    without = Constants.from_arrays(
        constants.detector,
        {name: {1: constants.load(name, 1)} for name in names},
        modules=[1],
        cell_ids=np.array(CELLS),
    )
    with pytest.raises(BadInput, match="the constants hold none of module 1"):
        shotsieve.reduce(source, RECIPE, tmp_path / "out", constants=without, backend="cpu")


def frames_of(source: MemorySource) -> tuple[np.ndarray, np.ndarray]:
    raw = np.empty((len(source.shots), 1, 2, *SHAPE), "u2")
    source.read(0, len(raw), raw)
    return raw, source.shots.cell_id


@pytest.mark.parametrize("together", [1, 100])
def test_frames_in_memory_are_counted_by_the_letter(run, any_backend, monkeypatch, together: int) -> None:
    """In batches of any size; all else is that of the usual pass."""
    source, constants, lit = run
    raw, cells = frames_of(source)
    monkeypatch.setattr(frame_queue, "BATCH_BYTES", together * raw[0].nbytes)
    told = {"lit_threshold": "4 sigma", "high_threshold": "0.5 keV", "backend": any_backend}
    outputs = ("lit_pixels", "unmasked_pixels", "intensity", "lit_pixels_high")
    calibrate = shotsieve.Calibrator(constants, noise="pixel", **told)
    found, usual = calibrate(raw, cells, (*outputs, "data")), shotsieve.Calibrator(constants, **told)
    np.testing.assert_array_equal(found.lit_pixels[:, 0], lit[:, 0])
    np.testing.assert_array_equal(found.unmasked_pixels[:, 0], lit[:, 1])
    other = usual(raw, cells, (*outputs, "data"))
    for name in ("data", "intensity", "lit_pixels_high"):
        np.testing.assert_array_equal(np.asarray(getattr(found, name)), np.asarray(getattr(other, name)))
    assert (found.lit_pixels != other.lit_pixels).any()
    assert found.lit_pixels_high.any()
    # Whatever is asked for beside it; and for frames that are not there.
    for name in outputs:
        np.testing.assert_array_equal(getattr(calibrate(raw, cells, name), name), getattr(found, name))
    there = np.arange(len(raw)) % 2 == 0
    some = calibrate(raw, cells, "lit_pixels", present=there)
    np.testing.assert_array_equal(some.lit_pixels[:, 0], np.where(there, lit[:, 0], -1))
    assert calibrate(raw[:0], [], "lit_pixels").lit_pixels.shape == (0, 1)


def test_frames_in_memory_have_what_a_reduction_writes(run, tmp_path: Path, backend_name: str) -> None:
    source, constants, _ = run
    raw, cells = frames_of(source)
    result = shotsieve.reduce(source, RECIPE, tmp_path / "out", constants=constants, backend=backend_name)
    told = {"lit_threshold": "4 sigma", "noise": "pixel", "backend": backend_name}
    found = shotsieve.calibrate_frames(raw, cells, constants, [1], ("lit_pixels", "unmasked_pixels"), **told)
    for name in ("lit_pixels", "unmasked_pixels"):
        np.testing.assert_array_equal(getattr(found, name), result.table.measures[name])
    # The noise is a pixel's own: a frame has the same counts without the others.
    alone = shotsieve.calibrate_frames(raw[1:2], cells[1:2], constants, outputs="lit_pixels", **told)
    np.testing.assert_array_equal(alone.lit_pixels, found.lit_pixels[1:2])


def test_words_on_the_device_are_counted_by_noise(run, device_name: str) -> None:
    source, constants, lit = run
    raw, cells = frames_of(source)
    device = backends.get(device_name).device
    stream, there = device.stream(), device.empty(raw.shape, raw.dtype)
    device.to_device(there, raw, stream)
    device.wait(device.record(stream))
    calibrate = shotsieve.Calibrator(constants, lit_threshold="4 sigma", noise="pixel", backend=device_name)
    found = calibrate(there, cells, ("data", "lit_pixels", "unmasked_pixels"), stream)
    np.testing.assert_array_equal(found.lit_pixels[:, 0], lit[:, 0])
    np.testing.assert_array_equal(found.unmasked_pixels[:, 0], lit[:, 1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, 'noise = "pixel" goes with a threshold in sigma, such as "5 sigma"; it is 0.7 photon'),
        ({"lit_threshold": 4.0}, 'goes with a threshold in sigma, such as "5 sigma"; it is 4.0'),
        ({"noise": "pixels"}, "noise is 'pixels'; expected 'median' or 'pixel'"),
        (
            {"lit_threshold": "4 sigma", "high_threshold": "9 sigma"},
            "one threshold: give high_threshold in photon, keV or ADU",
        ),
        ({"lit_threshold": "4 sigma", "steps": Steps(value_limit=12.0)}, "value_limit = 12 is in keV"),
    ],
)
def test_what_does_not_go_with_the_noise_of_pixels(run, options, words: str) -> None:
    source, constants, _ = run
    raw, cells = frames_of(source)
    told = {"noise": "pixel", "backend": "cpu"} | options
    with pytest.raises(BadInput, match=f"calibrate_frames: .*{words}"):
        shotsieve.Calibrator(constants, **told)
    with pytest.raises(BadInput, match=words):
        shotsieve.calibrate_frames(raw, cells, constants, outputs="lit_pixels", **told)


def test_frames_in_memory_without_noise_are_refused(run) -> None:
    _, constants, _ = run
    arrays = {name: {1: constants.load(name, 1)} for name in ("offset", "adu_per_kev")}
    without = Constants.from_arrays(constants.detector, arrays, modules=[1], cell_ids=np.array(CELLS))
    with pytest.raises(BadInput, match="the constants hold none of module 1"):
        shotsieve.Calibrator(without, lit_threshold="4 sigma", noise="pixel", backend="cpu")
