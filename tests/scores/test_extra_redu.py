"""Counts, thresholds and hits of EXtra-redu (BSD-3-Clause) for equal parameters; what is not followed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from shotsieve.decide import Rule
from shotsieve.derive import declare, fill
from shotsieve.recipe import Recipe
from shotsieve.table import Table

spi = pytest.importorskip("extra_redu.spi", reason="EXtra-redu is not installed")

MODULES, PIXELS = (3, 4, 8, 15), 65536
CHOSEN = "(lit_pixels[3] + lit_pixels[4] + lit_pixels[8] + lit_pixels[15])"
UNMASKED = CHOSEN.replace("lit", "unmasked")


class Source:
    """What EXtra-redu's counter gives its hit finder, from a table."""

    def __init__(self, table):
        self.trainId, self.pulseId, self.num_sources = table.train_id, table.pulse_id, len(table.modules)
        self.train_ids, self.count = np.unique(table.train_id, return_counts=True)
        self.first = np.cumsum(self.count) - self.count
        self.num_events, self._table = len(table), table

    def __getitem__(self, name):
        name = {"litPixels": "lit_pixels", "unmaskedPixels": "unmasked_pixels"}[name]
        places = self._table.modules.index
        values = self._table.measures[name]
        return SimpleNamespace(ndarray=lambda modules, fill_value: values[:, [places(m) for m in modules]])


def make_table(rng, counts, energies=True):
    """Lit pixels of misses, and of one shot in twelve a hit; some pulses are weak."""
    train = np.repeat(10_000 + np.arange(len(counts)), counts)
    pulse = np.concatenate([np.arange(n) for n in counts])
    table = Table(train, pulse, pulse, modules=(0, *MODULES), module_pixels=PIXELS)
    n = len(table)
    energy = rng.normal(1500, 300, n) * rng.choice([1, 0.1], n, p=[0.9, 0.1])
    hit = rng.random(n) < 1 / 12
    lit = rng.poisson((200 + 600 * hit[:, None]) * energy[:, None] / 1500 * np.ones(5))
    table.set_module_status(slice(None), np.zeros((n, 5), "u1"))
    table.set_measure("lit_pixels", slice(None), lit)
    table.set_measure(
        "unmasked_pixels", slice(None), np.full((n, 5), PIXELS - 4096) - 64 * (pulse[:, None] % 3)
    )
    table.set_fate(slice(None), "dropped")
    if energies:
        table.add_column("pulse_energy", energy)
    return table


def derived(table, derive):
    sections = Recipe.from_dict({"derive": derive}).derive
    declare(table, sections, None)
    fill(table, sections)
    return table


def hits_of(table, rule):
    asked = Rule.parse(rule, table.names())
    return asked.evaluate({name: table.bounds(name) for name in asked.names}) == 1


SCORE = {"kind": "value", "of": f"{CHOSEN} / {UNMASKED} * {4 * PIXELS}"}


@pytest.mark.parametrize("counts", [[30] * 20, [352] * 3, [7, 9, 1, 12, 30, 3] * 8, [5] * 4, [130, 20]])
@pytest.mark.parametrize("lqr", [False, True])
def test_thresholds_and_hits_are_those_of_its_hit_finder(rng, counts, lqr):
    """Scores are whole numbers here, as its own are: what it cuts off is tested below."""
    table = make_table(rng, counts, energies=False)
    table.measures["unmasked_pixels"][:] = PIXELS
    width = "lower_quartile" if lqr else "quartiles"
    level = {"kind": "adaptive", "of": "hit_score", "k": 4.0, "width": width, "around": 100}
    derived(table, {"hit_score": SCORE, "level": level})
    theirs = spi.SpiHitfinder(MODULES, "adaptive", snr=4.0, min_scores=100, lqr=lqr, xgm_norm=False)
    theirs._read_litpixels(Source(table))
    theirs._compute_threshold()
    theirs._select_hits()
    np.testing.assert_array_equal(table.columns["hit_score"], theirs.hitscore)
    if len(table) >= 20:  # below, a window is no statistics, and the threshold stays unknown
        np.testing.assert_array_equal(table.columns["level"], np.repeat(theirs.threshold, theirs.count))
        np.testing.assert_array_equal(hits_of(table, "hit_score > level"), theirs.hit_mask)
    fixed = spi.SpiHitfinder(MODULES, "fixed", fixed_threshold=1200, xgm_norm=False)
    fixed._read_litpixels(Source(table))
    fixed._compute_threshold()
    fixed._select_hits()
    np.testing.assert_array_equal(hits_of(table, f"{CHOSEN} > 1200"), fixed.hit_mask)


@pytest.mark.parametrize("counts", [[30] * 20, [200, 200]])
def test_the_scaled_score_is_its_own_without_the_cut(rng, counts):
    """Its threshold from scores that are not cut to whole numbers, and the same hits."""
    table = make_table(rng, counts)
    scaled = {"kind": "scaled", "of": "plain", "by": "pulse_energy", "least": 200.0, "around": 100}
    level = {"kind": "adaptive", "of": "hit_score", "k": 4.0, "width": "quartiles", "around": 100}
    derived(table, {"plain": SCORE, "hit_score": scaled, "level": level})
    energy = table.columns["pulse_energy"]
    litfrm = SimpleNamespace(get_array=lambda key, train, pulse: energy)
    theirs = spi.SpiHitfinder(MODULES, "adaptive", snr=4.0, min_scores=100, xgm_norm=True, xgm_min=200)
    theirs._read_litpixels(Source(table), litfrm)
    good = energy > 200
    np.testing.assert_array_equal(theirs.good_mask, good)
    assert 0 < good.sum() < len(good)
    mine = table.columns["hit_score"]
    np.testing.assert_array_equal(np.isnan(mine), ~good)
    assert (np.floor(mine[good] * (1 - 1e-12)) <= theirs.hitscore[good]).all()
    assert (theirs.hitscore[good] <= np.ceil(mine[good])).all()
    theirs.hitscore = np.where(good, mine, 0.0)
    theirs._compute_threshold()
    theirs._select_hits()
    np.testing.assert_array_equal(table.columns["level"], np.repeat(theirs.threshold, theirs.count))
    np.testing.assert_array_equal(hits_of(table, "pulse_energy > 200 and hit_score > level"), theirs.hit_mask)
    assert 0.2 < theirs.hit_mask[good].mean() * 12 < 2  # of some thirty hits, which vary by a sixth


def test_its_defects_are_not_copied(rng):
    """Cut scores, numbers where no pixel is unmasked, and weak pulses in the scale."""
    table = make_table(rng, [40] * 4, energies=False)
    table.measures["unmasked_pixels"][5] = 0
    table.measures["lit_pixels"][5] = 0
    derived(table, {"hit_score": SCORE})
    score = table.columns["hit_score"]
    assert np.isnan(score[5])  # it takes what stood in memory
    rest = np.delete(score, 5)
    assert (rest != np.floor(rest)).any()  # it cuts to whole numbers
    table.module_status[7, 2] = 1
    del table.columns["hit_score"]
    derived(table, {"hit_score": SCORE})
    assert np.isnan(table.columns["hit_score"][7])  # a missing module counts as dark there


def test_counts_are_those_of_its_counter(rng):
    """The counts on the same calibrated frames, strictly above the threshold, NaN and masks alike."""
    pytest.importorskip("sharedmem", reason="EXtra-redu's counter needs it")
    from shotsieve import SpiScores

    image = rng.gamma(0.3, 1.0, (12, 4, 64, 32)).astype("f4")
    image[rng.random(image.shape) < 0.05] = np.float32(0.7)
    mask = (rng.random(image.shape) < 0.1).astype("u4") * np.uint32(8)
    image[rng.random(image.shape) < 0.01] = np.nan
    mask[np.isnan(image)] |= 1
    counts = np.full(3, 4)
    source = SimpleNamespace(
        num_events=12, num_sources=4, trainId=np.repeat([1, 2, 3], 4), pulseId=np.tile(np.arange(4), 3),
        train_ids=[1, 2, 3], count=counts, first=np.cumsum(counts) - counts, mask=np.ones((12, 4), bool),
        sources=[SimpleNamespace(source=f"SPB_DET_AGIPD1M-1/CORR/{m}CH0:output") for m in MODULES],
    )  # fmt: skip
    arrays = {"data": image, "mask": mask}
    given = type("Given", (), {})()
    given.train_ids = source.train_ids
    given.get = lambda name: SimpleNamespace(ndarray=lambda fill_value: arrays[name])
    type(given).__getitem__ = lambda self, name: self.get(name)
    for threshold in (0.7, 2.0):
        theirs = spi.LitPixelCounter(source, threshold=np.float32(threshold))
        theirs.process(given)
        masked = np.where(mask == 0, image, np.float32(np.nan))
        mine = SpiScores({}, (4, 64, 32), threshold=threshold, backend="cpu")(masked)
        np.testing.assert_array_equal(mine.lit, theirs.num_lit_px)
        np.testing.assert_array_equal(np.isfinite(masked).sum(axis=(2, 3)), theirs.num_unmasked_px)
