"""Angular correlation: the transforms against sums over every pair, and whole frames against both."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.measure import angular
from shotsieve.measure.angular import NORMALISE, AngularSums
from shotsieve.measure.xcca import polar_maps
from shotsieve.reference import angular as reference

RANGE = {"radial_range": (0.2, 1.0)}


def polar(rng, frames=5, n_q=4, n_phi=9):
    """Maps with gaps that all frames share, gaps of their own, an empty ring and one that is dark."""
    maps = rng.poisson(3, (frames, n_q, n_phi)).astype("f8")
    valid = np.ones(maps.shape, bool)
    valid[:, 1, 2:5] = False
    valid[1, 0, 3] = False
    if frames > 3:
        maps[2, 3], valid[3, 2] = 0.0, False
    return maps, valid


def expected(maps, valid, normalise):
    numerator, pairs = reference.correlate(*reference.fluctuation(maps, valid, normalise))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, numerator / pairs, np.nan), pairs


@pytest.mark.parametrize("n_phi", [8, 9])
@pytest.mark.parametrize("normalise", NORMALISE)
def test_correlation_is_that_of_the_definition(rng, normalise, n_phi):
    maps, valid = polar(rng, n_phi=n_phi)
    sums = AngularSums(4, n_phi, normalise=normalise)
    sums.add(maps, valid)
    result = sums.result()
    correlation, pairs = expected(maps, valid, normalise)
    np.testing.assert_allclose(result.pairs, pairs, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(result.correlation, correlation, rtol=1e-9, atol=1e-12)
    assert result.n_frames == 5
    assert result.rings_left_out == (0 if normalise == "none" else 1)
    np.testing.assert_allclose(result.delta, np.arange(n_phi) * 360 / n_phi)
    own = AngularSums(4, n_phi, normalise=normalise, diagonal=True)
    own.add(maps, valid)
    rings = np.arange(4)
    np.testing.assert_allclose(own.result().correlation, correlation[rings, rings], rtol=1e-9, atol=1e-12)
    back = np.fft.irfft(result.harmonics * n_phi, n_phi)
    np.testing.assert_allclose(back[0, 0], result.correlation[0, 0], atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 11), max_size=4),
    normalise=st.sampled_from(NORMALISE),
    diagonal=st.booleans(),
    block=st.integers(1, 13),
)
def test_how_frames_are_handed_over_changes_no_bit(cuts, normalise, diagonal, block):
    maps, valid = polar(np.random.default_rng(1), frames=11)
    before = angular.BLOCK
    angular.BLOCK = block
    try:
        whole = AngularSums(4, 9, normalise=normalise, diagonal=diagonal)
        whole.add(maps, valid)
        parts = AngularSums(4, 9, normalise=normalise, diagonal=diagonal)
        for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 11], strict=True):
            parts.add(maps[start:stop], valid[start:stop])
            parts.result()
            state = {name: values.copy() for name, values in parts.snapshot().items()}
            parts = AngularSums(4, 9, normalise=normalise, diagonal=diagonal)
            parts.restore(state)
    finally:
        angular.BLOCK = before
    for name in ("correlation", "pairs"):
        one, other = (getattr(sums.result(), name) for sums in (whole, parts))
        np.testing.assert_array_equal(one, other)
    assert whole.result().rings_left_out == parts.result().rings_left_out


def test_a_symmetry_is_found_behind_gaps(rng):
    """A ring of 1 + a cos(4 phi), turned at random, has C = a^2 / 2 cos(4 delta), whatever is masked."""
    n_phi, a = 180, 0.3
    phi = np.arange(n_phi) * 2 * np.pi / n_phi
    turn = rng.uniform(0, 2 * np.pi, (300, 1, 1))
    maps = 50 * (1 + a * np.cos(4 * (phi + turn))) * np.array([1.0, 0.2])[:, None]
    valid = rng.random((2, n_phi)) > 0.3
    for normalise in ("mean_of_ratios", "ratio_of_sums"):
        sums = AngularSums(2, n_phi, normalise=normalise)
        sums.add(maps, np.broadcast_to(valid, maps.shape))
        correlation = sums.result().correlation
        # The mean over the azimuths that are left is not that of the whole ring.
        np.testing.assert_allclose(correlation[0, 1], a**2 / 2 * np.cos(4 * phi), atol=0.01)
        harmonics = np.abs(sums.result().harmonics[0, 0])
        assert harmonics[4] > 20 * np.delete(harmonics, 4).max()


@pytest.mark.parametrize("splitting", ["no", "full"])
def test_frames_on_every_backend(pixels, mask, frames, native_backend, splitting):
    usual = {"npt": 6, "npt_chi": 12, "splitting": splitting, **RANGE}
    result = shotsieve.xcca(frames, pixels, mask, backend=native_backend, **usual)
    assert result.correlation.shape == (6, 6, 12)
    cakes = shotsieve.AzimuthalIntegrator(pixels, mask, backend="cpu", **usual)(frames)
    maps, valid = polar_maps(cakes)
    correlation, pairs = expected(maps, valid, "mean_of_ratios")
    np.testing.assert_array_equal(result.pairs, pairs)
    np.testing.assert_allclose(result.correlation, correlation, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(result.edges, cakes.edges)
    assert (result.unit, result.n_frames) == ("q_A^-1", 19)
    correlator = shotsieve.AngularCorrelator(pixels, mask, backend=native_backend, **usual)
    for part in (frames[:3], frames[3], frames[4:]):
        correlator.add(part)
    if splitting == "no":
        np.testing.assert_array_equal(correlator.result().correlation, result.correlation)


@pytest.mark.parametrize("options", [{}, {"normalise": "ratio_of_sums", "diagonal": True}])
def test_frames_on_a_device_are_correlated_as_those_of_the_host(
    pixels, mask, frames, make_on_device, options
):
    usual = {"npt": 6, "npt_chi": 12, **RANGE, **options}
    want = shotsieve.xcca(frames, pixels, mask, backend="cpu", **usual)
    for backend, upload in make_on_device:
        there = upload(frames)
        found = shotsieve.xcca(there, pixels, mask, backend=backend, **usual)
        correlator = shotsieve.AngularCorrelator(pixels, mask, backend=backend, **usual)
        for part in (there[:7], there[7:]):
            correlator.add(part)
        for one in (found, correlator.result()):
            np.testing.assert_array_equal(one.correlation, want.correlation)
            np.testing.assert_array_equal(one.pairs, want.pairs)
            assert (one.n_frames, one.rings_left_out) == (want.n_frames, want.rings_left_out)
        with pytest.raises(BadInput, match="on a GPU, and the backend is cpu"):
            shotsieve.xcca(there, pixels, mask, backend="cpu", **usual)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"chi_range": (-90, 90)}, "expected a whole turn"),
        ({"normalise": "mean"}, "expected one of mean_of_ratios"),
        ({"npt_chi": 1}, "two azimuths"),
        ({"npt": 8, "radial_range": (0.0, 50.0)}, "rings have no pixel.*take fewer"),
        ({"rings": 3}, "there is no option rings"),
    ],
)
def test_what_cannot_be_correlated_is_refused(pixels, options, text):
    with pytest.raises(BadInput, match=text):
        shotsieve.AngularCorrelator(pixels, **{"npt": 4, "npt_chi": 8, **RANGE, **options})


@pytest.mark.parametrize(
    ("maps", "valid", "text"),
    [
        (np.zeros((2, 3, 5)), None, r"expected \(frames, 3, 4\)"),
        (np.zeros((3, 4)), None, r"shape \(3, 4\)"),
        (np.zeros((1, 3, 4), complex), None, "complex128"),
        (np.zeros((1, 3, 4)), np.ones((3, 4)), r"valid has shape \(3, 4\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, valid, text):
    with pytest.raises(BadInput, match=text):
        AngularSums(3, 4).add(maps, valid)


def test_values_that_are_not_finite_are_not_valid(rng):
    maps, valid = polar(rng)
    sums, told = AngularSums(4, 9), AngularSums(4, 9)
    sums.add(np.where(valid, maps, np.nan))
    told.add(np.where(valid, maps, np.inf), valid)
    np.testing.assert_array_equal(sums.result().correlation, told.result().correlation)
    none = AngularSums(4, 9).result()
    assert np.isnan(none.correlation).all()
    assert none.n_frames == 0
