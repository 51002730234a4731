"""The kernels of sums over bins against a sequential program, with every seed; planted faults show."""

from __future__ import annotations

import pytest

from .workshop import Fault, Program, Variant, Workshop

BINS = "cuda/bins.cuh"
LAUNCH = "cuda/bins.cu"
CASES = "4"
SEEDS = range(6)

# name -> (the fault, how it shows)
FAULTS = {
    "no barrier before a chunk is loaded": (Fault(BINS, "__syncthreads();", nth=0), "wrong"),
    "no barrier after it is loaded": (Fault(BINS, "__syncthreads();", nth=1), "wrong|crash"),
    "no barrier before sums are written": (Fault(BINS, "__syncthreads();", nth=2), "wrong"),
    "entries overwritten while others add them": (Fault(BINS, "__syncwarp();", nth=0), "wrong"),
    "entries read before they are there": (Fault(BINS, "__syncwarp();", nth=1), "wrong"),
    "sums that are not closed": (
        Fault(BINS, "if (open >= 0) sum.close(sums, open, lane);", nth=1),
        "wrong",
    ),
    "a frame too many": (
        Fault(BINS, "rest < kBinLanes ? static_cast<int>(rest) : kBinLanes", "kBinLanes"),
        "crash|wrong|overrun",
    ),
    "slots of another part": (
        Fault(BINS, "(first_slot + i / kBinLanes) * s.padded", "(i / kBinLanes) * s.padded"),
        "wrong",
    ),
    "scratch without the lost": (
        Fault(LAUNCH, "take(scratch.lost, cells * plan.n_columns)", "take(scratch.lost, cells)"),
        "wrong|crash|overrun",
    ),
    "losses of calls before": (Fault(BINS, "s.any_lost[i] = 0;"), "wrong"),
    "a loss without its mark": (Fault(BINS, "s.any_lost[at] = 1;"), "wrong"),
    "a loss that is added to whatever was there": (Fault(BINS, "first ? 0.0 : lost", "lost"), "wrong"),
    "slots that are not cleared": (Fault(BINS, " s.signal[i] = 0.0;"), "wrong"),
    "shared sums that are not cleared": (Fault(BINS, "sums.signal[i] = 0.0;"), "wrong"),
}
WAIT = Fault(BINS, "__syncthreads();  // slower warps still add the chunk before", "//")


@pytest.fixture(scope="module")
def programs(workshop: Workshop) -> dict[str, Program]:
    variants = {"clean": Variant("bins.cu")}
    variants |= {name: Variant("bins.cu", (fault,)) for name, (fault, _) in FAULTS.items()}
    return dict(zip(variants, workshop.build(variants.values()), strict=True))


@pytest.fixture(scope="module")
def threads(workshop: Workshop) -> dict[str, Program]:
    """The same under ThreadSanitizer, where it can run; each CUDA thread is an OS thread then."""
    variants = {"clean": Variant("bins.cu"), "faulty": Variant("bins.cu", (WAIT,))}
    built = dict(zip(variants, workshop.build(variants.values(), "thread"), strict=True))
    if "FATAL: ThreadSanitizer" in (said := built["clean"].run("0").stderr):
        pytest.skip(f"ThreadSanitizer cannot run here: {said.strip().splitlines()[0]}")
    return built


def test_sums_are_those_of_the_definition_with_every_seed(programs):
    for seed in SEEDS:
        done = programs["clean"].run(CASES, seed=seed)
        assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", ""), f"seed {seed}: {done}"


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(programs, name):
    programs[name].check_faulty(CASES, sign=FAULTS[name][1])


def test_kernels_have_no_race(threads):
    done = threads["clean"].run("1", "small")
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


def test_removed_wait_is_a_race_with_its_line(threads):
    threads["faulty"].check_race("1", "small", where="cuda/bins.cuh:")
