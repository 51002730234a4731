"""peakfinder8 on arrays, for those who embed it: NumPy, CuPy, or whatever speaks DLPack."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .arrays import check_threads, chosen_backend, device_frames, frames_on_device, host_frames
from .peak_finder import PeakFinder, Peaks
from .peaks import PeakParams, PeakPlan

if TYPE_CHECKING:
    from ..backend import Backend

BATCH_BYTES = 64_000_000
"""Frames that are copied to a device at once."""

SHOTS_PER_THREAD = 16
"""Frames that a thread of the CPU handles in one call."""

SHOTS_ON_DEVICE = 256
"""Frames in one call where they are on the device already; each needs about half a megabyte of scratch."""

WHO = "peakfinder8"


def peakfinder8(
    frames: Any,
    mask: Any = None,
    radius: Any = None,
    panels: Any = None,
    *,
    threshold: float | None = None,
    min_snr: float | None = None,
    min_pix_count: int | None = None,
    max_pix_count: int | None = None,
    local_bg_radius: int | None = None,
    min_res: float | None = None,
    max_res: float | None = None,
    max_num_peaks: int | None = None,
    noise_floor: float | None = None,
    statistics: str = "lazy",
    plan: PeakPlan | None = None,
    backend: str | Backend = "auto",
    threads: int | None = None,
    stream: Any = None,
) -> Peaks:
    """Find the Bragg peaks of frames.

    Promise: exact. The same peaks, order and numbers on every backend, batch size and thread count.

    Parameters
    ----------
    frames : float32 array, shape (S, rows, columns) or (rows, columns)
        Calibrated frames of the whole detector, modules stacked along the rows, or (S, modules, ss, fs). NaN
        and infinities count as masked. A NumPy array or anything that gives one without loss (small integers,
        float16, DLPack on the CPU); for ``cuda`` also a CuPy array, which stays where it is.
    mask : bool array, shape (rows, columns), or None
        True where a pixel may be used.
    radius : float32 array, shape (rows, columns)
        Distance of each pixel from the beam, in pixels; `shotsieve.geometry.Geometry.radius` makes it.
    panels : int array, shape (n, 4), or None
        ss_start, ss_stop, fs_start, fs_stop of the panels, stop exclusive; None is one panel. Peaks never
        cross a panel's border, so give the real ones: `shotsieve.geometry.Geometry.rectangles`.
    threshold : float
        Lowest value of a strong pixel, in the unit of the frames.
    min_snr, min_pix_count, max_pix_count, local_bg_radius, min_res, max_res, max_num_peaks, noise_floor
        See `PeakParams`; None takes its default.
    statistics : {"lazy", "full"}
        ``lazy`` computes the statistics of those radial bins only that can hold a peak; same result.
    plan : PeakPlan or None
        Made once with `PeakPlan.make` for many calls; then no mask, radius, panels or parameters are given.
    backend : {"auto", "cpu", "cuda", "emu"} or Backend
    threads : int or None
        CPU threads; None takes all that the process may use.
    stream : CUDA stream or None
        A CuPy stream (or its integer handle) on which the work is queued, in order with what made the frames.
        None takes the stream that the array names, else CuPy's current one. The call waits for its result.

    Returns
    -------
    Peaks
        Ragged lists in host memory; ``peaks[k]`` are the peaks of frame k.

    Warns
    -----
    UserWarning
        If no pixel is left to search. What else one should know of mask and radius map, such as bins with
        too few pixels, stands in `PeakPlan.notes`.

    Raises
    ------
    BadInput
        If shapes disagree, a value is out of range, or the frames cannot become float32 without loss.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> import numpy as np
    >>> frame = np.random.default_rng(0).normal(0, 1, (64, 128)).astype("f4")
    >>> frame[10, 20:22] = 50
    >>> radius = np.hypot(*np.mgrid[-32:32, -64:64]).astype("f4")
    >>> peaks = peakfinder8(frame, radius=radius, threshold=10, backend="cpu")
    >>> peaks.n_peaks.tolist(), round(float(peaks[0]["fs"][0]), 3), peaks[0]["n_pixels"].tolist()
    ([1], 20.5, [2])
    """
    params = {
        "min_snr": min_snr,
        "min_pix_count": min_pix_count,
        "max_pix_count": max_pix_count,
        "local_bg_radius": local_bg_radius,
        "min_res": min_res,
        "max_res": max_res,
        "max_num_peaks": max_num_peaks,
        "noise_floor": noise_floor,
    }
    params = {name: value for name, value in params.items() if value is not None}
    if plan is None:
        if radius is None or threshold is None:
            missing = "radius" if radius is None else "threshold"
            raise BadInput(f"peakfinder8: {missing} is missing; give it, or a plan from PeakPlan.make")
        plan = PeakPlan.make(PeakParams(threshold, **params), radius, panels, mask)
        if len(plan.arrays["order"]) == 0:
            warnings.warn(plan.notes[0], UserWarning, stacklevel=2)
    else:
        inputs = {"mask": mask, "radius": radius, "panels": panels, "threshold": threshold}
        _check_plan(plan, [*params, *(name for name, value in inputs.items() if value is not None)])
    if statistics not in ("lazy", "full"):
        raise BadInput(f"peakfinder8: statistics = {statistics!r}: expected 'lazy' or 'full'")
    check_threads(threads, WHO)
    chosen = chosen_backend(backend)
    search = _Search(plan, chosen, statistics == "full", threads)
    on_device = frames_on_device(frames, chosen, WHO)
    if on_device is None:
        return search.host(host_frames(frames, plan.shape, WHO)[0], stream)
    return search.device(on_device, stream)


def _check_plan(plan: Any, beside: list[str]) -> None:
    """Refuse what is no plan, and whatever is given beside one."""
    if not isinstance(plan, PeakPlan):
        raise BadInput(
            f"peakfinder8: plan is a {type(plan).__name__}: expected a PeakPlan, from PeakPlan.make"
        )
    if beside:
        raise BadInput(
            f"peakfinder8: {', '.join(beside)} belong to the plan that is given: leave them out, or make "
            "another plan"
        )


class _Search:
    """A plan on a backend, and the batches of one call."""

    def __init__(self, plan: PeakPlan, backend: Backend, all_bins: bool, threads: int | None) -> None:
        self.plan, self.backend, self.all_bins = plan, backend, all_bins
        self.threads = threads or backend.threads

    def _prepare(self, shots: int, together: int) -> None:
        """Allocate for batches of at most `together` shots."""
        self.room = max(1, min(shots, together))
        self.finder = PeakFinder(self.backend, self.plan, self.room)
        self.parts = [Peaks.empty(0, len(self.plan.arrays["panels"]))]

    def _batches(self, shots: int) -> Iterator[slice]:
        return (slice(start, min(start + self.room, shots)) for start in range(0, shots, self.room))

    def _find(self, pixels: Any, stream: Any) -> None:
        self.parts.append(
            self.finder.find(pixels, None, stream, all_bins=self.all_bins, threads=self.threads)
        )

    def host(self, frames: np.ndarray, stream: Any) -> Peaks:
        """Search frames in host memory; to a device they are copied batch by batch."""
        device, shots = self.backend.device, len(frames)
        if self.backend.name == "cpu":
            self._prepare(shots, SHOTS_PER_THREAD * self.threads)
            for batch in self._batches(shots):
                self._find(frames[batch], None)
            return Peaks.joined(self.parts)
        self._prepare(shots, BATCH_BYTES // (4 * self.plan.pixels))
        stream = device.stream() if stream is None else device.given_stream(stream)
        pinned = device.empty_pinned((self.room, self.plan.pixels), "f4")
        pixels = device.twin(pinned)
        for batch in self._batches(shots):
            n = batch.stop - batch.start
            pinned[:n] = frames[batch]
            device.to_device(pixels[:n], pinned[:n], stream)
            self._find(pixels[:n], stream)
        return Peaks.joined(self.parts)

    def device(self, frames: Any, stream: Any) -> Peaks:
        """Search frames that are on the device already, in order with the stream that made them."""
        pixels, _, stream = device_frames(frames, self.plan.shape, self.backend, stream, WHO)
        shots = pixels.shape[0]
        self._prepare(shots, SHOTS_ON_DEVICE)
        for batch in self._batches(shots):
            self._find(pixels[batch], stream)
        return Peaks.joined(self.parts)
