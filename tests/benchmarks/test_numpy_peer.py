"""The peer of the benchmark counts what the kernels count, whichever way it is written."""

from __future__ import annotations

import numpy as np
import pytest
from detector_case import CHIPS, IN_PARALLEL, DetectorOnDevice, case_of
from detector_peer import peers_of
from lit_case import OnDevice, make_case
from numpy_peer import all_peers
from shotsieve import backend as backends
from shotsieve.reference.bank_mode import bank_mode
from test_bank_mode import how, numpy_modes, with_modes
from test_calibrate_lit import check_counts


@pytest.fixture(scope="module")
def case():
    return make_case(cells=2, trains=2, seed=3)


def test_the_case_is_what_it_says(case):
    assert case.raw.shape == (2, 2, 2, 65536)
    assert case.switched_share == pytest.approx(13 / 65536)
    assert case.table.shape == (2, 8, 65536)
    per_frame = case.least_bytes() / case.frames
    assert per_frame == 65536 * 4 + 40 + 65536 * 12 / 2


@pytest.mark.parametrize("photons", [False, True])
def test_every_peer_agrees_with_the_kernel(case, photons):
    params = case.params(photons)
    device = OnDevice(case, backends.get("cpu"))
    device.run(params)
    ours = device.result()[:, 0]
    assert (ours[:, 0] > 0).all()
    for name, peer in all_peers(case, params).items():
        try:
            check_counts(ours, peer.run().reshape(-1, 4), photons)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_modules_on_a_device_have_words_of_their_own(case, backend_name):
    device = OnDevice(case, backends.get(backend_name), modules=2)
    device.run(case.params(True))
    counts = device.result()
    assert counts.shape == (4, 2, 5)
    np.testing.assert_array_equal(counts[:, 0], counts[:, 1])
    assert device.raw.shape[0] == 8
    assert device.table.shape[0] == 4


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("photons", [False, True])
def test_peers_of_every_detector_agree_with_the_kernel(name, photons):
    case = case_of(name, quick=True)
    params = case.params(photons)
    device = DetectorOnDevice(case, backends.get("cpu"))
    device.run(params)
    ours = device.result()[:, 0]
    assert (ours[:, 0] > 0).all()
    for peer in peers_of(case, params).values():
        check_counts(ours, peer.run().reshape(-1, 4), photons)


def test_words_of_parallel_gain_are_in_all_three_stages():
    case = case_of("LPD1M" + IN_PARALLEL, quick=True)
    assert case.raw.shape == (2, 3, 3, 65536)
    words, least = case.raw & 4095, case.table[None, :, :2]
    medium = words[:, :, 0] > least[:, :, 0]
    low = medium & (words[:, :, 1] > least[:, :, 1])
    # Discs of 13 pixels, with one in low gain in their middles.
    assert medium.sum() == 13 * low.sum() > 0
    assert case.switched_share == medium.mean()


def test_rows_without_a_sensor_hold_anything_and_do_not_count():
    case = case_of("LPDMINI", quick=True)
    words, good = case.raw.reshape(2, 3, 256, 256), np.isfinite(case.table[:, 5]).reshape(3, 256, 256)
    assert set(np.unique(words[:, :, 32:64] >> 12)) == {0, 1, 2, 3}
    assert not good[:, 32:64].any()
    assert not good[:, 96:].any()
    assert good[:, 0:32].mean() == pytest.approx(0.99, abs=0.01)


def test_the_peer_of_medians_finds_those_of_the_reference():
    case = with_modes(case_of("EPIX100", quick=True))
    wanted = np.zeros((case.frames, case.pixels), "i4")
    raw = case.raw.reshape(case.frames, 1, case.pixels)
    bank_mode(raw, [0], [(0, 1, 0)], case.table, wanted, **vars(how(case)))
    np.testing.assert_allclose(wanted[0] / 256, numpy_modes(raw[0], case.table[0], case), atol=0.05)
