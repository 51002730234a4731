"""The energy of a shot is that of the pulse it saw: any other index into the XGM gives other values."""

import numpy as np
import pytest

FPGA = "SPB_IRU_AGIPD1M1/MDL/FPGA_COMP"
TIMER = "SPB_RR_SYS/TSYS/TIMESERVER"
XGM = "SA1_XTD2_XGM/XGM/DOOCS:output"
LITFRM = "SPB_IRU_AGIPD1M1/REDU/LITFRM:output"
SASE1, SASE2, SASE3, DUMP = 0x00100008, 0x00080008, 0x08100008, 0x00040008
RATES = {1: 4.5, 2: 2.2, 4: 1.1, 8: 0.5}
TRAINS = (100, 101, 102)
CELLS = (0, 1, 2, 5, 6, 9)
FIRST = 60


def pattern_of(stride=4, cells=range(1, 12), extra=True):
    """SASE1 pulses in these frames (the first of them in frame 1), SASE3 before and between them."""
    table = np.zeros(2700, np.uint32)
    table[[FIRST + (c - 1) * stride for c in cells]] = SASE1
    if extra:
        table[[20, 25, 30]] = SASE3
        table[[FIRST + (c - 1) * stride + 2 for c in list(cells)[::2]]] = SASE3
        table[[40, 50]] = SASE2
        table[41] = DUMP
    return table


def intensities(table, rng):
    values = np.full(1000, 1, "f4")
    n = int(np.isin(table, [SASE1, SASE3]).sum())
    values[:n] = rng.uniform(500, 1500, n)
    return values


def all_unknown(columns):
    known = {"xray", "n_pulses", "pulse_energy", "data_frame"}
    return set(columns) == known and all(np.isnan(c).all() for c in columns.values())


def slow_energy(table, values, cell, stride, exposure=1):
    """Walk through the slots of the train one by one."""
    energy, n, listed, first = 0.0, 0, 0, None
    for slot, word in enumerate(table):
        if word not in (SASE1, SASE3):
            continue
        if word == SASE1:
            first = slot if first is None else first
            position = slot - first + stride
            if position // stride == cell and position % stride < exposure:
                energy, n = energy + float(values[listed]), n + 1
        listed += 1
    return energy, n


@pytest.fixture
def run(maker, opened):
    """Write a run; `tables` and `xgm` are per train, and any of them may lack trains."""

    def go(tables=None, xgm=None, *, stride=4, control=None, instrument=None, pulse_ids=None, flags=None):
        pulses = [c * stride for c in CELLS] if pulse_ids is None else pulse_ids
        maker.module(0, [(t, pulses) for t in TRAINS], cells=list(CELLS) * len(TRAINS))
        settings = {FPGA: {"bunchStructure.repetitionRate": (None, np.array([RATES[stride]])),
                           "integrationTime": (None, np.array([15]))}}  # fmt: skip
        sources = dict(instrument or {})
        if tables:
            sources[f"{TIMER}:outputBunchPattern"] = {"bunchPatternTable": tables}
        if xgm:
            sources[XGM] = {"intensityTD": xgm}
        maker.aggregator(list(TRAINS), settings if control is None else control, sources, flags=flags)
        source = opened()
        return source, source.columns()

    return go


@pytest.fixture
def beam():
    rng = np.random.default_rng(11)
    tables = {t: pattern_of(cells=range(1, 12)) for t in TRAINS}
    # The pattern may change from train to train.
    tables[102] = pattern_of(cells=[1, 3, 5, 9, 10])
    return tables, {t: intensities(tables[t], rng) for t in TRAINS}


@pytest.fixture
def expected(beam):
    tables, xgm = beam
    return np.array([slow_energy(tables[t], xgm[t], c, 4) for t in TRAINS for c in CELLS]).T


def test_the_right_energy(run, beam, expected):
    source, columns = run(*beam)
    known = {"xray", "n_pulses", "pulse_energy", "data_frame", "laser", "pump_state"}
    assert set(columns) == known  # the XGM of this run tells no uncertainties
    np.testing.assert_array_equal(columns["pulse_energy"], expected[0])
    np.testing.assert_array_equal(columns["n_pulses"], expected[1])
    # Frame 0 lies before the first pulse, cells 2 and 6 of the last train have none.
    assert columns["n_pulses"].reshape(3, 6).tolist() == [[0, 1, 1, 1, 1, 1]] * 2 + [[0, 1, 0, 1, 0, 1]]
    assert any("by the running number of the pulse" in n for n in source.notes)


@pytest.mark.parametrize("wrong", ["pulseId", "cellId", "own pulses", "running shot"])
def test_wrong_indices_give_other_values(run, beam, expected, wrong):
    """What scripts have done: a column made so must not pass for the energy."""
    tables, xgm = beam
    source, columns = run(*beam)
    wrongly = []
    for i, (t, p, c) in enumerate(
        zip(source.shots.train_id, source.shots.pulse_id, source.shots.cell_id, strict=True)
    ):
        own = np.flatnonzero(tables[int(t)] == SASE1)
        index = {
            "pulseId": int(p),
            "cellId": int(c),
            "own pulses": int(np.searchsorted(own, FIRST + (int(c) - 1) * 4)),
            "running shot": i % len(CELLS),
        }[wrong]
        wrongly.append(xgm[int(t)][index])
    lit = expected[1] > 0
    different = np.asarray(wrongly)[lit] != expected[0][lit]
    assert different.mean() > 0.9
    np.testing.assert_array_equal(columns["pulse_energy"][lit], expected[0][lit])


def test_a_train_without_xgm_is_unknown(run, beam, expected):
    tables, xgm = beam
    source, columns = run(tables, {t: xgm[t] for t in (100, 102)})
    energy = columns["pulse_energy"].reshape(3, 6)
    assert np.isnan(energy[1, 1:]).all()
    # A frame without a pulse needs no XGM.
    assert energy[1, 0] == 0
    np.testing.assert_array_equal(energy[[0, 2]], expected[0].reshape(3, 6)[[0, 2]])
    np.testing.assert_array_equal(columns["n_pulses"], expected[1])
    assert any("pulse_energy is unknown for 5 shots, in trains 101" in n for n in source.notes)


def test_the_fill_value_is_no_measurement(run, beam, expected):
    """The XGM lists fewer pulses than the bunch pattern: the rest is unknown, not 1 uJ."""
    tables, xgm = beam
    short = {t: np.where(np.arange(1000) < 8, xgm[t], 1).astype("f4") for t in TRAINS}
    _, columns = run(tables, short)
    energy, right = columns["pulse_energy"], expected[0]
    assert np.isnan(energy).sum() > 3
    assert (np.isnan(energy) | (energy == right)).all()
    assert not (energy == 1).any()


def test_an_xgm_that_measured_nothing(run, beam):
    tables, _ = beam
    _, columns = run(tables, {t: np.ones(1000, "f4") for t in TRAINS})
    assert np.isnan(columns["pulse_energy"][columns["n_pulses"] > 0]).all()


def test_an_xgm_that_lists_the_pulses_of_each_beamline_alone(maker, opened, beam, expected):
    """Then the running number is that among the instrument's own pulses."""
    tables, xgm = beam
    own = {}
    for train, table in tables.items():
        listed = np.isin(table, [SASE1, SASE3])
        row = np.full(1000, 1, "f4")
        energies = xgm[train][: listed.sum()][table[listed] == SASE1]
        row[: len(energies)] = energies
        own[train] = row
    maker.module(0, [(t, [c * 4 for c in CELLS]) for t in TRAINS], cells=list(CELLS) * len(TRAINS))
    settings = {FPGA: {"bunchStructure.repetitionRate": (None, np.array([1.1])),
                       "integrationTime": (None, np.array([15]))}}  # fmt: skip
    sources = {f"{TIMER}:outputBunchPattern": {"bunchPatternTable": tables}, XGM: {"intensitySa1TD": own}}
    maker.aggregator(list(TRAINS), settings, sources)
    source = opened()
    np.testing.assert_array_equal(source.columns()["pulse_energy"], expected[0])
    assert any("data.intensitySa1TD" in note for note in source.notes)


def test_no_xgm(run, beam, expected):
    source, columns = run(beam[0])
    np.testing.assert_array_equal(columns["n_pulses"], expected[1])
    assert np.isnan(columns["pulse_energy"][expected[1] > 0]).all()
    assert any("the run has no XGM" in n for n in source.notes)


def test_no_time_server(run, beam):
    source, columns = run(None, beam[1])
    assert all_unknown(columns)
    assert any("no time server" in n for n in source.notes)


def test_a_suspect_train_of_the_time_server_is_not_used(run, beam):
    _, columns = run(*beam, flags=[1, 0, 1])
    assert np.isnan(columns["pulse_energy"].reshape(3, 6)[1]).all()
    assert np.isnan(columns["n_pulses"].reshape(3, 6)[1]).all()


def test_the_bunch_pattern_of_older_runs(run, beam, expected):
    """It was a property of the time server once, not a pipeline."""
    tables, xgm = beam
    control = {
        FPGA: {
            "bunchStructure.repetitionRate": (None, np.array([1.1])),
            "integrationTime": (None, np.array([9])),
        },
        TIMER: {"bunchPatternTable": (np.array([tables[t] for t in TRAINS]), None)},
    }
    _, columns = run(None, xgm, control=control)
    np.testing.assert_array_equal(columns["pulse_energy"], expected[0])


def test_the_rate_follows_from_the_pulse_ids(run, beam, expected):
    control = {FPGA: {"integrationTime": (None, np.array([15]))}}
    source, columns = run(*beam, control=control)
    np.testing.assert_array_equal(columns["pulse_energy"], expected[0])
    assert any("pulseIds advance by 4 per cell" in n for n in source.notes)


def test_no_rate_at_all(run, beam):
    source, columns = run(*beam, control={}, pulse_ids=[0, 1, 3, 4, 9, 11])
    assert all_unknown(columns)
    assert any("frame rate is not known" in n for n in source.notes)


def test_an_unknown_integration_time_is_unknown_only_where_it_matters(run):
    rng = np.random.default_rng(2)
    table = pattern_of(cells=range(1, 12), extra=False)
    # A second pulse in the stride of cell 5: whether it is in the frame depends on the integration time.
    table[FIRST + 4 * 4 + 2] = SASE1
    values = intensities(table, rng)
    control = {FPGA: {"bunchStructure.repetitionRate": (None, np.array([1.1]))}}
    _, columns = run(dict.fromkeys(TRAINS, table), dict.fromkeys(TRAINS, values), control=control)
    energy = columns["pulse_energy"].reshape(3, 6)[0]
    right = np.array([slow_energy(table, values, c, 4)[0] for c in CELLS])
    assert np.isnan(energy).tolist() == [c == 5 for c in CELLS]
    np.testing.assert_array_equal(energy[[0, 1, 2, 4, 5]], right[[0, 1, 2, 4, 5]])
    assert np.isnan(columns["n_pulses"]).sum() == 3


def test_several_pulses_in_a_frame_are_added(run):
    rng = np.random.default_rng(3)
    table = pattern_of(cells=range(1, 12), extra=False)
    table[FIRST + 4 * 4 + 2] = SASE1
    table[FIRST + 4 * 4 + 3] = SASE1
    values = intensities(table, rng)
    control = {FPGA: {"bunchStructure.repetitionRate": (None, np.array([1.1])),
                      "integrationTime": (None, np.array([45]))}}  # fmt: skip
    _, columns = run(dict.fromkeys(TRAINS, table), dict.fromkeys(TRAINS, values), control=control)
    # 45 clocks of 10 ns are 3 slots: the pulse in the fourth is not seen.
    assert columns["n_pulses"].reshape(3, 6)[0].tolist() == [0, 1, 1, 2, 1, 1]
    right = [slow_energy(table, values, c, 4, 3)[0] for c in CELLS]
    np.testing.assert_allclose(columns["pulse_energy"].reshape(3, 6)[0], right, rtol=1e-12)


def test_cells_that_do_not_follow_the_pulses(run, beam):
    """With vetoed frames or wrapped memory only the pulseId keeps the time."""
    tables, xgm = beam
    frames = [1, 2, 4, 7, 8, 10]
    source, columns = run(*beam, pulse_ids=[4 * f for f in frames])
    right = [slow_energy(tables[t], xgm[t], f, 4)[0] for t in TRAINS for f in frames]
    np.testing.assert_array_equal(columns["pulse_energy"], right)
    assert any("cellIds do not follow the pulseIds" in n for n in source.notes)


def test_a_shifted_pulse_id_changes_nothing(run, beam, expected):
    """The detector can be told to number its pulses from anywhere."""
    _, columns = run(*beam, pulse_ids=[4 * c + 300 for c in CELLS])
    np.testing.assert_array_equal(columns["pulse_energy"], expected[0])


def test_lit_frame_finder(run, beam):
    energy = np.zeros((3, 352), "f4")
    n = np.zeros((3, 352), "u2")
    n[:, 1:10] = 1
    energy[:, 1:10] = np.random.default_rng(4).uniform(100, 900, (3, 9))
    energy[1, 1:10] = 10000
    instrument = {LITFRM: {"energyPerFrame": dict(zip(TRAINS, energy, strict=True)),
                           "nPulsePerFrame": dict(zip(TRAINS, n, strict=True))}}  # fmt: skip
    source, columns = run(*beam, instrument=instrument)
    right = energy[:, CELLS].astype("f8")
    right[1, 1:] = np.nan
    np.testing.assert_array_equal(columns["pulse_energy"].reshape(3, 6), right)
    np.testing.assert_array_equal(columns["n_pulses"].reshape(3, 6), n[:, CELLS])
    assert any("pulse_energy come from SPB_IRU_AGIPD1M1/REDU/LITFRM" in n for n in source.notes)


def test_another_beamlines_xgm_is_not_used(run, beam):
    other = {"SA3_XTD10_XGM/XGM/DOOCS:output": {"intensityTD": beam[1]}}
    _, columns = run(beam[0], instrument=other)
    assert np.isnan(columns["pulse_energy"][columns["n_pulses"] > 0]).all()


def test_jungfrau_says_nothing_about_pulses(maker, opened):
    maker.jungfrau(1, [(10, 1)], [15])
    source = opened(name="JUNGFRAU")
    assert all_unknown(source.columns())
    assert any("no pulseId" in n for n in source.notes)
