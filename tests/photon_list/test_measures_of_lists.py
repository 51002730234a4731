"""Profiles, sums and correlations straight from photon lists are those of the frames."""

from __future__ import annotations

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
