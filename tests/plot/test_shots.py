"""Pictures of tables of shots, and how objects look in a notebook."""

from __future__ import annotations

import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
import shotsieve
from shotsieve import shown
from shotsieve.accounts import Accounts, Split
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.geometry import PixelMap
from shotsieve.geometry.tile import Tile
from shotsieve.judged import Judged
from shotsieve.measure.peak_finder import Peaks
from shotsieve.measure.roi import RoiResult
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.table import FATES, Table

RULE = "lit_fraction > 2e-5 * pulse_energy"


class Markup(HTMLParser):
    """Tags of a text, once they are known to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], "what runs is no picture"

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def markup(shown_object) -> Markup:
    made = Markup(shown_object._repr_html_())
    assert "script" not in made.tags
    assert "nan" not in " ".join(made.words).lower().split()
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    parameters = SpiParameters(n_trains=5, n_cells=4, modules=(3, 4), missed_trains=((4, 1),))
    source, _ = spi_source(parameters)
    constants = constants_in_memory(parameters, build(parameters)[1])
    recipe = shotsieve.Recipe.from_dict(
        {"calibrate": {}, "measure": {"lit": {}}, "keep": {"rule": f"{RULE} and n_modules > 0"}}
    )
    out = tmp_path_factory.mktemp("red") / "<b>"
    return (
        source,
        constants,
        recipe,
        shotsieve.reduce(source, recipe, out, constants=constants, backend="cpu"),
    )


@pytest.fixture
def table():
    """Seven shots of two trains: values 0 to 6, of which the last is not known."""
    table = Table(
        [5] * 3 + [6] * 4, np.arange(7), np.arange(7), modules=(0,), module_pixels=10, measures=["lit_pixels"]
    )
    table.set_module_status(slice(None), [[0]] * 6 + [[1]])
    table.set_measure("lit_pixels", slice(None), np.arange(7)[:, None])
    table.set_fate([0, 1, 2], "dropped")
    return table


def test_a_rule_that_is_asked_now_says_what_it_would_keep(table):
    judged = Judged(table, "lit_pixels >= 2", asked=True)
    assert judged.kept.tolist() == [False, False, True, True, True, True, True], "unknown is kept"
    assert judged.score[0] == "lit_pixels"
    np.testing.assert_array_equal(judged.score[1], [0, 1, 2, 3, 4, 5, np.nan])
    assert (judged.limit == 2).all()
    assert Judged(table, "lit_pixels >= 2").kept.tolist() == (table.fate == 0).tolist(), "what was kept"
    assert Judged(table).score[0] == "lit_pixels"
    assert Judged(table, "cell_id", asked=True).score[1].tolist() == list(range(7))
    assert Judged(table, "other_lit_pixels > 3").rule is None, "another detector's column"
    with pytest.raises(BadInput, match="other_lit_pixels"):
        Judged(table, "other_lit_pixels > 3", asked=True).score  # noqa: B018
    table.set_fate([6], "suspect")
    assert not Judged(table, "lit_pixels >= 2", asked=True).kept[6]


class TestPictures:
    @pytest.fixture(autouse=True)
    def plain(self):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        yield
        import matplotlib.pyplot as plt

        plt.close("all")

    def test_the_histogram_counts_every_known_shot(self, table):
        ax = shotsieve.plot.histogram(table, "lit_pixels >= 2")
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["not kept", "kept", "limit"]
        assert [sum(p.get_height() for p in c) for c in ax.containers] == [2, 4]
        [limit] = ax.lines
        assert limit.get_xdata() == [2, 2]
        assert ax.get_xlabel() == "lit_pixels"

    def test_scores_and_hit_rate_are_those_of_the_shots(self, table):
        ax = shotsieve.plot.scores(table, "lit_pixels >= 2")
        drawn = {line.get_label(): line.get_data() for line in ax.lines}
        np.testing.assert_array_equal(drawn["not kept"], [[0, 0], [0, 1]])
        np.testing.assert_array_equal(drawn["kept"][0], [0, 1, 1, 1, 1])
        assert set(drawn["2"][1]) == {2}
        [stairs] = shotsieve.plot.hit_rate(table, "lit_pixels >= 2").patches
        np.testing.assert_allclose(stairs.get_data().values, [100 / 3, 100])

    def test_health_is_the_mean_over_shots_that_were_measured(self, table):
        axes = shotsieve.plot.health(table)
        [bar] = axes[1, 0].patches
        assert bar.get_height() == 2.5
        np.testing.assert_array_equal(axes[1, 1].lines[0].get_ydata(), [0, 1, 2, 3, 4, 5, 0])
        with pytest.raises(BadInput, match="expected \\(2, 2\\)"):
            shotsieve.plot.health(table, axes[0])

    def test_health_of_peaks_alone(self):
        table = Table([7, 7], [0, 4], [0, 1], modules=(0, 1), module_pixels=100, measures=["n_peaks"])
        table.set_module_status(slice(None), np.zeros((2, 2), int))
        table.set_measure("n_peaks", slice(None), [[3, 0], [9, 4]])
        axes = shotsieve.plot.health(table)
        assert [bar.get_height() for bar in axes[1, 0].patches] == [6, 2]
        assert axes[1, 0].get_ylabel() == "mean peaks a module"
        assert "[measure.lit] counts them" in axes[0, 0].texts[0].get_text()

    def test_scores_that_nothing_is_known_of_are_said_to_be(self):
        table = Table([7], [0], [0], modules=(0, 1), module_pixels=100, measures=["n_peaks"])
        for draw in ("scores", "histogram"):
            ax = getattr(shotsieve.plot, draw)(table, "n_peaks >= 3")
            assert "n_peaks is known of no shot" in ax.texts[0].get_text()

    def test_a_result_its_folder_and_its_table_are_drawn_alike(self, run):
        *_, result = run
        reduced = shotsieve.Reduced.open(result.out)
        ways = [result, result.out, str(result.out), reduced]
        drawn = [shotsieve.plot.histogram(way) for way in ways]
        drawn.append(shotsieve.plot.histogram(result.table, f"{RULE} and n_modules > 0"))
        for ax in drawn:
            assert ax.get_xlabel() == "lit_fraction - (2e-05 * pulse_energy)"
            assert [[p.get_height() for p in c] for c in ax.containers] == [
                [p.get_height() for p in c] for c in drawn[0].containers
            ]
        assert (
            sum(p.get_height() for c in drawn[0].containers for p in c) == np.isfinite(reduced.score[1]).sum()
        )

    def test_what_cannot_be_drawn_is_said(self, run, tmp_path):
        for given, text in ((3, "int was given: expected a table"), (tmp_path, "not an output of shotsieve")):
            with pytest.raises(BadInput, match=text):
                shotsieve.plot.scores(given)
        with pytest.raises(BadInput, match="lit_pixel"):
            shotsieve.plot.scores(run[-1], "lit_pixel > 3")
        side = tmp_path / "shotsieve"
        side.mkdir()
        run[-1].table.save(side / "table.h5")
        with pytest.raises(UnreadableData, match=r"recipe\.toml"):
            shotsieve.plot.scores(tmp_path)

    def test_tables_of_nothing_known_are_drawn(self):
        none = Table([], [], [], modules=(0,), module_pixels=10, measures=["lit_pixels"])
        unknown = Table([1], [0], [0], modules=(0,), module_pixels=10, measures=["lit_pixels"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for table in (none, unknown):
                for draw in ("scores", "histogram", "hit_rate", "health"):
                    for by in (None, "lit_pixels > 3") if draw != "health" else (None,):
                        ax = getattr(shotsieve.plot, draw)(table, *([by] if by else []))
                        np.ravel(ax)[0].figure.canvas.draw()


def test_objects_look_like_what_they_are(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # nothing of it is needed
    source, constants, recipe, result = run
    assert {"AGIPD1M", "3, 4"} <= set(markup(source).words)
    words = markup(constants).words
    assert "constants of AGIPD1M, 4 memory cells" in words
    assert "2 of 2 modules" in words
    made = markup(recipe)
    assert f"{RULE} and n_modules > 0" in "".join(made.words)
    assert "details" in made.tags, "the defaults are folded away"
    told = result.accounts
    made = markup(result)
    assert f"SPB_DET_AGIPD1M-1: {told.kept} of 20 shots kept" in made.words
    assert any(word.endswith("/<b>") for word in made.words), "a name is no markup"
    made = markup(result.table)
    assert f"20 shots of 2 modules: {told.kept} kept, {told.dropped} dropped" in made.words
    assert {"lit_fraction", "pulse_energy", "uJ"} <= set(made.words)
    unknown = np.count_nonzero(np.isnan(Judged(result.table, "lit_fraction").score[1]))
    at = made.words.index("lit_fraction")
    assert made.words[at + 4] == str(unknown) == "4", "module 4 lacks a train"
    assert (
        markup(shotsieve.Reduced.open(result.out)).words[0]
        == f"SPB_DET_AGIPD1M-1: {told.kept} of 20 shots kept"
    )


def test_accounts_add_up_on_the_page():
    told = Accounts("A", "<s>", trains=1, expected=9, kept=4, dropped=2, missing=3, undecided=Split(1, 1))
    words = markup(told).words
    assert words[0] == "<s>: 4 of 9 shots kept"
    assert {"missing", "undecided"} <= set(words)
    assert "suspect" not in words, "what did not happen is left out"
    assert [word for word in words if word.endswith("%")] == ["44.4 %", "22.2 %", "33.3 %", "22.2 %"]
    assert "suspect" in FATES


def test_curves_are_drawn_and_cakes_are_told(rng):
    step = 2e-4
    tile = Tile(
        (0, 40, 0, 50), np.array([-0.005, -0.004, 0.1]), np.array([0, step, 0]), np.array([step, 0, 0])
    )
    pixels = PixelMap((tile,), (40, 50), 0.1, 9.3, "one tile")
    frames = rng.poisson(5, (3, 40, 50)).astype("f4")
    integrator = shotsieve.AzimuthalIntegrator(pixels, npt=20, error_model="poisson", backend="cpu")
    for given, title in ((frames, "3 profiles"), (frames[0], "1 profile")):
        made = markup(integrator(given))
        assert made.words[0] == title
        assert made.tags.count("polyline") == 1
    integrator = shotsieve.AzimuthalIntegrator(pixels, npt=20, npt_chi=6, backend="cpu")
    for given, title in ((frames, "3 cakes"), (frames[0], "1 cake")):
        made = markup(integrator(given))
        assert made.words[0] == title
        assert "polyline" not in made.tags
    nothing = integrator(frames[:0])
    assert markup(nothing).words[0] == "0 cakes"


def test_lines_have_gaps_where_nothing_is_known():
    drawn = shown.line([0, 1, 2, 3, 4], [1, 2, np.nan, np.inf, 5])
    assert Markup(drawn).tags == ["svg", "polyline", "polyline"]
    assert 'points="4.0,86.0 82.0,65.5"' in drawn
    assert shown.line([0, 1], [np.nan, np.nan]) == ""
    assert "nan" not in shown.line([1], [1])


def test_regions_and_peaks():
    sums, counts = np.array([[3.0, 0], [5, 0]]), np.array([[2, 0], [2, 0]])
    most = np.array([[2, np.nan], [4, np.nan]], "f4")
    result = RoiResult(("<a>", "none"), sums, np.ones((2, 2)), counts, most)
    words = markup(result).words
    assert words[0] == "2 regions of 2 frames"
    assert words[6:] == ["<a>", "4", "2", "2", "4", "none", "0", "0", "unknown", "unknown"]
    assert markup(Peaks.empty(2, 1)).words[0] == "2 shots, 0 peaks"


def test_long_tables_and_notes_are_cut():
    made = Markup(shown.card("many", [[n, "x"] for n in range(99)]))
    assert made.tags.count("tr") == shown.MOST_ROWS + 1
    assert made.words[-1] == "and 69 more"
    told = Accounts("A", "s", trains=1, expected=0, notes=[f"note {n}" for n in range(99)])
    assert markup(told).words[-1] == "and 69 more"
