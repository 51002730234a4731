"""What stands where in a CXI file of hits: the datasets and their attributes, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from ..errors import BadInput
from ..units import kev_to_nm
from .encoded import DTYPES, filter_options
from .hdf5 import STRING, storable, stored_dtype
from .virtual import Mapped, create_virtual

CXI_VERSION = 150
"""Version 1.5 of the format: the first with peak lists."""

MISSING = 0xFFFFFFFF
"""Mask of a module without data. EXtra-data's virtual CXI files have the same; some bit of it is bad for
every reader, whatever bits it asks for."""


DETECTOR = "entry_1/instrument_1/detector_1"
RESULT = "entry_1/result_1"

_IDENTIFIER = "experiment_identifier"
_ABOVE = "above the local background"
# Field of a peak, dataset, type, unit (None: that of the frames) and meaning; fs first, as CrystFEL's x.
_PEAKS = (
    ("fs", "peakXPosRaw", "f4", "pixel", "fast-scan position; the centre of the first pixel is 0"),
    ("ss", "peakYPosRaw", "f4", "pixel", "row of the slab; the centre of the first pixel is 0"),
    ("total", "peakTotalIntensity", "f4", None, f"sum of the peak's pixels {_ABOVE}"),
    ("max", "peakMaximumValue", "f4", None, f"brightest pixel {_ABOVE}"),
    ("snr", "peakSNR", "f4", "", "total over the sigma of one background pixel, as peakfinder8 defines it"),
    ("n_pixels", "peakNPixels", "i4", "pixel", "size of the peak"),
)
STORED = np.dtype([(field, dtype) for field, _, dtype, _, _ in _PEAKS])
"""What is kept of a peak."""

# A row of the peak arrays is read for each frame, so its chunk stays small; padding deflates to nothing.
_PEAK_CHUNK = 16384


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among those allowed.

    Raises
    ------
    BadInput

    Examples
    --------
    >>> check_choice("unit", "keV", ("keV", "photon"))
    """
    if value not in allowed:
        raise BadInput(f"CXI: {name} is {value!r}; it must be {' or '.join(map(repr, allowed))}")


def check_numbers(max_peaks: int, mask_bad: int, pixel_size_m: float | np.ndarray) -> None:
    """Refuse numbers that cannot be meant.

    Raises
    ------
    BadInput

    Examples
    --------
    >>> check_numbers(2048, 0xFFFFFFFF, 200e-6)
    """
    if max_peaks < 1:
        raise BadInput(f"CXI: max_peaks is {max_peaks}; expected at least 1")
    if not 0 <= mask_bad <= MISSING:
        raise BadInput(f"CXI: mask_bad is {mask_bad}; expected 32 bits, 0 to {MISSING:#x}")
    if not np.all(np.asarray(pixel_size_m) > 0):
        told = " and ".join(f"{size:g}" for size in np.atleast_1d(pixel_size_m))
        raise BadInput(f"CXI: pixel_size_m is {told}; expected metres, for example 200e-6")


def check_slab(shape: Sequence[int], modules: Sequence[int], module_shape: tuple[int, int]) -> None:
    """Refuse a geometry that does not belong to the slab of these modules.

    Raises
    ------
    BadInput

    Examples
    --------
    >>> check_slab((1024, 128), (0, 1), (512, 128))
    """
    slab = (len(modules) * module_shape[0], module_shape[1])
    if tuple(shape) != slab:
        raise BadInput(
            f"CXI: the geometry has {tuple(shape)} rows and columns; expected {slab} for {len(modules)}"
            f" modules of {module_shape}: give the geometry of this detector"
        )


def create_frames(
    file: h5py.File,
    modules: Sequence[int],
    module_shape: tuple[int, int],
    compressed: Mapping[str, bool | str],
    unit: str,
    mask_bad: int,
    dtype: str = DTYPES["data"],
) -> dict[str, h5py.Dataset]:
    """Create the growing slabs of pixels and masks.

    Parameters
    ----------
    file : h5py.File
    modules : sequence of int
        Module numbers from the top of the slab.
    module_shape : (int, int)
    compressed : mapping of str to bool or str
        For ``data`` and ``mask``.
    unit : str
        Unit of the frames.
    mask_bad : int
        Bits of the mask that are bad.
    dtype : str
        Of the pixel values.

    Returns
    -------
    dict of str to h5py.Dataset
        ``data`` and ``mask`` uint32, (0, M * ss, fs), one frame of a module per chunk.

    Examples
    --------
    >>> packed = {"data": False, "mask": True}
    >>> slabs = create_frames(file, (0, 1), (512, 128), packed, "keV", MISSING)    # doctest: +SKIP
    """
    group = file.create_group(DETECTOR)
    slab = (len(modules) * module_shape[0], module_shape[1])
    made = {}
    for name, stored, fill in (("data", dtype, 0), ("mask", DTYPES["mask"], MISSING)):
        made[name] = group.create_dataset(
            name,
            shape=(0, *slab),
            maxshape=(None, *slab),
            chunks=(1, *module_shape),
            dtype=stored,
            fillvalue=np.dtype(stored).type(fill),
            track_times=False,
            **filter_options(compressed[name]),
        )
        made[name].attrs["axes"] = f"{_IDENTIFIER}:y:x"
    # Bad pixels stay NaN where there is one, as in the files of the reduced run: the chunks are the same, no
    # reader can take a made-up 0 for a measured one, and CrystFEL takes what is not finite for bad. A missing
    # module is 0: old versions of CrystFEL and other tools find peaks in it otherwise; and unwritten chunks
    # cost nothing.
    made["data"].attrs["units"] = unit
    bad = "NaN where a pixel is bad, 0" if np.dtype(dtype).kind == "f" else "0 where a pixel is bad or"
    made["data"].attrs["meaning"] = (
        f"corrected frames, modules one below the other; {bad} where a module is missing: the mask is set in"
        " both cases"
    )
    made["mask"].attrs["meaning"] = (
        "BadPixels bits of the European XFEL, not the bits of the CXI format; 0 is a good pixel"
    )
    made["mask"].attrs["bad_bits"] = np.uint32(mask_bad)
    made["mask"].attrs["missing_module"] = np.uint32(MISSING)
    return made


def write_about(file: h5py.File, params: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
    """Write what holds for the whole file.

    Parameters
    ----------
    file : h5py.File
    params : mapping of str to scalar, str or list
        Attributes of the root.
    scalars : mapping of str to scalar or str
        Datasets of the detector, such as distance and pixel size in metres.

    Examples
    --------
    >>> write_about(file, {"writer": "shotsieve"}, {"distance": 0.12})    # doctest: +SKIP
    """
    file.create_dataset("cxi_version", data=np.int32(CXI_VERSION), track_times=False)
    for name, value in scalars.items():
        array = storable(value)
        dataset = file[DETECTOR].create_dataset(
            name, data=array, dtype=stored_dtype(array), track_times=False
        )
        if name in ("distance", "x_pixel_size", "y_pixel_size"):
            dataset.attrs["units"] = "m"
    for name, value in params.items():
        array = storable(value)
        file.attrs.create(name, array if array.ndim else array[()], dtype=stored_dtype(array))


def write_keys(
    file: h5py.File, train: np.ndarray, pulse: np.ndarray, cell: np.ndarray, photon_energy_kev: float
) -> None:
    """Write which shot each frame is, and its photon energy.

    Parameters
    ----------
    file : h5py.File
    train, pulse : ndarray of uint64, shape (H,)
    cell : ndarray of int, shape (H,)
    photon_energy_kev : float

    Examples
    --------
    >>> write_keys(file, train, pulse, cell, 9.3)    # doctest: +SKIP
    """
    entry, instrument = file["entry_1"], file.create_group("instrument")
    names = np.array([f"{t}:{p}" for t, p in zip(train, pulse, strict=True)], object)
    entry.create_dataset(_IDENTIFIER, data=names, dtype=STRING, track_times=False)
    for name, values in (("trainId", train), ("pulseId", pulse), ("cellId", cell.astype("u2"))):
        entry.create_dataset(name, data=values, track_times=False)
    energies = {
        "photon_energy_eV": (1000 * photon_energy_kev, "eV"),
        "photon_wavelength_A": (10 * kev_to_nm(photon_energy_kev), "angstrom"),
    }
    for name, (value, unit) in energies.items():
        made = instrument.create_dataset(name, data=np.full(len(train), value), track_times=False)
        made.attrs["units"] = unit


def write_peaks(file: h5py.File, peaks: Sequence[np.ndarray], found: np.ndarray, unit: str) -> None:
    """Write the peak lists: arrays with one row per frame, as wide as the longest list.

    Parameters
    ----------
    file : h5py.File
    peaks : sequence of H ndarray of `STORED`
    found : ndarray of int32, shape (H,)
        Peaks found; more than are stored where the list was limited, -1 where nothing was searched.
    unit : str
        Unit of the values that the peaks were found in.

    Examples
    --------
    >>> write_peaks(file, peaks, found, "keV")    # doctest: +SKIP
    """
    group = file.create_group(RESULT)
    counts = np.array([len(p) for p in peaks], "i4")
    # CrystFEL takes the row of a frame and its first nPeaks values, so this has to be what is stored.
    group.create_dataset("nPeaks", data=counts, track_times=False)
    full = group.create_dataset("nPeaksFull", data=found, track_times=False)
    group["nPeaks"].attrs["meaning"] = "peaks stored here"
    full.attrs["meaning"] = "peaks found, also those beyond the limit of what is stored; -1 not searched"
    width = max(1, int(counts.max(initial=0)))
    rows = max(1, _PEAK_CHUNK // width)
    for field, name, dtype, own, meaning in _PEAKS:
        shape = (len(peaks), width)
        packed = {"chunks": (min(rows, len(peaks)), width), "compression": "gzip", "shuffle": True}
        made = group.create_dataset(name, shape, dtype, track_times=False, **(packed if len(peaks) else {}))
        for start in range(0, len(peaks), rows):
            part = peaks[start : start + rows]
            block = np.zeros((len(part), width), dtype)
            for row, found_here in zip(block, part, strict=True):
                row[: len(found_here)] = found_here[field]
            made[start : start + len(part)] = block
        made.attrs["axes"] = f"{_IDENTIFIER}:nPeaks"
        made.attrs["units"] = unit if own is None else own
        made.attrs["meaning"] = meaning


def write_views(file: h5py.File, modules: Sequence[int], module_shape: tuple[int, int]) -> None:
    """Write the frames once more as (H, M, ss, fs), without a copy, and the links the format asks for.

    Parameters
    ----------
    file : h5py.File
        With complete slabs.
    modules : sequence of int
    module_shape : (int, int)

    Examples
    --------
    >>> write_views(file, (0, 1), (512, 128))    # doctest: +SKIP
    """
    entry, group = file["entry_1"], file[DETECTOR]
    slab, ss = group["data"], module_shape[0]
    frames = len(slab)
    create_virtual(
        group,
        "modules",
        (frames, len(modules), *module_shape),
        slab.dtype,
        0,
        [
            Mapped(
                ".",  # the file itself, whatever name it gets
                slab.name,
                slab.shape,
                (0, m * ss, 0),
                (frames, *module_shape),
                (0, m, 0, 0),
                (frames, 1, *module_shape),
            )
            for m in range(len(modules) if frames else 0)
        ],
    )
    view = group["modules"]
    view.attrs["axes"] = f"{_IDENTIFIER}:module_identifier:y:x"
    view.attrs["meaning"] = "the frames of data by module: a view, not a copy"
    group.create_dataset("module_identifier", data=np.array(modules, "i4"), track_times=False)
    group[_IDENTIFIER] = h5py.SoftLink(f"/entry_1/{_IDENTIFIER}")
    entry["data_1"] = h5py.SoftLink(f"/{DETECTOR}")
