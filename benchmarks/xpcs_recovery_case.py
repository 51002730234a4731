"""Simulated speckles counted at some rates, correlated and fitted as those of a run, and what is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shotsieve
from shotsieve.measure.correlation_bins import CorrelationBins
from shotsieve.measure.train_correlator import INCOMPLETE, TrainCorrelator, TrainOptions
from shotsieve.simulate import XpcsParameters
from shotsieve.simulate.geometry import momentum_transfer
from shotsieve.simulate.kinds import positions
from shotsieve.simulate.noise import generator
from shotsieve.simulate.physics import draw_photons, solid_angle
from shotsieve.simulate.schedule import make_schedule
from shotsieve.sources.exposure import SLOT_MHZ
from shotsieve.write.xpcs import FILE_NAME, write_xpcs

RATES = (0.01, 0.1, 1.0)
"""Photons per pixel and frame."""

CONTRAST, RELAXATION = 0.5, 5.0
"""Of two equal modes; frames in which the field correlation falls to 1 / e."""

QUANTITIES = ("contrast", "relaxation", "diagonal", "baseline")
"""Contrast and relaxation of a fit of an exponential, the others of the averages over trains."""

STRETCHED = ("contrast_stretched", "relaxation_stretched")
"""The same of a fit that leaves the stretch free too, as it is by default."""

TRUE = {
    "contrast": CONTRAST,
    "relaxation": RELAXATION,
    "diagonal": 1 + CONTRAST,
    "baseline": 1.0,
    "contrast_stretched": CONTRAST,
    "relaxation_stretched": RELAXATION,
}

COUNTS = 14  # stream of random numbers


@dataclass(frozen=True)
class Size:
    """Of a run."""

    trains: int = 12
    frames: int = 16
    pixels: int = 20000

    def parameters(self, seed: int) -> XpcsParameters:
        """Return those of `shotsieve simulate xpcs`, all frames lit."""
        return XpcsParameters(
            n_trains=self.trains,
            n_cells=self.frames,
            modules=(3,),
            reference_frame=0,
            photons_per_pixel=1.0,
            contrast=CONTRAST,
            relaxation_us=RELAXATION * XpcsParameters().stride / SLOT_MHZ,
            seed=seed,
        )


def frames_of(
    p: XpcsParameters, q: np.ndarray, weight: np.ndarray
) -> Iterator[tuple[int, int, dict[float, np.ndarray]]]:
    """Make the photons of a run at every rate: train, place, and uint8 (pixels,) of each rate.

    The speckles are those of the simulated run, counted three times over. Pulses differ in energy.
    """
    schedule = make_schedule(p)
    # The photons of a module fall on those of its pixels that are looked at.
    speckles = p.scene(schedule, q[None], weight[None])
    share = q.size / (p.photons_per_hit[0] / p.photons_per_pixel)
    for shot, train in enumerate(schedule.train.tolist()):
        mean = speckles.hit(shot, 0) * np.float32(share * schedule.pulse_energy[shot] / p.pulse_energy_uj)
        counted = {}
        for k, rate in enumerate(RATES):
            rng = generator(p.seed, COUNTS, shot, k)
            pixels, counts = draw_photons(rng, mean * np.float32(rate))
            counted[rate] = np.zeros(q.size, "u1")
            counted[rate][pixels] = counts
        yield train, shot % len(p.frames), counted


def recover(seed: int, size: Size, folder: Path) -> dict[float, dict[str, tuple[float, float]]]:
    """Simulate, correlate and fit a run; return for each rate the value and the error of each quantity.

    Values and errors are those of `shotsieve.fit_g2` and of ``shotsieve/xpcs.h5``: the relaxation is the
    inverse of the fitted rate.
    """
    p = size.parameters(seed)
    place = positions(p.detector, p.modules[0])
    q = momentum_transfer(place, p.distance_m, p.photon_energy_kev).reshape(-1)[: size.pixels]
    radius = np.hypot(*place.reshape(-1, 2).T)[: size.pixels]
    edges = np.array([q.min(), np.nextafter(q.max(), np.inf)])
    bins = CorrelationBins(np.zeros(size.pixels, "i4"), np.zeros(1, "i8"), 1, q_edges=edges)
    options, use = TrainOptions(size.frames, two_time=False), np.ones(size.trains, bool)
    flags = np.full(size.trains, INCOMPLETE, "u1")
    all_ = {rate: TrainCorrelator(bins, options, use, flags, "cpu") for rate in RATES}
    for train, at, counted in frames_of(p, q, solid_angle(p.distance_m, radius)):
        for rate, one in all_.items():
            one.add(train, at, counted[rate])
    return {rate: _found(one, p, folder / f"{rate}-{FILE_NAME}") for rate, one in all_.items()}


def _found(one: TrainCorrelator, p: XpcsParameters, path: Path) -> dict[str, tuple[float, float]]:
    spacing = p.stride / SLOT_MHZ * 1e-6  # s
    told = {"xpcs.of": "photons", "xpcs.weights": one.options.weights}
    write_xpcs(path, told, one, make_schedule(p).train_id, spacing, ("q_nm^-1", 1.0))
    found = shotsieve.open_xpcs(path)
    values = {"diagonal": (found["g2"][:, 0], found["g2_errors"][:, 0])}
    values |= {"baseline": (found["baseline_1"], found["baseline_1_errors"])}
    for stretch, end in ((1.0, ""), (None, "_stretched")):
        fits = shotsieve.fit_g2(found, stretch=stretch)
        rate, its_error = fits["rate"] * spacing, fits["rate_error"] * spacing
        values[f"contrast{end}"] = fits["contrast"], fits["contrast_error"]
        values[f"relaxation{end}"] = 1 / rate, its_error / rate**2
    return {name: (float(value[0]), float(error[0])) for name, (value, error) in values.items()}


def deviations(runs: list[dict[float, dict[str, tuple[float, float]]]]) -> dict[float, dict[str, np.ndarray]]:
    """Return how many errors each run is off, for each rate and quantity."""
    return {
        rate: {
            name: np.array([(run[rate][name][0] - TRUE[name]) / run[rate][name][1] for run in runs])
            for name in TRUE
        }
        for rate in RATES
    }


def beyond(off: np.ndarray) -> float:
    """Return the share of runs that are more than 3 errors off, or of which no error is known."""
    return float((~(abs(off) <= 3)).mean())


def bias(
    runs: list[dict[float, dict[str, tuple[float, float]]]], rate: float, name: str
) -> tuple[float, float]:
    """Return how far the mean over all runs is off, and its standard error."""
    values = np.array([run[rate][name][0] for run in runs])
    return float(values.mean() - TRUE[name]), float(values.std(ddof=1) / np.sqrt(len(values)))
