"""Frames for the peak finder, hand-made, random and from hypothesis, and the comparison with the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shotsieve.reference.peaks import FILTERS, Found, find_peaks
from shotsieve.reference.peaks_margin import FIRM

PARAMS = {
    "threshold": 3.0,
    "min_snr": 5.0,
    "min_pix_count": 1,
    "max_pix_count": 50,
    "local_bg_radius": 3,
}
WIDTHS = (7, 31, 33, 100, 194)  # none a multiple of the 32 pixels of a word
JUNK = np.float32([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e9, 5e4])


@dataclass(frozen=True)
class Case:
    """Input of one search."""

    frame: np.ndarray  # float32 (rows, columns)
    radius: np.ndarray  # float32 (rows, columns)
    mask: np.ndarray | None = None  # bool (rows, columns)
    panels: np.ndarray | None = None  # int32 (n, 4)
    params: dict[str, Any] = field(default_factory=lambda: dict(PARAMS))

    @classmethod
    def flat(cls, frame: Any, **changes: Any) -> Case:
        """Return a case whose pixels all lie at radius 10; changes are of the fields, or parameters."""
        frame = np.array(frame, "f4")
        fields = {name: changes.pop(name) for name in ("radius", "mask", "panels") if name in changes}
        fields.setdefault("radius", np.full(frame.shape, 10, "f4"))
        return cls(frame, params=PARAMS | changes, **fields)

    def oracle(self, compat: str | None = None) -> Found:
        return find_peaks(self.frame, self.mask, self.radius, self.panels, **self.params, compat=compat)

    def search(self, frames: np.ndarray | None = None, **options: Any) -> Any:
        """Return what `shotsieve.peakfinder8` finds in the frame, or in frames given instead."""
        from shotsieve import peakfinder8

        frames = self.frame if frames is None else frames
        return peakfinder8(frames, self.mask, self.radius, self.panels, **self.params, **options)

    def with_frame(self, frame: np.ndarray) -> Case:
        return replace(self, frame=frame)


def put(background: Any, *pixels: tuple[int, int, float]) -> np.ndarray:
    """Return a copy of a frame with pixels (ss, fs, value) written into it."""
    frame = np.array(background, "f4")
    for ss, fs, value in pixels:
        frame[ss, fs] = value
    return frame


def grid(rows: int, columns: int, height: int, width: int) -> np.ndarray:
    """Return panels of one size that cover a slab, the last of each direction cut where it ends."""
    return np.int32(
        [
            (top, min(top + height, rows), left, min(left + width, columns))
            for top in range(0, rows, height)
            for left in range(0, columns, width)
        ]
    )


def random_panels(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray | None:
    """Return panels cut at random places, some left out, in any order."""
    if rng.random() < 0.2:
        return None
    cuts = [
        np.unique([0, size, *rng.integers(1, size, rng.integers(0, 4))]).tolist() for size in (rows, columns)
    ]
    panels = [
        (top, bottom, left, right)
        for top, bottom in zip(cuts[0], cuts[0][1:], strict=False)
        for left, right in zip(cuts[1], cuts[1][1:], strict=False)
    ]
    if rng.random() < 0.5:
        rng.shuffle(panels)
    if len(panels) > 2 and rng.random() < 0.3:
        panels = panels[1:]
    return np.int32(panels)


def random_radius(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return distances from some point, also far away or in large steps; some pixels may have none."""
    ss, fs = rng.uniform(-0.5, 1.5, 2) * (rows, columns)
    y, x = np.mgrid[:rows, :columns]
    radius = np.hypot(y - ss, x - fs) * rng.choice([0.1, 0.5, 1.0, 1.0, 1.7])
    if rng.random() < 0.2:
        radius = np.rint(2 * radius) / 2  # halves, to be rounded to even
    if rng.random() < 0.1:
        radius[:] = 10
    radius = radius.astype("f4")
    if rng.random() < 0.2:
        radius[rng.random(radius.shape) < 0.1] = np.nan
    return radius


BACKGROUNDS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "noise": lambda rng, r: rng.normal(0, 1, r.shape),
    "ring": lambda rng, r: rng.normal(0, 1.5, r.shape) + 20 * np.exp(-(((r - 20) / 5) ** 2)),
    "offset": lambda rng, r: rng.normal(1000, 9, r.shape),
    "negative": lambda rng, r: rng.normal(-40, 3, r.shape),
    "photons": lambda rng, r: rng.poisson(rng.choice([0.02, 0.3, 2.0]), r.shape),
    "keV": lambda rng, r: rng.poisson(0.3, r.shape) * 9.3 + rng.normal(0, 1.2, r.shape),
    "tails": lambda rng, r: rng.standard_t(2, r.shape),
    "empty": lambda rng, r: np.zeros(r.shape),
    "constant": lambda rng, r: np.full(r.shape, rng.choice([1.0, 7.0, -2.0])),
}


def add_spots(rng: np.random.Generator, frame: np.ndarray, count: int) -> None:
    """Add single pixels, discs of all sizes and lines anywhere, borders and corners included."""
    rows, columns = frame.shape
    y, x = np.mgrid[:rows, :columns]
    for _ in range(count):
        ss, fs = rng.uniform(-0.5, rows - 0.5), rng.uniform(-0.5, columns - 0.5)
        height = rng.choice([6, 20, 100, 5000]) * rng.uniform(0.5, 1.5)
        kind = rng.random()
        if kind < 0.4:
            width = rng.uniform(0.4, 2.5)
            frame += height * np.exp(-((y - ss) ** 2 + (x - fs) ** 2) / (2 * width**2))
        elif kind < 0.8:
            frame[int(rng.integers(rows)), int(rng.integers(columns))] += height
        else:
            length = rng.integers(2, 40)
            frame[int(ss) : int(ss) + (length if kind < 0.9 else 1), int(fs) : int(fs) + length] += height


def random_case(rng: np.random.Generator, kind: str | None = None, shape: Any = None) -> Case:
    """Return a case of some kind of background, with everything else drawn as well."""
    rows, columns = shape or (int(rng.integers(9, 71)), int(rng.choice(WIDTHS)))
    kind = kind or str(rng.choice(list(BACKGROUNDS)))
    radius = random_radius(rng, rows, columns)
    frame = BACKGROUNDS[kind](rng, np.nan_to_num(radius)).astype("f8")
    add_spots(rng, frame, int(rng.integers(0, 3 + rows * columns // 200)))
    if kind in ("photons", "empty", "constant"):
        frame = np.rint(frame)
    frame = frame.astype("f4")
    mask = None
    if rng.random() < 0.7:
        mask = rng.random(frame.shape) > rng.choice([0.02, 0.3])
        junk = ~mask & (rng.random(frame.shape) < 0.7)
        frame[junk] = rng.choice(JUNK, junk.sum())
    if rng.random() < 0.5:
        bad = rng.random(frame.shape) < 0.03
        frame[bad] = rng.choice(JUNK if rng.random() < 0.3 else JUNK[:3], bad.sum())
    # From far above the background to far below it, where most pixels are candidates.
    level = float(np.median(frame[np.isfinite(frame)]))
    threshold = level + float(rng.choice([-5, 0, 1, 3, 8, 30, 300]) * rng.uniform(0.8, 1.2))
    if kind in ("photons", "empty", "constant"):
        threshold = float(np.rint(threshold))  # so that pixels equal it
    least = int(rng.choice([1, 1, 2, 3, 10]))
    params = {
        "threshold": threshold,
        "min_snr": float(rng.choice([0.5, 2.0, 3.0, 5.0, 5.0, 8.3])),
        "min_pix_count": least,
        "max_pix_count": int(rng.choice([max(least, 3), 30, 100000])),
        "local_bg_radius": int(rng.integers(1, 6)),
        "min_res": float(rng.choice([0, 0, 5, 10.5])),
        "max_res": float(rng.choice([0, 0, 25, 60.5])),
        "noise_floor": float(rng.choice([0, 0, 0, 0.1, 1.0])),
    }
    return Case(frame, radius, mask, random_panels(rng, rows, columns), params)


VALUES = [-3.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 4.0, 7.5, 20.0, 300.0, 0.1, np.nan, np.inf, 1e30]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return small frames of few different values, which hypothesis can shrink."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 40)))
    pixels = st.sampled_from(VALUES)
    if draw(st.booleans()):
        pixels = st.floats(-10, 100, width=32) | pixels
    frame = draw(hnp.arrays("f4", shape, elements=pixels, fill=st.sampled_from([0.0, 1.0, 0.25])))
    if draw(st.booleans()):  # noise of which every bin has some
        seed = draw(st.integers(0, 999))
        frame = (frame + np.random.default_rng(seed).normal(0, 0.5, shape)).astype("f4")
    mask = draw(st.none() | hnp.arrays("?", shape, elements=st.booleans(), fill=st.just(True)))
    radius = draw(hnp.arrays("f4", shape, elements=st.sampled_from([0, 1, 1.5, 2.5, 3]), fill=st.just(1.0)))
    height, width = draw(st.integers(1, shape[0])), draw(st.integers(1, shape[1]))
    least = draw(st.integers(1, 4))
    params = {
        "threshold": draw(st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0, 3.3])),
        "min_snr": draw(st.sampled_from([0.5, 1.0, 2.0, 5.0])),
        "min_pix_count": least,
        "max_pix_count": least + draw(st.integers(0, 20)),
        "local_bg_radius": draw(st.integers(1, 3)),
        "min_res": draw(st.sampled_from([0.0, 0.0, 1.0])),
        "max_res": draw(st.sampled_from([0.0, 0.0, 2.5])),
        "noise_floor": draw(st.sampled_from([0.0, 0.0, 0.1])),
    }
    return Case(frame, radius, mask, draw(st.sampled_from([None, grid(*shape, height, width)])), params)


def compare(
    found: Found,
    records: np.ndarray,
    rejected: np.ndarray | None = None,
    panel_counts: np.ndarray | None = None,
) -> int:
    """Assert that a backend found what the oracle did; return how many peaks lie inside the margin.

    Every peak of the oracle with a margin of at least 1e-6 must be there, in order, with its numbers; what
    else the backend has must be explained by decisions that hang on rounding, in the same panel.
    """
    firm = found.margin >= FIRM
    at, extra = 0, []
    for expected, is_firm in zip(found.records, firm, strict=True):
        ahead = next((k for k in range(at, len(records)) if same_peak(expected, records[k])), None)
        if ahead is None:
            assert not is_firm, f"not found: {expected}\namong {records[at : at + 5]}"
            continue
        extra += range(at, ahead)
        at = ahead + 1
        if is_firm:
            same_numbers(expected, records[ahead])
    extra += range(at, len(records))
    # Where nothing hangs on rounding this is equality: of the peaks, their counts, and the rejected ones.
    for k in extra:
        assert found.loose[records[k]["panel"]], f"the oracle has no such peak: {records[k]}"
    if panel_counts is not None:
        expected = np.bincount(found.records["panel"], minlength=len(found.loose))
        assert (np.abs(panel_counts - expected) <= found.loose).all(), (panel_counts, expected, found.loose)
    if rejected is not None:
        expected = np.array([found.rejected[name] for name in FILTERS])
        slack = found.loose.sum()
        assert (np.abs(rejected - expected) <= slack).all(), (rejected, expected, slack)
    return int((~firm).sum()) + len(extra)


def same_peak(expected: np.void, record: np.void) -> bool:
    """Return whether two records are of the same component, as far as records can tell."""
    return (
        expected["panel"] == record["panel"]
        and expected["n_pixels"] == record["n_pixels"]
        and abs(expected["fs"] - record["fs"]) <= 1e-5
        and abs(expected["ss"] - record["ss"]) <= 1e-5
    )


def same_numbers(expected: np.void, record: np.void) -> None:
    """Assert that the numbers of a peak agree: 1e-5 relative, or 1e-4 of sigma."""
    slack = 1e-4 * expected["sigma"]
    for name in ("total", "max", "background", "sigma"):
        near = abs(record[name] - expected[name]) <= max(1e-5 * abs(expected[name]), slack)
        assert near, f"{name}: {record} instead of {expected}"
    assert abs(record["snr"] - expected["snr"]) <= 2e-4 + 2e-5 * abs(expected["snr"]), (record, expected)


def compare_shot(found: Found, peaks: Any, shot: int = 0) -> int:
    """Compare one shot of the answer of `peakfinder8`; return how many peaks lie inside the margin."""
    return compare(found, peaks[shot], peaks.rejected[shot], peaks.panel_counts[shot])


def assert_same_peaks(one: Any, other: Any) -> None:
    """Assert that two answers of `peakfinder8` have the same bits."""
    assert one.records.tobytes() == other.records.tobytes()
    for name in ("first", "panel_counts", "rejected", "n_peaks"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def known_cases(rng: np.random.Generator, rows: int = 64, columns: int = 128) -> dict[str, Case]:
    """Return one small frame for each rule of the definition; spots lie around the middle."""
    noise, empty = rng.normal(0, 1, (rows, columns)), np.zeros((rows, columns))
    s, f = rows // 2, columns // 2
    good = np.ones((rows, columns), bool)
    good[s, f] = False
    blob = [(s + i, f + j, 50 - 9 * (abs(i) + abs(j))) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    pair = [(s, f, 50), (s, f + 1, 50)]
    lattice = put(noise, *[(y, x, 60) for y in range(1, rows, 2) for x in range(1, columns, 2)])
    alone = noise.copy()
    alone[:, f - 9 : f + 10] = np.nan
    below = Case.flat(np.rint(noise) - 20, threshold=-5)  # with it, values of both signs are strong
    return {
        "one pixel": Case.flat(put(noise, (s, f, 50))),
        "on the border": Case.flat(
            put(noise, (0, f, 50), (rows - 1, f, 50), (s, 0, 50), (s, columns - 1, 50))
        ),
        "border and diagonal": Case.flat(put(noise, (0, f, 50), (1, f + 1, 60))),
        "diagonal": Case.flat(put(noise, (s, f, 50), (s + 1, f + 1, 60)), min_pix_count=2),
        "two spots": Case.flat(put(noise, (s, f, 50), (s, f + 3, 40))),
        "touching spots": Case.flat(put(noise, *blob, (s, f + 2, 35), (s, f + 3, 60))),
        "NaN neighbour": Case.flat(put(noise, (s, f, np.nan), (s, f + 1, 50))),
        "infinite neighbour": Case.flat(put(noise, (s, f, np.inf), (s, f + 1, 50), (s, f + 2, -np.inf))),
        "masked neighbour": Case.flat(put(noise, (s, f, 500), (s, f + 1, 50)), mask=good),
        "junk under the mask": Case.flat(put(noise, (s, f, 1e30), (s, f + 1, 50)), mask=good),
        "empty background": Case.flat(put(empty, (s, f, 50))),
        "empty background, blob": Case.flat(put(empty, *blob)),
        "empty background, floor": Case.flat(put(empty, *blob), noise_floor=0.1),
        "scattered ones": Case.flat(put(rng.random((rows, columns)) < 0.02, (s, f, 50))),
        "constant": Case.flat(put(empty + 7, (s, f, 57)), threshold=10),
        "constant 0.1": Case.flat(put(empty + 0.1, (s, f, 50)), threshold=3),
        "constant 3.3": Case.flat(put(empty + 3.3, (s, f, 57)), threshold=10),
        "constant 1000.1": Case.flat(put(empty + 1000.1, (s, f, 1100)), threshold=1050),
        "ring, last row": Case.flat(put(noise, (s, f, 50), (s + 6, f, 2.9), (s, f + 6, 2.9))),
        "ring, first row": Case.flat(put(noise, (s, f, 50), (s - 6, f, 2.9), (s, f - 6, 2.9))),
        "ring, centre at a half": Case.flat(put(np.rint(noise), *pair), min_snr=3),
        "ring, cut by a corner": Case.flat(put(noise, (1, 1, 50), (rows - 2, columns - 2, 50))),
        "ring, empty": Case.flat(put(alone, *blob)),
        "higher background": Case.flat(
            put(noise, (s, f, 4.2), (s, f + 1, 4.1), (s, f + 5, 2.99)), min_snr=1.0
        ),
        "far entry of older fills": Case.flat(
            put(noise, (2, f, 50), (2, f + 1, 60), (s + 4, 3, 50), (s + 2, f + 1, 40)),
            panels=grid(rows, columns, s, columns),
        ),
        "size above the limit": Case.flat(put(noise, *blob), max_pix_count=8),
        "many peaks": Case.flat(lattice, threshold=20, min_snr=1.0),
        "equal to the threshold": Case.flat(put(np.rint(noise), *pair, (s, f - 1, 10)), threshold=10),
        "weights of both signs": below.with_frame(put(below.frame, (s, f, -1), (s, f + 1, 1.5))),
        "weights that cancel": below.with_frame(put(below.frame, (s, f, -1), (s, f + 1, 1))),
        "weights below zero": below.with_frame(put(below.frame, (s, 4, -1.5), (s, 5, 1))),
        "centroid outside": below.with_frame(put(below.frame, (s, columns - 3, -1), (s, columns - 2, 1.5))),
        "infinities alone": Case.flat(empty + np.inf),
        "nothing good": Case.flat(noise, mask=np.zeros((rows, columns), bool)),
    }
