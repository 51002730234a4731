"""Which frame sees which pulse, for any beam: a walk through the slots, and the facility's finder."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.sources.bunches import PulsePattern
from shotsieve.sources.exposure import STRIDES, Alignment
from shotsieve.sources.litframes import compute_lit_frames
from shotsieve.sources.xgm import PulseEnergies

SASE1, SASE2, SASE3, DUMP = 0x00100008, 0x00080008, 0x08100008, 0x00040008


@st.composite
def beams(draw):
    stride = draw(st.sampled_from(list(STRIDES.values())))
    word = st.sampled_from([0, 0, 0, SASE1, SASE1, SASE3, SASE2, DUMP, SASE1 | 1 << 10])
    tables = draw(st.lists(st.lists(word, min_size=40, max_size=40), min_size=1, max_size=3))
    return (
        np.array(tables, np.uint32),
        draw(st.sampled_from([1, 2, 3])),
        stride,
        draw(st.integers(1, stride)),
        draw(st.integers(1, 12)),
        draw(st.integers(0, 3)),
    )


def lit_frames(table, beamline, stride, exposure, n_cells, reference, values):
    """What the frames of every train have seen, from a table and the rows of an XGM."""
    trains = np.arange(len(table), dtype="u8")
    energies = PulseEnergies(trains, values, values / 10, own=False, origin="xgm")
    align = Alignment(stride, exposure, reference * stride, n_cells)
    return compute_lit_frames(PulsePattern.make(trains, table, "server"), energies, beamline, align)


@settings(max_examples=200, deadline=None)
@given(beams())
def test_against_a_walk_through_the_slots(beam):
    table, beamline, stride, exposure, n_cells, reference = beam
    values = np.random.default_rng(0).uniform(2, 9, (len(table), 40))
    found = lit_frames(table, beamline, stride, exposure, n_cells, reference, values)
    n, energy = found.n_pulses, found.energy
    mine = {1: lambda w: is4(w) and not kick(w), 2: is5, 3: lambda w: is4(w) and kick(w)}[beamline]
    listed = is5 if beamline == 2 else is4
    for t, words in enumerate(table.tolist()):
        want_n, want_energy, number, first = [0] * n_cells, [0.0] * n_cells, 0, None
        for slot, w in enumerate(words):
            if mine(w):
                first = slot if first is None else first
                position = slot - first + reference * stride
                if position // stride < n_cells and position % stride < exposure:
                    want_n[position // stride] += 1
                    want_energy[position // stride] += values[t, number]
            number += listed(w)
        assert n[t].tolist() == want_n
        np.testing.assert_allclose(energy[t], want_energy, rtol=1e-12)
        assert (found.sigma[t] <= energy[t] / 10 * (1 + 1e-12)).all()


def is4(word):
    return (word >> 18) & 15 == 4


def is5(word):
    return (word >> 18) & 15 == 2


def kick(word):
    return bool(word >> 27 & 1)


@settings(max_examples=60, deadline=None)
@given(beams())
def test_against_extra_redu(beam):
    """The facility's published lit-frame finder, for frames as long as it assumes and 2700 slots."""
    litfrm = pytest.importorskip("extra_redu.base.litfrm")
    bunches = pytest.importorskip("extra_redu.base.bunches")
    table, beamline, stride, exposure, n_cells, reference = beam
    # It cannot do with a first pulse at the very beginning of the train.
    table = np.pad(table, ((0, 0), (60, 2600)))

    class Finder(litfrm.AgipdLitFrameFinderBase):
        dst = {1: bunches.SA1, 2: bunches.SA2, 3: bunches.SA3}[beamline]
        alignMethod = SimpleNamespace(value="by first pulse")
        referenceFrame = SimpleNamespace(value=reference)
        shutters_are_open = True
        _detector = SimpleNamespace(integrationTime=SimpleNamespace(value=22 * exposure))
        _agipd = SimpleNamespace(
            get_bunch_structure=lambda: (n_cells, 0, stride), exp_type=SimpleNamespace(value="XRay")
        )

    values = np.random.default_rng(0).uniform(2, 9, (len(table), 1000))
    found = lit_frames(table, beamline, stride, exposure, n_cells, reference, values)
    ours = found.facility_arrays()
    for t in range(len(table)):
        data = SimpleNamespace
        bp = data(data=data(data=data(bunchPatternTable=data(value=table[t]))))
        xgm = data(
            data=data(
                data=data(intensityTD=data(value=values[t]), intensitySigmaTD=data(value=values[t] / 10))
            )
        )
        frames = Finder().process_train(bp, xgm)[3]
        for key, theirs in (
            ("nPulsePerFrame", frames.npulse),
            ("energyPerFrame", frames.energy),
            ("energySigma", frames.energy_std),
            ("dataFramePattern", frames.hasdata),
            ("masterPulseId", frames.master_ids),
            ("xgmPulseId", frames.xgm_ids),
        ):
            full = np.zeros(ours[key].shape[1], ours[key].dtype)
            full[: len(theirs)] = theirs
            if "energy" in key:
                np.testing.assert_allclose(ours[key][t], full, rtol=1e-6)
            else:
                assert ours[key][t].tolist() == full.tolist(), key
