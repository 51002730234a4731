"""A plain AGIPD-1M of our own: where its pixels are, and the CrystFEL geometry file that says so.

Four quadrants of four modules stand around a square hole for the direct beam. Modules 0-3 are top left,
4-7 bottom left, 8-11 bottom right, 12-15 top right, so that modules 3, 4, 8 and 15 touch the hole, as at the
real detector. Every module has eight ASIC panels of 64 x 128 pixels along the slow scan axis.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..geometry import Geometry, Panel
from ..units import HC_KEV_NM

MODULES = 16
SHAPE = (512, 128)
ASICS = 8
ASIC_ROWS = 64
PIXEL_SIZE_M = 200e-6
ASIC_PITCH = 66  # the ASICs of a module stand two pixels apart
MODULE_PITCH = 158
HOLE = 5  # half the side of the hole, in pixels


def panel_corner(module: int, asic: int) -> tuple[float, float, int, int]:
    """Return where one ASIC panel begins and which way its axes run.

    Parameters
    ----------
    module : int
        0 to 15.
    asic : int
        0 to 7.

    Returns
    -------
    corner_x, corner_y : float
        Corner of the first pixel in pixels, beam at the origin.
    ss, fs : int
        Sign of the slow scan axis along x and of the fast scan axis along y.

    Examples
    --------
    >>> panel_corner(3, 7)
    (-69.0, 133.0, 1, -1)
    """
    quadrant, row = divmod(module, 4)
    length = (ASICS - 1) * ASIC_PITCH + ASIC_ROWS
    width = SHAPE[1]
    # The quadrants at the top count their modules inwards, those at the bottom outwards.
    if quadrant == 0:
        return -HOLE - length + asic * ASIC_PITCH + 0.0, HOLE + (3 - row) * MODULE_PITCH + width + 0.0, 1, -1
    if quadrant == 1:
        return -HOLE - length + asic * ASIC_PITCH + 0.0, -HOLE - row * MODULE_PITCH + 0.0, 1, -1
    if quadrant == 2:
        return HOLE + length - asic * ASIC_PITCH + 0.0, -HOLE - row * MODULE_PITCH - width + 0.0, -1, 1
    return HOLE + length - asic * ASIC_PITCH + 0.0, HOLE + (3 - row) * MODULE_PITCH + 0.0, -1, 1


def pixel_positions(module: int) -> np.ndarray:
    """Return the centres of one module's pixels.

    Parameters
    ----------
    module : int
        0 to 15.

    Returns
    -------
    numpy.ndarray
        (512, 128, 2) float64: x and y in metres, beam at the origin.

    Examples
    --------
    >>> pixel_positions(0).shape
    (512, 128, 2)
    """
    out = np.empty((*SHAPE, 2))
    rows, columns = np.arange(ASIC_ROWS) + 0.5, np.arange(SHAPE[1]) + 0.5
    for asic in range(ASICS):
        x, y, ss, fs = panel_corner(module, asic)
        part = out[asic * ASIC_ROWS : (asic + 1) * ASIC_ROWS]
        part[..., 0] = (x + ss * rows)[:, None]
        part[..., 1] = (y + fs * columns)[None, :]
    return out * PIXEL_SIZE_M


def momentum_transfer(module: int, distance_m: float, photon_energy_kev: float) -> np.ndarray:
    """Return q = 4 pi sin(theta) / wavelength at the centre of each pixel of a module.

    Parameters
    ----------
    module : int
        0 to 15.
    distance_m : float
        Sample to detector, m.
    photon_energy_kev : float
        keV.

    Returns
    -------
    numpy.ndarray
        (512, 128) float64, 1/nm.

    Examples
    --------
    >>> float(momentum_transfer(3, 1.0, 9.3).min()) > 0
    True
    """
    position = pixel_positions(module)
    radius = np.hypot(position[..., 0], position[..., 1])
    theta = 0.5 * np.arctan2(radius, distance_m)
    return 4 * np.pi * np.sin(theta) * (photon_energy_kev / HC_KEV_NM)


def write_geometry(path: str | os.PathLike, distance_m: float, photon_energy_kev: float) -> Path:
    """Write the detector as a CrystFEL geometry file in slab layout (frames, 16 * 512, 128).

    Parameters
    ----------
    path : path
        File to write; the folder must exist.
    distance_m : float
        Camera length, m.
    photon_energy_kev : float
        keV.

    Returns
    -------
    pathlib.Path
        The file. The same arguments give the same bytes.

    Examples
    --------
    >>> write_geometry("agipd.geom", 1.6, 9.3)  # doctest: +SKIP
    """
    names = {m: tuple(f"p{m}a{a}" for a in range(ASICS)) for m in range(MODULES)}
    # The groups that refinement tools of old look for; the hierarchy of today is made from them.
    rigid = {f"q{q}": sum((names[m] for m in range(4 * q, 4 * q + 4)), ()) for q in range(4)}
    rigid |= {f"p{m}": names[m] for m in range(MODULES)}
    geometry = Geometry(
        panels=tuple(_panel(m, a, names[m][a]) for m in range(MODULES) for a in range(ASICS)),
        module_shape=SHAPE,
        modules=MODULES,
        rigid_groups=rigid,
        rigid_collections={
            "quadrants": tuple(f"q{q}" for q in range(4)),
            "asics": tuple(f"p{m}" for m in range(MODULES)),
        },
    )
    return geometry.save(
        path,
        data_path="/entry_1/data_1/data",
        mask_path="/entry_1/data_1/mask",
        clen_m=distance_m,
        photon_energy_kev=photon_energy_kev,
        adu_per_ev=0.001,  # corrected frames are in keV
        # The first line: by it a later simulation knows that the file may be replaced.
        comments=["A plain AGIPD-1M layout, made by shotsieve simulate"],
    )


def _panel(module: int, asic: int, name: str) -> Panel:
    x, y, ss, fs = panel_corner(module, asic)
    first = module * SHAPE[0] + asic * ASIC_ROWS
    return Panel(
        name,
        module,
        (first, first + ASIC_ROWS, 0, SHAPE[1]),
        (x, y),
        (0.0, float(fs), 0.0),
        (float(ss), 0.0, 0.0),
        1 / PIXEL_SIZE_M,
    )
