"""Files that show a finished reduced run in other ways, without a copy: the NeXus master, the overview."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..write import overview
from ..write.nexus import Master
from .place import distance_of, geometry_of, geometry_sha256

if TYPE_CHECKING:
    from .job import Job


class Views:
    """What a recipe wants of them; made before the first frame is read, so that errors come early.

    Parameters
    ----------
    job : Job
    overview : bool
        Whether to write the overview.

    Raises
    ------
    BadInput
        If distance or photon energy are not known, or the geometry does not fit.
    """

    def __init__(self, job: Job, overview: bool) -> None:
        self._job, self._geometry = job, None
        write = job.recipe.write
        self._overview = overview
        if write is not None and write.nexus:
            self._geometry = geometry_of(job)
            self._distance = _known(distance_of(job, self._geometry), "distance", "distance", "clen")
            energy = job.mode.photon_energy_kev or self._geometry.photon_energy_kev
            self._energy = _known(energy, "photon energy", "photon_energy", "photon_energy")
            job.settings |= {
                "nexus.geometry_sha256": geometry_sha256(job),
                "nexus.distance_m": self._distance,
                "nexus.photon_energy_kev": self._energy,
            }

    def write(self, folder: Path, files: Sequence[Path]) -> list[Path]:
        """Write them over all finished files of a folder, of any number of sequences.

        Parameters
        ----------
        folder : Path
        files : sequence of Path
            What was written into it.

        Returns
        -------
        list of Path

        Raises
        ------
        OutputError
            If the disk refuses.
        """
        job, made = self._job, []
        source = job.source
        if self._geometry is not None:
            made.append(folder / f"CORR-R{source.meta.run:04d}-{source.name}.nxs")
            master = Master(
                source.detector,
                source.name,
                source.modules,
                self._geometry,
                self._distance,
                self._energy,
                job.unit,
                source.meta.sample,
                # What is noted is for people, and not the same when the output is checked.
                {name: value for name, value in job.settings.items() if name != "notes"},
            )
            job.notes += master.write(made[-1], files)
        if self._overview:
            path = folder / overview.FILE_NAME
            notes = overview.write_overview(path, files)
            job.notes += notes
            made += [] if notes else [path]
        return made


def _known(value: float | None, what: str, key: str, of_geometry: str) -> float:
    if value is None or not value > 0:
        raise BadInput(
            f"[write] nexus: the {what} is not known, and a NeXus file has to say it: set [calibrate] {key}, "
            f"or {of_geometry} in the geometry file"
        )
    return float(value)
