"""Where pixels are, in the slab and in space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.geometry import BadRegion, FileValue, Geometry, Panel, PanelOptions
from shotsieve.units import kev_to_nm

PIXEL = 200e-6


def test_positions_by_hand(two):
    g = Geometry.from_text(two)
    assert g.shape == (8, 8)
    xyz = g.positions()
    assert xyz.shape == (8, 8, 3)
    assert xyz.dtype == np.float64
    # p0: fs along x, ss along y, corner (10, -20)
    np.testing.assert_allclose(xyz[0, 0] / PIXEL, [10.5, -19.5, 0], atol=1e-9)
    np.testing.assert_allclose(xyz[3, 7] / PIXEL, [17.5, -16.5, 0], atol=1e-9)
    # p1: fs along -y, ss along x, corner (10.5, 30)
    np.testing.assert_allclose(xyz[4, 0] / PIXEL, [11, 29.5, 0], atol=1e-9)
    np.testing.assert_allclose(xyz[5, 7] / PIXEL, [12, 22.5, 0], atol=1e-9)


def test_what_a_panel_says_in_metres(two):
    p = Geometry.from_text(two).panels[1]
    np.testing.assert_allclose(p.corner, [10.5 * PIXEL, 30 * PIXEL, 0])
    np.testing.assert_allclose(p.fs_vec, [0, -PIXEL, 0])
    np.testing.assert_allclose(p.ss_vec, [PIXEL, 0, 0])
    assert p.pixel_size_m == pytest.approx(PIXEL)
    assert p.rect == (4, 8, 0, 8)


def test_z_holds_the_offset_and_the_tilt_but_no_distance(two):
    text = two.replace("p1/ss = x", "p1/ss = x +0.01z\np1/coffset = 0.002")
    z = Geometry.from_text(text).positions()[..., 2]
    assert not z[:4].any()
    np.testing.assert_allclose(z[4:, 0], 0.002 + 0.01 * PIXEL * (np.arange(4) + 0.5))


def test_radius_of_both_conventions_by_hand(two):
    g = Geometry.from_text(two.replace("p0/corner_x = 10", "p0/corner_x = -10.7"))
    real, cut = g.radius(), g.radius("crystfel")
    assert real.dtype == cut.dtype == np.float32
    assert real[1, 2] == np.float32(np.hypot(-8.2, -18.5))
    # Corner of the pixel at -8.7, -19, cut towards zero.
    assert cut[1, 2] == np.float32(np.hypot(8, 19))
    assert cut[4, 1] == np.float32(np.hypot(10, 29))
    with pytest.raises(BadInput, match="convention = 'om'; expected one of float, crystfel"):
        g.radius("om")


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.floats(-900, 900), st.floats(-900, 900)),
    st.floats(0, 2 * np.pi),
    st.sampled_from([5000.0, 13333.3, 9097.52]),
)
def test_the_two_conventions_stay_within_their_bounds(corner, turn, res):
    fs, ss = (np.cos(turn), np.sin(turn), 0.0), (-np.sin(turn), np.cos(turn), 0.0)
    g = Geometry((Panel("p", 0, (0, 16, 0, 16), corner, fs, ss, res),), (16, 16), 1)
    difference = g.radius("crystfel").astype("f8") - g.radius()
    assert difference.max() < 0.708
    assert difference.min() > -2.123
    xyz = g.positions()
    np.testing.assert_allclose(g.radius(), np.hypot(xyz[..., 0], xyz[..., 1]) * res, rtol=1e-6, atol=1e-5)


def test_q(two):
    g = Geometry.from_text(two)
    xyz = g.positions()
    theta = 0.5 * np.arctan2(np.hypot(xyz[..., 0], xyz[..., 1]), 0.2)
    wanted = 4 * np.pi * np.sin(theta) / kev_to_nm(9.3)
    np.testing.assert_allclose(g.momentum_transfer(), wanted, rtol=1e-14)
    np.testing.assert_allclose(g.momentum_transfer(0.2, 9.3), wanted, rtol=1e-14)
    assert (g.momentum_transfer(0.4) < wanted).all()
    ss, fs = np.mgrid[:8, :8]
    at = g.q_at(fs.ravel(), ss.ravel(), g.panel_map.ravel(), 0.2, 9.3)
    np.testing.assert_allclose(at, wanted.ravel(), rtol=1e-12)
    between = g.q_at([2.5, 2.0], [1.0, 1.0], [0, -1])
    assert wanted[1, 2] < between[0] < wanted[1, 3]
    assert np.isnan(between[1])
    assert g.q_at([], [], []).shape == (0,)


def test_q_asks_for_what_it_lacks(two):
    g = Geometry.from_text(two.replace("clen = 0.2", "clen = /z").replace("photon_energy = 9300", ""))
    with pytest.raises(BadInput, match=r"q needs distance_m: .* leaves it to the data files"):
        g.momentum_transfer()
    with pytest.raises(BadInput, match=r"q needs photon_energy_kev: .* does not have it"):
        g.momentum_transfer(0.2)
    with pytest.raises(BadInput, match=r"distance_m = -1: expected a distance above 0"):
        g.momentum_transfer(-1, 9.3)
    with pytest.raises(BadInput, match=r'Was "9300 eV" meant'):
        g.momentum_transfer(0.2, 9300)
    with pytest.raises(BadInput, match=r"panel_index runs from 0 to 2; expected -1 to 1"):
        g.q_at([0, 0], [0, 0], [0, 2], 0.2, 9.3)


def test_what_lies_between_panels(head, lines):
    g = Geometry.from_text(head + lines("a", ss=(1, 3), fs=(2, 5)) + lines("b", ss=(6, 7), fs=(0, 3)))
    assert g.shape == (8, 6)
    inside = np.zeros((8, 6), bool)
    inside[1:4, 2:6] = inside[6:8, :4] = True
    assert (np.isfinite(g.radius()) == inside).all()
    assert (np.isfinite(g.radius("crystfel")) == inside).all()
    assert (np.isfinite(g.positions()).all(axis=-1) == inside).all()
    assert (np.isfinite(g.momentum_transfer()) == inside).all()
    assert (g.good_pixels() == inside).all()
    assert ((g.panel_map >= 0) == inside).all()
    assert g.rectangles().dtype == np.int32
    assert g.rectangles().tolist() == [[1, 4, 2, 6], [6, 8, 0, 4]]
    assert g.panel_at([2, 1.4, 1.6, 5.4, 5.5, 0, np.nan], [1, 1, 0.6, 3.4, 3, 6, 1]).tolist() == [
        0, -1, 0, 0, -1, 1, -1
    ]  # fmt: skip
    assert g.panel_at([-0.6, 99, -0.5], [6, 6, 7.49]).tolist() == [-1, -1, 1]
    assert int(g.panel_at(3.0, 2.0)) == 0


def test_modules_by_an_index(four_d):
    g = Geometry.from_text(four_d)
    assert (g.layout, g.module_shape, g.modules, g.shape) == ("4d", (4, 8), 2, (8, 8))
    assert g.panel_modules().tolist() == [0, 1]
    assert g.panel_modules().dtype == np.int32
    assert [p.rect for p in g.panels] == [(0, 4, 0, 8), (4, 8, 0, 8)]
    wider = Geometry.from_text(four_d, module_shape=(5, 9))
    assert wider.shape == (10, 9)
    assert wider.panels[1].rect == (5, 9, 0, 8)
    with pytest.raises(BadInput, match=r"panel 'a' has ss 0 to 3 .* one module of 2 x 8"):
        Geometry.from_text(four_d, module_shape=(2, 8))


def test_modules_that_the_slab_hides(two):
    whole = Geometry.from_text(two)
    assert (whole.layout, whole.module_shape, whole.modules) == ("slab", (8, 8), 1)
    divided = Geometry.from_text(two, module_shape=(4, 8))
    assert (divided.modules, [p.module for p in divided.panels]) == (2, [0, 1])
    assert whole.with_modules((4, 8)) == divided
    assert Geometry.open(whole, module_shape=(4, 8)) == divided
    assert Geometry.open(divided) is divided
    for maker in (lambda: Geometry.from_text(two, module_shape=(6, 8)), lambda: whole.with_modules((6, 8))):
        with pytest.raises(BadInput, match=r"panel 'p1'.* not fit into one module of 6 x 8"):
            maker()
    with pytest.raises(BadInput, match=r"modules are 4 x 8 .* expected 8 x 8"):
        divided.with_modules((8, 8))


def test_a_dataset_for_each_module(four_d):
    text = four_d.replace("a/dim1 = 0", "a/data = /DET/0CH0/data").replace(
        "b/dim1 = 1", "b/data = /DET/1CH0/data"
    )
    text = text.replace("dim2 = ss", "dim1 = ss").replace("dim3 = fs", "dim2 = fs")
    g = Geometry.from_text(text)
    assert (g.layout, g.modules, g.data_path) == ("other", 2, None)
    assert "2 datasets" in g.notes[0]
    with pytest.raises(BadInput, match=r"have 2 datasets.*say where the frames stand"):
        g.save("never.geom")


def test_no_dimensions_are_two(head, lines):
    g = Geometry.from_text("res = 5000\n" + lines("p"))
    assert g.panels[0].options.dims == ("ss", "fs")
    assert "no dimensions" in g.notes[0]
    turned = head.replace("dim1 = ss", "dim1 = fs").replace("dim2 = fs", "dim2 = ss", 1)
    assert "transpose" in Geometry.from_text(turned + lines("p")).notes[0]


def test_shift_of_the_detector(two):
    plain = Geometry.from_text(two)
    moved = Geometry.from_text("detector_shift_x = 0.5 mm\ndetector_shift_y = -1e-3 m\n" + two)
    shift = moved.positions() - plain.positions()
    np.testing.assert_allclose(shift[..., 0], 0.5e-3, atol=1e-15)
    np.testing.assert_allclose(shift[..., 1], -1e-3, atol=1e-15)
    assert len(moved.notes) == 2
    elsewhere = Geometry.from_text("detector_shift_x = /motor/x mm\n" + two)
    assert elsewhere.detector_shift == (FileValue("/motor/x", "mm"), None)
    assert elsewhere.panels == plain.panels
    assert "positions are without it" in elsewhere.notes[0]


def region(name="bad1", **bounds):
    return "".join(f"{name}/{key} = {value}\n" for key, value in bounds.items())


def test_bad_regions(two, four_d):
    bounds = {"min_fs": 2, "max_fs": 4, "min_ss": 3, "max_ss": 5}
    everywhere = Geometry.from_text(two + region(**bounds)).good_pixels()
    wanted = np.ones((8, 8), bool)
    wanted[3:6, 2:5] = False
    assert (everywhere == wanted).all()
    one = Geometry.from_text(two + region(**bounds, panel="p1"))
    wanted[3] = True
    assert (one.good_pixels() == wanted).all()
    assert one.bad_regions == (BadRegion("bad1", panel="p1", rect=(4, 6, 2, 5)),)
    # In a layout with an index the rows are those of each module.
    rows = Geometry.from_text(four_d + region(min_fs=0, max_fs=0, min_ss=1, max_ss=1)).good_pixels()
    assert np.argwhere(~rows).tolist() == [[1, 0], [5, 0]]
    rows = Geometry.from_text(
        four_d + region(min_fs=0, max_fs=0, min_ss=1, max_ss=1, panel="b")
    ).good_pixels()
    assert np.argwhere(~rows).tolist() == [[5, 0]]
    nowhere = Geometry.from_text(two + region(min_fs=90, max_fs=95, min_ss=0, max_ss=9))
    assert nowhere.good_pixels().all()
    assert "masks nothing" in nowhere.notes[0]


def test_bad_regions_in_the_laboratory(two):
    g = Geometry.from_text(two + region(min_x=11, max_x=12.5, min_y=-18, max_y=22.5))
    x, y = (g.positions()[..., i] / PIXEL for i in (0, 1))
    bad = (x > 10.9) & (x < 12.6) & (y > -18.1) & (y < 22.6)
    assert bad.any()
    assert (g.good_pixels() == ~bad).all()


def test_edges_and_panels_out_of_use(two):
    g = Geometry.from_text("mask_edge_pixels = 1\n" + two + "p1/no_index = 1\n")
    wanted = np.zeros((8, 8), bool)
    wanted[1:3, 1:7] = True
    assert (g.good_pixels() == wanted).all()
    wide = Geometry.from_text("mask_edge_pixels = 9\n" + two)
    assert not wide.good_pixels().any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.randoms())
def test_every_pixel_of_a_grid_is_in_its_panel(rows, columns, ss, fs, random):
    panels = [
        Panel(
            f"p{r}{c}",
            r,
            (r * ss, r * ss + ss, c * fs, c * fs + fs),
            (0.0, 0.0),
            (1.0, 0, 0),
            (0, 1.0, 0),
            1e4,
        )
        for r in range(rows)
        for c in range(columns)
    ]
    random.shuffle(panels)
    g = Geometry(tuple(panels), (ss, columns * fs), rows)
    for i, (a, b, c, d) in enumerate(g.rectangles()):
        assert (g.panel_map[a:b, c:d] == i).all()
        assert int(g.panel_at(d - 0.51, a - 0.5)) == i
    assert g.good_pixels().all()


def test_geometries_made_by_hand_are_checked():
    p = Panel("p", 0, (0, 4, 0, 8), (0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 5000.0, 0.0, PanelOptions())
    assert Geometry((p,), (4, 8), 1).groups == {"all": ("p",)}
    with pytest.raises(BadInput, match="leaves the slab of 4 x 7"):
        Geometry((p,), (4, 7), 1)
    with pytest.raises(BadInput, match="overlaps"):
        Geometry((p, p), (4, 8), 1)
    with pytest.raises(BadInput, match="at least one panel"):
        Geometry((), (4, 8), 1)
    with pytest.raises(ValueError, match="read-only"):
        Geometry((p,), (4, 8), 1).panel_map[0, 0] = 3


def test_some_modules_in_another_order(head, lines):
    text = head + "".join(lines(f"p{m}", ss=(4 * m, 4 * m + 3), at=(100 * m, 7)) for m in range(4))
    text += region(min_fs=0, max_fs=2, min_ss=1, max_ss=14) + region(
        "bad2", min_x=0, max_x=3, min_y=0, max_y=9
    )
    text += (
        "rigid_group_left = p0,p1\nrigid_group_right = p2,p3\nrigid_group_collection_halves = left,right\n"
    )
    g = Geometry.from_text(text, module_shape=(4, 8))
    part = g.part([3, 1])
    assert (part.modules, part.shape) == (2, (8, 8))
    assert [(p.name, p.module, p.rect) for p in part.panels] == [
        ("p1", 1, (4, 8, 0, 8)),
        ("p3", 0, (0, 4, 0, 8)),
    ]
    for whole, of_part in (
        (g.positions(), part.positions()),
        (g.radius("crystfel"), part.radius("crystfel")),
        (g.good_pixels(), part.good_pixels()),
    ):
        np.testing.assert_array_equal(of_part, np.concatenate([whole[12:16], whole[4:8]]))
    assert part.groups == {"left": ("p1",), "right": ("p3",), "all": ("left", "right")}
    assert g.part(range(4)) == g
    for wrong in ([0, 4], [1, 1], [], [-1]):
        with pytest.raises(BadInput, match="expected each once, of 0 to 3"):
            g.part(wrong)


def test_modules_without_a_panel(head, lines):
    g = Geometry.from_text(head + lines("a") + lines("b", ss=(12, 15)), module_shape=(4, 8))
    assert g.notes == ["modules without a panel: 1, 2"]
    assert not g.good_pixels()[4:12].any()
    assert g.part([0, 1]).shape == (8, 8)
    with pytest.raises(BadInput, match="modules 1 have no panel"):
        g.part([1])
