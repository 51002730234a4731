"""Maps over the slab that a geometry gives: what peak finding, integration and q ask of it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..errors import BadInput
from ..units import check_photon_energy
from . import pixels
from .keys import FileValue
from .layout import paint
from .panel import BadRegion, Panel


class Maps:
    """The maps of a `shotsieve.geometry.Geometry`, which is the only class of this kind."""

    panels: tuple[Panel, ...]
    shape: tuple[int, int]
    bad_regions: tuple[BadRegion, ...]
    clen_m: float | None
    clen_source: FileValue | None
    photon_energy_kev: float | None
    photon_energy_source: tuple[str, FileValue] | None
    name: str

    @cached_property
    def panel_map(self) -> np.ndarray:
        """Index of the panel of each pixel, int32 (rows, columns); -1 where there is none. Read-only."""
        out = paint(self.panels, self.shape, self.name)
        out.flags.writeable = False
        return out

    @cached_property
    def _vectors(self) -> tuple[np.ndarray, ...]:
        return pixels.vectors_of(self.panels)

    def rectangles(self) -> np.ndarray:
        """Return where the panels lie in the slab.

        Returns
        -------
        ndarray of int32, shape (panels, 4)
            ss_start, ss_stop, fs_start, fs_stop; stop exclusive.

        Examples
        --------
        >>> peakfinder8(frames, radius=g.radius(), panels=g.rectangles(), threshold=50)    # doctest: +SKIP
        """
        return np.array([p.rect for p in self.panels], "i4")

    def panel_modules(self) -> np.ndarray:
        """Return the module of each panel.

        Returns
        -------
        ndarray of int32, shape (panels,)

        Examples
        --------
        >>> geometry.panel_modules().max() + 1    # doctest: +SKIP
        16
        """
        return np.array([p.module for p in self.panels], "i4")

    def positions(self) -> np.ndarray:
        """Return where the centres of the pixels are.

        Returns
        -------
        ndarray of float64, shape (rows, columns, 3)
            x, y, z in m; z is the panels' offset from the camera length. NaN where there is no panel.

        Notes
        -----
        Promise: bounded; within 1e-12 m of exact arithmetic.

        Examples
        --------
        >>> x, y, z = geometry.positions()[0, 0]    # doctest: +SKIP
        """
        return pixels.positions(self.panels, self.shape)

    def radius(self, convention: Literal["float", "crystfel"] = "float") -> np.ndarray:
        """Return how far every pixel is from the beam, in pixels of its panel.

        Parameters
        ----------
        convention : "float" or "crystfel"
            float: of the pixel's centre. crystfel: as CrystFEL's peakfinder8 has it, of the pixel's first
            corner, x and y cut to whole pixels towards zero. It is larger by up to 0.7 or smaller by up to
            2.1 pixels than float.

        Returns
        -------
        ndarray of float32, shape (rows, columns)
            NaN where there is no panel.

        Raises
        ------
        BadInput
            If there is no such convention.

        Examples
        --------
        >>> geometry.radius("crystfel").dtype    # doctest: +SKIP
        dtype('float32')
        """
        return pixels.radius(self.panels, self.shape, convention)

    def good_pixels(self) -> np.ndarray:
        """Return which pixels the geometry lets one use.

        Returns
        -------
        ndarray of bool, shape (rows, columns)
            False in bad regions, in panels with ``no_index``, in their ``mask_edge_pixels`` and where there
            is no panel. Masks in data files and ``flag_*`` values are not looked at: they depend on the
            frames.

        Examples
        --------
        >>> mask &= geometry.good_pixels()    # doctest: +SKIP
        """
        return pixels.good_pixels(self.panels, self.shape, self.bad_regions)

    def momentum_transfer(
        self, distance_m: float | None = None, photon_energy_kev: float | None = None
    ) -> np.ndarray:
        """Return q = 4 pi sin(theta) / wavelength at the centres of the pixels.

        Parameters
        ----------
        distance_m : float or None
            From the sample to z = 0; None is the file's `clen_m`.
        photon_energy_kev : float or None
            None is the file's.

        Returns
        -------
        ndarray of float64, shape (rows, columns)
            In 1/nm; NaN where there is no panel.

        Raises
        ------
        BadInput
            If distance or energy is neither given nor in the file, or not above 0.

        Examples
        --------
        >>> q = geometry.momentum_transfer(0.2, 9.3)    # doctest: +SKIP
        """
        return pixels.momentum_transfer(self.positions(), *self._beam(distance_m, photon_energy_kev))

    def q_at(
        self,
        fs: Any,
        ss: Any,
        panel_index: Any,
        distance_m: float | None = None,
        photon_energy_kev: float | None = None,
    ) -> np.ndarray:
        """Return q at positions between pixels, such as those of peaks.

        Parameters
        ----------
        fs, ss : array of float, shape (n,)
            In the slab; the centre of its first pixel is 0.
        panel_index : array of int, shape (n,)
            Index into `panels`; -1 is none.
        distance_m, photon_energy_kev : float or None
            As in `momentum_transfer`.

        Returns
        -------
        ndarray of float64, shape (n,)
            In 1/nm; NaN where there is no panel.

        Raises
        ------
        BadInput
            As `momentum_transfer`; also if a panel does not exist.

        Examples
        --------
        >>> geometry.q_at([10.4], [3.0], [0], 0.2, 9.3)    # doctest: +SKIP
        """
        distance_m, photon_energy_kev = self._beam(distance_m, photon_energy_kev)
        fs, ss, index = np.broadcast_arrays(
            np.asarray(fs, "f8"), np.asarray(ss, "f8"), np.asarray(panel_index, "i8")
        )
        if index.size and not (index.min() >= -1 and index.max() < len(self.panels)):
            raise BadInput(
                f"q_at: panel_index runs from {index.min()} to {index.max()}; expected -1 to "
                f"{len(self.panels) - 1}"
            )
        where = pixels.positions_at(self._vectors, fs.reshape(-1), ss.reshape(-1), index.reshape(-1))
        return pixels.momentum_transfer(where, distance_m, photon_energy_kev).reshape(fs.shape)

    def panel_at(self, fs: Any, ss: Any) -> np.ndarray:
        """Return the panel of positions in the slab.

        Parameters
        ----------
        fs, ss : float or array of float, shape (n,)
            The centre of the slab's first pixel is 0, so a pixel reaches from -0.5 to 0.5.

        Returns
        -------
        ndarray of int64, shape (n,) or ()
            Index into `panels`; -1 where there is none.

        Examples
        --------
        >>> int(geometry.panel_at(-0.4, 63.6))    # doctest: +SKIP
        1
        """
        fs, ss = np.broadcast_arrays(np.asarray(fs, "f8"), np.asarray(ss, "f8"))
        rows, columns = self.shape
        # Written so that NaN is outside.
        inside = (ss >= -0.5) & (ss < rows - 0.5) & (fs >= -0.5) & (fs < columns - 0.5)
        row = np.floor(np.where(inside, ss, 0.0) + 0.5).astype("i8")
        column = np.floor(np.where(inside, fs, 0.0) + 0.5).astype("i8")
        return np.where(inside, self.panel_map[row, column], -1).astype("i8")

    def _beam(self, distance_m: float | None, photon_energy_kev: float | None) -> tuple[float, float]:
        distance = self.clen_m if distance_m is None else float(distance_m)
        energy = self.photon_energy_kev if photon_energy_kev is None else float(photon_energy_kev)
        for name, value, in_file in (
            ("distance_m", distance, self.clen_source),
            ("photon_energy_kev", energy, self.photon_energy_source),
        ):
            if value is None:
                why = "leaves it to the data files" if in_file else "does not have it"
                raise BadInput(f"q needs {name}: {self.name} {why}, so give it")
        if not 0 < distance < np.inf:
            raise BadInput(f"distance_m = {distance:g}: expected a distance above 0 m")
        return distance, check_photon_energy(energy, option="photon_energy_kev")
