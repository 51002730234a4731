"""The peak finder's kernels, against a sequential program, with every seed; faults planted in them show."""

from __future__ import annotations

import pytest

from .workshop import Fault, Program, Variant, Workshop

PEAKS = "cuda/peaks.cuh"
LABEL = "cuda/peaks_label.cuh"
LAUNCH = "cuda/peaks.cu"
CASES = "30"
SEEDS = range(6)

# name -> (the fault, how it shows)
FAULTS = {
    "another tree of lanes": (
        Fault(PEAKS, "int step = 16; step > 0; step /= 2", "int step = 1; step < 32; step *= 2"),
        "wrong",
    ),
    "a pixel too many in a large bin": (Fault(PEAKS, "j < n; j += 32", "j <= n; j += 32"), "wrong|crash"),
    "bins of other words forgotten": (Fault(PEAKS, "if (bits != 0) atomicOr(own + at, bits);"), "wrong"),
    "more peaks stored than there is room for": (
        Fault(PEAKS, "n = n < room ? n : room;"),
        "wrong|crash|overrun",
    ),
    "no carry between words": (Fault(LABEL, "if (word < row_words - 1) bits |= at[1] << 31;"), "wrong"),
    "bits beyond the last word": (Fault(LABEL, " && w + 1 < c.plan.words()"), "crash"),
    "offset of a bin that nobody needed": (
        Fault(LABEL, "if (has_bit(needed, bin)) return", "return"),
        "wrong",
    ),
    "bitmaps too small": (
        Fault(LAUNCH, "std::int64_t{2} * 4 *", "std::int64_t{2} * 2 *"),
        "wrong|crash|overrun",
    ),
}
WAIT = Fault(LABEL, "__syncwarp();  // all lanes have read", "//")


@pytest.fixture(scope="module")
def programs(workshop: Workshop) -> dict[str, Program]:
    variants = {"clean": Variant("peaks.cu")}
    variants |= {name: Variant("peaks.cu", (fault,)) for name, (fault, _) in FAULTS.items()}
    return dict(zip(variants, workshop.build(variants.values()), strict=True))


@pytest.fixture(scope="module")
def threads(workshop: Workshop) -> dict[str, Program]:
    """The same under ThreadSanitizer, where it can run; each CUDA thread is an OS thread then."""
    variants = {"clean": Variant("peaks.cu"), "faulty": Variant("peaks.cu", (WAIT,))}
    built = dict(zip(variants, workshop.build(variants.values(), "thread"), strict=True))
    if "FATAL: ThreadSanitizer" in (said := built["clean"].run("0").stderr):
        pytest.skip(f"ThreadSanitizer cannot run here: {said.strip().splitlines()[0]}")
    return built


def test_peaks_are_those_of_the_definition_with_every_seed(programs):
    for seed in SEEDS:
        done = programs["clean"].run(CASES, seed=seed)
        assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", ""), f"seed {seed}: {done}"


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(programs, name):
    programs[name].check_faulty(CASES, sign=FAULTS[name][1])


def test_kernels_have_no_race(threads):
    done = threads["clean"].run("2", "small")
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


def test_removed_wait_is_a_race_with_its_line(threads):
    threads["faulty"].check_race("2", "small", where="cuda/peaks_label.cuh:")
