"""`calibrate_detectors`: raw words of every detector to counts, against reading the words and NumPy.

On the terms of `calibrate_lit`: one module, distinct memory cells, counts only, one thread. Everything runs
in turns, times are CPU times of the process, and ratios are medians of the ratios within a round: what others
do on the machine is left out, but for what they take of its caches and memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import pytest
import records
from detector_case import DETECTORS, DetectorOnDevice, case_of
from detector_peer import peers_of
from lit_case import LitCase
from shotsieve.bench.rounds import fastest, interleave, minima
from test_calibrate_lit import (
    MIN_RATIO,
    MIN_READ_FRACTION,
    USUAL,
    VARIANTS,
    check_counts,
    cpu_backends,
)


class Measured:
    """All times of a detector: seconds of the rounds of everything, by name."""

    def __init__(self, name: str, quick: bool) -> None:
        self.load = os.getloadavg()[0]
        self.case: LitCase = case_of(name, quick)
        self.rounds = 2 if quick else 5
        self.on_device = {
            level: DetectorOnDevice(self.case, backend) for level, backend in cpu_backends(1).items()
        }
        self.peers = peers_of(self.case, self.case.params(False))
        functions: dict[str, Callable[[], object]] = {}
        for reader, function in machine.readers(self.case.raw, 1).items():
            functions[f"read {reader}"] = function
        for variant, photons in VARIANTS.items():
            params = self.case.params(photons)
            for level, device in self.on_device.items():
                functions[f"{variant} {level}"] = lambda d=device, p=params: d.run(p)
        functions |= {f"peer {way}": peer.run for way, peer in self.peers.items()}
        self.seconds = interleave(functions, self.rounds, clock=time.process_time)

    def ratio(self, slow: str, quick: str) -> float:
        """Return how many times as long one takes as the other: the median of the rounds."""
        return float(np.median(np.divide(self.seconds[slow], self.seconds[quick])))

    def check(self) -> None:
        """Compare the counts of every level with those of every peer, and photons with those of one."""
        peers = peers_of(self.case, self.case.params(True))
        counted = peers[max(peers)].run()  # the name of the quickest way is the last
        for photons in VARIANTS.values():
            for device in self.on_device.values():
                device.run(self.case.params(photons))
                ours = device.result()[:, 0]
                for counts in [counted] if photons else [peer.counts for peer in self.peers.values()]:
                    check_counts(ours, counts.reshape(-1, 4), photons)


def detector_record(measured: Measured, name: str, variant: str, level: str) -> dict[str, Any]:
    case, ours = measured.case, f"{variant} {level}"
    reader, _ = fastest(minima(measured.seconds, "read "))
    seconds = float(np.median(measured.seconds[ours]))
    read_fraction = measured.ratio(f"read {reader}", ours)
    peer, ratio, told, more = None, None, "", {}
    if variant == "lit":
        times = minima(measured.seconds, "peer ")
        ratios = {way: measured.ratio(f"peer {way}", ours) for way in times}
        choosing = {way: seconds for way, seconds in times.items() if way.startswith(USUAL)}
        usual, quickest = fastest(choosing or times)[0], fastest(times)[0]
        to_read = measured.ratio(f"peer {quickest}", f"read {reader}")
        peer, ratio = f"NumPy, cell by cell, in place ({usual}), 1 core", ratios[usual]
        told = f"; the quickest NumPy for these data ({quickest}) takes {ratios[quickest]:.1f} times as long "
        told += f"as we, and {to_read:.1f} times as long as reading"
        more = {"ratios": ratios, "ratio_to_quickest_numpy": ratios[quickest]}
        more["quickest_numpy_to_reading"] = to_read
    return records.make(
        "calibrate_detectors",
        backend=level,
        detector=name,
        shots_per_s=case.frames / case.module_count / seconds,
        gb_per_s=case.raw.nbytes / seconds / 1e9,
        read_fraction=read_fraction,
        floor_fraction=read_fraction * case.least_bytes() / case.raw.nbytes,
        peer=peer,
        ratio_to_peer=ratio,
        threads=1,
        notes="one module measured, shots/s are of the whole detector; CPU time, medians of rounds, load "
        f"average {measured.load:.1f} before{told}",
        details={
            "variant": variant,
            "frames": case.frames,
            "cells": case.cells,
            "switched_share": case.switched_share,
            "constants_bytes": case.table.nbytes,
            "last_level_cache_bytes": machine.last_level_cache(),
            "bytes_touched": case.least_bytes(),
            "rounds": measured.rounds,
            "load_average": measured.load,
            "seconds_rounds": measured.seconds[ours],
            "read_by": reader,
            **more,
        },
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_detector(name: str, record: Callable, target: Callable, quick: bool) -> None:
    """Every CPU level, one thread; counts compared before anything is recorded."""
    measured = Measured(name, quick)
    measured.check()
    best = max(measured.on_device)
    for variant in VARIANTS:
        for level in measured.on_device:
            made = detector_record(measured, name, variant, level)
            record(made)
            if variant == "lit" and level == best and not quick:
                what, share = f"{name} on {level}", made["read_fraction"]
                target(share >= MIN_READ_FRACTION, f"{what}: {share} of reading, wanted {MIN_READ_FRACTION}")
                ratio = made["ratio_to_peer"]
                target(ratio >= MIN_RATIO, f"{what}: {ratio} x {made['peer']}, wanted {MIN_RATIO}")
