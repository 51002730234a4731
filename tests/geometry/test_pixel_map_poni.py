"""PONI files: where they put a detector, and what is wrong with them."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap

PLACE = {"Distance": 0.15, "Poni1": 0.011, "Poni2": 0.022, "Rot1": 0.3, "Rot2": -0.2, "Rot3": 0.7}
CONFIG = {"pixel1": 1e-4, "pixel2": 1.5e-4, "max_shape": [30, 40], "orientation": 3}
WAVELENGTH = 1.3e-10


def poni(version="2.1", config=CONFIG, detector="Detector", wavelength=WAVELENGTH, **change):
    """The text of a PONI file; a key of None is left out."""
    lines = ["# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis", f"poni_version: {version}"]
    lines += [f"Detector: {detector}", f"Detector_config: {json.dumps(config)}"]
    lines += [f"{k}: {v}" for k, v in {**PLACE, "Wavelength": wavelength, **change}.items() if v is not None]
    return "\n".join(lines) + "\n"


def old(**change):
    """The text of a file of version 1."""
    keys = {"PixelSize1": 1e-4, "PixelSize2": 1.5e-4, **PLACE, "SplineFile": "None"}
    keys |= {"Wavelength": WAVELENGTH, **change}
    return "# Detector calibration\n" + "".join(f"{k}: {v}\n" for k, v in keys.items() if v is not None)


def placed(position):
    """Positions (..., 3) of the detector's frame turned about its axes one after the other, by hand."""
    x, y, z = position[..., 0] - 0.022, position[..., 1] - 0.011, position[..., 2] + 0.15
    y, x, z = y, x * np.cos(0.3) + z * np.sin(0.3), z * np.cos(0.3) - x * np.sin(0.3)
    y, x, z = y * np.cos(-0.2) - z * np.sin(-0.2), x, z * np.cos(-0.2) + y * np.sin(-0.2)
    y, x, z = y * np.cos(0.7) - x * np.sin(0.7), x * np.cos(0.7) + y * np.sin(0.7), z
    return np.stack([x, y, z], axis=-1)


def flat(ss, fs):
    """Positions on the flat detector of the tests."""
    y, x = np.meshgrid((np.arange(30) + ss) * 1e-4, (np.arange(40) + fs) * 1.5e-4, indexing="ij")
    return np.stack([x, y, 0 * x], axis=-1)


def test_rotations_by_hand():
    pixels = PixelMap.from_poni(poni())
    np.testing.assert_allclose(pixels.centres, placed(flat(0.5, 0.5)), rtol=0, atol=1e-15)
    np.testing.assert_allclose(pixels.corners[:, :, 2], placed(flat(1, 1)), rtol=0, atol=1e-15)
    assert pixels.photon_energy_kev == pytest.approx(1.2398419843320025 / 0.13)
    assert (pixels.distance_m, pixels.shape, pixels.notes) == (0.15, (30, 40), [])
    # The rotations keep the point of normal incidence where the detector's normal meets it.
    x, y = 0.022, 0.011
    cos = 0.15 / np.sqrt((flat(0.5, 0.5)[..., 0] - x) ** 2 + (flat(0.5, 0.5)[..., 1] - y) ** 2 + 0.15**2)
    np.testing.assert_allclose(pixels.solid_angle(), cos**3, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (old(), (30, 40)),
        (poni("2", {k: v for k, v in CONFIG.items() if k != "orientation"}), None),
        (poni("2", {k: v for k, v in CONFIG.items() if k != "max_shape"}), [30, 40]),
        (poni("3", CONFIG, Parallax="False"), None),
        (poni("3", {**CONFIG, "sensor": {"material": "Si", "thickness": 3e-4}}), (30, 40)),
        (poni().replace("\n", "\r\n").replace("Distance", "dist"), None),
        (poni(Distance=9.0) + poni(), None),  # the last entry counts
    ],
)
def test_versions_are_the_same_detector(text, shape, tmp_path):
    path = tmp_path / "a.poni"
    path.write_text(text)
    for source in (path, str(path), text):
        pixels = PixelMap.from_poni(source, shape=shape)
        np.testing.assert_array_equal(pixels.centres, PixelMap.from_poni(poni()).centres)


@pytest.mark.parametrize(("orientation", "rows", "columns"), [(1, -1, -1), (2, -1, 1), (3, 1, 1), (4, 1, -1)])
def test_orientations(orientation, rows, columns):
    pixels = PixelMap.from_poni(poni(config={**CONFIG, "orientation": orientation}))
    np.testing.assert_allclose(
        pixels.centres[::rows, ::columns], PixelMap.from_poni(poni()).centres, rtol=0, atol=1e-15
    )


def test_a_calibrated_geometry(two):
    """The detector of a PONI file may come from elsewhere: EXtra-geom's have no name that says enough."""
    g = Geometry.from_text(two)
    pixels = PixelMap.from_poni(poni(detector="AGIPD1M", config={"orientation": 3}), geometry=g)
    np.testing.assert_allclose(pixels.centres, placed(g.positions()), rtol=0, atol=1e-15)
    with pytest.raises(BadInput, match="the detector has"):
        PixelMap.from_poni(poni(), geometry=g, shape=(3, 4))


def test_unknown_keys_are_noted():
    pixels = PixelMap.from_poni(poni(Wavelenght=1))
    assert "'Wavelenght' is not known and was passed over. Did you mean 'wavelength'?" in pixels.notes[0]


def test_no_wavelength():
    for wavelength in (None, "None"):
        pixels = PixelMap.from_poni(poni(wavelength=wavelength))
        assert pixels.photon_energy_kev is None
        with pytest.raises(BadInput, match="PONI text does not have it, so give it"):
            pixels.q()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (poni(Distance=0), "Distance = 0 m; expected a distance above 0"),
        (poni(Distance=-0.1), "above 0"),
        (poni(Distance="far"), "distance = 'far'; expected a number"),
        (poni(Rot2="nan"), "rot2 = 'nan'; expected a number"),
        (poni(Rot2=None, Poni1=None), "no poni1, rot2; a PONI file has"),
        (poni(wavelength=0), "expected a wavelength above 0"),
        (poni(wavelength=1.3), "Wavelength = 1.3 m: a photon energy of"),
        (poni("4"), "PONI version 4; versions 1 to 3"),
        (poni(Parallax="True"), "parallax correction is not supported"),
        (poni(config={**CONFIG, "max_shape": None}), r"give shape=\(rows, columns\)"),
        (poni(config={**CONFIG, "max_shape": [3]}), r"shape = \[3\]; expected \(rows, columns\)"),
        (poni(config={**CONFIG, "pixel1": None}), "no pixel size"),
        (poni(config={**CONFIG, "pixel1": -1e-4}), "expected sizes above 0"),
        (poni(config={**CONFIG, "orientation": 6}), "orientation = 6; pyFAI has 1 to 4"),
        (poni(config={**CONFIG, "pixel3": 1}), "'pixel3', which is not known. Did you mean 'pixel"),
        (poni(config={**CONFIG, "splineFile": "a.spline"}), "spline file .a.spline.; load it with pyFAI"),
        (poni(config=[1]), "expected a JSON object"),
        (poni().replace("{", "<"), "is no JSON"),
        (old(SplineFile="a.spline"), "spline file"),
        (old(PixelSize2=None), "no pixel size"),
        (old(), r"give shape=\(rows, columns\)"),
        ("\n", "no distance, poni1"),
    ],
)
def test_wrong_files(text, words):
    with pytest.raises(BadInput, match=words):
        PixelMap.from_poni(text)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(BadInput, match="cannot be read as a PONI file"):
        PixelMap.from_poni(tmp_path / "none.poni")
    (tmp_path / "a.poni").write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(BadInput, match="cannot be read as a PONI file"):
        PixelMap.from_poni(tmp_path / "a.poni")
    with pytest.raises(BadInput, match="got int; expected the path"):
        PixelMap.from_poni(3)
    with pytest.raises(BadInput, match=r"shape = \(30, 41\); the detector has \(30, 40\)"):
        PixelMap.from_poni(poni(), shape=(30, 41))


def test_names_need_pyfai(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyFAI.io.ponifile", None)
    monkeypatch.setitem(sys.modules, "pyFAI", None)
    with pytest.raises(BadInput, match="'Pilatus100k' is known by name to pyFAI only, which is not"):
        PixelMap.from_poni(poni(detector="Pilatus100k", config={"orientation": 3}))
