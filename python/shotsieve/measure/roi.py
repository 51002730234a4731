"""Sums over regions of interest, for every frame: by the kernel that integrates azimuthally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import shown
from .arrays import chosen_backend
from .batches import Batches
from .bin_summer import BinSummer, Sums, frame_bytes
from .bins import BinPlan
from .regions import label_entries

if TYPE_CHECKING:
    from ..backend import Backend

WHO = "regions"


@dataclass(frozen=True)
class RoiResult:
    """What frames hold in regions; arrays have shape (F, n), or (n,) where a single frame was given.

    Attributes
    ----------
    names : tuple of str
        Of the n regions.
    sum, sum_squares : ndarray of float64
        Over valid pixels; 0 where there is none.
    count : ndarray of int64
        Valid pixels.
    max : ndarray of float32
        NaN without a valid pixel.
    """

    names: tuple[str, ...]
    sum: np.ndarray
    sum_squares: np.ndarray
    count: np.ndarray
    max: np.ndarray

    PER_FRAME: ClassVar[tuple[str, ...]] = ("sum", "sum_squares", "count", "max")

    @property
    def mean(self) -> np.ndarray:
        """Mean of the valid pixels, NaN without one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.sum / self.count

    @property
    def var(self) -> np.ndarray:
        """Variance of the valid pixels around their mean, as `numpy.nanvar`; NaN without one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.maximum(self.sum_squares / self.count - self.mean**2, 0.0)

    @property
    def std(self) -> np.ndarray:
        """Root of `var`."""
        return np.sqrt(self.var)

    def _repr_html_(self) -> str:
        return shown.regions(self)

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        """Return what one region has, by name: sum, sum_squares, count, max, mean, std."""
        at = self.names.index(name)
        words = ("sum", "sum_squares", "count", "max", "mean", "std")
        return {word: getattr(self, word)[..., at] for word in words}


@dataclass(frozen=True, eq=False)
class RoiPlan:
    """Regions ready to be summed on any backend. Make it with `make`.

    Attributes
    ----------
    names : tuple of str
    bins : BinPlan
    """

    names: tuple[str, ...]
    bins: BinPlan

    @classmethod
    def make(cls, regions: Any, shape: tuple[int, int], parts: Any = None) -> RoiPlan:
        """Prepare the sums; see `RegionSums` for the parameters."""
        entries, names = label_entries(regions, shape)
        columns = {"count": np.ones(len(entries.pixel))}
        return cls(names, BinPlan.make(shape, len(names), entries, columns, parts=parts))

    def summer(self, backend: Backend, frames: int) -> BinSummer:
        """Return the plan on a backend, with buffers for so many frames."""
        return BinSummer(backend, self.bins, frames, "moments")

    def result(self, sums: Sums) -> RoiResult:
        """Turn sums into what frames hold in the regions."""
        count = sums.columns["count"].astype("i8")
        most = np.where(count > 0, sums.maximum, np.float32(np.nan))
        return RoiResult(self.names, sums.signal, sums.second, count, most)


class RegionSums:
    """Sums, squares, counts and maxima of frames over regions.

    Promise: exact, the same bits on every backend, batch size and thread count; sums of whole numbers up to
    2^16 are exact, others within 1e-12 of the sum of magnitudes.

    Parameters
    ----------
    regions : mapping of str to array of bool (rows, columns), or array of int (rows, columns)
        Masks by name, which may overlap (`shotsieve.measure.regions` makes them); or a label image, below 0
        outside of all regions.
    shape : (int, int)
        Rows and columns of the slab.
    parts : array of int, shape (P, 4), or None
        Tiles of the detector, in which sums are made; None takes pieces of the slab.
    backend : {"auto", "cpu", "cuda", "emu"} or Backend

    Raises
    ------
    BadInput
        If a region is empty, or shapes disagree.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[0, 0, 1, -1]])
    >>> found = RegionSums(labels, (1, 4), backend="cpu")(np.array([[1, 2, np.nan, 4]], "f4"))
    >>> found.sum.tolist(), found.count.tolist(), found.max.tolist()
    ([3.0, 0.0], [2, 0], [2.0, nan])
    """

    def __init__(
        self, regions: Any, shape: tuple[int, int], parts: Any = None, *, backend: str | Backend = "auto"
    ) -> None:
        self.plan = RoiPlan.make(regions, shape, parts)
        self.backend = chosen_backend(backend)
        self._summer: BinSummer | None = None

    def __call__(
        self, frames: Any, *, mask: Any = None, threads: int | None = None, stream: Any = None
    ) -> RoiResult:
        """Sum frames.

        Parameters
        ----------
        frames : float32 array, shape (F, rows, columns), (F, modules, ss, fs), or one frame
            NaN and infinities are left out. NumPy or, for ``cuda``, CuPy.
        mask : array of bool, uint8 or uint32 of the same shape, or None
            Not 0 where a pixel of a frame is bad.
        threads : int or None
        stream : CUDA stream or None

        Returns
        -------
        RoiResult
            In host memory.

        Raises
        ------
        BadInput
            If shapes disagree, or frames cannot become float32 without loss.
        """
        beside = frame_bytes(self.backend, self.plan.bins, "moments")
        batches = Batches(
            frames, self.plan.bins.shape, self.backend, stream, threads, WHO, mask=mask, beside=beside
        )
        if self._summer is None or self._summer.frames < batches.room:
            self._summer = self.plan.summer(self.backend, batches.room)
        parts = [
            self.plan.result(self._summer.sum(pixels, batches.stream, bad=given["bad"], threads=threads))
            for _, pixels, given in batches
        ]
        joined = {
            word: np.concatenate([getattr(part, word) for part in parts])
            for word in ("sum", "sum_squares", "count", "max")
        }
        if not batches.several:
            joined = {word: values[0] for word, values in joined.items()}
        return RoiResult(self.plan.names, **joined)
