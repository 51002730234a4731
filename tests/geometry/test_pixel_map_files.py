"""Pixel maps of the real geometry files, and of EXtra-geom's objects with their known defects."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap

LPD = [(11.4, 299), (-11.5, 8), (254.5, -16), (278.5, 275)]
DSSC = [(-124.100, 3.112), (-133.068, -110.604), (0.988, -125.236), (4.528, -4.912)]
# Tiles: n, direction of T01, T02, ... in x and y (mm); the real numbers are about these.
STEPS = {
    "lpd": [(-66.0, -18.0 * t) for t in range(8)] + [(0.0, -18.0 * t) for t in range(7, -1, -1)],
    "dssc": [(0.3, 0.0), (-62.0, 0.0)],
}
MODULES = {
    "lpd": [(-132.0, 0.0), (-132.0, -143.0), (0.0, -143.0), (0.0, 0.0)],
    "dssc": [(62.0, 30.0 * m) for m in range(4)],
}
MAKERS = {"lpd": PixelMap.lpd, "dssc": PixelMap.dssc}
WHERE = {"lpd": LPD, "dssc": DSSC}


def write(path, kind, *, own=False, sign=1):
    """A geometry file of European XFEL; DSSC's lower quadrants are turned by half a turn."""
    with h5py.File(path, "w") as file:
        for q in range(4):
            turned = -1 if kind == "dssc" and q > 1 else 1
            for m, module in enumerate(MODULES[kind]):
                group = file.create_group(f"Q{q + 1}/M{m + 1}")
                place = np.array(module) if turned > 0 else np.array([0.0, 90 - module[1]])
                group["Position"] = sign * place
                for t, step in enumerate(STEPS[kind]):
                    offset = np.array(step) if turned > 0 else np.array([-step[0], step[1]])
                    group[f"T{t + 1:02}/Position"] = sign * offset
            if own:
                file[f"Q{q + 1}/Position"] = np.array(WHERE[kind][q])
    return path


@pytest.fixture(params=["lpd", "dssc"])
def kind(request):
    """Detectors whose geometry is a file of quadrants."""
    return request.param


def real(real_data, name):
    """A real geometry file."""
    path = real_data / "geometry" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    return path


def theirs(extra_geom, kind, path):
    """The same file as EXtra-geom reads it."""
    cls = {"lpd": extra_geom.LPD_1MGeometry, "dssc": extra_geom.DSSC_1MGeometry}[kind]
    return cls.from_h5_file_and_quad_positions(str(path), WHERE[kind])


def test_quadrants_by_hand(tmp_path):
    pixels = PixelMap.lpd(write(tmp_path / "a.h5", "lpd"), LPD, 0.3)
    assert (pixels.shape, pixels.n_corners, pixels.notes) == ((4096, 256), 4, [])
    # Positions mean the last pixel's outer corner: Q1/M4/T16 lies at the quadrant's own position.
    row = 3 * 256 + 255
    np.testing.assert_allclose(pixels.corners[row, 255, 2], [0.0114, 0.299, 0.3], atol=1e-12)
    # T01 is the first half of the columns and the last rows of the data.
    np.testing.assert_allclose(
        pixels.corners[row, 127, 2] - pixels.corners[row, 255, 2], [-0.066, 0, 0], atol=1e-12
    )
    pixels = PixelMap.dssc(write(tmp_path / "b.h5", "dssc"), DSSC, 0.3)
    assert (pixels.shape, pixels.n_corners) == ((2048, 512), 6)
    lowest = pixels.corners[0:128, 256:512].min(axis=(0, 1, 2))
    # Odd rows stand out by half a pixel along the fast scan, which is towards low x in the first quadrant.
    half, rows = 0.5 * 236e-6, 236e-6 * 1.5 / np.sqrt(3)
    np.testing.assert_allclose(lowest, [-0.1241 - half, 0.003112, 0.3], atol=1e-12)
    height = np.ptp(pixels.corners[0:128, 256:512, :, 1])
    np.testing.assert_allclose(height, 128 * rows + rows / 3)


def test_quadrants_as_extra_geom_has_them(kind, tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    path = write(tmp_path / "a.h5", kind, own=True)
    pixels, other = MAKERS[kind](path, WHERE[kind], 0.25), theirs(extra_geom, kind, path)
    wanted = other.get_pixel_positions().reshape(*pixels.shape, 3) + np.array([0, 0, 0.25])
    np.testing.assert_allclose(pixels.centres, wanted, rtol=0, atol=1e-9)
    corners = other.to_distortion_array(allow_negative_xy=True)[..., ::-1] + np.array([0, 0, 0.25])
    np.testing.assert_allclose(pixels.corners, corners, rtol=0, atol=1e-7)  # theirs are float32
    own = MAKERS[kind](path, None, 0.25)
    np.testing.assert_array_equal(own.centres, pixels.centres)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(MAKERS[kind](file, None, 0.25).centres, pixels.centres)
    taken = PixelMap.from_extra_geom(other, 0.25)
    np.testing.assert_allclose(taken.centres, pixels.centres, rtol=0, atol=1e-12)


def test_inverted_coordinates_are_seen(kind, tmp_path):
    upright = MAKERS[kind](write(tmp_path / "a.h5", kind), WHERE[kind], 0.25)
    path = write(tmp_path / "b.h5", kind, sign=-1, own=True)
    inverted = MAKERS[kind](path, WHERE[kind], 0.25)
    np.testing.assert_array_equal(inverted.centres, upright.centres)
    assert "they were inverted" in inverted.notes[0]
    with pytest.raises(BadInput, match="own quadrant positions mean is not known; give quadrants_mm"):
        MAKERS[kind](path, None, 0.25)


def test_real_dssc(real_data):
    extra_geom = pytest.importorskip("extra_geom")
    path = real(real_data, "dssc_geo_june19.h5")
    pixels = PixelMap.dssc(path, DSSC, 0.4)
    other = theirs(extra_geom, "dssc", path)
    wanted = other.get_pixel_positions().reshape(*pixels.shape, 3) + np.array([0, 0, 0.4])
    np.testing.assert_allclose(pixels.centres, wanted, rtol=0, atol=1e-9)
    np.testing.assert_allclose(PixelMap.from_extra_geom(other, 0.4).corners, pixels.corners, atol=1e-12)
    assert pixels.notes == []


def test_real_lpd_is_inverted_and_has_a_module_that_was_not_measured(real_data, tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    path = real(real_data, "lpd_mar_18.h5")
    pixels = PixelMap.lpd(path, LPD, 0.4)
    assert len(pixels.notes) == 2
    assert "all tiles of Q2/M2 are at [-100.0, -100.0] mm" in pixels.notes[0]
    unknown = np.isnan(pixels.centres).any(axis=-1)
    assert unknown[5 * 256 : 6 * 256].all()
    assert np.count_nonzero(unknown) == 256 * 256
    # EXtra-geom takes the file as it stands: every module upside down, and no word.
    with pytest.raises(BadInput, match=r"read the file with PixelMap.lpd"):
        PixelMap.from_extra_geom(theirs(extra_geom, "lpd", path), 0.4)
    from extra_geom.detectors import invert_xfel_lpd_geom

    invert_xfel_lpd_geom(str(path), str(tmp_path / "inverted.h5"))
    other = theirs(extra_geom, "lpd", tmp_path / "inverted.h5")
    wanted = other.get_pixel_positions().reshape(*pixels.shape, 3) + np.array([0, 0, 0.4])
    np.testing.assert_allclose(pixels.centres[~unknown], wanted[~unknown], rtol=0, atol=1e-9)
    taken = PixelMap.from_extra_geom(other, 0.4)
    np.testing.assert_allclose(taken.centres, pixels.centres, rtol=0, atol=1e-12)
    assert "module 5" in taken.notes[0]


GEOMS = {"agipd_cheetah.geom": (512, 128), "agipd_mar18_v11.geom": None, "agipd_p700000_r0030.geom": None,
         "jf4m_vds.geom": None, "om_lcls_jungfrau4M.geom": None}  # fmt: skip


@pytest.mark.parametrize("name", GEOMS)
def test_real_geom_files(name, real_data):
    g = Geometry.open(real(real_data, name), module_shape=GEOMS[name])
    pixels = PixelMap.from_geometry(g, 0.2)
    np.testing.assert_allclose(pixels.centres, g.positions() + np.array([0, 0, 0.2]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(pixels.q(9.3), g.momentum_transfer(0.2, 9.3), rtol=1e-12)
    # Every panel's own z: what (distance / R)^3 would be is off where there is a coffset.
    z, ray = pixels.centres[..., 2], np.linalg.norm(pixels.centres, axis=-1)
    flat = all(p.fs_px[2] == p.ss_px[2] == 0 for p in g.panels)
    if flat:
        np.testing.assert_allclose(pixels.solid_angle(), (z / ray) ** 3, rtol=1e-9)
    if g.clen_m is None:
        with pytest.raises(BadInput, match="distance_m is not given"):
            PixelMap.from_geometry(g)


NAMES = (
    "AGIPD_1M",
    "AGIPD_500K2G",
    "LPD_1M",
    "LPD_Mini",
    "DSSC_1M",
    "JUNGFRAU",
    "PNCCD",
    "Epix100",
    "Epix10K",
)


@pytest.mark.parametrize("name", NAMES)
def test_objects_of_extra_geom(name):
    extra_geom = pytest.importorskip("extra_geom")
    other = getattr(extra_geom, f"{name}Geometry").example()
    pixels = PixelMap.from_extra_geom(other, 0.5)
    wanted = other.get_pixel_positions().reshape(*pixels.shape, 3) + np.array([0, 0, 0.5])
    np.testing.assert_allclose(pixels.centres, wanted, rtol=0, atol=1e-9)
    corners = other.to_distortion_array(allow_negative_xy=True)[..., ::-1] + np.array([0, 0, 0.5])
    np.testing.assert_allclose(pixels.corners, corners, rtol=0, atol=1e-7)
    assert pixels.notes == []
    with pytest.raises(BadInput, match="distance_m is not given"):
        PixelMap.from_extra_geom(other)


def test_turned_and_shifted_objects(rng):
    extra_geom = pytest.importorskip("extra_geom")
    other = extra_geom.AGIPD_1MGeometry.example().rotate(rng.uniform(-3, 3, 3)).offset((1e-3, -2e-3, 5e-3))
    pixels = PixelMap.from_extra_geom(other, 0.5)
    wanted = other.get_pixel_positions().reshape(*pixels.shape, 3) + np.array([0, 0, 0.5])
    np.testing.assert_allclose(pixels.centres, wanted, rtol=0, atol=1e-9)


def test_quadrant_positions_with_a_unit_make_pixels_of_1_mm():
    extra_geom = pytest.importorskip("extra_geom")
    corners = np.array([(-525, 625), (-550, -10), (520, -160), (542.5, 475)])
    right = extra_geom.AGIPD_1MGeometry.from_quad_positions(corners)
    PixelMap.from_extra_geom(right, 0.2)
    wrong = extra_geom.AGIPD_1MGeometry.from_quad_positions(corners * 0.2, unit=1e-3)
    if np.isclose(np.linalg.norm(wrong.modules[0][0].fs_vec), 200e-6):
        pytest.skip("this EXtra-geom has the right pixel size")
    with pytest.raises(BadInput, match=r"pixels are 1000.0 um apart.*those of the detector are 200.0 um"):
        PixelMap.from_extra_geom(wrong, 0.2)


def test_files_that_extra_geom_reads_wrongly(two, tmp_path):
    """Units and missing spaces: right here, whatever cfel_fmt makes of them."""
    usual = PixelMap.from_geometry(Geometry.from_text(two))
    for old, new in (
        ("photon_energy = 9300", "photon_energy = 9300 eV"),
        ("photon_energy = 9300", "photon_energy = 9.3 keV"),
        ("clen = 0.2", "clen = 200 mm"),
        (" = ", "="),
    ):
        path = tmp_path / "a.geom"
        path.write_text(two.replace(old, new))
        same = PixelMap.from_geometry(path)
        np.testing.assert_allclose(same.q(), usual.q(), rtol=1e-14)
    by_wavelength = two.replace("photon_energy = 9300", "wavelength = 1.333163424012906 A")
    same = PixelMap.from_geometry(Geometry.from_text(by_wavelength))
    np.testing.assert_allclose(same.q(), usual.q(), rtol=1e-12)


def test_an_object_without_positions():
    extra_geom = pytest.importorskip("extra_geom")
    other = extra_geom.JUNGFRAUGeometry.example()
    other.modules[0][3].corner_pos = np.full(3, np.nan)
    with pytest.raises(BadInput, match=r"65536 pixels have no finite position.*without spaces"):
        PixelMap.from_extra_geom(other, 0.2)
    with pytest.raises(BadInput, match="got dict; expected an object of a geometry class of EXtra-geom"):
        PixelMap.from_extra_geom({}, 0.2)


def test_camera_lengths_that_extra_geom_could_not_read(tmp_path, real_data):
    extra_geom = pytest.importorskip("extra_geom")
    text = real(real_data, "agipd_mar18_v11.geom").read_text()
    path = tmp_path / "a.geom"
    path.write_text(text.replace("clen = 0.1249", "clen = 124.9 mm"))
    other = extra_geom.AGIPD_1MGeometry.from_crystfel_geom(str(path))
    if other.metadata["crystfel"]["clen"] != 0.1249:  # -1 in EXtra-geom 1.17
        with pytest.raises(BadInput, match="distance_m is not given"):
            PixelMap.from_extra_geom(other)
    assert PixelMap.from_geometry(path).distance_m == pytest.approx(0.1249)


@pytest.mark.parametrize(
    ("quadrants", "words"),
    [
        (None, "no quadrant positions.*give quadrants_mm"),
        ([(0, 0)] * 3, r"x and y of 4 quadrants in mm, shape \(4, 2\); got shape \(3, 2\)"),
        (np.zeros((4, 3)), r"got shape \(4, 3\)"),
        ([(0, 0), (1,), (2, 2), (3, 3)], "quadrants_mm"),
        ([(0, 0), (1, np.nan), (2, 2), (3, 3)], "not all finite"),
        ("here", "quadrants_mm"),
        (np.array(LPD) / 1000, "would lie on each other; are the quadrant positions in mm"),
    ],
)
def test_wrong_quadrant_positions(quadrants, words, kind, tmp_path):
    with pytest.raises(BadInput, match=words):
        MAKERS[kind](write(tmp_path / "a.h5", kind), quadrants, 0.2)


def test_wrong_files(kind, tmp_path):
    make, where = MAKERS[kind], WHERE[kind]
    other = write(tmp_path / "other.h5", "dssc" if kind == "lpd" else "lpd")
    with pytest.raises(BadInput, match=r"tiles; .* in a module. Is the file that of another detector"):
        make(other, where, 0.2)
    with pytest.raises(BadInput, match="there is no such file"):
        make(tmp_path / "none.h5", where, 0.2)
    (tmp_path / "a.geom").write_text("clen = 0.2\n")
    with pytest.raises(BadInput, match=r"not an HDF5 file.*Geometry.open"):
        make(tmp_path / "a.geom", where, 0.2)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(BadInput, match=r"no group Q1/M1.*Is it a geometry file"):
        make(tmp_path / "empty.h5", where, 0.2)
    with pytest.raises(BadInput, match="expected the path of a geometry file"):
        make(3, where, 0.2)
    for distance in (0, -1, None):
        with pytest.raises(BadInput, match="distance_m"):
            make(write(tmp_path / "a.h5", kind), where, distance)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0], r"float64 \(1,\); expected x and y in mm"),
        (["a", "b"], "expected x and y in mm"),
        ([np.inf, 0.0], "expected finite numbers"),
        ([1.0, 2.0, 3.0], "z = 3.*what z means is not known"),
        (None, "no dataset Q2/M3/T02/Position"),
    ],
)
def test_wrong_positions_in_a_file(value, words, kind, tmp_path):
    path = write(tmp_path / "a.h5", kind)
    with h5py.File(path, "r+") as file:
        del file["Q2/M3/T02/Position"]
        if value is not None:
            file["Q2/M3/T02/Position"] = value
    with pytest.raises(BadInput, match=words):
        MAKERS[kind](path, WHERE[kind], 0.2)


def test_tiles_in_another_order(kind, tmp_path):
    path = write(tmp_path / "a.h5", kind)
    with h5py.File(path, "r+") as file:
        file.move("Q2/M3/T01", "swap")
        file.move("Q2/M3/T02", "Q2/M3/T01")
        file.move("swap", "Q2/M3/T02")
    with pytest.raises(BadInput, match=r"Q\d/M\d|lie on each other"):
        MAKERS[kind](path, WHERE[kind], 0.2)
