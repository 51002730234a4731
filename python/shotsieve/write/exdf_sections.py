"""METADATA and INDEX of a file of the European XFEL: what they hold, and whether the rows fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..errors import OutputError

if TYPE_CHECKING:
    from ..sources.base import RunMeta

FORMAT_VERSION = "1.2"


def metadata(
    meta: RunMeta, sequence: int, sources: Sequence[str], auxiliary: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Return the datasets of the section, by their path in it.

    Parameters
    ----------
    meta : RunMeta
        Proposal, run, dates, sample.
    sequence : int
        Of the file.
    sources : sequence of str
        ``INSTRUMENT/...`` and ``CONTROL/...``.
    auxiliary : mapping of str to sequence of str
        Names of the sources of each other section, such as ``"REDUCTION"``.

    Returns
    -------
    dict of str to ndarray
        Text as arrays of str; all have one axis.

    Examples
    --------
    >>> from shotsieve.sources.base import RunMeta
    >>> metadata(RunMeta(run=35), 0, ["CONTROL/A/B/C"], {})["dataSources/deviceId"].tolist()
    ['A/B/C']
    """
    columns = {
        "dataSources/dataSourceId": sources,
        "dataSources/root": [s.partition("/")[0] for s in sources],
        "dataSources/deviceId": [s.partition("/")[2] for s in sources],
    }
    columns |= {f"auxiliarySources/{section}": auxiliary[section] for section in sorted(auxiliary)}
    texts = {
        "dataFormatVersion": FORMAT_VERSION,
        "creationDate": meta.creation_date,
        "updateDate": meta.update_date,
        "daqLibrary": meta.daq_library,
        "karaboFramework": meta.karabo_framework,
        "runType": meta.run_type,
        "sample": meta.sample,
    }
    columns |= {name: [text] for name, text in texts.items()}
    numbers = {"proposalNumber": meta.proposal, "runNumber": meta.run, "sequenceNumber": sequence}
    return {name: np.array(column, object) for name, column in columns.items()} | {
        name: np.array([number], "u4") for name, number in numbers.items()
    }


def check_rows(
    name: str,
    groups: Mapping[tuple[str, str], h5py.Group],
    counts: Mapping[tuple[str, str], np.ndarray | None],
    first: Mapping[tuple[str, str], np.ndarray],
) -> None:
    """Refuse groups that hold fewer rows than their index says, or have no index.

    Parameters
    ----------
    name : str
        Of the file, for the error.
    groups, counts, first : mapping
        By source and group; `first` where it is not the running cursor.

    Raises
    ------
    OutputError
        If one does not fit.

    Examples
    --------
    >>> check_rows("a.h5", {}, {("A/B/C", ""): np.ones(3, "u8")}, {})
    """
    for (source, group), count in counts.items():
        if count is None:
            raise OutputError(f"{name}: the counts of {source}/{group} were never given")
        if (source, group) not in groups or not len(count):
            continue
        need = int((first.get((source, group), np.cumsum(count) - count) + count).max())
        for key, item in groups[source, group].items():
            if isinstance(item, h5py.Dataset) and len(item) < need:
                raise OutputError(
                    f"{name}: {source}/{group}/{key} has {len(item)} rows, its index counts {need}"
                )
