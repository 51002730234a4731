"""The hierarchy of groups by which refinement moves a detector: panels, modules, quadrants, all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import BadInput

Groups = dict[str, tuple[str, ...]]


def checked(
    groups: Mapping[str, tuple[tuple[str, ...], int]], panels: Iterable[str], name: str
) -> tuple[Groups, list[str]]:
    """Return groups in an order in which every member stands before its group, ending with ``all``.

    Parameters
    ----------
    groups : mapping of str to (tuple of str, int)
        Members, and the line of the file.
    panels : iterable of str
    name : str
        The file, for messages.

    Returns
    -------
    groups : dict of str to tuple of str
    notes : list of str

    Raises
    ------
    BadInput
        If a member does not exist, or a group contains itself.
    """
    panels, out, notes, open_ = list(panels), {}, [], []
    known = set(panels)

    def add(group: str) -> None:
        members, line = groups[group]
        if group in open_:
            raise BadInput(
                f"{name}, line {line}: group {group!r} contains itself, by way of {' > '.join(open_)}."
            )
        open_.append(group)
        for member in members:
            if member in groups and member not in known:
                if member not in out:
                    add(member)
            elif member not in known:
                raise BadInput(
                    f"{name}, line {line}: group {group!r} has the member {member!r}, which is no panel "
                    "and no group."
                )
        open_.pop()
        out[group] = members

    for group in groups:
        if group not in out and group != "all":
            add(group)
    if "all" in groups:
        add("all")
    else:
        inside = {member for members in out.values() for member in members}
        out["all"] = tuple(n for n in [*out, *panels] if n not in inside)
        notes.append(
            "there is no group 'all', which CrystFEL needs: made of all groups and panels that are in none"
        )
    return out, notes


def derived(modules: Mapping[str, int], rigid: Mapping[str, tuple[str, ...]]) -> Groups:
    """Return a hierarchy made from modules and from the rigid groups of older files.

    Parameters
    ----------
    modules : mapping of str to int
        Module of each panel, in panel order.
    rigid : mapping of str to tuple of str
        Rigid groups. They are used where any two are nested or apart; otherwise only the modules are.

    Returns
    -------
    dict of str to tuple of str
        Members before groups; the last is ``all``.

    Examples
    --------
    >>> derived({"a": 0, "b": 0, "c": 1, "d": 1}, {"right": ("c", "d")})
    {'m0': ('a', 'b'), 'right': ('c', 'd'), 'all': ('m0', 'right')}
    """
    by_module: dict[int, list[str]] = {}
    for panel, module in modules.items():
        by_module.setdefault(module, []).append(panel)
    plain = {frozenset(members): f"m{module}" for module, members in by_module.items()}
    named = {frozenset(members): name for name, members in rigid.items()}
    for sets in ({**plain, **named}, plain):
        if found := _nested(sets, list(modules)):
            return found
    raise AssertionError("modules are always apart")


def _nested(sets: Mapping[frozenset, str], panels: list[str]) -> Groups | None:
    top = {panel: panel for panel in panels}
    contents = {panel: frozenset([panel]) for panel in panels}
    out: Groups = {}
    useful = [s for s in sets if 1 < len(s) < len(panels)]
    place = {panel: i for i, panel in enumerate(panels)}
    for members in sorted(useful, key=lambda s: (len(s), min(place[p] for p in s))):
        name = sets[members]
        while name in top or name in out or name == "all":
            name += "_group"  # panels and groups share their names
        inside = tuple(dict.fromkeys(top[p] for p in panels if p in members))
        if not all(contents[n] <= members for n in inside):
            return None
        out[name], contents[name] = inside, members
        top.update(dict.fromkeys(members, name))
    out["all"] = tuple(dict.fromkeys(top[p] for p in panels))
    return out
