"""TOML files that a user gives, and dictionaries as TOML text, which the standard library does not write."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import BadInput


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path
    what : str
        What the error calls it.

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If it cannot be read, or is not TOML; the text says where.

    Examples
    --------
    >>> read_toml(Path("recipe.toml"), "recipe")    # doctest: +SKIP
    {'keep': {'rule': 'lit_pixels > 300'}}
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"the {what} {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"the {what} {path} is not a TOML file: {error}") from error


def dumps_toml(tree: Mapping[str, Any]) -> str:
    """Write a dictionary as TOML: texts, switches, numbers, lists of them, and sections.

    Parameters
    ----------
    tree : mapping
        Values, mappings (sections) and lists of mappings (``[[section]]``), by bare key.

    Returns
    -------
    str
        TOML text that `tomllib.loads` turns back into `tree`.

    Raises
    ------
    TypeError
        If a value is of another kind.

    Examples
    --------
    >>> print(dumps_toml({"keep": {"rule": "lit_pixels > 300"}}), end="")
    [keep]
    rule = "lit_pixels > 300"
    """
    return "\n".join(_blocks(tree, ()))


def _blocks(tree: Mapping[str, Any], path: tuple[str, ...], double: bool = False) -> Iterator[str]:
    plain = {k: v for k, v in tree.items() if not _is_section(v)}
    if plain or double or (path and len(plain) == len(tree)):
        name = ".".join(map(_key, path))
        head = [f"[[{name}]]" if double else f"[{name}]"] if path else []
        yield "".join(
            f"{line}\n" for line in [*head, *(f"{_key(k)} = {_scalar(v)}" for k, v in plain.items())]
        )
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _blocks(value, (*path, key))
        elif _is_section(value):
            for item in value:
                yield from _blocks(item, (*path, key), double=True)


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    )


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isalnum() and bare.isascii() else _text(key)


def _text(text: str) -> str:
    named = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"' + "".join(named.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text) + '"'
    )


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    raise TypeError(f"TOML has no form for a {type(value).__name__}: {value!r}")
