"""A cache of folded constants on a disk that is too small for them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.cache_folder import CacheFolder
from shotsieve.constants import Constants, Steps
from shotsieve.folded_cache import tables_of
from shotsieve.folded_tables import make_tables

from .server import small_disk


def test_a_small_disk(tmp_path, capsys):
    """Nothing of an entry stays where it does not fit; with more room it is there, and is used."""
    small = dataclasses.replace(detectors.load("JUNGFRAU"), shape=(128, 256))
    ones = {1: np.ones((3, 1, *small.shape), "f4")}
    made = Constants.from_arrays(small, {"offset": ones, "adu_per_kev": ones}).save(tmp_path / "constants.h5")
    given = Constants.open(made, small), small, (1,), np.array([15]), Steps(), "keV", 9.3, "adaptive"
    plain, disk = make_tables(*given), tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk) as resize:
        if resize is None:
            pytest.skip("a small disk can only be mounted by root on a machine that allows it")
        whole = plain.table.nbytes + plain.mask.nbytes
        for size in (whole // 2, whole + 20_000):  # found before; found when the last file is written
            assert resize(size)
            np.testing.assert_array_equal(tables_of(*given, cache=disk).table, plain.table)
            said = capsys.readouterr().err
            assert "No space left on device" in said
            assert "goes on without" in said
            assert not [one for one in disk.iterdir() if one.name != "seen"]
        assert resize("100m")
        np.testing.assert_array_equal(tables_of(*given, cache=disk).table, plain.table)
        assert len(CacheFolder(disk).entries()) == 1
