"""How many crystal hits the rule `n_peaks >= 10` keeps, and how many blanks, on frames with known spots.

Frames are those of `peak_frames`: some modules of an AGIPD-1M, three strengths of background, settings A and
B. A hit is judged when 20 or more of its good spots are bright: their brightest pixel expects at least 1.5
times the threshold. Two readings of that are counted, and both have to pass: light of the spot alone
(``spot``), and with the background under it (``pixel``), which takes in fainter spots. Recall and precision
by the strength of the spots stand beside those of OM (see `shotsieve.bench.om_peer`) on the same frames.

Run as a script it prints the result; ``--record`` writes it to ``history/``.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import records
from efficiency import binomial_interval
from peak_frames import BACKGROUNDS, PHOTON, SETTINGS, SPOT_DTYPE, Scene
from peak_scores import Tally, compare
from shotsieve import peakfinder8
from shotsieve.backend import usable_cpus
from shotsieve.bench.om_peer import NoPeer, Peer
from shotsieve.decide import Rule
from shotsieve.measure.peak_finder import Peaks
from shotsieve.measure.peaks import PeakParams, PeakPlan

MIN_HITS_KEPT, MAX_BLANKS_KEPT = 0.995, 0.0005
MIN_JUDGED, MIN_BLANKS = 1000, 20_000
RULE = "n_peaks >= 10"
BRIGHT_SPOTS, BRIGHT = 20, 1.5
READINGS = ("spot", "pixel")
# A at 2 photons a pixel has its threshold within the background's reach: counted, not judged.
JUDGED = (("B", 0.05), ("B", 0.5), ("B", 2.0), ("A", 0.05), ("A", 0.5))
COUNT_EDGES = (0, 5, 10, 15, 20, 30, 50, 101)
TOGETHER = 25  # frames made and searched at a time: small arrays are used again by the allocator


@dataclass(frozen=True)
class Plan:
    """What is simulated at each background; the defaults are the full form.

    Attributes
    ----------
    hits, blanks : int
        Shots of each kind; enough hits that 1,000 are judged.
    om_blanks : int
        Blanks that OM searches too, beside all hits.
    parts : int
        Pieces of work, each with a mask of its own; they divide hits and blanks.
    modules : tuple of int
        One of each quadrant, together at all distances from the beam.
    """

    hits: int = 1600
    blanks: int = 20_000
    om_blanks: int = 2000
    parts: int = 20
    modules: tuple[int, ...] = (3, 5, 10, 12)

    def __post_init__(self) -> None:
        for name in ("hits", "blanks", "om_blanks"):
            if getattr(self, name) % self.parts:
                raise ValueError(f"{name} = {getattr(self, name)} is no multiple of {self.parts} parts")


@dataclass
class Searched:
    """What one setting found at one background; arrays over shots, lists over batches.

    Attributes
    ----------
    bright : dict of str to list of ndarray of int
        Bright spots of every hit, by reading.
    hit_peaks, blank_peaks : list of ndarray of int
        n_peaks of every shot.
    tally : Tally
        Of hits, and of the blanks that OM saw too.
    om_hit_peaks, om_blank_peaks, om : the same of OM, empty and None without it
    """

    bright: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in READINGS})
    hit_peaks: list[np.ndarray] = field(default_factory=list)
    blank_peaks: list[np.ndarray] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    om_hit_peaks: list[np.ndarray] = field(default_factory=list)
    om_blank_peaks: list[np.ndarray] = field(default_factory=list)
    om: Tally | None = None

    def merge(self, other: Searched) -> None:
        """Add another part."""
        for name in READINGS:
            self.bright[name] += other.bright[name]
        for name in ("hit_peaks", "blank_peaks", "om_hit_peaks", "om_blank_peaks"):
            getattr(self, name).extend(getattr(other, name))
        self.tally.merge(other.tally)
        if other.om is not None:
            self.om = self.om or Tally()
            self.om.merge(other.om)


@dataclass
class Part:
    """One part at one background: by setting, with the seconds it took and the name of the peer."""

    background: float
    searched: dict[str, Searched]
    seconds: float
    peer: str | None


def bright_spots(spots: np.ndarray, shots: int, threshold: float, reading: str) -> np.ndarray:
    """Count the good spots of every shot whose brightest pixel expects 1.5 times the threshold.

    Parameters
    ----------
    spots : ndarray of SPOT_DTYPE
    shots : int
    threshold : float
        In the unit of the frames.
    reading : {"spot", "pixel"}
        Photons of the spot alone, or of spot and background.
    """
    photons = spots["brightest"] + (spots["background"] if reading == "pixel" else 0)
    bright = spots["good"] & (photons * PHOTON >= BRIGHT * threshold)
    return np.bincount(spots["shot"][bright], minlength=shots)


def run_part(plan: Plan, background: float, number: int, backend: str = "cpu") -> Part:
    """Make the frames of one part and search them with every setting, in one thread."""
    began = time.perf_counter()
    scene = Scene.make(background, plan.modules, seed=number)
    rng = np.random.Generator(np.random.SFC64([number, round(1000 * background)]))
    plans = {
        name: PeakPlan.make(PeakParams(**setting), scene.radius, scene.panels, scene.mask)
        for name, setting in SETTINGS.items()
    }
    found = {name: Searched() for name in SETTINGS}
    try:
        peer = Peer(scene.radius, scene.mask)
    except NoPeer:
        peer = None
    try:
        for shots in _batches(plan.hits // plan.parts):
            frames, spots = scene.hits(rng, shots)
            _search(found, plans, frames, spots, backend, peer)
        for shots in _batches(plan.om_blanks // plan.parts):
            _search(found, plans, scene.blanks(rng, shots), None, backend, peer)
        for shots in _batches((plan.blanks - plan.om_blanks) // plan.parts):
            frames = scene.blanks(rng, shots)
            for name, one in plans.items():
                searched = peakfinder8(frames, plan=one, backend=backend, threads=1)
                found[name].blank_peaks.append(searched.n_peaks)
    finally:
        if peer is not None:
            peer.close()
    return Part(background, found, time.perf_counter() - began, peer.name if peer else None)


def _batches(shots: int) -> list[int]:
    return [min(TOGETHER, shots - start) for start in range(0, shots, TOGETHER)]


def _search(
    found: dict[str, Searched],
    plans: dict[str, PeakPlan],
    frames: np.ndarray,
    spots: np.ndarray | None,
    backend: str,
    peer: Peer | None,
) -> None:
    """Search a batch with ours and with OM, and score both."""
    shots = len(frames)
    blank = spots is None
    if peer is not None:
        peer.load("batch", frames)
    for name, plan in plans.items():
        into = found[name]
        peaks = peakfinder8(frames, plan=plan, backend=backend, threads=1)
        (into.blank_peaks if blank else into.hit_peaks).append(peaks.n_peaks)
        if blank:
            truth = np.zeros(0, SPOT_DTYPE)
        else:
            truth = spots
            for reading in READINGS:
                into.bright[reading].append(bright_spots(spots, shots, plan.params.threshold, reading))
        into.tally.add(truth, shots, *_columns(peaks))
        if peer is not None:
            rows = peer.find("batch", SETTINGS[name])
            (into.om_blank_peaks if blank else into.om_hit_peaks).append(rows.n_peaks)
            into.om = into.om or Tally()
            into.om.add(truth, shots, rows.rows[:, 0].astype("i8"), rows.rows[:, 1:4])


def _columns(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    shot = np.repeat(np.arange(len(peaks)), np.diff(peaks.first))
    return shot, np.stack([peaks.records[name] for name in ("fs", "ss", "total")], axis=1)


def run(plan: Plan, backgrounds: Sequence[float] = BACKGROUNDS, backend: str = "cpu") -> list[Part]:
    """Run all parts, as many at a time as there are cores; return one merged part for each background."""
    tasks = [(background, number) for background in backgrounds for number in range(1, plan.parts + 1)]
    with ProcessPoolExecutor(usable_cpus(), mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = list(
            pool.map(
                run_part,
                [plan] * len(tasks),
                [background for background, _ in tasks],
                [number for _, number in tasks],
                [backend] * len(tasks),
            )
        )
    return merged(parts)


def merged(parts: list[Part]) -> list[Part]:
    """Put the parts of each background together."""
    whole: dict[float, Part] = {}
    for part in parts:
        if part.background not in whole:
            whole[part.background] = part
            continue
        into = whole[part.background]
        for name, searched in part.searched.items():
            into.searched[name].merge(searched)
        into.seconds += part.seconds
    return list(whole.values())


def kept(n_peaks: list[np.ndarray]) -> np.ndarray:
    """Ask the rule about shots; bool (shots,)."""
    counts = np.concatenate([np.zeros(0), *n_peaks])
    return Rule.parse(RULE, ["n_peaks"]).evaluate({"n_peaks": (counts, counts)}) == 1


def summary(searched: Searched) -> dict[str, Any]:
    """Return what one setting does at one background.

    ``hits`` has for each reading the judged hits, the kept ones, the share and its 68 % interval;
    ``by_spots`` has rows of from, to (bright spots, reading `spot`), hits, kept, share.
    """
    hits, blanks = kept(searched.hit_peaks), kept(searched.blank_peaks)
    bright = {name: np.concatenate(counts) for name, counts in searched.bright.items()}
    out: dict[str, Any] = {
        "hits": {name: _kept_share(hits[counts >= BRIGHT_SPOTS]) for name, counts in bright.items()},
        "blanks": _kept_share(blanks),
        "blank_peaks": float(np.concatenate(searched.blank_peaks).mean()),
        "most_blank_peaks": int(np.concatenate(searched.blank_peaks).max()),
        "by_spots": [
            [low, high, *_kept_share(hits[(bright["spot"] >= low) & (bright["spot"] < high)])[:3]]
            for low, high in itertools.pairwise(COUNT_EDGES)
        ],
        "scores": searched.tally.summary(),
    }
    if searched.om is not None:
        om_hits = kept(searched.om_hit_peaks)
        out["om"] = {
            "hits": {name: _kept_share(om_hits[counts >= BRIGHT_SPOTS]) for name, counts in bright.items()},
            "blanks": _kept_share(kept(searched.om_blank_peaks)),
            "scores": searched.om.summary(),
            "only_ours_only_om": compare(searched.tally, searched.om),
        }
    return out


def _kept_share(verdicts: np.ndarray) -> list[Any]:
    """Return shots, kept, share (None of nothing), and the 68 % interval of the share."""
    n, k = len(verdicts), int(verdicts.sum())
    return [n, k, k / n if n else None, *binomial_interval(k, n)]


def make_record(plan: Plan, parts: list[Part], backend: str = "cpu") -> dict[str, Any]:
    """Return the record; its rates are those of the whole study, simulation and peer included."""
    seconds = sum(part.seconds for part in parts) / usable_cpus()
    shots = (plan.hits + plan.blanks) * len(parts)
    peer = parts[0].peer
    return records.make(
        "peak_efficiency",
        backend=backend,
        detector="AGIPD1M",
        shots_per_s=shots / seconds,
        gb_per_s=shots * len(plan.modules) * 512 * 128 * 4 / seconds / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=None,
        ratio_to_peer=None,
        threads=usable_cpus(),
        notes=f"not a rate but a quality: hits and blanks kept by {RULE}, {len(plan.modules)} modules; "
        f"beside {peer or 'nothing: no OM'}; shots/s with simulation and peer, bytes of float32 frames",
        details={
            "plan": dict(vars(plan)),
            "rule": RULE,
            "bright_spots": BRIGHT_SPOTS,
            "bright_from_thresholds": BRIGHT,
            "settings": SETTINGS,
            "share_columns": ["shots", "kept", "share", "share_low", "share_high"],
            "by_spots_columns": ["from_spots", "to_spots", "hits", "kept", "share"],
            "recall_columns": ["from_photons", "to_photons", "spots", "found", "share"],
            "precision_columns": ["from_photons", "to_photons", "peaks", "real", "share"],
            "only_columns": ["from_photons", "to_photons", "only_ours", "only_om"],
            "peer": peer,
            "cases": [
                {
                    "setting": name,
                    "background": part.background,
                    "judged": (name, part.background) in JUDGED,
                    **summary(searched),
                }
                for part in parts
                for name, searched in part.searched.items()
            ],
        },
    )


def table_lines(record: dict[str, Any]) -> list[str]:
    """Return a record as lines to read."""
    out = []
    for case in record["details"]["cases"]:
        note = "" if case["judged"] else " (not judged)"
        out.append(f"setting {case['setting']}, {case['background']:g} photons/px{note}:")
        for reading, (n, k, share, low, high) in case["hits"].items():
            if n:
                out.append(f"  hits kept ({reading}): {k} of {n}: {share:.4f} ({low:.4f} to {high:.4f})")
        n, k, share, low, high = case["blanks"]
        out.append(
            f"  blanks kept: {k} of {n}: {share:.5f} ({low:.5f} to {high:.5f}); {case['blank_peaks']:.3f} "
            f"peaks a blank, at most {case['most_blank_peaks']}"
        )
        out.append(_score_line("ours", case["scores"]))
        if "om" in case:
            out.append(_score_line("OM", case["om"]["scores"]))
            only = ", ".join(f"{ours}/{om}" for _, _, ours, om in case["om"]["only_ours_only_om"])
            out.append(f"  spots that only ours / only OM found, by class: {only}")
    return out


def _score_line(who: str, scores: dict[str, Any]) -> str:
    def shares(rows: list[list[Any]]) -> str:
        return " ".join("  -  " if row[4] is None else f"{row[4]:.3f}" for row in rows)

    rms = "-" if scores["centroid_rms"] is None else f"{scores['centroid_rms']:.4f}"
    return (
        f"  {who:4} recall {shares(scores['recall'])}; precision {shares(scores['precision'])}, in all "
        f"{scores['precision_all'] or 0:.4f} of {scores['peaks']}; centroid rms {rms} px"
    )


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hits", type=int, default=Plan.hits, help="of each background")
    parser.add_argument("--blanks", type=int, default=Plan.blanks, help="of each background")
    parser.add_argument("--backend", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--record", action="store_true", help="write the record to benchmarks/history/")
    options = parser.parse_args()
    plan = Plan(hits=options.hits, blanks=options.blanks, om_blanks=min(Plan.om_blanks, options.blanks))
    record = make_record(plan, run(plan, backend=options.backend), options.backend)
    print("\n".join(table_lines(record)))
    if options.record:
        print(f"written: {records.append(record)}")


if __name__ == "__main__":
    main()
