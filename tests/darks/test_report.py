"""The report on constants from dark runs, and what the command line says."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from shotsieve.cli import main
from shotsieve.darks import DarkOptions, figures, make_dark_constants
from shotsieve.darks.report import write_report
from shotsieve.darks.rules import preset, presets
from shotsieve.errors import BadInput
from shotsieve.pages import image
from shotsieve.simulate.darks import DarkParameters, simulate_darks

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def constants(agipd, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "constants.h5"
    assert main(["dark", *map(str, agipd.darks.runs), "-o", str(out)]) == 0
    return out


def test_the_page_holds_everything_and_asks_the_network_for_nothing(constants):
    page = constants.with_suffix(".html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page
    for text in ("r0001", "r0003", "NOISE_OUT_OF_THRESHOLD", "Rules for bad pixels: default", "Module 3"):
        assert text in page
    pictures = re.findall(r'alt="([^"]+)" src="data:image/png;base64,', page)
    kinds = ("offset", "noise", "levels", "thresholds")
    for name in ("histograms of", "trends over memory cells of", *(f"map of the {n} of" for n in kinds)):
        assert f"{name} module 3" in pictures


def test_the_page_of_one_fixed_stage(agipd, tmp_path, capsys):
    """Two stages have no dark data, and everything is drawn all the same."""
    out, options = tmp_path / "c.h5", ["--fixed", "--stages", "medium"]
    assert main(["dark", str(agipd.darks.runs[1]), *options, "-o", str(out)]) == 1
    assert "r0002 says that its gain mode is 0 (adaptive), in which pixels switch" in capsys.readouterr().err
    parameters = DarkParameters(n_trains=100, n_cells=2, modules=(3,), stages="medium", fixed=True)
    [run] = simulate_darks(tmp_path / "darks", parameters).runs
    assert main(["dark", str(run), *options, "-o", str(out)]) == 0
    page = out.with_suffix(".html").read_text("utf-8")
    assert "<td>3</td><td>low</td><td>-</td>" in page
    assert "trends over memory cells of module 3" in page


def test_the_same_picture_is_the_same_text():
    values = np.arange(24, dtype="f4").reshape(3, 1, 2, 4)
    texts = {image(figures.maps(values, values > 20, "offset"), "a map") for _ in range(2)}
    assert len(texts) == 1


def test_other_constants_have_no_report(simulated, tmp_path):
    with pytest.raises(BadInput, match="not made by `shotsieve dark`"):
        write_report(simulated.darks.gains, tmp_path / "page.html")


def test_without_matplotlib_nothing_is_begun(agipd, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    command = ["dark", *map(str, agipd.darks.runs), "-o", str(tmp_path / "c.h5")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "pip install 'shotsieve[plot]', or leave the report out with --no-report" in said
    assert not list(tmp_path.iterdir())
    assert main([*command, "--no-report"]) == 0
    told = capsys.readouterr()
    assert "high    r0001: 100 trains" in told.out
    assert "sums take" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["c.h5"]


def test_the_command_line_names_every_rule():
    from shotsieve.cli_dark import RULES

    assert list(RULES) == [rules.name for rules in presets()]


@pytest.mark.parametrize(
    ("said", "offset", "noise"),
    [
        ([], [5.0, 5.0], [5.0, 5.0]),
        (["--offset-sigma", "4"], [4.0, 4.0], [5.0, 5.0]),
        (["--noise-sigma", "3,1.5", "--per-asic"], [5.0, 5.0], [3.0, 1.5]),
        (["--offset-sigma", "none", "--noise-sigma", " 7 , 2 "], [], [7.0, 2.0]),
    ],
)
def test_limits_of_ones_own(agipd, tmp_path, capsys, said, offset, noise):
    """They are those that Python has, and are told with a star."""
    out = tmp_path / "c.h5"
    runs = list(map(str, agipd.darks.runs))
    assert main(["dark", *runs, *said, "-o", str(out), "--no-report", "--json", "--backend", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)["dark"]["rules"]
    assert (told["offset_sigma"], told["noise_sigma"]) == (offset, noise)
    assert told["name"] == ("default*" if said else "default")
    assert told["scope"] == ("asic" if "--per-asic" in said else "module")
    changes = {"offset_sigma": tuple(offset), "noise_sigma": tuple(noise), "scope": told["scope"]}
    rules = preset("default").changed(**changes) if said else preset("default")
    make_dark_constants(agipd.darks.runs, tmp_path / "d.h5", DarkOptions(rules=rules), backend="cpu")
    assert (tmp_path / "d.h5").read_bytes() == out.read_bytes()


@pytest.mark.parametrize("text", ["x", "", "1,2,3", "0", "-3", "3,-1", "nan", "inf", "5;3"])
def test_limits_that_are_none(agipd, tmp_path, capsys, text):
    runs = list(map(str, agipd.darks.runs))
    command = ["dark", *runs, f"--noise-sigma={text}", "-o", str(tmp_path / "c.h5"), "--no-report"]
    assert main(command) == 1
    assert f"--noise-sigma {text}: expected a number above 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sigma", [(3.0,), (1.0, 2.0, 3.0), (0.0, 5.0), (5.0, float("nan"))])
@pytest.mark.parametrize("name", ["offset_sigma", "noise_sigma"])
def test_limits_that_are_none_from_python(name, sigma):
    with pytest.raises(BadInput, match=f"rules default.*: {name} = .* expected two finite numbers above 0"):
        preset("default").changed(**{name: sigma})


def test_errors_of_the_command_line(agipd, tmp_path, capsys):
    runs = list(map(str, agipd.darks.runs))
    out = ["-o", str(tmp_path / "c.h5")]
    assert main(["dark", *runs[::-1], *out]) == 1
    assert "wrong order, or of the same gain" in capsys.readouterr().err
    assert main(["dark", *runs, *out, "--report", "x.html", "--no-report"]) == 2
    assert main(["dark", *runs[:2], *out]) == 1
    assert "AGIPD1M needs 3: high, medium, low" in capsys.readouterr().err
    (tmp_path / "c.html").write_text("mine")
    assert main(["dark", *runs, *out]) == 1
    assert "c.html exists" in capsys.readouterr().err
    assert (tmp_path / "c.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("out", "page", "text"),
    [
        ("c.h5", "nowhere/c.html", "expected the name of a file in a folder that exists"),
        ("c.h5", "c.h5", "would be the constants and the report"),
        ("c.html", None, "would be the constants and the report"),
    ],
)
def test_places_for_the_page_are_looked_at_first(agipd, tmp_path, capsys, out, page, text):
    more = [] if page is None else ["--report", str(tmp_path / page)]
    assert main(["dark", *map(str, agipd.darks.runs), "-o", str(tmp_path / out), *more]) == 1
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
