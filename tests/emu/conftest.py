"""One workshop for the session, so that each program is compiled once."""

from __future__ import annotations

import pytest

from .workshop import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("emu"))
