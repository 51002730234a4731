"""The peer of the benchmark counts what the kernels count, whichever way it is written."""

from __future__ import annotations

import numpy as np
import pytest
from detector_case import CHIPS, DetectorOnDevice, case_of
from detector_peer import peers_of
from lit_case import OnDevice, make_case
from numpy_peer import all_peers
from shotsieve import backend as backends
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
