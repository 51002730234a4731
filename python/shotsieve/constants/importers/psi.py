"""Gain maps of JUNGFRAU modules as PSI gives them, with pedestals as jungfrau_utils writes them.

A gain map file holds (6 or 4, 512, 1024) float64 in ADU per keV, as raw bytes, one file per module: G0, G1,
G2, HG0, HG1, HG2, or G0, G1, G2, HG0. jungfrau_utils puts those of all modules into one HDF5 file:
``gains``, (4 or 6, 512 times modules, 1024). Its pedestals are ``gains``, (3 or 4, 512 times modules, 1024)
in ADU, of G0, G1, G2 and HG0, with ``pixel_mask`` beside them, whose bits say in which gain a pixel was
wrong.

In the mode of high gain 0 stage 0 has the map HG0, and stages 1 and 2 have HG1 and HG2 where there are six
maps, else G1 and G2, as in jungfrau_utils.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ... import detectors
from ...detectors import Detector
from ...errors import BadInput, UnreadableData
from ..bad_pixels import BadPixels
from ..container import Constants

__all__ = ["HIGH_GAIN", "is_psi", "open_psi", "pedestals_like", "read_gain_maps"]

HIGH_GAIN = {4: (3, 1, 2), 6: (3, 4, 5)}
"""Which maps stages 0, 1, 2 have in the mode of high gain 0, by the number of maps."""

_MASK_BITS = (1 << 0, 1 << 1, 1 << 3, 1 << 4)  # wrong in G0, G1, G2 (gain code 3), HG0
_LEAST_PEDESTAL = 100.0  # ADU: no stage of a JUNGFRAU is dark below it, and no gain is as large


def is_psi(path: Path, detector: Detector | None = None) -> bool:
    """Whether a file is of the size or layout of gain maps or pedestals.

    Parameters
    ----------
    path : Path
    detector : Detector or None
        None: JUNGFRAU.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_psi(Path("gainMaps_M022.bin"))  # doctest: +SKIP
    True
    """
    detector = detector or detectors.load("JUNGFRAU")
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return isinstance(file.get("gains"), h5py.Dataset)
    return path.stat().st_size in {8 * maps * detector.pixels for maps in HIGH_GAIN}


def read_gain_maps(path: Path, detector: Detector | None = None) -> np.ndarray:
    """Read the gain maps of one or more modules.

    Parameters
    ----------
    path : Path
        Raw bytes of one module, or HDF5.
    detector : Detector or None
        None: JUNGFRAU.

    Returns
    -------
    ndarray of float64, shape (modules, 4 or 6, ss, fs)
        ADU per keV.

    Raises
    ------
    BadInput
        If size, shape or values are not those of gain maps: stage 0 is positive, stages 1 and 2 are negative.
    UnreadableData
        If the file cannot be read.

    Examples
    --------
    >>> read_gain_maps(Path("gainMaps_M022.bin")).shape  # doctest: +SKIP
    (1, 6, 512, 1024)
    """
    detector = detector or detectors.load("JUNGFRAU")
    if _is_hdf5(path):
        maps = _modules(_dataset(path, "gains"), tuple(HIGH_GAIN), path, "gains", detector)
    else:
        size, known = path.stat().st_size, {8 * n * detector.pixels: n for n in HIGH_GAIN}
        if size not in known:
            raise BadInput(
                f"{path} has {size} bytes; gain maps of a module are 4 or 6 maps of float64 "
                f"{detector.shape}: {' or '.join(map(str, known))} bytes."
            )
        maps = np.fromfile(path, "<f8").reshape(1, known[size], *detector.shape)
    for at, (name, sign) in enumerate(
        (("G0", 1), ("G1", -1), ("G2", -1), ("HG0", 1), ("HG1", -1), ("HG2", -1))
    ):
        if at < maps.shape[1]:
            middle = _median(maps[:, at])
            if np.isfinite(middle) and not 0 < sign * middle < _LEAST_PEDESTAL:
                raise BadInput(
                    f"{path}: the median of map {at} ({name}) is {middle:g}; gains in ADU per keV are "
                    f"{'positive' if sign > 0 else 'negative'} there, and below {_LEAST_PEDESTAL:g}. "
                    + ("Are these pedestals?" if abs(middle) >= _LEAST_PEDESTAL else "Is the order another?")
                )
    return maps


def pedestals_like(path: Path, detector: Detector | None = None) -> dict[str, np.ndarray]:
    """Read pedestals in the layout of jungfrau_utils.

    Parameters
    ----------
    path : Path
    detector : Detector or None
        None: JUNGFRAU.

    Returns
    -------
    dict of str to ndarray
        ``pedestals`` (modules, 3 or 4, ss, fs) in ADU; where the file has them ``noise`` likewise, and
        ``mask`` (modules, ss, fs).

    Raises
    ------
    BadInput
        If a shape does not fit, or the values are no pedestals.
    UnreadableData
        If the file cannot be read.

    Examples
    --------
    >>> pedestals_like(Path("pedestal_res.h5"))["pedestals"].shape  # doctest: +SKIP
    (1, 4, 512, 1024)
    """
    detector = detector or detectors.load("JUNGFRAU")
    if not _is_hdf5(path):
        raise BadInput(f"{path} is no HDF5 file; pedestals of jungfrau_utils are, with a dataset `gains`.")
    found = {"pedestals": _modules(_dataset(path, "gains"), (3, 4), path, "gains", detector)}
    middles = [_median(found["pedestals"][:, stage]) for stage in range(found["pedestals"].shape[1])]
    if not max(middles) >= _LEAST_PEDESTAL:
        told = ", ".join(f"{middle:g}" for middle in middles)
        raise BadInput(
            f"{path}: the medians of the stages are {told} ADU: no pedestals. Are these gain maps?"
        )
    with h5py.File(path, "r") as file:
        # The file's own gainsRMS has held the pedestals once more in some versions of that program.
        names = [f"gain{stage}_rms" for stage in range(found["pedestals"].shape[1])]
        if all(name in file for name in names):
            noise = np.stack([file[name][()] for name in names])
            found["noise"] = _modules(noise, (3, 4), path, names[0], detector)
        if "pixel_mask" in file:
            mask = _modules(file["pixel_mask"][()][None], (1,), path, "pixel_mask", detector)
            found["mask"] = mask[:, 0].astype(np.int64)
    return found


def open_psi(
    gains: Path | Sequence[Path],
    pedestals: Path | None,
    *,
    high_gain: bool = False,
    modules: Sequence[int] | None = None,
    cell: int | None = None,
    detector: Detector | None = None,
) -> Constants:
    """Make constants of gain maps and pedestals.

    Parameters
    ----------
    gains : Path or sequence of Path
        Gain maps: raw bytes of one module each, or one HDF5 file of all of them.
    pedestals : Path or None
        Of the same modules in the same order; gain maps alone calibrate nothing.
    high_gain : bool
        Whether the data is in the mode of high gain 0.
    modules : sequence of int or None
        Numbers of the modules; None: counted from the detector's first one.
    cell : int or None
        Memory cell; None: the one of single-cell operation.
    detector : Detector or None
        None: JUNGFRAU.

    Returns
    -------
    Constants

    Raises
    ------
    BadInput
        If files do not belong together or are not what they are given as.
    UnreadableData
        If a file cannot be read.

    Examples
    --------
    >>> open_psi([Path("gainMaps_M022.bin")], Path("pedestal_res.h5")).save("constants.h5")  # doctest: +SKIP
    """
    detector = detector or detectors.load("JUNGFRAU")
    paths = [gains] if isinstance(gains, Path) else list(gains)
    if pedestals is None:
        raise BadInput(
            f"{paths[0]} holds gain maps, which calibrate nothing without pedestals: give them too "
            "(--pedestals FILE), as jungfrau_utils writes them."
        )
    maps = [read_gain_maps(path, detector) for path in paths]
    if len({one.shape[1] for one in maps}) > 1:
        raise BadInput(
            f"{paths[0]} and others have different numbers of maps: {[one.shape[1] for one in maps]}."
        )
    whole = np.concatenate(maps)
    dark = pedestals_like(pedestals, detector)
    count = len(whole)
    if len(dark["pedestals"]) != count:
        raise BadInput(
            f"{pedestals} has pedestals of {len(dark['pedestals'])} modules, and there are gain maps of "
            f"{count}."
        )
    numbers = (
        list(range(detector.first_module, detector.first_module + count))
        if modules is None
        else list(modules)
    )
    if len(numbers) != count or len(set(numbers)) != count:
        raise BadInput(
            f"module numbers {numbers}: expected {count} different ones, in the order of the maps."
        )
    arrays = _arrays(whole, dark, high_gain)
    for stage in range(3):
        if not (middle := _median(arrays["offset"][:, stage])) >= _LEAST_PEDESTAL:
            raise BadInput(
                f"{pedestals}: the median pedestal of stage {stage} is {middle:g} ADU: it was not taken in "
                f"{'the mode of high gain 0' if high_gain else 'the usual mode'} (--high-gain, high_gain=)."
            )
    return Constants.from_arrays(
        detector,
        {name: dict(zip(numbers, array[:, :, None], strict=True)) for name, array in arrays.items()},
        modules=numbers,
        cell_ids=None if cell is None else [cell],
        conditions={"gain_setting": int(high_gain)},
        provenance={
            "layout": "PSI gain maps and pedestals of jungfrau_utils",
            "gains": [path.name for path in paths],
            "pedestals": pedestals.name,
            "maps": int(whole.shape[1]),
            "high_gain": high_gain,
        },
    )


def _arrays(maps: np.ndarray, dark: dict[str, np.ndarray], high_gain: bool) -> dict[str, np.ndarray]:
    """Choose the planes of a mode; all (modules, 3, ss, fs)."""
    gain_planes = HIGH_GAIN[maps.shape[1]] if high_gain else (0, 1, 2)
    # Three pedestals were taken in the mode that the data is in.
    stages = (3, 1, 2) if high_gain and dark["pedestals"].shape[1] == 4 else (0, 1, 2)
    arrays = {"offset": dark["pedestals"][:, stages], "adu_per_kev": maps[:, gain_planes]}
    if "noise" in dark:
        arrays["noise"] = dark["noise"][:, stages]
    if "mask" in dark:
        mask = dark["mask"]
        bits = np.stack([mask & _MASK_BITS[stage] for stage in stages], axis=1) != 0
        other = (mask & ~sum(_MASK_BITS)) != 0
        found = np.where(bits, np.uint32(BadPixels.WRONG_GAIN_VALUE), np.uint32(0))
        arrays["bad_pixels"] = found | np.where(other, np.uint32(BadPixels.USER1), np.uint32(0))[:, None]
    return arrays


def _modules(
    array: np.ndarray, planes: tuple[int, ...], path: Path, name: str, detector: Detector
) -> np.ndarray:
    """Return (planes, ss * modules, fs) as (modules, planes, ss, fs)."""
    ss, fs = detector.shape
    if (
        array.ndim != 3
        or len(array) not in planes
        or array.shape[2] != fs
        or not array.shape[1]
        or array.shape[1] % ss
    ):
        raise BadInput(
            f"{path}: {name} has shape {array.shape}; expected ({' or '.join(map(str, planes))}, {ss} times "
            f"modules, {fs})."
        )
    return np.moveaxis(array.reshape(len(array), -1, ss, fs), 1, 0)


def _dataset(path: Path, name: str) -> np.ndarray:
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(name), h5py.Dataset):
                raise BadInput(f"{path} has no dataset {name!r}: it holds {', '.join(file) or 'nothing'}.")
            return file[name][()]
    except OSError as error:
        raise UnreadableData(f"{path}: {name} cannot be read ({error}).") from error


def _is_hdf5(path: Path) -> bool:
    if not path.is_file():
        raise BadInput(f"There is no file {path}.")
    return bool(h5py.is_hdf5(path))


def _median(values: np.ndarray) -> Any:
    finite = values[np.isfinite(values)]
    return np.median(finite) if finite.size else np.nan
