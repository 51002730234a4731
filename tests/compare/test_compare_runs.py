"""Our calibration beside corrected files: nothing is found where nothing is, and what is planted is named."""

from html import escape

import numpy as np
import pytest
import shotsieve
from shotsieve.compare import compare_runs
from shotsieve.compare.told import as_dict, text_of
from shotsieve.constants import Constants, Steps
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.reference.calibrate import calibrate_unfolded
from shotsieve.sources.run import open_run


@pytest.fixture
def compare(sim, corrected, tmp_path):
    """Write the corrected run and compare."""

    def run(**options):
        folder = corrected.write(tmp_path / "corrected")
        return compare_runs(sim.raw, folder, sim.constants, **{"backend": "cpu", **options})

    return run


def kinds(found):
    return [one.kind for one in found.findings]


def of_kind(found, kind):
    return [one for one in found.findings if one.kind == kind]


def test_what_is_the_same_is_the_same(compare, corrected, backend_name):
    found = compare(backend=backend_name)
    sums = found.statistics
    assert found.findings == []
    assert found.within()
    assert (found.shots, found.modules, len(found.trains)) == (4, (3, 4), 1)
    good = sum(np.isfinite(data).sum() for data in corrected.data.values())
    assert sums.moments[..., 0].sum() == sums.equal.sum() == good
    assert (sums.moments[..., 1:4] == 0).all()
    # All three stages are there, and the diagonal holds every pixel that has constants.
    assert (np.diagonal(sums.gains.sum(axis=0)) > 0).all()
    assert sums.gains.sum() == np.trace(sums.gains.sum(axis=0)[:, :3])
    assert (sums.bits[..., :2] == 0).all()
    assert "nothing differs" in text_of(found)


def test_extra_data_reads_the_corrected_run(corrected, tmp_path):
    """The files of this test are in the layout that the facility's own reader takes."""
    extra = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    run = extra.RunDirectory(corrected.write(tmp_path / "corrected"))
    detector = components.AGIPD1M(run, raw=False)
    assert sorted(detector.source_to_modno.values()) == [3, 4]
    data = detector.get_array("image.data").transpose("module", "train", "pulse", ...).values
    np.testing.assert_array_equal(data[0].reshape(corrected.data[3].shape), corrected.data[3])


def test_an_independent_float64_calibration_agrees(calibrated, sim, corrected, compare):
    """Values of another order of operations, without folding, are within the tolerance and not all equal."""
    source, words, _ = calibrated
    constants = sim.constants if isinstance(sim.constants, Constants) else Constants.open(sim.constants)
    words, rows = words[:4], constants.row_of_cell(source.shots.cell_id[:4])
    for at, module in enumerate(corrected.modules):
        arrays = {
            name: constants.load(name, module).reshape(-1, len(constants.cell_ids), 65536)
            for name in ("offset", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev", "bad_pixels")
        }
        result = calibrate_unfolded(
            words[:, at].reshape(len(words), 2, -1), rows, **arrays, low_medium_gap=True, set_min=True
        )
        pixels = result.pixels.reshape(-1, 512, 128).astype("f4")
        corrected.data[module] = np.where(np.isfinite(corrected.data[module]), pixels, np.nan)
        corrected.gain[module] = result.stage.reshape(-1, 512, 128).astype("u1")
    found = compare()
    assert found.findings == []
    assert found.statistics.equal.sum() < found.statistics.moments[..., 0].sum()


def test_a_wrong_offset_of_one_cell_is_named(compare, corrected):
    cell = corrected.cell[4] == 2
    corrected.data[4][cell] -= np.where(corrected.gain[4][cell] == 0, np.float32(0.5), np.float32(0))
    found = compare()
    [one] = of_kind(found, "offset")
    assert kinds(found) == ["offset"]
    assert (one.told["stage"], one.told["modules"], one.told["cells"]) == (0, [4], [2])
    assert one.told["mean"] == pytest.approx(0.5, rel=1e-3)
    assert one.text.startswith("high gain, module 4, cell 2: ours - theirs = 0.5")
    assert not found.within()
    shown = found._repr_html_()
    assert f"{found.shots:,} shots compared" in shown
    assert f"<li>{escape(one.text)}</li>" in shown
    # The quantiles say it too: 0 in the middle, half a keV for the eighth of pixels in that cell.
    stage = as_dict(found)["stages"][0]["difference"]["quantiles"]
    assert (stage["0.5"], stage["0.99"]) == (0, pytest.approx(0.5, rel=0.02))


def test_another_gain_of_a_stage_is_named(compare, corrected):
    for module in corrected.modules:
        corrected.data[module][corrected.gain[module] == 1] *= np.float32(1.02)
    found = compare()
    assert set(kinds(found)) == {"scale"}
    for one in found.findings:
        assert one.told["stage"] == 1
        assert one.told["mean"] == pytest.approx(1 / 1.02, rel=1e-4)
    assert {m for one in found.findings for m in one.told["modules"]} == {3, 4}


def test_swapped_gains_are_named(compare, corrected):
    rows = corrected.gain[3][:, 100, 20:60]
    swapped = rows == 0
    rows[swapped] = 1
    found = compare()
    [one] = of_kind(found, "gain")
    assert (one.told["ours"], one.told["theirs"], one.told["modules"]) == (0, 1, [3])
    # Pixels without constants have no stage to be compared.
    known = (corrected.mask[3][:, 100, 20:60] & 8) == 0
    assert one.told["pixels"] == (swapped & known).sum() > 0
    assert "high gain here and medium gain there" in one.text
    assert "first ss 100, fs 20" in one.text
    gains = as_dict(found)["gains"]
    assert gains["pixels"][0][1] == one.told["pixels"]
    assert gains["modules"]["4"][0][1] == 0


@pytest.mark.parametrize(("bit", "bad"), [(22, False), (9, True)])
def test_a_bit_of_the_mask_is_named(compare, corrected, bit, bad):
    before = corrected.mask[4].copy()
    corrected.mask[4][:, 63] |= np.uint32(1 << bit)
    found = compare()
    [one] = of_kind(found, "bit")
    added = (corrected.mask[4] != before).sum()
    assert (one.told["bit"], one.told["side"], one.told["pixels"]) == (bit, "there", added)
    assert one.told["modules"] == [4]
    assert bool(of_kind(found, "bad")) == bad
    if bad:
        newly = (np.isfinite(corrected.data[4]) & (corrected.mask[4] != before)).sum()
        assert of_kind(found, "bad")[0].told["pixels"] == newly


def test_a_bit_that_is_ours_alone_and_zeros_for_bad_pixels(compare, corrected):
    """The facility sets bad pixels to 0: they are bad by their mask, and not compared."""
    for module in corrected.modules:
        corrected.data[module] = np.nan_to_num(corrected.data[module])
    lost = corrected.mask[3] & 1 != 0
    corrected.mask[3][lost] &= ~np.uint32(1)
    found = compare()
    [one] = of_kind(found, "bit")
    assert (one.told["bit"], one.told["side"], one.told["pixels"]) == (0, "here", lost.sum())


def test_single_pixels_are_named(compare, corrected):
    where = np.argwhere(np.isfinite(corrected.data[3]).all(axis=0))[[5, 900]]
    for ss, fs in where:
        corrected.data[3][:, ss, fs] += 3
    found = compare()
    [one] = of_kind(found, "pixels")
    assert kinds(found) == ["pixels"]
    assert (one.told["module"], one.told["pixels"]) == (3, 2)
    assert one.told["first"] == where[0].tolist()
    assert one.told["mean"] == pytest.approx(-3, rel=1e-3)


def test_missing_frames_and_other_cells_are_named(compare, corrected):
    for values in (
        corrected.data,
        corrected.gain,
        corrected.mask,
        corrected.train,
        corrected.pulse,
        corrected.cell,
    ):
        values[4] = values[4][:-2]
    corrected.cell[3][0] = 3
    found = compare()
    assert kinds(found)[:2] == ["cells", "shots"]
    assert found.findings[1].text == "module 4: 2 frames of these trains are in the raw run only"
    assert found.findings[0].told == {"module": 3, "frames": 1}
    assert not found.within(1.0)


def test_modules_and_trains_of_one_run_alone_are_said(sim, whole, tmp_path):
    """A comparison of what both have must not look like one of all."""
    for values in (whole.data, whole.gain, whole.mask, whole.train, whole.pulse, whole.cell):
        values[4] = values[4][4:8]
        values[3] = values[3][4:8]
    whole.modules = [3]
    folder = whole.write(tmp_path / "corrected")
    found = compare_runs(sim.raw, folder, sim.constants, sample=0, backend="cpu")
    assert (found.modules, found.shots) == ((3,), 4)
    [one] = found.findings
    assert one.told == {"module": 4, "side": "raw", "frames": 4}
    assert not found.within(1.0)
    first, last = sorted(
        {int(train) for train in open_run(sim.raw).shots.train_id} - {int(whole.train[3][0])}
    )
    note = f"trains in the raw run only, which are not compared: {first} to {last} (2)"
    assert note in found.notes
    assert f"note: {note}" in text_of(found)
    # Asked for, they are what is compared.
    asked = compare_runs(sim.raw, folder, sim.constants, trains=found.trains, modules=[3], backend="cpu")
    assert asked.findings == []
    assert asked.within()
    assert not any("not compared" in note for note in asked.notes)


def test_nothing_to_compare_is_no_agreement(compare, corrected):
    for module in corrected.modules:
        corrected.mask[module][:] = 1
    found = compare()
    assert found.findings[0].kind == "nothing"
    assert not found.within(1.0)
    assert "nothing differs" not in text_of(found)


def test_without_gain_and_mask(compare, corrected):
    corrected.gain = corrected.mask = None
    found = compare()
    assert found.findings == []
    assert not found.statistics.gains.any()
    text = text_of(found)
    assert "the corrected files have none" in text
    assert "no gain and no mask" in text


def test_a_module_without_a_mask_is_alone(compare, corrected):
    first, *others = corrected.modules
    corrected.mask[others[0]][:, 63] |= np.uint32(1 << 16)
    del corrected.mask[first]
    found = compare()
    assert (
        f"corrected run: files without a mask, so that none is compared there: module {first}" in found.notes
    )
    assert found.corrected["mask"]
    with_bits = found.statistics.bits.any(axis=(1, 2))
    assert dict(zip(found.modules, with_bits.tolist(), strict=True)) == {m: m != first for m in found.modules}
    assert "bit" in {one.kind for one in found.findings}


def test_integers_of_photons(compare, corrected, sim, calibrated):
    source, words, _ = calibrated
    steps = Steps(round_photons=True)
    told = {"steps": steps, "unit": "photon", "photon_energy_kev": 9.3, "backend": "cpu"}
    found = shotsieve.Calibrator(sim.constants, corrected.modules, **told)(
        words[:4], source.shots.cell_id[:4], ["data", "mask"]
    )
    for at, module in enumerate(corrected.modules):
        corrected.data[module] = np.nan_to_num(found.data[:, at]).astype("i2")
    recipe = {"calibrate": {"unit": "photon", "round_photons": True, "photon_energy": "9.3 keV"}}
    result = compare(recipe=recipe)
    assert result.corrected["dtype"] == "int16"
    assert result.unit == "photon"
    assert result.findings == []


def test_only_the_trains_and_modules_asked_for(sim, whole, tmp_path):
    folder = whole.write(tmp_path / "corrected")
    trains = np.unique(whole.train[3])
    told = {"constants": sim.constants, "backend": "cpu"}
    found = compare_runs(sim.raw, folder, trains=trains[1:2], modules=[4], **told)
    assert (found.trains.tolist(), found.modules, found.shots) == (trains[1:2].tolist(), (4,), 4)
    assert compare_runs(sim.raw, folder, sample=2, **told).trains.tolist() == trains[[0, 2]].tolist()
    assert len(compare_runs(sim.raw, folder, sample=0, **told).trains) == 3
    with pytest.raises(BadInput, match="train 5 is not in both runs"):
        compare_runs(sim.raw, folder, trains=[5], **told)
    with pytest.raises(BadInput, match=r"module 7 is not in both runs; those in both: \[3, 4\]"):
        compare_runs(sim.raw, folder, modules=[7], **told)


def test_what_is_no_corrected_run_is_refused(sim, corrected, tmp_path):
    with pytest.raises(BadInput, match=r"shape .* corrected data of AGIPD1M .*Is this the corrected run"):
        compare_runs(sim.raw, sim.raw, sim.constants)
    for module in corrected.modules:
        corrected.train[module] += np.uint64(1000)
    other = corrected.write(tmp_path / "other")
    with pytest.raises(BadInput, match=r"none in common\. Are they of the same run"):
        compare_runs(sim.raw, other, sim.constants)
    with pytest.raises(BadInput, match="does not exist"):
        compare_runs(sim.raw, tmp_path / "nothing", sim.constants)
    for path in other.iterdir():
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UnreadableData, match="truncated or damaged"):
        compare_runs(sim.raw, other, sim.constants)


def test_no_memory_for_the_whole_run(sim, whole, tmp_path, monkeypatch):
    """Frames of the corrected run come a block at a time."""
    from shotsieve.compare.corrected import CorrectedRun

    most, read = [0], CorrectedRun.read

    def counted(self, module, at):
        most[0] = max(most[0], len(at))
        return read(self, module, at)

    monkeypatch.setattr(CorrectedRun, "read", counted)
    compare_runs(sim.raw, whole.write(tmp_path / "corrected"), sim.constants, backend="cpu")
    assert most[0] <= 3  # one memory cell of the trains of a block
