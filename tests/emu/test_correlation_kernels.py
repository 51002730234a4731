"""The kernels of correlation against a sequential program; missing barriers and mistakes are noticed."""

from __future__ import annotations

import pytest

from .workshop import CLEAN_SEEDS, MISTAKES, Program

CORRELATION = "cuda/correlation.cuh"
KINDS = ("counts", "events", "values", "lags")
# In the order of the file: the kind of sums that miss the barrier, and where it is.
BARRIERS = (
    ("values", "before a tile is loaded"),
    ("values", "after it is loaded"),
    ("lags", "before the sums of the next lag"),
    ("lags", "before each half of the sums"),
)
NUMBERED = [
    pytest.param(str(number), kind, id=f"{kind}, {place}") for number, (kind, place) in enumerate(BARRIERS)
]
CASES = "2"
NONE = "-1"


@pytest.fixture
def program(optional: dict[str, Program]) -> Program:
    return optional["correlation.cu"]


@pytest.fixture
def threads(optional_threads: dict[str, Program]) -> Program:
    return optional_threads["correlation.cu"]


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_the_definition_with_every_seed(program, kind):
    for seed in CLEAN_SEEDS[:6]:
        done = program.run(kind, CASES, "large", NONE, seed=seed)
        assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", ""), f"seed {seed}: {done}"


@pytest.mark.parametrize(("barrier", "kind"), NUMBERED)
def test_removed_barrier_is_noticed(program, barrier, kind):
    program.check_faulty(kind, CASES, "large", barrier, sign="wrong")


@pytest.mark.parametrize("number", MISTAKES, ids=[fault.old for fault in MISTAKES.values()])
def test_mistake_in_the_products_is_noticed(program, number):
    program.check_faulty("counts", CASES, "large", str(number), sign="wrong|crash")


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_have_no_race(threads, kind):
    done = threads.run(kind, "1", "small", NONE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.parametrize(("barrier", "kind"), NUMBERED)
def test_removed_barrier_is_a_race_with_its_line(threads, barrier, kind):
    threads.check_race(kind, "1", "small", barrier, where=f"{CORRELATION}:")
