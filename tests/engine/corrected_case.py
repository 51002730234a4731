"""Runs of corrected files, and what two reductions have in common."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve

DET = "SPB_DET_AGIPD1M-1"
KEEP = {"rule": "lit_pixels[3] > 1000"}
ALL = {"content": "corrected", "others": True}


@pytest.fixture(scope="session")
def whole(simulated, make_recipe, tmp_path_factory):
    """``whole(name)``: a simulated run as corrected files, all shots, with what stands beside the frames."""
    made = {}

    def get(name="usual", **write):
        key = (name, *sorted(write.items()))
        if key not in made:
            out = tmp_path_factory.mktemp(f"whole-{name}") / "r0001"
            recipe = make_recipe(keep=None, write={**ALL, **write})
            shotsieve.reduce(simulated(name).raw, recipe, out, simulated(name).constants, "cpu")
            made[key] = out
        return made[key]

    return get


def same_tables(one, other):
    for name in ("fate", "verdict", "module_status", "train_id", "pulse_id", "cell_id"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.measures.keys() == other.measures.keys()
    for name, values in one.measures.items():
        np.testing.assert_array_equal(values, other.measures[name], err_msg=name)
    assert one.columns.keys() == other.columns.keys()
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, other.columns[name], err_msg=name)


def contents(result):
    """Every dataset of the frames and of lit pixels, as bytes, by file and path."""
    found = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset) and name.startswith(("INSTRUMENT/", "INDEX/")):
            found[path.name, name] = (item.dtype.str, item.shape, item[()].tobytes())

    for path in sorted(result.out.glob("CORR-*.h5")):
        with h5py.File(path) as file:
            file.visititems(take)
    return found


@pytest.fixture
def facility(tmp_path, rng):
    """``facility(dtype)``: two modules of EXtra-data's own example files, with frames of ours in them."""
    from extra_data.tests.mockdata import write_file
    from extra_data.tests.mockdata.detectors import AGIPDModule

    def make(dtype="f4", mask=True, gain=True):
        folder = tmp_path / "proc" / f"r{len(list(tmp_path.glob('proc/*'))):04d}"
        folder.mkdir(parents=True)
        for module in (3, 4):
            path = folder / f"CORR-R0001-AGIPD{module:02d}-S00000.h5"
            source = f"{DET}/CORR/{module}CH0:output"
            old = f"{DET}/DET/{module}CH0"
            device = AGIPDModule(source[:-7], 3, raw=False, channel_name="output", legacy_name=old)
            write_file(path, [device], 2, chunksize=32)
            with h5py.File(path, "r+") as file:
                group = file[f"INSTRUMENT/{source}/image"]
                data = rng.poisson(0.3, (6, 512, 128)).astype(dtype)
                if np.dtype(dtype).kind == "f":
                    data[rng.random(data.shape) < 0.01] = np.nan
                masks = np.where(rng.random(data.shape) < 0.02, 1 << rng.integers(0, 24, data.shape), 0)
                data[4:, 5:100, :64] += np.array(9, dtype)
                planes = {"data": data, "mask": masks.astype("u4"), "gain": rng.integers(0, 3, data.shape)}
                for name, there in (("data", True), ("mask", mask), ("gain", gain)):
                    del group[name]
                    if there:
                        how = {"compression": "gzip", "shuffle": True} if name != "data" else {}
                        plane = planes[name].astype("u1") if name == "gain" else planes[name]
                        group.create_dataset(name, data=plane, chunks=(1, 512, 128), **how)
        return folder

    return make


def planes_of(folder, module, name):
    [path] = folder.glob(f"CORR-*AGIPD{module:02d}-S00000.h5")
    with h5py.File(path) as file:
        return file[f"INSTRUMENT/{DET}/CORR/{module}CH0:output/image/{name}"][()]
