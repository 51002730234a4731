"""The common mode of tiles against a sequential program, with every seed; planted faults show."""

from __future__ import annotations

import pytest

from .workshop import Fault, Program, Variant, Workshop

MODE = "cuda/common_mode.cuh"
CASES = "2"

# name -> (the fault, how it shows)
FAULTS = {
    "no barrier before sums are read": (Fault(MODE, "__syncthreads();"), "wrong"),
    "sums of two turns in one place": (Fault(MODE, "turn = 1 - turn;"), "wrong"),
    "room for one turn": (
        Fault(MODE, "shared, 4 * kModeWarps", "shared, 2 * kModeWarps"),
        "shared array overrun: shared|wrong",
    ),
    "a frame too many": (Fault(MODE, "k < group.stop;", "k <= group.stop;"), "wrong|crash|overrun"),
}


@pytest.fixture(scope="module")
def programs(workshop: Workshop) -> dict[str, Program]:
    variants = {"clean": Variant("common_mode.cu")}
    variants |= {name: Variant("common_mode.cu", (fault,)) for name, (fault, _) in FAULTS.items()}
    return dict(zip(variants, workshop.build(variants.values()), strict=True))


def test_shifts_are_those_of_the_definition_with_every_seed(programs):
    programs["clean"].check_clean(CASES)


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(programs, name):
    _, sign = FAULTS[name]
    programs[name].check_faulty(CASES, sign=sign)
