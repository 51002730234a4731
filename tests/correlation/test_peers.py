"""Against what others publish: scikit-beam where it is installed, and the formulas of the field, written down
once more and slowly."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve

FRAMES, PIXELS = 40, 400


@pytest.fixture
def images(rng):
    """A changing speckle pattern in values and in counts."""
    field = rng.normal(size=(FRAMES, PIXELS))
    for t in range(1, FRAMES):
        field[t] = 0.9 * field[t - 1] + np.sqrt(1 - 0.81) * field[t]
    return rng.poisson(2.0 * field**2 + 0.5)


@pytest.fixture
def labels():
    return np.repeat([1, 0, 2], [180, 40, 180]).reshape(20, 20)


def ours(labels):
    return labels - 1


def ring_buffers(images, levels, size):
    """Multi-tau with a ring of the last frames on each level: as frames come, pairs of them go up as "
    "means."""
    rings = [[] for _ in range(levels)]
    waiting = [None] * levels
    kept = {}

    def arrive(level, frame):
        rings[level] = [frame, *rings[level]][:size]
        for lag in range(0 if level == 0 else size // 2, len(rings[level])):
            early, late = rings[level][lag], frame
            kept.setdefault((level, lag), []).append((np.mean(early * late), np.mean(early), np.mean(late)))
        if level + 1 == levels:
            return
        if waiting[level] is None:
            waiting[level] = frame
        else:
            pair, waiting[level] = (waiting[level] + frame) / 2, None
            arrive(level + 1, pair)

    for frame in images.astype(float):
        arrive(0, frame)
    found = {}
    for (level, lag), triples in kept.items():
        products, early, late = np.mean(triples, axis=0)
        found[lag << level] = products / (early * late)
    return found


def test_multitau_is_that_of_ring_buffers(images, labels):
    scheme = shotsieve.LagScheme.lumma(levels=3, per_level=8)
    found = shotsieve.multitau(
        images.reshape(FRAMES, 20, 20), ours(labels), scheme=scheme, diagonal="raw", backend="cpu"
    )
    for b in (0, 1):
        want = ring_buffers(images[:, ours(labels).ravel() == b], 3, 8)
        assert sorted(want) == found.lags.tolist()
        np.testing.assert_allclose(found.per_train[0, b], [want[lag] for lag in found.lags], rtol=1e-6)


def test_two_time_is_that_of_dense_correlators(images, labels):
    """As dynamix: sums of products over products of sums; g2 the ratio of sums along diagonals."""
    found = shotsieve.two_time(images.reshape(FRAMES, 20, 20), ours(labels), backend="cpu")
    for b in (0, 1):
        x = images[:, ours(labels).ravel() == b].astype(float)
        matrix = x @ x.T
        total = x.sum(axis=1)
        want = x.shape[1] * matrix / np.outer(total, total)
        np.testing.assert_allclose(found.correlation("raw")[0, b], want, rtol=1e-6)
        ratio = [
            x.shape[1] * np.diagonal(matrix, lag).sum() / (total[: FRAMES - lag] * total[lag:]).sum()
            for lag in range(FRAMES)
        ]
        np.testing.assert_allclose(found.g2(diagonal="raw").per_train[0, b], ratio, rtol=1e-6)
        mean = [np.diagonal(want, lag).mean() for lag in range(FRAMES)]
        np.testing.assert_allclose(found.g2("mean", "raw").per_train[0, b], mean, rtol=1e-6)


@pytest.mark.parametrize("weights", ["equal", "pixels"])
def test_multitau_with_static_bins_is_that_of_the_aps(images, weights):
    """G2, IP and IF averaged over static bins, divided, and the ratios averaged over the dynamic bin: all
    alike, as xpcs-eigen (Corr::normalizeG2s) and boost_corr (compute_g2) do, or by pixels of static bins."""
    sizes = np.array([4, 90, 20, 45, 21, 7, 13, 60, 100, 40])
    static = np.repeat(np.arange(10), sizes)
    dynamic = np.arange(10) // 5
    bins = shotsieve.CorrelationBins.of(static, dynamic, static_weights=weights)
    of_static = np.ones(10) if weights == "equal" else sizes
    scheme = shotsieve.LagScheme.doubling(levels=3)
    found = shotsieve.multitau(images, bins, scheme=scheme, backend="cpu")
    series = [images.astype(float)]
    for _ in range(2):
        series.append(series[-1][0::2] + series[-1][1::2])
    for column, (level, lag) in enumerate(scheme.within(FRAMES).entries):
        x = series[level]
        early, late = x[:-lag], x[lag:]
        g2, ip, i_f = (part.mean(axis=0) for part in (early * late, early, late))
        ratios = [
            g2[static == s].mean() / (ip[static == s].mean() * i_f[static == s].mean()) for s in range(10)
        ]
        want = [np.average(np.array(ratios)[dynamic == b], weights=of_static[dynamic == b]) for b in (0, 1)]
        np.testing.assert_allclose(found.per_train[0, :, column], want, rtol=1e-6)


def test_multitau_is_that_of_scikit_beam(images, labels):
    peer = pytest.importorskip("skbeam.core.correlation")
    shaped = images.reshape(FRAMES, 20, 20)
    theirs, lags = peer.multi_tau_auto_corr(3, 8, labels, shaped.astype(float))
    scheme = shotsieve.LagScheme.lumma(levels=3, per_level=8)
    found = shotsieve.multitau(shaped, ours(labels), scheme=scheme, diagonal="raw", backend="cpu")
    assert found.lags.tolist() == list(lags)[: len(found.lags)]
    np.testing.assert_allclose(found.per_train[0].T, theirs[: len(found.lags)], rtol=1e-6)


def test_two_time_is_that_of_scikit_beam(images, labels):
    peer = pytest.importorskip("skbeam.core.correlation")
    shaped = images.reshape(FRAMES, 20, 20)
    theirs = peer.two_time_corr(labels, shaped.astype(float), FRAMES, FRAMES, 1)
    theirs = getattr(theirs, "g2", theirs)
    found = shotsieve.two_time(shaped, ours(labels), backend="cpu").correlation("raw")
    t, u = np.tril_indices(FRAMES)
    np.testing.assert_allclose(np.maximum(theirs[:, t, u], theirs[:, u, t]), found[0][:, t, u], rtol=1e-6)
