"""What all pages and pictures are made of."""

from __future__ import annotations

import os
import sys

import pytest
from shotsieve.errors import BadInput, OutputError
from shotsieve.pages import need_matplotlib, table, write_whole


def test_a_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    assert write_whole(path, "old\r\n\xe5", "the page").read_bytes() == b"old\r\n\xc3\xa5"

    def refuse(*_):
        raise OSError(28, "No space left on device")

    def half(file):
        file.write(b"ha")
        refuse()

    with pytest.raises(OutputError, match=r"page\.html: the page cannot be written .*No space"):
        write_whole(path, half, "the page")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OutputError, match="No space"):
            write_whole(path, "new", "the page")
    assert path.read_text("utf-8") == "old\n\xe5"
    assert list(tmp_path.iterdir()) == [path]


def test_cells_are_texts():
    made = table(("<b>", 2), [["a & b", None]], numbers=(1,))
    assert (
        made == "<table><tr><th>&lt;b&gt;</th><th>2</th></tr>"
        "<tr><td>a &amp; b</td><td class=n>None</td></tr></table>"
    )


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BadInput, match=r"^report: matplotlib is not installed .*\[plot\]', or leave it out$"):
        need_matplotlib("report", ", or leave it out")
