"""The energy of every pulse, as the X-ray gas monitor lists it: by the running number of the pulse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bunches import collect, sources_like
from .exdf import RunFile

FILL = 1.0  # what stands behind the last pulse of a row


@dataclass(frozen=True)
class PulseEnergies:
    """Energies of pulses, one row per train.

    Attributes
    ----------
    train_id : ndarray of uint64, shape (T,)
    energy, sigma : ndarray of float64, shape (T, n)
        uJ, in the order of the pulses; NaN behind the last one, and where a train has none.
    own : bool
        Whether the pulses of the instrument's own SASE are listed alone, instead of all that pass the XGM.
    origin : str
        Source and key.
    """

    train_id: np.ndarray
    energy: np.ndarray
    sigma: np.ndarray
    own: bool
    origin: str

    def rows(self, train_id: np.ndarray) -> PulseEnergies:
        """Return the rows of these trains, NaN for those that are not there."""
        at, have = rows_of(self.train_id, train_id)
        energy, sigma = (np.full((len(train_id), v.shape[1]), np.nan) for v in (self.energy, self.sigma))
        energy[have], sigma[have] = self.energy[at[have]], self.sigma[at[have]]
        return PulseEnergies(train_id, energy, sigma, self.own, self.origin)


def rows_of(trains: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of each wanted train in sorted `trains`, and whether it is there.

    Examples
    --------
    >>> rows_of(np.array([4, 6]), np.array([6, 5]))
    (array([1, 1]), array([ True, False]))
    """
    if len(trains) == 0:
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(trains, wanted), len(trains) - 1)
    return at, trains[at] == wanted


def read_energies(
    files: Sequence[RunFile], name: str, sase: int, notes: list[str], source: str | None = None
) -> PulseEnergies | None:
    """Read the pulse energies of an instrument.

    Parameters
    ----------
    files : sequence of RunFile
    name : str
        Of the detector; its instrument's own XGM goes before one of the beamline.
    sase : int
    notes : list of str
        Gets which source it was.
    source : str, optional
        The XGM to be used.

    Returns
    -------
    PulseEnergies or None
        From ``data.intensityTD``, which lists all pulses that pass, or from the beamline's own
        ``data.intensitySa1TD`` where there is no other; None where the run has none of them.

    Raises
    ------
    UnreadableData
        When a source is damaged.

    Examples
    --------
    >>> read_energies(files, "SPB_DET_AGIPD1M-1", 1, []).energy.shape    # doctest: +SKIP
    (3000, 1000)
    """
    pattern = rf"({re.escape(name.split('_')[0])}|SA{sase})_.*XGM/.*:output"
    if source is not None:
        pattern = re.escape(source.removesuffix(":output") + ":output")
    keys = {"data.intensityTD": "data.intensitySigmaTD"}
    keys[f"data.intensitySa{sase}TD"] = f"data.intensitySa{sase}SigmaTD"
    for candidate in sources_like(files, pattern, name):
        for key, sigma_key in keys.items():
            if (found := collect(files, candidate, "data", key, FILL)) is None:
                continue
            listed = found[1]
            valid = listed.shape[1] - np.argmax(listed[:, ::-1] != FILL, axis=1)
            valid[(listed == FILL).all(axis=1)] = 0
            width = int(valid.max(initial=0))
            behind = np.arange(width) >= valid[:, None]
            energy = np.where(behind, np.nan, listed[:, :width].astype(np.float64))
            sigma = np.full_like(energy, np.nan)
            if (other := collect(files, candidate, "data", sigma_key, FILL)) is not None:
                at, have = rows_of(other[0], found[0])
                shared = min(width, other[1].shape[1])
                sigma[have, :shared] = other[1][at[have], :shared]
                sigma[behind] = np.nan
            notes.append(f"pulse_energy comes from {candidate}.{key}, by the running number of the pulse")
            return PulseEnergies(found[0], energy, sigma, "Sa" in key, f"{candidate}.{key}")
    notes.append("the run has no XGM: pulse_energy is unknown where there was a pulse")
    return None
