"""The lines of a geometry file, sorted into panels, bad regions, groups and what holds for the whole file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadInput, nearest
from . import keys

RESERVED = ("bad", "group", "rigid_group")
MOTORS = re.compile(r"\s*;\s*(XGEOM\s.*)")


class Value(NamedTuple):
    """What stands behind a key, and in which line."""

    value: Any
    line: int


@dataclass
class GeometryText:
    """A geometry file as it is written, with values read but nothing derived.

    Attributes
    ----------
    name : str
        The file, for messages.
    panels : dict of str to dict of str to Value
        With the defaults that hold for each, in the order of their first mention.
    mentioned : dict of str to int
        Line of each panel's first mention.
    regions : dict of str to dict of str to Value
    groups, rigid_groups, collections : dict of str to Value
        Values are tuples of names.
    whole : dict of str to Value
        Keys of the whole file.
    motors : list of str
        ``;XGEOM ...`` comment lines, in which EXtra-geom keeps motor positions.
    notes : list of str
    """

    name: str
    strict: bool = True
    panels: dict[str, dict[str, Value]] = field(default_factory=dict)
    mentioned: dict[str, int] = field(default_factory=dict)
    regions: dict[str, dict[str, Value]] = field(default_factory=dict)
    groups: dict[str, Value] = field(default_factory=dict)
    rigid_groups: dict[str, Value] = field(default_factory=dict)
    collections: dict[str, Value] = field(default_factory=dict)
    whole: dict[str, Value] = field(default_factory=dict)
    motors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def error(self, line: int, message: str) -> BadInput:
        """Return an error that names file and line."""
        return BadInput(f"{self.name}, line {line}: {message}")

    def odd(self, line: int, message: str) -> None:
        """Refuse what has no meaning; without `strict` it becomes a note."""
        if self.strict:
            raise self.error(line, f"{message} With strict=False it is passed over and noted.")
        self.notes.append(f"line {line}: {message} It is passed over.")


def parse(text: str, name: str = "geometry", *, strict: bool = True) -> GeometryText:
    """Read the text of a CrystFEL geometry file.

    Parameters
    ----------
    text : str
        Lines may end with LF, CR LF or CR.
    name : str
        The file, for messages.
    strict : bool
        Refuse keys that do not exist, lines without ``=`` and defaults without effect; otherwise they become
        notes.

    Returns
    -------
    GeometryText

    Raises
    ------
    BadInput
        With file and line, if a value is not what its key takes, or as `strict` says.

    Examples
    --------
    >>> parse("res=5000 ; pixels per metre\\np0/min_fs = 0").panels["p0"]["res"]
    Value(value=5000.0, line=1)
    """
    out = GeometryText(name, strict)
    defaults: dict[str, Value] = {}
    unused: dict[str, tuple[str, int]] = {}
    repeated: list[int] = []
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if hit := MOTORS.fullmatch(raw):
            out.motors.append(";" + hit[1].rstrip())
        line = raw.partition(";")[0].strip()
        if not line:
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not key:
            out.odd(number, f"{line!r} is not of the form 'key = value'.")
            continue
        if not value:
            raise out.error(number, f"nothing stands behind {key!r}; expected 'key = value'.")
        owner, slash, own = key.partition("/")
        if slash and owner.startswith(RESERVED):
            _region(out, owner, own, value, number)
        elif slash:
            if owner not in out.panels:
                out.panels[owner], out.mentioned[owner] = dict(defaults), number
                unused.clear()
            _panel_value(out, owner, own, value, number, repeated)
        elif key.startswith(("rigid_group", "group")):
            _group(out, key, value, number)
        elif key in keys.GLOBAL_KEYS:
            _whole(out, key, _read(out, keys.GLOBAL_KEYS[key], key, value, number), number)
        elif found := keys.panel_key(key):
            entry = Value(_read(out, found[1], key, value, number), number)
            if found[0] in unused and defaults[found[0]].value != entry.value:
                out.notes.append(
                    f"{key} is given in lines {defaults[found[0]].line} and {number} before any panel: "
                    "the later one counts"
                )
            defaults[found[0]] = entry
            unused[found[0]] = (key, number)
        else:
            out.odd(number, f"there is no key {key!r}.{keys.hint(key)}")
    if not out.panels:
        raise BadInput(
            f"{name}: no panel is defined; expected lines such as 'p0/min_fs = 0'. Is it a .geom file?"
        )
    for key, number in unused.values():
        out.odd(number, f"the default {key!r} has no effect: no panel is mentioned after it. Move it up.")
    if repeated:
        out.notes.append(
            f"{len(repeated)} values of panels are given again with another value, first in line "
            f"{repeated[0]}: the last one counts"
        )
    return out


def read_file(path: str | os.PathLike) -> str:
    """Return the text of a geometry file.

    Parameters
    ----------
    path : path

    Returns
    -------
    str

    Raises
    ------
    BadInput
        If it cannot be read, or is an HDF5 file.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: the geometry file cannot be read ({error.strerror or error}).") from error
    if raw.startswith(b"\x89HDF\r\n"):
        raise BadInput(
            f"{path} is an HDF5 file; expected a CrystFEL .geom file. Geometries of LPD and DSSC in HDF5 "
            "are read by EXtra-geom (from_h5_file_and_quad_positions); its object can be given instead "
            "of a path."
        )
    # Comments of old files are in any encoding; keys and values are plain.
    return raw.decode("utf-8-sig", errors="replace")


def _read(out: GeometryText, reader: Any, key: str, value: str, line: int) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise out.error(line, f"{key}: {error}") from None


def _panel_value(out: GeometryText, panel: str, key: str, value: str, line: int, repeated: list[int]) -> None:
    if key == "clen":
        # Until the camera length became one for all, files gave it panel by panel.
        _whole(out, key, _read(out, keys.GLOBAL_KEYS[key], f"panel {panel!r}: {key}", value, line), line)
        return
    found = keys.panel_key(key)
    if found is None:
        where = " It holds for the whole file: write it without a panel." if key in keys.GLOBAL_KEYS else ""
        out.odd(line, f"panel {panel!r}: there is no key {key!r} for a panel.{where or keys.hint(key)}")
        return
    known = out.panels[panel].get(found[0])
    entry = Value(_read(out, found[1], f"panel {panel!r}: {key}", value, line), line)
    if known and known.line > out.mentioned[panel] and known.value != entry.value:
        repeated.append(line)
    out.panels[panel][found[0]] = entry


def _whole(out: GeometryText, key: str, value: Any, line: int) -> None:
    known = out.whole.get(key)
    if known and known.value != value:
        raise out.error(
            line,
            f"{key} = {value} differs from {key} = {known.value} in line {known.line}; expected one value "
            "for the whole detector. Differences along the beam belong into coffset.",
        )
    out.whole.setdefault(key, Value(value, line))


def _region(out: GeometryText, owner: str, key: str, value: str, line: int) -> None:
    if not owner.startswith("bad"):
        out.odd(
            line,
            f"{owner!r} is no name for a panel: names that start with 'group' or 'rigid_group' are taken.",
        )
        return
    if key not in keys.REGION_KEYS:
        out.odd(line, f"bad region {owner!r}: there is no key {key!r}.{nearest(key, keys.REGION_KEYS)}")
        return
    reader = keys.REGION_KEYS[key]
    entry = Value(_read(out, reader, f"bad region {owner!r}: {key}", value, line), line)
    out.regions.setdefault(owner, {})[key] = entry


def _group(out: GeometryText, key: str, value: str, line: int) -> None:
    kinds = (
        ("rigid_group_collection_", out.collections),
        ("rigid_group_", out.rigid_groups),
        ("group_", out.groups),
    )
    for start, found in kinds:
        if key.startswith(start) and len(key) > len(start):
            members = tuple(part for part in re.split(r"[,\s]+", value) if part)
            found[key[len(start) :]] = Value(members, line)
            return
    out.odd(line, f"there is no key {key!r}; groups are written 'group_NAME = a,b'.")
