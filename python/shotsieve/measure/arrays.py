"""Frames that callers hand over: NumPy, CuPy, or whatever speaks DLPack, checked and as rows of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from ..backend import Backend

DLPACK_CUDA = 2
"""DLPack's number for memory of a CUDA device."""

LARGEST_EXACT = 2**24
"""Whole numbers up to here are float32 numbers."""

CELL_IDS = (-(2**31), 2**31)
"""From where to where numbers of memory cells go; those that no constants have are unknown."""


def chosen_backend(backend: str | Backend) -> Backend:
    """Return a backend by name, or the one that was given."""
    if not isinstance(backend, str):
        return backend
    from .. import backend as backends

    return backends.get(backend)


def check_threads(threads: int | None, who: str) -> None:
    """Refuse a number of threads that is none."""
    if threads is not None and not (isinstance(threads, int) and threads >= 1):
        raise BadInput(f"{who}: threads = {threads!r}: expected a whole number of at least 1")


def is_batch(shape: tuple[int, ...], slab: tuple[int, int], who: str) -> bool:
    """Return whether frames of a shape are several, after refusing any that are not of the slab.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns) or (modules, ss, fs) for one frame, and these with a number of frames before.
    slab : (int, int)
    who : str
        Begins the error's text.

    Examples
    --------
    >>> [is_batch(shape, (8, 3), "f") for shape in [(8, 3), (2, 4, 3), (1, 8, 3), (5, 2, 4, 3)]]
    [False, False, True, True]
    """
    modules_fit = len(shape) > 2 and shape[-1] == slab[1] and shape[-3] * shape[-2] == slab[0]
    if tuple(shape) == slab or (len(shape) == 3 and tuple(shape[1:]) != slab and modules_fit):
        return False
    if (len(shape) == 3 and tuple(shape[1:]) == slab) or (len(shape) == 4 and modules_fit):
        return True
    raise BadInput(
        f"{who}: frames have shape {tuple(shape)}: expected {slab}, or that with a number of frames before it"
    )


def host_frames(frames: Any, slab: tuple[int, int], who: str) -> tuple[np.ndarray, bool]:
    """Return frames in host memory as float32 (S, n_pixels), without a copy where they are that already.

    Parameters
    ----------
    frames : array
        float32, or what fits into it without loss: small integers, float16, and whole numbers up to 2^24.
    slab : (int, int)
        Rows and columns of a frame.
    who : str
        Begins the errors' texts.

    Returns
    -------
    frames : ndarray of float32, shape (S, n_pixels)
    batch : bool
        Whether several frames were given.

    Raises
    ------
    BadInput
        If the shape is wrong, values would be rounded, or it is a masked array.
    """
    if not hasattr(frames, "__array__") and hasattr(frames, "__dlpack__"):
        frames = np.from_dlpack(frames)
    if isinstance(frames, np.ma.MaskedArray):
        raise BadInput(
            f"{who}: frames are a masked array, whose mask would be lost: give frames.filled(np.nan)"
        )
    frames = np.asarray(frames)
    batch = is_batch(frames.shape, slab, who)
    if not np.can_cast(frames.dtype, "f4", "safe"):
        exact = frames.dtype.kind in "iu" and (
            frames.size == 0 or (frames.max() <= LARGEST_EXACT and frames.min() >= -LARGEST_EXACT)
        )
        if not exact:
            raise BadInput(
                f"{who}: frames of dtype {frames.dtype} do not fit into float32 without loss: "
                'convert them with frames.astype("f4") if that is what you want'
            )
    return np.ascontiguousarray(frames, "f4").reshape(-1, slab[0] * slab[1]), batch


def shape_and_dtype(array: Any) -> tuple[tuple[int, ...], np.dtype | None]:
    """Return shape and dtype of anybody's array, in host or device memory; None for a dtype NumPy lacks."""
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is not None:
        return tuple(interface["shape"]), np.dtype(interface["typestr"])
    try:
        return tuple(getattr(array, "shape", ())), np.dtype(array.dtype)
    except (AttributeError, TypeError):
        return tuple(getattr(array, "shape", ())), None


def check_raw(raw: Any, shapes: Sequence[tuple[int, ...]], counted: str, backend: Backend, who: str) -> bool:
    """Refuse raw words that have another shape or dtype, or lie where a backend cannot read them.

    Parameters
    ----------
    raw : array
    shapes : sequence of tuple of int
        What the shape may be; the first is the usual one, (n, M, planes, ss, fs).
    counted : str
        What n is the length of.
    backend : Backend
    who : str
        Begins the errors' texts.

    Returns
    -------
    bool
        Whether they are on a GPU.

    Raises
    ------
    BadInput
    """
    shape, dtype = shape_and_dtype(raw)
    if shape not in shapes or dtype != np.uint16:
        raise BadInput(
            f"{who}: raw has shape {shape} and dtype {dtype}; expected {shapes[0]} and uint16: "
            f"{shapes[0][0]} shots (the length of {counted}), modules, planes, slow scan, fast scan"
        )
    interface = getattr(raw, "__cuda_array_interface__", None)
    if interface is not None and backend.name == "cpu":
        raise BadInput(f'{who}: raw is on a GPU, and the backend is cpu: take backend="cuda"')
    if interface is not None and interface.get("strides") is not None:
        raise BadInput(f"{who}: raw on the device is not C-contiguous: make such a copy first")
    return interface is not None


def is_on_device(array: Any) -> bool:
    """Return whether an array lies on a GPU, whoever made it.

    Examples
    --------
    >>> is_on_device(np.zeros(3))
    False
    """
    if hasattr(array, "__cuda_array_interface__"):
        return True
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == DLPACK_CUDA


def on_host(array: Any, what: str) -> Any:
    """Return an array in host memory, copied there from a GPU; anything else is returned as it is.

    For what is given once, such as masks and maps. Raises `BadInput` where CuPy, which copies it, is missing.
    """
    if not is_on_device(array):
        return array
    try:
        import cupy
    except ImportError:
        raise BadInput(f"{what} is on a GPU: copy it to the host, or install CuPy, which can") from None
    there = hasattr(array, "__cuda_array_interface__")
    return cupy.asnumpy(cupy.asarray(array) if there else cupy.from_dlpack(array))


def told_on_host(values: Any, backend: Backend, what: str, stream: Any = None) -> np.ndarray:
    """Return what is told of frames, such as memory cells, in host memory: copied there from a GPU.

    Parameters
    ----------
    values : array-like
        In host memory, or on the backend's GPU.
    backend : Backend
    what : str
        What it is: begins the error's text.
    stream : stream, int or None
        On which they are; None takes what the array names, else the current one.

    Returns
    -------
    ndarray

    Raises
    ------
    BadInput
        If they are on a GPU which neither the backend nor CuPy reaches.

    Examples
    --------
    >>> from shotsieve import backend
    >>> told_on_host([0, 1], backend.get("cpu"), "f: cell_ids").tolist()
    [0, 1]
    """
    if backend.name == "cpu" or not hasattr(values, "__cuda_array_interface__"):
        return np.asarray(on_host(values, what))
    device = backend.device
    named = values.__cuda_array_interface__.get("stream")
    stream = device.given_stream(named if stream is None else stream)
    shape, dtype = shape_and_dtype(values)
    found = np.empty(shape, dtype)
    device.to_host(found, device.own(values), stream)
    device.wait(device.record(stream))
    return found


def whole_cells(cells: Any, what: str) -> np.ndarray:
    """Return memory cells as int32, or refuse what would be other cells then.

    Parameters
    ----------
    cells : array-like of an integer dtype
        In host memory.
    what : str
        Begins the error's text.

    Returns
    -------
    ndarray of int32

    Raises
    ------
    BadInput
        If they are no whole numbers (nor truth values, which would be cells 0 and 1), or out of range.

    Examples
    --------
    >>> whole_cells([0, 15], "f: cell_ids").tolist()
    [0, 15]
    """
    given = np.asarray(cells)
    least, most = CELL_IDS
    if given.size and given.dtype.kind not in "ui":
        raise BadInput(
            f"{what} has dtype {given.dtype}; expected integers, the numbers of memory cells; got "
            f"{cells!r:.80}"
        )
    if given.size and not least <= int(given.min()) <= int(given.max()) < most:
        raise BadInput(f"{what}: {given.min()} to {given.max()}; expected {least} to {most - 1}")
    return given.astype("i4")


def check_present(present: np.ndarray, shape: tuple[int, int], who: str) -> np.ndarray:
    """Return which frames are there, or refuse what does not say it of every one.

    Parameters
    ----------
    present : ndarray
    shape : (int, int)
        (n, M); with one module its axis may be left out.
    who : str
        Begins the error's text.

    Returns
    -------
    ndarray of bool, shape (n, M)

    Raises
    ------
    BadInput

    Examples
    --------
    >>> check_present(np.array([True, False]), (2, 1), "f").tolist()
    [[True], [False]]
    """
    fits = present.shape == shape or (shape[1] == 1 and present.shape == shape[:1])
    if present.dtype != bool or not fits:
        raise BadInput(
            f"{who}: present has shape {present.shape} and dtype {present.dtype}; expected {shape} and bool: "
            "shots and modules, True where a frame was recorded"
        )
    return present.reshape(shape)


def is_frame(shape: tuple[int, ...], slab: tuple[int, int]) -> bool:
    """Return whether a shape is that of one frame, (rows, columns) or (modules, ss, fs).

    Examples
    --------
    >>> [is_frame(shape, (8, 3)) for shape in [(8, 3), (2, 4, 3), (3, 8), (24,), (4, 3, 2)]]
    [True, True, False, False, False]
    """
    return tuple(shape) == tuple(slab) or (
        len(shape) == 3 and shape[-1] == slab[1] and shape[0] * shape[1] == slab[0]
    )


def frames_on_device(frames: Any, backend: Backend, who: str) -> Any:
    """Return frames that live on a GPU as an array of the backend's device, None for all others."""
    if not is_on_device(frames):
        return None
    if backend.name == "cpu":
        raise BadInput(
            f'{who}: the frames are on a GPU, and the backend is cpu: take backend="cuda", or copy them '
            "to the host"
        )
    if not hasattr(frames, "__cuda_array_interface__"):
        import cupy

        frames = cupy.from_dlpack(frames)
    return backend.device.own(frames)


def device_frames(
    frames: Any, slab: tuple[int, int], backend: Backend, stream: Any, who: str
) -> tuple[Any, bool, Any]:
    """Return frames on the device as float32 (S, n_pixels), whether they are several, and the stream to use.

    Parameters
    ----------
    frames : array with the CUDA array interface
    slab : (int, int)
    backend : Backend
    stream : stream, int or None
        None takes the one that the array names, else the current one.
    who : str

    Raises
    ------
    BadInput
        If shape or dtype is wrong, or the array is not C-contiguous.
    """
    interface = frames.__cuda_array_interface__
    shape = tuple(interface["shape"])
    batch = is_batch(shape, slab, who)
    if np.dtype(interface["typestr"]) != np.dtype("f4"):
        raise BadInput(f"{who}: frames on the device have dtype {interface['typestr']}: expected float32")
    check_contiguous(frames, f"{who}: frames")
    stream = backend.device.given_stream(interface.get("stream") if stream is None else stream)
    pixels = slab[0] * slab[1]
    return frames.reshape(int(np.prod(shape)) // pixels, pixels), batch, stream


def check_contiguous(array: Any, what: str) -> None:
    """Refuse an array on a device whose elements do not lie one after another."""
    interface = array.__cuda_array_interface__
    shape, strides = tuple(interface["shape"]), interface.get("strides")
    size = np.dtype(interface["typestr"]).itemsize
    packed = tuple(size * int(np.prod(shape[axis + 1 :], dtype="i8")) for axis in range(len(shape)))
    if strides is not None and tuple(strides) != packed:
        raise BadInput(f"{what} on the device are not C-contiguous: make such a copy first")
