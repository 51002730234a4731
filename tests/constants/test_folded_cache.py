"""Folded constants that are kept: the same bits, an entry for all that matters, and no fault stays unseen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from shotsieve import cli, detectors, folded_cache
from shotsieve.cache_folder import CacheFolder
from shotsieve.constants import Constants, Steps
from shotsieve.constants.facility import write_facility
from shotsieve.constants.masks import StaticMask
from shotsieve.constants.origin import content_checksum
from shotsieve.folded_cache import AFTER_FOLDING, FOLD_VERSION, constants_checksum, noise_of, tables_of
from shotsieve.folded_tables import make_tables
from shotsieve.measure.lit_noise import noise_table

from .folding import assert_same, names

pytestmark = pytest.mark.usefixtures("nothing_said")
FOLDED = dict.fromkeys((1, 2, 3), "01a03a98b3e0")  # 2, 3: others where thresholds are crossed, not finite
"""Beginning of the SHA-256 of what is folded of the constants here, by the version of folding."""


def made_again(*args, **options):
    raise AssertionError("constants were folded again")


def test_the_same_bits_mapped(asked, cache, monkeypatch, capsys):
    plain = make_tables(**asked)
    first = tables_of(**asked, cache=cache)
    assert "are kept in" in capsys.readouterr().err
    monkeypatch.setattr(folded_cache, "make_tables", made_again)
    second = tables_of(**asked, cache=cache)
    assert capsys.readouterr().err == ""
    for found in (first, second):
        assert_same(plain, found)
        assert found.sha256 == constants_checksum(plain.table)
        assert found.table.ctypes.data % 64 == 0
        assert found.table.flags.c_contiguous
        assert not found.table.flags.writeable
    CacheFolder(cache).clear()
    assert_same(plain, second)  # it is still mapped
    assert names(cache) == []


def test_linear_tables_are_kept_too(tmp_path, cache):
    small = dataclasses.replace(detectors.load("GOTTHARD2"), shape=(1, 32), asic=(1, 32))
    rng = np.random.default_rng(2)
    arrays = {
        "offset": {1: rng.uniform(0, 9, (3, 2, 1, 32))},
        "linearisation": {1: rng.integers(0, 4096, (4096, 2, 1, 32))},
    }
    file = Constants.from_arrays(small, arrays).save(tmp_path / "constants.h5")
    steps, _ = Steps(relative_gain=False, xray_gain=False).for_constants(small, Constants.open(file, small))
    given = (Constants.open(file, small), small, (1,), np.arange(2), steps, "ADU", None, "adaptive")
    plain = make_tables(*given)
    assert plain.linear is not None
    for _ in range(2):
        assert_same(plain, tables_of(*given, cache=cache))


def test_everything_that_enters_makes_an_entry(asked, cache, agipd, monkeypatch):
    """And what does not, makes none."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # it is a matter of names
    bits = np.zeros((2, 1, agipd.pixels), "u4")
    bits[1, 0, 5] = 1
    other = bits.copy()
    other[0, 0, 6] = 1
    changes = [
        {},
        {"detector": dataclasses.replace(agipd, adc_max=agipd.adc_max - 1)},
        {"modules": (4, 3)},
        {"modules": (3,)},
        {"cell_id": np.array([0, 2])},
        {"unit": "photon"},
        {"photon_energy_kev": 9.31},
        {"photon_energy_kev": None},
        {"gain_mode": "fixed_high"},
        {"masks": StaticMask(bits, (3, 4), None)},
        {"masks": StaticMask(other, (3, 4), None)},
        {"masks": StaticMask(bits, (4, 3), None)},
        {"masks": StaticMask(bits, (3, 4), (0,)), "cell_id": np.array([0])},
        {"masks": StaticMask(bits, (3, 4), None), "cell_id": np.array([0])},
    ]
    values = {"force_hg_reference": "mg", "noisy_adc_block": "2x4", "double_pixels": "mask"}
    values |= {"adu_per_photon": 60.0, "force_mg_if_below": 100.0, "force_hg_if_below": 150.0}
    for one in dataclasses.fields(Steps):
        if one.name in AFTER_FOLDING:
            continue
        if one.name == "offset":  # not alone
            off = dict.fromkeys(("offset", "relative_gain", "adjust_mg_baseline", "xray_gain"), False)
            changes.append({"steps": Steps(**off), "unit": "ADU"})
            continue
        value = values.get(one.name)
        if value is None:
            value = not one.default if isinstance(one.default, bool) else one.default / 2
            value = int(value) if one.name == "bad_bits" else value
        unit = {"unit": "ADU"} if one.name == "xray_gain" else {}
        block = {"noisy_adc_block": "2x4"} if one.name == "mask_noisy_adc" else {}
        changes.append({"steps": Steps(**{one.name: value}, **block), **unit})
    for number, change in enumerate(changes):
        given = {**asked, **change}
        assert_same(make_tables(**given), tables_of(**given, cache=cache))
        assert len(names(cache)) == number + 1, change
    # Repeated and in any order cells are the same cells.
    tables_of(**{**asked, "cell_id": np.array([2, 1, 0])}, cache=cache)
    assert len(names(cache)) == len(changes)


@pytest.mark.parametrize("name", AFTER_FOLDING)
def test_steps_after_folding_make_none(asked, cache, name):
    """Folded constants do not depend on them, and they need no other entry."""
    values = {"cm_dark_range": "-20 20 ADU", "cm_medians": "banks", "cm_passes": 1, "cm_n_itr": 2}
    values |= {"round_photons": True, "cm_limit": 50.0, "blc_noise_threshold": 10.0}
    default = getattr(Steps(), name)
    value = values[name] if name in values else not default if isinstance(default, bool) else default / 2
    common = {"common_mode": True} if name == "cell_common_mode" else {}
    changed = {**asked, "unit": "photon", "steps": Steps(**{name: value}, **common)}
    tables_of(**{**asked, "unit": "photon"}, cache=cache)
    assert_same(make_tables(**changed), tables_of(**changed, cache=cache))
    assert len(names(cache)) == 1


def test_the_version_makes_an_entry(asked, cache, monkeypatch):
    tables_of(**asked, cache=cache)
    monkeypatch.setattr(folded_cache, "FOLD_VERSION", FOLD_VERSION + 1)
    tables_of(**asked, cache=cache)
    monkeypatch.setattr(folded_cache, "__version__", "1000")
    tables_of(**asked, cache=cache)
    assert len(names(cache)) == 3


def test_the_version_of_folding_is_that_of_its_bits(asked):
    """Where this fails, what is folded has other bits than before: raise FOLD_VERSION, and note them here."""
    steps = Steps(
        force_mg_if_below=100.0, force_hg_if_below=150.0, mask_noisy_adc=True, noisy_adc_block="2x4"
    )
    found = hashlib.sha256()
    for more in ({}, {"unit": "photon"}, {"steps": steps}, {"gain_mode": "fixed_medium"}):
        tables = make_tables(**{**asked, **more})
        found.update(tables.table.tobytes() + tables.mask.tobytes())
    assert found.hexdigest().startswith(FOLDED[FOLD_VERSION])


def test_the_content_decides(asked, constants_file, cache, agipd, tmp_path):
    tables_of(**asked, cache=cache)
    copy = Path(shutil.copy(constants_file, tmp_path / "of another name.h5"))
    tables_of(**{**asked, "constants": Constants.open(copy, agipd)}, cache=cache)
    assert len(names(cache)) == 1
    # Same size and time of change, one number less.
    before = constants_file.stat()
    again = Constants.open(constants_file, agipd)
    changed = {m: again.load("offset", m) + np.float32(m == 4) for m in (3, 4)}
    arrays = {name: {m: again.load(name, m) for m in (3, 4)} for name in again.names} | {"offset": changed}
    Constants.from_arrays(agipd, arrays).save(constants_file)
    os.utime(constants_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    given = {**asked, "constants": Constants.open(constants_file, agipd)}
    assert_same(make_tables(**given), tables_of(**given, cache=cache))
    assert len(names(cache)) == 2


def test_a_checksum_is_remembered_while_a_file_stays(tmp_path, monkeypatch):
    file, seen = tmp_path / "file", tmp_path / "seen"
    file.write_bytes(b"abc")
    old = content_checksum(file, seen)
    assert not seen.exists()  # too young: it might change again within the tick of its time
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert content_checksum(file, seen) == old
    [note] = seen.iterdir()
    note.write_text(note.read_text().replace(old, "remembered"))
    assert content_checksum(file, seen) == "remembered"
    for change in (lambda: file.write_bytes(b"abd"), lambda: os.utime(file, ns=(1, 1))):
        note.write_text(json.dumps(json.loads(note.read_text()) | {"checksum": "remembered"}))
        change()
        assert content_checksum(file, seen) == content_checksum(file)
    for text in ("", "[]", "{}", '{"stamp": 1}'):
        note.write_text(text)
        assert content_checksum(file, seen) == content_checksum(file)


def test_the_list_of_entries(asked, cache, capsys, monkeypatch, constants_file):
    tables_of(**asked, cache=cache)
    tables_of(**{**asked, "unit": "photon", "modules": (3,)}, cache=cache)
    capsys.readouterr()
    monkeypatch.setenv(folded_cache.ENVIRONMENT, str(cache))
    assert cli.main(["constants", "cache", "--check"]) == 0
    said = capsys.readouterr().out
    assert f"AGIPD1M, 1 modules, 3 cells, adaptive, photon (9.3 keV), {constants_file}" in said
    assert "in all: 2 entries" in said
    # A byte that has changed is found by reading everything alone.
    table = cache / names(cache)[0] / "table.npy"
    table.write_bytes(table.read_bytes()[:-1] + b"\x01")
    assert cli.main(["constants", "cache", str(cache)]) == 0
    assert cli.main(["constants", "cache", str(cache), "--check"]) == 1
    assert "table.npy does not have the bytes" in capsys.readouterr().out
    (cache / "mine.txt").write_text("stays")
    assert cli.main(["constants", "cache", str(cache), "--clear", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert [one.name for one in cache.iterdir()] == ["mine.txt"]
    assert cli.main(["constants", "cache", str(cache / "none")]) == 1
    monkeypatch.delenv(folded_cache.ENVIRONMENT)
    assert cli.main(["constants", "cache"]) == 1
    assert folded_cache.ENVIRONMENT in capsys.readouterr().err


def test_constants_in_memory_are_not_kept(asked, agipd, cache, capsys):
    arrays = {n: {m: asked["constants"].load(n, m) for m in (3, 4)} for n in asked["constants"].names}
    given = {**asked, "constants": Constants.from_arrays(agipd, arrays)}
    assert_same(make_tables(**asked), tables_of(**given, cache=cache))
    assert "not in files" in capsys.readouterr().err
    assert not cache.exists()


def test_constants_that_change_meanwhile_are_not_kept(asked, constants_file, cache, monkeypatch, capsys):
    def fold(*args, **options):
        os.utime(constants_file, ns=(5, 5))
        return make_tables(*args, **options)

    monkeypatch.setattr(folded_cache, "make_tables", fold)
    tables_of(**asked, cache=cache)
    assert "have changed while" in capsys.readouterr().err
    assert names(cache) == []


def test_folders_of_the_facility(agipd, facility_arrays, tmp_path, cache):
    """How files are used matters as what they hold."""
    arrays = facility_arrays(agipd, 3)
    folders = {gain: tmp_path / f"gain {gain}" for gain in (1.0, 2.0)}
    for gain, folder in folders.items():
        write_facility(folder, agipd, {"PDU": arrays}, {"PDU": 3}, {})
        toml = folder / "modules.toml"
        text = "".join(line for line in toml.open() if not line.startswith("ff_gain"))
        toml.write_text(f"ff_gain = {gain}\n" + text)
    for folder in (*folders.values(), folders[1.0]):
        constants = Constants.open(folder, agipd)
        given = (constants, agipd, (3,), np.arange(3), Steps(), "keV", 9.3, "adaptive")
        assert_same(make_tables(*given), tables_of(*given, cache=cache))
    assert len(names(cache)) == 2


def test_noise_of_each_pixel_is_kept_too(asked, cache, monkeypatch, capsys):
    constants, modules = asked["constants"], asked["modules"]
    plain = noise_table(constants, make_tables(**asked), modules)
    energies = (9.3, 8.0)  # another table, and another one of its noise
    for energy in energies:
        tables = tables_of(**asked | {"photon_energy_kev": energy, "unit": "photon"}, cache=cache)
        np.testing.assert_array_equal(noise_of(constants, tables, modules, cache), plain)
    assert len(names(cache)) == 4
    tables = tables_of(**asked | {"cell_id": np.array([0, 2])}, cache=cache)
    assert len(noise_of(constants, tables, modules, cache)) == 4
    assert len(names(cache)) == 6
    tables = tables_of(**asked | {"unit": "photon"}, cache=cache)
    monkeypatch.setattr(folded_cache, "noise_table", made_again)
    found = noise_of(constants, tables, modules, cache)
    np.testing.assert_array_equal(found, plain)
    assert not found.flags.writeable
    assert len(names(cache)) == 6
    capsys.readouterr()
    assert cli.main(["constants", "cache", str(cache)]) == 0
    assert "AGIPD1M, 2 modules, 3 cells, noise of each pixel" in capsys.readouterr().out
