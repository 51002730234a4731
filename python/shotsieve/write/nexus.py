"""The NeXus master file of a reduced run: NXmx over the frames in the EuXFEL files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .._version import __version__
from ..errors import OutputError
from ..sources.instruments import instrument_of
from ..steady_file import SteadyHdf5
from ..units import kev_to_nm
from .cxi_layout import MISSING
from .hdf5 import LIBVER, storable, stored_dtype, sync
from .kept_frames import KeptFrames
from .nexus_geometry import write_panels
from .virtual import create_virtual

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..geometry import Geometry

DEFINITION_VERSION = "v2026.01"
DETECTOR = "entry/instrument/detector"
_MASK = (
    "BadPixels bits of the European XFEL, not those of NeXus; 0 is a good pixel, all bits are set where a"
    " module is missing. Pixels with any bit are not to be used"
)
_DATA = "corrected frames, modules one below the other; NaN where a pixel is bad or a module is missing"


@dataclass(frozen=True)
class Master:
    """What a master file says beside where the frames are.

    Attributes
    ----------
    detector : Detector
    name : str
        Of the detector, for example ``"SPB_DET_AGIPD1M-1"``.
    modules : sequence of int
        Module numbers from the top of the slab.
    geometry : Geometry
        Of the same modules.
    distance_m, photon_energy_kev : float
    unit : str
        Of the frames.
    sample : str
        As the run says; may be empty.
    settings : mapping of str to scalar, str or list of str
        How the run was reduced: attributes of an NXcollection.
    """

    detector: Detector
    name: str
    modules: Sequence[int]
    geometry: Geometry
    distance_m: float
    photon_energy_kev: float
    unit: str
    sample: str
    settings: Mapping[str, Any]

    def write(self, path: Path, files: Sequence[Path]) -> list[str]:
        """Write the file; promise: exact, the same files and values give the same bytes.

        Frames are virtual datasets over all finished files, found by names relative to the folder of `path`:
        it may be renamed and moved as a whole.

        Parameters
        ----------
        path : Path
            In the folder of the files.
        files : sequence of Path
            Finished files of the run, over any number of sequences; those without frames are passed over.

        Returns
        -------
        list of str
            What a user should know.

        Raises
        ------
        OutputError
            If a file cannot be read or written.

        Examples
        --------
        >>> master.write(folder / "CORR-R0001-SPB_DET_AGIPD1M-1.nxs", files)    # doctest: +SKIP
        []
        """
        frames = KeptFrames.of(files, self.detector, self.name, self.modules)
        try:
            with SteadyHdf5(path, LIBVER, exclusive=True) as out:
                self._write(out.file, frames)
            sync(path)
        except (OSError, RuntimeError) as err:
            raise OutputError(f"{path}: the file could not be written ({err})") from err
        if frames.begin:
            return []
        return [f"{path.name}: the run does not say when its trains were: no start_time, no end_time"]

    # ------------------------------------------------------------------ inside

    def _write(self, file: h5py.File, frames: KeptFrames) -> None:
        file.attrs["default"] = "entry"
        file.attrs["creator"] = "shotsieve"
        file.attrs["creator_version"] = __version__
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        entry["definition"] = "NXmx"
        entry["definition"].attrs["version"] = DEFINITION_VERSION
        if frames.begin:
            entry["start_time"] = iso_time(frames.begin)
            entry["end_time"] = entry["end_time_estimated"] = iso_time(frames.end)
        made = _group(entry, "shotsieve", "NXcollection")
        for name, value in self.settings.items():
            array = storable(value)
            made.attrs.create(name, array if array.ndim else array[()], dtype=stored_dtype(array))
        self._write_detector(entry, frames)
        self._write_beam(entry)
        self._write_data(entry, frames)

    def _write_detector(self, entry: h5py.Group, frames: KeptFrames) -> None:
        instrument = _group(entry, "instrument", "NXinstrument")
        known = instrument_of(self.name)
        instrument["name"] = "European XFEL" if known is None else f"European XFEL {known.name}"
        group = _group(instrument, "detector", "NXdetector")
        group["description"] = self.name
        group["type"] = self.detector.family
        group["sensor_material"] = self.detector.sensor_material
        lengths = {
            "sensor_thickness": self.detector.sensor_thickness_m,
            "distance": self.distance_m,
            "x_pixel_size": self.detector.pixel_sizes_m[0],
            "y_pixel_size": self.detector.pixel_sizes_m[1],
        }
        for name, value in lengths.items():
            _put(group, name, value, "m")
        (ss, fs), count, shots = self.detector.shape, len(self.modules), len(frames)
        pixels = (self.detector.planes[0], "f4", np.nan, {"units": self.unit, "long_name": _DATA})
        mask = ("mask", "u4", MISSING, {"long_name": _MASK})
        for name, (plane, dtype, fill, told) in {"data": pixels, "pixel_mask": mask}.items():
            blocks = frames.mapped(plane, slab=True)
            shape = (shots, count * ss, fs)
            create_virtual(group, name, shape, np.dtype(dtype), fill, blocks, told)
        modules = _group(entry, "modules", "NXdata")
        modules.attrs["signal"] = "data"
        modules.attrs["axes"] = np.array(["frame", "module", ".", "."], object)
        modules["module"] = np.array(self.modules, "i4")
        for name, (plane, dtype, fill, told) in {"data": pixels, "mask": mask}.items():
            blocks = frames.mapped(plane, slab=False)
            shape = (shots, count, ss, fs)
            create_virtual(modules, name, shape, np.dtype(dtype), fill, blocks, told)
        write_panels(group, self.geometry, self.modules, self.distance_m)

    def _write_beam(self, entry: h5py.Group) -> None:
        beam = _group(entry["instrument"], "beam", "NXbeam")
        _put(beam, "incident_wavelength", 10 * kev_to_nm(self.photon_energy_kev), "angstrom")
        _put(beam, "incident_energy", self.photon_energy_kev, "keV")
        source = _group(entry, "source", "NXsource")
        source["name"] = "European XFEL"
        source["type"] = "Free-Electron Laser"
        source["probe"] = "x-ray"
        sample = _group(entry, "sample", "NXsample")
        sample["name"] = self.sample.strip() or "unknown"
        sample["depends_on"] = "."  # it does not move

    def _write_data(self, entry: h5py.Group, frames: KeptFrames) -> None:
        data = _group(entry, "data", "NXdata")
        data.attrs["signal"] = "data"
        data.attrs["axes"] = np.array(["frame", ".", "."], object)
        data["data"] = _link(entry.file, f"/{DETECTOR}/data")
        keys = {"trainId": frames.train_id, "pulseId": frames.pulse_id, "cellId": frames.cell_id}
        for name, values in {"frame": np.arange(len(frames)), **keys}.items():
            data.create_dataset(name, data=values)
            entry["modules"][name] = _link(entry.file, f"/entry/data/{name}")
        for group in (data, entry["modules"]):
            group.attrs["frame_indices"] = 0
        entry["modules"].attrs["module_indices"] = 1


def iso_time(nanoseconds: int) -> str:
    """Return a time since the epoch as NeXus writes it, in UTC.

    Examples
    --------
    >>> iso_time(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456Z'
    """
    seconds, rest = divmod(int(nanoseconds), 10**9)
    return f"{np.datetime64(seconds, 's')}.{rest // 1000:06d}Z"


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _link(file: h5py.File, path: str) -> h5py.SoftLink:
    """Return a link to a dataset, which says of itself where it stands, as NeXus wants it."""
    file[path].attrs["target"] = path
    return h5py.SoftLink(path)


def _put(group: h5py.Group, name: str, value: float, unit: str) -> None:
    group[name] = float(value)
    group[name].attrs["units"] = unit
