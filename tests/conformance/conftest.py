"""Runs for the conformance list: simulated ones, and small ones with every odd thing in them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..engine.conftest import make_recipe, read_module, reduced, simulated
from ..sources.conftest import RunMaker

__all__ = ["make_recipe", "read_module", "reduced", "simulated"]


@pytest.fixture
def full_maker(tmp_path):
    """Writes the files of a run with modules of full size, which EXtra-data's components ask for."""
    return lambda shape=(512, 128): RunMaker(tmp_path / "raw" / "r0001", shape)


@pytest.fixture(scope="session")
def validated():
    """``validated(folder)``: what `extra-data-validate` says; fails if it finds a problem."""

    def run(folder):
        command = [sys.executable, "-m", "extra_data.validation", str(folder)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "No problems found" in answer.stdout
        return answer.stdout

    return run
