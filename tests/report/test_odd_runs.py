"""Runs of which there is little to show: each has a page that can be read, and one to step through."""

from __future__ import annotations

import re
import threading

import pytest
import shotsieve
from shotsieve.report import page as report_page
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.simulate.receiver import ReceiverParameters, simulate_receiver
from shotsieve.view.server import Viewer
from shotsieve.view.shots import KeptShots

from .pages import Page, pictures_drawn

matplotlib = pytest.importorskip("matplotlib")

RUNS = {
    "no hits": ({"modules": (3,)}, {"keep": {"rule": "lit_fraction > 0.9"}}),
    "all hits": ({"modules": (3,)}, {"keep": {"rule": "lit_pixels >= 0"}}),
    "one shot": ({"modules": (3,), "n_trains": 1, "n_cells": 1, "reference_frame": 0}, {}),
    "missing modules": (
        {"modules": (3, 4, 5), "missing_modules": (4, 5)}, {"keep": {"rule": "lit_fraction > 0.001"}}
    ),
    "one dimension": (None, {"keep": {"rule": "lit_pixels > 10"}}),
}  # fmt: skip
SAYS = {
    "no hits": ("0 of 6 shots kept (0 %)", "no shot was kept: no images are drawn"),
    "all hits": ("6 of 6 shots kept (100 %)",),
    "one shot": ("1 of 1 shots kept (100 %)", "no rule of columns"),
    "missing modules": ("of 6 shots kept", "could not be decided", "module 4 6 6 missing"),
    "one dimension": ("of 8 shots kept", "times larger"),
}


@pytest.fixture(scope="module", params=RUNS)
def odd(request, tmp_path_factory):
    """Name and folder of a reduced run."""
    folder = tmp_path_factory.mktemp("odd")
    simulated, sections = RUNS[request.param]
    out = folder / "<b>&x"  # names cannot become markup
    measure = {"lit": {"threshold": "0.7 photon"}}
    recipe = {"calibrate": {}, "measure": measure, "write": {"content": "corrected"}, **sections}
    if simulated is None:
        given = ReceiverParameters("GOTTHARD2", n_trains=2, n_frames=4, modules=(1, 2), hit_rate=0.4)
        run = simulate_receiver(folder / "sim", given)
        source, constants, recipe["detector"] = run.raw, run.constants, [{"name": "GOTTHARD2"}]
    else:
        parameters = SpiParameters(**{"n_trains": 2, "n_cells": 3, **simulated})
        source, _ = spi_source(parameters)
        constants = constants_in_memory(parameters, build(parameters)[1])
    shotsieve.reduce(source, recipe, out, constants=constants, backend="cpu")
    return request.param, out


def test_there_is_a_page_that_can_be_read(odd, monkeypatch, browser, tmp_path):
    name, out = odd
    words, figure = [], report_page.figure

    def watched(drawn, caption):
        made = figure(drawn, caption)
        words.extend(text.get_text() for text in drawn.findobj(matplotlib.text.Text))
        return made

    monkeypatch.setattr(report_page, "figure", watched)
    path = shotsieve.write_report(out)
    page = Page(path)
    assert "<b>&x" in page.words
    for said in SAYS[name]:
        assert said in page.words
    assert "no geometry" in page.words
    for text in (page.words, *words, *(picture["alt"] for picture in page.images)):
        assert not re.search(r"\b([Nn]a[Nn]|[Ii]nf|[Ii]nfinity|None)\b", text), text
    assert len(words) > 20
    images = sum("train " in picture["alt"] or "mean of" in picture["alt"] for picture in page.images)
    assert (images == 0) == (name == "no hits")
    drawn = pictures_drawn(path, browser, tmp_path)
    assert len(drawn) == len(page.images) >= 4
    assert all(complete and natural > 100 and shown > 100 for complete, natural, shown in drawn)


def test_there_is_a_page_to_step_through(odd, browser):
    name, out = odd
    shots = KeptShots(out)
    if name == "one dimension":  # a band that can be seen
        assert shots.about()["columns"] == 1280
        assert shots.about()["rows"] > 100
    with Viewer(shots) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            page = browser(server.url, "--virtual-time-budget=20000", "--window-size=1000,700")
        finally:
            server.shutdown()
            thread.join()
    shown = "0" if name == "no hits" else "1"
    assert f'data-shown="{shown}"' in page
    assert 'class="error"' not in page
    assert ("no shot was kept" in page) == (name == "no hits")
    assert ("<td>lit_pixels</td>" in page) == (name != "no hits")
    assert not re.search(r"\bNaN\b", page.partition("<script>")[0])
