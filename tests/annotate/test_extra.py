"""Pulses of simulated runs of every instrument: what the facility's EXtra and EXtra-redu find in them."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve.simulate.machine import device_names
from shotsieve.sources.bunches import read_pattern
from shotsieve.sources.exposure import STRIDES, first_slots
from shotsieve.sources.instruments import instruments
from shotsieve.sources.laser import laser_offsets

components = pytest.importorskip("extra.components")
SOURCES = ("pipeline", "control", "decoder")
PUMPS = ("every", "even_pulses", "odd_pulses", "even_trains")


def slots_by_train(pulse_ids, trains):
    """What a component of EXtra lists, as one array of slots per train."""
    train = pulse_ids.index.get_level_values("trainId").to_numpy()
    return [pulse_ids.to_numpy()[train == t] for t in trains]


def our_slots(pattern, mask):
    return [np.flatnonzero(mask[k]) if k >= 0 else None for k in pattern.index]


@pytest.mark.parametrize("rate", STRIDES)
@pytest.mark.parametrize("name", instruments())
def test_pulses_of_every_instrument_and_rate(name, rate, machine_run, rng):
    slot, source, pump = int(rng.integers(10, 900)), rng.choice(SOURCES), rng.choice(PUMPS)
    run = machine_run(
        detector_name=f"{name}_DET_AGIPD1M-1",
        rate_mhz=rate,
        first_slot=slot,
        pattern_source=str(source),
        pump=str(pump),
        dark_cells=(4,),
        dark_trains=(2,),
        later_from=3,
        later_dark_cells=(5, 6),
    )
    p, data = run.parameters, run.extra()
    sase = p.instrument.sase
    xray = components.XrayPulses(data, sase=sase)
    reader = run.reader()
    pattern = read_pattern(reader.files, p.detector_name, sase, [])
    own = pattern.own(sase)
    for ours, theirs in zip(
        our_slots(pattern, own), slots_by_train(xray.pulse_ids(), pattern.train_id), strict=True
    ):
        assert ours.tolist() == theirs.tolist()
    np.testing.assert_array_equal(pattern.train_id, run.schedule.train_id)
    energies(run, components, sase)
    if p.instrument.laser is None:
        return  # neither they nor we know the laser of SXP
    laser = components.OpticalLaserPulses(data, ppl_seed=name)
    on = pattern.laser(p.instrument.laser)
    for ours, theirs in zip(
        our_slots(pattern, on), slots_by_train(laser.pulse_ids(), pattern.train_id), strict=True
    ):
        assert ours.tolist() == theirs.tolist()
    for options in (
        {"laser_position": slot + 3},
        {"laser_offset": 2},
        {"laser_offset": 0},
        {"laser_pulse_offset": 0.5},
        {"laser_pulse_offset": 1.0},
    ):
        pump_probe(data, pattern, own, on, sase, p, options)


def energies(run, components, sase):
    """The energy of every shot is one that EXtra's XGM lists for the same pulse."""
    p, s = run.parameters, run.schedule
    xgm = components.XGM(run.extra(), device_names(p)["xgm"])
    listed = xgm.pulse_energy().to_numpy()
    pulses = components.XrayPulses(run.extra(), sase=sase).pulse_mask(labelled=False)
    other = {1: 3, 3: 1}.get(sase)
    both = pulses.copy()
    if other is not None:
        both |= components.XrayPulses(run.extra(), sase=other).pulse_mask(labelled=False)
    number = np.cumsum(both, axis=1) - 1
    columns = run.reader().columns()
    np.testing.assert_array_equal(columns["n_pulses"], s.n_pulses)
    np.testing.assert_array_equal(columns["pulse_energy"], s.pulse_energy)
    np.testing.assert_allclose(columns["pulse_energy_sigma"], 0.01 * s.pulse_energy, rtol=1e-6)
    for shot in np.flatnonzero(s.n_pulses > 0):
        train = s.train[shot]
        slot = np.flatnonzero(pulses[train])[0] + (s.frame[shot] - p.reference_frame) * p.stride
        assert listed[train, number[train, slot]] == np.float32(columns["pulse_energy"][shot])


def pump_probe(data, pattern, own, on, sase, p, options):
    """Where laser pulses really are, in all three ways to say it."""
    from shotsieve.sources.annotate import AnnotateParams

    words = {
        "laser_position": "bunch_table_position",
        "laser_offset": "bunch_table_offset",
        "laser_pulse_offset": "pulse_offset",
    }
    theirs = components.PumpProbePulses(
        data, instrument=(sase, p.instrument.name), **{words[k]: v for k, v in options.items()}
    )
    flags = theirs.pulse_ids()
    train, slot = flags.index.get_level_values("trainId"), flags.to_numpy()
    ppl = flags.index.get_level_values("ppl").to_numpy().astype(bool)
    offset, first, known = laser_offsets(pattern, sase, AnnotateParams(**options))
    assert known.all()
    for k, number in enumerate(pattern.index):
        mine = np.flatnonzero(on[number]) + offset[k]
        assert mine.tolist() == slot[ppl & (train == pattern.train_id[k])].tolist()
    has = own.any(axis=1)[pattern.index]
    np.testing.assert_array_equal(first[has], first_slots(own)[pattern.index][has])


@pytest.mark.parametrize("name", ["SPB", "MID"])
@pytest.mark.parametrize("rate", STRIDES)
def test_lit_frames_are_those_of_the_facility(name, rate, machine_run, rng):
    litfrm = pytest.importorskip("extra_redu.litfrm.agipd_offline")
    exposure = int(rng.integers(1, STRIDES[rate] + 1))
    run = machine_run(
        detector_name=f"{name}_DET_AGIPD1M-1",
        rate_mhz=rate,
        first_slot=int(rng.integers(60, 900)),
        integration_time=22 * exposure,
        pulses_per_frame=1 if STRIDES[rate] == 1 else int(rng.integers(1, min(exposure + 1, STRIDES[rate]))),
        dark_cells=(4,),
        dark_trains=(2,),
        later_from=3,
        later_dark_cells=(5, 6),
        pattern_source=str(rng.choice(["pipeline", "decoder"])),
    )
    names, p = device_names(run.parameters), run.parameters
    theirs = litfrm.make_litframe_finder(name, run.extra())
    theirs.bunch_pattern_id = f"{names['time_server']}:outputBunchPattern"
    theirs.pp_decoder_id, theirs.xgm_id = names["decoder"], f"{names['xgm']}:output"
    output = theirs.process().output
    found = run.reader().lit_frames()
    ours = found.facility_arrays()
    np.testing.assert_array_equal(theirs.r.meta.trainId, found.train_id)
    for key, values in ours.items():
        want = getattr(output, key)
        assert (values.dtype, values.shape) == (want.dtype, want.shape), key
        if key.startswith("energy"):
            np.testing.assert_allclose(values, want, rtol=1e-6)
        else:
            np.testing.assert_array_equal(values, want, key)
    np.testing.assert_array_equal(found.n_pulses[:, p.frames].ravel(), run.schedule.n_pulses)


def test_lit_frames_read_from_the_facilitys_own(machine_run):
    litfrm = pytest.importorskip("extra_redu.litfrm.agipd_offline")
    run = machine_run(litfrm=True, dark_cells=(4,), litfrm_misses=(1,), rate_mhz=2.2)
    theirs = litfrm.make_litframe_finder("SPB", run.extra()).read_or_process()
    reader = run.reader(pattern="litfrm")
    found = reader.lit_frames()
    for key, values in found.facility_arrays().items():
        np.testing.assert_array_equal(values, getattr(theirs.output, key), key)
    assert found.origin == "SPB_IRU_AGIPD1M1/REDU/LITFRM:output"
    columns = reader.columns()
    there = run.schedule.train != 1
    np.testing.assert_array_equal(columns["n_pulses"][there], run.schedule.n_pulses[there])
    np.testing.assert_allclose(columns["pulse_energy"][there], run.schedule.pulse_energy[there], rtol=1e-6)
    assert np.isnan(columns["n_pulses"][~there]).all()
    # Where the time server knows what the finder does not say, it is computed.
    both = run.reader()
    columns = both.columns()
    np.testing.assert_array_equal(columns["n_pulses"], run.schedule.n_pulses)
    np.testing.assert_allclose(columns["pulse_energy"], run.schedule.pulse_energy, rtol=1e-6)
    assert any("computed, not read, in trains" in note for note in both.notes)
    assert len(both.lit_frames().master) == run.parameters.n_trains


@pytest.mark.parametrize(("row", "many"), [(False, False), (True, False), (False, True), (True, True)])
def test_frame_selection_as_the_facility_makes_it(row, many, machine_run, rng):
    """CELL, ROW, SUPER_CELL and SUPER_ROW of EXtra-redu choose the same shots."""
    selection = pytest.importorskip("extra_redu.litfrm.selection")
    litfrm = pytest.importorskip("extra_redu.litfrm.agipd_offline")
    from shotsieve.select import Selection
    from shotsieve.table import Table

    selection.np.in1d = np.isin  # they call what NumPy 2.4 no longer has
    dark = tuple(int(c) for c in np.flatnonzero(rng.random(100) < 0.9) if c > 1)
    later = tuple(int(c) for c in np.flatnonzero(rng.random(100) < 0.9) if c > 1)
    run = machine_run(n_cells=100, dark_cells=dark, later_from=2, later_dark_cells=later, dark_trains=(4,))
    names, s = device_names(run.parameters), run.schedule
    finder = litfrm.make_litframe_finder("SPB", run.extra())
    finder.bunch_pattern_id = f"{names['time_server']}:outputBunchPattern"
    finder.xgm_id = f"{names['xgm']}:output"
    kind = selection.SelType(2 * many + row)
    chosen = selection.FrameSelection(finder.process())
    trains = np.unique(s.train_id)
    counts = np.full(len(trains), 100)
    frames = np.tile(np.arange(100), len(trains))
    theirs, _ = next(iter(chosen.litframes_on_trains(trains, counts, frames, [kind])))
    table = Table(s.train_id[s.train], s.pulse_id, s.cell_id, modules=(3,), module_pixels=65536)
    table.add_column("data_frame", run.reader().columns()["data_frame"])
    word = {0: "lit", 1: "lit_rows", 2: "super", 3: "super_rows"}[int(kind)]
    ours = Selection(frames=word, row_cells=32).wanted(table)
    # A train without any pulse has nothing worth keeping for them, whatever the others had.
    ours &= (s.train != 4) | (not many)
    np.testing.assert_array_equal(ours, theirs)
