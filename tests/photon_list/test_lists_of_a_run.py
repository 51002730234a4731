"""Photon lists of a reduction: the photon frames again, bit for bit, and what is summed over them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.keep import chosen, kept_whole
from shotsieve.photon_list_io import MISSING
from shotsieve.simulate.receiver import simulate_receiver
from shotsieve.simulate.receiver_parameters import ReceiverParameters
from shotsieve.write.photon_lists import LIST, MASKS, SHOTS, Masks

CORR = "INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{}CH0:output"


def frames_of(result, module, group="image", names=("data", "mask")):
    """Planes of a module from all files, and the (train, pulse) of each row."""
    found, keys = {name: [] for name in names}, []
    for path in sorted(result.out.glob(f"*AGIPD{module:02d}-S*.h5")):
        with h5py.File(path) as file:
            images = file[CORR.format(module) + "/" + group]
            keys.append(np.stack([images["trainId"][:], images["pulseId"][:]], axis=1))
            for name in names:
                found[name].append(images[name][:])
    return {name: np.concatenate(arrays) for name, arrays in found.items()}, np.concatenate(keys)


@pytest.mark.parametrize(
    "write",
    [
        {"whole": 0.3},
        {"dtype": "uint8", "compression": "none"},
        {"trains_per_file": 1, "whole": 1.0},
    ],
)
def test_dense_lists_are_the_photon_frames_bit_for_bit(reduced, write):
    dtype = {"dtype": write["dtype"]} if "dtype" in write else {}
    frames, listed = reduced("photons", **dtype), reduced("photon_list", **write)
    with shotsieve.PhotonLists(listed.out) as photons:
        data, mask = photons.frames()
        assert photons.modules == (3, 9)
        assert len(photons) == 18
        np.testing.assert_array_equal(photons.present.sum(axis=0), [18, 12])
        keys = np.stack([photons.train_id, photons.pulse_id], axis=1)
        for m, module in enumerate(photons.modules):
            wanted, wanted_keys = frames_of(frames, module)
            here = photons.present[:, m]
            np.testing.assert_array_equal(keys[here], wanted_keys)
            assert data.dtype == wanted["data"].dtype
            np.testing.assert_array_equal(data[here, m], wanted["data"])
            np.testing.assert_array_equal(mask[here, m], wanted["mask"])
            assert (mask[~here, m] == MISSING).all()
            assert not data[~here, m].any()
            assert wanted["data"].any()
            assert (wanted["mask"] != 0).any()
        for k, shot in enumerate(photons):
            assert (shot.train_id, shot.pulse_id) == tuple(keys[k])
            assert list(shot.lists) == [
                m for m, here in zip(photons.modules, photons.present[k], strict=True) if here
            ]
            for module, one in shot.lists.items():
                np.testing.assert_array_equal(one.dense()[0], data[k, photons.modules.index(module)])
        trains = list(photons.trains())
        np.testing.assert_array_equal([train for train, _ in trains], np.unique(photons.train_id))
        np.testing.assert_array_equal(np.concatenate([shots for _, shots in trains]), np.arange(18))
        assert all((photons.train_id[shots] == train).all() for train, shots in trains)
        order = np.array([7, 2, 3, 4, 2])
        np.testing.assert_array_equal(photons.frames(order)[0], data[order])
        np.testing.assert_array_equal(photons.frames(order)[1], mask[order])


def test_a_share_of_the_shots_is_kept_whole_by_the_hash_of_its_own_key(reduced):
    listed, frames = reduced("photon_list", whole=0.3), reduced("photons")
    told, keys = frames_of(listed, 3, names=("data", "gain", "mask"))
    every, all_keys = frames_of(frames, 3, names=("data", "gain", "mask"))
    which = kept_whole(0.3, 0, all_keys[:, 0], all_keys[:, 1])
    assert 0 < which.sum() < len(which)
    np.testing.assert_array_equal(keys, all_keys[which])
    for name, values in told.items():
        np.testing.assert_array_equal(values, every[name][which])
    # It says nothing of the misses that the same seed keeps.
    train, pulse = np.arange(4000, dtype="u8"), np.zeros(4000, "u8")
    both = (kept_whole(0.5, 3, train, pulse) & chosen(0.5, 3, train, pulse)).mean()
    assert 0.2 < both < 0.3


def test_nothing_but_lists_stands_there_by_default(reduced):
    told, keys = frames_of(reduced("photon_list", dtype="uint8", compression="none"), 3)
    assert told["data"].shape == (0, 512, 128)
    assert len(keys) == 0


def test_bytes_do_not_depend_on_how_frames_come(speckles, tmp_path):
    digests = []
    for number, block_bytes in enumerate((1, 1 << 28)):
        recipe = {"calibrate": {}, "write": {"content": "photon_list", "whole": 0.4}}
        result = shotsieve.reduce(
            speckles.raw,
            recipe,
            tmp_path / str(number),
            constants=speckles.constants,
            backend="cpu",
            block_bytes=block_bytes,
        )
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in result.files])
    assert digests[0] == digests[1]


def test_a_reduction_is_in_order_alone_and_against_its_run(reduced, speckles):
    for write in ({"whole": 0.3}, {"trains_per_file": 1, "whole": 1.0}):
        listed = reduced("photon_list", **write)
        report = check(listed.out)
        assert report.ok, report.faults
        assert report.chunks > 18
        again = check_against(report, speckles.raw, constants=speckles.constants, backend="cpu")
        assert again.ok, again.faults


@pytest.mark.parametrize(
    ("group", "name", "text"),
    [
        (LIST, "count", "the photon list of train .* is not what was written"),
        (LIST, "pixel", "the photon list of train .* is not what was written"),
        (MASKS, "mask", "mask 0 of photonMask is not what was written"),
        (SHOTS, "number", "photons/first does not fit photons/number"),
        (SHOTS, "mask", "photons/mask tells of masks that are not there"),
        (SHOTS, "cellId", "their cell ids differ"),
    ],
)
def test_what_was_changed_is_found_and_named(reduced, speckles, tmp_path, group, name, text):
    out = tmp_path / "out"
    shutil.copytree(reduced("photon_list", whole=0.3).out, out)
    [path] = out.glob("*AGIPD03-S*.h5")
    with h5py.File(path, "r+") as file:
        dataset = file[f"{CORR.format(3)}/{group}/{name}"]
        values = dataset[:]
        values.reshape(-1)[:1] += 1000 if name == "mask" else 1
        dataset[:] = values
    faults = check(out).faults
    assert any(path.name in fault and "checksum" in fault for fault in faults)  # of the whole file
    assert any(re.search(text, fault) for fault in faults), faults
    if group in (LIST, MASKS):
        report = check_against(check(out), speckles.raw, constants=speckles.constants, backend="cpu")
        assert any("of the photon list is not what its source gives" in one for one in report.faults)


def test_frames_of_other_shots_kept_whole_are_found(reduced, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(reduced("photon_list", whole=0.3).out, out)
    settings = out / "shotsieve" / "settings.json"
    told = json.loads(settings.read_text())
    told["photon_list.whole"] = 0.9
    settings.write_text(json.dumps(told))
    assert any("frames, and the table" in fault for fault in check(out).faults)


def test_lists_that_are_not_complete_are_refused(reduced, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(reduced("photon_list", trains_per_file=1, whole=1.0).out, out)
    [path] = out.glob("*AGIPD03-S00001.h5")
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(UnreadableData, match=r"S00001\.h5 is gone: the photon lists are not complete"):
        shotsieve.PhotonLists(out)
    (out / "shotsieve" / "ledger.json").unlink()
    with pytest.raises(UnreadableData, match="photon lists of 12 shots, and the table tells of 18"):
        shotsieve.PhotonLists(out)
    path.write_bytes(kept[:1000])
    with pytest.raises(UnreadableData, match="cannot be read"):
        shotsieve.PhotonLists(out)
    path.write_bytes(kept)
    with h5py.File(path, "r+") as file:
        file[f"{CORR.format(3)}/{LIST}/count"].resize(3, axis=0)
    with shotsieve.PhotonLists(out) as photons, pytest.raises(UnreadableData, match="entries are gone"):
        photons.frames()


def test_other_outputs_and_wrong_asks_are_refused(reduced, tmp_path):
    with pytest.raises(BadInput, match=r'has no photon lists: .*content = "photon_list"'):
        shotsieve.PhotonLists(reduced("photons").out)
    with pytest.raises(BadInput, match="is not a reduced run"):
        shotsieve.PhotonLists(tmp_path)
    with pytest.raises(BadInput, match="holds photon lists"):
        shotsieve.reduce(reduced("photon_list", whole=0.3).out, {"calibrate": {}}, tmp_path / "again")
    with shotsieve.PhotonLists(reduced("photon_list", whole=0.3).out) as photons:
        with pytest.raises(BadInput, match="from 0 to 17"):
            photons.frames([18])
        with pytest.raises(BadInput, match="there is no module 4; there are 3, 9"):
            photons.lists(4)
        with pytest.raises(BadInput, match="expected whole numbers of shape"):
            photons.sums(np.zeros((2, 512, 127), "i8"), 3)
        with pytest.raises(BadInput, match=r"labels go from 0 to 3; expected -1 \(none\) to 2"):
            photons.sums(np.full((2, 512, 128), 3) * (np.arange(128) > 5), 3)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ({"write": {"content": "photons", "whole": 0.1}}, 'whole belongs to content = "photon_list"'),
        ({"write": {"content": "photon_list", "whole": 1.5}}, "whole = 1.5: expected a share"),
        ({"write": {"content": "photon_list", "nexus": True}}, "nexus"),
        (
            {"write": {"content": "photon_list", "cxi": True}},
            "cxi = true writes the frames of all kept shots",
        ),
        ({"write": {"content": "raw", "dtype": "uint8"}}, 'content = "photons" or "photon_list"'),
    ],
)
def test_recipes_that_make_no_lists_are_refused(recipe, text):
    with pytest.raises(BadInput, match=text):
        shotsieve.Recipe.from_dict({"calibrate": {}, **recipe})


def test_values_without_photons_are_refused(speckles, tmp_path):
    recipe = {"calibrate": {"xray_gain": False}, "write": {"content": "photon_list"}}
    with pytest.raises(BadInput, match='"photon_list" cannot be made of values in ADU'):
        shotsieve.reduce(speckles.raw, recipe, tmp_path / "out", constants=speckles.constants, backend="cpu")


def test_masks_that_differ_from_shot_to_shot_come_back():
    """Saturated pixels, another cell, a frame without constants: the whole mask of a cell and differences."""
    rng = np.random.default_rng(5)
    usual = {cell: rng.choice([0, 0, 0, 8], 4096).astype("u4") for cell in (0, 1)}
    masks, whole, came = Masks(), [], []
    for k in range(40):
        cell = int(rng.integers(0, 2))
        mask = usual[cell].copy()
        mask[rng.integers(0, 4096, rng.integers(0, 5))] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
        if k in (11, 30):
            mask[:] = BadPixels.NO_DARK_DATA
        entry = masks.of(cell, mask)
        whole += [one for _, one in masks.added]
        masks.added.clear()
        again = whole[entry.row].copy()
        again[entry.pixel] = entry.bits
        np.testing.assert_array_equal(again, mask)
        came.append(entry)
    assert len(whole) < 10
    assert any(len(entry.pixel) for entry in came)


@pytest.mark.parametrize("drop_cells", [False, True])
def test_detectors_that_store_trains(tmp_path, drop_cells):
    """Of JUNGFRAU shots are listed one by one, and kept whole by trains unless cells may be dropped.

    Modules have more pixels than 16 bits count, and saturated pixels make masks differ from shot to shot.
    """
    run = simulate_receiver(
        tmp_path / "sim", ReceiverParameters(n_trains=3, n_frames=3, peak_photons=(300, 900), hit_rate=0.8)
    )
    out, made = {}, {}
    for content in ("photons", "photon_list"):
        write = {"content": content, "dtype": "uint8", "drop_cells": drop_cells}
        if content == "photon_list":
            write["whole"] = 0.5
        recipe = {"calibrate": {"photon_energy": "9 keV"}, "write": write, "keep": {"rule": "cell_id >= 1"}}
        made[content] = shotsieve.reduce(
            run.raw, recipe, tmp_path / content, constants=run.constants, backend="cpu"
        )
        with h5py.File(made[content].files[0]) as file:
            source = file[file["METADATA/dataSources/dataSourceId"].asstr()[0].rpartition("/")[0]]
            out[content] = {name: source["data"][name][:] for name in ("adc", "mask")}
            if content == "photon_list":
                assert source["photonList/pixel"].dtype == np.dtype("u4")
                assert len(source["photonMaskList/pixel"]) > 0
    kept = 6 if drop_cells else 9
    with shotsieve.PhotonLists(tmp_path / "photon_list") as photons:
        data, mask = photons.frames()
        assert len(data) == kept
        cells = [0, 2] if drop_cells else [0, 1, 2]  # memory cells are 15, 0, 1
        frames, masks = (out["photons"][name][:, cells].reshape(kept, 512, 1024) for name in ("adc", "mask"))
        np.testing.assert_array_equal(data[:, 0], frames)
        np.testing.assert_array_equal(mask[:, 0], masks)
        assert (mask & np.uint32(BadPixels.VALUE_OUT_OF_RANGE)).any()
        whole = kept_whole(0.5, 0, photons.train_id, photons.pulse_id, by_train=not drop_cells)
        assert out["photon_list"]["adc"].any(axis=(2, 3)).sum() == (frames.any(axis=(1, 2)) & whole).sum()
    report = check_against(check(tmp_path / "photon_list"), run.raw, constants=run.constants, backend="cpu")
    assert report.ok, report.faults


def test_an_interrupted_reduction_goes_on_to_the_same_bytes(speckles, reduced, tmp_path, interrupt_after):
    recipe = {
        "calibrate": {},
        "measure": {"lit": {}},
        "write": {"content": "photon_list", "trains_per_file": 1, "whole": 1.0},
    }
    given = {"constants": speckles.constants, "backend": "cpu"}
    with interrupt_after("reduce", 1):
        shotsieve.reduce(speckles.raw, recipe, tmp_path / "out", **given)
    result = shotsieve.reduce(speckles.raw, recipe, tmp_path / "out", resume=True, **given)
    assert result.digest == reduced("photon_list", trains_per_file=1, whole=1.0).digest


def test_a_run_of_which_nothing_is_kept(speckles, tmp_path, rings):
    recipe = {
        "calibrate": {},
        "measure": {"lit": {}},
        "keep": {"rule": "lit_pixels > 1e7"},
        "write": {"content": "photon_list", "whole": 0.5},
    }
    out = tmp_path / "out"
    shotsieve.reduce(speckles.raw, recipe, out, constants=speckles.constants, backend="cpu")
    assert check(out).ok
    with shotsieve.PhotonLists(out) as photons:
        kept = len(photons)
        data, mask = photons.frames()
        assert data.shape == mask.shape == (kept, 2, 512, 128)
        assert photons.sums(np.zeros((2, 512, 128), int), 1)[0].shape == (kept, 1)
        if not kept:
            with pytest.raises(BadInput, match="no shot was kept"):
                photons.profiles(rings())
