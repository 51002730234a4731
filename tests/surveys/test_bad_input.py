"""What a survey refuses, and what it says of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput, OutputError
from shotsieve.surveys.grid import parse_scan, with_number
from shotsieve.surveys.suggest import peaks_by_chance, plateau

from .conftest import BACKEND, look, recipe_of


def without(recipe, *path):
    recipe = copy.deepcopy(recipe)
    place = recipe
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return recipe


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"scan": ["measure.peaks.min_snt=4"]},
            r"does not vary this\. Did you mean 'measure\.peaks\.min_snr'",
        ),
        (
            {"scan": ["measure.peaks.min_snr="]},
            r"expected values, such as --scan 'measure\.peaks\.min_snr=4,5,6'",
        ),
        ({"scan": ["measure.peaks.min_snr=four"]}, r"'four' is not a number"),
        ({"scan": ["measure.peaks.min_pix_count=0"]}, r"--scan .*min_pix_count=0: .*whole number from 1"),
        ({"scan": ["measure.peaks.threshold=4 sigma"]}, r"the recipe has no threshold in sigma"),
        ({"scan": ["measure.lit.threshold=4 mm"]}, r"threshold"),
        ({"scan": ["write.compression=zip"]}, r"compression is 'zip'; expected one of none"),
        ({"shots": 0}, r"0 shots: expected a number from 1"),
        ({"seed": -1}, r"seed = -1: expected a whole number"),
    ],
)
def test_options(simulated, run, tmp_path, options, said):
    with pytest.raises(BadInput, match=said):
        look(run, recipe_of(simulated), tmp_path / "s.html", simulated.constants, **options)
    assert not list(tmp_path.iterdir())


def test_files_beside_the_page_that_no_survey_has_written(simulated, run, tmp_path):
    recipe, page = recipe_of(simulated), tmp_path / "s.html"
    for name in ("s.csv", "s.h5"):
        (tmp_path / name).write_bytes(b"key,other\n")
        with pytest.raises(OutputError, match=rf"{name} stands where the table .* another name"):
            look(run, recipe, page, simulated.constants)
        assert (tmp_path / name).read_bytes() == b"key,other\n"
        (tmp_path / name).unlink()
        with pytest.raises(BadInput, match=r"cannot end with \.(csv|h5), as its table does: take \.html"):
            look(run, recipe, tmp_path / name, simulated.constants)
    look(run, recipe, page, simulated.constants, shots=2)
    look(run, recipe, page, simulated.constants, shots=2)  # its own are replaced


def test_recipes(simulated, run, tmp_path):
    recipe, out = recipe_of(simulated), tmp_path / "s.html"
    with pytest.raises(BadInput, match=r"no rule, so that every shot is kept .*add a section \[keep\]"):
        look(run, without(recipe, "keep"), out, simulated.constants)
    bare = {**recipe, "measure": {}, "keep": {"rule": "cell_id > 3"}}
    with pytest.raises(
        BadInput, match=r"measures neither lit pixels nor peaks, rings or scores: add \[calibrate\]"
    ):
        look(run, bare, out, simulated.constants)
    plain = {**recipe, "keep": {"rule": "n_peaks > pulse_energy"}}
    with pytest.raises(
        BadInput, match=r"--scan keep\.rule: the rule 'n_peaks > pulse_energy' compares no number"
    ):
        look(run, plain, out, simulated.constants, scan=["keep.rule=4"])
    lit = {**recipe, "measure": {"lit": {}}, "keep": {"rule": "lit_pixels > 9"}}
    with pytest.raises(
        BadInput, match=r"--scan measure\.peaks\.min_snr: the recipe has no \[measure\.peaks\]"
    ):
        look(run, lit, out, simulated.constants, scan=["measure.peaks.min_snr=4"])
    empty = {**recipe, "select": {"rule": "train_id < 3"}}
    with pytest.raises(BadInput, match=r"there is no shot to look at: .* and is selected"):
        look(run, empty, out, simulated.constants)


def test_places(simulated, run, tmp_path):
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere"):
        look(run, recipe_of(simulated), tmp_path / "nowhere" / "s.html", simulated.constants)
    other = tmp_path / "list.txt"
    other.write_text("12 3\n")
    with pytest.raises(BadInput, match=r"list\.txt"):
        look(run, recipe_of(simulated), tmp_path / "s.html", simulated.constants, shots=4, truth=other)
    assert [path.name for path in tmp_path.iterdir()] == ["list.txt"]


def test_a_page_that_cannot_be_written_leaves_nothing(simulated, run, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OutputError, match=r"the table of the survey cannot be written .*No space"):
        look(
            run, recipe_of(simulated), tmp_path / "s.html", simulated.constants, shots=4,
            scan={"write.compression": ["none"]},
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_without_misses_nothing_is_known_of_losses(simulated, run, tmp_path):
    shotsieve.reduce(run, recipe_of(simulated), tmp_path / "red", simulated.constants, BACKEND)
    with pytest.raises(BadInput, match=r"kept no misses at random, .*reduce with \[keep\] misses = 0\.01"):
        look(run, recipe_of(simulated), tmp_path / "s.html", simulated.constants, misses=tmp_path / "red")
    assert not list(tmp_path.glob("s.*"))


def test_scans_are_read():
    assert parse_scan(None) == {}
    assert parse_scan(["keep.rule=5, 7.5", "write.compression = gzip"]) == {
        "keep.rule": [5, 7.5],
        "write.compression": ["gzip"],
    }


@pytest.mark.parametrize(
    ("rule", "number", "made"),
    [
        ("n_peaks >= 15", 8, "n_peaks >= 8"),
        ("20 < lit_pixels[3]", 7, "7 < lit_pixels[3]"),
        ("lit_pixels[3] > 1.0 * pulse_energy", 1.5, "lit_pixels[3] > 1.5 * pulse_energy"),
        ("not n_peaks < 4 or pulse_energy > 9", 2, "not n_peaks < 2 or pulse_energy > 9"),
        ("lit_pixels - 3 > pulse_energy", 5, "lit_pixels - 5 > pulse_energy"),
    ],
)
def test_the_number_in_a_rule(rule, number, made):
    assert with_number(rule, number) == made


def test_limits_that_are_suggested():
    rng = np.random.default_rng(1)
    misses, hits = rng.poisson(0.3, 950), rng.integers(20, 200, 50)
    counts = np.concatenate([misses, hits])
    _, least = peaks_by_chance(counts)
    limit = plateau(counts, least)
    assert 3 <= limit <= 8
    assert (hits >= limit).all()
    assert (misses >= limit).sum() <= 2
    # Misses that chance does not explain: a steep tail beyond it.
    wild = np.concatenate([rng.geometric(0.4, 950), hits])
    assert plateau(wild, peaks_by_chance(wild)[1]) >= limit
    assert plateau(rng.poisson(0.3, 300), 4) is None
