"""What is written reads back the same, here and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput, OutputError
from shotsieve.geometry import Geometry, Panel, PanelOptions

EVERYTHING = """\
;XGEOM MOTORS=1,2
;XGEOM MOTOR_Q1=0.5,1.25
mask = /m0
mask_good = 0x1
mask_bad = 0xfeff
mask3_data = /m3
mask3_file = m.h5
max_adu = 7500
saturation_map = /sat
adu_per_photon = 2.5
mask_edge_pixels = 1
flag_lessthan = -100
bandwidth = 0.002
peak_list = /entry_1/result_1
peak_list_type = auto
detector_shift_x = /motor/x mm
"""
REGIONS = """\
bad_beam/min_x = -3.5
bad_beam/max_x = 3
bad_beam/min_y = -2
bad_beam/max_y = 2
bad_rows/min_ss = 1
bad_rows/max_ss = 2
bad_rows/min_fs = 0
bad_rows/max_fs = 3
rigid_group_q0 = a,b
rigid_group_collection_all = q0
group_top = b
group_all = top,a
"""


def lines_of(path):
    return [line for line in path.read_text().splitlines() if line]


@pytest.mark.parametrize("layout", ["slab", "4d"])
def test_everything_comes_back(four_d, tmp_path, layout):
    g = Geometry.from_text(
        EVERYTHING + four_d + REGIONS + "b/no_index = 1\nb/coffset=1e-9\nb/flag_morethan = 3\n"
    )
    path = g.save(tmp_path / "a.geom", layout=layout)
    back = Geometry.load(path, module_shape=g.module_shape)
    if layout == "slab":
        # A mask in a file of its own has the layout of that file.
        assert "; left out: mask3, which belongs to data in another place or layout" in lines_of(path)
        g = Geometry.from_text(g.save(tmp_path / "b.geom", layout=layout).read_text(), module_shape=(4, 8))
    assert back == g
    assert back.layout == layout
    np.testing.assert_array_equal(back.good_pixels(), g.good_pixels())
    assert back.save(tmp_path / "c.geom", layout=layout).read_text() == "\n".join(
        line for line in path.read_text().split("\n") if not line.startswith("; left out")
    )


COORDINATE = st.floats(-3e3, 3e3, allow_nan=False, allow_subnormal=False)
PART = st.floats(-1.5, 1.5, allow_subnormal=False)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_geometries_come_back(tmp_path_factory, data):
    modules, ss, fs = (data.draw(st.integers(1, n)) for n in (3, 5, 7))
    panels = []
    for m in range(modules):
        cut = data.draw(st.integers(1, ss))
        for a, (start, stop) in enumerate(((0, cut), (cut, ss))):
            if start == stop:
                continue
            x, y, z = (data.draw(PART) for _ in range(3))
            panels.append(
                Panel(
                    f"p{m}a{a}",
                    m,
                    (m * ss + start, m * ss + stop, 0, fs),
                    (data.draw(COORDINATE), data.draw(COORDINATE)),
                    (x + 2, y, z),
                    (-y, x + 2, 0.0),
                    data.draw(st.floats(1e3, 1e5)),
                    data.draw(st.floats(-1, 1)),
                    PanelOptions(data="/d", adu_per_ev=data.draw(st.floats(1e-6, 10))),
                )
            )
    energy, clen = data.draw(st.floats(0.1, 200)), data.draw(st.floats(1e-3, 20))
    g = Geometry(tuple(panels), (ss, fs), modules, clen_m=clen, photon_energy_kev=energy)
    path = tmp_path_factory.mktemp("g") / "a.geom"
    for layout in ("slab", "4d"):
        g.save(path, layout=layout)
        back = Geometry.load(path, module_shape=(ss, fs))
        assert back == g
        np.testing.assert_array_equal(back.positions(), g.positions())


def test_what_is_asked_for_is_written(two, tmp_path):
    g = Geometry.from_text("mask = /old\nmask_bad = 1\nmax_adu = 9\nadu_per_eV = 0.0075\n" + two)
    path = g.save(
        tmp_path / "a.geom",
        data_path="/entry_1/data_1/frames",
        mask_path="/entry_1/data_1/mask",
        clen_m=0.1185,
        photon_energy_kev=9.46,
        adu_per_photon=1,
        peak_list="/entry_1/result_1",
        comments=["made for a test", "two\nlines"],
    )
    lines = lines_of(path)
    for line in (
        "; made for a test", "; two", "; lines", "data = /entry_1/data_1/frames", "clen = 0.1185",
        "mask = /entry_1/data_1/mask",
        "mask_good = 0x0", "mask_bad = 0xffffffff", "dim0 = %", "dim1 = ss", "dim2 = fs",
        "photon_energy = 9460.0", "adu_per_photon = 1.0", "peak_list = /entry_1/result_1",
        "peak_list_type = cxi",
        "; left out: max_adu, which is in the unit of other data", "p1/min_ss = 4",
    ):  # fmt: skip
        assert line in lines, line
    assert lines[-1] == "group_all = p0,p1"
    assert not [line for line in lines if "adu_per_eV" in line or "/old" in line]
    back = Geometry.load(path)
    assert (back.clen_m, back.photon_energy_kev, back.adu_per_photon) == (0.1185, 9.46, 1)
    assert path.read_bytes().count(b"\r") == 0
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_gives_the_same_bytes(two, tmp_path):
    one, other = (Geometry.from_text(two).save(tmp_path / n) for n in ("a.geom", "b.geom"))
    assert one.read_bytes() == other.read_bytes()


def test_panels_and_bad_regions_change_their_rows_with_the_layout(four_d, tmp_path):
    g = Geometry.from_text(four_d + REGIONS)
    slab, stack = (lines_of(g.save(tmp_path / name, layout=name)) for name in ("slab", "4d"))
    assert {"b/min_ss = 4", "b/max_ss = 7", "bad_rows_b/min_ss = 5", "bad_rows_b/panel = b"} <= set(slab)
    assert {"b/dim1 = 1", "b/min_ss = 0", "b/max_ss = 3", "bad_rows_b/min_ss = 1", "dim2 = ss"} <= set(stack)


def test_masks_are_kept_only_where_they_fit(two, tmp_path):
    g = Geometry.from_text(
        "mask = /m\nmask_bad = 3\nmask1_data = /n\nmask1_file = n.h5\nsaturation_map=/s\n" + two
    )
    lines = lines_of(g.save(tmp_path / "a.geom", data_path="/elsewhere"))
    assert "; left out: mask0, which belongs to data in another place or layout" in lines
    assert "; left out: saturation_map, which belongs to data in another place or layout" in lines
    assert "mask1_data = /n" in lines
    assert "mask1_file = n.h5" in lines
    without = g.save(tmp_path / "b.geom", mask_path="")
    assert not Geometry.load(without).panels[0].options.masks


def test_what_is_unknown_is_said(head, lines, tmp_path):
    text = "".join(line for line in head.splitlines(True) if not line.startswith(("clen", "photon")))
    path = Geometry.from_text(text + lines("p")).save(tmp_path / "a.geom")
    assert "; clen is unknown: set it, CrystFEL needs it" in lines_of(path)
    assert "; photon_energy is unknown: set it, CrystFEL needs it" in lines_of(path)


@pytest.mark.parametrize(
    "line",
    ["photon_energy = /e keV", "wavelength = /w A", "electron_voltage = 200 kV", "electron_voltage = /v"],
)
def test_beams_come_back(two, tmp_path, line):
    text = two.replace("photon_energy = 9300", line).replace("clen = 0.2", "clen = /z m")
    g = Geometry.from_text(text)
    assert Geometry.load(g.save(tmp_path / "a.geom")) == g


def test_groups_come_from_modules_and_rigid_groups(tmp_path):
    def panel(m, a):
        row = 4 * m + 2 * a
        return Panel(
            f"p{m}a{a}", m, (row, row + 2, 0, 4), (0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 5000.0
        )

    panels = tuple(panel(m, a) for m in range(4) for a in range(2))
    names = [p.name for p in panels]
    plain = Geometry(panels, (4, 4), 4).groups
    assert plain["m3"] == ("p3a0", "p3a1")
    assert plain["all"] == ("m0", "m1", "m2", "m3")
    nested = Geometry(
        panels, (4, 4), 4, rigid_groups={"left": tuple(names[:4]), "p0a0": tuple(names[4:])}
    ).groups
    assert nested["left"] == ("m0", "m1")
    assert nested["p0a0_group"] == ("m2", "m3")  # a panel has that name already
    assert nested["all"] == ("left", "p0a0_group")
    crossed = Geometry(panels, (4, 4), 4, rigid_groups={"x": tuple(names[1:3])}).groups
    assert crossed == plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "3d"}, r"layout = '3d'; expected one of slab, 4d"),
        ({"adu_per_ev": 1.0, "adu_per_photon": 1.0}, "both given"),
        ({"clen_m": -1}, r"clen_m = -1: expected a distance above 0"),
        ({"photon_energy_kev": 9300}, "photon_energy_kev"),
        ({"peak_list": "/x", "peak_list_type": "cxy"}, "peak_list_type = 'cxy'"),
        ({"mask_path": "/m", "mask_bad": 2**32}, "mask_bad = 4294967296: expected a bit field"),
        ({"adu_per_ev": 0.0}, r"adu_per_ev = 0.0: expected a number above 0"),
        ({"data_path": "/a;b"}, r"data_path = '/a;b'"),
        ({"peak_list": "/a\nb"}, r"peak_list = '/a\\nb'"),
    ],
)
def test_what_cannot_be_written(two, tmp_path, arguments, message):
    with pytest.raises(BadInput, match=message):
        Geometry.from_text(two).save(tmp_path / "a.geom", **arguments)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(two, tmp_path):
    g = Geometry.from_text(two)
    with pytest.raises(OutputError, match="cannot be written"):
        g.save(tmp_path / "absent" / "a.geom")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        g.save(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(BadInput, match="0 datasets"):
        Geometry.from_text(two.replace("data = /entry_1/data_1/data", "")).save(tmp_path / "b.geom")
