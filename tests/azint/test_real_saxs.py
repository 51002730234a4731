"""Real frames: a protein's curve as its authors reduced it, and the rings of silver behenate."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.geometry import PixelMap
from shotsieve.geometry.tile import Tile

PIXEL = 172e-6
SHAPE = (195, 487)


def pilatus(distance, centre_ss, centre_fs, wavelength_nm):
    """A plain detector, upright in the beam."""
    corner = np.array([-centre_fs * PIXEL, -centre_ss * PIXEL, distance])
    tile = Tile((0, SHAPE[0], 0, SHAPE[1]), corner, np.array([0, PIXEL, 0]), np.array([PIXEL, 0, 0]))
    return PixelMap((tile,), SHAPE, distance, 1.2398419843320026 / wavelength_nm, "Pilatus 100K")


def test_glucose_isomerase_as_bioxtas_raw_reduced_it(real_data):
    image = (
        pytest.importorskip("fabio").open(real_data / "saxs" / "GI2_A9_19_001_0000.tiff").data.astype("f4")
    )
    lines = (real_data / "saxs" / "GI2_A9_19_001_0000.dat").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith(("#", "###"))]
    curve = np.array([row for row in rows if len(row) == 3 and row[0][0].isdigit()], "f8")
    step = 5.76956e-4
    ai = shotsieve.AzimuthalIntegrator(
        pilatus(1.5027, 97.0, 487.2, 0.1245), image >= 0, 491, radial_range=(0, 491 * step), backend="cpu"
    )
    result = ai(image)
    scale = 7.1363632818e-4 / (39391 / 259139)
    q, theirs = curve[:, 0], curve[:, 1]
    mine = np.interp(q, result.radial, result.intensity * scale)
    nearest = np.abs(result.radial[np.abs(result.radial[:, None] - q).argmin(axis=0)] - q)
    here = (q > 0.02) & (nearest < 1e-6) & np.isfinite(mine)
    assert here.sum() > 400
    assert np.median(np.abs(mine[here] / theirs[here] - 1)) < 1e-5


def test_rings_of_silver_behenate(real_data):
    with h5py.File(real_data / "saxs" / "AgBehenate_228.hdf5") as file:
        image = file["entry/data/data"][()]
        told = file["entry/instrument/15ID-D metadata"]
        # What the file calls x runs along its rows; it counts from the centre of the first pixel.
        ss, fs = (float(told[f"pin_ccd_center_{axis}_pixel"][0]) + 0.5 for axis in "xy")
        distance, wavelength = float(told["SDD"][0]), float(told["wavelength"][0])  # mm, Angstrom
    pixels = pilatus(distance * 1e-3, ss, fs, wavelength * 0.1)
    good = (image >= 0) & (image < 1e6)
    result = shotsieve.AzimuthalIntegrator(pixels, good, 1500, backend="cpu")(image.astype("f4"))
    expected = 2 * np.pi / 58.38 * np.arange(1, 12)
    rings = 0
    for q in expected:
        if not result.radial[5] < q < result.radial[-5]:
            continue
        window = np.flatnonzero(np.abs(result.radial / q - 1) < 0.03)
        curve = result.intensity[window]
        floor = np.nanmedian(curve)
        weight = np.clip(np.nan_to_num(curve - floor - 0.3 * (np.nanmax(curve) - floor)), 0, None)
        if np.nanmax(curve) < 1.5 * floor:
            continue
        assert (weight * result.radial[window]).sum() / weight.sum() == pytest.approx(q, rel=5e-3)
        rings += 1
    assert rings >= 3
