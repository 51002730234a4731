"""From the text of a geometry file to the parts of a `Geometry`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import nearest
from ..units import check_photon_energy, nm_to_kev
from . import groups, keys
from .keys import FileValue
from .layout import Layout, find_layout, paint
from .panel import BadRegion, Mask, Panel, PanelOptions
from .text import GeometryText

REQUIRED = ("corner_x", "corner_y", "fs", "ss", "res")
# Fields of PanelOptions and the keys they come from, where one is the other.
OPTIONS = {
    "data": "data",
    "no_index": "no_index",
    "mask_edge_pixels": "mask_edge_pixels",
    "adu_per_ev": "adu_per_eV",
    "adu_per_photon": "adu_per_photon",
    "max_adu": "max_adu",
    "saturation_map": "saturation_map",
    "saturation_map_file": "saturation_map_file",
    "flag_lessthan": "flag_lessthan",
    "flag_morethan": "flag_morethan",
    "flag_equal": "flag_equal",
    "badrow_direction": "badrow_direction",
    "rail_direction": "rail_direction",
    "clen_for_centering": "clen_for_centering",
}


def build(text: GeometryText, module_shape: tuple[int, int] | None) -> dict[str, Any]:
    """Return the fields of a `Geometry`.

    Parameters
    ----------
    text : GeometryText
        Its notes are added to.
    module_shape : (int, int) or None
        As in `find_layout`.

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If something is missing or contradicts itself; names file, line and panel.
    """
    layout = find_layout(text, module_shape)
    shift, shift_source = _shift(text)
    panels = tuple(_panel(text, layout, name, shift) for name in text.panels)
    # Here, where the lines are known; a geometry checks itself again.
    shape = (layout.modules * layout.module_shape[0], layout.module_shape[1])
    paint(panels, shape, text.name, {name: values["min_ss"].line for name, values in text.panels.items()})
    if empty := sorted(set(range(layout.modules)) - {p.module for p in panels}):
        text.notes.append(f"modules without a panel: {', '.join(map(str, empty))}")
    rigid = _rigid(text)
    if text.groups:
        lines = {name: (value.value, value.line) for name, value in text.groups.items()}
        hierarchy, notes = groups.checked(lines, text.panels, text.name)
        text.notes += notes
    else:
        hierarchy = groups.derived({p.name: p.module for p in panels}, rigid)
    clen, clen_source = _clen(text)
    energy, energy_source = _photon_energy(text)
    return {
        "panels": panels,
        "module_shape": layout.module_shape,
        "modules": layout.modules,
        "clen_m": clen,
        "clen_source": clen_source,
        "photon_energy_kev": energy,
        "photon_energy_source": energy_source,
        "bandwidth": _whole(text, "bandwidth"),
        "electron_voltage": _whole(text, "electron_voltage"),
        "detector_shift": shift_source,
        "peak_list": _peak_list(text),
        "peak_list_type": _whole(text, "peak_list_type"),
        "bad_regions": tuple(_regions(text, layout, {p.name: p for p in panels})),
        "groups": hierarchy,
        "rigid_groups": rigid,
        "rigid_collections": {name: value.value for name, value in text.collections.items()},
        "motors": tuple(text.motors),
        "layout": layout.kind,
        "notes": text.notes,
    }


def _whole(text: GeometryText, key: str) -> Any:
    found = text.whole.get(key)
    return found.value if found else None


def _panel(text: GeometryText, layout: Layout, name: str, shift: tuple[float, float]) -> Panel:
    values = {key: entry.value for key, entry in text.panels[name].items()}
    line = text.mentioned[name]
    for key in REQUIRED:
        if key not in values:
            raise text.error(line, f"panel {name!r} has no {key}.")
    if not np.any(np.cross(values["fs"], values["ss"])):
        raise text.error(
            text.panels[name]["ss"].line,
            f"panel {name!r}: fs = {values['fs']} and ss = {values['ss']} lie along one line; a panel is "
            "a plane.",
        )
    if "adu_per_eV" in values and "adu_per_photon" in values:
        raise text.error(
            max(text.panels[name][key].line for key in ("adu_per_eV", "adu_per_photon")),
            f"panel {name!r} has both adu_per_eV and adu_per_photon; expected one of them.",
        )
    (module, offset), (min_ss, max_ss, min_fs, max_fs) = layout.places[name], layout.extents[name]
    options = {field: values[key] for field, key in OPTIONS.items() if key in values}
    return Panel(
        name,
        module,
        (offset + min_ss, offset + max_ss + 1, min_fs, max_fs + 1),
        tuple(values[f"corner_{axis}"] + by * values["res"] for axis, by in zip("xy", shift, strict=True)),
        values["fs"],
        values["ss"],
        values["res"],
        values.get("coffset", 0.0),
        PanelOptions(dims=layout.dims[name], masks=_masks(text, name, values), **options),
    )


def _masks(text: GeometryText, name: str, values: dict[str, Any]) -> tuple[Mask, ...]:
    out = []
    for n in range(8):
        found = {
            end: values[key]
            for end in ("data", "file", "goodbits", "badbits")
            if (key := f"mask{n}_{end}") in values
        }
        if "data" in found:
            out.append(
                Mask(n, found["data"], found.get("file"), found.get("goodbits", 0), found.get("badbits", 0))
            )
        elif found:
            note = f"mask{n}: {', '.join(found)} without a dataset (mask{n}_data) masks nothing"
            if note not in text.notes:
                text.notes.append(note)
    return tuple(out)


def _shift(text: GeometryText) -> tuple[tuple[float, float], tuple[FileValue | None, FileValue | None]]:
    """Return the shift in m, and where it stands when the geometry file does not know it."""
    metres, source = [], []
    for axis in "xy":
        value = _whole(text, f"detector_shift_{axis}")
        source.append(value if isinstance(value, FileValue) else None)
        metres.append(0.0 if value is None or isinstance(value, FileValue) else value)
        if isinstance(value, FileValue):
            text.notes.append(
                f"detector_shift_{axis} stands in the data files ({value}): positions are without it"
            )
        elif value:
            text.notes.append(f"detector_shift_{axis} = {value:g} m is added to the corners of all panels")
    return tuple(metres), tuple(source)


def _clen(text: GeometryText) -> tuple[float | None, FileValue | None]:
    value = _whole(text, "clen")
    if value is None or isinstance(value, FileValue):
        return None, value
    if value <= 0:
        text.notes.append(f"clen = {value:g} m is not a distance: taken as unknown")
        return None, None
    return value, None


def _photon_energy(text: GeometryText) -> tuple[float | None, tuple[str, FileValue] | None]:
    """Return the energy in keV, or the key and the place in the data files it comes from."""
    given = [key for key in ("photon_energy", "wavelength", "electron_voltage") if key in text.whole]
    if len(given) > 1:
        raise text.error(
            text.whole[given[1]].line,
            f"{' and '.join(given)} are given; expected one of photon_energy, wavelength, electron_voltage.",
        )
    if not given or given[0] == "electron_voltage":
        return None, None
    key, (value, line) = given[0], text.whole[given[0]]
    scale = _whole(text, "photon_energy_scale")
    if scale not in (None, 1.0):
        raise text.error(
            text.whole["photon_energy_scale"].line,
            f"photon_energy_scale = {scale:g} is no longer read by CrystFEL; write the right photon_energy.",
        )
    if isinstance(value, FileValue):
        return None, (key, value)
    if value == 0:
        text.notes.append(f"{key} = 0 is taken as unknown")
        return None, None
    if value < 0:
        raise text.error(line, f"{key} is below 0; expected a number above 0.")
    energy = value if key == "photon_energy" else nm_to_kev(value)
    return check_photon_energy(energy, option=f"{text.name}, line {line}: {key}"), None


def _peak_list(text: GeometryText) -> str | None:
    new, old = text.whole.get("peak_list"), text.whole.get("peak_info_location")
    if new and old and new.value != old.value:
        raise text.error(
            old.line, f"peak_info_location is the old name of peak_list in line {new.line}; keep one."
        )
    return (new or old).value if new or old else None


def _rigid(text: GeometryText) -> dict[str, tuple[str, ...]]:
    out = {}
    for name, (members, line) in text.rigid_groups.items():
        strange = [m for m in members if m not in text.panels]
        if strange:
            text.notes.append(
                f"line {line}: rigid_group_{name}: there is no panel {strange[0]!r}; it is left out"
            )
        if kept := tuple(m for m in members if m in text.panels):
            out[name] = kept
    return out


def _regions(text: GeometryText, layout: Layout, panels: dict[str, Panel]) -> list[BadRegion]:
    out = []
    for name, values in text.regions.items():
        line = next(iter(values.values())).line
        in_lab = [key for key in values if key in keys.REGION_XY]
        in_panel = [key for key in values if key in (*keys.REGION_FS_SS, "panel")]
        if in_lab and in_panel:
            raise text.error(
                values[in_panel[0]].line,
                f"bad region {name!r} has {in_lab[0]} and {in_panel[0]}; expected either min_x, max_x, "
                "min_y, max_y or min_fs, max_fs, min_ss, max_ss and panel.",
            )
        wanted = keys.REGION_XY if in_lab else keys.REGION_FS_SS
        for key in wanted:
            if key not in values:
                raise text.error(line, f"bad region {name!r} has no {key}; expected {', '.join(wanted)}.")
        bounds = tuple(values[key].value for key in wanted)
        for low, high, axis in ((0, 1, wanted[0][4:]), (2, 3, wanted[2][4:])):
            if bounds[low] > bounds[high]:
                raise text.error(
                    values[wanted[high]].line,
                    f"bad region {name!r}: min_{axis} = {bounds[low]:g} is above max_{axis} = "
                    f"{bounds[high]:g}.",
                )
        if in_lab:
            out.append(BadRegion(name, xy=bounds))
        else:
            out += _in_panels(text, layout, panels, name, bounds)
    return out


def _in_panels(
    text: GeometryText, layout: Layout, panels: dict[str, Panel], name: str, bounds: tuple[int, int, int, int]
) -> list[BadRegion]:
    """Cut a region to its panel, or to every panel whose data range it touches."""
    given = text.regions[name].get("panel")
    if given and given.value not in panels:
        raise text.error(
            given.line,
            f"bad region {name!r}: there is no panel {given.value!r}.{nearest(given.value, panels)}",
        )
    out = []
    for panel in [given.value] if given else panels:
        min_ss, max_ss, min_fs, max_fs = layout.extents[panel]
        low_fs, high_fs = max(bounds[0], min_fs), min(bounds[1], max_fs)
        low_ss, high_ss = max(bounds[2], min_ss), min(bounds[3], max_ss)
        if low_fs <= high_fs and low_ss <= high_ss:
            offset = layout.places[panel][1]
            own = name if given else f"{name}_{panel}"
            out.append(
                BadRegion(own, panel=panel, rect=(offset + low_ss, offset + high_ss + 1, low_fs, high_fs + 1))
            )
    if not out:
        text.notes.append(f"bad region {name!r} touches no panel: it masks nothing")
    return out
