"""Bragg peaks in the pipeline: the same as the array API finds in the calibrated frames, decided, written."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine import BLOCK_BYTES
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry
from shotsieve.peak_list import PeakList

from .spots import MODULES, PEAKS, RULE, Run


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("spots"))


@pytest.fixture(scope="module")
def everything(spots, tmp_path_factory):
    """The run reduced without a rule: every frame and every peak."""
    out = tmp_path_factory.mktemp("all") / "r0001"
    return spots.reduce(out, write={"content": "corrected", "cxi": True})


def test_the_same_peaks_as_the_array_api_finds(spots, everything, read_module):
    """The engine searches shots with candidates only, in passes of a few; frames are those written."""
    slab = np.full((len(everything.table), 16, 512, 128), np.nan, np.float32)
    for module in MODULES:
        slab[:, module] = read_module(everything, module)["image.data"]
    geometry = Geometry.load(spots.geometry, module_shape=(512, 128))
    params = {name: value for name, value in PEAKS.items() if name != "threshold"}
    threshold = np.float32(4.3 * spots.parameters.photon_energy_kev)
    expected = shotsieve.peakfinder8(
        slab.reshape(-1, 8192, 128),
        radius=geometry.radius("float"),
        panels=geometry.rectangles(),
        threshold=float(threshold),
        backend="cpu",
        **params,
    )
    found = PeakList.open(everything.out)
    assert found.n_peaks.tolist() == expected.n_peaks.tolist()
    assert np.array_equal(found.rejected, expected.rejected)
    for shot in range(len(found)):
        assert np.array_equal(found.records(shot), expected[shot])
    assert found.n_peaks.sum() > 100
    low, high = everything.table.bounds("n_peaks[3]")
    assert (low == high).all()
    assert low.sum() == np.count_nonzero(found.module == 3)


def test_hits_are_kept_and_blanks_dropped(spots, everything, tmp_path):
    result = spots.reduce(tmp_path / "r", keep={"rule": "n_peaks[3] + n_peaks[4] >= 20"})
    hit = spots.strength > 0
    assert 0 < hit.sum() < len(hit)
    assert np.array_equal(result.table.fate == 0, hit)
    # Two of sixteen modules recorded: the others might have had any number.
    rule = spots.reduce(tmp_path / "all", keep={"rule": RULE, "undecided": "drop"})
    assert np.array_equal(rule.table.fate == 0, hit)
    assert set(rule.table.verdict[~hit].tolist()) == {-1}
    assert any(note.startswith("peaks: ") and "rejected" in note for note in everything.accounts.notes)


def test_thin_bins_are_named_in_the_summary(everything):
    """Two modules leave the outermost rings a few pixels; the reader of the accounts is told, once."""
    notes = [note for note in everything.accounts.notes if "fewer than 30 good pixels" in note]
    assert len(notes) == 1
    assert "radius" in notes[0]
    assert notes[0] in everything.accounts.summary()


def test_every_peak_knows_its_place(spots, everything):
    found = PeakList.open(everything.out)
    geometry = Geometry.load(spots.geometry, module_shape=(512, 128))
    panels = geometry.rectangles()[found.panel]
    ss = found.slab_ss()
    assert ((ss >= panels[:, 0]) & (ss <= panels[:, 1] - 1)).all()
    assert ((found.fs >= panels[:, 2]) & (found.fs <= panels[:, 3] - 1)).all()
    # q of the pixel nearest to the peak, which is at most 0.71 pixels away.
    q = geometry.momentum_transfer(spots.parameters.distance_m, spots.parameters.photon_energy_kev)
    near = q[np.rint(ss).astype(int), np.rint(found.fs).astype(int)]
    step = q[1, 0] - q[0, 0], q[0, 1] - q[0, 0]
    assert np.abs(found.q - near).max() < 1.5 * np.abs(step).max() + 1e-9


def test_the_cxi_file_holds_the_kept_frames_and_their_peaks(everything, read_module):
    [path] = everything.out.glob("*.cxi")
    found = PeakList.open(everything.out)
    with h5py.File(path) as file:
        data = file["entry_1/data_1/data"]
        count = file["entry_1/result_1/nPeaks"][()]
        fs = file["entry_1/result_1/peakXPosRaw"][()]
        assert data.shape == (len(everything.table), 8192, 128)
        assert count.tolist() == found.n_peaks.tolist()
        for module in MODULES:
            written = read_module(everything, module)["image.data"]
            slab = data[:, 512 * module : 512 * (module + 1)]
            assert np.array_equal(slab, written, equal_nan=True)
        for shot in range(len(found)):
            assert np.array_equal(fs[shot, : count[shot]], found.records(shot)["fs"].astype("f4"))
        assert (file["entry_1/instrument_1/detector_1/mask"][0, :512] == 0xFFFFFFFF).all()
    for end in (".geom", ".lst", ".indexamajig.sh"):
        assert path.with_suffix(end).is_file()


@pytest.mark.parametrize("block_bytes", [BLOCK_BYTES, 1])
def test_backends_and_blocks_change_no_byte(spots, everything, backend_name, block_bytes, tmp_path):
    if backend_name == "cpu" and block_bytes == BLOCK_BYTES:
        pytest.skip("the others are compared with it")
    sections = {"write": {"content": "corrected", "cxi": True}}
    result = spots.reduce(tmp_path / "r", backend_name, block_bytes, **sections)
    for name in ("shotsieve/table.h5", "shotsieve/peaks.h5"):
        assert (result.out / name).read_bytes() == (everything.out / name).read_bytes(), name
    [path], [expected] = result.out.glob("*.cxi"), everything.out.glob("*.cxi")
    assert path.read_bytes() == expected.read_bytes()


def test_fewer_peaks_are_stored_than_counted(spots, everything, tmp_path):
    result = spots.reduce(tmp_path / "r", measure={"peaks": {**PEAKS, "max_num_peaks": 3}})
    few, every = PeakList.open(result.out), PeakList.open(everything.out)
    assert np.array_equal(few.n_peaks, every.n_peaks)
    assert np.array_equal(np.diff(few.first), np.minimum(every.n_peaks, 3))
    assert result.table == everything.table
    assert any("more than the 3" in note for note in result.accounts.notes)


def test_a_mask_and_other_panels(spots, everything, tmp_path):
    mask = np.ones((16, 512, 128), bool)
    mask[3] = False
    np.save(tmp_path / "mask.npy", mask)
    peaks = {**PEAKS, "mask": str(tmp_path / "mask.npy"), "panels": "512x128", "radius": "crystfel"}
    result = spots.reduce(tmp_path / "r", measure={"peaks": peaks})
    found = PeakList.open(result.out)
    assert set(found.module.tolist()) == {4}
    assert set(found.panel.tolist()) == {4}


WRONG = {
    "no geometry": ({"detector": [{"name": "AGIPD1M"}]}, "[[detector]] geometry"),
    "no threshold": ({"measure": {"peaks": {}}}, "[measure.peaks] threshold is missing"),
    "no unit": ({"measure": {"peaks": {"threshold": "4.3"}}}, "[measure.peaks] threshold"),
    "ADU": ({"measure": {"peaks": {**PEAKS, "threshold": "40 ADU"}}}, "[measure.peaks] threshold"),
    "min above max": ({"measure": {"peaks": {**PEAKS, "min_pix_count": 31}}}, "min_pix_count = 31"),
    "range": ({"measure": {"peaks": {**PEAKS, "min_res": 9.0, "max_res": 9.0}}}, "min_res"),
    "panels": ({"measure": {"peaks": {**PEAKS, "panels": "60x128"}}}, "60 x 128"),
    "panel word": ({"measure": {"peaks": {**PEAKS, "panels": "asics"}}}, "asics"),
    "no mask file": ({"measure": {"peaks": {**PEAKS, "mask": "nowhere.npy"}}}, "nowhere.npy"),
    "raw cxi": ({"write": {"content": "raw", "cxi": True}}, "cxi"),
    "cxi alone": ({"measure": {"lit": {}}, "write": {"cxi": True}}, "[measure.peaks]"),
    "no calibration": ({"calibrate": None}, "[calibrate]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input(spots, what, tmp_path):
    changes, text = WRONG[what]
    given = {**spots.recipe(), **changes}
    given = {name: section for name, section in given.items() if section is not None}
    with pytest.raises(BadInput) as error:
        shotsieve.reduce(spots.raw, given, tmp_path / "r", constants=spots.constants, backend="cpu")
    assert text in str(error.value)
    assert not (tmp_path / "r").exists()


def test_the_geometry_of_another_detector(spots, real_data, tmp_path):
    given = spots.recipe()
    given["detector"][0]["geometry"] = str(real_data / "geometry" / "jf4m_vds.geom")
    with pytest.raises(BadInput, match="module"):
        shotsieve.reduce(spots.raw, given, tmp_path / "r", constants=spots.constants, backend="cpu")


def test_a_wrong_mask(spots, tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((8, 512, 128), bool))
    peaks = {**PEAKS, "mask": str(tmp_path / "mask.npy")}
    with pytest.raises(BadInput, match=r"\(8, 512, 128\).*True where a pixel may be used"):
        spots.reduce(tmp_path / "r", measure={"peaks": peaks})


def test_a_shot_that_could_not_be_searched_is_unknown(tmp_path_factory, tmp_path):
    """Two of four memory cells have no constants: not 0 peaks, which would be a measurement."""
    run = Run(tmp_path_factory.mktemp("half"), constants_without_cells=(2, 3))
    result = run.reduce(tmp_path / "r", keep={"rule": "n_peaks[3] < 5"}, write={"cxi": True})
    found = PeakList.open(result.out)
    searched = result.table.cell_id < 2
    assert (found.n_peaks[~searched] == -1).all()
    assert (found.n_peaks[searched] >= 0).all()
    assert (result.table.verdict[~searched] == -1).all()
    [path] = result.out.glob("*.cxi")
    with h5py.File(path) as file:
        full = file["entry_1/result_1/nPeaksFull"][()]
    assert np.array_equal(full, found.n_peaks[result.table.fate == 0])


@pytest.mark.parametrize("stage_m", [0.0, -0.5])
def test_the_position_of_a_stage_may_be_no_distance(spots, stage_m, tmp_path):
    text = "\n".join(line for line in spots.geometry.read_text().splitlines() if not line.startswith("clen"))
    (tmp_path / "no_clen.geom").write_text(text + "\n")
    source = shotsieve.open_run(spots.raw)
    source.mode = dataclasses.replace(source.mode, distance_m=stage_m)
    given = spots.recipe()
    given["detector"][0]["geometry"] = str(tmp_path / "no_clen.geom")
    result = shotsieve.reduce(source, given, tmp_path / "r", constants=spots.constants, backend="cpu")
    assert np.isnan(PeakList.open(result.out).q).all()
    assert any("which is no distance" in note for note in result.accounts.notes)


def test_whole_photons_get_a_noise_floor(spots, tmp_path):
    photons = {"unit": "photon", "round_photons": True}
    result = spots.reduce(tmp_path / "r", calibrate=photons)
    settings = json.loads((result.out / "shotsieve" / "settings.json").read_text())
    assert settings["peaks.noise_floor"] == 0.1
    assert any("noise_floor is set to 0.1 photon" in note for note in result.accounts.notes)
    hit = spots.strength > 0
    assert (PeakList.open(result.out).n_peaks[hit] >= 20).all()
    own = spots.reduce(
        tmp_path / "own", calibrate=photons, measure={"peaks": {**PEAKS, "noise_floor": "0.3 photon"}}
    )
    settings = json.loads((own.out / "shotsieve" / "settings.json").read_text())
    assert settings["peaks.noise_floor"] == 0.3
    assert {"peaks.geometry_sha256", "peaks.distance_m", "peaks.threshold", "peaks.unit"} <= settings.keys()


def test_peaks_of_shots_that_are_decided_about_late(spots, tmp_path):
    """The second pass searches nothing: its peaks are those that the first one found."""
    ranked = {"order": {"kind": "rank", "of": "n_peaks[3]"}}
    write = {"write": {"cxi": True}}
    late = spots.reduce(tmp_path / "late", derive=ranked, keep={"rule": "order < 0.4"}, **write)
    kept = late.table.fate == 0
    assert 0 < kept.sum() < len(kept)
    names = tmp_path / "kept.txt"
    pairs = zip(late.table.train_id[kept], late.table.pulse_id[kept], strict=True)
    names.write_text("".join(f"{train} {pulse}\n" for train, pulse in pairs))
    named = {"named": {"kind": "list", "file": str(names)}}
    early = spots.reduce(tmp_path / "early", derive=named, keep={"rule": "named == 1"}, **write)
    [mine], [theirs] = late.out.glob("*.cxi"), early.out.glob("*.cxi")
    with h5py.File(mine) as a, h5py.File(theirs) as b:
        for name in ("nPeaks", "peakXPosRaw", "peakYPosRaw", "peakTotalIntensity"):
            key = f"entry_1/result_1/{name}"
            np.testing.assert_array_equal(a[key][()], b[key][()])
        assert a["entry_1/result_1/nPeaks"][()].sum() > 0


def test_the_users_mask_is_in_the_cxi_file(spots, tmp_path):
    mask = np.ones((8192, 128), bool)
    mask[3 * 512 + 7, 5] = False
    np.save(tmp_path / "mask.npy", mask)
    peaks = {**PEAKS, "mask": str(tmp_path / "mask.npy")}
    result = spots.reduce(tmp_path / "r", measure={"peaks": peaks}, write={"cxi": True})
    [path] = result.out.glob("*.cxi")
    with h5py.File(path) as file:
        bits = file["entry_1/data_1/mask"][:, 3 * 512 : 4 * 512]
    user = bits & np.uint32(1 << 30) != 0
    assert user[:, 7, 5].all()
    assert user.sum() == len(user)


def test_nothing_kept_and_replaced(spots, tmp_path):
    """A CXI file without frames; and an output with CXI files that is overwritten by one without."""
    none = {"keep": {"rule": "n_peaks[3] >= 100000"}, "write": {"cxi": True}}
    result = spots.reduce(tmp_path / "r", **none)
    [path] = result.out.glob("*.cxi")
    with h5py.File(path) as file:
        assert file["entry_1/data_1/data"].shape == (0, 8192, 128)
    again = shotsieve.reduce(
        spots.raw, spots.recipe(), tmp_path / "r", constants=spots.constants, backend="cpu", overwrite=True
    )
    assert sorted(file.name for file in again.out.iterdir()) == ["shotsieve"]


def test_a_cxi_file_for_every_part(spots, everything, tmp_path):
    """One for the frames of each part; one geometry, list and script for all of them."""
    result = spots.reduce(tmp_path / "r", write={"cxi": True, "trains_per_file": 1})
    paths, [one] = sorted(result.out.glob("*.cxi")), everything.out.glob("*.cxi")
    assert len(paths) == len(np.unique(everything.table.train_id)) > 1
    assert len(list(result.out.glob("*.geom"))) == len(list(result.out.glob("*.sh"))) == 1
    [listed] = result.out.glob("*.lst")
    assert listed.read_text().split() == [f"./{path.name}" for path in paths]
    [geom], [theirs] = result.out.glob("*.geom"), everything.out.glob("*.geom")
    assert geom.read_text() == theirs.read_text()
    with h5py.File(one) as whole:
        for name in ("trainId", "pulseId", "data_1/data", "data_1/mask", "result_1/nPeaks"):
            parts = []
            for path in paths:
                with h5py.File(path) as file:
                    parts.append(file[f"entry_1/{name}"][()])
            assert np.array_equal(
                np.concatenate(parts), whole[f"entry_1/{name}"][()], equal_nan=name.endswith("data")
            )
    assert check(result.out).ok
