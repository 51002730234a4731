"""Waits that are left out, which the emulated device has to notice."""

from __future__ import annotations

import sys

import pytest
from shotsieve.emulated import EmulatedDevice


def skip_waits_of(monkeypatch: pytest.MonkeyPatch, caller: str) -> list[str]:
    """Let waits that one function of the engine asks for do nothing; return where they are noted."""
    skipped = []
    wait = EmulatedDevice.wait

    def maybe_wait(self: EmulatedDevice, event: int) -> None:
        if sys._getframe(1).f_code.co_name != caller:
            wait(self, event)
            return
        skipped.append(caller)
        self._native.event_destroy(event)

    monkeypatch.setattr(EmulatedDevice, "wait", maybe_wait)
    return skipped
