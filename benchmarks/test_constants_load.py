"""`constants_load`: opening the engine with constants of AGIPD-1M, folded first and then from the cache.

16 modules and 64 memory cells, in a deflated file as `shotsieve constants convert` writes. What is measured
is all until the first block may come: the file is opened, constants are folded (and kept, flushed to disk)
or mapped, looked through for what is odd, and given to the backend. Files are in the page cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import records
import shotsieve
from shotsieve import backend as backends
from shotsieve import detectors
from shotsieve.constants.own_writer import ConstantsWriter

ROUNDS = 3
MOST_FIRST_S, MOST_AGAIN_S = 60.0, 5.0


def write(path: Path, modules: int, cells: int) -> None:
    """Write constants of random pixels, as good to compress as real ones: noise in the last bits."""
    rng, detector = np.random.default_rng(1), detectors.load("AGIPD1M")
    shape = (cells, *detector.shape)
    with ConstantsWriter(path, detector, range(modules), np.arange(cells), {}) as file:
        for module in range(modules):
            own = rng.normal(0, 30, shape).astype("f4")
            one = np.ones_like(own)
            file.add("offset", module, np.stack([5000 + own, 8000 + own, 8600 + own]))
            file.add("noise", module, np.stack([7.2 + 0.01 * own] * 3))
            file.add("thresholds", module, np.stack([5800 + own, 7200 + own]))
            file.add("relative_gain", module, np.stack([one, 30 + 0.01 * own, 134 + 0.01 * own]))
            file.add("mg_baseline", module, own[np.newaxis])
            file.add("adu_per_kev", module, (7.2 + 0.001 * own)[np.newaxis])
            bad = rng.random((3, *shape), dtype="f4") < 0.01
            file.add("bad_pixels", module, bad.astype("u4"))


def open_engine(path: Path, cache: Path | None, lit: dict[str, str]) -> tuple[float, str | None]:
    """Return the seconds that it takes, and the checksum of the table that is kept with it."""
    calibrate = {"gain_mode": "adaptive", "photon_energy": "9.3 keV"}
    if cache is not None:
        calibrate["constants_cache"] = str(cache)
    recipe = {"calibrate": calibrate, "measure": {"lit": lit}}
    options = {"detector": "AGIPD1M", "modules": range(16), "block_shots": 1, "slots": 1}
    began = time.perf_counter()
    with shotsieve.Engine(recipe, path, backend="auto", **options) as engine:
        seconds = time.perf_counter() - began
        return seconds, engine._runner.job.tables.sha256


def test_constants_load(tmp_path: Path, record: Callable, target: Callable, quick: bool) -> None:
    """Seconds of the first time, and of later ones."""
    modules, cells = (1, 2) if quick else (16, 64)
    path, cache = tmp_path / "constants.h5", tmp_path / "cache"
    write(path, modules, cells)
    photons = {"threshold": "0.7 photon"}
    first, checksum = open_engine(path, cache, photons)
    rounds = [open_engine(path, cache, photons) for _ in range(ROUNDS)]
    assert {found for _, found in rounds} == {checksum} != {None}
    assert len(list(cache.glob("tables-*"))) == 1
    again = min(seconds for seconds, _ in rounds)
    sigma = min(open_engine(path, cache, {"threshold": "5 sigma"})[0] for _ in range(ROUNDS))
    kept = sum(file.stat().st_size for file in cache.glob("tables-*/*.npy"))
    noise = {"threshold": "5 sigma", "noise": "pixel"}
    by_pixel = [open_engine(path, cache, noise)[0] for _ in range(1 + ROUNDS)]
    record(
        records.make(
            "constants_load",
            backend=backends.get("auto").name,
            detector="AGIPD1M",
            shots_per_s=cells * modules / 16 / again,
            gb_per_s=kept / again / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer="folding them",
            ratio_to_peer=first / again,
            threads=backends.usable_cpus(),
            versions=machine.versions(),
            notes="one 'shot' is one memory cell of 16 modules; the peer is the first time, with keeping; "
            "sigma: the noise is read from the file of constants each time",
            details={
                "variant": f"{modules} modules, {cells} cells",
                "first_s": first,
                "again_s": again,
                "again_sigma_s": sigma,
                "first_noise_by_pixel_s": by_pixel[0],
                "again_noise_by_pixel_s": min(by_pixel[1:]),
                "kept_gb": kept / 1e9,
                "constants_gb": path.stat().st_size / 1e9,
            },
        )
    )
    if not quick:
        target(first <= MOST_FIRST_S, f"first load: {first:.1f} s, wanted {MOST_FIRST_S:g} s")
        target(again <= MOST_AGAIN_S, f"load from the cache: {again:.2f} s, wanted {MOST_AGAIN_S:g} s")
