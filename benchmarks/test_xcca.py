"""Angular correlation of polar maps on one core, against an inverse transform for every frame."""

from __future__ import annotations

from collections.abc import Callable

import machine
import numpy as np
import pytest
import records
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.measure.angular import BLOCK, AngularSums
from threadpoolctl import threadpool_limits

RINGS, AZIMUTHS = 100, 360
PEER_FRAMES = 8
MIN_RATIO = 10.0


class PerFrame:
    """As published pipelines do it: fluctuations, products of harmonics, inverse transform."""

    def __init__(self, rings: int, azimuths: int) -> None:
        self.azimuths = azimuths
        self.sum = np.zeros((rings, rings, azimuths))

    def add(self, maps: np.ndarray) -> None:
        for image in maps:
            harmonics = np.fft.rfft(image / image.mean(axis=1, keepdims=True) - 1)
            products = harmonics.conj()[:, None] * harmonics[None]
            self.sum += np.fft.irfft(products, self.azimuths)


@pytest.mark.parametrize("diagonal", [False, True])
def test_polar_maps(record: Callable, target: Callable, quick: bool, one_core: None, diagonal: bool) -> None:
    """No mask: the peer divides by the number of azimuths, we by a correlation of masks."""
    rings, azimuths = (10, 36) if quick else (RINGS, AZIMUTHS)
    maps = np.random.default_rng(1).poisson(5, (BLOCK, rings, azimuths)).astype("f8")
    ours, theirs = AngularSums(rings, azimuths, diagonal=diagonal), PerFrame(rings, azimuths)
    ours.add(maps)
    theirs.add(maps)
    expected = theirs.sum / (len(maps) * azimuths)
    if diagonal:
        expected = expected[np.arange(rings), np.arange(rings)]
    np.testing.assert_allclose(ours.result().correlation, expected, rtol=1e-9, atol=1e-12)
    functions = {"ours": lambda: ours.add(maps), "peer": lambda: theirs.add(maps[:PEER_FRAMES])}
    with threadpool_limits(1):
        least = minima(interleave(functions, 2 if quick else ROUNDS))
    pairs = "equal rings" if diagonal else "all pairs of rings"
    ratio = least["peer"] / PEER_FRAMES / (least["ours"] / len(maps))
    record(
        records.make(
            "xcca",
            backend="cpu",
            detector="AGIPD1M",
            shots_per_s=len(maps) / least["ours"],
            gb_per_s=maps.nbytes / least["ours"] / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer="NumPy, an inverse transform of all pairs of rings for every frame",
            ratio_to_peer=ratio,
            threads=1,
            versions=machine.versions(),
            notes=f"one core; polar maps of {rings} x {azimuths} in memory; {pairs}",
            details={"diagonal": diagonal, "ms_per_frame": 1e3 * least["ours"] / len(maps)},
        )
    )
    if not quick:
        target(ratio > MIN_RATIO, f"angular correlation: {ratio:.1f} times the peer, wanted {MIN_RATIO}")
