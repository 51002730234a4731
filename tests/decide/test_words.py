"""Rules that are refused: the text names what is wrong and points at the very word."""

import ast
from pathlib import Path

import pytest
from shotsieve import decide
from shotsieve.decide import Rule
from shotsieve.errors import BadInput

COLUMNS = ["lit_pixels", "photons", "pulse_energy", "lit_pixels[0]", "lit_pixels[3]"]
EXPLAIN = {"n_peaks": "add a section [measure.peaks] to the recipe"}


def refusal(text):
    with pytest.raises(BadInput) as caught:
        Rule.parse(text, COLUMNS, EXPLAIN)
    return str(caught.value)


def pointed_at(message):
    """The part of the rule above the carets."""
    lines = message.splitlines()
    carets = next(i for i, line in enumerate(lines) if line.strip() and set(line.strip()) == {"^"})
    start = lines[carets].index("^")
    return lines[carets - 1][start : start + lines[carets].count("^")]


@pytest.mark.parametrize(
    ("text", "word", "says"),
    [
        ("photons > 2 and lit_pixel >= 3", "lit_pixel", "Did you mean 'lit_pixels'?"),
        ("photons > 2 and zzz >= 3", "zzz", "Columns are lit_pixels, photons, pulse_energy"),
        ("n_peaks > 3", "n_peaks", "add a section [measure.peaks] to the recipe"),
        ("n_peakz > 3", "n_peakz", "Did you mean 'n_peaks'?"),
        ("photons", "photons", "compare it with something"),
        ("photons + 3", "photons + 3", "compare it with something"),
        ("7", "7", "compare it with something"),
        ("1 < 2", "1 < 2", "no column"),
        ("photons > 2 or pulse_energy", "pulse_energy", "compare this with something"),
        ("not photons", "photons", "not needs a comparison"),
        ("photons > 2 & pulse_energy > 3", "2", "put each comparison in brackets"),
        ("photons >= 2 and photons = 4", "=", "write =="),
        ("photons > 2 && photons < 4", "&&", "write 'and'"),
        ("photons > 2 || photons < 4", "||", "write 'or'"),
        ("!(photons != 2)", "!", "write 'not'"),
        ("(photons > 2) + 1 > 0", "photons > 2", "need numbers"),
        ("-(photons > 2) > 0", "photons > 2", "- needs a number"),
        ("(photons > 2) == (photons > 1)", "photons > 2", "join two of them"),
        ("photons ** 2 > 4", "**", "not allowed"),
        ("(photons) // (2) > 4", "//", "not allowed"),
        ("photons % 2 == 0", "%", "not allowed"),
        ("photons ^ 2 > 4", "^", "not allowed"),
        ("photons > 2 is photons", "is", "not allowed"),
        ("photons > 1 not in photons", "not in", "not allowed"),
        ("photons > +2", "+2", "not allowed"),
        ("photons > True", "True", "not allowed"),
        ("photons > 3j", "3j", "not allowed"),
        ("photons > 'é' and photon > 1", "'é'", "not allowed"),
        ("é > 3", "é", "no column 'é'"),
        ("photons > 1e999", "1e999", "too large"),
        ("photons > " + "9" * 400, "9" * 400, "too large"),
        ("photons.real > 3", "photons.real", "not allowed"),
        ("photons if photons > 3 else 3", "photons if photons > 3 else 3", "not allowed"),
        ("open('x') > 3", "open", "functions of a rule are abs, min and max"),
        ("__import__('os').system('ls') > 3", "__import__('os').system('ls')", "not allowed"),
        ("max(photons) > 3", "max(photons)", "two or more"),
        ("abs(photons, 3) > 3", "abs(photons, 3)", "abs takes one"),
        ("min() > photons", "min()", "two or more"),
        ("max(photons, key=3) > 3", "max", "functions of a rule"),
        ("abs(photons > 3) > 0", "photons > 3", "abs needs numbers"),
        ("lit_pixels[9] > 3", "lit_pixels[9]", "modules are 0, 3"),
        ("lit_pixels[-1] > 3", "lit_pixels[-1]", "one module number"),
        ("lit_pixels[0:1] > 3", "lit_pixels[0:1]", "one module number"),
        ("lit_pixels[True] > 3", "lit_pixels[True]", "one module number"),
        ("photons[3] > 3", "photons[3]", "leave the [ ] out"),
        ("nothing[3] > 3", "nothing[3]", "no column 'nothing'"),
        ("photons > 3 # every\n and photons > 4", "#", "cannot hold a comment"),
        ("(photons > 3", "(", "never closed"),
        ("photons > 3 lit_pixels", "lit_pixels", "cannot be read"),
    ],
)
def test_the_word_is_pointed_at(text, word, says):
    message = refusal(text)
    assert says in message
    assert pointed_at(message) == word


@pytest.mark.parametrize(
    "text", ["", "   \n ", "photons >", "\x00 > 3", "photons > 3\n)", "photons > " + "9" * 5000]
)
def test_unreadable(text):
    assert "rule" in refusal(text)


@pytest.mark.parametrize("n", [250, 3000, 50000])
@pytest.mark.parametrize("opening", ["(", "-", "not ", "photons + "])
def test_depth_is_bounded(n, opening):
    close = ")" * n if opening == "(" else ""
    assert "rule" in refusal(opening * n + "photons > 3" + close)


def test_operators_written_as_columns_end_a_line():
    message = refusal("photons >")
    assert message.splitlines()[-1].index("^") == len("    photons >")


def test_a_wide_character_before_the_word_does_not_shift_the_caret():
    assert pointed_at(refusal("min(photons, é) > zzz")) == "é"


def test_lines_are_joined():
    rule = Rule.parse("\n  photons > 3\n  and lit_pixels[3] < 4 \n", COLUMNS)
    assert rule.text == "photons > 3 and lit_pixels[3] < 4"
    assert rule.names == ("photons", "lit_pixels[3]")


def test_a_missing_bound_is_named():
    rule = Rule.parse("photons > 3", COLUMNS)
    with pytest.raises(BadInput, match="'photons'"):
        rule.evaluate({})


def test_decide_sees_no_native_module():
    """Arrow: rules import numpy and errors only."""
    tree = ast.parse(Path(decide.__file__).read_text(encoding="utf-8"))
    own = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    assert own == {"errors"}
