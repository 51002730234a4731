"""What CrystFEL needs beside a CXI file: the geometry that reads it, a list file and the command to run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..geometry import Geometry

DATA_PATH = "/entry_1/data_1/data"
MASK_PATH = "/entry_1/data_1/mask"
PEAK_PATH = "/entry_1/result_1"

SUFFIXES = (".geom", ".lst", ".indexamajig.sh")
"""Endings of the files beside a CXI file."""

# CrystFEL looks for the signature of HDF5 in the first bytes of its input and cannot open a shorter list.
_SHORTEST_LIST = 8

PHOTON_NOTE = (
    "the frames are in photons: if they are rounded, a nearly empty background has no variance, and a search"
    " with peakfinder8 without a noise floor loses peaks, bright ones first. Use the peaks of this file"
    " (--peaks=cxi); to search again use shotsieve with noise_floor (about 0.1 photon)"
)
"""What a user of photon-counted frames has to know."""


def gain_keys(unit: str, adu_per_kev: float | None = None) -> dict[str, float]:
    """Return how CrystFEL gets from pixel values to photons, for error estimates.

    Parameters
    ----------
    unit : {"keV", "photon", "ADU"}
        Unit of the frames.
    adu_per_kev : float, optional
        For frames in ADU.

    Returns
    -------
    dict
        ``adu_per_ev`` or ``adu_per_photon`` for `Geometry.save`; empty where it is not known.

    Examples
    --------
    >>> gain_keys("keV"), gain_keys("photon"), gain_keys("ADU")
    ({'adu_per_ev': 0.001}, {'adu_per_photon': 1.0}, {})
    """
    if unit == "photon":
        return {"adu_per_photon": 1.0}
    if unit == "keV":
        return {"adu_per_ev": 0.001}
    return {} if adu_per_kev is None else {"adu_per_ev": adu_per_kev / 1000}


def list_text(name: str) -> str:
    """Return the list file: the CXI file by a path relative to the folder they share.

    Relative, since the folder gets its final name only when it is complete, and may be moved later.

    Parameters
    ----------
    name : str
        File name of the CXI file.

    Returns
    -------
    str
        One line of at least 8 characters.

    Examples
    --------
    >>> list_text("hits.cxi"), list_text("a.cxi")
    ('./hits.cxi\\n', '././a.cxi\\n')
    """
    line = f"./{name}"
    while len(line.encode()) < _SHORTEST_LIST:
        line = f"./{line}"
    return line + "\n"


def command(stem: str, jobs: int = 4) -> str:
    """Return the command that indexes the hits, to be run in the folder of the files.

    Parameters
    ----------
    stem : str
        Name of the CXI file without ``.cxi``.
    jobs : int
        Number of processes.

    Returns
    -------
    str

    Examples
    --------
    >>> print(command("hits"))
    indexamajig -g hits.geom -i hits.lst -o hits.stream --peaks=cxi --no-revalidate --indexing=xgandalf -j 4
    """
    geom, files, stream = (shlex.quote(stem + end) for end in (".geom", ".lst", ".stream"))
    return (
        f"indexamajig -g {geom} -i {files} -o {stream} --peaks=cxi --no-revalidate --indexing=xgandalf"
        f" -j {jobs}"
    )


def script_text(stem: str, unit: str) -> str:
    """Return the shell script that runs indexamajig, with the reason of every option.

    Parameters
    ----------
    stem : str
        Name of the CXI file without ``.cxi``.
    unit : str
        Unit of the frames.

    Returns
    -------
    str

    Examples
    --------
    >>> script_text("hits", "keV").splitlines()[0]
    '#!/bin/sh'
    """
    photons = f"#\n# Mind: {PHOTON_NOTE}.\n" if unit == "photon" else ""
    return f"""#!/bin/sh
# Index the hits of {stem}.cxi with CrystFEL. By hand, in the folder of this file:
#
#   {command(stem)}
#
#   -g   panels, distance, photon energy and mask, as they belong to the CXI file
#   -i   list of files; its paths start from this folder
#   --peaks=cxi       take the peaks in {PEAK_PATH} and do not search again
#   --no-revalidate   keep all of them. Otherwise CrystFEL integrates each peak again and drops those near
#                     the edge of a panel, a bad pixel or a neighbour: often most of them
#   --indexing        xgandalf needs no unit cell; asdf is quicker
#   -j   number of processes
#
# Further options are passed on, for example: -p lysozyme.cell --multi
# Environment: STREAM    result, an absolute path (default: in the folder you start from)
#              INDEXING  method (default: xgandalf)
#              JOBS      number of processes (default: all cores)
{photons}set -eu
start=$PWD
name={shlex.quote(stem)}
cd -- "$(dirname -- "$0")"
exec indexamajig -g "$name.geom" -i "$name.lst" -o "${{STREAM:-$start/$name.stream}}" \\
    --peaks=cxi --no-revalidate --indexing="${{INDEXING:-xgandalf}}" -j "${{JOBS:-$(nproc)}}" "$@"
"""


def write_side_files(names: dict[str, Path], stem: str, geometry: Geometry, unit: str, **keys: Any) -> None:
    """Write the three files beside a CXI file.

    Parameters
    ----------
    names : dict of str to Path
        Where to write each of `SUFFIXES`.
    stem : str
        Name of the CXI file without ``.cxi``.
    geometry : Geometry
    unit : str
        Unit of the frames.
    **keys
        For `Geometry.save`: clen_m, photon_energy_kev, mask_bad, gain keys, comments.

    Raises
    ------
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> write_side_files(names, "hits", geometry, "keV", clen_m=0.12)    # doctest: +SKIP
    """
    geometry.save(
        names[".geom"],
        layout="slab",
        data_path=DATA_PATH,
        mask_path=MASK_PATH,
        mask_good=0,
        peak_list=PEAK_PATH,
        **keys,
    )
    # newline: the same bytes on every system
    names[".lst"].write_text(list_text(stem + ".cxi"), encoding="utf-8", newline="\n")
    script = names[".indexamajig.sh"]
    script.write_text(script_text(stem, unit), encoding="utf-8", newline="\n")
    script.chmod(script.stat().st_mode | 0o111)
