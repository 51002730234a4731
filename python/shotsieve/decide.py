"""Rules: expressions over columns of the table, parsed safely, answered true, false or unknown.

Every value is an interval of what it may be, and so is every answer: (certainly true, possibly true).
Numbers follow interval arithmetic, ``and or not`` Kleene's logic. Rounding is monotonic, so the plain
float64 result for any values inside the intervals lies inside the resulting interval: a verdict that is not
unknown is right.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .errors import BadInput, nearest

Pair = tuple[np.ndarray, np.ndarray]
TRUE, FALSE, UNKNOWN = 1, 0, -1
_SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_DEEPEST = 100  # levels of brackets and operators: far beyond any rule, far below Python's own limit
_ALLOWED = (
    "a rule has columns, numbers, + - * /, comparisons, and or not, & | ~, abs(), min(), max() and brackets"
)


@dataclass(frozen=True)
class Rule:
    """A rule that has been checked.

    Attributes
    ----------
    text : str
        The rule on one line.
    names : tuple of str
        The columns it uses, in the order of their first use; ``lit_pixels[3]`` is one of them.

    Examples
    --------
    >>> rule = Rule.parse("lit_pixels >= 300 and pulse_energy > 20", ["lit_pixels", "pulse_energy"])
    >>> lit = np.array([500.0, 100.0, 100.0]), np.array([500.0, 900.0, 200.0])  # second: 100 to 900
    >>> energy = np.full(3, 25.0), np.full(3, 25.0)
    >>> rule.evaluate({"lit_pixels": lit, "pulse_energy": energy}).tolist()
    [1, -1, 0]
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, columns: Iterable[str], explain: Mapping[str, str] | None = None) -> Rule:
        """Check a rule and make it ready to be evaluated.

        Parameters
        ----------
        text : str
            The rule; line ends count as spaces.
        columns : iterable of str
            The columns that exist, ``"lit_pixels[3]"`` (one module alone) among them where that is allowed.
        explain : mapping of str to str, optional
            For columns that are not computed by this recipe: what to do to have them.

        Returns
        -------
        Rule

        Raises
        ------
        BadInput
            If anything but the grammar of rules occurs or a column does not exist. The text shows the
            rule with the wrong word underlined, the nearest column and all that exist.
        """
        line = " ".join(text.split())
        if "#" in line:  # a comment would swallow the lines after it, now that they are one
            at = line.index("#")
            raise _refused(line, at, at + 1, "a rule cannot hold a comment; write it outside the quotes")
        try:
            with warnings.catch_warnings():  # "3or" and the like; whatever is odd is refused below
                warnings.simplefilter("ignore")
                tree = ast.parse(line, mode="eval").body
        except SyntaxError as err:
            raise _unreadable(line, err) from None
        except (ValueError, RecursionError, MemoryError):
            raise BadInput(
                f"the rule is nested too deeply or holds characters that are no text: {_ALLOWED}"
            ) from None
        checker = _Checker(line, list(columns), dict(explain or {}))
        if checker.kind(tree) != "truth":
            raise checker.refuse(
                tree, "this is a number, not an answer: compare it with something, such as > 0"
            )
        if not checker.names:
            raise checker.refuse(tree, "the rule uses no column, so it says the same of every shot")
        return cls(line, tuple(checker.names), tree)

    def evaluate(self, bounds: Mapping[str, Pair]) -> np.ndarray:
        """Ask the rule of every shot at once.

        Parameters
        ----------
        bounds : mapping of str to (low, high)
            For each of `names` the least and greatest value of each shot, float64 (S,); NaN is taken as
            unbounded.

        Returns
        -------
        ndarray of int8, shape (S,)
            1 true, 0 false, -1 unknown. True and false hold for every value within the bounds.

        Raises
        ------
        BadInput
            If a column of `names` is not among the bounds.

        Notes
        -----
        Promise: exact. Division by an interval that holds 0 gives an unknown value; 0 times an unknown
        value is 0.
        """
        for name in self.names:
            if name not in bounds:
                raise BadInput(f"the rule {self.text!r} needs the column {name!r}, which was not given")
        with np.errstate(all="ignore"):
            certain, possible = _truth(self._tree, bounds)
        return np.where(certain, TRUE, np.where(possible, UNKNOWN, FALSE)).astype("i1")

    def sides(self, bounds: Mapping[str, Pair]) -> list[Comparison]:
        """Return every comparison of the rule with what its sides are in each shot, for pictures of it.

        Examples
        --------
        >>> Rule.parse("n_peaks >= 20", ["n_peaks"]).sides({"n_peaks": (0.0, 9.0)})[0].words
        ('n_peaks', '>=', '20')
        """
        found = []
        for node in (part for part in ast.walk(self._tree) if isinstance(part, ast.Compare)):
            parts = [node.left, *node.comparators]
            for sign, left, right in zip(node.ops, parts, parts[1:], strict=False):
                words = ast.unparse(left), _SIGNS[type(sign)], ast.unparse(right)
                with np.errstate(all="ignore"):
                    found.append(Comparison(words, _number(left, bounds), _number(right, bounds)))
        return found


class Comparison(NamedTuple):
    """One comparison of a rule: left, sign, right as they are written, and the values of both sides."""

    words: tuple[str, str, str]
    left: Pair
    right: Pair


# ---------------------------------------------------------------------- errors


def _refused(line: str, start: int, stop: int, what: str) -> BadInput:
    caret = " " * start + "^" * max(1, stop - start)
    return BadInput(f"in the rule: {what}\n    {line}\n    {caret}")


def _characters(line: str, offset: int) -> int:
    """Turn a byte offset, which `ast` counts in, into characters."""
    return len(line.encode()[:offset].decode(errors="ignore"))


# What people write out of habit from other languages; Python's own error points elsewhere.
_HABITS = {
    "&&": "write 'and' for &&",
    "||": "write 'or' for ||",
    "!": "write 'not' for !",
    "=": "write == to compare",
}
_HABIT = re.compile(r"&&|\|\||!(?!=)|(?<![<>=!])=(?!=)")


def _unreadable(line: str, err: SyntaxError) -> BadInput:
    """Say why Python's parser could not read the line."""
    if not line:
        return BadInput(
            "the rule is empty; write one such as lit_pixels > 300, or leave [keep] out to keep all"
        )
    habit = _HABIT.search(line)
    if habit:
        return _refused(line, *habit.span(), _HABITS[habit.group()])
    start = err.offset - 1 if err.offset else len(line)
    stop = err.end_offset - 1 if err.end_offset and err.end_lineno == 1 else start + 1
    return _refused(line, start, stop, f"this cannot be read ({err.msg}); {_ALLOWED}")


class _Checker:
    """Walks a rule once, says of each part whether it is a number or an answer, and refuses the rest."""

    def __init__(self, line: str, columns: list[str], explain: dict[str, str]) -> None:
        self.line, self.columns, self.explain = line, columns, explain
        self.names: dict[str, None] = {}

    def refuse(self, node: ast.AST, what: str) -> BadInput:
        start, stop = (_characters(self.line, at) for at in (node.col_offset, node.end_col_offset))
        return _refused(self.line, start, stop, what)

    def refuse_sign(self, left: ast.AST, right: ast.AST) -> BadInput:
        """Point at the sign between two parts."""
        start, stop = (_characters(self.line, at) for at in (left.end_col_offset, right.col_offset))
        sign = self.line[start:stop].strip(" ()")
        start = self.line.index(sign, start)
        return _refused(self.line, start, start + len(sign), f"'{sign}' is not allowed: {_ALLOWED}")

    def kind(self, node: ast.expr, depth: int = 0) -> str:
        if depth > _DEEPEST:
            raise self.refuse(node, f"more than {_DEEPEST} levels of brackets and operators")
        deeper = depth + 1
        match node:
            case ast.Name() | ast.Subscript():
                self.column(node)
                return "number"
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                if value > 1.7e308 or not math.isfinite(value):
                    raise self.refuse(node, "this number is too large")
                return "number"
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return self.want("number", part, deeper, "- needs a number")
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=part):
                return self.want("truth", part, deeper, "not needs a comparison, such as not (n > 3)")
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=a, right=b):
                for part in (a, b):
                    self.want("number", part, deeper, "+ - * / need numbers, and this is a comparison")
                return "number"
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=a, right=b):
                advice = (
                    "& and | bind before comparisons: put each comparison in brackets, or write 'and', 'or'"
                )
                for part in (a, b):
                    self.want("truth", part, deeper, advice)
                return "truth"
            case ast.BoolOp(values=parts):
                for part in parts:
                    self.want("truth", part, deeper, "and, or join comparisons: compare this with something")
                return "truth"
            case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(op) in _COMPARE for op in ops):
                for part in (left, *rest):
                    self.want(
                        "number",
                        part,
                        deeper,
                        "this is a comparison already; join two of them by 'and', 'or'",
                    )
                return "truth"
            case ast.Call(func=ast.Name(id="abs" | "min" | "max" as name), args=parts, keywords=[]):
                if (len(parts) == 1) != (name == "abs") or not parts:
                    raise self.refuse(node, "abs takes one value, min and max take two or more")
                for part in parts:
                    self.want("number", part, deeper, f"{name} needs numbers, and this is a comparison")
                return "number"
            case ast.Call(func=ast.Name() as function):
                raise self.refuse(function, "the functions of a rule are abs, min and max")
            case ast.BinOp(left=a, right=b):
                raise self.refuse_sign(a, b)
            case ast.Compare(left=left, ops=ops, comparators=rest):
                wrong = next(i for i, op in enumerate(ops) if type(op) not in _COMPARE)
                raise self.refuse_sign([left, *rest][wrong], rest[wrong])
        raise self.refuse(node, f"this is not allowed: {_ALLOWED}")

    def want(self, kind: str, node: ast.expr, depth: int, otherwise: str) -> str:
        if self.kind(node, depth) != kind:
            raise self.refuse(node, otherwise)
        return kind

    def column(self, node: ast.expr) -> None:
        name = _column_name(node)
        if name is None:
            raise self.refuse(node, "brackets [ ] hold one module number, such as lit_pixels[3]")
        if name in self.columns:
            self.names[name] = None
            return
        plain = [column for column in self.columns if "[" not in column]
        base = name.partition("[")[0]
        if base in self.explain:
            raise self.refuse(node, f"{base} is not computed: {self.explain[base]}")
        modules = [column.partition("[")[2][:-1] for column in self.columns if column.startswith(base + "[")]
        if name != base and modules:
            raise self.refuse(
                node, f"there is no module {name.partition('[')[2][:-1]}; modules are {', '.join(modules)}"
            )
        if name != base and base in plain:
            raise self.refuse(node, f"{base} has one value per shot, none per module: leave the [ ] out")
        hint = nearest(base, [*plain, *self.explain])
        raise self.refuse(node, f"there is no column {base!r}.{hint} Columns are {', '.join(sorted(plain))}")


def _column_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int() as module)):
            return None if isinstance(module, bool) else f"{name}[{module}]"
    return None


# ------------------------------------------------------------------ evaluation


def _truth(node: ast.expr, bounds: Mapping[str, Pair]) -> Pair:
    """Answer as (certainly true, possibly true)."""
    match node:
        case ast.UnaryOp(operand=part):
            certain, possible = _truth(part, bounds)
            return ~possible, ~certain
        case ast.BinOp(op=op, left=a, right=b):
            parts = [a, b]
            join = np.logical_and if isinstance(op, ast.BitAnd) else np.logical_or
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
        case ast.Compare(left=left, ops=ops, comparators=rest):
            values = [_number(part, bounds) for part in (left, *rest)]
            answers = [_COMPARE[type(op)](*values[i], *values[i + 1]) for i, op in enumerate(ops)]
            return _join(np.logical_and, answers)
    return _join(join, [_truth(part, bounds) for part in parts])


def _join(join: Callable[..., np.ndarray], answers: list[Pair]) -> Pair:
    certain, possible = answers[0]
    for more_certain, more_possible in answers[1:]:
        certain, possible = join(certain, more_certain), join(possible, more_possible)
    return certain, possible


# Each takes two intervals (a, b) and (c, d) and gives (certainly, possibly).
_COMPARE: dict[type, Callable[..., Pair]] = {
    ast.Lt: lambda a, b, c, d: (b < c, a < d),
    ast.LtE: lambda a, b, c, d: (b <= c, a <= d),
    ast.Gt: lambda a, b, c, d: (a > d, b > c),
    ast.GtE: lambda a, b, c, d: (a >= d, b >= c),
    ast.Eq: lambda a, b, c, d: ((a == b) & (c == d) & (a == c), (a <= d) & (c <= b)),
    ast.NotEq: lambda a, b, c, d: ((b < c) | (d < a), ~((a == b) & (c == d) & (a == c))),
}


def _number(node: ast.expr, bounds: Mapping[str, Pair]) -> Pair:
    """Return what a number may be as (low, high), never NaN."""
    match node:
        case ast.Constant(value=value):
            number = np.float64(value)
            return number, number
        case ast.Name() | ast.Subscript():
            low, high = bounds[_column_name(node)]
            return _sound(np.asarray(low, "f8"), np.asarray(high, "f8"))
        case ast.UnaryOp(operand=part):
            low, high = _number(part, bounds)
            return -high, -low
        case ast.BinOp(op=op, left=left, right=right):
            return _sound(*_ARITHMETIC[type(op)](*_number(left, bounds), *_number(right, bounds)))
        case ast.Call(func=ast.Name(id="abs"), args=[part]):
            low, high = _number(part, bounds)
            return np.maximum(np.maximum(low, -high), 0.0), np.maximum(-low, high)
        case ast.Call(func=ast.Name(id=name), args=parts):
            pick = np.minimum if name == "min" else np.maximum
            return _join(pick, [_number(part, bounds) for part in parts])
    raise AssertionError(f"unchecked part of a rule: {ast.dump(node)}")


def _sound(low: np.ndarray, high: np.ndarray) -> Pair:
    """Replace what has no value (inf - inf, inf / inf, a NaN that came in) by "may be anything"."""
    nowhere = np.isnan(low) if low is high else np.isnan(low) | np.isnan(high)
    if not nowhere.any():
        return low, high
    return np.where(nowhere, -np.inf, low), np.where(nowhere, np.inf, high)


def _multiply(a: Any, b: Any, c: Any, d: Any) -> Pair:
    # An unbounded end stands for numbers as large as you like, not for infinity: 0 times any of them is 0.
    if a is b and c is d and np.isfinite(a).all() and np.isfinite(c).all():  # known values, no intervals
        product = a * c
        return product, product
    corners = [np.where((x == 0) | (y == 0), 0.0, x * y) for x in (a, b) for y in (c, d)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _divide(a: Any, b: Any, c: Any, d: Any) -> Pair:
    # inf / inf at one corner says nothing; the other corners already enclose what lies between.
    corners = [x / y for x in (a, b) for y in (c, d)]
    undefined = (c <= 0) & (d >= 0)
    low, high = np.fmin.reduce(corners), np.fmax.reduce(corners)
    return np.where(undefined, -np.inf, low), np.where(undefined, np.inf, high)


_ARITHMETIC: dict[type, Callable[..., Pair]] = {
    ast.Add: lambda a, b, c, d: (a + c, b + d),
    ast.Sub: lambda a, b, c, d: (a - d, b - c),
    ast.Mult: _multiply,
    ast.Div: _divide,
}
