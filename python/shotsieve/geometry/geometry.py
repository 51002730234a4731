"""A detector's geometry: which pixel is where."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import BadInput
from . import groups, writer
from .build import build
from .keys import FileValue
from .layout import checked_module_shape
from .maps import Maps
from .modules import chosen, divided
from .panel import BadRegion, Panel
from .text import parse, read_file


@dataclass(frozen=True)
class Geometry(Maps):
    """Panels, their places in space and in the slab, and all else that a CrystFEL geometry file says.

    The slab is one shot as a 2-D array: rows = modules * slow scan, columns = fast scan. Axes are
    CrystFEL's: z along the beam, y up, x to the left when looking along the beam; the beam passes through x
    = y = 0. z holds only the panels' offsets, never the distance from the sample.

    Make one with `open`, `load`, `from_text` or `from_extra_geom`.

    Attributes
    ----------
    panels : tuple of Panel
        In the order of the file, which is also the order in which peaks are listed.
    module_shape : (int, int)
        Slow scan and fast scan pixels of one module.
    modules : int
    clen_m : float or None
        Camera length; None where unknown, or where it stands in the data files: `clen_source`.
    photon_energy_kev : float or None
        Also from a ``wavelength``; None where unknown, or in the data files: `photon_energy_source` (key,
        place).
    bandwidth : float or None
    electron_voltage : float (V), FileValue or None
    detector_shift : (FileValue or None, FileValue or None)
        Shifts in x and y that stand in the data files and are not in the positions; a shift given as a
        number is.
    peak_list, peak_list_type : str or None
    bad_regions : tuple of BadRegion
    groups : dict of str to tuple of str
        Hierarchy for refinement, members before groups, ``all`` last; made from modules where a file has
        none.
    rigid_groups, rigid_collections : dict of str to tuple of str
        Their forerunners in older files.
    motors : tuple of str
        Comment lines in which EXtra-geom keeps motor positions.
    layout : str
        Of the file read: ``"slab"``, ``"4d"`` or ``"other"``.
    name : str
        Where it comes from.
    notes : list of str
        What was passed over, assumed or is odd. `layout`, `name` and `notes` do not count in comparisons.

    Examples
    --------
    >>> geometry = Geometry.open("agipd.geom", module_shape=(512, 128))    # doctest: +SKIP
    >>> radius = geometry.radius()    # doctest: +SKIP
    """

    panels: tuple[Panel, ...]
    module_shape: tuple[int, int]
    modules: int
    clen_m: float | None = None
    clen_source: FileValue | None = None
    photon_energy_kev: float | None = None
    photon_energy_source: tuple[str, FileValue] | None = None
    bandwidth: float | None = None
    electron_voltage: float | FileValue | None = None
    detector_shift: tuple[FileValue | None, FileValue | None] = (None, None)
    peak_list: str | None = None
    peak_list_type: str | None = None
    bad_regions: tuple[BadRegion, ...] = ()
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rigid_groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rigid_collections: dict[str, tuple[str, ...]] = field(default_factory=dict)
    motors: tuple[str, ...] = ()
    layout: str = field(default="slab", compare=False)
    name: str = field(default="geometry", compare=False)
    notes: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module_shape", checked_module_shape(self.module_shape))
        if not self.panels:
            raise BadInput(f"{self.name}: a geometry has at least one panel")
        rows, columns = self.shape
        for panel in self.panels:
            ss_start, ss_stop, fs_start, fs_stop = panel.rect
            if not (0 <= ss_start < ss_stop <= rows and 0 <= fs_start < fs_stop <= columns):
                raise BadInput(
                    f"{self.name}: panel {panel.name!r} at {list(panel.rect)} [ss_start, ss_stop, fs_start, "
                    f"fs_stop] is empty or leaves the slab of {rows} x {columns} pixels"
                )
        if not self.groups:
            made = groups.derived({p.name: p.module for p in self.panels}, self.rigid_groups)
            object.__setattr__(self, "groups", made)
        self.panel_map  # noqa: B018  overlaps are found here

    @classmethod
    def open(
        cls, source: Any, *, module_shape: tuple[int, int] | None = None, strict: bool = True
    ) -> Geometry:
        """Return a geometry from whatever describes one.

        Parameters
        ----------
        source : path, Geometry or EXtra-geom object
        module_shape : (int, int) or None
            As in `load`; for others a check.
        strict : bool
            As in `load`.

        Returns
        -------
        Geometry

        Raises
        ------
        BadInput
            If it is none of these, or as in `load`.

        Examples
        --------
        >>> Geometry.open("agipd.geom", module_shape=(512, 128)).modules    # doctest: +SKIP
        16
        """
        if isinstance(source, str | os.PathLike):
            return cls.load(source, module_shape=module_shape, strict=strict)
        if not isinstance(source, Geometry):
            if not (hasattr(source, "modules") and hasattr(source, "get_pixel_positions")):
                raise BadInput(
                    f"geometry: got {type(source).__name__}; expected the path of a .geom file, a "
                    "shotsieve.geometry.Geometry or a geometry object of EXtra-geom"
                )
            source = cls.from_extra_geom(source)
        return source if module_shape is None else source.with_modules(module_shape)

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, module_shape: tuple[int, int] | None = None, strict: bool = True
    ) -> Geometry:
        """Read a CrystFEL geometry file.

        Parameters
        ----------
        path : path
            Data layout (frames, ss, fs), (frames, module, ss, fs) or one dataset per module; without frames
            too.
        module_shape : (int, int) or None
            Slow scan and fast scan pixels of a module. In a slab file nothing else tells where modules begin:
            without it the whole slab is one module.
        strict : bool
            False: keys that do not exist, lines that are no ``key = value`` and defaults after the last
            panel are notes instead of errors.

        Returns
        -------
        Geometry

        Raises
        ------
        BadInput
            If the file cannot be read, or is not right; names file, line and panel.

        Examples
        --------
        >>> Geometry.load("jungfrau4m.geom").shape    # doctest: +SKIP
        (4096, 1024)
        """
        text = read_file(path)
        return cls.from_text(text, name=str(path), module_shape=module_shape, strict=strict)

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        name: str = "geometry",
        module_shape: tuple[int, int] | None = None,
        strict: bool = True,
    ) -> Geometry:
        """Read the text of a CrystFEL geometry file; as `load`.

        Parameters
        ----------
        text : str
        name : str
            Stands for the file in messages.
        module_shape, strict
            As in `load`.

        Returns
        -------
        Geometry

        Raises
        ------
        BadInput
            As `load`.

        Examples
        --------
        >>> size = "p/min_fs=0\\np/max_fs=127\\np/min_ss=0\\np/max_ss=63\\n"
        >>> Geometry.from_text(size + "p/corner_x=0\\np/corner_y=0\\np/fs=x\\np/ss=y\\np/res=5000").shape
        (64, 128)
        """
        read = parse(text, name, strict=strict)
        return cls(**build(read, module_shape), name=name)

    @classmethod
    def from_extra_geom(cls, geometry: Any) -> Geometry:
        """Take over a geometry object of EXtra-geom.

        Parameters
        ----------
        geometry : object of a class of extra_geom
            Panels are named ``p0a0`` (module 0, tile 0) and so on, as EXtra-geom writes them.

        Returns
        -------
        Geometry

        Raises
        ------
        BadInput
            If its pixels do not lie on straight grids (hexagonal pixels): such a detector has no .geom file.

        Examples
        --------
        >>> Geometry.from_extra_geom(extra_geom.AGIPD_1MGeometry.example()).modules    # doctest: +SKIP
        16
        """
        from .extra_geom import fields  # only those who have such an object need it

        return cls(**fields(geometry))

    def with_modules(self, module_shape: tuple[int, int]) -> Geometry:
        """Return the same geometry with the slab divided into modules of this shape.

        Parameters
        ----------
        module_shape : (int, int)
            Slow scan and fast scan pixels.

        Returns
        -------
        Geometry

        Raises
        ------
        BadInput
            If the modules are already known to have another shape, or a panel would lie in two modules.

        Examples
        --------
        >>> geometry.with_modules((512, 128)).modules    # doctest: +SKIP
        16
        """
        ss, fs = checked_module_shape(module_shape)
        if (ss, fs) == self.module_shape:
            return self
        if self.modules > 1:
            raise BadInput(
                f"{self.name}: modules are {self.module_shape[0]} x {self.module_shape[1]} (ss x fs) pixels; "
                f"expected {ss} x {fs}"
            )
        return dataclasses.replace(self, **divided(self, ss, fs))

    def part(self, modules: Sequence[int]) -> Geometry:
        """Return the geometry of some modules, such as those that a run has.

        Parameters
        ----------
        modules : sequence of int
            Counted from 0; they stand below one another in this order.

        Returns
        -------
        Geometry

        Raises
        ------
        BadInput
            If a module does not exist or is asked for twice, or none has a panel.

        Examples
        --------
        >>> geometry.part([0, 1, 5]).shape    # doctest: +SKIP
        (1536, 128)
        """
        return dataclasses.replace(self, **chosen(self, modules))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slab."""
        return self.modules * self.module_shape[0], self.module_shape[1]

    @property
    def adu_per_ev(self) -> float | None:
        """Gain in ADU per eV that all panels share, or None."""
        return self._shared("adu_per_ev")

    @property
    def adu_per_photon(self) -> float | None:
        """Gain in ADU per photon that all panels share, or None."""
        return self._shared("adu_per_photon")

    @property
    def data_path(self) -> str | None:
        """Dataset of the frames that all panels share, or None."""
        return self._shared("data")

    def _shared(self, option: str) -> Any:
        values = {getattr(p.options, option) for p in self.panels}
        return values.pop() if len(values) == 1 else None

    def save(
        self,
        path: str | os.PathLike,
        *,
        layout: Literal["slab", "4d"] = "slab",
        data_path: str | None = None,
        mask_path: str | None = None,
        mask_good: int = 0,
        mask_bad: int = 0xFFFFFFFF,
        clen_m: float | None = None,
        photon_energy_kev: float | None = None,
        adu_per_ev: float | None = None,
        adu_per_photon: float | None = None,
        peak_list: str | None = None,
        peak_list_type: str | None = None,
        comments: Iterable[str] = (),
    ) -> Path:
        """Write a CrystFEL geometry file.

        Parameters
        ----------
        path : path
            Replaced if it exists.
        layout : "slab" or "4d"
            (frames, ss, fs), or (frames, module, ss, fs). CrystFEL finds the panels of a peak list only in a
            slab.
        data_path : str or None
            Dataset of the frames; None is the file's own.
        mask_path : str or None
            Dataset of the mask in the same file, with `mask_good` and `mask_bad`: bits that must and must
            not be set. It stands instead of the geometry's own masks; without it those are written that
            still fit.
        clen_m, photon_energy_kev : float or None
            None is the geometry's own, be it a number or a place in the data files.
        adu_per_ev, adu_per_photon : float or None
            Gain of the data, one of the two; None is the geometry's own.
        peak_list, peak_list_type : str or None
            Group of the peaks in the data file; the type is ``"cxi"`` where a list is given without one.
        comments : iterable of str
            The first lines of the file.

        Returns
        -------
        Path
            The file. The same geometry and arguments give the same bytes, and reading it gives the same
            geometry.

        Raises
        ------
        BadInput
            If no data path is known, or arguments contradict each other.
        OutputError
            If the file cannot be written.

        Examples
        --------
        >>> where = {"data_path": "/entry_1/data_1/data", "mask_path": "/entry_1/data_1/mask"}
        >>> geometry.save("hits.geom", **where, clen_m=0.2, photon_energy_kev=9.3)    # doctest: +SKIP
        """
        mask = None if mask_path is None else (mask_path, mask_good, mask_bad)
        text = writer.geometry_text(
            self,
            layout=layout,
            data_path=data_path,
            mask=mask,
            clen_m=clen_m,
            photon_energy_kev=photon_energy_kev,
            gain=(adu_per_ev, adu_per_photon),
            peaks=(peak_list, peak_list_type),
            comments=comments,
        )
        return writer.write_file(path, text)
