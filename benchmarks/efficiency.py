"""How many hits a rule on lit pixels keeps, against how bright they are, on simulated runs with known truth.

Each seed is one module with hits log-uniform in strength among many misses, pulse energies that jitter,
photons, noise, gain switches and bad pixels. `shotsieve.reduce` counts lit pixels; the rule's threshold is
the least that keeps at most 1 % of the misses; the rule is then replayed over the table. The strength of a
hit is its expected signal: lit pixels of the particle alone, from truth, in standard deviations of the lit
count over misses.

Run as a script it prints the curve; ``--record`` writes it to ``history/``.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import records
import shotsieve
from shotsieve.backend import usable_cpus
from shotsieve.decide import Rule
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.detector import DetectorModel
from shotsieve.simulate.memory import spi_source
from shotsieve.table import Table

MISSES_KEPT = 0.01
BRIGHT_SIGMAS = 5.0
MIN_EFFICIENCY = 0.99
EDGES = (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 10, 15, 20, math.inf)
RECIPE = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}}


@dataclass(frozen=True)
class Plan:
    """What is simulated; the defaults are the full form.

    Attributes
    ----------
    hits, misses : int
        Shots of each kind per seed; their sum is a multiple of `cells`.
    strengths : (float, float)
        Expected photons of a hit on the module, log-uniform between these.
    cells : int
        Memory cells.
    module : int
        One of the modules next to the beam.
    energy_jitter : float
        Relative scatter of the pulse energy.
    """

    hits: int = 2000
    misses: int = 20_000
    strengths: tuple[float, float] = (20.0, 5e5)
    cells: int = 16
    module: int = 3
    energy_jitter: float = 0.2

    def parameters(self, seed: int) -> SpiParameters:
        """Return the parameters of the simulated run."""
        trains, rest = divmod(self.hits + self.misses, self.cells)
        if rest:
            raise ValueError(f"{self.hits + self.misses} shots are no multiple of {self.cells} cells")
        return SpiParameters(
            n_trains=trains,
            n_cells=self.cells,
            reference_frame=0,  # no dark frames: every miss has its background
            modules=(self.module,),
            energy_jitter=self.energy_jitter,
            seed=seed,
        )

    def shot_strengths(self, seed: int) -> np.ndarray:
        """Return the strength of every shot, 0 for a miss, float64 (S,)."""
        rng = np.random.default_rng([seed, 5])
        out = np.zeros(self.hits + self.misses)
        low, high = np.log(self.strengths)
        out[rng.choice(out.size, self.hits, replace=False)] = np.exp(rng.uniform(low, high, self.hits))
        return out


@dataclass(frozen=True)
class Run:
    """One seed's table and truth, arrays over shots.

    Attributes
    ----------
    table : Table
        Lit pixels as the kernel counted them, and pulse energies.
    hit : ndarray of bool
    signal : ndarray of float64
        Expected lit pixels of the particle alone.
    seconds : float
        Simulation included.
    """

    seed: int
    table: Table
    hit: np.ndarray
    signal: np.ndarray
    seconds: float


def run_seed(plan: Plan, seed: int, backend: str = "cpu") -> Run:
    """Simulate and count one seed; frames are made when they are read, so that memory stays small."""
    began = time.perf_counter()
    parameters = plan.parameters(seed)
    source, truth = spi_source(parameters, plan.shot_strengths(seed), lazy=True)
    constants = constants_in_memory(parameters, DetectorModel(seed, parameters.cells_with_constants))
    with tempfile.TemporaryDirectory() as folder:
        result = shotsieve.reduce(source, RECIPE, Path(folder) / "red", constants=constants, backend=backend)
    signal = (truth.lit_expected - truth.background_lit_expected).sum(1)
    return Run(seed, result.table, truth.hit, signal, time.perf_counter() - began)


def run_seeds(plan: Plan, seeds: list[int], backend: str = "cpu") -> list[Run]:
    """Run several seeds, as many at a time as there are cores."""
    workers = min(len(seeds), usable_cpus())
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(run_seed, [plan] * len(seeds), seeds, [backend] * len(seeds)))


@dataclass(frozen=True)
class Judged:
    """What a rule does to the shots of one seed.

    Attributes
    ----------
    rule : str
    kept : ndarray of bool, shape (S,)
    sigmas : ndarray of float64, shape (S,)
        Expected signal over the standard deviation over misses, both of what the rule compares.
    sigma : float
        That standard deviation.
    held_out : float
        Misses of odd trains kept by the threshold that those of even trains set.
    """

    rule: str
    kept: np.ndarray
    sigmas: np.ndarray
    sigma: float
    held_out: float


def judge(run: Run, scaled: bool) -> Judged:
    """Set the threshold from the misses, and ask the rule about every shot.

    Parameters
    ----------
    run : Run
    scaled : bool
        False: ``lit_pixels > T``. True: ``lit_pixels > F * pulse_energy``, free of the energy jitter.

    Returns
    -------
    Judged
    """
    lit, _ = run.table.bounds("lit_pixels")
    energy = run.table.columns["pulse_energy"] if scaled else np.ones(len(lit))
    score = lit / energy
    miss, even = ~run.hit, run.table.train_id % 2 == 0
    threshold = quantile_threshold(score[miss])
    rule = f"lit_pixels > {threshold!r} * pulse_energy" if scaled else f"lit_pixels > {threshold!r}"
    parsed = Rule.parse(rule, run.table.names())
    verdict = parsed.evaluate({name: run.table.bounds(name) for name in parsed.names})
    sigma = float(score[miss].std(ddof=1))
    half = quantile_threshold(score[miss & even])
    return Judged(
        rule, verdict == 1, run.signal / energy / sigma, sigma, float((score[miss & ~even] > half).mean())
    )


def quantile_threshold(scores: np.ndarray) -> float:
    """Return the least threshold, to six digits, that at most 1 % of the scores exceed.

    Examples
    --------
    >>> quantile_threshold(np.arange(1000.0))
    989.0
    """
    allowed = math.floor(MISSES_KEPT * len(scores))
    least = float(np.sort(scores)[len(scores) - 1 - allowed])
    # Six digits are enough to write down; rounded up, they keep the promise where the rule multiplies.
    scale = 10.0 ** (5 - math.floor(math.log10(least))) if least > 0 else 1.0
    return math.ceil(least * scale) / scale


def binomial_interval(kept: int, n: int) -> tuple[float, float]:
    """Return the 68 % interval (Wilson) of a share; (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share = kept / n
    middle = (share + 0.5 / n) / (1 + 1 / n)
    half = math.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
    return max(0.0, min(share, middle - half)), min(
        1.0, max(share, middle + half)
    )  # rounding must not exclude the share


def curve(sigmas: np.ndarray, kept: np.ndarray) -> list[list[float | int | None]]:
    """Return the efficiency curve: rows of low, high (None: no end), hits, kept, share, least, most."""
    rows: list[list[float | int | None]] = []
    for low, high in itertools.pairwise(EDGES):
        inside = (sigmas >= low) & (sigmas < high)
        n, k = int(inside.sum()), int(kept[inside].sum())
        share = k / n if n else None
        rows.append([low, None if math.isinf(high) else high, n, k, share, *binomial_interval(k, n)])
    return rows


def summary(runs: list[Run], scaled: bool) -> dict[str, Any]:
    """Return what one rule does: pooled over the seeds, and seed by seed."""
    judged = [judge(run, scaled) for run in runs]
    sigmas = np.concatenate([j.sigmas[r.hit] for r, j in zip(runs, judged, strict=True)])
    kept = np.concatenate([j.kept[r.hit] for r, j in zip(runs, judged, strict=True)])
    missed = np.concatenate([j.kept[~r.hit] for r, j in zip(runs, judged, strict=True)])
    per_seed = []
    for run, one in zip(runs, judged, strict=True):
        bright = run.hit & (one.sigmas >= BRIGHT_SIGMAS)
        per_seed.append(
            {
                "seed": run.seed,
                "rule": one.rule,
                "sigma": one.sigma,
                "misses": int((~run.hit).sum()),
                "misses_kept": float(one.kept[~run.hit].mean()),
                "misses_kept_held_out": one.held_out,
                "bright_hits": int(bright.sum()),
                "bright_kept": int(one.kept[bright].sum()),
                "efficiency": float(one.kept[bright].mean()),
                "curve": curve(one.sigmas[run.hit], one.kept[run.hit]),
            }
        )
    bright = sigmas >= BRIGHT_SIGMAS
    return {
        "misses_kept": float(missed.mean()),
        "bright_hits": int(bright.sum()),
        "bright_kept": int(kept[bright].sum()),
        "efficiency": float(kept[bright].mean()),
        "efficiency_interval": list(binomial_interval(int(kept[bright].sum()), int(bright.sum()))),
        "curve": curve(sigmas, kept),
        "seeds": per_seed,
    }


def make_record(plan: Plan, runs: list[Run], backend: str = "cpu") -> dict[str, Any]:
    """Return the record of all seeds; its rates are those of the whole study, simulation included."""
    shots, seconds = sum(len(run.table) for run in runs), sum(run.seconds for run in runs)
    return records.make(
        "lit_efficiency",
        backend=backend,
        detector="AGIPD1M",
        shots_per_s=shots / seconds,
        gb_per_s=shots * 2 * 2 * runs[0].table.module_pixels / seconds / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=None,
        ratio_to_peer=None,
        threads=usable_cpus(),
        notes="not a rate but a quality: hits kept by their strength, one module; shots/s with simulation",
        details={
            "plan": dict(vars(plan)),
            "bright_from_sigmas": BRIGHT_SIGMAS,
            "curve_columns": ["from_sigmas", "to_sigmas", "hits", "kept", "share", "share_low", "share_high"],
            "lit": summary(runs, scaled=False),
            "lit_over_pulse_energy": summary(runs, scaled=True),
        },
    )


def table_lines(record: dict[str, Any]) -> list[str]:
    """Return a record as lines to read."""
    out = []
    for name in ("lit", "lit_over_pulse_energy"):
        rule = record["details"][name]
        low, high = rule["efficiency_interval"]
        bright = (
            f"{rule['bright_kept']} of {rule['bright_hits']} hits of {BRIGHT_SIGMAS:g} sigma or more kept"
        )
        share = f"{rule['efficiency']:.4f} ({low:.4f} to {high:.4f})"
        out.append(f"{name}: {bright}: {share}; {rule['misses_kept']:.4f} of the misses kept")
        for seed in rule["seeds"]:
            out.append(
                f"  seed {seed['seed']}: {seed['efficiency']:.4f} of {seed['bright_hits']}, misses "
                f"{seed['misses_kept']:.4f} (held out {seed['misses_kept_held_out']:.4f}), {seed['rule']}"
            )
        for start, stop, n, kept, share, low, high in rule["curve"]:
            if n:
                end = "     " if stop is None else f"{stop:5.1f}"
                out.append(
                    f"  {start:5.1f} - {end} sigma {kept:6d} of {n:6d}: {share:.3f} ({low:.3f} to {high:.3f})"
                )
    return out


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 1 on")
    parser.add_argument("--hits", type=int, default=Plan.hits)
    parser.add_argument("--misses", type=int, default=Plan.misses)
    parser.add_argument("--backend", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--record", action="store_true", help="write the record to benchmarks/history/")
    options = parser.parse_args()
    plan = Plan(hits=options.hits, misses=options.misses)
    record = make_record(
        plan, run_seeds(plan, list(range(1, options.seeds + 1)), options.backend), options.backend
    )
    print("\n".join(table_lines(record)))
    if options.record:
        print(f"written: {records.append(record)}")


if __name__ == "__main__":
    main()
