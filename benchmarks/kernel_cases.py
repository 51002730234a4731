"""Cases of the benchmark `kernels`: inputs, what has to come out, and the bytes that must move."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import shotsieve
from kernel_case import Arrays, KernelCase, poison
from lit_case import LitCase, make_case
from shotsieve import detectors
from shotsieve.backend import Backend
from shotsieve.bank_mode import BankModeParams
from shotsieve.calibrate import COUNTS, list_frames
from shotsieve.common_mode import CommonModeParams
from shotsieve.constants import Steps
from shotsieve.linearise import apart
from shotsieve.measure.correlation_bins import PartPlan
from shotsieve.measure.darks import dark_words, kinds
from shotsieve.measure.frame_stats import KINDS
from shotsieve.measure.scores import ScorePlan, likelihood_map

AGIPD = (16, 512, 128)
TRAIN, BINS = 352, 10  # frames of a train, and q bins


def _frames(quick: bool, full: int) -> int:
    return min(full, 6) if quick else full


@cache
def _module(quick: bool) -> LitCase:
    return make_case(cells=32, trains=1) if quick else make_case(cells=64, trains=4)


def _words(quick: bool) -> tuple[LitCase, dict[str, np.ndarray]]:
    """Raw words of AGIPD modules with their constants: frames one after the other, cell after cell."""
    case = _module(quick)
    modules = 1 if quick else case.module_count
    raw = np.concatenate([case.raw.reshape(case.frames, 2, case.pixels)] * modules)
    rows = np.concatenate(
        [np.tile(np.arange(case.cells), case.trains) + case.cells * k for k in range(modules)]
    ).astype("i4")
    frames, groups = list_frames(np.ones((len(rows), 1), bool), rows[:, None])
    table = np.concatenate([case.table] * modules)
    return case, {"raw": raw, "frames": frames, "groups": groups, "table": table, "rows": rows}


def _high_gain(inputs: Arrays) -> int:
    """Bytes of words, and of threshold, offset and gain in high gain once for each cell."""
    rows, _, pixels = inputs["table"].shape
    return inputs["raw"].nbytes + 3 * 4 * rows * pixels


LISTED = ("raw", "frames", "groups", "table")


def pixels_of_words(quick: bool) -> KernelCase:
    """`calibrate_count` of raw words, with pixels and stages."""
    case, inputs = _words(quick)
    rows, shape = inputs.pop("rows"), inputs["raw"].shape
    n, params = len(rows), case.params(photons=True)
    outputs = {
        "counts": poison((n, COUNTS), "i8"),
        "pixels": poison((n, shape[2]), "f4"),
        "stage": poison((n, shape[2]), "u1"),
    }

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        given = (a[name] for name in (*LISTED, *outputs))
        backend.native.calibrate_count(*given, **params.kernel_args(), **call)

    moved = _high_gain(inputs) + sum(array.nbytes for array in outputs.values())
    return KernelCase("AGIPD1M", n, moved, inputs, outputs, queue)


def common_mode(quick: bool) -> KernelCase:
    """`common_mode` of ASICs, four iterations."""
    _, inputs = _words(quick)
    rows = inputs.pop("rows")
    how = CommonModeParams.from_steps(Steps(common_mode=True), detectors.load("AGIPD1M"), "adaptive")
    outputs = {"shift": poison((len(rows), 16), "i4")}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        more = {"least": how.least(64 * 64), "n_itr": how.n_itr}
        given = (a[name] for name in (*LISTED, "shift"))
        backend.native.common_mode(*given, **how.kernel_args(), **more, **call)

    return KernelCase("AGIPD1M", len(rows), _high_gain(inputs), inputs, outputs, queue)


def cell_common_mode(quick: bool) -> KernelCase:
    """`cell_common_mode` over rows of 32 cells."""
    _, inputs = _words(quick)
    rows = inputs.pop("rows")
    how = CommonModeParams.from_steps(
        Steps(common_mode=True, cell_common_mode=True), detectors.load("AGIPD1M"), "adaptive"
    )
    frame = np.arange(len(rows), dtype="i4").reshape(-1, how.row_cells)
    pixels = inputs["raw"].shape[2]
    given = {"raw": inputs["raw"], "unit_frames": frame, "unit_rows": rows.reshape(frame.shape)}
    inputs = given | {"table": inputs["table"]}
    outputs = {"pixel_shift": poison((len(frame), pixels), "i4")}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        names = ("raw", "unit_frames", "unit_rows", "table", "pixel_shift")
        least = how.least(how.row_cells)
        backend.native.cell_common_mode(
            *(a[name] for name in names), **how.kernel_args(), least=least, **call
        )

    moved = _high_gain(inputs) + outputs["pixel_shift"].nbytes
    return KernelCase("AGIPD1M", len(rows), moved, inputs, outputs, queue)


def bank_mode(quick: bool) -> KernelCase:
    """`bank_mode` of ePix100 frames: medians of banks, rows and columns."""
    detector, rng = detectors.load("EPIX100"), np.random.default_rng(3)
    n, pixels = 1 if quick else 128, detector.pixels
    table = np.empty((1, 2, pixels), "f4")
    table[:, 0] = rng.normal(3000, 60, (1, pixels))
    table[:, 1] = np.where(rng.random((1, pixels)) < 0.01, np.nan, 1 / 7.0)
    some = np.rint(table[0, 0] + rng.normal(0, 12, (min(n, 16), 1, pixels))).astype("u2")
    raw = np.concatenate([some] * -(-n // len(some)))[:n]
    frames, groups = list_frames(np.ones((n, 1), bool), np.zeros((n, 1), "i4"))
    how = BankModeParams.from_steps(Steps(common_mode=True), detector)
    inputs = {"raw": raw, "frames": frames, "groups": groups, "table": table}
    outputs = {"shift": poison((n, pixels), "i4")}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.bank_mode(*(a[name] for name in (*LISTED, "shift")), **vars(how), **call)

    moved = raw.nbytes + table.nbytes + outputs["shift"].nbytes
    return KernelCase("EPIX100", n, moved, inputs, outputs, queue)


def linearise(quick: bool) -> KernelCase:
    """`linearise` of Gotthard-II frames."""
    rng, pixels, entries = np.random.default_rng(4), 1280, 4096
    n = 64 if quick else 100_000
    some = rng.integers(0, entries, (min(n, 2000), 2, pixels), "u2")
    raw = np.concatenate([some] * -(-n // len(some)))[:n]
    linear = rng.integers(0, entries, (2, pixels, entries), "u2")
    frames, groups = list_frames(np.ones((n, 1), bool), (np.arange(n, dtype="i4") % 2)[:, None])
    inputs = {"raw": raw, "frames": frames, "groups": groups, "linear": apart(linear)}
    outputs = {"words": poison(raw.shape, "u2")}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.linearise(*(a[name] for name in (*inputs, "words")), entries=entries, **call)

    return KernelCase("GOTTHARD2", n, 2 * raw.nbytes + linear.nbytes, inputs, outputs, queue)


def corrected(quick: bool) -> KernelCase:
    """`calibrate_count` of frames that are calibrated already, counts only."""
    rng, n, pixels = np.random.default_rng(5), _frames(quick, 1024), 65536
    some = min(n, 32)
    shape = (some, 1, 512, 128)
    data = rng.normal(0.5, 1.0, shape).astype("f4")
    mask = np.where(rng.random(shape) < 0.02, 2, 0).astype("u4")
    packed = shotsieve.pack_corrected(data, mask, rng.integers(0, 3, shape, "u1"))
    raw = np.concatenate([packed.reshape(some, 5, pixels)] * (n // some))
    frames, groups = list_frames(np.ones((n, 1), bool), np.zeros((n, 1), "i4"))
    inputs = {"raw": raw, "frames": frames, "groups": groups, "table": np.zeros((1, 1, pixels), "f4")}
    outputs = {"counts": poison((n, COUNTS), "i8")}
    how = {"encoding": 5, "lit_threshold": 0.7, "to_photon": 1.0}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.calibrate_count(*(a[name] for name in (*LISTED, "counts")), **how, **call)

    # Data and mask: what says the gain is for those who ask for it.
    return KernelCase("AGIPD1M", n, 8 * n * pixels, inputs, outputs, queue)


def gather_rows(quick: bool) -> KernelCase:
    """`keep_list` and `gather_rows`: every second frame of a block."""
    n, size = (8, 4096) if quick else (4096, 262_144)
    rng = np.random.default_rng(6)
    source = np.resize(rng.integers(0, 256, (16, size), "u1"), (n, size))
    keep = (np.arange(n) % 2).astype("u1")
    inputs = {"source": source, "keep": keep}
    outputs = {
        "index": np.zeros(n, "i4"), "count": poison((1,), "i4"), "target": poison((n // 2, size), "u1"),
    }  # fmt: skip

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.keep_list(a["keep"], a["index"], a["count"], **call)
        backend.native.gather_rows(a["source"], a["index"], a["count"], a["target"], **call)

    return KernelCase("AGIPD1M", n, 2 * outputs["target"].nbytes, inputs, outputs, queue)


def photon_list(quick: bool) -> KernelCase:
    """`photon_numbers`, and `photon_list` behind it: 0.02 photons per pixel."""
    n, pixels = (5, 4096) if quick else (1024, 1 << 20)
    some = np.random.default_rng(7).poisson(0.02, (min(n, 32), pixels)).astype("u1")
    frames = np.resize(some, (n, pixels))
    number = np.resize(np.count_nonzero(some, axis=1).astype("i4"), n)
    first = np.concatenate([np.zeros(1, "i8"), np.cumsum(number, dtype="i8")])
    outputs = {
        "number": poison((n,), "i4"),
        "pixel": poison((int(first[-1]),), "u4"),
        "count": poison((int(first[-1]),), "u1"),
    }

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.photon_numbers(a["frames"], a["number"], **call)
        backend.native.photon_list(a["frames"], a["first"], a["pixel"], a["count"], **call)

    moved = 2 * frames.nbytes + sum(array.nbytes for array in outputs.values())
    return KernelCase("AGIPD1M", n, moved, {"frames": frames, "first": first}, outputs, queue)


def dark_sums(quick: bool) -> KernelCase:
    """`dark_sums` of raw words and levels, frames of a cell one after the other."""
    case, given = _words(quick)
    words = dark_words(detectors.load("AGIPD1M"), 0)
    order = np.argsort(given["rows"], kind="stable")
    n, cells = len(order), len(given["table"])
    inputs = {
        "raw": given["raw"],
        "frames": order.astype("i4"),
        "row": given["rows"][order],
    }
    names = kinds(words, gated=False)
    outputs = {name: np.zeros((cells, case.pixels), dtype) for name, dtype in names.items()}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.dark_sums(
            *(a[name] for name in inputs), **{name: a[name] for name in names}, **words.kernel_args(), **call
        )

    moved = given["raw"].nbytes + 2 * sum(array.nbytes for array in outputs.values())
    return KernelCase("AGIPD1M", n, moved, inputs, outputs, queue)


def score_sums(quick: bool) -> KernelCase:
    """`score_sums`: two maps, eight rings and a count."""
    rng, n = np.random.default_rng(8), _frames(quick, 128)
    shape = (2, 64, 32) if quick else AGIPD
    some = (rng.poisson(0.02, (min(n, 8), *shape)) + rng.normal(0, 0.15, (min(n, 8), *shape))).astype("f4")
    some[:, rng.random(shape) < 0.02] = np.nan
    background = np.full(shape, 0.02)
    signal = rng.gamma(0.3, 0.01, shape)
    maps = {"a": likelihood_map(signal, background), "b": likelihood_map(2 * signal, background)}
    plan = ScorePlan.make(maps, shape, rings=rng.integers(0, 8, shape), threshold=0.7)
    frames = np.resize(some, (n, *plan.shape))
    outputs = {"sums": poison((n, shape[0], plan.width), "i8")}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.score_sums(a["pixels"], a["ring"], a["map"], a["sums"], **plan.rules, **call)

    moved = frames.nbytes + sum(array.nbytes for array in plan.arrays.values())
    return KernelCase("AGIPD1M", n, moved, {"pixels": frames, **plan.arrays}, outputs, queue)


def pair_sums(quick: bool, rate: float = 0.1, events: bool = False, values: bool = False) -> KernelCase:
    """`pair_sums` of a train of a million pixels in ten bins: counts as products or events, or values."""
    n, pixels = (33, 2000) if quick else (TRAIN, 1_000_000)
    some = np.random.default_rng(9).poisson(rate, (1, n, pixels // 20)).astype("f4" if values else "u1")
    frames = np.tile(some, 20)
    plan = PartPlan.make(np.repeat(np.arange(BINS), pixels // BINS), BINS)
    parts, kind = len(plan.part_bin), "f8" if values else "i4"
    outputs = {"sums": poison((1, parts, n, n), kind), "frame_sums": poison((1, parts, n), kind)}
    if not values:
        outputs["largest"] = poison((1, parts), "i4")

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        given = {name: a[name] for name in plan.arrays}
        backend.native.pair_sums(
            a["frames"], None, a["sums"], a["frame_sums"], a.get("largest"), a["scratch"], plan=given,
            events=events, **call,
        )  # fmt: skip

    def scratch(backend: Backend) -> int:
        if values:
            return 0
        return backend.native.pair_scratch_bytes(
            n_frames=n, n_others=0, n_places=pixels, n_parts=parts, events=events
        )

    moved = frames.nbytes + outputs["sums"].nbytes
    inputs = {"frames": frames, **plan.arrays}
    return KernelCase("none", n, moved, inputs, outputs, queue, scratch, exact=not values)


def lag_sums(quick: bool) -> KernelCase:
    """`lag_sums` of a train of counts, 64 linear lags."""
    n, pixels = (33, 2000) if quick else (TRAIN, 100_000)
    frames = np.random.default_rng(10).poisson(0.1, (1, n, pixels)).astype("u1")
    plan = PartPlan.make(np.repeat(np.arange(BINS), pixels // BINS), BINS)
    parts, lag = len(plan.part_bin), np.arange(16 if quick else 64)
    lags = np.stack([0 * lag, lag], axis=1)
    outputs = {"sums": poison((1, parts, len(lags)), "f8"), "frame_sums": poison((1, parts, n), "f8")}

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        given = {name: a[name] for name in plan.arrays}
        backend.native.lag_sums(
            a["frames"], a["lags"], a["sums"], a["frame_sums"], a["scratch"], plan=given, **call
        )

    def scratch(backend: Backend) -> int:
        return backend.native.lag_scratch_bytes(
            n_trains=1, n_frames=n, n_places=len(plan.arrays["order"]), n_parts=parts, n_lags=len(lags)
        )

    inputs = {"frames": frames, "lags": lags.astype("i4"), **plan.arrays}
    return KernelCase("none", n, frames.nbytes, inputs, outputs, queue, scratch)


def frame_stats(quick: bool, groups: int = 1) -> KernelCase:
    """`frame_stats` of calibrated frames, in one group or in many that take turns; sorted, as we call it."""
    n, pixels = (8, 4096) if quick else (256, 1 << 20 if groups == 1 else 1 << 18)
    rng = np.random.default_rng(11)
    some = rng.normal(5, 1, (min(n, 16), pixels)).astype("f4")
    some[:, rng.random(pixels) < 0.02] = np.nan
    inputs = {
        "pixels": np.resize(some, (n, pixels)),
        "frames": np.argsort(np.arange(n) % groups, kind="stable").astype("i4"),
        "group": np.sort(np.arange(n) % groups).astype("i4"),
        "scale": np.ones(n),
    }
    outputs = {name: np.zeros((groups, pixels), dtype) for name, dtype in KINDS.items()}
    outputs["maximum"][:] = -np.inf

    def queue(backend: Backend, a: Arrays, call: dict[str, int]) -> None:
        backend.native.frame_stats(*(a[name] for name in (*inputs, *KINDS)), **call)

    moved = inputs["pixels"].nbytes + 2 * sum(array.nbytes for array in outputs.values())
    return KernelCase("AGIPD1M", n, moved, inputs, outputs, queue)


CASES: dict[str, Callable[[bool], KernelCase]] = {
    "pair_sums, products": pair_sums,
    "pair_sums, events": lambda quick: pair_sums(quick, rate=0.01, events=True),
    "pair_sums, values": lambda quick: pair_sums(quick, values=True),
    "lag_sums": lag_sums,
    "common_mode": common_mode,
    "cell_common_mode": cell_common_mode,
    "bank_mode": bank_mode,
    "linearise": linearise,
    "score_sums": score_sums,
    "dark_sums": dark_sums,
    "photon_list": photon_list,
    "calibrate_count, corrected": corrected,
    "calibrate_count, pixels": pixels_of_words,
    "frame_stats, 1 group": frame_stats,
    "frame_stats, 64 groups": lambda quick: frame_stats(quick, groups=3 if quick else 64),
    "keep_list, gather_rows": gather_rows,
}
"""What is measured, the most wanted first. Bins and peaks have benchmarks of their own."""
