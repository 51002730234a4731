"""What the files of a reduced run, and the data in them, are called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .part import PartOfRun


def recorded_name(source: PartOfRun, module: int) -> str:
    """Return the name that a module's words were recorded under, also where it is not the usual one.

    Parameters
    ----------
    source : PartOfRun
    module : int
        Module number.

    Returns
    -------
    str
        For example ``"SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"``.
    """
    detector = source.detector
    usual = detector.raw_source.format(detector=source.name, module=module)
    told = source.raw_names.get(module, usual)
    names = told, told.replace("/CORR/", "/DET/"), usual  # a corrected run may tell its corrected names
    pattern = detector.raw_source_pattern if detector.is_corrected else ".*"
    return next(name for name in names if re.fullmatch(pattern, name))


def written_name(source: PartOfRun, module: int, content: str) -> str:
    """Return the name that a module's data has in the output: raw words keep theirs.

    Parameters
    ----------
    source, module
        As for `recorded_name`.
    content : str
        Of the output, see `shotsieve.write.content`.

    Returns
    -------
    str
        For example ``"SPB_DET_AGIPD1M-1/CORR/3CH0:output"``.
    """
    if content == "raw":
        return recorded_name(source, module)
    named = source.detector.corrected_source.format(detector=source.name, module=module)
    return named or recorded_name(source, module).replace("/DET/", "/CORR/")


def file_name(source: PartOfRun, module: int, content: str) -> str:
    """Return the name of a module's file.

    Parameters
    ----------
    source, module, content
        As for `written_name`; the number of the part of the run is that of the sequence.

    Returns
    -------
    str
        For example ``"CORR-R0035-AGIPD03-S00000.h5"``.
    """
    prefix = "RAW" if content == "raw" else "CORR"
    aggregator = source.detector.aggregator.format(module=module)
    return f"{prefix}-R{source.meta.run:04d}-{aggregator}-S{source.number:05d}.h5"
