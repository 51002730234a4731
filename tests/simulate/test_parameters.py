"""Parameters and schedule: what may be asked for, and the course of the run that follows."""

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.simulate.beam import BUNCH
from shotsieve.simulate.dark_parameters import DarkParameters
from shotsieve.simulate.parameters import SpiParameters
from shotsieve.simulate.schedule import make_schedule


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_trains": 0}, "n_trains"),
        ({"n_cells": 353}, "n_cells"),
        ({"n_cells": 2.5}, "n_cells"),
        ({"cell_ids": (0, 0)}, "cell_ids"),
        ({"cell_ids": (400,)}, "cell_ids"),
        ({"rate_mhz": 3.0}, "4.5, 2.2, 1.1, 0.5"),
        ({"rate_mhz": 0.5, "n_cells": 352}, "do not fit into a train"),
        ({"gain_mode": "adaptiv"}, "Did you mean 'adaptive'?"),
        ({"hit_rate": 1.5}, "hit_rate"),
        ({"photons_per_hit": (10, 1)}, "photons_per_hit"),
        ({"dark_cells": (1,)}, "cell 1 holds the first pulse"),
        ({"dark_cells": (99,)}, "cell 99 is not recorded"),
        ({"detector": "LPD2M"}, "Did you mean 'LPD1M'"),
        ({"detector": "LPD1M", "detector_name": "SPB_DET_AGIPD1M-1"}, "it must look like 'FXE_DET_LPD1M-1'"),
        ({"detector": "AGIPD500K", "modules": (8,)}, "from 0 to 7"),
        ({"parallel_gain": True}, "AGIPD1M has no parallel gain"),
        ({"detector": "DSSC1M", "gain_mode": "fixed_high"}, "gain that it chooses itself"),
        ({"detector": "LPD1M", "parallel_gain": True, "n_cells": 171}, "from 1 to 170"),
        ({"modules": (3, 2)}, "modules"),
        ({"modules": (16,)}, "modules"),
        ({"missing_modules": (1,), "modules": (0,)}, "module 1 is not simulated"),
        ({"missing_modules": (0,), "modules": (0,)}, "at least one module"),
        ({"missed_trains": ((0, 12),)}, "missed_trains"),
        ({"empty_trains": (-1,)}, "empty_trains"),
        ({"n_trains": 2, "empty_trains": (0, 1)}, "at least one train must have frames"),
        ({"detector": "LPD1M", "common_mode_adu": 5.0}, "common mode is simulated at AGIPD alone"),
        ({"short_trains": ((0, 1, 8),)}, "short_trains"),
        ({"split_at": (12,)}, "split_at"),
        ({"split_at": (0,)}, "split_at"),
        ({"constants_without_cells": (8,)}, "the constants have no cell 8"),
        ({"constants_dtype": "f2"}, "constants_dtype"),
        ({"detector_name": "XYZ_DET_AGIPD1M-1"}, "detector_name"),
        ({"pump": "often"}, "pump"),
        ({"pattern_source": "server"}, "pattern_source"),
        ({"pulses_per_frame": 4}, "pulses_per_frame"),
        ({"later_dark_cells": (1,)}, "cell 1 holds the first pulse"),
        ({"dark_trains": (12,)}, "dark_trains"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_wishes_are_refused_by_name(options, words):
    with pytest.raises(BadInput, match="simulate option") as error:
        SpiParameters(**options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "AGIPD"}, "detector: 'AGIPD' was given, but darks are simulated of"),
        ({"detector": "EPIX100", "stages": "low"}, "stages: 'low' was given, but EPIX100 has one gain stage"),
        ({"n_cells": 0}, "n_cells: 0 was given, but it must be a whole number from 1 to 352"),
        ({"detector": "JUNGFRAU", "n_cells": 2}, "n_cells: 2 was given, but JUNGFRAU has 1 or 16"),
        ({"noisy": 0.3}, "noisy: 0.3 was given, but it must be a number from 0 to 0.2"),
        ({"run": -1}, "run: -1 was given"),
        ({"detector": "JUNGFRAU", "split_at": [1]}, r"split_at: \(1,\) was given, but it is not simulated"),
        ({"modules": [16]}, r"modules: \(16,\) was given, but AGIPD1M has no module 16"),
    ],
)
def test_darks_that_cannot_be_simulated(options, words):
    with pytest.raises(BadInput, match=f"simulate option {words}"):
        DarkParameters.from_dict(options)


def test_unknown_option_names_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'n_trains'"):
        SpiParameters.from_dict({"n_train": 3})
    assert SpiParameters.from_dict({"cell_ids": [0, 5]}).cell_ids == (0, 5)


def test_cells_in_ascending_order_are_a_selection_and_otherwise_wrapped_memory():
    selection = SpiParameters(cell_ids=(0, 3, 9))
    assert selection.frames == (0, 3, 9)
    assert selection.memory_cells == 10
    wrapped = SpiParameters(cell_ids=(6, 7, 0, 1))
    assert wrapped.frames == (0, 1, 2, 3)
    assert make_schedule(wrapped).pulse_id[:4].tolist() == [0, 4, 8, 12]


@pytest.mark.parametrize(("rate", "stride"), [(4.5, 1), (2.2, 2), (1.1, 4), (0.5, 8)])
def test_the_xgm_counts_the_pulses_of_the_beamline_not_of_the_detector(rate, stride):
    p = SpiParameters(n_trains=3, n_cells=10, rate_mhz=rate, dark_cells=(4,))
    s = make_schedule(p)
    assert s.pulse_id[:3].tolist() == [0, stride, 2 * stride]
    assert s.n_pulses[:10].tolist() == [0, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    assert (s.pulse_energy[[0, 4]] == 0).all()
    # By calibration.md 8.4: the first instrument pulse sits in frame 1.
    assert (s.beam.words == s.beam.words[0]).all()
    own = np.flatnonzero(s.beam.words[0] == BUNCH[1])
    both = np.flatnonzero(np.isin(s.beam.words[0], (BUNCH[1], BUNCH[3])))
    lit = np.flatnonzero(s.n_pulses)
    frame, train, energy = s.frame[lit], s.train[lit], s.pulse_energy[lit]
    slot = own[0] + (frame - 1) * stride
    assert np.isin(slot, own).all()
    np.testing.assert_array_equal(s.beam.xgm[train, np.searchsorted(both, slot)], energy)
    # A wrong index may meet the right one by chance in single frames, where its slope is another.
    for wrong in (frame, frame - 1, frame * stride, np.searchsorted(own, slot), slot):
        assert np.mean(s.beam.xgm[train, wrong] == energy) < 0.2
    assert (s.beam.xgm[:, both.size :] == 1).all()
    assert (s.beam.xgm[:, : both.size] > 10).all()


def test_energies_hits_and_strengths_have_the_wanted_statistics():
    p = SpiParameters(n_trains=200, n_cells=50, modules=(3,), hit_rate=0.2, energy_jitter=0.1)
    s = make_schedule(p)
    lit = s.n_pulses > 0
    n = lit.sum()
    assert n == 200 * 49
    assert abs(s.pulse_energy[lit].mean() / 1500 - 1) < 5 * 0.1 / np.sqrt(n)
    assert s.pulse_energy[lit].std() / 1500 == pytest.approx(0.1, rel=0.05)
    assert abs(s.hit.sum() - 0.2 * n) < 5 * np.sqrt(0.16 * n)
    assert not s.hit[~lit].any()
    strength = np.log(s.strength[s.hit])
    assert strength.min() >= np.log(3e3)
    assert strength.max() <= np.log(1e6)
    assert strength.mean() == pytest.approx(np.log(3e3 * 1e6) / 2, rel=0.02)


def test_given_strengths_replace_the_random_ones_and_are_checked():
    p = SpiParameters(n_trains=2, n_cells=3, empty_trains=(0,))
    s = make_schedule(p, [0, 5e3, 0])
    assert s.hit.tolist() == [False, True, False]
    assert s.train.tolist() == [1, 1, 1]
    with pytest.raises(BadInput, match="for each of the 3 shots"):
        make_schedule(p, [1.0])
    with pytest.raises(BadInput, match="0 in dark frames"):
        make_schedule(p, [1, 0, 0])


def test_an_empty_train_does_not_change_the_others():
    full, holed = (make_schedule(SpiParameters(n_trains=3, empty_trains=e)) for e in ((), (1,)))
    keep = full.train != 1
    np.testing.assert_array_equal(full.strength[keep], holed.strength)
    np.testing.assert_array_equal(full.pulse_energy[keep], holed.pulse_energy)
