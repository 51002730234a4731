"""Every key of a geometry file is understood, however it is written."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.geometry import FileValue, Geometry, Mask
from shotsieve.geometry.keys import vector

from .conftest import HEAD, panel

PLAIN = HEAD + panel("p0") + panel("p1", ss=(4, 7), at=(10.5, 30), fs_vec="-y", ss_vec="x")
SPACE = st.sampled_from(["", " ", "\t", "   "])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(SPACE, SPACE, SPACE, SPACE, st.sampled_from(["", ";", "; a = b", ";p9/fs = 3"])),
        min_size=30,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_spaces_comments_and_line_ends_mean_nothing(decoration, end, empty_lines):
    out = []
    for i, line in enumerate(PLAIN.splitlines()):
        key, value = line.split(" = ")
        a, b, c, d, comment = decoration[i % len(decoration)]
        out += [f"{a}{key}{b}={c}{value}{d}{comment}", *([comment] if empty_lines else [])]
    assert Geometry.from_text(end.join(out)) == Geometry.from_text(PLAIN)


@settings(max_examples=30, deadline=None)
@given(st.permutations(panel("p0").splitlines() + panel("p1", ss=(4, 7)).splitlines()))
def test_the_order_of_a_panels_keys_means_nothing(order):
    read = Geometry.from_text(HEAD + "\n".join(order))
    plain = Geometry.from_text(HEAD + panel("p0") + panel("p1", ss=(4, 7)))
    assert {p.name: p for p in read.panels} == {p.name: p for p in plain.panels}
    assert read.panels[0].name == order[0].split("/")[0]


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: float(f"{v:.9g}"))


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["{:+}", "{:+.6e}", "{:+f}"]), st.sampled_from(["", " "]))
def test_directions(x, y, z, form, space):
    parts = [form.format(v) + axis for v, axis in ((x, "x"), (y, "y"), (z, "z"))]
    wanted = tuple(float(p[:-1]) for p in parts)
    assert vector(space.join(parts)) == wanted
    assert vector(space.join(reversed(parts))) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x", (1, 0, 0)),
        ("-y", (0, -1, 0)),
        ("- 0.5 x + y", (-0.5, 1, 0)),
        ("+1.0y -.5z", (0, 1, -0.5)),
        ("1e-3x-2E+1y", (1e-3, -20, 0)),
    ],
)
def test_short_directions(text, value):
    assert vector(text) == value


@pytest.mark.parametrize("text", ["1.0", "x x", "1x 2y", "ax", "x,y", "1.0x +nany", "1e999x", "+-1x"])
def test_no_directions(text):
    with pytest.raises(ValueError, match="expected a direction"):
        vector(text)


@pytest.mark.parametrize(
    ("line", "energy", "source"),
    [
        ("photon_energy = 9300 eV", 9.3, None),
        ("photon_energy=9.3keV", 9.3, None),
        ("photon_energy = 0.0093 MeV", 9.3, None),
        ("wavelength = 1.3331634 A", 9.3, None),
        ("wavelength = 1.3331634e-10 m", 9.3, None),
        (
            "photon_energy = /LCLS/photon_energy_eV",
            None,
            ("photon_energy", FileValue("/LCLS/photon_energy_eV")),
        ),
        ("photon_energy = /a/b keV", None, ("photon_energy", FileValue("/a/b", "keV"))),
        ("wavelength = /a/b A", None, ("wavelength", FileValue("/a/b", "A"))),
        ("photon_energy = 0", None, None),
        ("electron_voltage = 200 kV", None, None),
    ],
)
def test_photon_energy(two, line, energy, source):
    g = Geometry.from_text(two.replace("photon_energy = 9300", line))
    assert g.photon_energy_kev == (energy if energy is None else pytest.approx(energy, rel=1e-6))
    assert g.photon_energy_source == source
    if energy and line.endswith((" eV", "keV")):
        assert g.photon_energy_kev == 9.3
    if "kV" in line:
        assert g.electron_voltage == 200e3


@pytest.mark.parametrize(
    ("line", "clen", "source"),
    [
        ("clen = 118.5 mm", 0.1185, None),
        ("clen=0.1185", 0.1185, None),
        ("clen = 0.1185m", 0.1185, None),
        ("clen = /LCLS/detector_1/EncoderValue", None, FileValue("/LCLS/detector_1/EncoderValue")),
        ("clen = /LCLS/z m", None, FileValue("/LCLS/z", "m")),
        ("clen = -1", None, None),
        ("p0/clen = 0.3\np1/clen = 0.3", 0.3, None),
        ("", None, None),
    ],
)
def test_camera_length(two, line, clen, source):
    g = Geometry.from_text(two.replace("clen = 0.2", line))
    assert (g.clen_m, g.clen_source) == (clen, source)


def test_every_key_of_a_panel(two):
    default = """\
mask = /m0
mask_good = 0x1
mask_bad = 65534
mask3_data = /m3
mask3_file = mask.h5
mask3_badbits = 0xffffffff
max_adu = 7500
saturation_map = /sat
saturation_map_file = sat.h5
adu_per_photon = 2.5
mask_edge_pixels = 1
flag_lessthan = -100
flag_morethan = 1e5
flag_equal = -32768
badrow_direction = -
rail_direction = x
clen_for_centering = 0.1
bandwidth = 0.002
peak_list = /entry_1/result_1
peak_list_type = cxi
"""
    g = Geometry.from_text(
        default + two + "p1/no_index = yes\np1/coffset = 1e-3\np1/flag_lessthan = -5\np1/res=1e4\n"
    )
    first, second = g.panels
    o = first.options
    assert o.masks == (Mask(0, "/m0", None, 1, 65534), Mask(3, "/m3", "mask.h5", 0, 0xFFFFFFFF))
    assert (o.max_adu, o.saturation_map, o.saturation_map_file) == (7500, "/sat", "sat.h5")
    assert (o.adu_per_photon, o.adu_per_ev, g.adu_per_photon) == (2.5, None, 2.5)
    assert (o.mask_edge_pixels, o.no_index, second.options.no_index) == (1, False, True)
    assert (o.flag_lessthan, o.flag_morethan, o.flag_equal) == (-100, 1e5, -32768)
    assert second.options.flag_lessthan == -5
    assert (o.badrow_direction, o.rail_direction, o.clen_for_centering) == ("-", (1, 0, 0), 0.1)
    assert (g.bandwidth, g.peak_list, g.peak_list_type) == (0.002, "/entry_1/result_1", "cxi")
    assert (second.coffset_m, second.pixel_size_m) == (1e-3, 1e-4)
    assert g.data_path == "/entry_1/data_1/data"
    assert not g.notes


def test_a_default_holds_for_panels_mentioned_later(head, lines):
    g = Geometry.from_text(
        head + "adu_per_eV = 1\n" + lines("p0") + "adu_per_eV = 2\n" + lines("p1", ss=(4, 7))
    )
    assert [p.options.adu_per_ev for p in g.panels] == [1, 2]
    assert g.adu_per_ev is None


def test_the_last_value_counts_and_it_is_noted(two):
    g = Geometry.from_text("mask_bad = 0xffff\nmask_bad = 0xfeff\nmask = /m\n" + two + "p0/corner_x = 12\n")
    assert g.panels[0].corner_px[0] == 12
    assert g.panels[0].options.masks[0].bad == 0xFEFF
    assert len(g.notes) == 2
    assert "line" in g.notes[0]


def test_motors_in_comments_are_kept(two):
    text = ";XGEOM MOTORS=2,1\n;XGEOM MOTOR_Q1=0.5\n;XGEOM MOTOR_Q2=-1.25\n" + two
    assert Geometry.from_text(text).motors == (
        ";XGEOM MOTORS=2,1", ";XGEOM MOTOR_Q1=0.5", ";XGEOM MOTOR_Q2=-1.25"
    )  # fmt: skip


def test_groups(two):
    text = two + "group_all = top,p1\ngroup_top=p0\nrigid_group_q0 = p0, p1\nrigid_group_collection_x = q0\n"
    g = Geometry.from_text(text)
    assert g.groups == {"top": ("p0",), "all": ("top", "p1")}
    assert list(g.groups)[-1] == "all"
    assert g.rigid_groups == {"q0": ("p0", "p1")}
    assert g.rigid_collections == {"x": ("q0",)}
    without = Geometry.from_text(two + "group_top = p0\n")
    assert without.groups["all"] == ("top", "p1")
    assert "all" in without.notes[0]


def test_older_names(two):
    g = Geometry.from_text("peak_info_location = /peaks\nphoton_energy_scale = 1\n" + two)
    assert g.peak_list == "/peaks"


def test_a_mask_without_data_is_noted(two):
    g = Geometry.from_text("mask_good = 0x0\n" + two)
    assert g.panels[0].options.masks == ()
    assert "mask0" in g.notes[0]


def test_files_with_odd_bytes(two, tmp_path):
    path = tmp_path / "a.geom"
    path.write_bytes(b"\xef\xbb\xbf; caf\xe9 \xff\n" + two.encode())
    assert Geometry.load(path) == Geometry.from_text(two)


# What is put in place of what, and what the message has to say.
BAD = {
    "unknown key": ("res = 5000", "rez = 5000", r"line 5: there is no key 'rez'\. Did you mean 'res'\?"),
    "unknown panel key": ("p1/min_ss", "p1/mni_ss", r"panel 'p1': there is no key 'mni_ss'.*'min_ss'"),
    "global key in a panel": ("p1/min_ss", "p1/photon_energy = 3\np1/min_ss", r"panel 'p1'.*without a panel"),
    "no equals": ("clen = 0.2", "clen 0.2", r"line 6: 'clen 0.2' is not of the form"),
    "no value": ("clen = 0.2", "clen = ; 0.2", r"line 6: nothing stands behind 'clen'"),
    "no number": ("res = 5000", "res = many", r"line 5: res: expected a number, got 'many'"),
    "nan": ("p0/corner_x = 10", "p0/corner_x = nan", r"panel 'p0': corner_x: expected a number"),
    "negative res": ("res = 5000", "res = -5000", r"expected a number above 0"),
    "fraction of a pixel": ("p0/max_fs = 7", "p0/max_fs = 7.5", r"'p0': max_fs: expected a whole number"),
    "wrong unit": ("clen = 0.2", "clen = 0.2 km", r"clen: expected a number with one of the units m, mm"),
    "no path": ("photon_energy = 9300", "photon_energy = 93OO eV", r"photon_energy: expected a number with"),
    "eV for keV": ("photon_energy = 9300", "photon_energy = 9.3", r"line 7: photon_energy.*not within"),
    "two energies": ("clen = 0.2", "wavelength = 1 A", r"photon_energy and wavelength are given"),
    "unitless wavelength": ("photon_energy = 9300", "wavelength = 1.3", r"no unit; write it with .* m, A"),
    "unitless shift": ("clen = 0.2", "detector_shift_x = 3", r"detector_shift_x: '3' has no unit"),
    "energy scale": ("clen = 0.2", "photon_energy_scale = 2", r"photon_energy_scale = 2"),
    "two lengths": ("clen = 0.2", "clen = 0.2\nclen = 0.3", r"line 7: clen = 0.3 differs .* in line 6"),
    "two peak lists": ("clen = 0.2", "peak_list = /a\npeak_info_location = /b", r"keep one"),
    "no ss": ("dim1 = ss", "dim1 = fs", r"panel 'p0': dim0 = %, dim1 = fs.*expected ss in exactly one"),
    "gap in dims": ("dim0 = %", "dim3 = %", r"panel 'p0'.*dim0 is missing"),
    "odd dim": ("dim0 = %", "dim0 = frame", r"line 2: dim0: expected %, ss, fs or a whole number"),
    "dims differ": ("p1/min_ss", "p1/dim3 = 0\np1/min_ss", r"panel 'p1' has the dimensions %, ss, fs, #"),
    "lacks max_ss": ("p1/max_ss = 7\n", "", r"line \d+: panel 'p1' has no max_ss"),
    "lacks corner": ("p1/corner_x = 10.5\n", "", r"panel 'p1' has no corner_x"),
    "lacks fs": ("p1/fs = -y\n", "", r"panel 'p1' has no fs"),
    "lacks res": ("res = 5000\n", "", r"panel 'p0' has no res"),
    "min above max": ("p0/max_fs = 7", "p0/min_fs = 8\np0/max_fs = 7", r"min_fs = 8 is above max_fs = 7"),
    "overlap": ("p1/min_ss = 4", "p1/min_ss = 3", r"line 18: panel 'p1' overlaps panel 'p0'.*inclusive"),
    "flat": ("p1/fs = -y", "p1/fs = -x", r"panel 'p1': .* lie along one line"),
    "two gains": ("clen = 0.2", "adu_per_eV = 1\nadu_per_photon = 1", r"line 7: panel 'p0' has both"),
    "huge": ("p1/max_ss = 7", "p1/max_ss = 999999999", r"more than \d+ pixels"),
    "peak list type": ("clen = 0.2", "peak_list_type = cxy", r"Did you mean 'cxi'"),
    "bits": ("clen = 0.2", "mask_bad = 0x1ffffffff", r"mask_bad: expected a bit field of at most 32 bits"),
    "flag": ("p1/min_ss", "p1/no_index = maybe\np1/min_ss", r"no_index: expected 1 or 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(two, case):
    old, new, message = BAD[case]
    assert old in two
    with pytest.raises(BadInput, match=message) as error:
        Geometry.from_text(two.replace(old, new, 1), name="my.geom")
    assert str(error.value).startswith("my.geom")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("mask_bad = 0xffff\n", "default 'mask_bad' has no effect"),
        ("group_a = p7\n", "member 'p7'"),
        ("group_a = b\ngroup_b = a\n", "contains itself, by way of a > b"),
        ("group = a\n", "'group_NAME = a,b'"),
        ("groups/min_fs = 0\n", "no name for a panel"),
        ("bad1/min_x = 0\nbad1/min_fs = 0\n", "bad region 'bad1' has min_x and min_fs"),
        ("bad1/min_x = 0\nbad1/panel = p0\n", "bad region 'bad1' has min_x and panel"),
        ("bad1/min_x = 0\nbad1/max_x = 1\nbad1/min_y = 0\n", "bad region 'bad1' has no max_y"),
        ("bad1/panel = p0\n", "bad region 'bad1' has no min_fs"),
        ("bad1/minx = 0\n", "bad region 'bad1': there is no key 'minx'"),
        ("bad1/min_x = 3\nbad1/max_x = 1\nbad1/min_y = 0\nbad1/max_y = 1\n", "min_x = 3 is above max_x = 1"),
        ("bad1/min_fs=0\nbad1/max_fs=1\nbad1/min_ss=0\nbad1/max_ss=1\nbad1/panel=p7\n", "no panel 'p7'"),
    ],
)
def test_what_is_wrong_at_the_end_is_named(two, more, message):
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        Geometry.from_text(two + more, name="my.geom")
    assert re.match(r"my\.geom, line \d+: ", str(error.value))


def test_without_strict_odd_lines_become_notes(two):
    text = "rez = 1\n" + two + "nonsense\np0/colour = red\nmask_bad = 1\nbad_a/minimum = 3\n"
    with pytest.raises(BadInput):
        Geometry.from_text(text)
    g = Geometry.from_text(text, strict=False)
    assert g == Geometry.from_text(two)
    assert len(g.notes) == 5
    assert any("line 1: there is no key 'rez'. Did you mean 'res'?" in note for note in g.notes)


@pytest.mark.parametrize("text", ["", "; nothing\n", "res = 5000\n"])
def test_no_panels(text):
    with pytest.raises(BadInput, match="no panel is defined"):
        Geometry.from_text(text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadInput, match=r"absent\.geom: the geometry file cannot be read"):
        Geometry.load(tmp_path / "absent.geom")
    (tmp_path / "lpd.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(BadInput, match="is an HDF5 file"):
        Geometry.load(tmp_path / "lpd.h5")
    with pytest.raises(BadInput, match="got int; expected the path"):
        Geometry.open(3)
    with pytest.raises(BadInput, match="module_shape"):
        Geometry.from_text(HEAD + panel(), module_shape=(512.5, 128))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="p0/minax_fscore=+-.;\n 5%badgroup", max_size=200))
def test_any_text_is_read_or_refused_in_words(text):
    with suppress(BadInput):
        Geometry.from_text(text)
    with suppress(BadInput):
        Geometry.from_text(PLAIN + text, strict=False)
