"""Frames of trains on their way into correlation: checked, as bytes of counts or as float32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .arrays import frames_on_device
from .correlation_bins import WHO, CorrelationBins

if TYPE_CHECKING:
    from ..backend import Backend

MOST_COUNT = 127  # kMostCount of cpp/core/correlation.hpp


@dataclass(frozen=True, eq=False)
class TrainFrames:
    """Frames of trains of the same length.

    Attributes
    ----------
    frames : array of uint8 or float32, shape (K, T, N)
        What is not valid is 0.
    valid : ndarray of bool, shape (K or 1, T, N), or None
        Where pixels differ between frames; (1, T, N) where all trains have the same.
    bins : CorrelationBins
        Without the pixels that are valid in no frame.
    counts : bool
    there : bool
        Whether they are on a device.
    made_on : int or None
        The stream that frames on a device name.
    """

    frames: Any
    valid: np.ndarray | None
    bins: CorrelationBins
    counts: bool
    there: bool
    made_on: int | None = None

    def stream(self, asked: Any, backend: Backend) -> Any:
        """Return the stream to work on; by default one behind what frames on a device still wait for."""
        return backend.device.given_stream(self.made_on) if asked is None and self.there else asked

    @property
    def trains(self) -> int:
        """Number of trains."""
        return self.frames.shape[0]

    @property
    def length(self) -> int:
        """Frames of a train."""
        return self.frames.shape[1]


def read_frames(frames: Any, bins: Any, valid: Any, counts: bool | None, backend: Backend) -> TrainFrames:
    """Check frames, bins and valid pixels against one another.

    Parameters
    ----------
    frames : array, shape (T, ...) or (K, T, ...), or list of such trains
        Further axes are those of `bins`. Whole numbers are photon counts.
    bins : array of int or CorrelationBins
    valid : array of bool or None
        Of the shape of the bins, of a train, or of all frames.
    counts : bool or None
        None: counts where the dtype is that of whole numbers. True: they must be. False: they are not.
    backend : Backend

    Raises
    ------
    BadInput
        If shapes disagree, trains differ in length, counts are below 0, above 127 or no whole numbers, or
        values are infinite.
    """
    own = CorrelationBins.of(bins)
    if isinstance(frames, list | tuple):
        frames = _stacked(frames)
    pixels = own.labels.shape
    there = frames_on_device(frames, backend, WHO)
    array = np.asarray(frames) if there is None else there
    if isinstance(frames, np.ma.MaskedArray):
        raise BadInput(f"{WHO}: frames are a masked array, whose mask would be lost: give it as `valid`")
    lead = len(array.shape) - len(pixels)
    if lead not in (1, 2) or tuple(array.shape[lead:]) != pixels or 0 in array.shape:
        raise BadInput(
            f"{WHO}: frames have shape {tuple(array.shape)}: expected (frames, pixels) or (trains, frames, "
            f"pixels) with pixels of shape {pixels}, as the bins, and at least one frame"
        )
    shape = (1 if lead == 1 else array.shape[0], array.shape[lead - 1], own.labels.size)
    good = valid_pixels(valid, shape, pixels)
    if good is not None and good.shape[:2] == (1, 1):  # the same for all frames: fewer pixels in the bins
        own, good = own.without(~good), None
    if there is not None:
        made_on = getattr(frames, "__cuda_array_interface__", array.__cuda_array_interface__).get("stream")
        return replace(_on_device(array, shape, good, own, counts), made_on=made_on)
    array = array.reshape(shape)
    if counts is None:
        counts = array.dtype.kind in "biu"
    finite = None
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if finite.all():
            finite = None
        elif np.isinf(array).any():
            raise BadInput(f"{WHO}: frames hold infinities: expected finite values, or NaN where not valid")
    if finite is not None:
        good = finite if good is None else finite & good
    if good is not None:
        array = np.where(good, array, array.dtype.type(0))
    array = _counts(array) if counts else np.ascontiguousarray(array, "f4")
    return TrainFrames(array, good, own, counts, False)


def _stacked(trains: list | tuple) -> np.ndarray:
    if not trains:
        raise BadInput(f"{WHO}: there is no train: expected at least one")
    arrays = [np.asarray(train) for train in trains]
    lengths = sorted({len(a) if a.ndim else 0 for a in arrays})
    if len({a.shape for a in arrays}) > 1:
        raise BadInput(
            f"{WHO}: trains of {lengths[0]} to {lengths[-1]} frames, or of different pixels: expected "
            "trains of one length; cut them to the shortest, or correlate those of each length by themselves"
        )
    return np.stack(arrays)


def valid_pixels(given: Any, shape: tuple[int, int, int], pixels: tuple[int, ...]) -> np.ndarray | None:
    """Return which pixels are valid, bool (1 or K, 1 or T, N), or None where all are.

    Raises
    ------
    BadInput
        If they fit neither the pixels, nor frames, nor trains of frames.
    """
    if given is None:
        return None
    valid = np.asarray(given)
    lead = valid.shape[: max(0, valid.ndim - len(pixels))]
    known = {(): (1, 1), shape[1:2]: (1, shape[1]), shape[:2]: shape[:2]}
    if valid.dtype != bool or valid.shape[len(lead) :] != pixels or lead not in known:
        raise BadInput(
            f"{WHO}: valid has dtype {valid.dtype} and shape {valid.shape}: expected bool, of the shape of "
            f"the bins {pixels}, with frames {shape[1:2]} or trains and frames {shape[:2]} before it or "
            "without"
        )
    return valid.reshape(*known[lead], shape[2])


def _counts(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).view("u1")
    if array.dtype.kind not in "iuf":
        raise BadInput(f"{WHO}: frames of dtype {array.dtype}: expected whole numbers or floats")
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        raise BadInput(
            f"{WHO}: photon counts are needed, and frames hold values such as "
            f"{array[array != np.rint(array)][0]:g}: round them to photons first, or take counts=False"
        )
    if array.dtype != np.uint8:
        low, high = array.min(), array.max()
        if low < 0 or high > MOST_COUNT:
            raise too_many(int(low), int(high))
    return np.ascontiguousarray(array, "u1")


def refuse_too_many(frames: Any, bins: CorrelationBins) -> None:
    """Refuse counts that sums of pairs refuse, where sums of lags would take them.

    Parameters
    ----------
    frames : array of uint8, shape (K, T, N), or ListedTrains
        Lists were checked when they were read; arrays of the emulator, without arithmetic, are not looked at.
    bins : CorrelationBins
        As for sums of pairs, pixels that are in none may hold anything.

    Raises
    ------
    BadInput
        If a count is above 127.
    """
    if not hasattr(frames, "max"):
        return
    largest = frames.max(axis=(0, 1))
    largest = largest if isinstance(largest, np.ndarray) else largest.get()
    most = int(largest[bins.labels.reshape(-1) >= 0].max(initial=0))
    if most > MOST_COUNT:
        raise too_many(0, most)


def too_many(low: int, high: int) -> BadInput:
    """Return the error for counts that a byte of the kernels cannot hold."""
    return BadInput(
        f"{WHO}: counts from {low} to {high}: expected 0 to {MOST_COUNT}; mask pixels with more, or "
        'correlate them as values with counts=False, frames.astype("f4")'
    )


def _on_device(
    array: Any, shape: tuple[int, int, int], good: Any, bins: CorrelationBins, counts: Any
) -> TrainFrames:
    interface = array.__cuda_array_interface__
    dtype = np.dtype(interface["typestr"])
    if dtype not in (np.dtype("u1"), np.dtype("f4")) or interface.get("strides") is not None:
        raise BadInput(
            f"{WHO}: frames on the device have dtype {dtype}: expected uint8 counts or float32 values, "
            "C-contiguous"
        )
    if counts is not None and counts != (dtype == np.uint8):
        raise BadInput(
            f"{WHO}: frames on the device of dtype {dtype} with counts={counts}: convert them first"
        )
    if good is not None:
        raise BadInput(
            f"{WHO}: frames on the device with pixels that differ between frames: copy them to the host"
        )
    flat = array.reshape(*shape)
    return TrainFrames(flat, None, bins, dtype == np.uint8, True)
