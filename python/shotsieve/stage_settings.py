"""What an output says of the stages of a user's own that it was made with: their names, and their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STAGES = "stages"
"""Setting of an output that names them, in their order."""

_BETWEEN = ", "


def stage_settings(stages: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what the settings of an output say of stages; without any, nothing.

    Parameters
    ----------
    stages : mapping of str to sequence of str
        Columns of each, by name.

    Examples
    --------
    >>> stage_settings({"mine": ["brightest", "width"]})
    {'stages': 'mine', 'stage.mine': 'brightest, width'}
    """
    if not stages:
        return {}
    columns = {f"stage.{name}": _BETWEEN.join(own) for name, own in stages.items()}
    return {STAGES: _BETWEEN.join(stages), **columns}


def stages_in(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the columns of each stage that `stage_settings` told of, by name.

    Examples
    --------
    >>> stages_in({"stages": "mine", "stage.mine": "brightest, width", "unit": "keV"})
    {'mine': ['brightest', 'width']}
    """

    def listed(key: str) -> list[str]:
        return [name for name in str(settings.get(key, "")).split(_BETWEEN) if name]

    return {name: listed(f"stage.{name}") for name in listed(STAGES)}
