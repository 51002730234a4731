"""What constants hold: statistics of every gain and module, what is odd about them, and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..detectors import Detector
from .bad_pixels import BadPixels
from .container import Constants

__all__ = ["PlaneStatistics", "bit_name", "checksum", "lacking", "not_used", "statistics"]

BITS = 32
STAGES = 3


@dataclass(frozen=True)
class PlaneStatistics:
    """One gain of one constant of one module, over all pixels and cells.

    Attributes
    ----------
    name : str
    module, gain : int
    values : int
        Pixels times cells.
    median, mad, low, high : float
        Of the finite values; NaN where there are none. `mad` is the median absolute deviation.
    bits : dict of int to int
        Of bad pixels: bit number -> how many have it.
    odd : dict of str to int
        What no good constant is -> how many are so.
    """

    name: str
    module: int
    gain: int
    values: int
    median: float = np.nan
    mad: float = np.nan
    low: float = np.nan
    high: float = np.nan
    bits: dict[int, int] = field(default_factory=dict)
    odd: dict[str, int] = field(default_factory=dict)


def statistics(
    constants: Constants, modules: Iterable[int] | None = None, cells: np.ndarray | None = None
) -> Iterator[PlaneStatistics]:
    """Describe constants; one constant of one module is in memory at a time.

    Parameters
    ----------
    constants : Constants
    modules : iterable of int or None
        None: all.
    cells : array of int or None
        Memory cells; None: all.

    Yields
    ------
    PlaneStatistics
        By constant, then by module, then by gain.

    Raises
    ------
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> arrays = {"offset": np.full((3, 1, 512, 1024), 5000.0)}
    >>> found = list(statistics(Constants.from_arrays("JUNGFRAU", arrays, modules=[1])))
    >>> found[0].median, found[0].odd
    (5000.0, {})
    """
    wanted = constants.modules if modules is None else tuple(modules)
    for name in constants.names:
        for module in wanted:
            if not constants.has(name, module):
                continue
            array = planes_of(constants.load(name, module, cells))
            odd = _odd(name, array, constants.detector)
            for gain, plane in enumerate(array):
                yield _plane(name, module, gain, plane, odd[gain])


def _plane(name: str, module: int, gain: int, plane: np.ndarray, odd: dict[str, int]) -> PlaneStatistics:
    if name == "bad_pixels":
        return PlaneStatistics(name, module, gain, plane.size, bits=count_bits(plane))
    finite = plane[np.isfinite(plane)]
    if not finite.size:
        return PlaneStatistics(name, module, gain, plane.size, odd=odd)
    median, mad = median_and_mad(finite)
    low, high = float(finite.min()), float(finite.max())
    return PlaneStatistics(name, module, gain, plane.size, median, mad, low, high, odd=odd)


def planes_of(array: np.ndarray) -> np.ndarray:
    """Return the arrays of the gains; what lies on that axis of a table of many values are no gains.

    Parameters
    ----------
    array : ndarray, shape (gain, cell, ss, fs)

    Returns
    -------
    ndarray
        The same, or (1, all, ss, fs).

    Examples
    --------
    >>> planes_of(np.zeros((3, 2, 4, 8))).shape, planes_of(np.zeros((4096, 2, 1, 8))).shape
    ((3, 2, 4, 8), (1, 8192, 1, 8))
    """
    return array if len(array) <= STAGES else array.reshape(1, -1, *array.shape[2:])


def median_and_mad(finite: np.ndarray) -> tuple[float, float]:
    """Return median and median absolute deviation of finite values, of which there is at least one.

    Parameters
    ----------
    finite : ndarray of float

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> median_and_mad(np.array([1.0, 2.0, 9.0]))
    (2.0, 1.0)
    """
    median = np.median(finite)
    return float(median), float(np.median(np.abs(finite - median)))


def count_bits(mask: np.ndarray) -> dict[int, int]:
    """Return how many values have each bit, without bits that none has.

    Parameters
    ----------
    mask : ndarray of uint32

    Returns
    -------
    dict of int to int

    Examples
    --------
    >>> count_bits(np.array([1, 3, 0], "u4"))
    {0: 2, 1: 1}
    """
    there = int(np.bitwise_or.reduce(mask, axis=None)) if mask.size else 0
    return {bit: int(np.count_nonzero(mask & np.uint32(1 << bit))) for bit in range(BITS) if there >> bit & 1}


def bit_name(bit: int) -> str:
    """Return number and name of a bit of the mask.

    Parameters
    ----------
    bit : int

    Returns
    -------
    str

    Examples
    --------
    >>> bit_name(11), bit_name(25)
    ('11 VALUE_IS_NAN', '25 (not assigned)')
    """
    return f"{bit} {BadPixels(1 << bit).name or '(not assigned)'}"


def _odd(name: str, array: np.ndarray, detector: Detector) -> list[dict[str, int]]:
    """Count for each gain what makes a constant useless, or an error of whoever made it."""
    tests = {}
    if array.dtype.kind == "f":
        tests["not finite"] = ~np.isfinite(array)
    if name in ("relative_gain", "adu_per_kev"):
        tests["zero"] = array == 0
        if not (detector.signed_gain and name == "adu_per_kev"):
            tests["negative"] = array < 0
    if name == "noise":
        tests["not above 0"] = array <= 0
    if name == "thresholds" and len(array) == 2:
        wrong = np.zeros_like(array, bool)
        wrong[1] = array[1] < array[0]
        tests["below the first one"] = wrong
    counts = {what: np.count_nonzero(where, axis=(1, 2, 3)) for what, where in tests.items()}
    return [
        {what: int(number[gain]) for what, number in counts.items() if number[gain]}
        for gain in range(len(array))
    ]


def lacking(constants: Constants) -> list[str]:
    """Say which modules lack a constant that others have.

    Parameters
    ----------
    constants : Constants

    Returns
    -------
    list of str
        One sentence for each constant; empty where nothing lacks.

    Examples
    --------
    >>> arrays = {"offset": {1: np.zeros((3, 1, 512, 1024))}}
    >>> lacking(Constants.from_arrays("JUNGFRAU", arrays, modules=[1, 2]))
    ['offset: none for module 2']
    """
    found = []
    for name in constants.names:
        without = [str(module) for module in constants.modules if not constants.has(name, module)]
        if without:
            found.append(f"{name}: none for module{'s' * (len(without) > 1)} {', '.join(without)}")
    return found


def not_used(constants: Constants) -> list[str]:
    """Say which datasets lay beside those that the constants were read from, and were not used.

    Parameters
    ----------
    constants : Constants

    Returns
    -------
    list of str
        One sentence for each calibration; empty where all was used, or nobody says.

    Examples
    --------
    >>> provenance = {"not_used": ["0/SlopesCS", "1/SlopesCS", "cal.7.h5:/M435/Offset/0/data"]}
    >>> arrays = {"offset": {1: np.zeros((3, 1, 512, 128))}}
    >>> for line in not_used(Constants.from_arrays("AGIPD1M", arrays, provenance=provenance)):
    ...     print(line)
    SlopesCS: AGIPD1M has no step for it (2 datasets, the first is 0/SlopesCS)
    Offset: of a PDU that no module is said to be (1 dataset, cal.7.h5:/M435/Offset/0/data)
    """
    found: dict[str, list[str]] = {}
    for name in constants.provenance.get("not_used", ()):
        # MODULE/CALIBRATION, or FILE:/PDU/CALIBRATION/INDEX/data
        inside = name.rpartition(":/")
        found.setdefault(name.split("/")[-3] if inside[1] else name.rpartition("/")[2], []).append(name)
    detector, lines = constants.detector, []
    for calibration, names in found.items():
        known = calibration in detector.facility_constants
        why = "of a PDU that no module is said to be" if known else f"{detector.name} has no step for it"
        count = f"{len(names)} datasets, the first is" if len(names) > 1 else "1 dataset,"
        lines.append(f"{calibration}: {why} ({count} {names[0]})")
    return lines


def checksum(constants: Constants) -> str:
    """Return the SHA-256 of what constants hold, whatever form they are kept in.

    Detector, modules, cells and arrays go into it; conditions and provenance do not.

    Parameters
    ----------
    constants : Constants

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> checksum(Constants.open("store")) == checksum(Constants.open("constants.h5"))  # doctest: +SKIP
    True
    """
    total = hashlib.sha256()
    head = [constants.detector.name, list(constants.modules), constants.cell_ids.tolist()]
    total.update(json.dumps(head).encode())
    for name in constants.names:
        for module in constants.modules:
            if constants.has(name, module):
                array = constants.load(name, module)
                if array.dtype.kind == "f":
                    # Which NaN it is says nothing.
                    array = np.where(np.isnan(array), np.float32(np.nan), array)
                total.update(f"{name} {module} {array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
