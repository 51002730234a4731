"""Machine data that is missing, contradictory or odd: unknown columns or an error, never a shifted index."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.simulate.machine import decoded, device_names
from shotsieve.simulate.run import run_meta
from shotsieve.sources.annotate import AnnotateParams, source_and_key
from shotsieve.sources.bunches import PulsePattern
from shotsieve.sources.exposure import Alignment, shift_by_delay, stride_of
from shotsieve.sources.litframes import compute_lit_frames, guess_missing
from shotsieve.write.exdf_file import ExdfFile

TRIGGER = "SPB_EXP_SYS/TSYS/UTC_1_S3"


def add_file(run, name, write):
    s = run.schedule
    stamps = {"train_ids": s.train_id, "timestamps": s.timestamp, "meta": run_meta(run.parameters)}
    with ExdfFile(run.folder / name, **stamps) as exdf:
        write(exdf)


def unknown(columns):
    return all(np.isnan(columns[name]).all() for name in ("xray", "n_pulses", "pulse_energy", "data_frame"))


def test_sources_that_contradict_each_other(machine_run):
    run = machine_run(dark_cells=(4,))
    words = run.schedule.beam.words.copy()
    words[1] = np.roll(words[1], 4)  # a decoder that lags one frame in the second train
    words[3, 0] |= np.uint32(1 << 5)  # what is not about X-ray pulses is no contradiction
    decoder = device_names(run.parameters)["decoder"]
    values = decoded(run.parameters, words)
    add_file(run, "RAW-R0001-DA02-S00000.h5", lambda e: e.control(decoder, values, "PulsePatternDecoder"))
    reader = run.reader()
    columns, s = reader.columns(), run.schedule
    wrong = s.train == 1
    for name in ("n_pulses", "pulse_energy", "xray", "data_frame"):
        assert np.isnan(columns[name][wrong]).all(), name
    np.testing.assert_array_equal(columns["n_pulses"][~wrong], s.n_pulses[~wrong])
    np.testing.assert_array_equal(columns["pulse_energy"][~wrong], s.pulse_energy[~wrong])
    assert any(f"tell different X-ray pulses of trains {s.train_id[1]}" in note for note in reader.notes)
    # Naming one of them settles it.
    chosen = run.reader(time_server=device_names(run.parameters)["time_server"]).columns()
    np.testing.assert_array_equal(chosen["n_pulses"], s.n_pulses)


def test_no_machine_data_at_all(machine_run):
    reader = machine_run(xgm=False, time_server=False).reader()
    assert unknown(reader.columns())
    assert any("no time server" in note for note in reader.notes)
    with pytest.raises(BadInput, match="time_server"):
        machine_run("r2").reader(time_server="SPB_RR_UTC/TSYS/OTHER").columns()
    with pytest.raises(BadInput, match="xgm"):
        machine_run("r3").reader(xgm="SA1_XTD9_XGM/XGM/DOOCS").columns()
    with pytest.raises(BadInput, match="lit-frame finder"):
        machine_run("r4").reader(pattern="litfrm").columns()


def test_an_unknown_instrument(machine_run):
    reader = machine_run().reader()
    reader.name = "XYZ_DET_AGIPD1M-1"
    assert unknown(reader.columns())
    assert any("beamline of XYZ_DET_AGIPD1M-1 is not known" in note for note in reader.notes)


def test_the_machine_data_of_another_beamline(machine_run):
    """The XGM of SASE2 says nothing of an SPB run; the time server tells of all beamlines."""
    reader = machine_run(detector_name="MID_DET_AGIPD1M-1").reader()
    reader.name = "SPB_DET_AGIPD1M-1"
    columns = reader.columns()
    assert (columns["n_pulses"] == 0).all()
    assert (columns["pulse_energy"] == 0).all()
    assert any("no XGM" in note for note in reader.notes)


def test_a_rate_that_fits_no_pattern(machine_run):
    reader = machine_run().reader()
    reader.mode = dataclasses.replace(reader.mode, rate_mhz=3.0)
    assert unknown(reader.columns())
    assert any("3 MHz fits no pulse pattern" in note for note in reader.notes)
    assert stride_of(0.564) == 8
    said = machine_run("r2").reader(stride=4)
    said.mode = dataclasses.replace(said.mode, rate_mhz=3.0)
    np.testing.assert_array_equal(said.columns()["n_pulses"], machine_run("r3").schedule.n_pulses)


def test_an_xgm_that_lists_fewer_pulses(machine_run):
    run = machine_run(n_cells=20)
    from shotsieve.sources import pulses

    reader = run.reader()
    whole = reader.columns()["pulse_energy"]
    read = pulses.read_energies

    def short(*arguments):
        found = read(*arguments)
        return dataclasses.replace(found, energy=found.energy[:, :9], sigma=found.sigma[:, :9])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulses, "read_energies", short)
        cut = run.reader().columns()["pulse_energy"]
    assert np.isnan(cut).any()
    known = ~np.isnan(cut)
    np.testing.assert_array_equal(cut[known], whole[known])
    assert (whole[~known] > 0).all()


def test_pulses_between_two_frames_and_changes_are_said(machine_run):
    run = machine_run(
        rate_mhz=1.1, pulses_per_frame=3, integration_time=22, later_from=3, later_dark_cells=(4,)
    )
    reader = run.reader()
    columns = reader.columns()
    assert columns["n_pulses"].max() == 1
    assert any("fall between the exposures" in note for note in reader.notes)
    first = run.schedule.train_id[3]
    assert any(f"changes 1 times (2 patterns), from trains {first} on" in note for note in reader.notes)


def test_trains_of_the_finder_are_guessed_only_when_asked(machine_run):
    run = machine_run(litfrm=True, litfrm_misses=(2,), dark_cells=(4,))
    s = run.schedule
    gone = s.train == 2
    assert np.isnan(run.reader(pattern="litfrm").columns()["n_pulses"][gone]).all()
    reader = run.reader(pattern="litfrm", guess_missing=True)
    columns = reader.columns()
    np.testing.assert_array_equal(columns["n_pulses"], s.n_pulses)
    lit = s.n_pulses > 0
    assert np.isnan(columns["pulse_energy"][gone & lit]).all()
    assert (columns["pulse_energy"][gone & ~lit] == 0).all()
    assert any("guessed from the trains around" in note for note in reader.notes)


def test_guesses_follow_patterns_that_alternate():
    """A B A B: the missing train is not what both of its neighbours are."""
    trains = np.array([10, 11, 12, 14, 15, 16, 17], "u8")
    words = np.zeros((len(trains), 9), np.uint32)
    words[:, 0] = 4 << 18
    words[trains % 2 == 0, 2] = 4 << 18
    pattern = PulsePattern.make(trains, words, "server")
    lit = compute_lit_frames(pattern, None, 1, Alignment(1, 1, 1, 4))
    filled, guessed = guess_missing(lit, np.arange(10, 18, dtype="u8"))
    assert guessed.tolist() == [13]
    assert filled.train_id.tolist() == list(range(10, 18))
    odd, even = filled.n_pulses[filled.train_id == 11][0], filled.n_pulses[filled.train_id == 10][0]
    assert filled.n_pulses[3].tolist() == odd.tolist() != even.tolist()
    assert len(filled.master) == len(filled.train_id)
    # Where the pattern changes at the gap nobody can know.
    words[3:, 2] = 4 << 18
    words[:3, 2] = 0
    step = compute_lit_frames(PulsePattern.make(trains, words, "server"), None, 1, Alignment(1, 1, 1, 4))
    assert guess_missing(step, np.array([13], "u8"))[1].tolist() == []


def test_edge_case_17(machine_run):
    """Of calibration.md, section 10: beside what the comparison with EXtra-redu draws at random."""
    late = machine_run("late", first_slot=2000, n_cells=20, rate_mhz=4.5)
    np.testing.assert_array_equal(late.reader().columns()["n_pulses"], late.schedule.n_pulses)
    slow = machine_run("slow", rate_mhz=0.5, integration_time=60, pulses_per_frame=3)
    columns = slow.reader().columns()
    assert columns["n_pulses"].max() == 3
    np.testing.assert_allclose(columns["pulse_energy"], slow.schedule.pulse_energy, rtol=1e-12)
    two = machine_run("two", rate_mhz=1.1, integration_time=44, pulses_per_frame=2).reader().columns()
    assert two["n_pulses"].max() == 2
    # More frames than there is memory: the detector has 352.
    assert machine_run("many").reader().lit_frames(400).n_pulses.shape[1] == 352
    dark = machine_run("dark", dark_trains=(0, 1, 2, 3, 4)).reader()
    none = dark.columns()
    assert (none["n_pulses"] == 0).all()
    assert (none["data_frame"] == 0).all()
    run = machine_run("shut")
    pattern = PulsePattern.make(run.schedule.train_id, run.schedule.beam.words, "server")
    align = Alignment(4, 1, 4, 10)
    shut = compute_lit_frames(pattern, None, 1, align, shutter_open=False)
    assert (shut.n_pulses == 0).all()
    assert not shut.data_frame.any()
    darkness = compute_lit_frames(pattern, None, 1, align, xray_run=False)
    assert darkness.data_frame.all()
    assert (darkness.n_pulses > 0).any()


def test_alignment_by_the_delay_of_the_trigger(machine_run, rng):
    """The same frames as EXtra-redu finds, wherever the trigger is."""
    litfrm = pytest.importorskip("extra_redu.litfrm.agipd_offline")
    for number, delay in enumerate(rng.integers(-200, 200, 6).tolist()):
        run = machine_run(f"r{number}", n_cells=30, dark_cells=(7, 9), integration_time=44)
        trigger = {"backTrg3.event": np.int32(180), "backTrg3.delay": np.int32(5000 + delay)}
        add_file(run, "RAW-R0001-DA02-S00000.h5", lambda e, t=trigger: e.control(TRIGGER, t))
        reader = run.reader(align="reference_delay", reference_delay=5000.0, reference_frame=2,
                            reference_rate_mhz=1.1)  # fmt: skip
        ours = reader.lit_frames().facility_arrays()
        names = device_names(run.parameters)
        reference = litfrm.ReferenceDelay(5000, 0, 2, 1.1, 0.0)
        finder = litfrm.make_litframe_finder("SPB", run.extra(), ref_delays={180: reference})
        finder.alignMethod = litfrm.AVal("by reference delay")
        finder.useDistanceDelay = False
        finder._get_event_pulse = {180: lambda pulses: 0}
        finder.bunch_pattern_id = f"{names['time_server']}:outputBunchPattern"
        finder.xgm_id = f"{names['xgm']}:output"
        theirs = finder.process().output
        for key in ("nPulsePerFrame", "energyPerFrame", "masterPulseId", "xgmPulseId", "dataFramePattern"):
            np.testing.assert_allclose(ours[key], getattr(theirs, key), rtol=1e-6, err_msg=f"{delay} {key}")
        assert any("aligned by the delay of SPB_EXP_SYS/TSYS/UTC_1_S3" in note for note in reader.notes)


def test_a_detector_that_was_moved_sees_the_light_later(machine_run):
    """By EXtra-redu's formula: 66.41 m are 24 ticks of 9.23 ns, one slot."""
    assert shift_by_delay(5000, 1, 4, 5000) == 4
    assert shift_by_delay(5000, 1, 4, 5000, nearer_m=66.41) == 3
    assert shift_by_delay(5000, 1, 4, 5000, nearer_m=-66.41) == 5
    run = machine_run(distance_m=1.6)
    add_file(
        run, "RAW-R0001-DA02-S00000.h5", lambda e: e.control(TRIGGER, {"backTrg3.delay": np.int32(5000)})
    )
    options = {"align": "reference_delay", "reference_delay": 5000.0, "reference_rate_mhz": 1.1}
    same = run.reader(**options, reference_distance_m=1.6).columns()["n_pulses"]
    np.testing.assert_array_equal(same, run.schedule.n_pulses)
    # 68.01 m away when it was aligned: the pulse now falls a slot earlier, out of an exposure of one slot.
    nearer = run.reader(**options, reference_distance_m=68.01).columns()["n_pulses"]
    assert not nearer.any()


def test_alignment_that_cannot_be(machine_run):
    delay = {"align": "reference_delay", "reference_delay": 5000.0}
    for name, options, words in (
        ("a", {}, "does not hold the trigger"),
        ("b", {"trigger": "SPB/TIMER/A:key"}, "does not hold the trigger"),
    ):
        with pytest.raises(BadInput, match=words):
            machine_run(name).reader(**delay, **options).columns()
    with pytest.raises(BadInput, match="trigger of FXE_DET_AGIPD1M-1 is not known"):
        machine_run("c", detector_name="FXE_DET_AGIPD1M-1").reader(**delay).columns()


def test_slow_data_is_joined_by_train(machine_run):
    run = machine_run(delays=(0.5, 1.5))
    names, s = device_names(run.parameters), run.schedule
    columns = run.reader(
        delay=f"{names['delay']}:actualPosition", columns={"flux": f"{names['xgm']}:pulseEnergy.photonFlux"}
    ).columns()
    np.testing.assert_array_equal(columns["delay"], np.where(s.train % 2 == 0, 0.5, 1.5))
    assert (columns["flux"] == run.parameters.pulse_energy_uj).all()
    for text, words in (
        ("SPB_LAS_DELAY/MOTOR/STAG:actualPosition", "Did you mean 'SPB_LAS_DELAY/MOTOR/STAGE'"),
        (f"{names['delay']}:position", "no key 'position'"),
        (f"{names['xgm']}:output:data.intensityTD", "1000 values"),
    ):
        with pytest.raises(BadInput, match=words):
            run.reader(columns={"x": text}).columns()
    with pytest.raises(BadInput, match="source:key"):
        source_and_key("MOTOR", "delay")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": "server"}, "expected one of auto"),
        ({"align": "delay"}, "expected one of first_pulse"),
        ({"align": "reference_delay"}, "belong together"),
        ({"stride": 0}, "from 1"),
        ({"stride": 2, "exposure": 3}, "at most the stride"),
        ({"laser_offset": 1, "laser_position": 3}, "set one of them"),
        ({"delay": "A/B/C"}, "source:key"),
        ({"pattern": "images", "xgm": "SA1_XTD2_XGM/XGM/DOOCS"}, "does not use xgm"),
        ({"pattern": "machine", "litfrm": "SPB_IRU_AGIPD1M1/REDU/LITFRM"}, "does not use litfrm"),
        ({"trigger": "SPB_EXP_SYS/TSYS/UTC_1_S3:backTrg3.delay"}, "does not use trigger"),
        ({"columns": {"laser": "A/B/C:d"}}, "take other names"),
    ],
)
def test_wrong_parameters(options, words):
    with pytest.raises(BadInput, match=words):
        AnnotateParams(**options)


def test_a_laser_that_does_not_exist(machine_run):
    with pytest.raises(BadInput, match="Did you mean 'SPB'"):
        machine_run(pump="every").reader(laser="SPP").columns()
    reader = machine_run("r2", pump="every", pattern_source="decoder").reader(laser="FXE")
    assert "laser" not in reader.columns()
    assert any("not of FXE" in note for note in reader.notes)


def test_trains_without_x_rays_take_the_laser_of_the_train_before(machine_run):
    run = machine_run(pump="every", dark_trains=(2,))
    columns, s = run.reader().columns(), run.schedule
    np.testing.assert_array_equal(columns["laser"], s.laser)
    first = machine_run("r2", pump="every", dark_trains=(0,))
    assert (first.reader().columns()["laser"][first.schedule.train == 0] == 0).all()
