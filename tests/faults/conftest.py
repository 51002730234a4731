"""A small run in several parts, and servers that reduce it with faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from shotsieve.simulate import simulate_spi

from .server import SIMULATED, Server, build_shim


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Start a server for a recipe, and for a folder of one's own."""
    shim = build_shim(tmp_path_factory.mktemp("shim"))
    if shim is None:
        pytest.skip("needs a C compiler and Linux")
    sim = simulate_spi(tmp_path_factory.mktemp("simulated"), SIMULATED)
    started = []

    def start(text: str, folder: Path | None = None) -> Server:
        started.append(Server(shim, folder or tmp_path_factory.mktemp("served"), sim, text))
        return started[-1]

    yield start
    for server in started:
        server.close()
