"""The same maps as pyFAI's, for the real geometries and for PONI files."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap

pyFAI = pytest.importorskip("pyFAI")
detectors = pytest.importorskip("pyFAI.detectors")
AzimuthalIntegrator = pytest.importorskip("pyFAI.integrator.azimuthal").AzimuthalIntegrator

WAVELENGTH, ENERGY = 1e-10, 12.398419843320026
LPD = [(11.4, 299), (-11.5, 8), (254.5, -16), (278.5, 275)]
DSSC = [(-124.100, 3.112), (-133.068, -110.604), (0.988, -125.236), (4.528, -4.912)]
MAPS = {
    "agipd_cheetah.geom": lambda path: PixelMap.from_geometry(
        Geometry.load(path, module_shape=(512, 128)), 0.3
    ),
    "om_lcls_jungfrau4M.geom": lambda path: PixelMap.from_geometry(path, 0.15),
    "agipd_mar18_v11.geom": lambda path: PixelMap.from_geometry(path, 0.2),
    "agipd_p700000_r0030.geom": PixelMap.from_geometry,
    "jf4m_vds.geom": PixelMap.from_geometry,
    "lpd_mar_18.h5": lambda path: PixelMap.lpd(path, LPD, 0.25),
    "dssc_geo_june19.h5": lambda path: PixelMap.dssc(path, DSSC, 0.3),
}
STEP = (5, 3)  # every tile is met, odd and even rows too


class HexDetector(detectors.HexDetector):
    """Hexagons anywhere."""

    def __init__(self, corners):
        detectors.Detector.__init__(self, 2e-4, 2e-4, max_shape=corners.shape[:2])
        self.set_pixel_corners(corners)


def detector_of(corners, distance):
    """A detector of pyFAI with these corners (rows, columns, n, xyz), which it keeps in float32."""
    zyx = (corners - [0, 0, distance])[..., ::-1]
    if corners.shape[2] == 6:
        return HexDetector(zyx)
    detector = detectors.Detector(2e-4, 2e-4, max_shape=corners.shape[:2])
    detector.set_pixel_corners(zyx)
    return detector


def integrator(detector, distance):
    """An integrator with the beam through the detector's origin."""
    return AzimuthalIntegrator(dist=distance, detector=detector, wavelength=WAVELENGTH)


def equal(ours, pyfai, known=True, atol=0.0):
    """All pixels whose place is known agree to 1e-6."""
    known = np.broadcast_to(known, ours.shape)
    np.testing.assert_allclose(ours[known], pyfai[known], rtol=1e-6, atol=atol)


def all_equal(pixels, ai, step=(1, 1), known=True):
    """Every map over the centres is that of an integrator."""
    s = np.s_[:: step[0], :: step[1]]
    for unit in ("q_nm^-1", "q_A^-1", "2th_rad", "2th_deg", "r_m", "r_mm"):
        equal(pixels.radial(unit, ENERGY)[s], ai.center_array(unit=unit), known)
    equal(pixels.chi()[s], ai.center_array(unit="chi_rad"), known, atol=1e-6)
    equal(pixels.chi("deg")[s], ai.center_array(unit="chi_deg"), known, atol=6e-5)
    equal(pixels.solid_angle()[s], ai.solidAngleArray(), known)
    equal(pixels.absorption(0.3)[s], ai.calc_transmission(0.3), known)
    for factor, offset in ((0.99, 0.0), (-0.4, 0.3)):
        theirs = ai.polarization(factor=factor, axis_offset=offset)
        equal(pixels.polarisation(factor, offset)[s], theirs, known)


def corners_equal(pixels, ai, step=(1, 1), known=True):
    """Corner values are those of an integrator, azimuths but for whole turns."""
    s = np.s_[:: step[0], :: step[1]]
    known = np.broadcast_to(known, pixels.shape)[s] if np.ndim(known) else known
    for unit in ("q_nm^-1", "2th_deg", "r_mm"):
        radial, chi = pixels.corner_values(unit, ENERGY)
        theirs = ai.corner_array(unit=unit)
        rows = np.broadcast_to(known, radial[s].shape[:2])
        np.testing.assert_allclose(radial[s][rows], theirs[rows][..., 0], rtol=1e-6)
        turns = (chi[s][rows] - theirs[rows][..., 1]) / (2 * np.pi)
        np.testing.assert_allclose(turns, np.rint(turns), atol=2e-7)


def test_no_real_geometry_is_left_out(real_data):
    assert {path.name for path in (real_data / "geometry").iterdir()} <= set(MAPS)


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_real_geometries(name, real_data):
    path = real_data / "geometry" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    pixels = MAPS[name](path)
    s = np.s_[:: STEP[0], :: STEP[1]]
    corners, centres = pixels.corners[s], pixels.centres[s]
    known = np.isfinite(centres).all(axis=-1)
    assert known.mean() > 0.9
    corners[~known] = corners[known][0]  # pyFAI takes no NaN
    ai = integrator(detector_of(corners, pixels.distance_m), pixels.distance_m)
    # float32, half a step of what stands farthest: 0.6 m where a file has its distance in the offsets.
    np.testing.assert_allclose(PixelMap.from_pyfai(ai).corners, corners, rtol=0, atol=3.1e-8)
    if pixels.n_corners == 6:
        corners_equal(pixels, ai, STEP)
        # pyFAI's centre of a hexagon is the mean of four of its corners; boxes around the centres are right.
        assert "mean of four of the six corners" in PixelMap.from_pyfai(ai).notes[0]
        box = 1e-4 * np.array([[-1, -1, 0], [-1, 1, 0], [1, 1, 0], [1, -1, 0]])
        ai = integrator(detector_of(centres[:, :, None] + box, pixels.distance_m), pixels.distance_m)
        all_equal(pixels, ai, STEP)
        return
    all_equal(pixels, ai, STEP, known)
    again = PixelMap.from_pyfai(ai)
    all_equal(again, ai)
    ours, theirs = pixels.solid_angle(absolute=True)[s], again.solid_angle(absolute=True)
    np.testing.assert_allclose(theirs[known], ours[known], rtol=1e-3)
    radial, _ = pixels.corner_values("q_nm^-1", ENERGY)
    equal(radial[s], ai.corner_array(unit="q_nm^-1")[..., 0], known[..., None])


def random_place(rng):
    """Distance, point of normal incidence and rotations."""
    return dict(
        zip(
            ("dist", "poni1", "poni2", "rot1", "rot2", "rot3"),
            [rng.uniform(0.05, 1), *rng.uniform(-0.02, 0.05, 2), *rng.uniform(-1, 1, 3)],
            strict=True,
        )
    )


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_poni_files_with_rotations(orientation, rng, tmp_path):
    detector = detectors.Detector(1e-4, 1.3e-4, max_shape=(40, 50), orientation=orientation)
    ai = AzimuthalIntegrator(**random_place(rng), detector=detector, wavelength=WAVELENGTH)
    ai.save(str(tmp_path / "a.poni"))
    for pixels in (PixelMap.from_poni(tmp_path / "a.poni"), PixelMap.from_pyfai(ai)):
        assert pixels.photon_energy_kev == pytest.approx(ENERGY, rel=1e-12)
        theirs = ai.position_array()[..., ::-1]
        np.testing.assert_allclose(pixels.centres, theirs, rtol=0, atol=1e-12)
        fresh = pyFAI.load(str(tmp_path / "a.poni"))
        all_equal(pixels, fresh)
        corners_equal(pixels, fresh)


def test_tilted_tiles(rng):
    """Tiles that are turned and shifted in every way, on a detector that is turned too."""
    from shotsieve.geometry.tile import Tile

    corners = []
    for _ in range(6):
        turn = np.linalg.qr(np.eye(3) + 0.1 * rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.diag(turn))
        tile = Tile((0, 8, 0, 9), rng.uniform(-0.05, 0.05, 3), 2e-4 * turn[1], 2e-4 * turn[0])
        corners.append(tile.corners())
    ai = integrator(detector_of(np.concatenate(corners), 0.0), 0.2)
    for key in ("rot1", "rot2", "rot3"):
        setattr(ai, key, rng.uniform(-0.3, 0.3))
    # pyFAI's cosine is negative where a tile's columns run the other way, and its solid angle with it.
    assert (ai.cos_incidence(*np.indices(ai.detector.shape, dtype="f8")) > 0).all()
    all_equal(PixelMap.from_pyfai(ai), ai)


def test_named_detectors(rng, tmp_path):
    for name in ("Pilatus100k", "Xpad_flat", "Pixirad1"):
        ai = AzimuthalIntegrator(**random_place(rng), detector=name, wavelength=WAVELENGTH)
        ai.save(str(tmp_path / "a.poni"))
        pixels = PixelMap.from_poni(tmp_path / "a.poni")
        assert pixels.shape == ai.detector.shape
        np.testing.assert_array_equal(pixels.centres, PixelMap.from_pyfai(ai).centres)
        if pixels.n_corners == 4:
            # pyFAI rounds these centres to float32: beside the beam that shows at any relative tolerance.
            radius = pixels.radial("r_m", ENERGY)
            all_equal(pixels, ai, known=radius > radius.max() / 5)
        corners_equal(pixels, ai)


def test_distorted_detectors(rng):
    """A distortion table: corners are shared, and pyFAI keeps no rounded copy for having been asked."""
    detector = detectors.Detector(1e-4, 1e-4, max_shape=(20, 30))
    detector.set_dx(rng.uniform(-0.2, 0.2, (21, 31)))
    detector.set_dy(rng.uniform(-0.2, 0.2, (21, 31)))
    ai = integrator(detector, 0.1)
    pixels = PixelMap.from_pyfai(ai)
    np.testing.assert_allclose(
        pixels.corners[..., ::-1], detector.get_pixel_corners() + np.array([0.1, 0, 0]), rtol=0, atol=1e-8
    )


def test_bare_detectors():
    detector = detectors.Detector(1e-4, 1e-4, max_shape=(20, 30))
    all_equal(PixelMap.from_pyfai(detector, 0.1), integrator(detector, 0.1))
    unknown = detectors.Detector(1e-4, 1e-4)
    assert PixelMap.from_pyfai(unknown, 0.1, shape=(2, 3)).shape == (2, 3)
    for source, arguments, words in (
        (detector, {}, "distance_m is not given"),
        (detector, {"distance_m": -1}, "above 0"),
        (unknown, {"distance_m": 1}, r"give shape=\(rows, columns\)"),
        (detectors.Detector(max_shape=(2, 3)), {"distance_m": 1}, "pixel1 is not set"),
        (integrator(detector, 0.1), {"distance_m": 1}, "has its own; leave it out"),
        (integrator(detector, -0.1), {}, "dist = -0.1 m; expected a distance above 0"),
        ("pilatus", {"distance_m": 1}, "got str; expected a detector or an integrator"),
    ):
        with pytest.raises(BadInput, match=words):
            PixelMap.from_pyfai(source, **arguments)


def test_detectors_with_gaps_whose_pixels_nobody_set(tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    other = extra_geom.AGIPD_1MGeometry.example()
    detector = other.to_pyfai_detector()
    place = {"dist": 0.3, "poni1": 1e-3, "poni2": -2e-3, "rot1": 0.01, "rot2": 0.02, "rot3": 0.3}
    ai = AzimuthalIntegrator(**place, detector=detector, wavelength=WAVELENGTH)
    ai.save(str(tmp_path / "a.poni"))
    calibrated = PixelMap.from_poni(tmp_path / "a.poni", geometry=other)
    np.testing.assert_allclose(calibrated.centres, ai.position_array()[..., ::-1], rtol=0, atol=2e-8)
    with pytest.raises(BadInput, match="geometry="):
        PixelMap.from_poni(tmp_path / "a.poni")
    with pytest.raises(BadInput, match="pixels are not set"):
        PixelMap.from_pyfai(type(detector)(), 0.3)
