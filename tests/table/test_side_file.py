"""Datasets of side files, read in threads: what HDF5 gives, or an error."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.side_file import get, put


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(0,), (1,), (7,), (5000,), (9000, 3), (0, 4), (3, 2, 5)]),
    dtype=st.sampled_from(["u1", "i1", "<i4", "<u8", "<f4", "<f8"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_hdf5_gives(shape, dtype, seed):
    values = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    with h5py.File("a", "w", driver="core", backing_store=False) as file:
        put(file, "a", values, "", "")
        found = get(file["a"])
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


def test_other_forms_are_left_to_hdf5(rng):
    values = rng.integers(0, 9, (100, 3))
    with h5py.File("a", "w", driver="core", backing_store=False) as file:
        file["plain"] = values
        file.create_dataset("gzip", data=values, chunks=(30, 2), compression="gzip")
        file.create_dataset(
            "big", data=values.astype(">i8"), chunks=(30, 2), compression="gzip", shuffle=True
        )
        missing = file.create_dataset(
            "missing", (100, 3), "i8", chunks=(30, 3), compression="gzip", shuffle=True
        )
        missing[:30] = values[:30]
        for name in ("plain", "gzip", "big", "missing"):
            np.testing.assert_array_equal(get(file[name]), file[name][()])


def test_chunks_without_a_filter(rng):
    values = rng.integers(0, 9, (60, 3))
    with h5py.File("a", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("a", (60, 3), "i8", chunks=(30, 3), compression="gzip", shuffle=True)
        dataset[:30] = values[:30]
        dataset.id.write_direct_chunk((30, 0), values[30:].tobytes(), filter_mask=3)
        np.testing.assert_array_equal(get(dataset), values)


@pytest.mark.parametrize("stored", [b"", b"nonsense", None])
def test_damage_is_an_error(stored, rng):
    values = rng.integers(0, 9, (60, 3))
    with h5py.File("a", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("a", data=values, chunks=(30, 3), compression="gzip", shuffle=True)
        if stored is None:
            stored = dataset.id.read_direct_chunk((0, 0))[1][:-9]
        dataset.id.write_direct_chunk((30, 0), stored or b"x")
        with pytest.raises(OSError, match="a chunk of /a"):
            get(dataset)
