"""Baseline shift by the noise peak: the reference, the run through a calibrator, and what is refused."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.constants import Constants, Steps
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.sources.memory import MemorySource


@pytest.fixture(scope="module")
def frames():
    """Four frames of one module, with constants."""
    p = SpiParameters(n_trains=1, n_cells=4, modules=(3,), seed=5, truth_stage=False)
    source, _ = spi_source(p)
    raw = np.empty((4, 1, 2, 512, 128), "u2")
    source.read(0, 4, raw)
    return raw, constants_in_memory(p, build(p)[1])


def lowered(raw, by=200):
    out = raw.copy()
    out[:, :, 0] -= np.minimum(out[:, :, 0], by)
    return out


@pytest.mark.parametrize("common_mode", [False, True])
def test_a_lowered_module_is_lifted(frames, common_mode, backend_name):
    raw, constants = frames
    how = {"relative_gain": False, "adjust_mg_baseline": False, "xray_gain": False, "set_min": False}
    found = {}
    for blc in (False, True):
        steps = Steps(**how, blc_noise=blc, common_mode=common_mode)
        calibrate = shotsieve.Calibrator(
            constants, [3], steps=steps, lit_threshold=40.0, backend=backend_name
        )
        found[blc] = [calibrate(words, np.arange(4)).data for words in (raw, lowered(raw))]
    high = np.isfinite(found[False][0]) & (raw[:, 0, 1] < 6000)[:, None]
    assert abs(np.median((found[False][1] - found[False][0])[high]) + 200) < 1
    difference = (found[True][1] - found[True][0])[high]
    assert np.abs(difference).max() < 0.01
    assert abs(np.median(found[True][0][high])) < 3


def test_what_cannot_be_done_is_refused(frames):
    _, constants = frames
    steps = Steps(blc_noise=True)
    with pytest.raises(BadInput, match="looks at pixels in high gain"):
        shotsieve.Calibrator(constants, [3], steps=steps, gain_mode="fixed_medium", force=True, backend="cpu")
    names = ("offset", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev")
    without = Constants.from_arrays("AGIPD1M", {n: {3: constants.load(n, 3)} for n in names})
    with pytest.raises(BadInput, match="needs the noise"):
        shotsieve.Calibrator(without, [3], steps=steps, backend="cpu")
    with pytest.raises(BadInput, match="must be above 0"):
        Steps(blc_noise_threshold=0.0)
    with pytest.raises(BadInput, match="looks at values after the offset"):
        dataclasses.replace(steps, offset=False)


def test_a_reduction_gives_what_a_calibrator_does(frames, tmp_path, backend_name):
    """With both, whatever the blocks and on every backend."""
    raw, constants = frames
    switches = {"blc_noise": True, "common_mode": True}
    calibrate = shotsieve.Calibrator(constants, [3], steps=Steps(**switches), backend="cpu")
    wanted = calibrate(raw, np.arange(4)).data
    source, _ = spi_source(SpiParameters(n_trains=1, n_cells=4, modules=(3,), seed=5, truth_stage=False))
    recipe = {"calibrate": switches, "measure": {"lit": {}}, "write": {"content": "corrected"}}
    for block in (1, 10**9):
        out = tmp_path / str(block)
        result = shotsieve.reduce(
            source, recipe, out, constants=constants, backend=backend_name, block_bytes=block
        )
        with h5py.File(result.files[0]) as file:
            data = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image/data"][()]
        np.testing.assert_array_equal(data.view("u4"), wanted.reshape(data.shape).view("u4"))
    raw = shotsieve.reduce(
        source,
        {"write": {"content": "raw"}, "keep": {"rule": "cell_id >= 2"}},
        tmp_path / "raw",
        backend="cpu",
    )
    later = {**recipe, "calibrate": {**switches, "gain_mode": "adaptive", "photon_energy": "9.3 keV"}}
    result = shotsieve.reduce(raw.out, later, tmp_path / "later", constants=constants, backend=backend_name)
    with h5py.File(result.files[0]) as file:
        data = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image/data"][()]
    np.testing.assert_array_equal(data.view("u4"), wanted[2:].reshape(data.shape).view("u4"))


@pytest.mark.parametrize("content", ["corrected", "photons", "rounded", "photon_list"])
def test_reducing_and_calibrating_commute(frames, content, tmp_path):
    """calibrate(reduce(raw)) is reduce(calibrate(raw)), bit for bit: a frame's shift is its own."""
    raw, constants = frames
    sunk = np.concatenate([lowered(raw[k : k + 1], 90 * k) for k in range(4)])
    name = {"modules": [3], "name": "SPB_DET_AGIPD1M-1"}
    source = MemorySource(constants.detector, sunk, [7] * 4, range(4), range(4), **name)
    how = {"blc_noise": True, "unit": "photon", "gain_mode": "adaptive", "photon_energy": "9.3 keV"}
    recipe = {
        "calibrate": how,
        "measure": {"lit": {}},
        "keep": {"rule": "cell_id >= 2"},
        "write": {"content": content} | ({"rounding_relative": 0.01} if content == "rounded" else {}),
    }

    def reduced(run, name, **changes):
        out = tmp_path / name
        return shotsieve.reduce(run, {**recipe, **changes}, out, constants=constants, backend="cpu")

    once = reduced(source, "once")
    words = reduced(source, "raw", write={"content": "raw"})
    later = reduced(words.out, "later", keep={"rule": "n_modules >= 0"})
    without = reduced(source, "without", calibrate={**how, "blc_noise": False})
    for name, values in once.table.measures.items():
        np.testing.assert_array_equal(values[2:], later.table.measures[name][:, [3]])  # of 16 in files
    mine, theirs, unshifted = (planes_of(one.out, content) for one in (once, later, without))
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert one.tobytes() == other.tobytes()
    assert mine[0].size
    assert mine[0].tobytes() != unshifted[0].tobytes()


def planes_of(out, content):
    """What was written of kept shots: images, gains and masks, or lists."""
    if content == "photon_list":
        with shotsieve.PhotonLists(out) as lists:
            return [*lists.frames(), lists.train_id, lists.pulse_id, lists.present]
    [path] = out.glob("CORR-*.h5")
    with h5py.File(path) as file:
        [group] = file["INSTRUMENT"].values()
        return [group[f"CORR/3CH0:output/image/{key}"][()] for key in ("data", "gain", "mask", "cellId")]
