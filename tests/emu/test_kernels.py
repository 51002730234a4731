"""The same for the package's own kernels: each barrier and each bound in them is missed when it is gone."""

from __future__ import annotations

import pytest

from .test_baseline_kernels import BARRIERS as BASELINE_BARRIERS
from .test_correlation_kernels import BARRIERS as CORRELATION_BARRIERS
from .test_scores_kernels import BARRIERS as SCORES_BARRIERS
from .workshop import BARRIER, ROOT, Fault, Program, Variant, Workshop

COMPACT = "cuda/compact.cuh"
CALIBRATE = "cuda/calibrate.cuh"
CLEAN = {"keep_list": "6", "gather_rows": "3", "calibrate": "2"}  # the kernel and how often it is run

# name -> (the fault, the kernel that has it, how it shows)
FAULTS = {
    "keep_list, barrier before the scan": (Fault(COMPACT, BARRIER, nth=0), "keep_list", "wrong|crash"),
    "keep_list, barrier after the scan": (Fault(COMPACT, BARRIER, nth=1), "keep_list", "wrong|crash"),
    "calibrate, barrier before the sum": (Fault(CALIBRATE, BARRIER, nth=0), "calibrate", "wrong"),
    "calibrate, barrier after the sum": (Fault(CALIBRATE, BARRIER, nth=1), "calibrate", "wrong"),
    "keep_list, flags read beyond": (
        Fault(COMPACT, "i < n ? (keep[i]", "i <= n ? (keep[i]"),
        "keep_list",
        "crash",
    ),
    "keep_list, shared read beyond": (
        Fault(COMPACT, "lane < kKeepWarps ? warp_start", "lane <= kKeepWarps ? warp_start"),
        "keep_list",
        "wrong|crash",
    ),
    "keep_list, shared written beyond": (
        Fault(COMPACT, "if (lane < kKeepWarps) warp_start", "if (lane <= kKeepWarps) warp_start"),
        "keep_list",
        "shared array overrun: warp_start",
    ),
    "gather_rows, a word too many": (
        Fault(COMPACT, "i < words; i += step", "i <= words; i += step"),
        "gather_rows",
        "wrong|crash",
    ),
    "gather_rows, a row too many": (
        Fault(COMPACT, "k < rows; k +=", "k <= rows; k +="),
        "gather_rows",
        "crash",
    ),
    "calibrate, bits a byte too far": (
        Fault(CALIBRATE, "[at / kPixelsPerThread]", "[at / kPixelsPerThread + 1]"),
        "calibrate",
        "device memory overrun",
    ),
    "calibrate, a pixel too many": (
        Fault(CALIBRATE, "pixel < n;", "pixel <= n;"),
        "calibrate",
        "wrong|crash",
    ),
    "calibrate, a frame too many": (
        Fault(CALIBRATE, "k < at.group.stop;", "k <= at.group.stop;"),
        "calibrate",
        "wrong|crash",
    ),
}


@pytest.fixture(scope="module")
def programs(workshop: Workshop) -> dict[str, Program]:
    """The kernels as they are, under "clean", and with each of the faults."""
    variants = {"clean": Variant("kernels.cu")}
    variants |= {name: Variant("kernels.cu", (fault,)) for name, (fault, _, _) in FAULTS.items()}
    return dict(zip(variants, workshop.build(variants.values()), strict=True))


@pytest.mark.parametrize("kernel", CLEAN)
def test_kernel_is_right_with_every_seed(programs, kernel):
    programs["clean"].check_clean(kernel, CLEAN[kernel])


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(programs, name):
    _, kernel, sign = FAULTS[name]
    programs[name].check_faulty(kernel, CLEAN[kernel], sign=sign)


def test_every_barrier_is_tested():
    # The third of keep_list keeps apart lanes of one warp: ThreadSanitizer shows it, in test_sanitizers.py.
    # Those of the sums over bins, of the common mode, of the baseline, of scores and of correlation are
    # planted in test_bins_kernels.py, test_common_mode_kernels.py, test_baseline_kernels.py,
    # test_scores_kernels.py and test_correlation_kernels.py.
    counts = {path.name: path.read_text().count(BARRIER) for path in (ROOT / "cuda").glob("*.cu*")}
    assert {name: n for name, n in counts.items() if n} == {
        "compact.cuh": 3,
        "calibrate.cuh": 2,
        "bins.cuh": 3,
        "common_mode.cuh": 1,
        "baseline.cuh": len(BASELINE_BARRIERS),
        "scores.cuh": len(SCORES_BARRIERS),
        "correlation.cuh": len(CORRELATION_BARRIERS),
    }, "plant a fault in the new barriers too"
