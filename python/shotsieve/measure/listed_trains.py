"""Trains of photon lists on their way into correlation, without a frame of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import BadInput
from ..photon_list import PhotonList
from .correlation_bins import WHO, CorrelationBins, PartPlan
from .correlation_input import MOST_COUNT, TrainFrames, too_many, valid_pixels

BYTE = 255


@dataclass(frozen=True, eq=False)
class ListedTrains:
    """Photons of trains of the same length, frame by frame.

    Attributes
    ----------
    first : ndarray of int64, shape (K * T + 1,)
        Entries of each frame.
    pixel : ndarray of uint32, shape (entries,)
        Ascending in each frame.
    count : ndarray of uint8 or uint16, shape (entries,)
    shape : (int, int, int)
        (K, T, N), as of frames.
    """

    first: np.ndarray
    pixel: np.ndarray
    count: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, lists: Sequence[PhotonList]) -> ListedTrains:
        """Join the lists of trains.

        Raises
        ------
        BadInput
            If trains differ in length or frames in shape, or entries are not what photon lists have.

        Examples
        --------
        >>> ListedTrains.of([PhotonList.of(np.array([[0, 3], [2, 1]], "u1"))]).shape
        (1, 2, 2)
        """
        lengths, shapes = sorted({len(one) for one in lists}), {one.frame_shape for one in lists}
        if len(lengths) > 1 or len(shapes) > 1 or not lengths[0]:
            raise BadInput(
                f"{WHO}: photon lists of {lengths[0]} to {lengths[-1]} frames, of shapes "
                f"{', '.join(map(str, sorted(shapes)))}: expected trains of one length, at least one frame, "
                "and of one shape; lists of a train are cut with .part(start, stop)"
            )
        pixels = int(np.prod(lists[0].frame_shape))
        for one in lists:
            _check(one, pixels)
        before = np.cumsum([0, *(len(one.pixel) for one in lists)])
        first = [one.first[:-1] + at for one, at in zip(lists, before[:-1], strict=True)]
        return cls(
            np.concatenate([*first, before[-1:]]).astype("i8"),
            np.concatenate([one.pixel for one in lists]).astype("u4", copy=False),
            np.concatenate([one.count for one in lists]),
            (len(lists), lengths[0], pixels),
        )

    def __getitem__(self, trains: slice) -> ListedTrains:
        start, stop, _ = trains.indices(self.shape[0])
        first = self.first[start * self.shape[1] : stop * self.shape[1] + 1]
        mine = slice(first[0], first[-1])
        shape = (stop - start, *self.shape[1:])
        return replace(
            self, first=first - first[0], pixel=self.pixel[mine], count=self.count[mine], shape=shape
        )

    def sorted(self, plan: PartPlan, native: Any) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Sort by pixel, as the kernels want it.

        Parameters
        ----------
        plan : PartPlan
        native : module
            Of a backend.

        Returns
        -------
        table : tuple of ndarray
            Events, where those of each train start, and where those of each place do.
        frame_sums : ndarray of int32, shape (K, parts, T)

        Raises
        ------
        BadInput
            If counts in the bins are above 127, or a train has 2^31 entries.
        """
        trains, length, pixels = self.shape
        order, starts = plan.arrays["order"], plan.arrays["part_start"]
        most = int(np.diff(self.first[::length]).max(initial=0))
        if most >= 2**31 or length >= 2**24:
            raise BadInput(
                f"{WHO}: a train of {length} frames and {most} entries: expected below 2^24 and 2^31"
            )
        place = np.full(pixels, -1, "i4")
        place[order] = np.arange(len(order), dtype="i4")
        part = np.repeat(np.arange(len(starts) - 1, dtype="i4"), np.diff(starts))
        count = self.count
        if count.dtype != np.uint8:
            count = np.minimum(count, BYTE).astype("u1")
        table = (np.empty(len(count), "u4"), np.empty(trains, "i8"), np.empty((trains, len(order) + 1), "i4"))
        frame_sums = np.empty((trains, len(starts) - 1, length), "i4")
        largest = native.sort_events(self.first, self.pixel, count, place, part, *table, frame_sums)
        if largest > MOST_COUNT:
            raise too_many(0, int(self.count[place[self.pixel] >= 0].max()))
        return table, frame_sums


def given_lists(frames: Any) -> Sequence[PhotonList] | None:
    """Return the photon lists of trains that are given in place of frames, or None."""
    if isinstance(frames, PhotonList):
        return [frames]
    if isinstance(frames, list | tuple) and frames and all(isinstance(one, PhotonList) for one in frames):
        return frames
    return None


def read_lists(
    lists: Sequence[PhotonList], bins: CorrelationBins, valid: Any, counts: bool | None
) -> TrainFrames:
    """Check photon lists, bins and valid pixels against one another; see `read_frames`."""
    listed = ListedTrains.of(lists)
    pixels = bins.labels.shape
    if lists[0].frame_shape != pixels:
        raise BadInput(
            f"{WHO}: photon lists of frames of shape {lists[0].frame_shape}, and bins of shape {pixels}: "
            "expected the same"
        )
    if counts is False:
        raise BadInput(
            f"{WHO}: counts = False with photon lists: they hold counts; as values: frames.dense() as floats"
        )
    good = valid_pixels(valid, listed.shape, pixels)
    if good is not None:
        if good.shape[:2] != (1, 1):
            raise BadInput(
                f"{WHO}: valid of each frame with photon lists: expected the same pixels in all frames, of "
                f"shape {pixels}; where they differ give frames, .dense()"
            )
        bins = bins.without(~good)
    return TrainFrames(listed, None, bins, True, False)


def _check(one: PhotonList, pixels: int) -> None:
    """Refuse entries that the kernels would trust."""
    first, pixel = np.asarray(one.first), np.asarray(one.pixel)
    fine = len(pixel) == len(one.count) and first[0] == 0 and first[-1] == len(pixel)
    fine = fine and bool((np.diff(first) >= 0).all()) and int(pixel.max(initial=0)) < pixels
    if fine:
        up = np.diff(pixel.astype("i8")) > 0
        ends = first[(first > 0) & (first < len(pixel))]
        up[ends - 1] = True
        fine = bool(up.all())
    if not fine:
        raise BadInput(
            f"{WHO}: photon lists of {len(first) - 1} frames, {len(pixel)} entries: expected `first` from 0 "
            f"to the number of entries, and pixels below {pixels} that ascend in each frame; "
            "shotsieve.PhotonList.of makes such lists of frames"
        )
