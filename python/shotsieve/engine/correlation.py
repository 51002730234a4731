"""Correlation over time in a run: bins and trains from recipe, geometry and table; results of all trains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.correlation_bins import CorrelationBins, correlation_bins
from ..measure.correlation_input import MOST_COUNT
from ..measure.lit import photons_per_unit
from ..measure.state import State, joined, under
from ..measure.train_correlator import (
    INCOMPLETE,
    NOT_VALID,
    OTHER_PULSES,
    TrainCorrelator,
    TrainOptions,
    shot_measures,
)
from ..measure.value_bins import check_edges, edges_of
from ..memory import half_of_memory
from ..write.photons import PhotonCounts
from ..write.xpcs import FILE_NAME, write_xpcs
from .place import geometry_of, good_pixels_of, pixels_of
from .trains import TrainPlaces, known_before, places_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..backend import Backend
    from ..recipe import Xpcs as Section
    from ..table import Table
    from .job import Job

PER_NM = {"q_nm^-1": 1.0, "q_A^-1": 10.0}
"""How many 1/nm a unit of q is."""

COLUMNS = {
    "xpcs_fill": "share of the valid pixels in bins of [measure.xpcs] that hold a photon",
    "xpcs_contrast": "contrast of the shot alone in bins of [measure.xpcs], free of the noise of counting",
}


@dataclass
class CorrelationJob:
    """``[measure.xpcs]``: which frames of a run go together, and what they come to.

    Attributes
    ----------
    section : Section
    bins : CorrelationBins
        Of the pixels that lie in a bin, in the order of their bins.
    pixels : ndarray of int64, shape (N,)
        Places of these pixels in a frame of all modules.
    places : TrainPlaces
    options : TrainOptions
    use : ndarray of bool, shape (K,)
        Trains that averages take; see `choose_trains`.
    photons : PhotonCounts or None
        None correlates values.
    table : Table
    unit : str
        Of the frames.
    files : dict of str to str
        sha256 of the geometry file and of the mask, since both are part of the result.
    too_bright : int
        Values so far of more photons than a byte of the kernels holds: they are not valid.
    asks_for_measures : bool
        Whether trains are chosen by what was measured on their shots.
    """

    section: Section
    bins: CorrelationBins
    pixels: np.ndarray
    places: TrainPlaces
    options: TrainOptions
    use: np.ndarray
    photons: PhotonCounts | None
    table: Table
    unit: str
    files: dict[str, str]
    too_bright: int = 0
    asks_for_measures: bool = False
    correlator: TrainCorrelator = field(init=False)
    _folder: Path | None = None

    def __post_init__(self) -> None:
        flags = np.where(self.places.same, INCOMPLETE, OTHER_PULSES)
        self.correlator = TrainCorrelator(self.bins, self.options, self.use, flags.astype("u1"), "auto")

    def choose_trains(self, job: Job, beforehand: Iterable[str]) -> None:
        """Decide which trains averages take, now or, by what is measured, once each is complete.

        Raises
        ------
        BadInput
            If there is no such column, it is known too late, or no train is left.
        """
        self.asks_for_measures = not known_before(job, self.section.column, beforehand)
        if self.asks_for_measures:
            self.correlator.decides = lambda train: self.places.uses(self.table, self.section, train)
        else:
            self.correlator.leave_out(~self.places.use(self.table, self.section))

    def declare(self) -> None:
        """Make room in the table: every value is unknown until it is measured."""
        if self.photons is not None:
            for name, meaning in COLUMNS.items():
                self.table.add_column(name, np.full(len(self.table), np.nan), "", meaning)

    def stage(self, backend: Backend, shots: int) -> CorrelationStage:
        """Return the measure with buffers for so many shots."""
        self.correlator.backend = backend
        return CorrelationStage(self, backend, shots)

    def open(self, folder: Path) -> None:
        """Remember where the file goes; it is written at the end."""
        self._folder = folder

    def begin(self, table: Table) -> None:
        """Take the table of the next block."""
        self.table = table

    def close(self, complete: bool = True) -> None:
        """Write the file, if all shots were seen."""
        if complete and self._folder is not None:
            unit = self.section.unit
            write_xpcs(
                self._folder / FILE_NAME,
                self.settings(self.unit),
                self.correlator,
                self.places.train_id,
                self.places.seconds,
                (unit, 1 / PER_NM[unit]),
            )

    def take(self, folder: Path) -> None:
        """Nothing: there are no rows of shots."""

    def snapshot(self) -> State:
        """Return all results, and the frames of the train that is not complete."""
        return {"too_bright": np.array(self.too_bright), **joined(trains=self.correlator.snapshot())}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self.too_bright = int(state["too_bright"])
        self.correlator.restore(under(state, "trains"))

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the correlation."""
        s = self.section
        told = {
            name: getattr(s, name)
            for name in ("unit", "pixels", "lags", "weights", "two_time", "static_weights")
        }
        told |= {"static": f"{s.static_q} {s.static_phi}", "strides": s.strides}
        told |= {
            "of": "photons" if s.counts else unit,
            "bins": self.bins.n_bins,
            "used_pixels": len(self.pixels),
        }
        told |= {"frames": self.options.length, "seconds_per_frame": self.places.seconds}
        if s.column is not None:
            told |= {"column": s.column, "least": s.least}
        if self.photons is not None:
            told |= {"per_unit": self.photons.per_unit, "rounding_threshold": self.photons.rounding_threshold}
        return {f"xpcs.{name}": value for name, value in (told | self.files).items()}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        one = self.correlator
        text = (
            f"correlation over time: {one.correlated} of {len(self.use)} trains of {self.options.length} "
            f"frames, {self.bins.n_bins} bins, {len(self.pixels)} pixels"
        )
        reasons = {
            "with other pulses than most": int((~self.places.same).sum()),
            "incomplete": int((one.flags & INCOMPLETE).any(axis=1).sum()),
            f"in no average, since {self.section.column} is not above {self.section.least}": int(
                (~self.use).sum()
            ),
        }
        for why, number in reasons.items():
            text += f"; {number} trains {why}" if number else ""
        if self.too_bright:
            text += f"; {self.too_bright} values of more than {MOST_COUNT} photons taken for not valid"
        return text

    def store(self, shots: np.ndarray, frames: np.ndarray) -> None:
        """Take the frames of some shots, float32 (k, pixels), in the order of the run."""
        values = frames[:, self.pixels]
        if self.photons is not None:
            values = self._counts(values)
            for name, column in zip(COLUMNS, shot_measures(values, self.bins), strict=True):
                self.table.columns[name][shots] = column
        else:
            values[np.isinf(values)] = np.nan
        for k, shot in enumerate(shots.tolist()):
            train = int(self.places.train[shot])
            if train >= 0 and self.places.same[train]:
                self.correlator.add(train, int(self.places.place[shot]), values[k])

    def _counts(self, values: np.ndarray) -> np.ndarray:
        """Return whole photons as bytes."""
        mask, out = np.zeros(values.shape, "u4"), np.empty(values.shape, "u1")
        self.photons.count(values, mask, out)
        bright = out > MOST_COUNT
        self.too_bright += int(bright.sum())
        out[bright | np.isnan(values)] = NOT_VALID
        return out


class CorrelationStage:
    """Takes the shots of a block; see `shotsieve.engine.stages.PixelStage`."""

    def __init__(self, job: CorrelationJob, backend: Backend, shots: int) -> None:
        self.job, self.backend, self._shots = job, backend, shots
        self.asks_for_measures = job.asks_for_measures
        self._host: np.ndarray | None = None  # made with the first block that is on a device

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Take some shots, and wait for them."""
        device, host = self.backend.device, pixels
        if not isinstance(pixels, np.ndarray):
            if self._host is None:
                self._host = device.empty_pinned((self._shots, pixels.shape[1]), pixels.dtype)
            host = self._host[: pixels.shape[0]]
            device.to_host(host, pixels, stream)
        device.wait(device.record(stream))
        self.job.store(shots, host)


def make_correlation_job(job: Job) -> CorrelationJob:
    """Prepare the correlation from a job whose calibration is decided; its columns are in the table.

    Raises
    ------
    BadInput
        If geometry, mask or keys do not fit the detector or each other, photons cannot be told, there is no
        train, or what is kept takes more than half of the memory.
    """
    section, geometry = job.recipe.measure.xpcs, geometry_of(job)
    mask, files = good_pixels_of(job, geometry, section.mask, "measure.xpcs")
    source = job.source
    # Modules that the run does not hold take no memory.
    there = source.shots.present[source.readable].any(axis=0)
    mask = mask & there[np.arange(mask.size) // source.detector.pixels].reshape(mask.shape)
    photons, per_unit = None, photons_per_unit(job.unit, job.mode.photon_energy_kev)
    if section.counts:
        if not per_unit:
            raise BadInput(
                f"[measure.xpcs] counts photons, and how many a value in {job.unit} is, is not known: set "
                "[calibrate] photon_energy and a unit of keV or photon, or counts = false, which "
                "correlates values"
            )
        photons = PhotonCounts(per_unit, job.recipe.calibrate.steps.rounding_threshold, "uint8")
    places = places_of(job)
    options = TrainOptions(
        places.length, section.counts, section.pixels == "each_pair", section.lags, section.two_time,
        _strides(section.strides), section.weights,
    )  # fmt: skip
    phi = (
        np.linspace(0.0, 360.0, section.sectors + 1)
        if section.sectors > 1 or section.static_phi > 1
        else None
    )
    whole = correlation_bins(
        pixels_of(job, geometry),
        _edges(section) * PER_NM[section.unit],
        phi,
        static=(section.static_q, section.static_phi),
        mask=mask,
        photon_energy_kev=job.mode.photon_energy_kev,
        static_weights=section.static_weights,
    )
    labels = whole.labels.reshape(-1)
    pixels = np.flatnonzero(labels >= 0)
    pixels = pixels[np.argsort(labels[pixels], kind="stable")]
    bins = replace(whole, labels=labels[pixels])
    needed = TrainCorrelator.n_bytes(bins, options, len(places.train_id))
    if needed > (most := half_of_memory()):
        raise BadInput(
            f"[measure.xpcs]: {len(pixels)} pixels of {options.length} frames in {bins.n_static} static bins "
            f"take {needed / 1e9:.1f} GB, and {most / 1e9:.1f} GB may be used: take fewer bins or pixels, "
            "shorter strides, or two_time = false"
        )
    use = np.ones(len(places.train_id), bool)
    made = CorrelationJob(section, bins, pixels, places, options, use, photons, job.table, job.unit, files)
    made.declare()
    return made


def _edges(section: Section) -> np.ndarray:
    if section.q_edges is None:
        return np.linspace(section.radial_min, section.radial_max, section.npt + 1)
    edges = edges_of(section.q_edges, "[measure.xpcs] q_edges")
    check_edges(edges, "[measure.xpcs] q_edges")
    return np.array(edges)


def _strides(text: str) -> tuple[int, ...]:
    found = edges_of(text, "[measure.xpcs] strides")
    if found == (0.0,):
        return ()
    if not all(one >= 1 and one == int(one) for one in found):
        raise BadInput(
            f'[measure.xpcs] strides = "{text}": expected whole numbers of trains, 1 or more, or 0 for no '
            "baseline"
        )
    return tuple(dict.fromkeys(int(one) for one in found))
