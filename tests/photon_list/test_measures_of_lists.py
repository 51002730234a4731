"""Profiles, sums and correlations straight from photon lists are those of the frames."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput


def test_profiles_and_sums_are_those_of_the_frames(reduced, rng, rings):
    listed = reduced("photon_list", whole=0.3)
    ai = rings()
    with shotsieve.PhotonLists(listed.out) as photons:
        data, mask = photons.frames()
        wanted = ai(data.astype("f4"), mask=mask)
        found = photons.profiles(ai, batch=5)
        for name in ("intensity", "sigma", "count", "sum_signal", "sum_normalization"):
            mine, theirs = getattr(found, name), getattr(wanted, name)
            np.testing.assert_array_equal(mine.view("u1"), theirs.view("u1"), err_msg=name)
        assert np.nansum(found.sum_signal) > 0
        labels = rng.integers(-1, 7, (2, 512, 128))
        sums, pixels = photons.sums(labels, 7)
        good = mask == 0
        for label in range(7):
            inside = (labels == label) & good
            np.testing.assert_array_equal(pixels[:, label], inside.sum(axis=(1, 2, 3)))
            np.testing.assert_array_equal(sums[:, label], (data * inside).sum(axis=(1, 2, 3), dtype="i8"))
        # Lit pixels and photons of the table, which the kernel counted.
        table = shotsieve.Table.open(listed.out)
        column = table.modules.index(3)
        ok = table.module_status[:, column] == 0
        assert table.measures["photons"][ok, column].any()
        np.testing.assert_array_equal(photons.lists(3).photons[ok], table.measures["photons"][ok, column])


def test_correlations_are_those_of_the_frames(reduced, rng):
    listed = reduced("photon_list", whole=0.3)
    labels = rng.integers(-1, 3, (2 * 512, 128))
    with shotsieve.PhotonLists(listed.out) as photons:
        seen = []
        for _, shots in photons.trains():
            assert not photons.good(shots).any()  # cell 4 has no constants
            shots = shots[photons.cell_id[shots] != 4]
            data, mask = photons.frames(shots)
            frames, good = data.reshape(-1, 1024, 128), (mask == 0).all(axis=0).reshape(1024, 128)
            slab = photons.slab(shots)
            np.testing.assert_array_equal(slab.dense(), frames)
            np.testing.assert_array_equal(photons.good(shots), good)
            for one in (shotsieve.g2, shotsieve.multitau):
                found, wanted = (one(x, labels, valid=good, backend="cpu") for x in (slab, frames))
                np.testing.assert_array_equal(found.per_train, wanted.per_train)
                np.testing.assert_array_equal(found.intensity, wanted.intensity)
            seen.append((bool(good[:512].any()), bool(good[512:].any())))
    assert sorted(seen)[0] == (True, False)  # the train of which module 9 has no frame
    assert sorted(seen)[-1] == (True, True)


def test_profiles_with_a_geometry_of_the_whole_detector(reduced, tmp_path, rings):
    from shotsieve.simulate.geometry import write_geometry

    ai = shotsieve.AzimuthalIntegrator(
        write_geometry(tmp_path / "agipd.geom", 1.6, 9.3), npt=40, backend="cpu"
    )
    with shotsieve.PhotonLists(reduced("photon_list", whole=0.3).out) as photons:
        found = photons.profiles(ai)
        data, mask = photons.frames()
        frames = np.full((len(data), 16, 512, 128), np.nan, "f4")
        frames[:, photons.modules] = np.where(mask == 0, data, np.float32(np.nan))
        np.testing.assert_array_equal(found.intensity.view("u1"), ai(frames).intensity.view("u1"))
        with pytest.raises(
            BadInput, match="has 1536 rows; expected 1024, of modules 3, 9, or 8192, of the whole"
        ):
            photons.profiles(rings(3))


def test_rings_from_lists_are_those_of_the_frames_and_of_the_table(speckles, tmp_path):
    """Ring sums from lists, from the frames of the same run, and the columns of the table are one."""
    from shotsieve.geometry import Geometry, PixelMap
    from shotsieve.simulate.geometry import write_geometry

    geometry = write_geometry(tmp_path / "agipd.geom", 8.0, 9.3)
    out = {}
    for content in ("photons", "photon_list"):
        recipe = {
            "detector": [{"name": "AGIPD1M", "geometry": str(geometry)}],
            "calibrate": {},
            "measure": {"lit": {}, "rings": {"number": 4, "unit": "r_mm"}},
            "write": {"content": content},
        }
        given = {"constants": speckles.constants, "backend": "cpu"}
        out[content] = shotsieve.reduce(speckles.raw, recipe, tmp_path / content, **given)
    table = out["photon_list"].table
    whole = Geometry.load(geometry, module_shape=(512, 128))
    radius = PixelMap.from_geometry(whole, 8.0).radial("r_mm")
    edges = np.linspace(radius.min(), np.nextafter(radius.max(), np.inf), 5)
    ring = (np.digitize(radius, edges) - 1).reshape(16, 512, 128)
    ai = shotsieve.AzimuthalIntegrator(geometry, npt=40, error_model="poisson", backend="cpu")
    with shotsieve.PhotonLists(out["photon_list"].out) as photons:
        sums, _ = photons.sums(ring[list(photons.modules)], 4)
        profiles, present = photons.profiles(ai, batch=4), photons.present
    frames = np.full((len(table), 16, 512, 128), np.nan, "f4")
    for column, module in enumerate((3, 9)):
        [file] = out["photons"].out.glob(f"*AGIPD{module:02d}*.h5")
        with h5py.File(file) as written:
            image = written[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{module}CH0:output/image"]
            data, mask = image["data"][()], image["mask"][()]
        frames[present[:, column], module] = np.where(mask == 0, data, np.float32(np.nan))
    for number in range(4):
        of_frames = np.nansum(np.where(ring == number, frames, 0), axis=(1, 2, 3))
        np.testing.assert_array_equal(sums[:, number], of_frames)
        by_module = table.measures[f"photons_ring_{number}"][:, [3, 9]]
        np.testing.assert_array_equal(sums[:, number], np.where(present, by_module, 0).sum(axis=1))
        other = out["photons"].table.measures[f"photons_ring_{number}"]
        np.testing.assert_array_equal(table.measures[f"photons_ring_{number}"], other)
    assert (sums.sum(axis=0) > 0).sum() >= 2
    wanted = ai(frames)
    for name in ("intensity", "sigma", "count", "sum_signal", "sum_normalization"):
        mine, theirs = getattr(profiles, name), getattr(wanted, name)
        np.testing.assert_array_equal(mine.view("u1"), theirs.view("u1"), err_msg=name)
