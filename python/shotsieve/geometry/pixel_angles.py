"""Maps over the slab that follow from where pixels are in the laboratory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np

from ..errors import BadInput
from ..units import check_photon_energy
from . import angles
from .tile import LoosePixels, Tile


class AngleMaps:
    """The maps of a `shotsieve.geometry.PixelMap`, which is the only class of this kind."""

    tiles: tuple[Tile | LoosePixels, ...]
    shape: tuple[int, int]
    photon_energy_kev: float | None
    name: str

    @property
    def n_corners(self) -> int:
        """Corners of a pixel: 4, or 6 for hexagons."""
        return self.tiles[0].n_corners

    def rectangles(self) -> np.ndarray:
        """Return where the tiles lie in the slab.

        Returns
        -------
        ndarray of int32, shape (tiles, 4)
            ss_start, ss_stop, fs_start, fs_stop; stop exclusive.

        Examples
        --------
        >>> len(pixels.rectangles())    # doctest: +SKIP
        128
        """
        return np.array([tile.rect for tile in self.tiles], "i4")

    @cached_property
    def centres(self) -> np.ndarray:
        """x, y, z of the pixel centres in m, float64 (rows, columns, 3). Read-only."""
        out = self._painted(lambda tile: tile.centres(), (3,))
        out.flags.writeable = False
        return out

    @property
    def corners(self) -> np.ndarray:
        """x, y, z of the pixel corners in m, float64 (rows, columns, `n_corners`, 3).

        In order around each pixel. Made anew each time it is asked for: 96 to 144 bytes a pixel.
        """
        return self._painted(lambda tile: tile.corners(), (self.n_corners, 3))

    def q(self, photon_energy_kev: float | None = None, unit: Literal["1/nm", "1/A"] = "1/nm") -> np.ndarray:
        """Return the momentum transfer at the pixel centres.

        Parameters
        ----------
        photon_energy_kev : float or None
            None is that of the source, where it said one.
        unit : "1/nm" or "1/A"
            pyFAI's names are taken too: "q_nm^-1", "q_A^-1".

        Returns
        -------
        ndarray of float64, shape (rows, columns)

        Raises
        ------
        BadInput
            If the energy is not known or not in keV, or the unit is not one of these.

        Notes
        -----
        q = 4 pi / wavelength * sin(2 theta / 2), 2 theta = atan2(sqrt(x^2 + y^2), z): pyFAI, ``units.eq_q``.

        Examples
        --------
        >>> pixels.q(9.3, "1/A").max()    # doctest: +SKIP
        4.17
        """
        return self._radial(*angles.radial_unit(unit, "q"), photon_energy_kev)

    def two_theta(self, unit: Literal["rad", "deg"] = "rad") -> np.ndarray:
        """Return the scattering angle at the pixel centres.

        Parameters
        ----------
        unit : "rad" or "deg"
            Or "2th_rad", "2th_deg".

        Returns
        -------
        ndarray of float64, shape (rows, columns)
            0 to pi.

        Raises
        ------
        BadInput
            If the unit is not one of these.

        Examples
        --------
        >>> pixels.two_theta("deg").max()    # doctest: +SKIP
        52.4
        """
        return self._radial(*angles.radial_unit(unit, "two_theta"), None)

    def r(self, unit: Literal["m", "mm"] = "m") -> np.ndarray:
        """Return the distance of the pixel centres from the beam, sqrt(x^2 + y^2).

        Parameters
        ----------
        unit : "m" or "mm"
            Or "r_m", "r_mm".

        Returns
        -------
        ndarray of float64, shape (rows, columns)

        Raises
        ------
        BadInput
            If the unit is not one of these.

        Examples
        --------
        >>> pixels.r("mm").min()    # doctest: +SKIP
        0.9
        """
        return self._radial(*angles.radial_unit(unit, "r"), None)

    def radial(self, unit: str, photon_energy_kev: float | None = None) -> np.ndarray:
        """Return q, 2 theta or r at the pixel centres, whichever the unit is of.

        Parameters
        ----------
        unit : str
            One of those of `q`, `two_theta` and `r`.
        photon_energy_kev : float or None
            As in `q`; not needed for the others.

        Returns
        -------
        ndarray of float64, shape (rows, columns)

        Raises
        ------
        BadInput
            As these.

        Examples
        --------
        >>> pixels.radial("2th_deg")    # doctest: +SKIP
        """
        return self._radial(*angles.radial_unit(unit), photon_energy_kev)

    def chi(self, unit: Literal["rad", "deg"] = "rad") -> np.ndarray:
        """Return the azimuth of the pixel centres, atan2(y, x).

        Parameters
        ----------
        unit : "rad" or "deg"

        Returns
        -------
        ndarray of float64, shape (rows, columns)
            -pi to pi; 0 along x, growing towards y.

        Raises
        ------
        BadInput
            If the unit is not one of these.

        Examples
        --------
        >>> pixels.chi("deg")    # doctest: +SKIP
        """
        return angles.chi(self.centres) * angles.chi_factor(unit)

    def solid_angle(self, *, absolute: bool = False) -> np.ndarray:
        """Return the solid angle of the pixels.

        Parameters
        ----------
        absolute : bool
            False: pyFAI's correction, 1 at normal incidence. True: the solid angle itself.

        Returns
        -------
        ndarray of float64, shape (rows, columns)
            cos^3 of the angle between the ray and the normal of the pixel's tile; or area * cos / R^2 in sr.

        Notes
        -----
        The two are proportional only where all tiles face the beam at one distance: cos^3 (pyFAI,
        ``Geometry.diffSolidAngle``) knows each tile's z through the angle alone.

        Examples
        --------
        >>> norm = pixels.solid_angle() * pixels.polarisation(0.99)    # doctest: +SKIP
        """
        if absolute:
            return self._over_tiles(angles.steradian)
        return self._over_tiles(angles.cos_incidence) ** 3

    def polarisation(self, factor: float, axis_offset: float = 0.0) -> np.ndarray:
        """Return the share of light that polarisation lets through to each pixel.

        Parameters
        ----------
        factor : float
            -1 (vertical) to 1 (horizontal): (Ih - Iv) / (Ih + Iv). About 0.99 at SASE1 and SASE2.
        axis_offset : float
            Angle of the polarisation's main axis against x, in rad.

        Returns
        -------
        ndarray of float64, shape (rows, columns)
            (1 + cos^2(2 theta) - factor * cos(2 (chi + axis_offset)) * sin^2(2 theta)) / 2.

        Raises
        ------
        BadInput
            If the factor is not between -1 and 1, or the offset not finite.

        Notes
        -----
        pyFAI, ``Geometry.polarization``.

        Examples
        --------
        >>> pixels.polarisation(0.99).min()    # doctest: +SKIP
        0.38
        """
        factor = angles.real(factor, "polarisation: factor")
        if not -1 <= factor <= 1:
            raise BadInput(f"polarisation: factor = {factor:g}; expected -1 (vertical) to 1 (horizontal)")
        axis_offset = angles.real(axis_offset, "polarisation: axis_offset (rad)")
        return angles.polarisation(self.centres, factor, axis_offset)

    def absorption(self, t0: float) -> np.ndarray:
        """Return what the sensor absorbs at each pixel, over what it does at normal incidence.

        Parameters
        ----------
        t0 : float
            Share of light that crosses the sensor at normal incidence, 0 <= t0 < 1:
            exp(-thickness / attenuation length).

        Returns
        -------
        ndarray of float64, shape (rows, columns)
            (1 - t0^(1 / cos(incidence))) / (1 - t0).

        Raises
        ------
        BadInput
            If `t0` is outside.

        Notes
        -----
        G. Wu et al., J. Appl. Cryst. 35 (2002) 356; pyFAI, ``Geometry.calc_transmission``.

        Examples
        --------
        >>> pixels.absorption(0.35).max()    # doctest: +SKIP
        1.2
        """
        t0 = angles.real(t0, "absorption: t0")
        if not 0 <= t0 < 1:
            raise BadInput(f"absorption: t0 = {t0:g}; expected the transmission of the sensor, 0 <= t0 < 1")
        return angles.absorption(self._over_tiles(angles.cos_incidence), t0)

    def corner_values(
        self, unit: str, photon_energy_kev: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return radial values and azimuths of the pixels' corners.

        Parameters
        ----------
        unit : str
            As in `radial`.
        photon_energy_kev : float or None
            As in `q`.

        Returns
        -------
        radial : ndarray of float64, shape (rows, columns, `n_corners`)
        chi : ndarray of float64, shape (rows, columns, `n_corners`)
            In rad, within pi of the pixel's centre: beyond -pi or pi where a pixel lies across the cut. Only
            a pixel that the beam itself crosses has a jump left.

        Raises
        ------
        BadInput
            As `q`.

        Examples
        --------
        >>> q, chi = pixels.corner_values("1/A", 9.3)    # doctest: +SKIP
        """
        what, factor = angles.radial_unit(unit)
        energy = self._energy(photon_energy_kev) if what == "q" else None

        def radial_of(tile: Tile | LoosePixels) -> np.ndarray:
            return angles.radial(tile.corners(), what, energy) * factor

        def chi_of(tile: Tile | LoosePixels) -> np.ndarray:
            return angles.unwrapped(angles.chi(tile.corners()), angles.chi(tile.centres()))

        return self._painted(radial_of, (self.n_corners,)), self._painted(chi_of, (self.n_corners,))

    def _painted(self, values: Callable[[Tile | LoosePixels], np.ndarray], extra: tuple = ()) -> np.ndarray:
        out = np.full((*self.shape, *extra), np.nan)
        for tile in self.tiles:
            ss_start, ss_stop, fs_start, fs_stop = tile.rect
            out[ss_start:ss_stop, fs_start:fs_stop] = values(tile)
        return out

    def _over_tiles(self, formula: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        return self._painted(lambda tile: formula(tile.centres(), tile.areas()))

    def _radial(self, what: str, factor: float, photon_energy_kev: float | None) -> np.ndarray:
        energy = self._energy(photon_energy_kev) if what == "q" else None
        return angles.radial(self.centres, what, energy) * factor

    def _energy(self, given: float | None) -> float:
        energy = self.photon_energy_kev if given is None else given
        if energy is None:
            raise BadInput(
                f"q needs photon_energy_kev: {self.name} does not have it, so give it (keV; 1.2398 / "
                "wavelength in nm)"
            )
        energy = angles.real(energy, "photon_energy_kev")
        return check_photon_energy(energy, option="photon_energy_kev")
