"""Frames that were calibrated before: what a block holds of them, and what the files of a run say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..detectors import Detector
    from .corrected_files import PartForm

PLANES = 5
"""Planes of 16-bit words of a frame: 2 hold the bytes of values, 2 of the mask, half of one the stage."""

KINDS = ("raw", "corrected")
"""What a run may hold."""

UNITS = ("ADU", "keV", "photon")
LARGEST_EXACT = 1 << 24
"""Whole numbers up to here are float32 numbers."""


@dataclass(frozen=True)
class CorrectedForm:
    """What the files of a corrected run say of the values in them.

    Attributes
    ----------
    unit : {"ADU", "keV", "photon"} or None
        None where they do not say.
    dtype : str
        Of the values, little-endian; a block has them as float32 whatever it is.
    """

    unit: str | None = None
    dtype: str = "<f4"


def planes_in(raw: np.ndarray, dimensions: int = 2) -> dict[str, np.ndarray]:
    """Return what a block of corrected frames holds, as views.

    Parameters
    ----------
    raw : ndarray of uint16, shape (..., 5, ss, fs) or (..., 5, strips), C-contiguous
    dimensions : {2, 1}
        Pixel axes of a frame.

    Returns
    -------
    dict of str to ndarray, shape (..., ss, fs) or (..., strips)
        ``data`` float32, ``mask`` uint32 and ``gain`` uint8.

    Examples
    --------
    >>> raw = np.zeros((2, 1, 5, 4, 8), np.uint16)
    >>> planes_in(raw)["data"][1, 0, 2, 3] = 0.5
    >>> float(planes_in(raw)["data"].sum()), planes_in(raw)["mask"].shape
    (0.5, (2, 1, 4, 8))
    """
    lead, frame = raw.shape[: -dimensions - 1], raw.shape[-dimensions:]
    n = int(np.prod(frame))
    words = raw.reshape(*lead, PLANES * n)
    parts = {
        "data": words[..., : 2 * n].view(np.float32),
        "mask": words[..., 2 * n : 4 * n].view(np.uint32),
        "gain": words[..., 4 * n :].view(np.uint8)[..., :n],
    }
    return {name: part.reshape(*lead, *frame) for name, part in parts.items()}


def without_data(raw: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return which frames had no constants when they were calibrated: all of them is masked NO_DARK_DATA.

    Parameters
    ----------
    raw : ndarray of uint16, shape (n, M, 5, ss, fs)
    present : ndarray of bool, shape (n, M)
        Frames that are there; others are not looked at.

    Returns
    -------
    ndarray of bool, shape (n, M)
    """
    flat = raw.reshape(*present.shape, PLANES, -1)
    mask, bit = planes_in(flat, 1)["mask"], np.uint32(BadPixels.NO_DARK_DATA)
    found = present & (mask[..., 0] & bit != 0)
    for shot, module in np.argwhere(found):
        found[shot, module] = np.bitwise_and.reduce(mask[shot, module]) & bit != 0
    return found


def pack_corrected(
    data: np.ndarray, mask: np.ndarray | None = None, gain: np.ndarray | None = None
) -> np.ndarray:
    """Return frames that are calibrated already as the words of a block.

    Parameters
    ----------
    data : ndarray, shape (..., ss, fs)
        float32, or what fits into it without loss: float16, and whole numbers up to 2^24.
    mask : ndarray of uint32, same shape, optional
        `BadPixels` bits; by default every pixel is good that is not NaN.
    gain : ndarray of uint8, same shape, optional
        Gain stages; by default 0.

    Returns
    -------
    ndarray of uint16, shape (..., 5, ss, fs)

    Raises
    ------
    BadInput
        If a shape or dtype is another.

    Examples
    --------
    >>> pack_corrected(np.zeros((3, 16, 512, 128), np.float32)).shape
    (3, 16, 5, 512, 128)
    """
    given = {"data": data, "mask": mask, "gain": gain}
    raw = np.zeros((*data.shape[:-2], PLANES, *data.shape[-2:]), np.uint16)
    for name, target in planes_in(raw).items():
        values = given[name]
        if values is None:
            continue
        exact = name == "data" and values.dtype.kind in "iu" and not _too_large(values)
        if values.shape != data.shape or not (exact or np.can_cast(values.dtype, target.dtype, "safe")):
            raise BadInput(
                f"corrected frames: {name} has shape {values.shape} and dtype {values.dtype}; expected "
                f"{data.shape} and {target.dtype}, or what fits into it without loss"
            )
        target[...] = values
    return raw


def _too_large(values: np.ndarray) -> bool:
    return values.size > 0 and (values.max() > LARGEST_EXACT or values.min() < -LARGEST_EXACT)


def form_of(forms: Iterable[PartForm], notes: list[str]) -> CorrectedForm:
    """Return what all files of a run say of their values.

    Parameters
    ----------
    forms : iterable of PartForm
        Of every file of every module.
    notes : list of str
        Gets what is lacking, in words.

    Raises
    ------
    BadInput
        If they disagree.
    """
    forms = list(forms)
    for what, told in (("unit", {}), ("dtype", {})):
        for form in forms:
            told.setdefault(getattr(form, what), form.name)
        if len(told) > 1:
            (one, name), (other, second) = list(told.items())[:2]
            raise BadInput(
                f"the {what} of the corrected values is {one} in {name}, and {other} in {second}: give files "
                "that were made in one way"
            )
    meanings = {
        "mask": "pixels are bad where they are NaN, and nowhere else",
        "gain": "every pixel counts as in high gain, and is written so",
    }
    for plane, meaning in meanings.items():
        lacking = sorted({form.name for form in forms if plane in form.lacking})
        if lacking:
            notes.append(f"{len(lacking)} files have no {plane} (first: {lacking[0]}): {meaning} in these")
    unknown = sorted({form.strange_unit for form in forms if form.strange_unit})
    if unknown:
        notes.append(f"the files call the unit of their values {unknown[0]!r}: not one that is known here")
    return CorrectedForm(forms[0].unit, forms[0].dtype) if forms else CorrectedForm()


def corrected_targets(
    detector: Detector, out: np.ndarray, at: np.ndarray, lacking: frozenset[str]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return where each dataset of corrected frames goes in a buffer; what is lacking is set to 0.

    Parameters
    ----------
    detector : Detector
        `Detector.corrected`.
    out : ndarray of uint16, shape (..., 5, ss, fs), C-contiguous
    at : ndarray of int64, shape (n,)
        Frames of the buffer.
    lacking : set of str
        Datasets that there are not.

    Returns
    -------
    list of (str, ndarray, ndarray of int64)
        Dataset, the buffer as flat numbers of its kind, and where in it each frame begins.
    """
    n = detector.pixels
    words = out.reshape(-1)
    places = ((np.float32, 0), (np.uint32, n), (np.uint8, 8 * n))
    targets = []
    for key, (kind, first) in zip(detector.planes, places, strict=True):
        flat = words.view(kind)
        begin = at * (PLANES * n * 2 // flat.itemsize) + first
        if key not in lacking:
            targets.append((key, flat, begin))
            continue
        for start in begin.tolist():
            flat[start : start + n] = 0
    return targets


def check_exact(detector: Detector, out: np.ndarray, at: np.ndarray, dtype: str, name: str) -> None:
    """Refuse whole numbers that a float32 cannot hold.

    Parameters
    ----------
    detector : Detector
    out : ndarray of uint16, shape (..., 5, ss, fs)
    at : ndarray of int64
        Frames that were read.
    dtype : str
        Of the values in the file.
    name : str
        Of the file.

    Raises
    ------
    BadInput
    """
    if np.dtype(dtype).kind == "f" or np.dtype(dtype).itemsize < 4:
        return
    values = planes_in(out.reshape(-1, PLANES, detector.pixels), 1)["data"]
    for frame in at.tolist():
        # 2^24 may be a larger number that was rounded.
        if np.abs(values[frame]).max(initial=0) >= LARGEST_EXACT:
            raise BadInput(
                f"{name}: values of {np.dtype(dtype)} reach {LARGEST_EXACT}, and beyond that float32, which "
                "all is computed in, cannot tell whole numbers apart"
            )
