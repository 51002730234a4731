"""The kernel of baselines against a sequential program, and each barrier is missed when it is gone."""

from __future__ import annotations

import pytest

from .workshop import Program

BASELINE = "cuda/baseline.cuh"
BARRIERS = (
    "before pixels are counted",
    "before bins are made",
    "before the first histogram is searched",
    "before its peak is read",
    "before the second is searched",
    "before its peak is read again",
)  # in the order of the file
CASES = "1"
NONE = "-1"


@pytest.fixture
def program(optional: dict[str, Program]) -> Program:
    return optional["baseline.cu"]


@pytest.fixture
def threads(optional_threads: dict[str, Program]) -> Program:
    return optional_threads["baseline.cu"]


def test_baselines_are_those_of_the_definition_with_every_seed(program):
    program.check_clean(CASES, "large", NONE)


@pytest.mark.parametrize("barrier", range(len(BARRIERS)), ids=BARRIERS)
def test_removed_barrier_is_noticed(program, barrier):
    program.check_faulty(CASES, "large", str(barrier), sign="wrong")


def test_the_kernel_has_no_race(threads):
    done = threads.run("1", "small", NONE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.parametrize("barrier", range(len(BARRIERS)), ids=BARRIERS)
def test_removed_barrier_is_a_race_with_its_line(threads, barrier):
    threads.check_race("1", "small", str(barrier), where=f"{BASELINE}:")
