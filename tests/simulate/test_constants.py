"""Constants: on disk in the facility's layout, in memory, and the same in both."""

import numpy as np
import pytest
from shotsieve.constants.container import Constants
from shotsieve.simulate.constants import constants_in_memory, facility_arrays, write_constants
from shotsieve.simulate.memory import build
from shotsieve.simulate.parameters import SpiParameters

NAMES = ("offset", "noise", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev", "bad_pixels")


@pytest.mark.parametrize("dims", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_reading_what_was_written_gives_what_is_in_memory(tmp_path, dims, dtype):
    p = SpiParameters(n_cells=2, modules=(4,), mg_baseline=50.0, constants_dims=dims, constants_dtype=dtype)
    _, model, _ = build(p)
    write_constants(tmp_path, p, model)
    read, ours = Constants.open(tmp_path), constants_in_memory(p, model)
    assert read.modules == ours.modules == (4,)
    assert read.conditions == ours.conditions
    np.testing.assert_array_equal(read.cell_ids, ours.cell_ids)
    for name in NAMES:
        a, b = read.load(name, 4), ours.load(name, 4)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert np.median(read.load("mg_baseline", 4)) == 50


def test_axes_are_those_of_the_facility():
    p = SpiParameters(n_cells=2, modules=(4,))
    _, model, _ = build(p)
    module = model.module(4)
    arrays = facility_arrays(p, module)
    shapes = {k: v.shape for k, v in arrays.items()}
    assert shapes["Offset"] == shapes["Noise"] == shapes["BadPixelsDark"] == (128, 512, 2, 3)
    assert shapes["ThresholdsDark"] == (128, 512, 2, 5)
    assert shapes["SlopesPC"] == (128, 512, 2, 10)
    assert shapes["SlopesFF"] == shapes["BadPixelsPC"] == shapes["BadPixelsFF"] == (128, 512, 2)
    assert arrays["Offset"][5, 77, 1, 2] == module.offset(2, 1).reshape(512, 128)[77, 5]


def test_cells_without_constants():
    p = SpiParameters(n_cells=4, modules=(4,), constants_without_cells=(1, 3))
    _, model, _ = build(p)
    arrays = facility_arrays(p, model.module(4))
    assert arrays["Offset"].shape[2] == 3  # the last cell just is not there
    assert np.isnan(arrays["Offset"][:, :, 1]).all()
    assert (arrays["BadPixelsDark"][:, :, 1] & 8).all()
    assert not (arrays["BadPixelsDark"][:, :, 0] & 8).any()
    assert constants_in_memory(p, model).cell_ids.tolist() == [0, 2]


def test_conditions_agree_with_the_run(small):
    from shotsieve.simulate.memory import operating_mode

    assert Constants.open(small.constants).check_conditions(operating_mode(small.parameters)) == []


def test_constants_of_the_demonstration_stay_small(small):
    size = sum(f.stat().st_size for f in small.constants.rglob("*.h5"))
    # 2 modules of 4 cells here; 16 modules of 8 cells there.
    assert size * 16 < 120 << 20
