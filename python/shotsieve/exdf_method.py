"""A method for the facility's exdf-tools: its reduction keeps the frames that shotsieve keeps.

exdf-tools finds the class through the entry point ``shotsieve`` of the group ``exdf.data_reduction.method``.
Its source is not public: what is used of it here is what the method ``LitFrames`` of EXtra-redu 1.1 uses
(base class, ``arguments``, the constructor, ``select_xtdf``), and nothing else.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput
from .table import FATES, Table

if TYPE_CHECKING:
    import argparse

try:
    from exdf.data_reduction import ReductionMethod
except ImportError:  # exdf-tools is never needed: without it there is nobody who would use the class
    ReductionMethod = object

PULSE_KEY = "image.pulseId"


class ShotsieveFrames(ReductionMethod):
    """Keep the frames of detector sources that a rule of shotsieve keeps.

    A frame is left out only where its shot was measured and dropped. Frames of shots that the table does not
    have, or that were rejected (suspect trains, duplicates, ...), stay: nothing is known of them.

    Parameters
    ----------
    data : extra_data.DataCollection
        The run that is reduced.
    args : argparse.Namespace
        What `arguments` adds. Without table and recipe nothing is done.

    Raises
    ------
    BadInput
        If both are given, no source is, a source has no pulse ids, or the table has no shot of it.

    Notes
    -----
    Promise: exact; where every shot was measured the same frames as of ``shotsieve reduce`` with the recipe.

    Examples
    --------
    >>> class Recorded(ShotsieveFrames):    # what exdf-tools does with a selection is its own affair
    ...     def select_xtdf(self, source, train_selector, frame_mask):
    ...         print(source, train_selector, frame_mask.sum(), "of", len(frame_mask))
    >>> Recorded(run, args)    # doctest: +SKIP
    SPB_DET_AGIPD1M-1/DET/3CH0:xtdf by_id[[1500000001]] 2 of 8
    """

    log = logging.getLogger("exdf.data_reduction.shotsieve")

    @staticmethod
    def arguments(ap: argparse.ArgumentParser) -> None:
        """Add the options of the method to a parser."""
        group = ap.add_argument_group("shotsieve", "Keeps the frames that a rule of shotsieve keeps")
        group.add_argument(
            "--shotsieve-table",
            metavar="TABLE",
            help="keep what this table says: a reduced run of shotsieve, or its table.h5",
        )
        group.add_argument(
            "--shotsieve-recipe",
            metavar="RECIPE",
            help="measure the run with this recipe, and keep what its rule keeps",
        )
        group.add_argument(
            "--shotsieve-constants",
            metavar="CONSTANTS",
            help="constants for the recipe; without them those that it names",
        )
        group.add_argument(
            "--shotsieve-backend",
            metavar="BACKEND",
            default="auto",
            help="where the recipe is computed: auto, cpu or cuda",
        )
        group.add_argument(
            "--shotsieve-sources",
            metavar="SOURCES",
            help="detector sources to reduce, such as 'SPB_DET_AGIPD1M-1/DET/*'",
        )

    def __init__(self, data: Any, args: argparse.Namespace) -> None:
        if not args.shotsieve_table and not args.shotsieve_recipe:
            return
        if args.shotsieve_table and args.shotsieve_recipe:
            raise BadInput(
                "--shotsieve-table and --shotsieve-recipe: give one, it says which frames are kept"
            )
        if not args.shotsieve_sources:
            raise BadInput(
                "--shotsieve-sources is missing: it says which sources are reduced, such as "
                "'SPB_DET_AGIPD1M-1/DET/*'"
            )
        if args.shotsieve_table:
            table = Table.open(args.shotsieve_table)
        else:
            table = measured(data, args.shotsieve_recipe, args.shotsieve_constants, args.shotsieve_backend)
        self.log.info("%s", ", ".join(f"{n} shots {fate}" for fate, n in table.counts().items() if n))
        from extra_data import by_id

        for source in self._sources(data, args.shotsieve_sources):
            before = after = 0
            for train_id, mask in frame_masks(data[source, PULSE_KEY], source, table):
                before, after = before + len(mask), after + int(mask.sum())
                if not mask.all():
                    self.select_xtdf(source, by_id[[train_id]], mask)
            self.log.info("%s: %d of %d frames are kept", source, after, before)

    @staticmethod
    def _sources(data: Any, pattern: str) -> list[str]:
        try:
            found = sorted(data.select(pattern, PULSE_KEY).instrument_sources)
        except Exception as err:  # EXtra-data has errors of its own for each way to find nothing
            raise BadInput(
                f"--shotsieve-sources {pattern!r}: nothing with {PULSE_KEY} is found: {err}"
            ) from err
        if not found:
            raise BadInput(f"--shotsieve-sources {pattern!r}: the run has no such source with {PULSE_KEY}")
        return found


def measured(data: Any, recipe: str, constants: str | None = None, backend: str = "auto") -> Table:
    """Measure a run and decide about its shots; no frame is written, nothing stays on the disk.

    Parameters
    ----------
    data : extra_data.DataCollection, path or Source
        See `shotsieve.reduce`.
    recipe : path
        Its [write], [redu] and [ledger] are left aside.
    constants : path or None
        None takes what the recipe names.
    backend : {"auto", "cpu", "cuda", "emu"}

    Returns
    -------
    Table

    Raises
    ------
    BadInput, UnreadableData, BackendUnavailable
        As `shotsieve.reduce`.

    Examples
    --------
    >>> measured(run, "recipe.toml", "constants.h5").counts()["kept"]    # doctest: +SKIP
    """
    from .engine import reduce
    from .recipe import Recipe

    asked = Recipe.load(recipe)
    rest = {key: value for key, value in asked.filled().items() if key not in ("write", "redu", "ledger")}
    for detector in rest.get("detector", []):
        detector.pop("write", None)
    with tempfile.TemporaryDirectory(prefix="shotsieve-") as folder:
        changed = Recipe.from_dict(rest, name=str(recipe), folder=asked.folder)
        return reduce(data, changed, Path(folder) / "out", constants, backend).table


def frame_masks(key: Any, source: str, table: Table) -> Iterator[tuple[int, np.ndarray]]:
    """Yield which frames of each train stay, as a table says.

    Parameters
    ----------
    key : extra_data.KeyData
        Pulse ids of the frames of one source.
    source : str
        Its name, for the error.
    table : Table

    Yields
    ------
    train_id : int
    mask : ndarray of bool (frames of the train,)
        False where the shot was dropped.

    Raises
    ------
    BadInput
        If the table has no shot of the source: it is of another run.

    Examples
    --------
    >>> for train_id, mask in frame_masks(run[source, "image.pulseId"], source, table):    # doctest: +SKIP
    ...     print(train_id, mask.sum())
    """
    key = key.drop_empty_trains()
    counts = key.data_counts(labelled=False).astype(int)
    pulses = np.split(key.ndarray().reshape(-1), np.cumsum(counts)[:-1])
    is_dropped = table.fate == FATES.index("dropped")
    known, dropped = by_train(table, slice(None)), by_train(table, is_dropped)
    others = by_train(table, ~is_dropped)
    none = np.zeros(0, "u8")
    trains = np.asarray(key.train_ids).tolist()
    if trains and not any(
        np.isin(found, known.get(train, none)).any() for train, found in zip(trains, pulses, strict=True)
    ):
        raise BadInput(
            f"the table has none of the shots of {source}: it is of another run; give the table of this one"
        )
    for train, found in zip(trains, pulses, strict=True):
        # A shot that was recorded twice may have two fates: it goes only where all of it was dropped.
        gone = np.setdiff1d(dropped.get(train, none), others.get(train, none))
        yield train, ~np.isin(found, gone)


def by_train(table: Table, rows: Any) -> dict[int, np.ndarray]:
    """Return pulse ids of some rows of a table, by train.

    Examples
    --------
    >>> table = Table([7, 7, 8], [0, 4, 0], [0, 1, 0], modules=(0,), module_pixels=100)
    >>> {train: pulses.tolist() for train, pulses in by_train(table, [1, 2]).items()}
    {7: [4], 8: [0]}
    """
    train, pulse = table.train_id[rows], table.pulse_id[rows]
    order = np.argsort(train, kind="stable")
    trains, first = np.unique(train[order], return_index=True)
    return dict(zip(trains.tolist(), np.split(pulse[order], first[1:]), strict=True))
