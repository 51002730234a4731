"""Geometry objects of EXtra-geom, taken over by what they offer in public; nothing is imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput
from ..units import check_photon_energy
from .panel import BadRegion, Panel, PanelOptions

TOLERANCE_M = 1e-6


def fields(geometry: Any) -> dict[str, Any]:
    """Return the fields of a `Geometry` for an object of EXtra-geom.

    Parameters
    ----------
    geometry : object of a class of extra_geom

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If its pixels do not lie on straight grids.
    """
    name = f"EXtra-geom {type(geometry).__name__}"
    modules, module_shape = len(geometry.modules), tuple(int(n) for n in geometry.expected_data_shape[-2:])
    meta = (getattr(geometry, "metadata", None) or {}).get("crystfel", {})
    notes = [f"{name}: keys that EXtra-geom does not keep, such as bad regions without a panel, are not here"]
    res = 1 / float(geometry.pixel_size)
    gain = meta.get("adu_per_eV")
    options = PanelOptions(
        data=meta.get("data") if isinstance(meta.get("data"), str) else None,
        dims=("%", "#", "ss", "fs"),
        adu_per_ev=float(gain) if _positive(gain) else None,
    )
    starts = _starts(geometry, module_shape)
    panels = []
    for m, tiles in enumerate(geometry.modules):
        for t, tile in enumerate(tiles):
            ss, fs = starts[t]
            row = m * module_shape[0] + ss
            corner = np.asarray(tile.corner_pos, "f8")
            panels.append(
                Panel(
                    f"p{m}a{t}",
                    m,
                    (row, row + int(tile.ss_pixels), fs, fs + int(tile.fs_pixels)),
                    (float(corner[0] * res), float(corner[1] * res)),
                    tuple(float(v) for v in np.asarray(tile.fs_vec, "f8") * res),
                    tuple(float(v) for v in np.asarray(tile.ss_vec, "f8") * res),
                    res,
                    float(corner[2]),
                    options,
                )
            )
    _check(geometry, panels, module_shape, name)
    clen, energy = meta.get("clen"), meta.get("photon_energy")
    return {
        "panels": tuple(panels),
        "module_shape": module_shape,
        "modules": modules,
        # EXtra-geom has -1 and 0 where it could not read them.
        "clen_m": float(clen) if _positive(clen) else None,
        "photon_energy_kev": check_photon_energy(energy / 1000, option=f"{name}: photon_energy")
        if _positive(energy)
        else None,
        "bad_regions": tuple(_regions(meta.get("bad") or {}, {p.name: p for p in panels}, module_shape[0])),
        "rigid_groups": _quadrants(panels, modules, int(getattr(geometry, "n_quads", 0))),
        "motors": _motors(getattr(geometry, "motor_positions", None)),
        "layout": "4d",
        "name": name,
        "notes": notes,
    }


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _starts(geometry: Any, module_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return where each tile begins in its module, from how EXtra-geom itself takes a module apart."""
    number = np.arange(module_shape[0] * module_shape[1]).reshape(module_shape)
    return [
        tuple(int(n) for n in np.unravel_index(tile.flat[0], module_shape))
        for tile in geometry.split_tiles(number)
    ]


def _check(geometry: Any, panels: list[Panel], module_shape: tuple[int, int], name: str) -> None:
    theirs = np.asarray(geometry.get_pixel_positions()).reshape(-1, module_shape[1], 3)
    for panel in panels:
        rows, columns = (np.arange(n) + 0.5 for n in panel.shape)
        ours = panel.corner + rows[:, None, None] * panel.ss_vec + columns[None, :, None] * panel.fs_vec
        off = np.abs(theirs[panel.slices] - ours).max()
        if not off <= TOLERANCE_M:
            raise BadInput(
                f"{name}: panel {panel.name!r} has pixels {off * 1e6:.0f} um away from a straight grid "
                "(hexagonal pixels?); a CrystFEL geometry cannot describe that"
            )


def _regions(bad: dict[str, dict], panels: dict[str, Panel], module_rows: int) -> list[BadRegion]:
    out = []
    for name, region in bad.items():
        own = name if name.startswith("bad") else f"bad_{name}"
        if not region.get("is_fsss"):
            out.append(
                BadRegion(own, xy=tuple(float(region[k]) for k in ("min_x", "max_x", "min_y", "max_y")))
            )
            continue
        panel = panels[region["panel"]]
        first = panel.module * module_rows
        rect = (
            max(first + int(region["min_ss"]), panel.rect[0]),
            min(first + int(region["max_ss"]) + 1, panel.rect[1]),
            max(int(region["min_fs"]), panel.rect[2]),
            min(int(region["max_fs"]) + 1, panel.rect[3]),
        )
        if rect[0] < rect[1] and rect[2] < rect[3]:
            out.append(BadRegion(own, panel=panel.name, rect=rect))
    return out


def _quadrants(panels: list[Panel], modules: int, quadrants: int) -> dict[str, tuple[str, ...]]:
    if quadrants < 2 or modules % quadrants:
        return {}
    each = modules // quadrants
    return {f"q{q}": tuple(p.name for p in panels if p.module // each == q) for q in range(quadrants)}


def _motors(positions: Any) -> tuple[str, ...]:
    if positions is None:
        return ()
    table = np.atleast_2d(np.asarray(positions, "f8"))
    return (
        f";XGEOM MOTORS={table.shape[0]},{table.shape[1]}",
        *(f";XGEOM MOTOR_Q{q}=" + ",".join(repr(float(v)) for v in row) for q, row in enumerate(table, 1)),
    )
