"""A crystal: its unit cell, its reflections and how strong they are."""

from __future__ import annotations

import itertools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInput

# Sums of the indices, and what must divide them: a centred lattice has no other reflections.
_CENTERING = {
    "P": (),
    "A": (((0, 1, 1), 2),),
    "B": (((1, 0, 1), 2),),
    "C": (((1, 1, 0), 2),),
    "I": (((1, 1, 1), 2),),
    "F": (((1, 1, 0), 2), ((1, 0, 1), 2)),
    "R": (),
    "H": (((-1, 1, 1), 3),),
}
# Points of the reciprocal lattice that are looked at; beyond, the cell is hardly given in nm.
_MOST_INDICES = 50_000_000
_LENGTH_NM = {"A": 0.1, "nm": 1.0}


@dataclass(frozen=True)
class UnitCell:
    """Edges and angles of a unit cell.

    Attributes
    ----------
    a, b, c : float
        Edges, nm.
    alpha, beta, gamma : float
        Angles, degrees.
    centering : str
        Of the lattice: P, A, B, C, I, F, R (on its own axes) or H (R on hexagonal axes).

    Raises
    ------
    BadInput
        When there is no such cell.

    Examples
    --------
    >>> UnitCell(7.91, 7.91, 3.79).volume
    237.13...
    """

    a: float
    b: float
    c: float
    alpha: float = 90.0
    beta: float = 90.0
    gamma: float = 90.0
    centering: str = "P"

    def __post_init__(self) -> None:
        if self.centering not in _CENTERING:
            raise BadInput(f"centering {self.centering!r}; expected one of {', '.join(_CENTERING)}")
        edges, angles = (self.a, self.b, self.c), (self.alpha, self.beta, self.gamma)
        if not (all(0 < edge < 1000 for edge in edges) and all(0 < angle < 180 for angle in angles)):
            raise BadInput(f"unit cell {(*edges, *angles)}: expected edges in nm and angles in degrees")
        if not np.linalg.det(self._metric()) > 0:
            raise BadInput(f"unit cell angles {angles}: no three axes have these angles between them")

    @classmethod
    def read(cls, path: str | os.PathLike) -> UnitCell:
        """Read a unit cell file of CrystFEL.

        Parameters
        ----------
        path : path
            Text with lines ``a = 79.1 A`` to ``ga = 90 deg`` and, where it is not P, ``centering = C``.

        Returns
        -------
        UnitCell

        Raises
        ------
        BadInput
            When the file cannot be read or lacks an edge or an angle.

        Examples
        --------
        >>> UnitCell.read("hewl.cell").c    # doctest: +SKIP
        3.79
        """
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise BadInput(f"{path}: the unit cell cannot be read ({err})") from err
        values = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
        numbers = []
        for name, units in (
            *((e, _LENGTH_NM) for e in "abc"),
            *((x, {"deg": 1.0}) for x in ("al", "be", "ga")),
        ):
            found = re.fullmatch(r"([\d.eE+-]+)\s*(\w+)", values.get(name, ""))
            if found is None or found[2] not in units:
                expected = f"{name} = NUMBER {' or '.join(units)}"
                raise BadInput(f"{path}: expected a line {expected!r}; found {values.get(name)!r}")
            numbers.append(float(found[1]) * units[found[2]])
        return cls(*numbers, centering=values.get("centering", "P"))

    def _metric(self) -> np.ndarray:
        edges = np.array([self.a, self.b, self.c])
        cosines = np.cos(np.radians([self.alpha, self.beta, self.gamma]))
        angles = np.eye(3)
        for cosine, (i, j) in zip(cosines, ((1, 2), (0, 2), (0, 1)), strict=True):
            angles[i, j] = angles[j, i] = cosine
        return edges[:, None] * angles * edges

    @property
    def volume(self) -> float:
        """In nm^3."""
        return float(np.sqrt(np.linalg.det(self._metric())))

    def reciprocal(self) -> np.ndarray:
        """Return the reciprocal axes of the cell as it stands: a along x, b in the x-y plane.

        Returns
        -------
        ndarray of float64, shape (3, 3)
            Rows a*, b*, c* in 1/nm, without the factor 2 pi.

        Examples
        --------
        >>> np.abs(UnitCell(2.0, 4.0, 5.0).reciprocal()).round(6).tolist()
        [[0.5, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 0.2]]
        """
        # Rows a, b, c: the Cholesky factor is the lower triangle whose rows have these lengths and angles.
        return np.linalg.inv(np.linalg.cholesky(self._metric())).T

    def symmetries(self) -> np.ndarray:
        """Return the exchanges and inversions of axes that leave the cell as it is, int (n, 3, 3).

        The symmetry of the lattice, not of what the cell holds: a tetragonal cell gives 4/mmm, a triclinic
        one the inversion alone. The three-fold axis of hexagonal cells is no such exchange and is left out.
        """
        metric = self._metric()
        found = []
        for order in itertools.permutations(range(3)):
            for signs in itertools.product((1, -1), repeat=3):
                change = np.zeros((3, 3), int)
                change[range(3), order] = signs
                if np.allclose(change @ metric @ change.T, metric, rtol=1e-6, atol=1e-9):
                    found.append(change)
        return np.array(found)

    def reflections(self, d_min: float) -> np.ndarray:
        """Return all reflections down to a resolution.

        Parameters
        ----------
        d_min : float
            Smallest spacing of lattice planes, nm.

        Returns
        -------
        ndarray of int64, shape (n, 3)
            Indices h, k, l; (0, 0, 0) and what the centering forbids are left out.

        Raises
        ------
        BadInput
            When there are too many for the memory, as for a cell that was given in Angstrom.

        Examples
        --------
        >>> len(UnitCell(1.0, 1.0, 1.0).reflections(0.9))
        6
        """
        reach = [int(edge / d_min) for edge in (self.a, self.b, self.c)]
        if (number := math.prod(2 * n + 1 for n in reach)) > _MOST_INDICES:
            raise BadInput(
                f"unit cell {(self.a, self.b, self.c)}: {number:,} points of its lattice would have to be "
                f"looked at for a resolution of {d_min} nm. Edges are in nm; or give a coarser resolution"
            )
        grids = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
        indices = np.stack([grid.ravel() for grid in grids], axis=1)
        length = np.linalg.norm(indices @ self.reciprocal(), axis=1)
        kept = (length > 0) & (length <= 1 / d_min)
        for weights, divisor in _CENTERING[self.centering]:
            kept &= indices @ np.array(weights) % divisor == 0
        return indices[kept]


HEWL = UnitCell(7.91, 7.91, 3.79)
"""Lysozyme of hen egg white, the crystal that every instrument is tried with: tetragonal, P 43 21 2."""


def wilson_intensities(cell: UnitCell, indices: np.ndarray, b_factor: float, seed: int) -> np.ndarray:
    """Return how strong reflections are: random, equal for equivalent ones, weaker at high resolution.

    Parameters
    ----------
    cell : UnitCell
    indices : ndarray of int, shape (n, 3)
    b_factor : float
        Mean displacement of atoms, nm^2: intensities fall off as exp(-B / (2 d^2)).
    seed : int
        Other seeds are other molecules.

    Returns
    -------
    ndarray of float64, shape (n,)
        Of mean exp(-B / (2 d^2)); exponentially distributed about it, as Wilson (1949, Acta Cryst. 2, 318)
        found for structures without a centre of symmetry.

    Examples
    --------
    >>> one, other = wilson_intensities(HEWL, np.array([[1, 2, 3], [-2, 1, 3]]), 0.2, 1)
    >>> bool(one == other)
    True
    """
    equivalent = np.einsum("nij,mj->mni", cell.symmetries(), indices)
    # One stands for all of them, in its resolution too: the largest, read as a number.
    numbers = (equivalent + 4096) @ np.array([1 << 26, 1 << 13, 1])
    chosen = numbers.argmax(axis=1)[:, None]
    uniform = _hash(np.take_along_axis(numbers, chosen, 1)[:, 0].astype(np.uint64), seed)
    representative = np.take_along_axis(equivalent, chosen[..., None], 1)[:, 0]
    resolution = np.square(np.linalg.norm(representative @ cell.reciprocal(), axis=1))
    return -np.log(uniform) * np.exp(-0.5 * b_factor * resolution)


def _hash(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return a number in (0, 1] for each one, whatever the others are: splitmix64."""
    x = numbers + np.uint64((seed * 0x9E3779B97F4A7C15) % (1 << 64))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return ((x >> np.uint64(11)).astype(np.float64) + 1) / (1 << 53)


def random_orientation(rng: np.random.Generator) -> np.ndarray:
    """Return a rotation drawn evenly from all, float64 (3, 3).

    Examples
    --------
    >>> turn = random_orientation(np.random.default_rng(1))
    >>> bool(np.allclose(turn @ turn.T, np.eye(3)))
    True
    """
    w, x, y, z = (lambda q: q / np.linalg.norm(q))(rng.standard_normal(4))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
