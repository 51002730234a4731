"""The sections of a recipe once they are checked: a dataclass for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .cell_order import ANY
from .constants.steps import Steps
from .recipe_correlation import Xcca, Xpcs
from .recipe_scores import Lit, Rings, Score
from .units import Quantity


@dataclass(frozen=True)
class Detector:
    """``[[detector]]``: which detector of the run; None means found in the run.

    Attributes
    ----------
    name, source, geometry : str or None
    data : {"raw", "corrected"} or None
        Which is meant where the run holds both.
    label : str or None
        Its name in the recipe; needed where there are others before it.
    """

    name: str | None = None
    source: str | None = None
    data: str | None = None
    geometry: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Select:
    """``[select]``: which shots are read at all; see `shotsieve.select`.

    Attributes
    ----------
    frames : {"all", "lit", "lit_rows", "super", "super_rows"}
    cells : str or None
        Memory cells as ranges: ``"1:64, 100"``.
    rule : str or None
        Over columns that are known before anything is read.
    """

    frames: str = "all"
    cells: str | None = None
    rule: str | None = None


@dataclass(frozen=True)
class Calibrate:
    """``[calibrate]``: constants, the operating mode where it overrides the run's, and the switches.

    Attributes
    ----------
    constants : str or None
        As written; `Recipe.constants_path` is the file.
    constants_cache : str or None
        Folder for folded constants, as written; see `Recipe.constants_cache`. No output tells it.
    gain_mode, cells, rate_mhz, integration_time, photon_energy_kev, distance_m, parallel_gain
        What overrides the run's control sources, None where it does not; named as in `OperatingMode`.
    memory_cell_order : str or None
        Likewise, for the order that the run's frames tell; ``"any"`` lets constants of any order do.
    unit : str or None
        Unit of the output that was asked for; None leaves it to the steps.
    mask, mask_bad : str or None
        A user's mask as written, and what marks a bad pixel in it; see `shotsieve.constants.masks`.
    mask_zero_std : str or None
        A mask that `shotsieve mask` made, as written.
    steps : Steps
        Every switch of the calibration.
    """

    constants: str | None = None
    constants_cache: str | None = None
    gain_mode: str | None = None
    cells: int | None = None
    rate_mhz: float | None = None
    integration_time: float | None = None
    photon_energy_kev: float | None = None
    distance_m: float | None = None
    parallel_gain: bool | None = None
    memory_cell_order: str | None = None
    unit: str | None = None
    mask: str | None = None
    mask_bad: str | None = None
    mask_zero_std: str | None = None
    steps: Steps = field(default_factory=Steps)

    def mode_overrides(self) -> dict[str, Any]:
        """Return the fields of `OperatingMode` that the recipe sets, by name."""
        names = ("gain_mode", "cells", "rate_mhz", "integration_time", "photon_energy_kev", "distance_m")
        changes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.parallel_gain is not None:
            changes["parallel_gain"] = int(self.parallel_gain)
        # The run's own order stays known where constants of any will do.
        if self.memory_cell_order not in (None, ANY):
            changes["memory_cell_order"] = self.memory_cell_order
        return changes


@dataclass(frozen=True)
class Peaks:
    """``[measure.peaks]``: Bragg peaks; see `shotsieve.measure.peaks.PeakParams` for what is not here.

    Attributes
    ----------
    threshold : Quantity
        Lowest value of a strong pixel.
    noise_floor : Quantity or None
        Noise added to that of the background; None is none.
    radius : {"float", "crystfel"}
        How the radius map is made from the geometry.
    panels : str
        ``"geometry"``, ``"modules"`` or a size such as ``"512x128"`` (slow scan, fast scan) that divides the
        modules.
    mask : str or None
        NumPy file of bool, True where a pixel may be used; as written, see `Recipe.path_of`.
    """

    threshold: Quantity
    min_snr: float = 5.0
    min_pix_count: int = 2
    max_pix_count: int = 200
    local_bg_radius: int = 3
    min_res: float = 0.0
    max_res: float = 0.0
    max_num_peaks: int = 2048
    noise_floor: Quantity | None = None
    radius: str = "float"
    panels: str = "geometry"
    mask: str | None = None


@dataclass(frozen=True)
class Azint:
    """``[measure.azint]``: azimuthal integration; see `shotsieve.measure.azint_params.AzintParams`.

    Attributes
    ----------
    radial_min, radial_max : float or None
        Both or none; in the unit of the axis.
    error_model : {"none", "poisson", "detector", "azimuthal"}
        ``poisson`` counts photons, also where values are in keV; ``detector`` adds the read noise.
    read_noise : Quantity or None
        Of one pixel.
    mask : str or None
        NumPy file of bool, True where a pixel may be used; as written, see `Recipe.path_of`.
    normalise : str or None
        Column that profiles are divided by, such as ``"pulse_energy"``.
    estimator : {"ratio_of_sums", "mean_of_ratios"}
        How averages are made.
    average : str or None
        ``"train"``, ``"cell"`` or a column: averages are made for each of its values, beside that of the run.
    per_shot : bool
        Write the profile of every shot.
    """

    npt: int = 500
    unit: str = "q_A^-1"
    radial_min: float | None = None
    radial_max: float | None = None
    splitting: str = "no"
    solid_angle: bool = True
    polarisation: float | None = None
    absorption: float | None = None
    error_model: str = "none"
    read_noise: Quantity | None = None
    mask: str | None = None
    normalise: str | None = None
    estimator: str = "ratio_of_sums"
    average: str | None = None
    per_shot: bool = True


@dataclass(frozen=True)
class Region:
    """``[measure.roi.NAME]``: one region of interest; see `shotsieve.measure.regions`.

    Attributes
    ----------
    kind : {"rectangle", "strips", "ring", "sector", "polygon", "mask", "projection"}
    module : int or None
        Number of the module that a rectangle counts in; None counts in the slab.
    vertices : str or None
        x and y in mm in the laboratory: ``"-5 -5, 5 -5, 5 5, -5 5"``.
    mask : str or None
        NumPy file of bool, True inside; as written, see `Recipe.path_of`.
    axis : {"ss", "fs"} or None
        Which axis of a rectangle a projection keeps.
    """

    kind: str
    module: int | None = None
    ss_start: int | None = None
    ss_stop: int | None = None
    fs_start: int | None = None
    fs_stop: int | None = None
    unit: str = "q_A^-1"
    low: float | None = None
    high: float | None = None
    chi_low: float | None = None
    chi_high: float | None = None
    vertices: str | None = None
    mask: str | None = None
    axis: str | None = None


@dataclass(frozen=True)
class PumpProbe:
    """``[measure.pump_probe]``: what is measured, with and without the pump.

    Attributes
    ----------
    mode, on, off : str
        See `shotsieve.measure.pump_probe.PumpProbeParams`.
    reference : str or None
        NumPy file of a calibrated frame that stands for what is not pumped; as written, see `Recipe.path_of`.
    delay : str or None
        Column whose values make the bins.
    delay_bins : str or None
        Edges of the bins, ``"-1 0 1 2"``; None makes a bin of each value.
    normalise : str or None
        Column that shots are divided by, such as ``"pulse_energy"``.
    estimator : {"ratio_of_sums", "mean_of_ratios"}
    subtract_dark : bool
        Subtract the average of the shots without X-rays.
    frames : bool
        Average the frames too.
    """

    mode: str = "laser"
    on: str = ":"
    off: str = ":"
    reference: str | None = None
    delay: str | None = None
    delay_bins: str | None = None
    normalise: str | None = None
    estimator: str = "ratio_of_sums"
    subtract_dark: bool = False
    frames: bool = False


@dataclass(frozen=True)
class FrameAverage:
    """``[measure.average]``: statistics of the frames.

    Attributes
    ----------
    by : str or None
        ``"verdict"``, ``"cell"``, ``"train"`` or a column: a group for each of its values.
    bins : str or None
        Edges of bins of that column, a group for each; of what is measured they are needed.
    """

    by: str | None = None
    bins: str | None = None


@dataclass(frozen=True)
class Measure:
    """``[measure.*]``: what is measured on every shot; None where it is not computed."""

    lit: Lit | None = None
    peaks: Peaks | None = None
    azint: Azint | None = None
    xcca: Xcca | None = None
    xpcs: Xpcs | None = None
    pump_probe: PumpProbe | None = None
    average: FrameAverage | None = None
    roi: dict[str, Region] | None = None
    rings: Rings | None = None
    scores: dict[str, Score] | None = None


@dataclass(frozen=True)
class Keep:
    """``[keep]``: the rule, and what else is kept; see `shotsieve.keep.Keeper`.

    Attributes
    ----------
    whole : {"shot", "row", "train"} or None
        What is kept or dropped as one; None is what the files of the detector hold: shots, or trains.
    """

    rule: str
    undecided: str = "keep"
    misses: float = 0.0
    seed: int = 0
    whole: str | None = None


@dataclass(frozen=True)
class Ledger:
    """``[ledger]``: what the ledger says of the input.

    Attributes
    ----------
    checksum_inputs : bool
        A SHA-256 of every input file, which is read once more for it.
    """

    checksum_inputs: bool = False


@dataclass(frozen=True)
class Redu:
    """``[redu]``: lit pixels and hits of all shots, as the facility's own tools write them.

    Attributes
    ----------
    modules : str or None
        Numbers of the modules that make the hit score, ``"3, 4, 8, 15"``; None takes all.
    threshold : float or None
        Of the hit score, where the rule compares no adaptive column.
    """

    modules: str | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Write:
    """``[write]``: what is written of the kept shots.

    Attributes
    ----------
    content : {"corrected", "raw", "rounded", "photons", "photon_list"}
        Frames of the EuXFEL files.
    dtype : {"uint16", "uint8"} or None
        Of photons and photon lists; None is uint16.
    whole : float or None
        Of photon lists: share of the shots, at random, whose frames are written too; None is 0.
    rounding_absolute : Quantity or None
        Of rounded content: the step, at most half of which is the error.
    rounding_relative : float or None
        Of rounded content: the error in units of the value; what allows more of the two counts.
    compression : {"none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd"} or None
        Of the pixel values; None compresses what is rounded or counted in photons, and with `regions`
        everything. Bitshuffle is for gain and mask too.
    modules : str or None
        Modules that get a file, as ranges like the memory cells of [select]; None is all, or with `regions`
        those that a region has pixels in.
    regions : str or None
        Names of [measure.roi.NAME]: pixels that lie in none of them are masked in what is written.
    cxi : bool
        Also one CXI file with frames and peaks for CrystFEL.
    nexus : bool
        Also a NeXus master file (NXmx) that shows the frames, with the geometry.
    overview : bool
        Also a file through which EXtra-data opens the run at once.
    others : bool
        Also what the run holds beside the frames, in files of its own and in those of the detector.
    trains_per_file : int
        Trains of each part of the run, which has files of its own; 0 cuts where the files of the run begin.
    legacy_names : bool
        Corrected frames under the name of the raw ones too, as links.
    drop_cells : bool
        Of detectors that store whole trains: a part of a train may be kept.
    """

    content: str = "corrected"
    dtype: str | None = None
    whole: float | None = None
    rounding_absolute: Quantity | None = None
    rounding_relative: float | None = None
    compression: str | None = None
    modules: str | None = None
    regions: str | None = None
    cxi: bool = False
    nexus: bool = False
    overview: bool = False
    others: bool = False
    trains_per_file: int = 500
    legacy_names: bool = False
    drop_cells: bool = False

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the regions whose pixels are written; none where all are."""
        return () if self.regions is None else tuple(name.strip() for name in self.regions.split(","))
