"""The kernels of scores against a sequential program, and each barrier is missed when it is gone."""

from __future__ import annotations

import pytest

from .workshop import Program

SCORES = "cuda/scores.cuh"
BARRIERS = ("before pixels are added", "before sums are read")  # in the order of the file
CASES = "2"
NONE = "-1"


@pytest.fixture
def program(optional: dict[str, Program]) -> Program:
    return optional["scores.cu"]


@pytest.fixture
def threads(optional_threads: dict[str, Program]) -> Program:
    return optional_threads["scores.cu"]


def test_scores_are_those_of_the_definition_with_every_seed(program):
    program.check_clean(CASES, "large", NONE)


@pytest.mark.parametrize("barrier", range(len(BARRIERS)), ids=BARRIERS)
def test_removed_barrier_is_noticed(program, barrier):
    program.check_faulty(CASES, "large", str(barrier), sign="wrong")


def test_kernels_have_no_race(threads):
    done = threads.run("1", "small", NONE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.parametrize("barrier", range(len(BARRIERS)), ids=BARRIERS)
def test_removed_barrier_is_a_race_with_its_line(threads, barrier):
    threads.check_race("1", "small", str(barrier), where=f"{SCORES}:")
