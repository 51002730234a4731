"""The NeXus master file: frames through its links, pixel positions from its transformations, validators."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.geometry import Geometry
from shotsieve.units import kev_to_nm
from shotsieve.write.nexus import Master, iso_time
from shotsieve.write.nexus_geometry import write_panels

NAMES = {"AGIPD1M": "SPB_DET_AGIPD1M-1", "JUNGFRAU": "SPB_IRDA_JF4M"}
DISTANCE = 0.1234


def grid(modules, shape, asic):
    """A geometry of panels of one size, no two alike in place and direction."""
    lines = ["data = /d", "dim0 = %", "dim1 = ss", "dim2 = fs", "res = 5000"]
    for number, ss in enumerate(range(0, modules * shape[0], asic[0])):
        for part, fs in enumerate(range(0, shape[1], asic[1])):
            name, angle = f"p{number}a{part}", 0.1 * number + part
            c, s = np.cos(angle), np.sin(angle)
            lines += [
                f"{name}/min_ss = {ss}",
                f"{name}/max_ss = {ss + asic[0] - 1}",
                f"{name}/min_fs = {fs}",
                f"{name}/max_fs = {fs + asic[1] - 1}",
                f"{name}/corner_x = {20 * number - 31.7}",
                f"{name}/corner_y = {13.3 - 9 * number * part}",
                f"{name}/fs = {c:+.17f}x {s:+.17f}y +0.01z",
                f"{name}/ss = {-s:+.17f}x {c:+.17f}y",
                f"{name}/coffset = {0.001 * number}",
            ]
    return Geometry.from_text("\n".join(lines), module_shape=shape)


def master(run, geometry, unit="keV"):
    source = run.source
    values = (DISTANCE, 9.3, unit, source.meta.sample, {"recipe": "[keep]\n"})
    return Master(source.detector, source.name, source.modules, geometry, *values)


def write(run, name="CORR-R0035-DET.nxs"):
    shape, count = run.source.detector.shape, len(run.source.modules)
    geometry = grid(count, shape, tuple(n // 2 for n in shape))
    assert master(run, geometry).write(run.folder / name, run.files) == []
    return run.folder / name


# ---------------------------------------------------------------------- frames


def expected(run, plane, fill):
    there = run.present[..., None, None]
    return np.where(there, run.frames[plane], np.array(fill, run.frames[plane].dtype))


@pytest.mark.parametrize("maker", ["reduce_run", "two_sequences"])
def test_frames_are_those_of_the_files(maker, request):
    run = request.getfixturevalue(maker)(modules=(2, 5, 7), shape=(6, 8), absent=[(2, 1), (None, 2)])
    path = write(run)
    moved = run.folder.rename(run.folder.with_name("moved"))
    with h5py.File(moved / path.name) as file:
        shots = run.source.shots
        for key, values in (
            ("trainId", shots.train_id),
            ("pulseId", shots.pulse_id),
            ("cellId", shots.cell_id),
        ):
            np.testing.assert_array_equal(file[f"entry/data/{key}"][:], values[run.kept])
            np.testing.assert_array_equal(file[f"entry/modules/{key}"][:], values[run.kept])
        for plane, slab, fill in (("data", "data", np.nan), ("mask", "pixel_mask", 0xFFFFFFFF)):
            frames = expected(run, plane, fill)
            np.testing.assert_array_equal(file[f"entry/modules/{plane}"][:], frames)
            np.testing.assert_array_equal(
                file[f"entry/instrument/detector/{slab}"][:], frames.reshape(5, 18, 8)
            )
        np.testing.assert_array_equal(file["entry/data/data"][:], file["entry/instrument/detector/data"][:])
        assert file["entry/modules/module"][:].tolist() == [2, 5, 7]
        assert file["entry/data/data"].attrs["units"] == "keV"
        sources = file["entry/modules/data"].virtual_sources()
        assert all(Path(source.file_name).name == source.file_name for source in sources)


def test_one_row_missing_in_the_middle_of_a_module(reduce_run):
    """A module that lacks a train in between has its later frames at the right shots."""
    run = reduce_run(keep=(0, 2, 4, 5, 8, 10), modules=(2, 5), shape=(6, 8), absent=[(1, 1)])
    with h5py.File(write(run)) as file:
        np.testing.assert_array_equal(file["entry/modules/data"][:], expected(run, "data", np.nan))


def test_whole_trains(reduce_run):
    options = {"name": "JUNGFRAU", "modules": (1, 2), "shape": (4, 6), "per_train": (2, 2, 2)}
    run = reduce_run(keep=(0, 1, 4, 5), absent=[(2, 1)], **options)
    with h5py.File(write(run)) as file:
        shots = run.source.shots
        np.testing.assert_array_equal(file["entry/data/trainId"][:], shots.train_id[run.kept])
        assert file["entry/data/pulseId"][:].tolist() == [0, 1, 0, 1]
        np.testing.assert_array_equal(file["entry/data/cellId"][:], shots.cell_id[run.kept])
        np.testing.assert_array_equal(file["entry/modules/data"][:], expected(run, "data", np.nan))


def test_nothing_kept(reduce_run):
    run = reduce_run(keep=(), modules=(2, 5), shape=(6, 8))
    path = write(run)
    with h5py.File(path) as file:
        assert file["entry/data/data"].shape == (0, 12, 8)
        assert file["entry/modules/mask"].shape == (0, 2, 6, 8)
    assert errors(path) == 0


def test_the_same_bytes(two_sequences):
    run = two_sequences(modules=(2, 5), shape=(6, 8))
    one = write(run, "CORR-R0035-A.nxs")
    time.sleep(1.1)  # HDF5 counts seconds
    two = write(run, "CORR-R0035-B.nxs")
    assert one.read_bytes() == two.read_bytes()


def test_what_is_said_of_the_run(reduce_run):
    run = reduce_run(modules=(2, 5), shape=(6, 8))
    with h5py.File(write(run)) as file:
        entry = file["entry"]
        begin = np.datetime64(int(run.source.trains.timestamp[0]), "ns")
        assert entry["start_time"].asstr()[()] == f"{np.datetime_as_string(begin, 'us')}Z"
        end = np.datetime64(int(run.source.trains.timestamp[-1]), "ns")
        assert entry["end_time"].asstr()[()] == f"{np.datetime_as_string(end, 'us')}Z"
        assert entry["sample/name"].asstr()[()] == "water"
        assert entry["instrument/name"].asstr()[()] == "European XFEL SPB"
        assert entry["instrument/beam/incident_wavelength"][()] == 10 * kev_to_nm(9.3)
        assert entry["instrument/detector/sensor_thickness"][()] == 500e-6
        assert entry["instrument/detector/distance"][()] == DISTANCE
        assert entry["shotsieve"].attrs["recipe"] == "[keep]\n"
    assert iso_time(1_500_000_000 * 10**9) == "2017-07-14T02:40:00.000000Z"


def test_a_run_without_times_says_so(reduce_run):
    run = reduce_run(modules=(2,), shape=(6, 8))
    for path in run.files:
        with h5py.File(path, "r+") as file:
            file["INDEX/timestamp"][:] = 0
    [note] = master(run, grid(1, (6, 8), (3, 4))).write(run.folder / "x.nxs", run.files)
    assert "start_time" in note


# ---------------------------------------------------------------------- pixel positions


def matrix(item):
    """The 4 x 4 matrix of one NeXus transformation, metres."""
    assert item.attrs["units"] == "m"
    vector, value = np.asarray(item.attrs["vector"], float), float(np.asarray(item[()]).ravel()[0])
    assert item.attrs["transformation_type"] == "translation"
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-14)
    out = np.eye(4)
    out[:3, 3] = value * vector + np.asarray(item.attrs.get("offset", np.zeros(3)))
    return out


def chain(file, path):
    """The product of a transformation and all that it depends on."""
    out = np.eye(4)
    while path != ".":
        item = file[path]
        out = matrix(item) @ out
        path = item.attrs["depends_on"]
    return out


def positions(file, group, corners):
    """Centres of pixels of a panel, from the file alone; `corners` are (ss, fs) in the panel."""
    fast, slow = group["fast_pixel_direction"], group["slow_pixel_direction"]
    assert fast.attrs["depends_on"] == slow.attrs["depends_on"]
    origin = chain(file, fast.attrs["depends_on"]) @ np.array([0, 0, 0, 1.0])
    steps = [matrix(item)[:3, 3] for item in (slow, fast)]
    return [origin[:3] + (ss + 0.5) * steps[0] + (fs + 0.5) * steps[1] for ss, fs in corners]


def assert_same_places(geometry, path, first_module=0):
    modules = range(first_module, first_module + geometry.modules)
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/instrument/detector")
        write_panels(group, geometry, modules, DISTANCE)
        panels = [g for g in group.values() if g.attrs.get("NX_class") == "NXdetector_module"]
        assert len(panels) == len(geometry.panels)
        where = geometry.positions() + np.array([0, 0, DISTANCE])
        # A look that does not go by names: each panel says where it lies in the slab.
        for panel in panels:
            (ss, fs), (rows, columns) = panel["data_origin"][:], panel["data_size"][:]
            corners = [
                (0, 0),
                (0, columns - 1),
                (rows - 1, 0),
                (rows - 1, columns - 1),
                (rows // 2, columns // 3),
            ]
            for (row, column), found in zip(corners, positions(file, panel, corners), strict=True):
                np.testing.assert_allclose(found, where[ss + row, fs + column], rtol=0, atol=1e-9)
    return len(panels)


REAL = [("agipd_mar18_v11.geom", "AGIPD1M", 128), ("agipd_p700000_r0030.geom", "AGIPD1M", 128)]
REAL += [("jf4m_vds.geom", "JUNGFRAU", 64)]


@pytest.mark.parametrize(("name", "detector", "panels"), REAL)
def test_positions_of_real_geometries(name, detector, panels, real_data, tmp_path):
    found = detectors.load(detector)
    geometry = Geometry.load(real_data / "geometry" / name, module_shape=found.shape)
    assert assert_same_places(geometry, tmp_path / "g.h5", found.first_module) == panels


EXAMPLES = [
    "AGIPD_1MGeometry",
    "AGIPD_500K2GGeometry",
    "LPD_1MGeometry",
    "LPD_MiniGeometry",
    "Epix100Geometry",
]
EXAMPLES += ["PNCCDGeometry"]


@pytest.mark.parametrize("kind", EXAMPLES)
def test_positions_of_all_detectors(kind, tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    made = getattr(extra_geom, kind)
    if kind == "LPD_MiniGeometry":
        geometry = made.from_module_positions([(0, 0), (0, 70)])
    else:
        geometry = made.example()
    assert_same_places(Geometry.from_extra_geom(geometry), tmp_path / "g.h5")


def test_positions_of_turned_panels(tmp_path):
    assert assert_same_places(grid(2, (6, 8), (3, 4)), tmp_path / "g.h5") == 8


def test_panels_with_names_that_nexus_has_not(tmp_path):
    text = "\n".join(["data = /d", "dim0 = %", "dim1 = ss", "dim2 = fs", "res = 5000"])
    for name, ss in (("a.b-c", 0), ("d", 3)):
        text += f"\n{name}/min_ss = {ss}\n{name}/max_ss = {ss + 2}\n{name}/min_fs = 0\n{name}/max_fs = 3\n"
        text += f"{name}/corner_x = {ss}\n{name}/corner_y = 1\n{name}/fs = x\n{name}/ss = y"
    assert_same_places(Geometry.from_text(text, module_shape=(6, 4)), tmp_path / "g.h5")


def test_the_reader_of_dxtbx_finds_the_same_places_and_frames(reduce_run):
    """nxmx is the package through which dxtbx (DIALS, cctbx) reads such files."""
    nxmx = pytest.importorskip("nxmx")
    run = reduce_run(modules=(2, 5), shape=(6, 8))
    geometry = grid(2, (6, 8), (3, 4))
    where = geometry.positions() + np.array([0, 0, DISTANCE])
    with h5py.File(write(run)) as file:
        [entry] = nxmx.NXmx(file).entries
        assert entry.definition == "NXmx"
        [detector] = entry.instruments[0].detectors
        assert detector.sensor_material == "Si"
        assert entry.samples[0].depends_on is None
        [data] = [d for d in entry.data if d.path.endswith("/data")]
        frames = data[data.signal]
        assert detector.pixel_mask.ndim == 3
        for module in detector.modules:
            origin = nxmx.get_cumulative_transformation(
                nxmx.get_dependency_chain(module.fast_pixel_direction.depends_on)
            )[0, :3, 3]
            steps = (module.slow_pixel_direction, module.fast_pixel_direction)
            half = sum(step.vector * step[()].to("mm").magnitude.item() / 2 for step in steps)
            ss, fs = module.data_origin
            np.testing.assert_allclose((origin + half) / 1000, where[ss, fs], rtol=0, atol=1e-9)
            slices = tuple(slice(a, a + n) for a, n in zip(module.data_origin, module.data_size, strict=True))
            np.testing.assert_array_equal(frames[3][slices], run.frames["data"].reshape(5, 12, 8)[3][slices])


# ---------------------------------------------------------------------- validators


def errors(path, application=True):
    """Errors that nexusformat finds: against the definition the file names, or against the base classes."""
    validate = pytest.importorskip("nexusformat.nexus.validate")
    validate.logger.setLevel(logging.CRITICAL)
    check = validate.validate_application if application else validate.validate_file
    _, found = check(str(path))
    return found


@pytest.mark.parametrize("maker", ["reduce_run", "two_sequences"])
def test_nexusformat_finds_no_error(maker, request):
    run = request.getfixturevalue(maker)(modules=(2, 5), shape=(6, 8), absent=[(2, 1)])
    assert errors(write(run)) == 0


@pytest.mark.parametrize(
    "what", ["entry/instrument/detector/sensor_material", "entry/source", "entry/start_time"]
)
def test_nexusformat_would_find_what_is_missing(what, reduce_run):
    path = write(reduce_run(modules=(2, 5), shape=(6, 8)))
    with h5py.File(path, "r+") as file:
        del file[what]
    assert errors(path) > 0


def test_axes_as_nexusformat_loads_them(reduce_run):
    nexus = pytest.importorskip("nexusformat.nexus")
    path = write(reduce_run(modules=(2, 5), shape=(6, 8)))
    root = nexus.nxload(str(path))
    data = root["entry/data"]
    assert data.nxsignal.nxname == "data"
    assert data.nxaxes[0].nxname == "frame"
    assert [axis.nxname for axis in root["entry/modules"].nxaxes[:2]] == ["frame", "module"]
    assert str(root["entry/definition"]) == "NXmx"


def test_the_check_of_virtual_datasets(two_sequences):
    pytest.importorskip("hdf5_vds_check")
    path = write(two_sequences(modules=(2, 5), shape=(6, 8)))

    def answer():
        command = [sys.executable, "-m", "hdf5_vds_check", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    found = answer()
    assert found.returncode == 0, found.stdout
    assert "All virtual data sources accessible" in found.stdout
    (path.parent / "CORR-R0035-AGIPD05-S00001.h5").unlink()
    assert "Access problems" in answer().stdout
