"""A geometry divided into modules, and parts of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .panel import BadRegion, Panel

if TYPE_CHECKING:
    from .geometry import Geometry


def divided(geometry: Geometry, ss: int, fs: int) -> dict[str, Any]:
    """Return what changes when the slab is divided into modules of ss x fs pixels.

    Parameters
    ----------
    geometry : Geometry
        Of one module.
    ss, fs : int

    Returns
    -------
    dict
        Fields of a `Geometry`.

    Raises
    ------
    BadInput
        If a panel would lie in two modules.
    """
    panels = tuple(dataclasses.replace(p, module=p.rect[0] // ss) for p in geometry.panels)
    for panel in panels:
        if panel.rect[1] > (panel.module + 1) * ss or panel.rect[3] > fs:
            raise BadInput(
                f"{geometry.name}: panel {panel.name!r} at {list(panel.rect)} [ss_start, ss_stop, fs_start, "
                f"fs_stop] does not fit into one module of {ss} x {fs} (ss x fs) pixels"
            )
    return {"panels": panels, "module_shape": (ss, fs), "modules": max(p.module for p in panels) + 1}


def chosen(geometry: Geometry, modules: Sequence[int]) -> dict[str, Any]:
    """Return what changes when only some modules stay, below one another in this order.

    Parameters
    ----------
    geometry : Geometry
    modules : sequence of int

    Returns
    -------
    dict
        Fields of a `Geometry`.

    Raises
    ------
    BadInput
        If a module does not exist, is asked for twice, or none of them has a panel.
    """
    wanted = [int(m) for m in modules]
    if not wanted or len(set(wanted)) != len(wanted) or not all(0 <= m < geometry.modules for m in wanted):
        raise BadInput(
            f"{geometry.name}: modules {', '.join(map(str, wanted)) or 'none'} are asked for; expected each "
            f"once, of 0 to {geometry.modules - 1}"
        )
    place = {module: i for i, module in enumerate(wanted)}
    rows = geometry.module_shape[0]
    panels, moved = [], {}
    for panel in geometry.panels:
        if panel.module in place:
            by = (place[panel.module] - panel.module) * rows
            moved[panel.name] = by
            panels.append(_moved(dataclasses.replace(panel, module=place[panel.module]), by))
    if not panels:
        raise BadInput(f"{geometry.name}: modules {', '.join(map(str, wanted))} have no panel")
    regions = [
        _moved(region, moved[region.panel]) if region.rect else region
        for region in geometry.bad_regions
        if region.rect is None or region.panel in moved
    ]
    rigid = _kept(geometry.rigid_groups, moved)
    return {
        "panels": tuple(panels),
        "modules": len(wanted),
        "bad_regions": tuple(regions),
        "groups": _kept(geometry.groups, moved),
        "rigid_groups": rigid,
        "rigid_collections": _kept(geometry.rigid_collections, rigid),
    }


def _moved(thing: Panel | BadRegion, rows: int) -> Any:
    ss_start, ss_stop, fs_start, fs_stop = thing.rect
    return dataclasses.replace(thing, rect=(ss_start + rows, ss_stop + rows, fs_start, fs_stop))


def _kept(groups: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return groups without the members that are gone; members stand before their groups."""
    known, out = set(names), {}
    for name, members in groups.items():
        if kept := tuple(m for m in members if m in known):
            out[name] = kept
            known.add(name)
    return out
