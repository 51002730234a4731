"""Files of masks: a user's own as NumPy or HDF5, and those that `shotsieve mask` makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import BadInput, OutputError, UnreadableData
from ..steady_file import SteadyHdf5
from .bad_pixels import ALL_BITS, BadPixels
from .masks import MEANINGS, StaticMask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..detectors import Detector

__all__ = ["read_array", "read_mask", "save_mask"]


def read_mask(
    written: str | os.PathLike[str], bad: str, detector: Detector, modules: Sequence[int]
) -> StaticMask:
    """Read a mask from a file.

    Parameters
    ----------
    written : path
        A NumPy file, or ``FILE:/DATASET`` in an HDF5 file. Of shape (ss, fs), the same for every module; or
        (M, ss, fs), for all modules of the detector or for those given; or in HDF5 (M, C, ss, fs), beside
        which ``modules`` and ``cellId`` stand in the same group.
    bad : {"zero", "nonzero", "bits"}
        What marks a bad pixel. The first two give it the bit USER1.
    detector : Detector
    modules : sequence of int
        Modules that the mask is for.

    Returns
    -------
    StaticMask

    Raises
    ------
    BadInput
        If shape, dtype or polarity are not such.
    UnreadableData
        If the file cannot be read.

    Examples
    --------
    >>> read_mask("mask.npy", "zero", detector, range(16)).share()  # doctest: +SKIP
    0.096
    """
    if bad not in MEANINGS:
        raise BadInput(f"mask: {bad!r} must be one of {', '.join(MEANINGS)}")
    values, numbers, cells = _load(os.fspath(written), "mask")
    name, modules = os.fspath(written), tuple(int(m) for m in modules)
    if values.shape[-2:] != detector.shape or values.ndim not in (2, 3, 4):
        raise BadInput(
            f"mask {name}: shape {values.shape}; expected {detector.shape}, with or without an axis of "
            "modules before it"
        )
    if values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and np.isnan(values).any()):
        raise BadInput(f"mask {name}: dtype {values.dtype}; expected bool or whole numbers, and no NaN")
    if values.ndim == 2:
        values = np.broadcast_to(values, (len(modules), 1, *values.shape))
    elif values.ndim == 3:
        values = values[:, None]
    if numbers is None:
        numbers = modules if len(values) == len(modules) else detector.modules
    if len(numbers) != len(values):
        raise BadInput(
            f"mask {name}: {len(values)} modules; expected {len(modules)} or {len(detector.modules)}"
        )
    if (cells is None and values.shape[1] != 1) or (cells is not None and len(cells) != values.shape[1]):
        raise BadInput(
            f"mask {name}: {values.shape[1]} memory cells, and no cellId of them beside it in the file"
        )
    if bad == "bits":
        if values.dtype.kind not in "iu" or (values < 0).any():
            raise BadInput(f"mask {name}: dtype {values.dtype}; bits of bad pixels are whole numbers from 0")
        if (values > ALL_BITS).any():
            raise BadInput(f"mask {name}: a value is above {ALL_BITS:#x}; bits of bad pixels have 32 bits")
        bits = values.astype("u4")
    else:
        marked = (values == 0) if bad == "zero" else (values != 0)
        bits = np.where(marked, np.uint32(BadPixels.USER1), np.uint32(0))
    return StaticMask(bits.reshape(*bits.shape[:2], -1), tuple(numbers), cells)


def read_array(written: str | os.PathLike[str], what: str) -> np.ndarray:
    """Read an array from a NumPy file, or from ``FILE:/DATASET`` of HDF5; `what` begins the errors' texts.

    Raises
    ------
    BadInput
        If there is no such dataset, or the file holds several arrays.
    UnreadableData
        If the file cannot be read.
    """
    return _load(os.fspath(written), what)[0]


def _load(name: str, what: str) -> tuple[np.ndarray, tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return the values of a file, and the modules and cells where it says them."""
    path, colon, dataset = name.rpartition(":")
    try:
        if not colon or Path(name).suffix == ".npy":
            values = np.load(name, allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise BadInput(f"{what} {name}: an archive of several arrays; save one array with numpy.save")
            return values, None, None
        with h5py.File(path) as file:
            found = file[dataset]
            if not isinstance(found, h5py.Dataset):
                raise BadInput(f"{what} {name}: {dataset} is a group; name a dataset in it")
            beside: list[Any] = [
                np.ravel(found.parent[key][()]) if key in found.parent else None
                for key in ("modules", "cellId")
            ]
            numbers, cells = (None if v is None else tuple(int(one) for one in v) for v in beside)
            return found[()], numbers, cells
    except BadInput:  # a ValueError too
        raise
    except (OSError, ValueError) as error:
        raise UnreadableData(
            f"{what} {name}: it cannot be read ({error}); expected a NumPy file, or FILE:/DATASET of HDF5"
        ) from error
    except KeyError:
        raise BadInput(f"{what} {name}: the file has no dataset {dataset}") from None


def save_mask(path: str | os.PathLike[str], mask: StaticMask, shape: tuple[int, int], **about: Any) -> None:
    """Write a mask as `read_mask` takes it with ``"bits"``, in the dataset ``/mask``.

    Parameters
    ----------
    path : path
    mask : StaticMask
    shape : (int, int)
        Pixels of a module.
    **about
        Attributes of the file.

    Raises
    ------
    OutputError
        If it cannot be written; nothing stands at `path` then.

    Examples
    --------
    >>> save_mask("mask.h5", mask, (512, 128), trains=200)  # doctest: +SKIP
    """
    part = Path(f"{path}.part")
    try:
        with SteadyHdf5(part, ("v110", "v110")) as out:
            file = out.file
            file.attrs.update(about)
            bits = mask.bits.reshape(*mask.bits.shape[:2], *shape)
            file.create_dataset(
                "mask", data=bits, chunks=(1, 1, *shape), compression="gzip", compression_opts=1, shuffle=True
            )
            file["modules"] = np.array(mask.modules, "i4")
            if mask.cell_ids is not None:
                file["cellId"] = np.array(mask.cell_ids, "i4")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"The mask cannot be written to {path}: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
