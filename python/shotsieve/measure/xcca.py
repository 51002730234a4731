"""Angular correlation of frames (XCCA), for those who embed it: polar maps of a geometry, correlated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .angular import AngularCorrelation, AngularSums
from .integrator import AzimuthalIntegrator

if TYPE_CHECKING:
    from ..backend import Backend
    from .azint import AzintPlan, AzintResult

__all__ = ["AngularCorrelator", "XccaResult", "xcca"]


@dataclass(frozen=True, eq=False)
class XccaResult(AngularCorrelation):
    """An angular correlation and the rings that it is of.

    Attributes
    ----------
    radial, edges : ndarray of float64, shape (n_q,) and (n_q + 1,)
        Centres and edges of the rings.
    unit : str
        Of both, as in `shotsieve.AzimuthalIntegrator`.
    """

    radial: np.ndarray
    edges: np.ndarray
    unit: str


class AngularCorrelator:
    """Correlates rings of frames over the azimuth, and sums that over frames.

    Promise: within 1e-12 of the sum of magnitudes, on every backend; the polar maps are those of
    `shotsieve.AzimuthalIntegrator`, bit for bit.

    Parameters
    ----------
    geometry, mask, distance_m, edges, backend
        As of `shotsieve.AzimuthalIntegrator`.
    npt, npt_chi : int
        Rings and azimuths of the polar map.
    unit : str
        Of the rings.
    normalise : {"mean_of_ratios", "ratio_of_sums", "none"}
        See `shotsieve.measure.angular.AngularSums`.
    diagonal : bool
        Of equal rings alone.
    **params
        Further ones of the integrator, such as radial_range, splitting, polarisation, flat.

    Attributes
    ----------
    integrator : AzimuthalIntegrator

    Raises
    ------
    BadInput
        As the integrator; if the azimuth is not a whole turn; if a ring has no pixel at all.

    Notes
    -----
    A bin of the polar map without a valid pixel is left out of every product, and of what the sum of products
    is divided by: gaps between modules and bad pixels leave no trace but fewer pairs. With
    ``splitting="full"`` small rings have fewer gaps, and neighbouring azimuths are correlated.

    Examples
    --------
    >>> correlator = AngularCorrelator("agipd.geom", npt=100, npt_chi=360)    # doctest: +SKIP
    >>> for frames in blocks:    # doctest: +SKIP
    ...     correlator.add(frames)
    >>> correlator.result().correlation.shape    # doctest: +SKIP
    (100, 100, 360)
    """

    def __init__(
        self,
        geometry: Any,
        mask: Any = None,
        npt: int = 100,
        npt_chi: int = 360,
        unit: str = "q_A^-1",
        *,
        normalise: str = "mean_of_ratios",
        diagonal: bool = False,
        distance_m: float | None = None,
        edges: Any = None,
        backend: str | Backend = "auto",
        **params: Any,
    ) -> None:
        low, high = params.get("chi_range", (-180.0, 180.0))
        if not np.isclose(high - low, 360.0, rtol=1e-12, atol=0):
            raise BadInput(f"xcca: chi_range = {(low, high)} degrees: expected a whole turn")
        given = {"npt": npt, "npt_chi": npt_chi, "unit": unit, "distance_m": distance_m, "edges": edges}
        self.integrator = AzimuthalIntegrator(geometry, mask, backend=backend, **given, **params)
        params_used = self.integrator.plan.params
        self._sums = AngularSums(params_used.npt, npt_chi, normalise=normalise, diagonal=diagonal)
        check_rings(self.integrator.plan)

    def add(self, frames: Any, *, mask: Any = None, threads: int | None = None, stream: Any = None) -> None:
        """Add frames.

        Parameters
        ----------
        frames, mask, threads, stream
            As for a call of `shotsieve.AzimuthalIntegrator`: float32, NaN left out frame by frame, NumPy or
            CuPy.

        Raises
        ------
        BadInput
            As that call.
        """
        cakes = self.integrator(frames, mask=mask, threads=threads, stream=stream)
        self._sums.add(*polar_maps(cakes))

    def result(self) -> XccaResult:
        """Return the correlation of all frames so far; more may be added."""
        return with_rings(self._sums.result(), self.integrator.plan)


def xcca(frames: Any, geometry: Any, mask: Any = None, **options: Any) -> XccaResult:
    """Correlate rings of frames over the azimuth.

    Parameters
    ----------
    frames : float32 array, shape (F, rows, columns) or (F, modules, ss, fs)
        NumPy or CuPy; NaN is left out.
    geometry, mask, **options
        As of `shotsieve.AngularCorrelator`.

    Returns
    -------
    XccaResult

    Raises
    ------
    BadInput
        As the class.

    Examples
    --------
    >>> import shotsieve
    >>> c = shotsieve.xcca(frames, "agipd.geom", npt=100, npt_chi=360)    # doctest: +SKIP
    >>> c.correlation[40, 40], c.delta    # doctest: +SKIP
    """
    correlator = AngularCorrelator(geometry, mask, **options)
    correlator.add(frames)
    return correlator.result()


def with_rings(found: AngularCorrelation, plan: AzintPlan) -> XccaResult:
    """Add to a correlation what its rings are."""
    return XccaResult(**vars(found), radial=plan.centres, edges=plan.edges, unit=plan.params.unit)


def polar_maps(cakes: AzintResult) -> tuple[np.ndarray, np.ndarray]:
    """Return the polar maps of cakes, (F, n_q, n_phi), and where they have a value."""
    intensity, norm = (np.asarray(x) for x in (cakes.intensity, cakes.sum_normalization))
    if intensity.ndim == 2:
        intensity, norm = intensity[None], norm[None]
    return intensity.transpose(0, 2, 1), (norm > 0).transpose(0, 2, 1)


def check_rings(plan: AzintPlan) -> None:
    """Refuse a plan of cakes with a ring that has no pixel.

    Raises
    ------
    BadInput
        The text gives the first of these rings.
    """
    empty = np.flatnonzero(plan.bins.totals[0].reshape(-1, len(plan.centres)).sum(axis=0) == 0)
    if len(empty):
        k = int(empty[0])
        raise BadInput(
            f"xcca: {len(empty)} of {len(plan.centres)} rings have no pixel, the first from "
            f"{plan.edges[k]:.4g} to {plan.edges[k + 1]:.4g} {plan.params.unit}: take fewer rings, or "
            "give radial_range (radial_min and radial_max in a recipe)"
        )
