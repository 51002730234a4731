"""Sums frames over the bins of a plan, on any backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .bins import BinPlan
from .uploads import uploaded

if TYPE_CHECKING:
    from ..backend import Backend

MODES = ("plain", "variance", "moments", "residual")
FRAMES_TOGETHER = 32  # a block of a device has one in each lane


@dataclass(frozen=True)
class Sums:
    """Sums of some frames over the bins of a plan.

    Attributes
    ----------
    signal : ndarray of float64, shape (F, n_bins)
        Values of valid pixels, times their share.
    columns : dict of str to ndarray of float64, shape (F, n_bins)
        The plan's columns over valid pixels.
    second : ndarray of float64, shape (F, n_bins), or None
        What the mode sums beside.
    maximum : ndarray of float32, shape (F, n_bins), or None
        Largest value in mode "moments", -inf where there is none.
    """

    signal: np.ndarray
    columns: dict[str, np.ndarray]
    second: np.ndarray | None = None
    maximum: np.ndarray | None = None


def frame_bytes(backend: Backend, plan: BinPlan, mode: str) -> int:
    """Return the bytes of device memory that a `BinSummer` has for each frame, results and scratch."""
    columns = len(plan.names)
    scratch = backend.native.bins_scratch_bytes(
        n_frames=FRAMES_TOGETHER, n_slots=len(plan.arrays["slot_bin"]), n_columns=columns, mode=mode
    )
    return (columns + 3) * 8 * plan.n_bins + scratch // FRAMES_TOGETHER


class BinSummer:
    """A plan on a backend, with buffers for so many frames at once.

    Parameters
    ----------
    backend : Backend
    plan : BinPlan
    frames : int
        Most frames of a call.
    mode : {"plain", "variance", "moments", "residual"}
        What is summed beside the values: nothing; a given variance; squares, and the maximum; the spread
        around a centre, with values outside of limits left out.
    """

    def __init__(self, backend: Backend, plan: BinPlan, frames: int, mode: str = "plain") -> None:
        self.backend, self.plan, self.frames, self.mode = backend, plan, frames, mode
        device, bins, columns = backend.device, plan.n_bins, len(plan.names)
        self._plan = uploaded(plan, plan.arrays, device)
        self._host = {"signal": device.empty_pinned((frames, bins), "f8")}
        # A call of fewer frames takes the front of a flat array.
        self._host["lost"] = device.empty_pinned((columns * frames * bins,), "f8")
        if mode != "plain":
            self._host["second"] = device.empty_pinned((frames, bins), "f8")
        if mode == "moments":
            self._host["maximum"] = device.empty_pinned((frames, bins), "f4")
        self._device = {name: device.twin(array) for name, array in self._host.items()}
        if mode == "residual":
            self._limits_host = device.empty_pinned((3 * frames * bins,), "f8")
            self._limits = device.twin(self._limits_host)
        size = backend.native.bins_scratch_bytes(
            n_frames=frames, n_slots=len(plan.arrays["slot_bin"]), n_columns=columns, mode=mode
        )
        self._scratch = device.empty((max(size, 1),), "u1")
        self._totals: Any = None

    def queue(
        self,
        pixels: Any,
        stream: Any,
        *,
        variance: Any = None,
        bad: Any = None,
        limits: np.ndarray | None = None,
        threads: int | None = None,
        on_device: bool = False,
    ) -> None:
        """Queue the sums of some frames, and the copy of the results; waits for nothing.

        Parameters
        ----------
        pixels : float32 (n, n_pixels) on the device
            NaN and infinities are left out.
        stream : stream of the device
        variance : float32 (n, n_pixels) on the device
            For mode "variance".
        bad : uint8 or uint32 (n, n_pixels) on the device, or None
            Not 0: left out.
        limits : ndarray of float64, shape (3, n, n_bins)
            For mode "residual": low, high and centre of value / norm.
        threads : int or None
            CPU threads; None takes the backend's.
        on_device : bool
            Leave the results there, for `result_on_device`.
        """
        device, n, plan = self.backend.device, pixels.shape[0], self.plan
        limits_here = None
        if self.mode == "residual":
            size = limits.size
            self._limits_host[:size] = limits.ravel()
            device.to_device(self._limits[:size], self._limits_host[:size], stream)
            limits_here = self._limits[:size].reshape(3, n, plan.n_bins)
        views = self._views(self._device, n)
        self.backend.native.bin_sums(
            pixels,
            variance,
            bad,
            limits_here,
            views["signal"],
            views["lost"],
            views.get("second"),
            views.get("maximum"),
            self._scratch,
            plan=self._plan,
            mode=self.mode,
            row_pixels=plan.shape[1],
            n_bins=plan.n_bins,
            most_slots=plan.most_slots,
            **self.backend.on(stream, threads),
        )
        if on_device:
            return
        for name, view in self._views(self._host, n).items():
            device.to_host(view, views[name], stream)

    def result(self, n: int) -> Sums:
        """Return what the last call of `n` frames gave, once its stream is done; arrays of their own."""
        views = self._views(self._host, n)
        totals = self.plan.totals[:, None]
        columns = dict(zip(self.plan.names, totals - views["lost"], strict=True))
        second, maximum = (views[name].copy() if name in views else None for name in ("second", "maximum"))
        return Sums(views["signal"].copy(), columns, second, maximum)

    def result_on_device(self, n: int, stream: Any) -> Sums:
        """Return what the last call of `n` frames gives, in CuPy arrays and in order with the stream."""
        device, views = self.backend.device, self._views(self._device, n)
        if self._totals is None:
            self._totals = device.twin(self.plan.totals)
            device.to_device(self._totals, self.plan.totals, stream)
        with stream:
            valid = self._totals[:, None] - views["lost"]
            columns = dict(zip(self.plan.names, valid, strict=True))
            second, maximum = (
                views[name].copy() if name in views else None for name in ("second", "maximum")
            )
            return Sums(views["signal"].copy(), columns, second, maximum)

    def sum(self, pixels: Any, stream: Any, **given: Any) -> Sums:
        """Sum some frames and wait; see `queue`."""
        self.queue(pixels, stream, **given)
        self.backend.device.wait(self.backend.device.record(stream))
        return self.result(pixels.shape[0])

    def _views(self, arrays: dict[str, Any], n: int) -> dict[str, Any]:
        shape = (len(self.plan.names), n, self.plan.n_bins)
        views = {name: array[:n] for name, array in arrays.items() if name != "lost"}
        return views | {"lost": arrays["lost"][: int(np.prod(shape))].reshape(*shape)}
