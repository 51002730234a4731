"""The page about a reduced run: what it says, for runs of all kinds, and that a browser draws it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.cli import main
from shotsieve.errors import BadInput, OutputError, UnreadableData
from shotsieve.report import pictures
from shotsieve.report.reduced import Reduced
from shotsieve.table import FATES

from .conftest import RULE
from .pages import Page, pictures_drawn

pytest.importorskip("matplotlib")


def test_the_page_says_what_was_kept_and_why(reduced, page):
    assert page == reduced / "report.html"
    page = Page(page)
    told = json.loads((reduced / "shotsieve/accounts.json").read_text())
    assert f"{told['kept']} of {told['expected']} shots kept" in page.words
    assert f"{told['misses']} of them misses by chance" in page.words
    assert RULE in page.words
    for section in ("Score", "Images", "Profile", "Modules and cells", "What became of every shot", "Speed"):
        assert section in page.words
    assert "measure.peaks.threshold" in page.words
    assert "keep.misses" in page.words
    assert "keep.undecided" not in page.words, "a default is not a change"
    captions = [image["alt"] for image in page.images]
    assert any("mean of the shots kept" in caption for caption in captions)
    assert any("mean of the misses" in caption for caption in captions)
    assert sum(caption.startswith("train ") for caption in captions) == min(4, told["kept"])
    assert "module 4" in page.words
    assert "4 missing" in page.words
    assert told["misses"] > 0


def test_peaks_of_a_run_show_themselves(reduced):
    peaks = Reduced.open(reduced).peaks
    assert f"{len(peaks.n_peaks):,} shots, {peaks.n_peaks.sum():,} peaks" in peaks._repr_html_()


def test_the_page_needs_nothing_else(page):
    links = Page(page).links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    for link in links:
        assert base64.b64decode(link.partition(",")[2], validate=True).startswith(b"\x89PNG")
    assert "<script" not in page.read_text("utf-8")


def test_the_same_run_gives_the_same_page(reduced, page, tmp_path):
    again = shotsieve.write_report(reduced, tmp_path / "a.html")
    assert again.read_bytes() == page.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.html"}


def test_check_and_overwrite_know_the_page(reduced, page, simulated, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(reduced, out)
    assert (out / page.name).is_file()
    assert not check(out).faults
    recipe = {"calibrate": {}}
    again = {"constants": simulated.constants, "backend": "cpu", "overwrite": True}
    shotsieve.reduce(simulated.raw, recipe, out, **again)
    assert not (out / "report.html").exists(), "a page about another output would be wrong"


def test_images_are_those_of_the_frames(reduced):
    run = Reduced.open(reduced)
    assert len(repr(run)) < 200
    assert repr(run).endswith("shots kept)")
    frames, rows = run.frames, run.frames.rows
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(run.table.fate == FATES.index("kept")))
    lit = run.table.measures["lit_pixels"]
    ok = run.table.module_status == 0
    threshold = run.settings["lit_threshold"]
    for shot, row in enumerate(rows.tolist()):
        image = frames.read(shot)
        assert [(np.nan_to_num(one) > threshold).sum() for one in image] == (lit[row] * ok[row]).tolist()
        assert np.isnan(image[~ok[row]]).all()
    stack = np.stack([frames.read(shot) for shot in range(len(frames))]).astype("f8")
    count = np.isfinite(stack).sum(axis=0)
    expected = np.divide(np.nansum(stack, axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)
    np.testing.assert_allclose(frames.mean(np.arange(len(frames))), expected, rtol=1e-6)


def test_a_mean_opens_every_file_once(reduced, monkeypatch):
    frames = Reduced.open(reduced).frames
    shots = np.arange(len(frames))
    total, count = np.zeros((2, *frames.read(0).shape))
    for shot in shots.tolist():
        image = frames.read(shot)
        total += np.nan_to_num(image)
        count += np.isfinite(image)
    opened = []

    class File(h5py.File):
        def __init__(self, path):
            opened.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(h5py, "File", File)
    mean = frames.mean(shots[::-1])
    assert sorted(opened) == sorted(path.name for path in reduced.glob("CORR-*.h5"))
    np.testing.assert_array_equal(mean, np.where(count > 0, total / np.maximum(count, 1), np.nan))


def test_files_that_are_gone_are_said(reduced, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(reduced, out)
    (out / "CORR-R0001-AGIPD04-S00000.h5").unlink()
    run = Reduced.open(out)
    assert np.isnan(run.frames.mean(np.arange(len(run.frames)))[1]).all()
    assert run.notes == ["no file has the frames of module 4: images are empty there"]
    (out / "CORR-R0001-AGIPD03-S00000.h5").unlink()
    run = Reduced.open(out)
    assert run.frames is None
    assert run.notes == ["the files of the kept shots are not there: no images are drawn"]


def test_scores_and_limits_are_those_of_the_rule(reduced):
    run = Reduced.open(reduced)
    name, score = run.score
    assert name == "lit_pixels[3]"
    np.testing.assert_array_equal(score, run.table.measures["lit_pixels"][:, run.table.modules.index(3)])
    np.testing.assert_array_equal(run.limit, run.table.columns["pulse_energy"])
    decided = np.isfinite(score) & ~run.by_chance
    np.testing.assert_array_equal(run.kept[decided], (score > run.limit)[decided])


def test_raw_words_are_said_not_to_be_drawn(simulated, tmp_path):
    recipe = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}, "write": {"content": "raw"}}
    shotsieve.reduce(simulated.raw, recipe, tmp_path / "out", constants=simulated.constants, backend="cpu")
    page = Page(shotsieve.write_report(tmp_path / "out"))
    assert "raw words were kept: no images are drawn" in page.words


def test_what_is_wrong_is_said(reduced, tmp_path):
    with pytest.raises(BadInput, match=re.escape("is not an output of shotsieve")):
        shotsieve.write_report(tmp_path)
    with pytest.raises(OutputError, match="the report cannot be written"):
        shotsieve.write_report(reduced, tmp_path / "none" / "page.html")
    with pytest.raises(BadInput, match=re.escape("none.geom")):
        shotsieve.write_report(reduced, tmp_path / "page.html", tmp_path / "none.geom")
    damaged = tmp_path / "damaged"
    shutil.copytree(reduced, damaged)
    (damaged / "shotsieve/settings.json").write_text("{")
    with pytest.raises(UnreadableData, match="cannot be read"):
        shotsieve.write_report(damaged)


@pytest.mark.parametrize("name", ["shotsieve/profiles.h5", "CORR-R0001-AGIPD03-S00000.h5"])
def test_files_that_are_damaged_are_named(reduced, tmp_path, name):
    damaged = tmp_path / "damaged"
    shutil.copytree(reduced, damaged)
    os.truncate(damaged / name, (damaged / name).stat().st_size // 2)
    run = Reduced.open(damaged)
    with pytest.raises(UnreadableData, match=Path(name).name):
        run.frames if name.startswith("CORR") else pictures.mean_profile(run)


def test_a_geometry_that_went_away_is_said(reduced, tmp_path, simulated):
    run = simulated.geometry
    hidden = run.with_suffix(".hidden")
    run.rename(hidden)
    try:
        page = Page(shotsieve.write_report(reduced, tmp_path / "page.html"))
    finally:
        hidden.rename(run)
    assert "the recipe's geometry cannot be used" in page.words


def test_the_command(reduced, tmp_path, capsys, simulated):
    page = tmp_path / "page.html"
    assert main(["report", str(reduced), "-o", str(page), "--geometry", str(simulated.geometry)]) == 0
    assert str(page) in capsys.readouterr().out
    assert main(["report", str(tmp_path / "none")]) == 2


def test_reduce_draws_the_page_at_its_end(simulated, tmp_path, capsys, monkeypatch):
    recipe = tmp_path / "recipe.toml"
    (tmp_path / "here.geom").write_bytes(simulated.geometry.read_bytes())
    recipe.write_text('[[detector]]\nname = "AGIPD1M"\ngeometry = "here.geom"\n[calibrate]\n[write]\n')
    words = ["reduce", str(simulated.raw), "--recipe", str(recipe), "--constants", str(simulated.constants)]
    assert main([*words, "-o", str(tmp_path / "one"), "--report"]) == 0
    page = Page(tmp_path / "one" / "report.html").words
    assert "12 of 12 shots kept" in page
    assert "side by side" not in page  # a path that is seen from the folder of the recipe
    assert main([*words, "-o", str(tmp_path / "two"), "--no-report"]) == 0
    assert not (tmp_path / "two" / "report.html").exists()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main([*words, "-o", str(tmp_path / "three"), "--report"]) == 0, (
        "the reduction is complete all the same"
    )
    assert "no page was drawn: report: matplotlib is not installed" in capsys.readouterr().err
    assert not (tmp_path / "three" / "report.html").exists()


def test_a_browser_draws_every_picture(page, browser, tmp_path):
    drawn = pictures_drawn(page, browser, tmp_path)
    assert len(drawn) == len(Page(page).images) > 5
    assert all(complete and natural > 100 and shown > 100 for complete, natural, shown in drawn)
