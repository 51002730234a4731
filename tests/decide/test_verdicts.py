"""What rules answer: law 1 word for word, then soundness and completeness against plain NumPy."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shotsieve import decide
from shotsieve.decide import FALSE, TRUE, UNKNOWN, Rule

INF = np.inf
NAMES = ("a", "b", "c")


def ask(text, **bounds):
    pairs = {name: (np.array([lo], "f8"), np.array([hi], "f8")) for name, (lo, hi) in bounds.items()}
    return int(Rule.parse(text, list(bounds)).evaluate(pairs)[0])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("a >= 5", TRUE),  # already met by the modules that are there
        ("a >= 6", UNKNOWN),
        ("a > 5", UNKNOWN),
        ("a > 4", TRUE),
        ("a < 6", UNKNOWN),
        ("a < 5", FALSE),  # the count can only grow
        ("a <= 4", FALSE),
        ("a == 5", UNKNOWN),
        ("a == 4", FALSE),
        ("a != 4", TRUE),
        ("a > 15", FALSE),  # not even with every pixel of the missing module lit
        ("not a >= 5", FALSE),
        ("4 < a <= 15", TRUE),
        ("4 < a < 15", UNKNOWN),
    ],
)
def test_a_count_with_a_module_missing_is_a_lower_bound(text, verdict):
    assert ask(text, a=(5, 15)) == verdict


@pytest.mark.parametrize("compare", ["<", "<=", ">", ">=", "==", "!="])
def test_an_unknown_value_answers_nothing(compare):
    assert ask(f"a {compare} 0", a=(-INF, INF)) == UNKNOWN
    assert ask(f"a {compare} 0", a=(np.nan, np.nan)) == UNKNOWN


def test_kleene():
    known = {"TRUE": "a > 0", "FALSE": "a < 0", "UNKNOWN": "b > 0"}
    value = {"TRUE": TRUE, "FALSE": FALSE, "UNKNOWN": UNKNOWN}
    order = {FALSE: 0, UNKNOWN: 1, TRUE: 2}
    back = {rank: verdict for verdict, rank in order.items()}
    for p, left in known.items():
        for q, right in known.items():
            ranks = order[value[p]], order[value[q]]
            bounds = {"a": (1, 1), "b": (-INF, INF)}
            for word, pick in (("and", min), ("&", min), ("or", max), ("|", max)):
                assert ask(f"({left}) {word} ({right})", **bounds) == back[pick(ranks)]
        assert ask(f"not ({left})", a=(1, 1), b=(-INF, INF)) == back[2 - order[value[p]]]
        assert ask(f"~({left})", a=(1, 1), b=(-INF, INF)) == back[2 - order[value[p]]]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("a / b > 0", UNKNOWN),  # b may be 0
        ("a / 0 > 0", UNKNOWN),
        ("0 / a == 0", TRUE),
        ("b * 0 == 0", TRUE),
        ("a - a == 0", TRUE),
        ("c - c == 0", UNKNOWN),
        ("c - d < 0", UNKNOWN),
        ("abs(b) >= 0", TRUE),
        ("abs(c) < 0", FALSE),
        ("min(a, c) <= 3", TRUE),
        ("max(a, c) >= 3", TRUE),
        ("1 / max(b, 1) <= 1", TRUE),
        ("c / d >= 0", TRUE),
        ("b > -1.5", TRUE),
        ("-b < 1.5", TRUE),
    ],
)
def test_arithmetic_of_unknowns(text, verdict):
    assert ask(text, a=(3, 3), b=(-1, 4), c=(2, INF), d=(1, INF)) == verdict


def test_all_shots_at_once_in_int8():
    rule = Rule.parse("a >= 2", ["a"])
    verdicts = rule.evaluate({"a": (np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.0, 9.0]))})
    assert verdicts.dtype == np.int8
    assert verdicts.tolist() == [FALSE, TRUE, UNKNOWN]
    assert rule.evaluate({"a": (np.zeros(0), np.zeros(0))}).shape == (0,)


# ------------------------------------------------------- random rules, random completions

NUMBERS = st.sampled_from([0.0, 1.0, 2.0, 0.5, 3.0, 1e-3, 1e6, 1e200, 1e-200]) | st.floats(0, 100).map(float)


def negative(inner):
    return inner.map(lambda part: f"-({part})")


def numbers(inner):
    two = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})")
    called = st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})")
    return two | called | inner.map(lambda part: f"abs({part})") | negative(inner)


NUMBER = st.recursive(st.sampled_from(NAMES) | NUMBERS.map(repr), numbers, max_leaves=6)
SIGN = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
COMPARISON = st.tuples(NUMBER, SIGN, NUMBER, st.none() | st.tuples(SIGN, NUMBER)).map(
    lambda t: f"({t[0]}) {t[1]} ({t[2]})" + (f" {t[3][0]} ({t[3][1]})" if t[3] else "")
)
RULE = st.recursive(
    COMPARISON,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or", "&", "|"]), inner).map(
            lambda t: f"(({t[0]}) {t[1]} ({t[2]}))"
        )
        | st.tuples(st.sampled_from(["not ", "~"]), inner).map(lambda t: f"({t[0]}({t[1]}))")
    ),
    max_leaves=4,
)
ENDS = st.sampled_from([-INF, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 5.0, INF]) | st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def plainly(text, values):
    """The rule by Python's own eval over NumPy float64; None where any part of it has no value.

    NumPy says "invalid" or "divide" exactly where a part has no value; a rule is then free to answer anything
    that follows from "may be anything", so nothing is compared.
    """
    names = {name: np.float64(value) for name, value in values.items()}
    names |= {"abs": np.abs, "min": np.minimum, "max": np.maximum, "f": np.float64}
    with np.errstate(invalid="raise", divide="raise", over="ignore", under="ignore"):
        try:
            # not / ~ on np.bool agree; numbers are float64 so that 1/0 is NumPy's, not Python's
            return bool(eval(_as_float64(text), {"__builtins__": {}}, names))
        except (FloatingPointError, ZeroDivisionError):
            return None


def _as_float64(text):
    text = text.replace("~(", "not (")
    return re.sub(r"(?<![\w.])(\d+\.?\d*(?:e[-+]?\d+)?)", r"f(\1)", text)


def columns_of(text):
    return any(name in text.replace("and", "").replace("abs", "").replace("max", "") for name in NAMES)


@settings(max_examples=250, deadline=None)
@given(RULE, st.lists(st.tuples(ENDS, ENDS), min_size=3, max_size=3), st.data())
def test_a_verdict_holds_for_every_completion(text, ends, data):
    assume(columns_of(text))
    ends = [tuple(sorted(end + 0.0 for end in pair)) for pair in ends]  # -0.0 is 0.0
    assume(not any(low == high and np.isinf(low) for low, high in ends))
    rule = Rule.parse(text, NAMES)
    bounds = {n: (np.array([low]), np.array([high])) for n, (low, high) in zip(NAMES, ends, strict=True)}
    verdict = int(rule.evaluate(bounds)[0])
    assert verdict in (TRUE, FALSE, UNKNOWN)
    if verdict == UNKNOWN:
        return
    for _ in range(8):
        values = {}
        for name, (low, high) in zip(NAMES, ends, strict=True):
            edges = [value for value in (low, high) if np.isfinite(value)]
            least, most = (None if np.isinf(end) else end for end in (low, high))
            inside = st.floats(least, most, allow_nan=False, allow_infinity=False)
            values[name] = data.draw(st.sampled_from(edges) | inside if edges else inside)
        truth = plainly(text, values)
        if truth is not None:
            assert truth == (verdict == TRUE), values


@settings(max_examples=250, deadline=None)
@given(RULE, st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0]) | FINITE, min_size=3, max_size=3))
def test_with_everything_known_it_is_plain_numpy(text, values):
    assume(columns_of(text))
    known = dict(zip(NAMES, values, strict=True))
    truth = plainly(text, known)
    verdict = ask(text, **{name: (value, value) for name, value in known.items()})
    if truth is not None:
        assert verdict == (TRUE if truth else FALSE)


@settings(max_examples=100, deadline=None)
@given(NUMBER, st.lists(st.tuples(ENDS | st.just(np.nan), ENDS), min_size=3, max_size=3))
def test_no_nan_ever(text, ends):
    rule = Rule.parse(f"({text}) > a", NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bounds = {n: (np.array([min(p)]), np.array([max(p)])) for n, p in zip(NAMES, ends, strict=True)}
        rule.evaluate(bounds)
        with np.errstate(all="ignore"):
            low, high = decide._number(rule._tree.left, bounds)
    assert not np.isnan(low).any()
    assert not np.isnan(high).any()
    assert (low <= high).all()
