"""A small run in several parts, and servers that reduce it with faults."""

from __future__ import annotations

import pytest

from .server import Factory, folder_in_memory


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Start a server for a recipe, by name, and for a folder of one's own."""
    with folder_in_memory() as folder:
        try:
            factory = Factory(folder or tmp_path_factory.mktemp("faults"))
        except RuntimeError as reason:
            pytest.skip(str(reason))
        yield factory
        factory.close()
