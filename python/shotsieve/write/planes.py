"""The planes of kept frames, by the names that their datasets have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from ..detectors import Detector


def check_planes(
    detector: Detector,
    content: str,
    frames: Mapping[str, np.ndarray],
    lead: tuple[int, int],
    present: tuple[int, ...],
    dtype: np.dtype,
) -> None:
    """Refuse frames that are not those of a content, or have other shapes.

    Parameters
    ----------
    detector : Detector
    content : {"corrected", "raw", "rounded", "photons", "photon_list"}
    frames : mapping of str to ndarray
        As for `planes_of`.
    lead : (int, int)
        Shots and modules that every array has to have.
    present : tuple of int
        Shape of what says which frames are there.
    dtype : dtype
        Of photons.

    Raises
    ------
    BadInput
        The text names the array, its shape, and what was expected.
    """
    want = ("raw",) if content == "raw" else ("data", "gain", "mask")
    if set(frames) != set(want):
        raise BadInput(
            f"write: frames holds {', '.join(sorted(frames))}; {content} content needs {', '.join(want)}"
        )
    if present != lead:
        raise BadInput(f"write: present has shape {present}; expected (shots, modules) {lead}")
    if dtype.kind in "iu" and content != "raw" and frames["data"].dtype != dtype:
        # A cast would wrap around.
        raise BadInput(f"write: data is {frames['data'].dtype}; expected photons as {dtype}")
    frame = detector.frame_shape
    for name, array in frames.items():
        if array.shape[:2] != lead or array.shape[-len(frame) :] != frame:
            raise BadInput(f"write: {name} has shape {array.shape}; expected {lead} and frames of {frame}")


def planes_of(detector: Detector, frames: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each array under the name of its dataset, module on axis 1.

    Parameters
    ----------
    detector : Detector
    frames : mapping of str to ndarray
        ``raw`` (K, M, planes, ss, fs), or ``data``, ``gain`` and ``mask`` (K, M, ss, fs).
    """
    names = detector.planes
    if "raw" not in frames:
        return {names[0]: frames["data"], "gain": frames["gain"], "mask": frames["mask"]}
    raw = frames["raw"]
    if detector.encoding == "parallel":
        return {names[0]: raw}  # three frames of the file: see `thirds`
    if len(names) == 1:
        return {names[0]: raw.reshape(*raw.shape[:2], *detector.recorded_shape)}
    return {name: raw[:, :, plane] for plane, name in enumerate(names)}


def dataset_specs(
    detector: Detector, content: str, dtype: str, compressed: Mapping[str, bool | str]
) -> dict[str, tuple[tuple[int, ...], str, bool | str]]:
    """Return shape of a frame, dtype and how it is compressed, by the names of the datasets.

    Parameters
    ----------
    detector : Detector
    content : {"corrected", "raw", "rounded", "photons", "photon_list"}
    dtype : str
        Of calibrated pixel values.
    compressed : mapping of str to bool or str
        For ``data``, ``gain`` and ``mask``.
    """
    frame, packed = detector.frame_shape, compressed["data"]
    if content == "raw":
        inner = detector.recorded_shape
        return {
            name: (inner, "<u1" if plane else "<u2", packed) for plane, name in enumerate(detector.planes)
        }
    return {
        detector.planes[0]: (frame, dtype, packed),
        "gain": (frame, "<u1", compressed["gain"]),
        "mask": (frame, "<u4", compressed["mask"]),
    }
