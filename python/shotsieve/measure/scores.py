"""Scores that find weak hits of single particles: weighted sums with maps, and photons in rings.

Weights are made whole numbers once, on the host, so that every sum is one of int64 and does not depend on its
order. Promise: exact, the same bits on every backend, batch size and thread count; a score is that of weights
that differ from those given by at most half of the step of `ScorePlan.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import INTENSITY_SCALE
from ..errors import BadInput
from .arrays import chosen_backend
from .batches import Batches
from .uploads import uploaded

if TYPE_CHECKING:
    from ..backend import Backend

MOST_MAPS, MOST_RINGS = 4, 64
OF = ("photons", "values")
"""What the weights of a map are multiplied with: whole photons, or calibrated values in steps of 1/128."""

WHO = "scores"
_LARGEST_BITS = 24  # of the largest weight: as many as a float32 has
_FEWEST_BITS = 10
_SUM_LIMIT = 2**62  # half of what an int64 holds


def likelihood_map(signal: Any, background: Any) -> np.ndarray:
    """Return the map whose score is the Poisson log likelihood ratio of signal against background alone.

    The score of a shot with n_i photons in pixel i is the sum over the pixels that are not masked of
    ``n_i * log(1 + s_i / b_i) - s_i``: what is expected in a masked pixel is left out, too.

    Parameters
    ----------
    signal, background : array of float, shape (M, ss, fs)
        Photons that are expected in a shot in each pixel, of the particle and of everything else. A pixel
        where both are 0 has no weight.

    Returns
    -------
    ndarray of float32, shape (2, M, ss, fs)
        Weights ``log(1 + s / b)`` and constants ``s``: a map for `SpiScores` and, saved by `numpy.save`, for
        ``[measure.score.NAME] map``.

    Raises
    ------
    BadInput
        If shapes differ, a value is negative or not finite, or signal is expected where no background is:
        one photon there would be infinitely likely to be signal.

    Notes
    -----
    J. Neyman and E. S. Pearson, Phil. Trans. R. Soc. A 231, 289 (1933): no other score of the same frame
    finds more hits at the same rate of false ones, where signal and background are as expected.

    Examples
    --------
    >>> likelihood_map([[[1.0, 0.0]]], [[[1.0, 0.5]]]).tolist()
    [[[[0.6931471824645996, 0.0]]], [[[1.0, 0.0]]]]
    """
    signal, background = np.asarray(signal, "f8"), np.asarray(background, "f8")
    if signal.shape != background.shape:
        raise BadInput(
            f"likelihood_map: signal has shape {signal.shape} and background {background.shape}: expected "
            "the same"
        )
    for name, values in (("signal", signal), ("background", background)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise BadInput(
                f"likelihood_map: {name} has values below 0 or not finite: expected photons of each pixel; "
                "set both to 0 where a pixel is not to count"
            )
    if ((background == 0) & (signal > 0)).any():
        raise BadInput(
            f"likelihood_map: {int(((background == 0) & (signal > 0)).sum())} pixels expect signal on no "
            "background at all: give the background a floor, such as 1e-4 photons, or set the signal to 0"
        )
    weight = np.log1p(np.divide(signal, background, out=np.zeros_like(signal), where=background > 0))
    return np.stack([weight, signal]).astype("f4")


@dataclass(frozen=True, eq=False)
class ScorePlan:
    """Maps and rings ready to be summed on any backend. Make it with `make`.

    Attributes
    ----------
    names : tuple of str
        Of the maps.
    n_rings : int
    shape : (int, int)
        Modules, and pixels of each.
    steps : tuple of float
        Step of the weights of each map: a power of two.
    arrays : dict of str to ndarray
        ``ring`` int16 (M, n_pixels) and ``map`` int32 (W, 2, M, n_pixels), where there are such.
    rules : dict
        Of the native function.
    units : tuple of int
        What the amounts of each map are counted in: 1, or 1/128 of the unit of the values.
    """

    names: tuple[str, ...]
    n_rings: int
    shape: tuple[int, int]
    steps: tuple[float, ...]
    arrays: dict[str, np.ndarray]
    rules: dict[str, Any]
    units: tuple[int, ...]

    @classmethod
    def make(
        cls,
        maps: Mapping[str, Any],
        frame_shape: tuple[int, ...],
        *,
        rings: Any = None,
        of: str | Mapping[str, str] = "photons",
        to_photon: float = 1.0,
        threshold: float = float("nan"),
        rounding_threshold: float = 0.5,
        value_limit: float = 1e7,
    ) -> ScorePlan:
        """Prepare the sums; see `SpiScores` for the parameters."""
        modules, pixels = frame_shape[0], int(np.prod(frame_shape[1:]))
        if len(maps) > MOST_MAPS:
            raise BadInput(f"{WHO}: {len(maps)} maps: expected at most {MOST_MAPS}")
        arrays, n_rings, fixed = {}, 0, []
        if rings is not None:
            arrays["ring"] = _ring_array(rings, frame_shape).reshape(modules, pixels)
            n_rings = int(arrays["ring"].max()) + 1
        kinds = [of if isinstance(of, str) else of.get(name, "photons") for name in maps]
        counted = to_photon > 0 or not (n_rings or "photons" in kinds)
        if not counted:
            raise BadInput(
                f"{WHO}: photons are counted, and how many one unit of the values is, is not known: give "
                'the photon energy, or take of = "values"'
            )
        for (name, values), kind in zip(maps.items(), kinds, strict=True):
            if kind not in OF:
                raise BadInput(f"{WHO}: map {name}: of = {kind!r}: expected one of {', '.join(OF)}")
            most = value_limit * (to_photon if kind == "photons" else INTENSITY_SCALE) + 1
            planes = _map_planes(values, frame_shape, name).reshape(2, modules, pixels)
            fixed.append(_fixed(planes, most, 1 if kind == "photons" else INTENSITY_SCALE, name))
        if fixed:
            arrays["map"] = np.ascontiguousarray(np.stack([planes for planes, _ in fixed]))
        rules = {
            "n_rings": n_rings,
            "of_photons": sum(1 << number for number, kind in enumerate(kinds) if kind == "photons"),
            "threshold": threshold,
            "to_photon": to_photon,
            "rounding_threshold": rounding_threshold,
            "value_limit": value_limit,
        }
        units = tuple(1 if kind == "photons" else INTENSITY_SCALE for kind in kinds)
        steps = tuple(float(np.ldexp(1.0, -bits)) for _, bits in fixed)
        return cls(tuple(maps), n_rings, (modules, pixels), steps, arrays, rules, units)

    @property
    def width(self) -> int:
        """Sums of a module."""
        return 1 + self.n_rings + len(self.names)

    def result(self, sums: np.ndarray) -> SpiResult:
        """Turn sums, int64 (F, M, width), into scores."""
        scale = np.array(self.steps) / np.array(self.units)  # powers of two: nothing is rounded
        scores = sums[..., 1 + self.n_rings :].astype("f8") * scale
        return SpiResult(self.names, scores, sums[..., 1 : 1 + self.n_rings].copy(), sums[..., 0].copy())


@dataclass(frozen=True)
class SpiResult:
    """Scores of frames, module by module; without the axis F where a single frame was given.

    Attributes
    ----------
    names : tuple of str
        Of the W maps.
    scores : ndarray of float64, shape (F, M, W)
        The score of a shot is the sum over its modules.
    rings : ndarray of int64, shape (F, M, n_rings)
        Photons.
    lit : ndarray of int64, shape (F, M)
        Unmasked pixels strictly above the threshold.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    rings: np.ndarray
    lit: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one score of whole shots, float64 (F,)."""
        return self.scores[..., self.names.index(name)].sum(axis=-1)


class ScoreSummer:
    """A plan on a backend, with buffers for so many frames."""

    def __init__(self, backend: Backend, plan: ScorePlan, frames: int) -> None:
        self.backend, self.plan, self.frames = backend, plan, frames
        self._arrays = uploaded(plan, plan.arrays, backend.device)
        self._host = backend.device.empty_pinned((frames, plan.shape[0], plan.width), "i8")
        self._device = backend.device.twin(self._host)

    def sum(self, pixels: Any, stream: Any, *, threads: int | None = None) -> SpiResult:
        """Sum frames, float32 (n, modules * n_pixels) on the device, and wait."""
        n, device = pixels.shape[0], self.backend.device
        self.backend.native.score_sums(
            pixels.reshape(n, *self.plan.shape),
            self._arrays.get("ring"),
            self._arrays.get("map"),
            self._device[:n],
            **self.plan.rules,
            **self.backend.on(stream, threads),
        )
        device.to_host(self._host[:n], self._device[:n], stream)
        device.wait(device.record(stream))
        return self.plan.result(self._host[:n])


class SpiScores:
    """Scores of calibrated frames, for programs that have such frames in memory.

    Promise: exact; the numbers that `shotsieve.reduce` writes, on every backend and in batches of any size.

    Parameters
    ----------
    maps : mapping of str to array
        Up to four by name: weights, shape (M, ss, fs), or weights and constants, shape (2, M, ss, fs), as
        `likelihood_map` makes them. A score is the sum over unmasked pixels of weight * amount - constant.
    frame_shape : (int, int, int)
        Modules, slow scan and fast scan of a frame.
    rings : array of int, shape (M, ss, fs), or None
        Ring of each pixel from 0 to 63, below 0 in none: photons are summed in each.
    of : {"photons", "values"} or mapping of str to these
        What the weights of each map are multiplied with: whole photons, or the values, rounded to 1/128.
    to_photon : float
        Photons of one unit of the frames: 1 for frames in photons, 1 / energy for keV.
    threshold : float
        Of lit pixels; NaN counts none.
    rounding_threshold, value_limit : float
        Fraction of a photon from which is rounded up; a pixel with a larger absolute value is masked.
    backend : {"auto", "cpu", "cuda", "emu"} or Backend

    Raises
    ------
    BadInput
        If a map does not fit, is not finite, or its weights span more than sums can hold.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> import numpy as np
    >>> frames = np.array([[[[0, 2, 1]]], [[[1, np.nan, 0]]]], "f4")
    >>> score = SpiScores({"sphere": likelihood_map([[[0, 1, 1]]], [[[1, 1, 1]]])}, (1, 1, 3), backend="cpu")
    >>> np.round(score(frames)["sphere"], 3).tolist()
    [0.079, -1.0]
    """

    def __init__(
        self,
        maps: Mapping[str, Any],
        frame_shape: tuple[int, ...],
        *,
        rings: Any = None,
        of: str | Mapping[str, str] = "photons",
        to_photon: float = 1.0,
        threshold: float = float("nan"),
        rounding_threshold: float = 0.5,
        value_limit: float = 1e7,
        backend: str | Backend = "auto",
    ) -> None:
        self.plan = ScorePlan.make(
            maps,
            tuple(frame_shape),
            rings=rings,
            of=of,
            to_photon=to_photon,
            threshold=threshold,
            rounding_threshold=rounding_threshold,
            value_limit=value_limit,
        )
        self._slab = (int(np.prod(frame_shape[:-1])), frame_shape[-1])
        self.backend = chosen_backend(backend)
        self._summer: ScoreSummer | None = None

    def __call__(self, frames: Any, *, threads: int | None = None, stream: Any = None) -> SpiResult:
        """Score frames.

        Parameters
        ----------
        frames : float32 array, shape (F, M, ss, fs), or one frame
            Calibrated; NaN and infinities are masked. NumPy or, for ``cuda``, CuPy.
        threads : int or None
        stream : CUDA stream or None

        Returns
        -------
        SpiResult
            In host memory.

        Raises
        ------
        BadInput
            If shapes disagree, or frames cannot become float32 without loss.
        """
        beside = 16 * self.plan.shape[0] * self.plan.width
        batches = Batches(frames, self._slab, self.backend, stream, threads, WHO, beside=beside)
        if self._summer is None or self._summer.frames < batches.room:
            self._summer = ScoreSummer(self.backend, self.plan, batches.room)
        parts = [self._summer.sum(pixels, batches.stream, threads=threads) for _, pixels, _ in batches]
        joined = [
            np.concatenate([getattr(part, word) for part in parts]) for word in ("scores", "rings", "lit")
        ]
        return SpiResult(self.plan.names, *(joined if batches.several else (array[0] for array in joined)))


def _map_planes(values: Any, frame_shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return weights and constants, float64 (2, *frame_shape)."""
    values = np.asarray(values)
    shapes = (frame_shape, (2, *frame_shape))
    if values.dtype.kind not in "biuf" or values.shape not in shapes:
        raise BadInput(
            f"{WHO}: map {name} is {values.dtype} {values.shape}: expected weights of shape {shapes[0]}, or "
            f"weights and constants of shape {shapes[1]}"
        )
    if not np.isfinite(values).all():
        raise BadInput(
            f"{WHO}: map {name} has {int((~np.isfinite(values)).sum())} values that are not finite: set "
            "those to 0 that are not to count"
        )
    values = values.astype("f4").astype("f8")
    return values if values.shape == shapes[1] else np.stack([values, np.zeros_like(values)])


def _fixed(planes: np.ndarray, most: float, unit: int, name: str) -> tuple[np.ndarray, int]:
    """Return weights and constants as whole numbers, int32, and the bits behind the point.

    As many bits as keep every sum of a module below 2^62, whatever the pixels hold, and 24 at most of the
    largest weight.
    """
    weight, constant = (float(np.abs(plane).max()) for plane in planes)
    if weight == 0:
        raise BadInput(f"{WHO}: map {name} has no weight other than 0: no shot would have a score")
    bits = _LARGEST_BITS - np.frexp(weight)[1]
    if constant > 0:
        bits = min(bits, 30 - np.frexp(constant)[1])
    while True:
        whole = np.rint(np.ldexp(planes, int(bits)))
        total = (np.abs(whole[0]) * most + np.abs(whole[1]) * unit).sum(axis=-1).max()
        if total < _SUM_LIMIT:
            break
        bits -= max(1, int(np.ceil(np.log2(total / _SUM_LIMIT))))
    if weight * np.ldexp(1.0, int(bits)) < 2**_FEWEST_BITS:
        raise BadInput(
            f"{WHO}: map {name}: weights up to {weight:g} and constants up to {constant:g} cannot be summed "
            f"exactly over values up to {most / unit:g}: lower [calibrate] value_limit, take of = "
            '"photons", or give constants and weights that are nearer to each other'
        )
    return whole.astype("i4"), int(bits)


def _ring_array(rings: Any, frame_shape: tuple[int, ...]) -> np.ndarray:
    rings = np.asarray(rings)
    if rings.dtype.kind not in "iu" or rings.shape != frame_shape:
        raise BadInput(
            f"{WHO}: rings are {rings.dtype} {rings.shape}: expected whole numbers of shape {frame_shape}"
        )
    if rings.max() < 0 or rings.max() >= MOST_RINGS:
        raise BadInput(
            f"{WHO}: rings up to {rings.max()}: expected at least one pixel in a ring, and at most "
            f"{MOST_RINGS} rings"
        )
    return np.maximum(rings, -1).astype("i2")
