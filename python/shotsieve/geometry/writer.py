"""Writing CrystFEL geometry files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, OutputError
from ..units import check_photon_energy, convert
from .keys import FileValue
from .panel import Mask, Panel

if TYPE_CHECKING:
    from .geometry import Geometry

DIMS = {"slab": ("%", "ss", "fs"), "4d": ("%", "module", "ss", "fs")}
# Numbers in the unit of the data: another gain makes them meaningless.
IN_DATA_UNIT = ("max_adu", "flag_lessthan", "flag_morethan", "flag_equal")


def number(value: float, *, sign: bool = False) -> str:
    """Return the shortest text that reads back as the same number, without an exponent.

    Not every reader of these files takes exponents.
    """
    return np.format_float_positional(value, unique=True, trim="0", sign=sign)


def vector(value: tuple[float, float, float]) -> str:
    """Return a direction such as ``+0.999995x -0.001328y``; z only where it is not 0."""
    parts = zip(value, "xyz", strict=True)
    return " ".join(f"{number(v, sign=True)}{axis}" for v, axis in parts if axis != "z" or v)


def electron_volts(energy_kev: float) -> str:
    """Return a photon energy in eV that reads back as the same number in keV."""
    short = f"{energy_kev * 1000:.12g}"
    same = convert(float(short), "eV", "keV") == energy_kev
    return number(float(short)) if same else f"{number(energy_kev)} keV"


def geometry_text(
    geometry: Geometry,
    *,
    layout: str = "slab",
    data_path: str | None = None,
    mask: tuple[str, int, int] | None = None,
    clen_m: float | None = None,
    photon_energy_kev: float | None = None,
    gain: tuple[float | None, float | None] = (None, None),
    peaks: tuple[str | None, str | None] = (None, None),
    comments: Iterable[str] = (),
) -> str:
    """Return the text of a CrystFEL geometry file; the arguments are those of `Geometry.save`.

    Parameters
    ----------
    geometry : Geometry
    layout : str
    data_path : str or None
    mask : (str, int, int) or None
        Dataset, bits that must be set, bits that must not.
    clen_m, photon_energy_kev : float or None
    gain : (float or None, float or None)
        ADU per eV, ADU per photon.
    peaks : (str or None, str or None)
        Group and type.
    comments : iterable of str

    Returns
    -------
    str
        Lines end with LF.

    Raises
    ------
    BadInput
        As `Geometry.save`.
    """
    if layout not in DIMS:
        raise BadInput(f"layout = {layout!r}; expected one of {', '.join(DIMS)}")
    _check(data_path, mask, gain, peaks)
    remarks: list[str] = []
    values = _panel_values(geometry, layout, data_path, mask, gain, remarks)
    if data_path is None:
        _one_dataset(geometry)
    lines = [f"; {line}".rstrip() for comment in comments for line in comment.splitlines()]
    lines += ["; CrystFEL geometry, written by shotsieve", *geometry.motors, ""]
    beam = _beam(geometry, clen_m, photon_energy_kev, data_path is not None, remarks)
    shared, own = _shared(geometry.panels, values)
    lines += [f"; {remark}" for remark in remarks]
    lines += shared
    lines += [f"dim{i} = {word}" for i, word in enumerate(DIMS[layout]) if word != "module"]
    lines += [*beam, *_peaks(geometry, *peaks), *_bad_regions(geometry, layout)]
    for panel in geometry.panels:
        lines += ["", *_place(geometry, panel, layout), *own[panel.name]]
    # After the panels, members before groups, so that no reader meets a name that it does not know yet.
    lines.append("")
    lines += [f"rigid_group_{name} = {','.join(members)}" for name, members in geometry.rigid_groups.items()]
    lines += [
        f"rigid_group_collection_{name} = {','.join(members)}"
        for name, members in geometry.rigid_collections.items()
    ]
    lines += [f"group_{name} = {','.join(members)}" for name, members in geometry.groups.items()]
    return "\n".join(lines) + "\n"


def _check(
    data_path: str | None,
    mask: tuple[str, int, int] | None,
    gain: tuple[float | None, float | None],
    peaks: tuple[str | None, str | None],
) -> None:
    """Refuse what a line of the file could not hold."""
    for name, path in (("data_path", data_path), ("mask_path", mask and mask[0]), ("peak_list", peaks[0])):
        if path and (not isinstance(path, str) or re.search(r"[;\r\n]", path) or path != path.strip()):
            raise BadInput(
                f"{name} = {path!r}: expected the path of a dataset, such as '/entry_1/data_1/data'"
            )
    if mask and not all(isinstance(bits, Integral) and 0 <= bits < 2**32 for bits in mask[1:]):
        wrong = [f"{n} = {v!r}" for n, v in zip(("mask_good", "mask_bad"), mask[1:], strict=True)]
        raise BadInput(f"{', '.join(wrong)}: expected a bit field of at most 32 bits in each")
    if gain[0] is not None and gain[1] is not None:
        raise BadInput("adu_per_ev and adu_per_photon are both given; expected one of them")
    for name, value in zip(("adu_per_ev", "adu_per_photon"), gain, strict=True):
        if value is not None and not 0 < float(value) < np.inf:
            raise BadInput(f"{name} = {value!r}: expected a number above 0")


def _one_dataset(geometry: Geometry) -> None:
    datasets = {p.options.data for p in geometry.panels}
    if len(datasets) == 1 and None not in datasets:
        return
    raise BadInput(
        f"data_path is not given, and the panels of {geometry.name} have {len(datasets - {None})} datasets; "
        "a file has one: say where the frames stand, such as data_path='/entry_1/data_1/data'"
    )


def write_file(path: str | os.PathLike, text: str) -> Path:
    """Write a text whole or not at all.

    Parameters
    ----------
    path : path
    text : str

    Returns
    -------
    pathlib.Path

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    # The name is of this process alone: two that write the same file do not mix their bytes.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: the geometry file cannot be written ({error.strerror or error})"
        ) from error
    return path


Get = Callable[[Panel], Any]


def _panel_values(
    geometry: Geometry,
    layout: str,
    data_path: str | None,
    mask: tuple[str, int, int] | None,
    gain: tuple[float | None, float | None],
    remarks: list[str],
) -> dict[str, Get]:
    """Return, key by key, what stands in a panel; None is nothing."""

    def of(option: str) -> Get:
        return lambda panel: getattr(panel.options, option)

    def always(value: Any) -> Get:
        return lambda panel: value

    out: dict[str, Get] = {"data": of("data") if data_path is None else always(data_path)}
    out |= _masks(geometry, layout, data_path, mask, remarks)
    if _fits(geometry, layout, data_path, any(p.options.saturation_map_file for p in geometry.panels)):
        out["saturation_map"] = of("saturation_map")
        out["saturation_map_file"] = of("saturation_map_file")
    elif any(p.options.saturation_map for p in geometry.panels):
        remarks.append("left out: saturation_map, which belongs to data in another place or layout")
    out["res"] = lambda panel: panel.res
    if gain == (None, None):
        out["adu_per_eV"], out["adu_per_photon"] = of("adu_per_ev"), of("adu_per_photon")
    else:
        ev, photon = (None if value is None else float(value) for value in gain)
        out["adu_per_eV"], out["adu_per_photon"] = always(ev), always(photon)
    same_unit = gain in ((None, None), (geometry.adu_per_ev, geometry.adu_per_photon))
    for key in IN_DATA_UNIT:
        if same_unit:
            out[key] = of(key)
        elif any(getattr(p.options, key) is not None for p in geometry.panels):
            remarks.append(f"left out: {key}, which is in the unit of other data")
    out["no_index"] = lambda panel: 1 if panel.options.no_index else None
    out["mask_edge_pixels"] = lambda panel: panel.options.mask_edge_pixels or None
    for key in ("badrow_direction", "rail_direction", "clen_for_centering"):
        out[key] = of(key)
    return out


def _fits(geometry: Geometry, layout: str, data_path: str | None, own_file: bool) -> bool:
    """Whether a mask or map still fits: one with a file of its own by its layout, others by their frames."""
    return geometry.layout == layout if own_file else data_path in (None, geometry.data_path)


def _masks(
    geometry: Geometry,
    layout: str,
    data_path: str | None,
    given: tuple[str, int, int] | None,
    remarks: list[str],
) -> dict[str, Get]:
    if given is not None:
        path, good, bad = given[0], int(given[1]), int(given[2])
        return {
            "mask": lambda panel: path or None,
            "mask_good": lambda panel: f"{good:#x}" if path else None,
            "mask_bad": lambda panel: f"{bad:#x}" if path else None,
        }
    out: dict[str, Get] = {}
    indices = sorted({m.index for p in geometry.panels for m in p.options.masks})
    for index in indices:

        def part(name: str, index: int = index) -> Get:
            def get(panel: Panel) -> Any:
                found: list[Mask] = [m for m in panel.options.masks if m.index == index]
                value = getattr(found[0], name) if found else None
                return f"{value:#x}" if isinstance(value, int) else value

            return get

        in_file = any(m.file for p in geometry.panels for m in p.options.masks if m.index == index)
        if not _fits(geometry, layout, data_path, in_file):
            remarks.append(f"left out: mask{index}, which belongs to data in another place or layout")
            continue
        # The names of old for the first mask: every reader knows them.
        start, ends = ("mask", ("", "_file", "_good", "_bad"))
        if index:
            start, ends = f"mask{index}", ("_data", "_file", "_goodbits", "_badbits")
        out |= {
            start + end: part(name) for end, name in zip(ends, ("data", "file", "good", "bad"), strict=True)
        }
    return out


def _shared(panels: tuple[Panel, ...], values: dict[str, Get]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the lines that hold for all panels, and those of each."""
    shared: list[str] = []
    own: dict[str, list[str]] = {p.name: [] for p in panels}
    for key, get in values.items():
        found = [_shown(get(panel)) for panel in panels]
        if found[0] is not None and len(set(found)) == 1:
            shared.append(f"{key} = {found[0]}")
            continue
        for panel, value in zip(panels, found, strict=True):
            if value is not None:
                own[panel.name].append(f"{panel.name}/{key} = {value}")
    return shared, own


def _shown(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return vector(value)
    return number(value) if isinstance(value, float) else str(value)


def _beam(
    geometry: Geometry,
    clen_m: float | None,
    photon_energy_kev: float | None,
    other_data: bool,
    remarks: list[str],
) -> list[str]:
    lines = []
    if clen_m is not None:
        if not 0 < float(clen_m) < np.inf:
            raise BadInput(f"clen_m = {clen_m!r}: expected a distance above 0 m")
        lines.append(f"clen = {number(float(clen_m))}")
    elif geometry.clen_m is not None:
        lines.append(f"clen = {number(geometry.clen_m)}")
    elif geometry.clen_source:
        lines.append(f"clen = {geometry.clen_source}")
    else:
        remarks.append("clen is unknown: set it, CrystFEL needs it")
    if photon_energy_kev is not None:
        energy = check_photon_energy(photon_energy_kev, option="photon_energy_kev")
        lines.append(f"photon_energy = {electron_volts(energy)}")
    elif geometry.photon_energy_kev is not None:
        lines.append(f"photon_energy = {electron_volts(geometry.photon_energy_kev)}")
    elif geometry.photon_energy_source:
        lines.append("{} = {}".format(*geometry.photon_energy_source))
    elif geometry.electron_voltage is not None:
        voltage = geometry.electron_voltage
        lines.append(
            f"electron_voltage = {voltage if isinstance(voltage, FileValue) else number(voltage) + ' V'}"
        )
    else:
        remarks.append("photon_energy is unknown: set it, CrystFEL needs it")
    if geometry.bandwidth is not None:
        lines.append(f"bandwidth = {number(geometry.bandwidth)}")
    for axis, value in zip("xy", geometry.detector_shift, strict=True):
        if value and other_data and value.path:
            remarks.append(f"left out: detector_shift_{axis} = {value}, which is in the file of other data")
        elif value:
            lines.append(f"detector_shift_{axis} = {value}")
    return lines


def _peaks(geometry: Geometry, path: str | None, kind: str | None) -> list[str]:
    if path is None:
        path, kind = geometry.peak_list, kind or geometry.peak_list_type
    elif kind is None:
        kind = "cxi"
    if kind not in (None, "auto", "cxi", "list3"):
        raise BadInput(f"peak_list_type = {kind!r}; expected auto, cxi or list3")
    return [f"{key} = {value}" for key, value in (("peak_list", path), ("peak_list_type", kind)) if value]


def _bad_regions(geometry: Geometry, layout: str) -> list[str]:
    lines = []
    modules = {p.name: p.module for p in geometry.panels}
    for region in geometry.bad_regions:
        lines.append("")
        if region.xy:
            for key, value in zip(("min_x", "max_x", "min_y", "max_y"), region.xy, strict=True):
                lines.append(f"{region.name}/{key} = {number(value)}")
            continue
        lines.append(f"{region.name}/panel = {region.panel}")
        lines += _extent(geometry, region.name, modules[region.panel], region.rect, layout)
    return lines


def _place(geometry: Geometry, panel: Panel, layout: str) -> list[str]:
    name = panel.name
    return [
        *([f"{name}/dim1 = {panel.module}"] if layout == "4d" else []),
        *_extent(geometry, name, panel.module, panel.rect, layout),
        f"{name}/fs = {vector(panel.fs_px)}",
        f"{name}/ss = {vector(panel.ss_px)}",
        f"{name}/corner_x = {number(panel.corner_px[0])}",
        f"{name}/corner_y = {number(panel.corner_px[1])}",
        *([f"{name}/coffset = {number(panel.coffset_m)}"] if panel.coffset_m else []),
    ]


def _extent(
    geometry: Geometry, name: str, module: int, rect: tuple[int, int, int, int], layout: str
) -> list[str]:
    first = module * geometry.module_shape[0] if layout == "4d" else 0
    bounds = {
        "min_fs": rect[2],
        "max_fs": rect[3] - 1,
        "min_ss": rect[0] - first,
        "max_ss": rect[1] - 1 - first,
    }
    return [f"{name}/{key} = {value}" for key, value in bounds.items()]
