"""What the parameters of all simulations have in common: they are made of options, and checked one by one."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NoReturn, Self

from ..errors import BadInput, nearest

RUN_RANGES = (("seed", 0, 2**63), ("proposal", 0, 999_999), ("run", 0, 9999), ("first_train", 1, 2**63))
"""Whole numbers that every simulated run has, and their limits."""


class Options(ABC):
    """Parameters of a simulation: its dataclass has the fields, and `check` knows what they may be.

    Lists are taken as tuples.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list | range):
                value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
                object.__setattr__(self, field.name, value)
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Fill in what is left to the detector, and raise `BadInput` for what cannot be met."""

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> Self:
        """Make parameters from options by name.

        Parameters
        ----------
        options : dict
            Names of the attributes and their values.

        Raises
        ------
        BadInput
            For an unknown name, with the nearest right one.

        Examples
        --------
        >>> from shotsieve.simulate import SpiParameters
        >>> SpiParameters.from_dict({"n_trains": 3}).n_trains
        3
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for name in options:
            if name not in names:
                raise BadInput(f"simulate: there is no option {name!r}.{nearest(name, names)}")
        return cls(**options)


def refuse(option: str, came: Any, expected: str) -> NoReturn:
    """Raise `BadInput` that names an option, what was given, and what it must be."""
    raise BadInput(f"simulate option {option}: {came!r} was given, but {expected}")


def check_whole(p: Options, ranges: Iterable[tuple[str, int, int]]) -> None:
    """Refuse options that are no whole numbers between two others: name, lowest, highest."""
    for name, low, high in ranges:
        value = getattr(p, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            refuse(name, value, f"it must be a whole number from {low} to {high}")


def check_numbers(p: Options, ranges: Iterable[tuple[str, float, float]]) -> None:
    """Refuse options that are no numbers between two others: name, lowest, highest."""
    for name, low, high in ranges:
        value = getattr(p, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            refuse(name, value, f"it must be a number from {low} to {high}")


def check_split_at(p: Options) -> None:
    """Refuse a `split_at` that is no ascending list of trains that a file may begin with."""
    trains = p.split_at
    if sorted(set(trains)) != list(trains) or any(not 0 < t < p.n_trains for t in trains):
        refuse("split_at", trains, f"it must be ascending train numbers from 1 to {p.n_trains - 1}")
