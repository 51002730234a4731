"""The page, by the command; and that a browser draws it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess

import pytest
import shotsieve
from shotsieve.cli import main
from shotsieve.toml_text import dumps_toml

from .conftest import BACKEND, MODULE, recipe_of


@pytest.fixture(scope="module")
def page(simulated, run, tmp_path_factory):
    """Made with the recipe's file."""
    folder = tmp_path_factory.mktemp("page")
    recipe = recipe_of(simulated, keep={"rule": f"n_peaks[{MODULE}] >= 8"})
    (folder / "recipe.toml").write_text(dumps_toml(recipe), encoding="utf-8")
    few = ["measure.peaks.threshold=4 photon", "measure.peaks.min_snr=5,7", "keep.rule=4,8,12"]
    few += ["measure.peaks.min_pix_count=1", "measure.peaks.max_pix_count=200", "write.compression=none,gzip"]
    out = folder / "s.html"
    shotsieve.survey(run, folder / "recipe.toml", out, simulated.constants, BACKEND, shots=26, scan=few)
    return out


def test_it_says_what_it_has_to(page):
    text = page.read_text(encoding="utf-8")
    for title in (
        "What is suggested, and why",
        "What a reduction with this recipe will take",
        "What each setting costs",
        "What kept frames are written as",
        "What was kept and what was not, seen",
        "All settings",
        "Why components were no peaks",
    ):
        assert f"<h2>{title}</h2>" in text
    assert re.search(r"Hits by this recipe: <b>[\d.]+ % \([\d.]+ to [\d.]+ %\)</b>", text)
    assert "26 of 64 shots, drawn at random by a hash of train and pulse" in text
    # A suggestion stands beside its reason.
    assert re.search(r"keep\.rule = n_peaks\[3\] &gt;= \d+</td><td>changed</td><td>most shots have few", text)
    rates = re.findall(r"<td class=n>[\d.]+ % \([\d.e-]+ to [\d.e-]+ %\)</td>", text)
    assert len(rates) >= 2 * 10  # hits and losses of every setting
    pictures = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', text)
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for _, data in pictures)
    told = [name for name, _ in pictures]
    assert any(name.startswith("largest value of every pixel") and "misses" in name for name in told)
    assert sum(name.startswith("strong hit") for name in told) >= 1
    assert sum("near the limit" in name for name in told) >= 2
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)  # nothing is fetched
    assert "<script" not in text
    assert sorted(path.name for path in page.parent.iterdir()) == ["recipe.toml", "s.csv", "s.h5", "s.html"]


def test_a_browser_draws_it(page, tmp_path):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: the page was not opened in a browser")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", profile,
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    assert done.stdout.count("<img") == page.read_text(encoding="utf-8").count("<img")


def test_json_and_errors_of_the_command(simulated, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    given = recipe_of(simulated, measure={"lit": {}}, keep={"rule": f"lit_pixels[{MODULE}] > 9000"})
    recipe.write_text(dumps_toml(given), encoding="utf-8")
    options = ["survey", str(simulated.raw), "--recipe", str(recipe), "-o", str(tmp_path / "s.html")]
    options += ["--constants", str(simulated.constants), "--shots", "3", "--backend", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shotsieve.surveys.page.write_page", lambda *told: None)
        assert main([*options, "--scan", "write.compression=none"]) == 0
        told = capsys.readouterr().out
        assert told.startswith("sample        3 of 64 shots, drawn at random")
        assert told.endswith(f"page          {tmp_path / 's.html'}\n")
        assert main([*options, "--json", "--scan", "write.compression=none"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"][0]["key"] == "recipe"
    assert told["settings"][0]["missed"] is None
    assert told["prediction"]["shots"] == 64
    assert main([*options, "--scan", "keep.rul=4"]) == 1
    assert "Did you mean 'keep.rule'?" in capsys.readouterr().err


def test_it_is_there_under_its_name():
    assert shotsieve.survey.__module__ == "shotsieve.surveys.run"
    assert "survey" in dir(shotsieve)
