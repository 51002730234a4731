"""Several detectors in one recipe: each after the first stands for a recipe of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import BadInput, nearest
from .recipe_check import nest, shown
from .recipe_keys import SECTIONS

if TYPE_CHECKING:
    from .recipe import Recipe

INHERITED = ("annotate", "calibrate", "measure", "write")
"""Sections of the recipe that hold for a detector which has none of that name itself."""

OWN = (*INHERITED, "select", "keep")
"""Sections that a detector may have itself."""

KEEPS = ("matched", "all")
"""What may be kept of a detector beside the leading one; with ``[detector.keep]`` its own rule decides."""

OWN_RULE = "own"


@dataclass(frozen=True)
class Other:
    """A ``[[detector]]`` beside the first one, which leads.

    Attributes
    ----------
    label : str
        Its name in this recipe, with which its columns begin.
    keep : {"matched", "all", "own"}
        Shots that belong to a kept shot of the leading detector; all; what its own rule says.
    recipe : Recipe
        How it is reduced, as if it were alone.
    """

    label: str
    keep: str
    recipe: Recipe


def split(
    given: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], list[tuple[str, str, dict[str, Any]]]]:
    """Take a recipe apart into those of single detectors.

    Parameters
    ----------
    given : mapping
        As `Recipe.from_dict` takes it.
    name : str
        What error texts call the recipe.

    Returns
    -------
    lead : dict
        The recipe of the first detector alone.
    others : list of (label, keep, dict)
        The same of the others; see `Other`.

    Raises
    ------
    BadInput
        If a label is missing, taken or not a word, or a detector has a section that it cannot have.

    Examples
    --------
    >>> both = {"detector": [{}, {"label": "jf", "keep": "all"}], "write": {"content": "raw"}}
    >>> split(both, "recipe")[1]
    [('jf', 'all', {'write': {'content': 'raw'}, 'detector': [{'label': 'jf'}]})]
    """
    listed = given.get("detector")
    if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
        return dict(given), []  # refused where sections are looked at
    labels: list[str] = []
    lead = {**given, "detector": listed[:1]}
    for item in listed[:1]:
        _check_label(item, 0, labels, f"{name}: [[detector]]", len(listed))
        if own := [key for key, value in item.items() if isinstance(value, Mapping)]:
            raise BadInput(
                f"{name}: [detector.{own[0]}] stands in the first [[detector]], which leads: its "
                f"sections are those of the recipe: write [{own[0]}], or move it behind the "
                "[[detector]] that is meant"
            )
    others = []
    for number, item in enumerate(listed[1:], 1):
        _check_label(item, number, labels, f"{name}: [[detector]] number {number + 1}", len(listed))
        others.append((labels[-1], *_other(given, item, f"{name}: [[detector]] {labels[-1]}")))
    return lead, others


def _check_label(item: Mapping[str, Any], number: int, labels: list[str], where: str, all_: int) -> None:
    """Add the label of a detector to those before, after a look at it."""
    label = item.get("label")
    if label is None and number == 0:
        return
    if label is None:
        raise BadInput(
            f'{where}: label is missing: give it one, such as label = "jf". The recipe has {all_} detectors, '
            "and the label says which one a column is of"
        )
    if not isinstance(label, str) or not label.isidentifier() or not label.isascii():
        raise BadInput(f"{where}: label: expected a word of letters, digits and _, got {shown(label)}")
    if label in labels:
        raise BadInput(f"{where}: label = {label!r} is that of another detector: give each one its own")
    labels.append(label)


def _other(given: Mapping[str, Any], item: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return what is kept of a detector, and its recipe."""
    for key, value in item.items():
        if key not in (*OWN, *SECTIONS["detector"]):
            kind = "section" if isinstance(value, Mapping) else "key"
            may = [*SECTIONS["detector"], *(f"[detector.{own}]" for own in OWN)]
            raise BadInput(
                f"{where} has no {kind} {key!r}.{nearest(key, [*OWN, *SECTIONS['detector']])} It may have "
                f"{', '.join(may)}; other sections are the recipe's own"
            )
    keep = item.get("keep", KEEPS[0])
    own = {key: item[key] for key in OWN if key in item and key != "keep"}
    for section, table in own.items():
        if not isinstance(table, Mapping):
            raise BadInput(f"{where}: {section} has to be a section [detector.{section}], got {shown(table)}")
    if isinstance(keep, Mapping):
        own["keep"], keep = keep, OWN_RULE
    elif keep not in KEEPS:
        raise BadInput(
            f"{where}: keep: expected {' or '.join(map(repr, KEEPS))}, or a section [detector.keep] with a "
            f"rule of its own, got {shown(keep)}"
        )
    plain = {key: value for key, value in item.items() if key not in OWN}
    inherited = {section: given[section] for section in INHERITED if section in given}
    return keep, copy.deepcopy({**inherited, **own, "detector": [plain]})


def filled_others(others: Mapping[str, Other]) -> Iterator[dict[str, Any]]:
    """Yield the ``[[detector]]`` of each with every default written out and nothing left to be inherited."""
    for other in others.values():
        filled = other.recipe.filled()
        keep = {} if other.keep == OWN_RULE else {"keep": other.keep}
        yield {**filled.pop("detector")[0], **keep, "measure": {}, **filled}


def detector_table(given: dict[str, Any], path: list[str], dotted: str) -> dict[str, Any]:
    """Return the table of a recipe that holds a key of a detector, made if it does not exist.

    Parameters
    ----------
    given : dict
        The recipe, changed in place.
    path : list of str
        ``detector``, for another than the first one its label, and then the section in it.
    dotted : str
        The whole key, for the error.
    """
    listed = given["detector"] = given.get("detector") or [{}]
    if len(path) == 1:
        return listed[0]
    labels = [item.get("label") for item in listed[1:]]
    if path[1] not in labels:
        raise BadInput(
            f"option {dotted!r}: there is no [[detector]] with the label {path[1]!r} after the first; there "
            f"are {', '.join(map(str, labels)) or 'none'}"
        )
    item = listed[1 + labels.index(path[1])]
    return nest(item, path[2:]).setdefault(path[-1], {}) if path[2:] else item
