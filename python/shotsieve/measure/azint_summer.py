"""Integrates frames on a backend: one pass, two for the azimuthal error model, a few for sigma clipping."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .azint import AzintPlan, AzintResult
from .bin_summer import BinSummer, Sums

if TYPE_CHECKING:
    from ..backend import Backend

CLIP_MODELS = ("azimuthal", "poisson", "detector")


class AzintSummer:
    """A plan on a backend, with buffers for so many frames at once.

    Parameters
    ----------
    backend : Backend
    plan : AzintPlan
    frames : int
        Most frames of a call.
    """

    def __init__(self, backend: Backend, plan: AzintPlan, frames: int) -> None:
        self.backend, self.plan, self.frames = backend, plan, frames
        self._sums = BinSummer(backend, plan.bins, frames, plan.mode)
        self._residuals: BinSummer | None = None

    def integrate(
        self,
        pixels: Any,
        stream: Any,
        *,
        variance: Any = None,
        bad: Any = None,
        monitor: np.ndarray | None = None,
        threads: int | None = None,
        on_device: bool = False,
    ) -> AzintResult:
        """Integrate some frames, and wait for the result; `on_device` leaves it there and waits for nothing.

        Parameters
        ----------
        pixels : float32 (n, n_pixels) on the device
        stream : stream of the device
        variance : float32 (n, n_pixels) on the device, or None
            For the error model "variance".
        bad : uint8 or uint32 (n, n_pixels) on the device, or None
            Not 0: left out.
        monitor : ndarray of float64, shape (n,), or None
        threads : int or None
            CPU threads; None takes the backend's.

        Returns
        -------
        AzintResult
        """
        spread = None
        given = {"bad": bad, "threads": threads}
        if self.plan.mode == "variance":
            given["variance"] = variance if self.plan.params.error_model == "variance" else pixels
        if on_device:
            self._sums.queue(pixels, stream, on_device=True, **given)
            with stream:
                return self.plan.profiles(self._sums.result_on_device(pixels.shape[0], stream), monitor)
        sums = self._sums.sum(pixels, stream, **given)
        if self.plan.params.error_model == "azimuthal":
            given = {"bad": bad, "threads": threads}
            spread = self._around(pixels, stream, _no_limits(self.plan.profiles(sums)), **given).second
        return self.plan.profiles(sums, monitor, spread)

    def sigma_clip(
        self,
        pixels: Any,
        stream: Any,
        *,
        thresh: float = 5.0,
        max_iter: int = 5,
        bad: Any = None,
        monitor: np.ndarray | None = None,
        threads: int | None = None,
    ) -> AzintResult:
        """Integrate some frames without the outliers of each bin, and wait for the result.

        Parameters
        ----------
        pixels, stream, bad, monitor, threads
            As in `integrate`.
        thresh : float
            Values further than so many `std` from the mean are left out; at least what Chauvenet's criterion
            gives for n pixels, sqrt(2 ln(n / sqrt(2 pi))).
        max_iter : int
            Most times that outliers are looked for.

        Returns
        -------
        AzintResult
            Of the pixels that were kept.
        """
        model = self.plan.params.error_model
        given = {"bad": bad, "threads": threads}
        sums = self._sums.sum(pixels, stream, **given)
        mean = self.plan.profiles(sums)
        limits = _no_limits(mean)
        spread = self._around(pixels, stream, limits, **given).second if model == "azimuthal" else None
        result = self.plan.profiles(sums, None, spread)
        for _ in range(max_iter):
            before = limits.copy()
            _narrow(limits, result, thresh)
            if np.array_equal(before[:2], limits[:2]):
                break
            sums = self._around(pixels, stream, limits, **given)
            mean = self.plan.profiles(_plain(sums))
            limits[2] = _centres(mean)
            if model == "azimuthal":
                spread = self._around(pixels, stream, limits, **given).second
            counts = result.count
            result = self.plan.profiles(_plain(sums), None, spread)
            if np.array_equal(counts, result.count):
                break
        return self.plan.profiles(_plain(sums), monitor, spread)

    def _around(self, pixels: Any, stream: Any, limits: np.ndarray, **given: Any) -> Sums:
        if self._residuals is None:
            self._residuals = BinSummer(self.backend, self.plan.bins, self.frames, "residual")
        return self._residuals.sum(pixels, stream, limits=limits, **given)


def check_clip(plan: AzintPlan, thresh: float, max_iter: int) -> None:
    """Refuse what cannot be clipped.

    Raises
    ------
    BadInput
        If pixels are split, there is no error model, or a number is out of range.
    """
    if plan.params.splitting != "no":
        raise BadInput(
            f'azint: sigma clipping with splitting = "{plan.params.splitting}" would take a pixel out of one '
            'bin and not of its neighbour: take splitting = "no"'
        )
    if plan.params.error_model not in CLIP_MODELS:
        raise BadInput(
            f"azint: sigma clipping with error_model = {plan.params.error_model!r}: expected one of "
            f"{', '.join(CLIP_MODELS)}"
        )
    if not thresh >= 0 or not np.isfinite(thresh) or max_iter < 1:
        raise BadInput(
            f"azint: thresh = {thresh!r}, max_iter = {max_iter!r}: expected a threshold of at least 0 and at "
            "least one iteration"
        )


def _plain(sums: Sums) -> Sums:
    """Sums without the spread, which is no variance of the values."""
    return dataclasses.replace(sums, second=None)


def _centres(mean: AzintResult) -> np.ndarray:
    centres = np.nan_to_num(mean.intensity, nan=0.0)
    return centres.reshape(len(centres), -1)


def _no_limits(mean: AzintResult) -> np.ndarray:
    centres = _centres(mean)
    return np.stack([np.full_like(centres, -np.inf), np.full_like(centres, np.inf), centres])


def _narrow(limits: np.ndarray, result: AzintResult, thresh: float) -> None:
    """Narrow the limits to what a further pass may keep; what was left out once stays out."""
    n, shape = result.count, limits.shape[1:]
    chauvenet = np.sqrt(2.0 * np.log(np.maximum(n, 3.0) / np.sqrt(2.0 * np.pi)))
    reach = np.maximum(thresh, chauvenet) * np.nan_to_num(result.std, nan=0.0)
    mean = np.nan_to_num(result.intensity, nan=0.0)
    limits[0] = np.maximum(limits[0], (mean - reach).reshape(shape))
    limits[1] = np.minimum(limits[1], (mean + reach).reshape(shape))
