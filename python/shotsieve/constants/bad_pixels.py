"""The bits of a pixel mask: the facility's table, so that masks of every tool mean the same."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from enum import IntFlag

from ..errors import BadInput, nearest

__all__ = ["ALL_BITS", "DEFAULT_BAD_BITS", "INFORMATIONAL", "BadPixels", "read_bits"]


class BadPixels(IntFlag):
    """Why a pixel is not to be trusted; 0 is a good pixel.

    Bits 24 to 29 are not assigned by the facility.

    Examples
    --------
    >>> BadPixels(2048).name
    'VALUE_IS_NAN'
    """

    OFFSET_OUT_OF_THRESHOLD = 1 << 0
    NOISE_OUT_OF_THRESHOLD = 1 << 1
    OFFSET_NOISE_EVAL_ERROR = 1 << 2
    NO_DARK_DATA = 1 << 3
    CI_GAIN_OF_OF_THRESHOLD = 1 << 4  # the facility's spelling
    CI_LINEAR_DEVIATION = 1 << 5
    CI_EVAL_ERROR = 1 << 6
    FF_GAIN_EVAL_ERROR = 1 << 7
    FF_GAIN_DEVIATION = 1 << 8
    FF_NO_ENTRIES = 1 << 9
    CI2_EVAL_ERROR = 1 << 10
    VALUE_IS_NAN = 1 << 11
    VALUE_OUT_OF_RANGE = 1 << 12
    GAIN_THRESHOLDING_ERROR = 1 << 13
    DATA_STD_IS_ZERO = 1 << 14
    ASIC_STD_BELOW_NOISE = 1 << 15
    INTERPOLATED = 1 << 16
    NOISY_ADC = 1 << 17
    OVERSCAN = 1 << 18
    NON_SENSITIVE = 1 << 19
    NON_LIN_RESPONSE_REGION = 1 << 20
    WRONG_GAIN_VALUE = 1 << 21
    NON_STANDARD_SIZE = 1 << 22
    EXPERT_CHOICE = 1 << 23
    USER1 = 1 << 30
    USER2 = 1 << 31


INFORMATIONAL = BadPixels.INTERPOLATED | BadPixels.NON_STANDARD_SIZE
"""Bits that tell something about a pixel which is still good: interpolated, and wider than the others."""

ALL_BITS = 0xFFFFFFFF
"""Every bit, the unassigned ones too: a bit that we do not know is no reason to trust a pixel."""

DEFAULT_BAD_BITS = ALL_BITS & ~int(INFORMATIONAL)
"""Bits that take a pixel out of the measures unless the recipe says otherwise."""

_SETS = {"default": DEFAULT_BAD_BITS, "all": ALL_BITS, "none": 0}

_FORMS = (
    'a number from 0 to 0xffffffff, names of bits as "USER1 USER2" or a list of them, or changes of '
    '"default", "all" or "none" as "default -NOISY_ADC +NON_STANDARD_SIZE"'
)


def read_bits(given: int | str | Sequence[str], option: str = "bad_bits") -> int:
    """Return the bits of a mask as a number.

    Parameters
    ----------
    given : int, str or sequence of str
        A number of 32 bits; or names of `BadPixels`, in a list or a text, which are then all; or a text that
        begins with ``"default"``, ``"all"`` or ``"none"``, and adds and takes away names behind + and -.
    option : str
        What an error calls it.

    Returns
    -------
    int

    Raises
    ------
    BadInput
        If a name is not known, or it is none of these.

    Examples
    --------
    >>> read_bits("USER1 USER2") == read_bits(["USER1", "USER2"]) == 0xC0000000
    True
    >>> hex(read_bits("default -USER1 +NON_STANDARD_SIZE"))
    '0xbffeffff'
    """
    if isinstance(given, str):
        words = given.split()
        start, signed = 0, bool(words) and words[0].lower() in _SETS
        if signed:
            start = _SETS[words.pop(0).lower()]
        elif not words:
            raise BadInput(f'{option} is empty: expected {_FORMS}; "none" is no bit.')
        for word in words:
            start = _changed(start, word, signed, f'{option} = "{given}"')
        return start
    if isinstance(given, (list, tuple)):
        if not given or not all(isinstance(word, str) for word in given):
            raise BadInput(f"{option} = {list(given)}: expected {_FORMS}.")
        bits = 0
        for word in given:
            bits = _changed(bits, word, False, f"{option} = {list(given)}")
        return bits
    try:
        number = -1 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = -1
    if not 0 <= number <= ALL_BITS:
        raise BadInput(f"{option} = {given}: expected {_FORMS}.")
    return number


def _changed(bits: int, word: str, signed: bool, where: str) -> int:
    """Return bits with that of a name, or without it."""
    sign, name = (word[0], word[1:]) if word[:1] in ("+", "-") else ("", word)
    if name.upper() not in BadPixels.__members__:
        unquoted = " A number is written without quotes." if name[:1].isdigit() else ""
        hint = unquoted or nearest(name.upper(), BadPixels.__members__)
        raise BadInput(
            f"{where}: there is no bit {name!r}.{hint} There are {', '.join(BadPixels.__members__)}."
        )
    if bool(sign) != signed:
        what = (
            f"say +{name} or -{name} behind it" if signed else f'say what {word} changes, as "default {word}"'
        )
        raise BadInput(f"{where}: {what}. Expected is {_FORMS}.")
    bit = int(BadPixels[name.upper()])
    return bits & ~bit if sign == "-" else bits | bit
