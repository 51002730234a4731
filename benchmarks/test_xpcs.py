"""Two-time correlation of one train on one core, against OpenBLAS and scikit-beam, in turns in one run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import records
from shotsieve import backend as backends
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.measure.correlation_bins import CorrelationBins, PartPlan
from shotsieve.measure.event_summer import EventSummer
from shotsieve.measure.listed_trains import ListedTrains
from shotsieve.measure.pair_summer import PairSummer, takes_events
from shotsieve.measure.two_time import two_time
from shotsieve.photon_list import PhotonList

FRAMES, PIXELS, BINS = 352, 100_000, 10
PEER_FRAMES = 32
# Milliseconds at a mean count, and times OpenBLAS at another.
MOST_MS = {0.01: 5.0, 0.05: 30.0}
MIN_RATIO = {0.5: 1.5}
MIN_PEER = 100.0


def scikit_beam(photons: np.ndarray, labels: np.ndarray) -> Callable[[], Any] | None:
    """Return scikit-beam's two-time correlation of a few frames; its time grows with their square."""
    try:
        from skbeam.core import correlation
    except ImportError:
        return None
    few = photons[:PEER_FRAMES].reshape(PEER_FRAMES, 1, -1).astype(float)
    shaped = (labels + 1).reshape(1, -1)
    return lambda: correlation.two_time_corr(shaped, few, PEER_FRAMES, PEER_FRAMES, 1)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.5])
def test_two_time(rate: float, one_core: None, record: Callable, target: Callable, quick: bool) -> None:
    """Sums alone, as OpenBLAS makes them, and the whole call of the array API."""
    pixels = 2000 if quick else PIXELS
    photons = np.random.default_rng(5).poisson(rate, (1, FRAMES, pixels)).astype("u1")
    labels = np.repeat(np.arange(BINS), pixels // BINS)
    cpu = backends.get("cpu")
    bins = CorrelationBins.of(labels)
    summer = PairSummer(cpu, PartPlan.make(bins.labels, BINS), 1, None)
    listed, lists = EventSummer(cpu, summer.plan, 1, None), ListedTrains.of([PhotonList.of(photons[0])])
    slabs = [photons[0][:, labels == b].astype("f4") for b in range(BINS)]
    functions: dict[str, Callable[[], Any]] = {
        "events": lambda: summer.pairs(photons, None, True),
        "matrix": lambda: summer.pairs(photons, None, False),
        "lists": lambda: listed.pairs(lists, None),  # of photon lists: sorted, then paired
        "call": lambda: two_time(photons, bins, backend=cpu, threads=1),
        # Two arrays: of one and its transpose NumPy makes half of the matrix only.
        "sgemm": lambda: [slab @ other.T for slab, other in zip(slabs, copies, strict=True)],
        "ssyrk": lambda: [slab @ slab.T for slab in slabs],
    }
    copies = [slab.copy() for slab in slabs]
    np.testing.assert_array_equal(functions["lists"]()[0], functions["events"]()[0])
    np.testing.assert_array_equal(functions["events"]()[0][0], np.stack(functions["sgemm"]()))
    np.testing.assert_array_equal(functions["events"]()[0], functions["matrix"]()[0])
    peer = scikit_beam(photons[0], labels) if rate == 0.05 else None
    if peer is not None:
        functions["scikit-beam"] = peer
    rounds = 1 if quick else (2 if peer is not None else ROUNDS)
    least = minima(interleave(functions, rounds))
    events = takes_events("auto", photons, True, cpu)
    mine = least["events" if events else "matrix"]
    ratios = {name: least[name] / mine for name in ("sgemm", "ssyrk")}
    if peer is not None:
        ratios["scikit-beam"] = least["scikit-beam"] * (FRAMES / PEER_FRAMES) ** 2 / mine
    load = os.getloadavg()[0]
    busy = "; the machine was busy, so only ratios count" if load > 1.5 else ""
    made = records.alone(
        "two_time",
        detector="none",
        shots_per_s=FRAMES / mine,
        gb_per_s=photons.nbytes / mine / 1e9,
        peer="OpenBLAS sgemm",
        ratio_to_peer=ratios["sgemm"],
        notes="one core, least of interleaved rounds; scikit-beam from fewer frames, by the square" + busy,
        details={
            "variant": f"{rate:g} photons per pixel",
            "frames": FRAMES,
            "pixels": pixels,
            "bins": BINS,
            "method": "events" if events else "matrix",
            "rounds": rounds,
            "load": load,
            "ms": {name: 1e3 * seconds for name, seconds in least.items()},
            "ratios": ratios,
        },
    )
    record(made)
    if quick:
        return
    if rate in MOST_MS:
        text = f"two_time at {rate}: {1e3 * mine:.1f} ms, wanted {MOST_MS[rate]}"
        target(1e3 * mine <= MOST_MS[rate], text)
    if rate in MIN_RATIO:
        target(ratios["sgemm"] >= MIN_RATIO[rate], f"two_time at {rate}: {ratios['sgemm']:.1f} x sgemm")
    if peer is not None:
        target(ratios["scikit-beam"] >= MIN_PEER, f"two_time: {ratios['scikit-beam']:.0f} x scikit-beam")
