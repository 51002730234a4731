"""Lines for whoever watches end nothing, and go nowhere else."""

from __future__ import annotations

import io
import sys

import pytest
from shotsieve import telling
from shotsieve.telling import tell


def test_a_line_goes_to_standard_error_once(capsys, monkeypatch):
    monkeypatch.setattr(telling, "_said", set())
    for _ in range(2):
        tell("something", once=True)
        tell("again")
    told = capsys.readouterr()
    assert told.err.splitlines() == ["shotsieve: something", "shotsieve: again", "shotsieve: again"]
    assert told.out == ""


@pytest.mark.parametrize("closed", [True, False])
def test_without_standard_error_nothing_is_said(capsys, monkeypatch, closed):
    stream = io.StringIO() if closed else None
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    tell("nobody hears this")
    assert capsys.readouterr().out == ""
