"""Azimuthal integration of arrays, for those who embed it: NumPy, CuPy, or whatever speaks DLPack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..geometry.given import pixel_map_of
from .arrays import chosen_backend, is_on_device
from .azint import AzintPlan, AzintResult, checked_mask
from .azint_params import AzintParams
from .azint_summer import AzintSummer, check_clip
from .batches import Batches
from .bin_summer import frame_bytes

if TYPE_CHECKING:
    from ..backend import Backend

WHO = "azint"

FRAME_ARRAYS = ("intensity", "sigma", "std", "sem", "count")
SUM_ARRAYS = ("sum_signal", "sum_variance", "sum_normalization", "sum_normalization2")


class AzimuthalIntegrator:
    """Integrates frames over the azimuth: curves I(q) with errors, or cakes I(chi, q).

    Promise: exact, the same bits on every backend, batch size and thread count. Sums are float64, exact for
    whole numbers up to 2^16 and within 1e-12 of the sum of magnitudes otherwise.

    Parameters
    ----------
    geometry : PixelMap, Geometry, EXtra-geom object, pyFAI integrator or detector, or path
        Where the pixels are: anything that a `shotsieve.geometry.PixelMap` is made of; a path is that of a
        .geom or a PONI file.
    mask : array of bool, shape (rows, columns), or None
        True where a pixel may be used.
    npt : int
        Radial bins.
    unit : str
        ``q_A^-1``, ``q_nm^-1``, ``2th_deg``, ``2th_rad``, ``r_mm`` or ``r_m``.
    distance_m : float or None
        From the sample, in m; for geometries that do not have it.
    edges : array of float64 or None
        Explicit edges of the radial bins in place of `npt`.
    dark, dark_variance, flat : array, shape (rows, columns), or None
    backend : {"auto", "cpu", "cuda", "emu"} or Backend
    **params
        All other fields of `shotsieve.measure.azint_params.AzintParams`: radial_range, npt_chi, chi_range,
        splitting, solid_angle, polarisation, absorption, error_model, gain, read_noise, photon_energy_kev.

    Attributes
    ----------
    plan : AzintPlan
    pixels : PixelMap

    Notes
    -----
    An integrator has buffers of its own: call it from one thread at a time. It uses all threads itself.

    Raises
    ------
    BadInput
        If geometry, mask and parameters do not fit each other, or no pixel is left.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> import shotsieve
    >>> ai = shotsieve.AzimuthalIntegrator("agipd.geom", npt=500, error_model="poisson")    # doctest: +SKIP
    >>> curves = ai(frames)    # doctest: +SKIP
    >>> curves.radial.shape, curves.intensity.shape    # doctest: +SKIP
    ((500,), (64, 500))
    """

    def __init__(
        self,
        geometry: Any,
        mask: Any = None,
        npt: int = 500,
        unit: str = "q_A^-1",
        *,
        distance_m: float | None = None,
        edges: Any = None,
        dark: Any = None,
        dark_variance: Any = None,
        flat: Any = None,
        backend: str | Backend = "auto",
        **params: Any,
    ) -> None:
        known = {field.name for field in dataclasses.fields(AzintParams)}
        if unknown := sorted(params.keys() - known):
            raise BadInput(
                f"{WHO}: there is no option {', '.join(unknown)}: expected some of {', '.join(sorted(known))}"
            )
        if edges is not None:
            edges = np.asarray(edges, "f8")
            npt = max(1, edges.size - 1)
        self.pixels = pixel_map_of(geometry, distance_m)
        params = AzintParams(npt=npt, unit=unit, **params)
        maps = {"dark": dark, "dark_variance": dark_variance, "flat": flat}
        self.plan = AzintPlan.make(self.pixels, mask, params, edges=edges, **maps)
        self.backend = chosen_backend(backend)
        self._summer: AzintSummer | None = None

    @classmethod
    def from_pyfai(
        cls,
        ai: Any,
        npt: int = 500,
        unit: str = "q_A^-1",
        *,
        mask: Any = None,
        shape: tuple[int, int] | None = None,
        **params: Any,
    ) -> AzimuthalIntegrator:
        """Take a configured integrator of pyFAI: geometry, wavelength, mask, dark and flat.

        Parameters
        ----------
        ai : pyFAI AzimuthalIntegrator
        npt, unit, **params
            As for the class. pyFAI's ``polarization_factor`` is `polarisation`, ``correctSolidAngle``
            `solid_angle`, ``normalization_factor`` the `monitor` of a call.
        mask : array of bool, shape (rows, columns), or None
            True where a pixel may be used; beside the detector's own mask, which in pyFAI is True where it
            may not.
        shape : (int, int) or None
            Where the detector does not say it.

        Returns
        -------
        AzimuthalIntegrator
            The same curve as pyFAI's for the same range of the axis, which pyFAI takes from the pixels that
            are not masked, and this class from all of them: give `radial_range` to compare.

        Examples
        --------
        >>> AzimuthalIntegrator.from_pyfai(ai, 1000, "q_nm^-1")(frame)    # doctest: +SKIP
        """
        from ..geometry import PixelMap

        pixels = PixelMap.from_pyfai(ai, shape=shape)
        good = checked_mask(mask, pixels.shape)
        if ai.detector.mask is not None:
            good &= np.asarray(ai.detector.mask).reshape(pixels.shape) == 0
        for name, get in (("dark", "get_darkcurrent"), ("flat", "get_flatfield")):
            if name not in params and (found := getattr(ai.detector, get)()) is not None:
                params[name] = found
        return cls(pixels, good, npt, unit, **params)

    def __call__(
        self,
        frames: Any,
        *,
        variance: Any = None,
        mask: Any = None,
        monitor: Any = None,
        threads: int | None = None,
        stream: Any = None,
        on_device: bool = False,
    ) -> AzintResult:
        """Integrate frames.

        Parameters
        ----------
        frames : float32 array, shape (F, rows, columns), (F, modules, ss, fs), or one frame
            NaN and infinities are left out, frame by frame. A NumPy array or anything that gives one without
            loss; for ``cuda`` also a CuPy array, which stays where it is.
        variance : float32 array of the same shape, or None
            For ``error_model="variance"``; in host memory, or beside frames that are on a GPU.
        mask : array of bool, uint8 or uint32 of the same shape, or None
            Pixels to leave out of each frame: not 0 where bad, as the masks of corrected EuXFEL data. (The
            mask of the class is the other way round: where good.) Where it is, as for `variance`.
        monitor : float or array of float64, shape (F,), or None
            What the norm of each frame is multiplied by, such as its pulse energy; above 0.
        threads : int or None
            CPU threads; None takes all that the process may use.
        stream : CUDA stream or None
            As for `shotsieve.peakfinder8`.
        on_device : bool
            Leave the profiles on the GPU, as CuPy arrays in order with the stream, and do not wait for them.

        Returns
        -------
        AzintResult
            In host memory, unless `on_device`.

        Raises
        ------
        BadInput
            If shapes disagree, frames or variances cannot become float32 without loss, a monitor is not
            above 0, or `on_device` is asked for frames that are not on a GPU or with an azimuthal error
            model, which needs a look at the profiles in between.
        """
        if on_device and (self.backend.name != "cuda" or not is_on_device(frames)):
            raise BadInput(
                f'{WHO}: on_device leaves profiles on a GPU: it needs backend "cuda" (this is '
                f'"{self.backend.name}") and frames that are there already'
            )
        if on_device and self.plan.params.error_model == "azimuthal":
            raise BadInput(f'{WHO}: on_device cannot have error_model = "azimuthal": leave on_device out')
        if (variance is not None) != (self.plan.params.error_model == "variance"):
            raise BadInput(
                f'{WHO}: a variance goes with error_model = "variance"; it is '
                f"{self.plan.params.error_model!r} and the variance {'' if variance is None else 'is '}"
                f"{'missing' if variance is None else 'given'}"
            )

        def integrate(summer: AzintSummer, pixels: Any, stream: Any, **given: Any) -> AzintResult:
            return summer.integrate(pixels, stream, on_device=on_device, **given)

        return self._run(integrate, frames, variance, mask, monitor, threads, stream)

    def sigma_clip(
        self,
        frames: Any,
        *,
        thresh: float = 5.0,
        max_iter: int = 5,
        mask: Any = None,
        monitor: Any = None,
        threads: int | None = None,
        stream: Any = None,
    ) -> AzintResult:
        """Integrate frames without the outliers of each bin, such as Bragg peaks; as pyFAI's ``sigma_clip``.

        Parameters
        ----------
        frames, mask, monitor, threads, stream
            As for a call.
        thresh, max_iter
            See `shotsieve.measure.azint_summer.AzintSummer.sigma_clip`.

        Returns
        -------
        AzintResult
            Counts and sums are those of the pixels that were kept.

        Raises
        ------
        BadInput
            If pixels are split, there is no error model, or as a call.
        """
        check_clip(self.plan, thresh, max_iter)

        def clip(summer: AzintSummer, pixels: Any, stream: Any, **given: Any) -> AzintResult:
            del given["variance"]
            return summer.sigma_clip(pixels, stream, thresh=thresh, max_iter=max_iter, **given)

        return self._run(clip, frames, None, mask, monitor, threads, stream)

    def _run(
        self,
        work: Callable[..., AzintResult],
        frames: Any,
        variance: Any,
        mask: Any,
        monitor: Any,
        threads: int | None,
        stream: Any,
    ) -> AzintResult:
        """Pass frames through in batches that bound memory."""
        batches = Batches(
            frames,
            self.plan.bins.shape,
            self.backend,
            stream,
            threads,
            WHO,
            variance=variance,
            mask=mask,
            beside=frame_bytes(self.backend, self.plan.bins, self.plan.mode),
        )
        monitor = _monitor(monitor, batches.shots)
        if self._summer is None or self._summer.frames < batches.room:
            self._summer = AzintSummer(self.backend, self.plan, batches.room)
        parts = []
        for part, pixels, given in batches:
            own = None if monitor is None else monitor[part]
            parts.append(work(self._summer, pixels, batches.stream, monitor=own, threads=threads, **given))
        return _joined(parts, batches.several)


def _monitor(given: Any, shots: int) -> np.ndarray | None:
    if given is None:
        return None
    values = np.asarray(given, "f8")
    if values.shape not in ((), (shots,)) or not (np.isfinite(values) & (values > 0)).all():
        raise BadInput(
            f"{WHO}: monitor of shape {values.shape}, from {values.min(initial=np.inf):g}: expected finite "
            f"numbers above 0, one or {shots}"
        )
    return np.broadcast_to(values, (shots,))


def _joined(parts: list[AzintResult], batch: bool) -> AzintResult:
    """Return the frames of several batches one after the other; a single frame without that axis."""
    arrays = {}
    for name in (*FRAME_ARRAYS, *SUM_ARRAYS):
        values = [getattr(part, name) for part in parts]
        whole = None
        if values[0] is not None:
            whole = values[0] if len(values) == 1 else np.concatenate(values)
            whole = whole if batch else whole[0]
        arrays[name] = whole
    return dataclasses.replace(parts[0], **arrays)
