"""Masks beside those of the constants: polarity, shapes, choice of bits, noisy readout blocks."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Steps, fold
from shotsieve.constants.bad_pixels import DEFAULT_BAD_BITS, BadPixels
from shotsieve.constants.mask_file import read_mask, save_mask
from shotsieve.constants.masks import StaticMask, flag_noisy, noisy_blocks, parse_block
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build

AGIPD = detectors.load("AGIPD1M")
USER1 = int(BadPixels.USER1)


@pytest.fixture
def save(tmp_path):
    def save(values):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, values)
        return path

    return save


@pytest.fixture(scope="module")
def constants():
    p = SpiParameters(n_trains=1, n_cells=3, modules=(3,))
    return constants_in_memory(p, build(p)[1])


@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "f4"])
def test_either_polarity_is_said(save, dtype):
    good = np.ones((512, 128), dtype)
    good[5, 7] = 0
    for bad, values in (("zero", good), ("nonzero", (good == 0).astype(dtype))):
        mask = read_mask(save(values), bad, AGIPD, (3, 4))
        for module in (3, 4):
            bits = mask.of(module, np.array([0, 9])).reshape(2, 512, 128)
            assert (bits[:, 5, 7] == USER1).all()
            assert np.count_nonzero(bits) == 2


def test_bits_are_taken_as_they_are(save):
    bits = np.zeros((16, 512, 128), "u4")
    bits[3, 0, 1], bits[4, 2, 0] = 0xFFFFFFFF, 4
    mask = read_mask(save(bits), "bits", AGIPD, (3, 4))
    assert mask.of(3, np.array([0])).max() == 0xFFFFFFFF
    assert mask.of(4, np.array([0])).reshape(512, 128)[2, 0] == 4


def test_a_real_mask(real_data):
    path = real_data / "masks" / "agipd_mid_mask_r0041.npy"
    mask = read_mask(path, "zero", AGIPD, AGIPD.modules)
    stored = np.load(path)
    assert mask.share() == pytest.approx(1 - stored.mean())
    assert mask.share() < 0.1
    assert ((mask.of(7, np.array([0]))[0] == 0) == stored[7].reshape(-1)).all()


def test_hdf5_with_cells_comes_back(tmp_path, rng):
    bits = rng.integers(0, 2**32, (2, 3, 65536), "u4")
    mask = StaticMask(bits, (3, 8), (7, 2, 0))
    save_mask(tmp_path / "m.h5", mask, (512, 128), trains=5)
    again = read_mask(f"{tmp_path / 'm.h5'}:/mask", "bits", AGIPD, (3, 8))
    np.testing.assert_array_equal(again.of(8, np.array([0, 7, 0])), bits[1, [2, 0, 2]])
    with pytest.raises(BadInput, match="no memory cell 1"):
        again.of(8, np.array([1]))
    with pytest.raises(BadInput, match="no module 4"):
        again.of(4, np.array([0]))


def test_two_masks_are_one():
    one = StaticMask(np.full((2, 1, 8), 1, "u4"), (3, 4), None)
    other = StaticMask(np.array([[[2] * 8, [4] * 8]], "u4"), (4,), (5, 6))
    both = one | other
    assert both.modules == (4,)
    assert both.of(4, np.array([6, 5]))[:, 0].tolist() == [5, 3]
    assert (one | None) is one


@pytest.mark.parametrize(
    ("values", "bad", "error", "text"),
    [
        (np.ones((512, 127)), "zero", BadInput, "shape \\(512, 127\\); expected \\(512, 128\\)"),
        (np.ones((5, 512, 128)), "zero", BadInput, "5 modules; expected 2 or 16"),
        (np.ones((2, 2, 512, 128)), "zero", BadInput, "no cellId of them"),
        (np.full((512, 128), np.nan), "zero", BadInput, "no NaN"),
        (np.ones((512, 128), bool), "bits", BadInput, "bits of bad pixels are whole numbers"),
        (np.full((512, 128), -1), "bits", BadInput, "bits of bad pixels are whole numbers"),
        (np.ones((512, 128)), "true", BadInput, "must be one of zero, nonzero, bits"),
        (None, "zero", UnreadableData, "cannot be read"),
    ],
)
def test_wrong_masks_are_refused(save, tmp_path, values, bad, error, text):
    path = tmp_path / "none.npy" if values is None else save(values)
    with pytest.raises(error, match=text):
        read_mask(path, bad, AGIPD, (3, 4))


def test_a_dataset_that_is_not_there(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["other"] = 1
    with pytest.raises(BadInput, match="no dataset /mask"):
        read_mask(f"{tmp_path / 'm.h5'}:/mask", "bits", AGIPD, (3,))


def test_folding_takes_the_pixels_out_where_their_bits_count(constants):
    cells, bits = np.array([0, 2]), np.zeros((1, 1, 65536), "u4")
    good = np.isfinite(fold(constants, AGIPD, 3, cells, Steps()).table[:, 5]).all(axis=0)
    pixels = np.flatnonzero(good)[:2]
    bits[0, 0, pixels[0]], bits[0, 0, pixels[1]] = USER1, int(BadPixels.INTERPOLATED)
    mask = StaticMask(bits, (3,), None)
    folded = fold(constants, AGIPD, 3, cells, Steps(), masks=mask)
    assert np.isnan(folded.table[:, 5:8, pixels[0]]).all()
    assert np.isfinite(folded.table[:, 5:8, pixels[1]]).all()
    assert (folded.mask[:, :, pixels] & bits[0, 0, pixels] == bits[0, 0, pixels]).all()
    # Which bits count is a choice.
    free = Steps(bad_bits=DEFAULT_BAD_BITS & ~USER1)
    assert np.isfinite(fold(constants, AGIPD, 3, cells, free, masks=mask).table[:, 5, pixels[0]]).all()


def test_every_bit_counts_where_it_is_chosen(constants):
    """Each of the 32 bits, alone: bad where it is among `bad_bits`, and only there."""
    good = np.flatnonzero(fold(constants, AGIPD, 3, [0], Steps()).mask[0, 0] == 0)[:32]
    bits = np.zeros((1, 1, 65536), "u4")
    bits[0, 0, good] = np.uint32(1) << np.arange(32, dtype="u4")
    mask = StaticMask(bits, (3,), None)
    for chosen in (0xFFFFFFFF, DEFAULT_BAD_BITS, 1 << 14 | 1 << 31, 0):
        folded = fold(constants, AGIPD, 3, [0], Steps(bad_bits=chosen), masks=mask)
        bad = np.isnan(folded.table[0, 5, good])
        assert bad.tolist() == [bool(chosen >> bit & 1) for bit in range(32)]
        assert (folded.mask[0, 0, good] == bits[0, 0, good]).all()


def test_blocks_with_more_than_the_share_of_bad_pixels():
    """A quarter of 64 x 16 is 256 pixels: strictly more is asked for."""
    bad = np.zeros((2, 512, 128), bool)
    bad[0, 64:80, 16:32], bad[1, 64:80, 16:32] = True, True
    bad[1, 127, 31] = True
    noisy = noisy_blocks(bad.reshape(2, -1), (512, 128), (64, 16), 0.25).reshape(2, 512, 128)
    assert not noisy[0].any()
    assert noisy[1, 64:128, 16:32].all()
    assert np.count_nonzero(noisy) == 1024
    bits = bad.reshape(2, -1).astype("u4")
    flagged = flag_noisy(bits, (512, 128), (64, 16), 0.25, DEFAULT_BAD_BITS)
    assert ((flagged & int(BadPixels.NOISY_ADC) != 0) == noisy.reshape(2, -1)).all()
    assert (flagged & 1 == bits).all()
    assert (flag_noisy(bits, (512, 128), (64, 16), 0.25, 0) == bits).all()


def test_noisy_blocks_are_flagged_when_folding(constants):
    bits = np.zeros((1, 1, 512, 128), "u4")
    bits[0, 0, :20, :16] = USER1
    mask = StaticMask(bits.reshape(1, 1, -1), (3,), None)
    plain = fold(constants, AGIPD, 3, [0], Steps(), masks=mask).mask
    noisy = fold(constants, AGIPD, 3, [0], Steps(mask_noisy_adc=True), masks=mask)
    flagged = (noisy.mask & int(BadPixels.NOISY_ADC) != 0).reshape(3, 512, 128)
    assert flagged[:, :64, :16].all()
    assert np.count_nonzero(flagged) == 3 * 1024
    assert (noisy.mask & ~np.uint32(BadPixels.NOISY_ADC) == plain).all()
    assert np.isnan(noisy.table[0, 5].reshape(512, 128)[:64, :16]).all()


@pytest.mark.parametrize("text", ["64", "64x", "0x16", "ax16", "-1x2"])
def test_wrong_blocks_are_refused(text):
    with pytest.raises(BadInput, match="expected slow scan x fast scan"):
        Steps(noisy_adc_block=text)


def test_blocks_that_do_not_divide_a_module(constants):
    with pytest.raises(BadInput, match="does not divide"):
        parse_block("60x16", (512, 128))
    with pytest.raises(BadInput, match="must be at least 0 and below 1"):
        Steps(noisy_adc_threshold=1.0)


@pytest.mark.parametrize(("choice", "marked", "bad"), [("keep", 0, 0), ("mark", 14, 0), ("mask", 14, 14)])
def test_seams_of_asics_are_computed(constants, choice, marked, bad):
    """Two of 512 rows at each of the seven borders of ASICs: 63, 64, 127 ... 448."""
    plain = fold(constants, AGIPD, 3, [0], Steps())
    folded = fold(constants, AGIPD, 3, [0], Steps(double_pixels=choice))
    bit = np.uint32(BadPixels.NON_STANDARD_SIZE)
    rows = np.flatnonzero((folded.mask[0, 0] & bit != 0).reshape(512, 128).all(axis=1))
    assert rows.tolist() == [row for row in range(512) if row % 64 in (0, 63) and 0 < row < 511][:marked]
    assert np.count_nonzero(folded.mask & bit) == marked * 128 * 3
    newly = np.isnan(folded.table[0, 5]) & np.isfinite(plain.table[0, 5])
    assert set(np.flatnonzero(newly) // 128) <= set(rows if bad else [])
    assert newly.any() == bool(bad)


def test_files_that_are_no_masks_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "m.npz", good=np.ones((512, 128)))
    with pytest.raises(BadInput, match="archive of several arrays"):
        read_mask(tmp_path / "m.npz", "zero", AGIPD, (3, 4))
    np.save(tmp_path / "large.npy", np.full((512, 128), 2**33))
    with pytest.raises(BadInput, match="32 bits"):
        read_mask(tmp_path / "large.npy", "bits", AGIPD, (3, 4))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["in/mask"] = np.zeros((1, 512, 128), "u4")
        file["in/modules"] = 4
    with pytest.raises(BadInput, match="/in is a group"):
        read_mask(f"{tmp_path / 'm.h5'}:/in", "bits", AGIPD, (3, 4))
    assert read_mask(f"{tmp_path / 'm.h5'}:/in/mask", "bits", AGIPD, (3, 4)).modules == (4,)
    one, other = (StaticMask(np.zeros((1, 1, 8), "u4"), (m,), None) for m in (3, 4))
    with pytest.raises(BadInput, match="no module in common"):
        one | other
