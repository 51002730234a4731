"""What stands beside a CXI file: CrystFEL finds the panel of every peak, the file and its command."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from shotsieve.geometry import Geometry
from shotsieve.measure.peaks import PEAK_DTYPE
from shotsieve.write import crystfel
from shotsieve.write.cxi import CxiWriter

MODULES, SS, FS = (0, 1, 2), 8, 6
DETECTOR = "entry_1/instrument_1/detector_1"
RESULT = "entry_1/result_1"


def one_panel_each(geom, run, panels):
    """Every peak lies in one panel of `panels`, name: (min_ss, max_ss, min_fs, max_fs), and is ours."""
    with h5py.File(run.files[0]) as file:
        result = {name: dataset[()] for name, dataset in file[RESULT].items()}
        data, modules = file[DETECTOR]["data"][()], file[DETECTOR]["modules"][()]
    seen = 0
    for hit, count in enumerate(result["nPeaks"]):
        for at in range(count):
            # CrystFEL's half pixel: from the centre of a pixel to its corner.
            fs, ss = (float(result[name][hit, at]) + 0.5 for name in ("peakXPosRaw", "peakYPosRaw"))
            inside = [
                name for name, (top, bottom, left, right) in panels.items()
                if top <= ss < bottom + 1 and left <= fs < right + 1
            ]  # fmt: skip
            assert len(inside) == 1
            place, module_ss, module_fs = run.h.pixels[hit][at]
            assert inside[0].startswith(f"p{place}a")
            row, column = int(ss), int(fs)
            assert geom.panel_at([fs - 0.5], [ss - 0.5])[0] == run.h.peaks[hit]["panel"][at]
            if run.h.peaks[hit]["ss"][at] % 1 and run.h.peaks[hit]["fs"][at] % 1:
                assert (row, column) == (place * run.h.data.shape[2] + module_ss, module_fs)
            assert (
                data[hit, row, column]
                == modules[hit, place, row - place * run.h.data.shape[2], column]
                == 5000
            )
            seen += 1
    assert seen == run.h.counts.sum() > 0


def test_each_peak_lies_in_one_panel_of_the_written_geometry(write):
    run = write()
    geom = Geometry.load(run.files[1], module_shape=(SS, FS))
    rects = geom.rectangles()
    names = [panel.name for panel in geom.panels]
    panels = {n: (r[0], r[1] - 1, r[2], r[3] - 1) for n, r in zip(names, rects.tolist(), strict=True)}
    one_panel_each(geom, run, panels)


def test_the_written_geometry_as_cfel_fmt_reads_it(write, geometry):
    reader = pytest.importorskip("cfel_fmt.geometry")
    run = write()
    got = reader.load_crystfel_geometry(run.files[1])
    panels = got.detector["panels"]
    rects = {
        n: tuple(p[f"orig_{k}"] for k in ("min_ss", "max_ss", "min_fs", "max_fs")) for n, p in panels.items()
    }
    one_panel_each(geometry, run, rects)
    for panel in panels.values():
        assert panel["dim_structure"] == ["%", "ss", "fs"]
        assert panel["data"] == crystfel.DATA_PATH
        assert panel["mask"] == crystfel.MASK_PATH
        assert panel["clen"] == 0.13
        assert panel["adu_per_eV"] == 0.001
        assert panel["res"] == 5000
    assert (got.detector["mask_good"], got.detector["mask_bad"]) == (0, 0xFFFFFFFF)
    assert got.beam["photon_energy"] == 9300
    # These two keys are younger than cfel_fmt.
    lines = run.files[1].read_text().splitlines()
    assert f"peak_list = {crystfel.PEAK_PATH}" in lines
    assert "peak_list_type = cxi" in lines


def test_agipd_as_extra_geom_and_cfel_fmt_read_it(tmp_path, options):
    extra_geom = pytest.importorskip("extra_geom")
    reader = pytest.importorskip("cfel_fmt.geometry")
    example = extra_geom.AGIPD_1MGeometry.example()
    geom = Geometry.from_extra_geom(example)
    rng = np.random.default_rng(3)
    place, ss, fs = np.arange(16), rng.integers(0, 512, 16), rng.integers(0, 128, 16)
    data = np.zeros((1, 16, 512, 128), "f4")
    data[0, place, ss, fs] = 5000
    records = np.zeros(16, PEAK_DTYPE)
    records["ss"], records["fs"] = place * 512 + ss, fs
    records["panel"] = (place * 512 + ss) // 64
    options |= {"modules": range(16), "module_shape": (512, 128), "geometry": geom}
    with CxiWriter(tmp_path / "agipd.cxi", **options) as writer:
        writer.append([1], [0], [0], data, np.zeros(data.shape, "u4"), [records])
        files = writer.finish()
    panels = reader.load_crystfel_geometry(files[1]).detector["panels"]
    assert len(panels) == 128
    rects = {
        n: tuple(p[f"orig_{k}"] for k in ("min_ss", "max_ss", "min_fs", "max_fs")) for n, p in panels.items()
    }
    h = SimpleNamespace(
        data=data, peaks=[records], pixels=[np.stack([place, ss, fs], 1)], counts=np.array([16])
    )
    one_panel_each(geom, SimpleNamespace(files=files, h=h), rects)
    with h5py.File(files[0]) as file:
        assert all(file[panels["p3a2"]["data"]].shape[axis] == size for axis, size in ((1, 8192), (2, 128)))
    again = extra_geom.AGIPD_1MGeometry.from_crystfel_geom(str(files[1]))
    np.testing.assert_allclose(again.get_pixel_positions(), example.get_pixel_positions(), atol=1e-9)


@pytest.mark.parametrize(
    ("unit", "line", "note"),
    [
        ("keV", "adu_per_eV = 0.001", ""),
        ("photon", "adu_per_photon = 1", "noise_floor"),
        ("ADU", "adu_per_eV = 0.001", "check the gain, which the given geometry says"),
    ],
)
def test_the_geometry_says_what_a_value_is(write, unit, line, note):
    run = write(unit=unit)
    keys = [text.split(";")[0].strip() for text in run.files[1].read_text().splitlines()]
    gains = [text for text in keys if text.startswith("adu_per")]
    assert len(gains) == 1
    assert gains[0].startswith(line)
    assert bool(run.notes) == bool(note)
    assert note in " ".join(run.notes)
    assert ("noise_floor" in run.files[3].read_text()) == (unit == "photon")


def test_a_gain_that_nobody_knows_is_asked_for(write, geom_text, tmp_path):
    path = tmp_path / "bare.geom"
    path.write_text(geom_text().replace("adu_per_eV = 0.001", ""))
    run = write(unit="ADU", geometry=Geometry.load(path, module_shape=(SS, FS)))
    assert len(run.notes) == 1
    assert "add adu_per_eV or adu_per_photon" in run.notes[0]
    assert run.notes[0] in run.files[1].read_text()


def test_gain_in_adu_and_mask_bits_reach_the_geometry(write):
    run = write(unit="ADU", adu_per_kev=7.5, mask_bad=0xFFBEFFFF)
    assert run.notes == []
    text = run.files[1].read_text().lower()
    assert "adu_per_ev = 0.0075" in text
    assert "0xffbeffff" in text
    with h5py.File(run.files[0]) as file:
        assert file[DETECTOR]["mask"].attrs["bad_bits"] == 0xFFBEFFFF


def test_what_is_not_given_comes_from_the_geometry_and_disagreement_is_told(write, tmp_path):
    run = write(photon_energy_kev=None, distance_m=None)
    with h5py.File(run.files[0]) as file:
        assert file[DETECTOR]["distance"][()] == 0.13
        assert file["instrument/photon_energy_eV"][0] == pytest.approx(9300)
    assert run.notes == []
    run = write(distance_m=0.2, folder="other")
    assert len(run.notes) == 1
    assert "distance 0.2 m is written; the geometry that was given says 0.13 m" in run.notes[0]
    assert Geometry.load(run.files[1], module_shape=(SS, FS)).clen_m == 0.2


def test_the_list_file_is_relative_and_never_too_short(write):
    run = write(name="a.cxi")
    text = run.files[2].read_text()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert len(text.strip()) >= 8
    assert (run.folder / text.strip()).samefile(run.files[0])


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell here")
@pytest.mark.parametrize("name", ["hits.cxi", "CORR-R0035 it's hits.cxi"])
def test_the_script_runs_indexamajig_in_its_own_folder(write, tmp_path, name):
    run = write(name=name, folder="my red")
    stem, start = name.removesuffix(".cxi"), tmp_path / "start"
    start.mkdir()
    fake = tmp_path / "bin" / "indexamajig"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\ncat "$4"\n')
    fake.chmod(0o755)
    path = {"PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}"}
    script = run.files[3]
    assert os.access(script, os.X_OK)

    def lines(*more, **env):
        done = subprocess.run(
            [script, *more],
            cwd=start,
            env={**os.environ, **path, **env},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    got = lines("-p", "my cell", JOBS="3")
    assert got == [
        str(run.folder), "-g", f"{stem}.geom", "-i", f"{stem}.lst", "-o", f"{start}/{stem}.stream",
        "--peaks=cxi", "--no-revalidate", "--indexing=xgandalf", "-j", "3", "-p", "my cell", f"./{name}",
    ]  # fmt: skip
    got = lines(STREAM="/tmp/x y.stream", INDEXING="asdf")
    assert got[6] == "/tmp/x y.stream"
    assert got[9] == "--indexing=asdf"
    assert int(got[11]) >= 1


def test_the_command_for_people(write):
    run = write()
    files = "indexamajig -g hits.geom -i hits.lst -o hits.stream"
    want = f"{files} --peaks=cxi --no-revalidate --indexing=xgandalf -j 4"
    assert run.writer.command == want
    assert want in run.files[3].read_text()
