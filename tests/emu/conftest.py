"""One workshop for the session, so that each program is compiled once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .workshop import MISTAKES, Program, Variant, Workshop, optional_barriers

# Programs that can leave out any barrier of a kernel, compiled together: their headers cost the most.
OPTIONAL = {
    "scores.cu": "cuda/scores.cuh",
    "correlation.cu": "cuda/correlation.cuh",
    "baseline.cu": "cuda/baseline.cuh",
}


def variant(program: str, file: str) -> Variant:
    """Return a program of OPTIONAL, with all that may be wrong in it."""
    made = optional_barriers(program, file)
    return replace(made, faults=(*made.faults, *MISTAKES.values())) if program == "correlation.cu" else made


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("emu"))


@pytest.fixture(scope="session")
def optional(workshop: Workshop) -> dict[str, Program]:
    """The programs of OPTIONAL."""
    return dict(zip(OPTIONAL, workshop.build(variant(*pair) for pair in OPTIONAL.items()), strict=True))


@pytest.fixture(scope="session")
def optional_threads(workshop: Workshop) -> dict[str, Program]:
    """The same under ThreadSanitizer, where it can run; each CUDA thread is an OS thread then."""
    built = workshop.build((variant(*pair) for pair in OPTIONAL.items()), "thread")
    if "FATAL: ThreadSanitizer" in (said := built[0].run("0", "small", "-1").stderr):
        pytest.skip(f"ThreadSanitizer cannot run here: {said.strip().splitlines()[0]}")
    return dict(zip(OPTIONAL, built, strict=True))
