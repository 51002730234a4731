"""The number in a rule that a survey varies: where it stands, what it is compared with, another for it."""

from __future__ import annotations

import ast

from ..errors import BadInput


def with_number(rule: str, number: float) -> str:
    """Return a rule with another number: the first of its first comparison, the right side before the left.

    Raises
    ------
    BadInput
        If it has none.

    Examples
    --------
    >>> with_number("n_peaks >= 15 and pulse_energy > 200", 8)
    'n_peaks >= 8 and pulse_energy > 200'
    """
    found = constant_of(rule)
    if found is None:
        raise BadInput(f"the rule {rule!r} compares no number")
    tree, node, _ = found
    node.value = int(number) if float(number).is_integer() else float(number)
    return ast.unparse(tree)


def constant_of(rule: str) -> tuple[ast.AST, ast.Constant, ast.Compare] | None:
    """Return the parsed rule, the number in it that is varied, and the comparison that it stands in."""
    tree = Signs().visit(ast.parse(" ".join(rule.split()), mode="eval")).body
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    if not compared:
        return None
    first = min(compared, key=lambda node: node.col_offset)
    for side in (*first.comparators, first.left):
        modules = {id(part.slice) for part in ast.walk(side) if isinstance(part, ast.Subscript)}
        numbers = [
            node for node in ast.walk(side) if isinstance(node, ast.Constant) and id(node) not in modules
        ]
        if numbers:
            return tree, min(numbers, key=lambda node: node.col_offset), first
    return None


class Signs(ast.NodeTransformer):
    """Makes one number of a minus and a number."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return ast.copy_location(ast.Constant(-node.operand.value), node)
        return node


def names_in(tree: ast.AST) -> set[str]:
    """Return the names of the columns in a part of a rule."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def is_most(rule: str, name: str) -> bool:
    """Whether a column is the most that what it is first compared with may be."""
    for node in ast.walk(ast.parse(" ".join(rule.split()), mode="eval")):
        if isinstance(node, ast.Compare) and name in names_in(node):
            return isinstance(node.ops[0], ast.Lt | ast.LtE) != (name in names_in(node.left))
    return False
