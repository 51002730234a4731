"""The detectors that can be simulated: their names, places, words and control devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import detectors
from . import chips
from .detector import STAGES, DetectorModel
from .geometry import agipd_geometry, grid_geometry, grid_positions, pixel_positions, write_panels

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..geometry import Geometry
    from .parameters import SpiParameters

BIAS_VOLTAGE = 300.0


@dataclass(frozen=True)
class Kind:
    """What tells one simulated detector from another.

    Attributes
    ----------
    detector_name : str
        Its name in a run, unless another is asked for.
    chip : Chip or None
        Model of its pixels; None is that of the AGIPD.
    control : callable
        Parameters -> control devices: source -> (class, values).
    """

    detector_name: str
    chip: chips.Chip | None
    control: Callable[[SpiParameters], dict[str, tuple[str, dict[str, Any]]]]


def _agipd(p: SpiParameters) -> dict[str, tuple[str, dict[str, Any]]]:
    name = p.instrument.name
    if p.detector == "AGIPD1M":
        place = f"{name}_IRU" if name == "SPB" else f"{name}_EXP"
        fpga, voltage = f"{place}_AGIPD1M1/MDL/FPGA_COMP", f"{place}_AGIPD1M/PSC/HV"
    else:
        domain = p.detector_name.replace("_DET_", "_EXP_")
        fpga, voltage = f"{domain}/MDL/FPGA_COMP", f"{domain}/PSC/HV"
    devices = {
        fpga: (
            "AgipdComposite",
            {
                "bunchStructure.firstPulse": np.uint16(0),
                "bunchStructure.nPulses": np.uint16(p.memory_cells),
                "bunchStructure.repetitionRate": np.float32(p.rate_mhz),
                "deviceId": fpga,
                "gain": np.uint16(0),
                "gainModeIndex": np.uint16(STAGES[p.gain_mode] + 1),
                "integrationTime": np.uint16(p.integration_time),
                "patternTypeIndex": np.uint16(0),
                "patternType": "XRay",
                "masterState": "ON",
            },
        ),
        voltage: ("HighVoltage", {"channels.U0.voltage": np.float64(BIAS_VOLTAGE)}),
    }
    if p.detector == "AGIPD1M":
        stage = f"{name}_IRU_AGIPD1M/MOTOR/Z_STEPPER" if name == "SPB" else f"{name}_EXP_UPP/MOTOR/T4"
        devices[stage] = ("StepperMotor", {"actualPosition": np.float64(p.distance_m * 1000)})
    return devices


def _lpd(p: SpiParameters) -> dict[str, tuple[str, dict[str, Any]]]:
    values = {"femAsicGain": np.int32(0), "femAsicGainOverride": np.bool_(p.parallel_gain)}
    return {f"{p.detector_name}/COMP/FEM_MDL_COMP": ("LpdFemComposite", values)}


def _none(p: SpiParameters) -> dict[str, tuple[str, dict[str, Any]]]:
    return {}


KINDS = {
    "AGIPD1M": Kind("SPB_DET_AGIPD1M-1", None, _agipd),
    "AGIPD500K": Kind("HED_DET_AGIPD500K2G", None, _agipd),
    "LPD1M": Kind("FXE_DET_LPD1M-1", chips.LPD, _lpd),
    "LPDMINI": Kind("FXE_DET_LPD_MINI", chips.LPD, _lpd),
    "DSSC1M": Kind("SCS_DET_DSSC1M-1", chips.DSSC, _none),
}
"""What can be simulated, by the names of the detectors."""


def detector_of(p: SpiParameters) -> Detector:
    """Return the detector of a simulation, as a reader of the run knows it.

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    Detector

    Examples
    --------
    >>> from shotsieve.simulate import SpiParameters
    >>> detector_of(SpiParameters()).name
    'AGIPD1M'
    """
    detector = detectors.load(p.detector)
    return detector.in_parallel_gain() if p.parallel_gain else detector


def positions(name: str, module: int) -> np.ndarray:
    """Return the centres of one module's pixels.

    Parameters
    ----------
    name : str
        A key of `KINDS`.
    module : int

    Returns
    -------
    numpy.ndarray
        (ss, fs, 2) float64: x and y in metres, beam at the origin.

    Examples
    --------
    >>> positions("DSSC1M", 3).shape
    (128, 512, 2)
    """
    kind, detector = KINDS[name], detectors.load(name)
    if kind.chip is None:
        return pixel_positions(module)
    return grid_positions(module, detector.shape, detector.pixel_size_m, detector.hexagonal)


def geometry_of_detector(name: str) -> Geometry:
    """Return where the panels of a simulated detector with square pixels are.

    Examples
    --------
    >>> geometry_of_detector("LPD1M").module_shape
    (256, 256)
    """
    detector = detectors.load(name)
    if KINDS[name].chip is None:
        return agipd_geometry(len(detector.modules))
    return grid_geometry(detector)


def geometry_of(p: SpiParameters, folder: Path) -> Path | None:
    """Write the geometry file of a simulation's detector.

    Parameters
    ----------
    p : SpiParameters
    folder : Path
        It must exist.

    Returns
    -------
    Path or None
        None for hexagonal pixels, of which a CrystFEL geometry cannot speak.

    Examples
    --------
    >>> geometry_of(SpiParameters(detector="LPD1M"), Path("demo"))    # doctest: +SKIP
    """
    if detectors.load(p.detector).hexagonal:
        return None
    name = p.detector.replace("AGIPD", "AGIPD-") if KINDS[p.detector].chip is None else p.detector
    path, geometry = folder / geometry_name(p.detector), geometry_of_detector(p.detector)
    return write_panels(path, geometry, name, p.distance_m, p.photon_energy_kev)


def geometry_name(name: str) -> str:
    """Return the name of the geometry file of a detector."""
    return f"{detectors.load(name).family}.geom"


def model_of(p: SpiParameters) -> DetectorModel | chips.ChipModel:
    """Return the model of the pixels of a simulation's detector.

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    DetectorModel or ChipModel

    Examples
    --------
    >>> from shotsieve.simulate import SpiParameters
    >>> model_of(SpiParameters(detector="DSSC1M")).planes
    1
    """
    chip = KINDS[p.detector].chip
    if chip is not None:
        return chips.ChipModel(chip, p.seed, p.cells_with_constants, p.bad_fraction, p.parallel_gain)
    return DetectorModel(
        p.seed,
        p.cells_with_constants,
        bad_fraction=p.bad_fraction,
        mg_baseline=p.mg_baseline,
        medium_low_ratio=detectors.load(p.detector).medium_low_ratio,
        gain_mode=p.gain_mode,
    )
