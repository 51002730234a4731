"""Real geometry files, and the same files and objects as EXtra-geom and cfel_fmt understand them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry
from shotsieve.simulate import geometry as simulated

AGIPD, JUNGFRAU = (512, 128), (512, 1024)
# File, module shape to give, slab, modules, panels, unused pixels by bad regions, EXtra-geom's class.
FILES = {
    "geometry/agipd_cheetah.geom": (AGIPD, (8192, 128), 16, 128, 65536, "AGIPD_1MGeometry"),
    "geometry/agipd_mar18_v11.geom": (None, (8192, 128), 16, 128, 0, "AGIPD_1MGeometry"),
    "geometry/agipd_p700000_r0030.geom": (None, (8192, 128), 16, 128, 0, "AGIPD_1MGeometry"),
    "sim/agipd_p700000_slab.geom": (AGIPD, (8192, 128), 16, 128, 0, None),
    "geometry/jf4m_vds.geom": (None, (4096, 1024), 8, 64, 0, "JUNGFRAUGeometry"),
    "geometry/om_lcls_jungfrau4M.geom": (None, (1480, 1552), 1, 64, 0, None),
}


@pytest.fixture(params=FILES)
def real(request, real_data):
    """A real file, read, and what is known of it."""
    path = real_data / request.param
    if not path.is_file():
        pytest.skip(f"no {request.param}")
    known = FILES[request.param]
    return Geometry.load(path, module_shape=known[0]), path, known


def test_real_files_are_read(real):
    g, path, (_, shape, modules, panels, unused, _) = real
    assert (g.shape, g.modules, len(g.panels)) == (shape, modules, panels)
    assert g.panel_map.min() == 0  # panels cover the slab without gaps
    good = g.good_pixels()
    if "om_lcls" not in path.name:
        assert np.count_nonzero(~good) == unused
    if "cheetah" in path.name:
        # The region has no panel; it is module 7 all the same.
        assert not good[7 * 512 : 8 * 512].any()
    ss, fs = np.indices(g.shape)[:, ::7, ::5]
    assert (g.panel_at(fs, ss) == g.panel_map[::7, ::5]).all()


def test_real_files_come_back(real, tmp_path):
    g, _, _ = real
    for layout in ("slab", "4d"):
        back = Geometry.load(g.save(tmp_path / "a.geom", layout=layout), module_shape=g.module_shape)
        assert back == g
    np.testing.assert_allclose(back.positions(), g.positions(), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(back.radius("crystfel"), g.radius("crystfel"))


def test_real_files_as_extra_geom_has_them(real, tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    g, path, (*_, name) = real
    if name is None:
        pytest.skip("EXtra-geom has no class for this file, or cannot read it")
    theirs = getattr(extra_geom, name).from_crystfel_geom(str(path))
    wanted = theirs.get_pixel_positions().reshape(*g.shape, 3)
    np.testing.assert_allclose(g.positions(), wanted, rtol=0, atol=1e-6)
    taken = Geometry.open(theirs)
    np.testing.assert_allclose(taken.positions(), g.positions(), rtol=0, atol=1e-9)
    assert (taken.modules, taken.module_shape) == (g.modules, g.module_shape)
    assert (taken.clen_m, taken.photon_energy_kev) == (g.clen_m, g.photon_energy_kev)
    assert sorted(map(tuple, taken.rectangles())) == sorted(map(tuple, g.rectangles()))
    for layout in ("slab", "4d"):
        again = getattr(extra_geom, name).from_crystfel_geom(str(g.save(tmp_path / "a.geom", layout=layout)))
        for ours, others in zip(again.modules, theirs.modules, strict=True):
            for one, other in zip(ours, others, strict=True):
                for part in ("corner_pos", "ss_vec", "fs_vec"):
                    np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=0, atol=1e-12)


def test_what_is_written_as_cfel_fmt_reads_it(real, tmp_path):
    cfel = pytest.importorskip("cfel_fmt.geometry")
    g, _, _ = real
    path = g.save(
        tmp_path / "a.geom",
        data_path="/entry_1/data_1/data",
        mask_path="/entry_1/data_1/mask",
        clen_m=0.2,
        photon_energy_kev=9.3,
        adu_per_ev=0.001,
        peak_list="/entry_1/result_1",
    )
    read = cfel.load_crystfel_geometry(str(path))
    assert read.beam["photon_energy"] == 9300
    found = read.detector["panels"]
    assert list(found) == [p.name for p in g.panels]
    for p in g.panels:
        theirs = found[p.name]
        assert theirs["dim_structure"] == ["%", "ss", "fs"]
        assert (theirs["orig_min_ss"], theirs["orig_max_ss"] + 1) == p.rect[:2]
        assert (theirs["orig_min_fs"], theirs["orig_max_fs"] + 1) == p.rect[2:]
        assert (theirs["cnx"], theirs["cny"]) == p.corner_px
        assert (theirs["fsx"], theirs["fsy"], theirs["fsz"]) == p.fs_px
        assert (theirs["ssx"], theirs["ssy"], theirs["ssz"]) == p.ss_px
        assert (theirs["res"], theirs["coffset"], theirs["clen"]) == (p.res, p.coffset_m, 0.2)
        assert (theirs["data"], theirs["mask"]) == ("/entry_1/data_1/data", "/entry_1/data_1/mask")
        assert theirs["adu_per_eV"] == 0.001
    assert len(read.detector["bad"]) == len(g.bad_regions)


def test_agipd_is_quick(tmp_path):
    path = simulated.write_geometry(tmp_path / "a.geom", 1.6, 9.3)
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        Geometry.load(path, module_shape=AGIPD).positions()
        best = min(best, time.perf_counter() - start)
    assert best < 0.5


def test_the_simulated_detector(tmp_path):
    g = Geometry.load(simulated.write_geometry(tmp_path / "a.geom", 1.6, 9.3), module_shape=AGIPD)
    ours = np.concatenate([simulated.pixel_positions(m) for m in range(16)])
    np.testing.assert_allclose(g.positions()[..., :2], ours, rtol=0, atol=1e-12)
    places = [simulated.pixel_positions(m) for m in range(16)]
    q = np.concatenate([simulated.momentum_transfer(place, 1.6, 9.3) for place in places])
    np.testing.assert_allclose(g.momentum_transfer(), q, rtol=1e-9)
    assert g.groups["all"] == ("q0", "q1", "q2", "q3")
    assert (g.clen_m, g.photon_energy_kev, g.adu_per_ev) == (1.6, 9.3, 0.001)


NAMES = ("AGIPD_1M", "AGIPD_500K2G", "LPD_1M", "LPD_Mini", "JUNGFRAU", "PNCCD", "Epix100", "Epix10K")


@pytest.mark.parametrize("name", NAMES)
def test_objects_of_extra_geom(name, tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    theirs = getattr(extra_geom, f"{name}Geometry").example()
    g = Geometry.open(theirs)
    assert g.modules == len(theirs.modules)
    assert g.module_shape == tuple(theirs.expected_data_shape[1:])
    wanted = theirs.get_pixel_positions().reshape(*g.shape, 3)
    np.testing.assert_allclose(g.positions(), wanted, rtol=0, atol=1e-9)
    assert g.panel_map.min() == 0
    for layout in ("slab", "4d"):
        path = g.save(
            tmp_path / "a.geom", layout=layout, data_path="/data", clen_m=1.0, photon_energy_kev=9.3
        )
        back = Geometry.load(path, module_shape=g.module_shape)
        np.testing.assert_allclose(back.positions(), g.positions(), rtol=0, atol=1e-9)
        assert back.groups == g.groups
    with pytest.raises(BadInput, match="3 x 3"):
        Geometry.open(theirs, module_shape=(3, 3))


def test_a_plain_detector_of_extra_geom():
    extra_geom = pytest.importorskip("extra_geom")
    theirs = extra_geom.GenericGeometry.from_simple_description(
        pixel_size=1e-4,
        slow_pixels=20,
        fast_pixels=30,
        corner_coordinates=[np.array([1e-3, 2e-3, 0.0]), np.array([-4e-3, 2e-3, 0.0])],
        ss_vec=np.array([0, 1, 0]),
        fs_vec=np.array([1, 0, 0]),
    )
    g = Geometry.open(theirs)
    wanted = theirs.get_pixel_positions().reshape(*g.shape, 3)
    np.testing.assert_allclose(g.positions(), wanted, rtol=0, atol=1e-9)


def test_hexagons_are_refused():
    extra_geom = pytest.importorskip("extra_geom")
    with pytest.raises(BadInput, match="hexagonal"):
        Geometry.open(extra_geom.DSSC_1MGeometry.example())


def test_bad_regions_and_motors_of_extra_geom(tmp_path, real_data):
    extra_geom = pytest.importorskip("extra_geom")
    source = real_data / "geometry/agipd_p700000_r0030.geom"
    if not source.is_file():
        pytest.skip("no geometry file")
    path = tmp_path / "a.geom"
    motors = ";XGEOM MOTORS=4,2\n" + "".join(f";XGEOM MOTOR_Q{q}={q}.5,-{q}.25\n" for q in range(1, 5))
    region = "bad1/panel = p3a2\nbad1/min_fs = 5\nbad1/max_fs = 9\nbad1/min_ss = 130\nbad1/max_ss = 140\n"
    lab = "bad2/min_x = -60\nbad2/max_x = 60\nbad2/min_y = -60\nbad2/max_y = 60\n"
    path.write_text(motors + source.read_text() + region + lab)
    ours = Geometry.load(path)
    taken = Geometry.open(extra_geom.AGIPD_1MGeometry.from_crystfel_geom(str(path)))
    assert taken.motors == ours.motors
    assert taken.bad_regions == ours.bad_regions
    assert np.array_equal(taken.good_pixels(), ours.good_pixels())
    assert np.count_nonzero(~ours.good_pixels()) > 55
    assert not ours.good_pixels()[3 * 512 + 130 : 3 * 512 + 141, 5:10].any()
