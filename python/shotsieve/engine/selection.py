"""Which shots are read at all, and which are decided as one: what [select] and [keep] may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..decide import Rule
from ..errors import BadInput
from ..select import Selection, parse_cells
from ..table import Table
from ..table_columns import MEASURES

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..recipe import Recipe

_TOO_LATE = "it is measured on the frames, and [select] is asked before any is read: put it into [keep]"
_EARLY = dict.fromkeys([*MEASURES, "lit_fraction", "n_modules"], _TOO_LATE)


def selection_of(recipe: Recipe, table: Table, detector: Detector) -> Selection:
    """Return what the recipe's [select] says, which may ask for columns that the table has.

    Raises
    ------
    BadInput
        If a value is wrong, or a column is not known before frames are read.
    """
    section = recipe.select
    try:
        cells = None if section.cells is None else parse_cells(section.cells)
        late = {**_EARLY, **dict.fromkeys(table.joined, _TOO_LATE)}
        early = [name for name in table.names() if name not in late]
        rule = None if section.rule is None else Rule.parse(section.rule, early, explain=late)
    except BadInput as err:
        raise BadInput(f"[select] {err}") from None
    whole_trains = recipe.keeps_whole_trains(detector.keep_unit == "train")
    return Selection(section.frames, cells, rule, detector.row_cells, whole_trains)


def whole_of(recipe: Recipe, detector: Detector) -> str:
    """Return what is kept or dropped as one: ``"shot"``, ``"row"`` or ``"train"``; the recipe has a [keep].

    Raises
    ------
    BadInput
        If the files of the detector cannot hold it.
    """
    whole = recipe.keep.whole
    if not recipe.keeps_whole_trains(detector.keep_unit == "train"):
        return whole or "shot"
    if whole not in (None, "train"):
        raise BadInput(
            f'[keep] whole = "{whole}": the files of {detector.name} hold whole trains, which are kept or '
            "dropped as one: leave the key out, or set [write] drop_cells = true"
        )
    return "train"
