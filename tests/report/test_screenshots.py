"""Pictures of the report and the viewer in a browser, and those that docs/ shows of the demo.

With SHOTSIEVE_UPDATE_SCREENSHOTS=1 all of the demo is made, and docs/img anew; without, two trains of it are
held against what docs/img shows.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import shotsieve
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.geometry import write_geometry
from shotsieve.simulate.memory import build, spi_source
from shotsieve.view.server import Viewer
from shotsieve.view.shots import KeptShots

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "img"
UPDATE = os.environ.get("SHOTSIEVE_UPDATE_SCREENSHOTS") == "1"
MOST_BYTES = 150_000
REPORT, VIEW = (1000, 1200), (960, 620)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `make demo` makes, of fewer trains where nothing is to be shown, reduced."""
    folder = tmp_path_factory.mktemp("demo")
    demo = SpiParameters() if UPDATE else SpiParameters(n_trains=2, n_cells=4)
    source, _ = spi_source(demo, lazy=True)
    recipe = shotsieve.Recipe.load(ROOT / "examples" / "spi.toml")
    out = folder / "r0001"
    shotsieve.reduce(source, recipe, out, constants=constants_in_memory(demo, build(demo)[1]), backend="cpu")
    return out, write_geometry(folder / "agipd.geom", demo.distance_m, demo.photon_energy_kev)


def looked_at(path: Path, name: str, size: tuple[int, int]) -> None:
    """Hold a picture against that of the docs, or put it there."""
    picture = Image.open(path).convert("RGB")
    assert picture.size == size
    _not_blank(picture)
    kept = IMAGES / name
    if UPDATE:
        IMAGES.mkdir(exist_ok=True)
        picture.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(kept, optimize=True)
    assert kept.stat().st_size < MOST_BYTES
    shown = Image.open(kept).convert("RGB")
    assert shown.size == size, f"{kept.name} was made otherwise: SHOTSIEVE_UPDATE_SCREENSHOTS=1 makes it anew"
    _not_blank(shown)
    # Where one has a picture or text the other has: so a page that has become another one is seen.
    ours, theirs = (np.asarray(one.convert("L").resize((20, 25)), "f8").ravel() for one in (picture, shown))
    alike = np.corrcoef(ours, theirs)[0, 1]
    assert alike > 0.5, f"{kept.name} shows something else ({alike:.2f}): SHOTSIEVE_UPDATE_SCREENSHOTS=1"


def _not_blank(picture: Image.Image) -> None:
    colours = picture.quantize(64).getcolors()
    assert len(colours) > 20
    assert max(count for count, _ in colours) < 0.97 * picture.width * picture.height
    rows = np.asarray(picture.convert("L"), "f8").std(axis=1)
    assert (rows > 3).mean() > 0.4, "most of the window has nothing in it"


def test_the_report_of_the_demo(demo, browser, tmp_path):
    out, geometry = demo
    page = shotsieve.write_report(out, geometry=geometry)
    looked_at(browser.picture(page.as_uri(), tmp_path / "a.png", *REPORT), "report.png", REPORT)


def test_the_viewer_of_the_demo(demo, browser, tmp_path):
    out, geometry = demo
    with Viewer(KeptShots(out, geometry)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            path = browser.picture(server.url, tmp_path / "a.png", *VIEW, "--virtual-time-budget=20000")
        finally:
            server.shutdown()
            thread.join()
    looked_at(path, "view.png", VIEW)
    stage = np.asarray(Image.open(path).convert("RGB"))[:, 300:].astype("i2")
    assert (np.ptp(stage, axis=2) > 40).mean() > 0.3, "pixels have colours; what surrounds them is grey"


def test_errors_of_a_page_are_seen(browser, tmp_path):
    page = tmp_path / "page.html"
    for wrong in ("console.error('no')", "nothing()"):
        page.write_text(f"<!doctype html><title>t</title><script>{wrong}</script>", "utf-8")
        with pytest.raises(AssertionError, match="CONSOLE"):
            browser(page.as_uri())
    page.write_text("<!doctype html><title>t</title><p>good", "utf-8")
    assert "good" in browser(page.as_uri())
