"""Masks of many frames: one static mask per group (module and cell), and a list of what a frame has else.

Nearly all bits of a mask are the same in every frame of a cell: they come from the constants. What changes
from shot to shot, a pixel in another gain stage or a value out of range, is a few pixels in ten thousand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import BadInput

__all__ = ["SparseMasks", "static_masks"]


def static_masks(masks: np.ndarray, group: np.ndarray, groups: int | None = None) -> np.ndarray:
    """Return the mask that the frames of each group have in common: each bit as in most of its frames.

    Parameters
    ----------
    masks : ndarray of an unsigned integer, shape (F, *pixels)
        Bits, 0 is good.
    group : array-like of int, shape (F,)
        Group of each frame, such as its memory cell; the same number has the same static mask.
    groups : int, optional
        Number of groups; by default as many as occur. A group without frames has 0 everywhere.

    Returns
    -------
    ndarray of the dtype of `masks`, shape (G, *pixels)

    Raises
    ------
    BadInput
        If masks are no unsigned integers, or a group is missing or out of range.

    Notes
    -----
    Promise: exact, for any order of the frames. A bit is set where more than half of the frames have it.

    Examples
    --------
    >>> static_masks(np.array([[0, 2], [0, 2], [8, 0]], np.uint32), [0, 0, 0]).tolist()
    [[0, 2]]
    """
    masks, group, groups = _checked(masks, group, groups)
    out = np.zeros((groups, *masks.shape[1:]), masks.dtype)
    for number in range(groups):
        of_group = masks[group == number]
        of_group = of_group.reshape(len(of_group), int(np.prod(masks.shape[1:])))
        if len(of_group) == 0:
            continue
        common = np.bitwise_and.reduce(of_group)
        varied = np.flatnonzero(common != np.bitwise_or.reduce(of_group))
        bits = np.unpackbits(of_group[:, varied, None].view("u1"), axis=2)
        most = 2 * bits.sum(axis=0, dtype="i8") > len(of_group)
        common[varied] = np.packbits(most, axis=1).view(masks.dtype)[:, 0]
        out[number] = common.reshape(masks.shape[1:])
    return out


@dataclass(frozen=True, eq=False)
class SparseMasks:
    """Masks of F frames: a static one per group, and the pixels in which a frame differs from it.

    Attributes
    ----------
    static : ndarray of an unsigned integer, shape (G, *pixels)
        One mask per group.
    group : ndarray of int32, shape (F,)
        Row of `static` of each frame.
    first : ndarray of int64, shape (F + 1,)
        Frame k differs in ``pixel[first[k]:first[k + 1]]``.
    pixel : ndarray of uint32, shape (N,)
        Index in a frame, in C order; rising within a frame.
    value : ndarray of the dtype of `static`, shape (N,)
        The whole mask of that pixel in that frame: it replaces the static one.

    Notes
    -----
    Promise: exact; `restore` of `of` gives back what it was made of, whatever static masks it was given.

    Examples
    --------
    >>> masks = np.array([[0, 2, 0], [0, 2, 4096]], np.uint32)
    >>> sparse = SparseMasks.of(masks, group=[0, 0])
    >>> sparse.static.tolist(), sparse.first.tolist(), sparse.pixel.tolist(), sparse.value.tolist()
    ([[0, 2, 0]], [0, 0, 1], [2], [4096])
    >>> bool((sparse.restore() == masks).all())
    True
    """

    static: np.ndarray
    group: np.ndarray
    first: np.ndarray
    pixel: np.ndarray
    value: np.ndarray

    def __post_init__(self) -> None:
        static = np.asarray(self.static)
        if static.dtype.kind != "u":
            raise BadInput(f"sparse masks: static is {static.dtype}; expected unsigned integers")
        object.__setattr__(self, "static", static)
        for name, dtype in (("group", "i4"), ("first", "i8"), ("pixel", "u4"), ("value", static.dtype)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        frames, first, pixels = len(self.group), self.first, int(np.prod(static.shape[1:]))
        if first.shape != (frames + 1,) or first[0] != 0 or (np.diff(first) < 0).any():
            raise BadInput(
                f"sparse masks: first has shape {first.shape} for {frames} frames: expected {(frames + 1,)}, "
                "from 0 and never falling"
            )
        for name in ("pixel", "value"):
            if getattr(self, name).shape != (int(first[-1]),):
                raise BadInput(
                    f"sparse masks: {name} has shape {getattr(self, name).shape}; "
                    f"expected {(int(first[-1]),)}"
                )
        if frames and (self.group.min() < 0 or self.group.max() >= len(static)):
            raise BadInput(
                f"sparse masks: frames of group {self.group.min()} to {self.group.max()}; there are "
                f"{len(static)} static masks"
            )
        if len(self.pixel) and int(self.pixel.max()) >= pixels:
            raise BadInput(f"sparse masks: pixel {int(self.pixel.max())}; a frame has {pixels}")

    @classmethod
    def of(cls, masks: np.ndarray, group: np.ndarray, static: np.ndarray | None = None) -> SparseMasks:
        """Make the sparse form of masks.

        Parameters
        ----------
        masks : ndarray of an unsigned integer, shape (F, *pixels)
        group : array-like of int, shape (F,)
        static : ndarray of the dtype of `masks`, shape (G, *pixels), optional
            Known beforehand, such as the masks of the constants, so that frames can come in batches; by
            default `static_masks` of these frames.

        Returns
        -------
        SparseMasks

        Raises
        ------
        BadInput
            If dtypes or shapes do not agree, or a group is missing or out of range.
        """
        if static is None:
            static = static_masks(masks, group)
        masks, group, _ = _checked(masks, group, len(static))
        if static.dtype != masks.dtype or static.shape[1:] != masks.shape[1:]:
            raise BadInput(
                f"sparse masks: static masks are {static.dtype} {static.shape[1:]}, those of frames "
                f"{masks.dtype} {masks.shape[1:]}; expected the same"
            )
        pixels = int(np.prod(masks.shape[1:]))
        flat, fixed = masks.reshape(len(masks), pixels), static.reshape(len(static), pixels)
        at = [np.flatnonzero(frame != fixed[number]) for frame, number in zip(flat, group, strict=True)]
        values = [frame[pixels] for frame, pixels in zip(flat, at, strict=True)]
        first = np.concatenate([[0], np.cumsum([len(pixels) for pixels in at], dtype="i8")])
        none = [np.empty(0, "u4")]
        return cls(
            static,
            group,
            first,
            np.concatenate(at or none),
            np.concatenate(values or none, dtype=masks.dtype),
        )

    def __len__(self) -> int:
        return len(self.group)

    def restore(self, frames: slice | None = None) -> np.ndarray:
        """Return full masks, of the dtype of `static`, shape (F, *pixels).

        Parameters
        ----------
        frames : slice, optional
            Which frames; all by default.
        """
        which = range(len(self))[frames or slice(None)]
        out = self.static[self.group[which]]
        flat = out.reshape(len(out), int(np.prod(self.static.shape[1:])))
        for row, frame in zip(flat, which, strict=True):
            part = slice(self.first[frame], self.first[frame + 1])
            row[self.pixel[part]] = self.value[part]
        return out


def _checked(masks: np.ndarray, group: np.ndarray, groups: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    masks, group = np.asarray(masks), np.asarray(group)
    if masks.dtype.kind != "u" or masks.ndim < 2:
        raise BadInput(
            f"sparse masks: masks are {masks.dtype} of shape {masks.shape}; expected unsigned integers, "
            "(frames, pixels)"
        )
    if group.shape != masks.shape[:1] or (group.size and group.dtype.kind not in "iu"):
        raise BadInput(
            f"sparse masks: group is {group.dtype} of shape {group.shape}; expected one integer for each of "
            f"{len(masks)} frames"
        )
    group = group.astype("i8")
    groups = int(group.max(initial=-1)) + 1 if groups is None else groups
    if group.size and (group.min() < 0 or group.max() >= groups):
        raise BadInput(f"sparse masks: groups {group.min()} to {group.max()}; expected 0 to {groups - 1}")
    return masks, group, groups
