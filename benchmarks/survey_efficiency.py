"""How many crystal hits are kept by the rule that a survey suggests, on simulated runs with 95 % misses.

Each part is a run of its own: lysozyme in a jet, one module of an AGIPD-1M next to the beam, five per cent of
the shots hit a crystal. `shotsieve.survey` looks at a sample without the truth; the rule that it suggests is
put into the recipe, and `shotsieve.reduce` reduces the run with it. A hit is judged when 20 or more of its
spots are interior, two pixels or more from the border of their panel, and have 20 photons or more. Bad pixels
are not left out: spots under them count.

Run as a script it prints the result; ``--record`` writes it to ``history/``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import records
import shotsieve
from shotsieve.backend import usable_cpus
from shotsieve.simulate import SfxParameters, simulate_sfx
from shotsieve.surveys.intervals import share_of

MIN_KEPT = 0.995
MIN_JUDGED = 200
SPOTS, PHOTONS, BORDER = 20, 20.0, 2
PANEL = (64, 128)
SCAN = {
    "measure.peaks.threshold": ["4.3 photon", "6 photon"],
    "measure.peaks.min_snr": [5.0],
    "measure.peaks.min_pix_count": [1, 2],
    "measure.peaks.max_pix_count": [200],
    "write.compression": ["gzip"],
    "write.rounding_relative": [0.01],
}


@dataclass(frozen=True)
class Plan:
    """What is simulated; the defaults are the full form.

    Attributes
    ----------
    parts : int
        Runs.
    trains, cells : int
        Of each run; every shot is lit.
    sample : int
        Shots that the survey looks at.
    module : int
        Next to the beam.
    hit_rate : float
    bandwidth : float
        That of self-amplified pulses, so that one module has as many spots as several with a narrow one.
    """

    parts: int = 12
    trains: int = 70
    cells: int = 8
    sample: int = 280
    module: int = 3
    hit_rate: float = 0.05
    bandwidth: float = 0.004

    def parameters(self, seed: int) -> SfxParameters:
        """Return the parameters of one run."""
        return SfxParameters(
            n_trains=self.trains,
            n_cells=self.cells,
            reference_frame=0,  # no dark frames
            modules=(self.module,),
            hit_rate=self.hit_rate,
            bandwidth=self.bandwidth,
            truth_stage=False,
            seed=seed,
        )


@dataclass(frozen=True)
class Part:
    """What became of one run.

    Attributes
    ----------
    rule : str or None
        That the page suggests; None where it suggests none, and the recipe's is kept.
    hits, judged, judged_kept, misses, misses_kept : int
        Shots; judged are hits with so many interior spots.
    bytes_in, bytes_out : int
    hit_rate : (float, float, float)
        That the survey tells of the recipe as it was, with its interval.
    seconds : float
    """

    rule: str | None
    hits: int
    judged: int
    judged_kept: int
    misses: int
    misses_kept: int
    bytes_in: int
    bytes_out: int
    hit_rate: tuple[float, float, float]
    seconds: float


def recipe_of(geometry: Path) -> dict[str, Any]:
    """Return what a user begins with: a high limit, and settings between those of usual tools."""
    return {
        "detector": [{"name": "AGIPD1M", "geometry": str(geometry)}],
        "calibrate": {},
        "measure": {"peaks": {"threshold": "4.3 photon", "min_snr": 5.0, "min_pix_count": 1}},
        "keep": {"rule": "n_peaks >= 15"},
        "write": {"content": "corrected", "compression": "gzip"},
    }


def interior_spots(truth: Path) -> np.ndarray:
    """Count the bright spots of every shot that lie off the borders of their panels, int (S,)."""
    with h5py.File(truth) as file:
        first = file["spots_first"][:]
        ss, fs, photons = (file[f"spots_{name}"][:] for name in ("ss", "fs", "photons"))
    good = photons >= PHOTONS
    for at, size in zip((ss, fs), PANEL, strict=True):
        place = np.mod(np.rint(at), size)
        good &= (place >= BORDER) & (place < size - BORDER)
    return np.add.reduceat(np.append(good, False), np.minimum(first[:-1], len(good))) * (np.diff(first) > 0)


def run_part(plan: Plan, seed: int, backend: str = "cpu") -> Part:
    """Simulate a run, survey it, and reduce it as the page suggests."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = simulate_sfx(Path(folder) / "sim", plan.parameters(seed))
        source = shotsieve.open_run(made.raw).of_modules((plan.module,))
        recipe = recipe_of(made.geometry)
        found = shotsieve.survey(
            source,
            recipe,
            Path(folder) / "survey.html",
            made.constants,
            backend,
            shots=plan.sample,
            scan=SCAN,
        )
        rule = next((one.value for one in found.suggestions if one.key == "keep.rule"), None)
        if rule is not None:
            recipe["keep"]["rule"] = rule
        result = shotsieve.reduce(source, recipe, Path(folder) / "red", made.constants, backend)
        keys = {
            key: at for at, key in enumerate(zip(result.table.train_id, result.table.cell_id, strict=True))
        }
        at = [keys[key] for key in zip(made.truth.train_id, made.truth.cell_id, strict=True)]
        kept, hit = result.table.fate[at] == 0, made.truth.hit
        judged = hit & (interior_spots(made.truth_file) >= SPOTS)
        rate = found.outcomes[0].rate
        return Part(
            rule,
            int(hit.sum()),
            int(judged.sum()),
            int((judged & kept).sum()),
            int((~hit).sum()),
            int((~hit & kept).sum()),
            result.accounts.bytes_in,
            result.accounts.bytes_out,
            (rate.value, rate.low, rate.high),
            time.perf_counter() - began,
        )


def run(plan: Plan, backend: str = "cpu") -> list[Part]:
    """Run all parts, as many at a time as there are cores."""
    seeds = range(1, plan.parts + 1)
    workers = min(plan.parts, usable_cpus())
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(run_part, [plan] * plan.parts, seeds, [backend] * plan.parts))


def make_record(plan: Plan, parts: list[Part]) -> dict[str, Any]:
    """Return the record."""
    total = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("hits", "judged", "judged_kept", "misses", "misses_kept", "bytes_in", "bytes_out")
    }
    kept = share_of(total["judged_kept"], total["judged"])
    details = {
        "plan": asdict(plan),
        "recipe": recipe_of(Path("agipd.geom"))["measure"]["peaks"],
        "rules": [part.rule for part in parts],
        **total,
        "judged_kept_share": [kept.value, kept.low, kept.high],
        "ratio": total["bytes_in"] / total["bytes_out"],
    }
    return records.alone(
        "survey_efficiency",
        detector="AGIPD1M",
        threads=1,
        notes="not a rate but a quality: hits kept by the rule that the survey's page suggests",
        details=details,
    )


def table_lines(made: dict[str, Any]) -> list[str]:
    """Return a record as text."""
    told = made["details"]
    value, low, high = told["judged_kept_share"]
    return [
        f"rules suggested: {', '.join(map(str, told['rules']))}",
        f"{told['judged_kept']} of {told['judged']} hits with {SPOTS} interior spots kept: {100 * value:.2f} "
        f"% ({100 * low:.2f} to {100 * high:.2f} %); {told['hits']} hits in all",
        f"{told['misses_kept']} of {told['misses']} misses kept; {told['ratio']:.1f} times smaller",
    ]


def main() -> None:
    """Run the full form and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the record to history/")
    options = parser.parse_args()
    plan = Plan()
    made = make_record(plan, run(plan))
    print("\n".join(table_lines(made)))
    if options.record:
        print(f"written: {records.append(made)}")


if __name__ == "__main__":
    main()
