"""What kept frames are written as: raw words, values as they were calibrated, rounded, or whole photons."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..cpus import usable_cpus
from ..errors import BadInput
from .photons import PhotonCounts
from .rounding import MANTISSA_BITS, Rounding

CONTENTS = ("corrected", "raw", "rounded", "photons", "photon_list")
DEFAULT_COMPRESSION = {
    "corrected": "none", "raw": "none", "rounded": "gzip", "photons": "gzip", "photon_list": "gzip"
}  # fmt: skip
"""Noise does not compress; what was rounded for it does."""
UNITS = ("ADU", "keV", "photon")
_KINDS = {"photons": "u", "photon_list": "u", "corrected": "fiu"}  # of dtypes; those of the others are "f"


def check_content(content: str, unit: str, dtype: str) -> None:
    """Refuse a content that there is not, and a unit or a dtype that its frames cannot have.

    Parameters
    ----------
    content, unit, dtype : str
        As of `shotsieve.write.exdf.ReducedRunWriter`.

    Raises
    ------
    BadInput
        The text gives what there is.

    Examples
    --------
    >>> check_content("photons", "photon", "<u2")
    """
    for name, value, allowed in (("content", content, CONTENTS), ("unit", unit, UNITS)):
        if value not in allowed:
            raise BadInput(f"write: {name} is {value!r}; it must be {' or '.join(map(repr, allowed))}")
    if np.dtype(dtype).kind not in _KINDS.get(content, "f"):
        raise BadInput(
            f"write: dtype of {content} is {dtype}; photons need uint8 or uint16, rounded values float32"
        )


@dataclass
class FrameForm:
    """The form of the frames of an output; the one way to it for files, checks and the embedded engine.

    Promise: exact; identical on every backend and for any number of threads.

    Attributes
    ----------
    content : {"corrected", "raw", "rounded", "photons", "photon_list"}
    unit : {"ADU", "keV", "photon"}
        Of the pixel values that are written.
    compression : {"none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd"}
        Of the pixel values.
    rounding : Rounding or None
        Of rounded content.
    photons : PhotonCounts or None
        Of photons, and of photon lists.
    whole : float
        Of photon lists: share of the shots whose frames are written too, chosen by `seed`.
    seed : int
        Of `shotsieve.keep.kept_whole`.
    out_of_range : int
        Pixels so far whose photons did not fit.
    written : ndarray of bool, shape (M * ss, fs), or None
        Pixels that are written; the others hold nothing and are masked USER2. None writes all.
    values : str
        Dtype of corrected content; float32 unless frames are written as a corrected run has them.

    Examples
    --------
    >>> form = FrameForm("photons", "photon", "gzip", photons=PhotonCounts(0.1))
    >>> frames = {"data": np.full((1, 1, 2, 2), 19.0, np.float32), "mask": np.zeros((1, 1, 2, 2), np.uint32)}
    >>> form.apply(frames)["data"].tolist(), form.dtype
    ([[[[2, 2], [2, 2]]]], '<u2')
    """

    content: str = "corrected"
    unit: str = "keV"
    compression: str = "none"
    rounding: Rounding | None = None
    photons: PhotonCounts | None = None
    whole: float = 0.0
    seed: int = 0
    out_of_range: int = 0
    written: np.ndarray | None = field(default=None, compare=False)
    values: str = "<f4"

    @property
    def dtype(self) -> str:
        """Of the pixel values, little-endian; raw words are always uint16."""
        return self.values if self.photons is None else np.dtype(self.photons.dtype).newbyteorder("<").str

    @property
    def changes(self) -> bool:
        """Whether values are not written as they were calibrated or recorded."""
        return self.rounding is not None or self.photons is not None or self.written is not None

    def touched(self, modules: int) -> np.ndarray:
        """Return which of the modules have pixels that are written, bool (M,)."""
        if self.written is None:
            return np.ones(modules, bool)
        return self.written.reshape(modules, -1).any(axis=1)

    def apply(
        self, frames: Mapping[str, np.ndarray], modules: Sequence[int] | None = None
    ) -> dict[str, np.ndarray]:
        """Return calibrated frames in this form, made frame by frame in threads.

        Parameters
        ----------
        frames : mapping of str to ndarray, shape (K, M, ss, fs)
            ``data`` float32 (corrected content: of `values`), NaN where a pixel is masked, ``mask`` uint32
            and ``gain`` uint8, frames C-contiguous and overwritten where the form asks for it; others are
            passed on.
        modules : sequence of int, optional
            Places of the modules that are written; of the others nothing is made, and what is returned for
            them is not defined.

        Returns
        -------
        dict of str to ndarray
            ``data`` of `dtype`.
        """
        values, mask = frames["data"], frames["mask"]
        shots, every = values.shape[:2]
        at = list(itertools.product(range(shots), range(every) if modules is None else modules))
        if self.written is not None:
            hidden = ~self.written.reshape(values.shape[1:])
            self._each(at, lambda index: _hide(hidden[index[1]], frames, index))
        if self.rounding is not None:
            rounding = self.rounding
            self._each(at, lambda index: rounding.apply(values[index]))
        if self.photons is None:
            return dict(frames)
        photons, out = self.photons, np.empty(values.shape, self.dtype)
        self.out_of_range += sum(
            self._each(at, lambda index: photons.count(values[index], mask[index], out[index]))
        )
        return {**frames, "data": out}

    @staticmethod
    def _each(at: list[tuple[int, ...]], function: Any) -> list[Any]:
        # A pool per call costs well under a millisecond, and none is left standing to hang in a forked child.
        with ThreadPoolExecutor(usable_cpus()) as pool:
            return list(pool.map(function, at))

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of its form; `unit` is that of the calibrated values."""
        if self.photons is not None:
            lists = {"photon_list.whole": self.whole, "photon_list.seed": self.seed}
            return {
                **(lists if self.content == "photon_list" else {}),
                "unit": self.unit,
                "photons.dtype": self.photons.dtype,
                "photons.per_unit": self.photons.per_unit,
                "photons.calibrated_unit": unit,
                "photons.rounding_threshold": self.photons.rounding_threshold,
            }
        if self.rounding is not None:
            return {
                "rounding.absolute_step": self.rounding.step,
                "rounding.mantissa_bits": self.rounding.bits,
                "rounding.unit": unit,
            }
        return {}

    def summary(self) -> str:
        """Return what a reader of the accounts should know of the values."""
        told = [self._told_of_values()] if self.rounding is not None or self.photons is not None else []
        if self.written is not None:
            told.append(
                f"{np.count_nonzero(self.written)} of {self.written.size} pixels lie in the regions that are "
                "written; the others are masked USER2"
            )
        return "; ".join(told)

    def _told_of_values(self) -> str:
        if self.photons is not None:
            largest = np.iinfo(self.photons.dtype).max
            how = (
                "kept shots are lists of the pixels that hold photons, with their masks, and a share of "
                f"{self.whole:g} of them has its frames too; "
            )
            return (how if self.content == "photon_list" else "") + (
                f"pixels hold whole photons, rounded up from {self.photons.rounding_threshold:g}; masked "
                f"pixels are 0; {self.out_of_range} pixels hold more than {largest} photons and are flagged "
                "VALUE_OUT_OF_RANGE"
            )
        bounds = []
        if self.rounding.step:
            bounds.append(f"{self.rounding.step / 2:g} {self.unit}")
        if self.rounding.bits < MANTISSA_BITS:
            bounds.append(f"{100 * 2.0 ** -(self.rounding.bits + 1):.3g} % of the value")
        larger = ", whichever is more" if len(bounds) > 1 else ""
        return f"pixel values are rounded: they are off by at most {' or '.join(bounds)}{larger}"


def _hide(hidden: np.ndarray, frames: Mapping[str, np.ndarray], index: tuple[int, ...]) -> None:
    """Leave nothing of the hidden pixels of a frame, and say so in its mask, beside what that says."""
    values = frames["data"][index]
    values[hidden] = np.nan if values.dtype.kind == "f" else 0
    frames["gain"][index][hidden] = 0
    frames["mask"][index][hidden] |= np.uint32(BadPixels.USER2)
