"""The engine inside another program: blocks of raw words in, tables and kept frames out."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import backend as backends
from ..constants.container import Constants
from ..errors import BadInput
from ..measure.arrays import whole_cells
from ..recipe import Recipe
from ..sources.base import OperatingMode, Source, begin
from ..sources.corrected import CorrectedForm
from ..sources.inputs import is_run
from .averages import room_for_averages
from .block_check import check_block
from .cell_rows import TornRows
from .corrected import AnyCell
from .embed_sums import EngineSums
from .flow import open_constants
from .job import make_job
from .passes import SLOTS
from .pattern import check_run, family_of, mode_told, one_train, refuse_undeclared, refuse_whole_runs
from .pending import Pending, without_frames
from .ring import run_ring
from .selection import selection_of
from .settle import settle
from .stream import Block, BlockResult, StreamRunner, blocks_of
from .user import UserStage, stages_given

FAILED_KEPT = 100
"""Failed blocks that `Engine.flush` may tell of where nobody asks: a stream may have no end of them."""

__all__ = ["Block", "BlockResult", "Engine", "Pending", "UserStage"]


class Engine(EngineSums):
    """A reduction that another program feeds, block by block, with everything resident on the device.

    What a recipe says is done as in `shotsieve.reduce`, but nothing is written: results come back as arrays.
    ``[write] content`` says which frames of kept shots come back. A context manager; leaving it waits for
    what was submitted and frees all memory. One thread at a time may use it.

    Promise: exact; the same numbers as `shotsieve.reduce` on every backend, however shots are cut into
    blocks, but for averages, which agree within 1e-9. With ``cell_common_mode`` cuts lie between rows of
    cells: a block that goes on with a row of the one before is refused.

    Parameters
    ----------
    recipe : path, Recipe or dict
        With ``[[detector]] data = "corrected"`` for frames that are calibrated already. Without what needs
        the whole run: [derive], [measure.pump_probe], and lit cells found from images.
    constants : path, Constants or None
        None takes what the recipe names.
    geometry : path or None
        None takes what the recipe names.
    backend : {"auto", "cpu", "cuda", "emu"}
    detector : str or None
        None takes what the recipe names.
    modules : sequence of int or None
        The modules of every block, ascending; None: all of the detector.
    cells : sequence of int or None
        Memory cells that may come; None: those of the constants, and every cell where frames are calibrated
        already. Frames of others stay unknown.
    mode : OperatingMode, mapping or None
        How the detector is driven, where the recipe does not say: gain mode, photon energy ...
    columns : sequence of str
        Columns that blocks bring along, for rules and normalisation: ``pulse_energy``, for instance.
    stages : sequence of UserStage
        Measures of your own.
    block_shots : int or None
        Room of a slot: shots of the largest block. None: a train of all `cells`.
    slots : int
        Blocks in flight, which is what bounds memory: one more makes `submit` wait for the first.
    on_result : callable or None
        Called with every `BlockResult`, in order, in the thread that submits or collects.
    force : bool
        Accept constants whose conditions disagree with `mode`.

    Attributes
    ----------
    backend : Backend
    modules : tuple of int
        Numbers of the modules of the frames that come back: all, or those of [write] modules.
    notes : list of str
        What a user should know.
    slot_bytes : int
        Host memory of a slot; the backends ``cuda`` and ``emu`` have as much on the device.

    Raises
    ------
    BadInput
        If something is missing or does not fit together.

    Examples
    --------
    >>> with shotsieve.Engine("recipe.toml", constants="constants.h5") as engine:  # doctest: +SKIP
    ...     for result in engine.run(trains()):
    ...         show(result.table.measures["lit_pixels"].sum(axis=1))
    """

    def __init__(
        self,
        recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
        constants: Constants | str | os.PathLike[str] | None = None,
        geometry: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        *,
        detector: str | None = None,
        modules: Sequence[int] | None = None,
        cells: Sequence[int] | None = None,
        mode: OperatingMode | Mapping[str, Any] | None = None,
        columns: Sequence[str] = (),
        stages: Sequence[UserStage] = (),
        block_shots: int | None = None,
        slots: int = SLOTS,
        on_result: Callable[[BlockResult], None] | None = None,
        force: bool = False,
    ) -> None:
        recipe = Recipe.of(recipe)
        if geometry is not None:
            place = dataclasses.replace(recipe.detector, geometry=os.path.abspath(geometry))
            recipe = dataclasses.replace(recipe, detector=place)
        refuse_whole_runs(recipe)
        if slots < 1 or (block_shots is not None and block_shots < 1):
            raise BadInput(f"slots = {slots}, block_shots = {block_shots}: expected at least 1")
        name = detector or recipe.detector.name
        if name is None:
            raise BadInput('no detector: name it in the recipe ([detector] name) or as detector="AGIPD1M"')
        mode = mode_told(mode)
        family = family_of(name, recipe, mode)
        constants = open_constants(recipe, constants, family)
        any_cell = cells is None and family.is_corrected
        if cells is None:
            cells = [0] if constants is None else constants.cell_ids
        cells = np.unique(whole_cells(cells, "Engine: cells"))
        if len(cells) == 0:
            raise BadInput("cells: none was given: name the memory cells that may come, or leave it out")
        if isinstance(columns, str):
            raise BadInput(f"columns = {columns!r}: expected a sequence of names: [{columns!r}]")
        self.backend = backends.get(backend)
        self.columns, self._on_result = tuple(columns), on_result
        source = one_train(family, modules, cells, mode, self.columns)
        job = make_job(
            source, dataclasses.replace(recipe, select=None), constants, force, stages=stages_given(stages)
        )
        if any_cell:
            job.tables = AnyCell(**vars(job.tables))
        if family.is_corrected:
            source.corrected = CorrectedForm(job.unit)  # what a run that passes through has to agree with
        self.notes = job.notes
        if (told := room_for_averages([job], self.backend)) is not None:
            self.notes.append(told)
        selection = None if recipe.select is None else selection_of(recipe, job.table, family)
        refuse_undeclared(job, selection, self.columns)
        self._mode, self._force = job.mode, force
        self._torn = TornRows(job)
        self._runner = StreamRunner(job, self.backend, block_shots or len(cells), selection)
        self.modules = tuple(self._runner.modules_out)
        self._slots = [self._runner.make_slot() for _ in range(slots)]
        self._free, self._flying = deque(self._slots), deque()
        self._failed: list[Pending] = []
        self._recipe, self._source = recipe, source
        self._running = self._collecting = False
        self._ring: Iterator[BlockResult] | None = None

    # ------------------------------------------------------------------ blocks in, results out

    def lend(self, shots: int) -> np.ndarray:
        """Return memory for raw words, uint16 (shots, M, planes, ss, fs), pinned for ``cuda``.

        Words in other memory are copied into such first, by one core and so more slowly than a bus takes
        them. Those of a block that lie here, one shot after the other, are not; leave them alone until its
        result is there. It is the engine's until that is closed: take it once, and fill it again and again.

        Examples
        --------
        >>> words = engine.lend(352)    # doctest: +SKIP
        """
        self._check_open()
        if shots < 1:
            raise BadInput(f"lend({shots}): expected at least 1 shot")
        return self._runner.lent.make(shots)

    def submit(self, block: Block) -> Pending:
        """Take a block; its work is queued, and the call waits only where all slots are taken.

        Parameters
        ----------
        block : Block

        Returns
        -------
        Pending

        Raises
        ------
        BadInput
            If the block does not fit the engine, or a run is being read. What happens to a block is told by
            its own `Pending.result`, and by `flush` where nobody asked.

        Examples
        --------
        >>> pending = engine.submit(block)    # doctest: +SKIP
        >>> pending.result().kept    # doctest: +SKIP
        """
        self._check_open()
        self._torn.check(check_block(block, self._runner, self.columns))
        while not self._free:
            self._collect_next()
        pending, slot = Pending(self), self._free[0]
        try:
            self._runner.fill(slot, block)
            self._runner.submit(slot, block)
        except BaseException:
            settle(self.backend.device, self._slots, failed=True)  # something of it may be queued
            raise
        self._free.popleft()
        self._flying.append((slot, block, pending))
        return pending

    def flush(self) -> None:
        """Wait for all that was submitted.

        Raises
        ------
        BaseException
            What happened to the first block that failed, if nobody has asked for its result.
        """
        while self._flying:
            self._collect_next()
        failed, self._failed = [pending for pending in self._failed if not pending._asked], []
        if failed:
            raise failed[0]._answer

    def run(self, source: Source | Iterable[Block] | str | os.PathLike[str]) -> Iterator[BlockResult]:
        """Pass a whole run through, and yield the results in order.

        Whoever stops asking for results stops the reading; closing the iterator ends it within a block, also
        while an iterable is silent: it is advanced in a thread of its own, and a block that it gives later is
        dropped. If it or the reading fails, what came before is yielded first.

        Parameters
        ----------
        source : Source, path of a run, EXtra-data DataCollection or detector component, or iterable of Block
            Iterables may be endless: a stream.

        Yields
        ------
        BlockResult

        Raises
        ------
        BadInput
            If source or block do not fit the engine.
        UnreadableData
            If data cannot be read; a `LateLoss` if results of that train were given out before.
        """
        self._check_open()
        self.flush()
        runner, own = self._runner, is_run(source) or isinstance(source, Source)
        if not own and not isinstance(source, Iterable):
            raise BadInput(
                f"a source is a run, its folder or any iterable of Block, not {type(source).__name__}: hand "
                "a single block to submit()"
            )
        blocks, fill = (self._blocks(source), runner.fill) if own else (source, self._check_and_fill)
        self._running = failed = True
        try:
            self._ring = run_ring(self._slots, blocks, fill, runner.submit, runner.collect)
            for result in self._ring:
                self._tell(result)
                yield result
            failed = False
        finally:
            self._ring.close()
            self._running = False
            settle(self.backend.device, self._slots, failed)

    # ------------------------------------------------------------------ end

    @property
    def slot_bytes(self) -> int:
        """Host memory of a slot."""
        if not self._slots:
            return 0
        return sum(getattr(self._slots[0], name).nbytes for name in ("own_raw", "frames", "groups", "counts"))

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time of all blocks so far went, in s; see `shotsieve.engine.clock`."""
        return {} if self._runner is None else self._runner.clock.seconds

    def close(self) -> None:
        """Give up what is on its way, and free all memory; a second call does nothing."""
        if self._runner is None:
            return
        if self._running:
            self._ring.close()
        settle(self.backend.device, self._slots, failed=True)  # what is given up may have failed
        gone = BadInput("the engine was closed before this block was collected")
        for _, _, pending in self._flying:
            pending._answer = gone
        self._runner, self._slots = None, []
        self._free.clear()
        self._flying.clear()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        try:
            if exc is None:
                self.flush()
        finally:
            self.close()

    # ------------------------------------------------------------------ inside

    def _check_open(self) -> None:
        if self._runner is None:
            raise BadInput("the engine is closed: make another one")
        if self._running:
            raise BadInput("a run is passing through this engine: take its results first, or close it")
        self._check_free()

    def _check_free(self) -> None:
        if self._collecting:
            raise BadInput(
                "this engine is collecting a block: a stage cannot ask it for another, nor a second thread "
                "(on_result may)"
            )

    def _collect_next(self) -> None:
        """Collect the block that was submitted first."""
        self._check_free()
        if not self._flying:
            raise BadInput("nothing is on its way in this engine")
        slot, block, pending = self._flying.popleft()
        self._collecting = True
        try:
            pending._answer = self._runner.collect(slot, block)
        except BaseException as error:
            pending._answer = error
            settle(self.backend.device, self._slots, failed=True)
            if not isinstance(error, Exception):
                raise
            # It is told to who asks for this block, not to who happens to collect it. Meanwhile it must not
            # hold the frames that it went through, which know block and slot: their lines become text.
            error.add_note("".join(traceback.format_exception(error)))
            without_frames(error)
            self._failed = [one for one in self._failed if not one._asked][:FAILED_KEPT]
            self._failed.append(pending)
            return
        finally:
            self._collecting = False
            self._free.append(slot)
        self._tell(pending._answer)

    def _tell(self, result: BlockResult) -> None:
        if self._on_result is not None:
            self._on_result(result)

    def _check_and_fill(self, slot: Any, block: Any) -> None:
        """Fill a slot with a block of a stream; not asked any more for what comes after the end of a run."""
        self._torn.check(check_block(block, self._runner, self.columns))
        self._runner.fill(slot, block)

    def _blocks(self, source: Any) -> Iterator[Block]:
        if is_run(source):
            from ..sources.run import open_run

            family, asked = self._source.detector, self._recipe.detector
            source = open_run(
                source,
                detector=family.name,
                source=asked.source,
                data=asked.data,
                parallel_gain=family.encoding == "parallel",
            )
        begin(source)
        runner, columns = self._runner, self._columns_of(source)
        if runner.planes < source.detector.plane_count and hasattr(source, "without_gain_plane"):
            source = source.without_gain_plane()
        yield from blocks_of(source, runner.block_shots, columns, runner.job.keeper.whole == "train")

    def _columns_of(self, source: Source) -> dict[str, np.ndarray]:
        """Return the columns of a run that the engine was told of, after a look at what run it is."""
        check_run(source, self._source, self._mode, self._force)
        found = source.columns(self._recipe.annotate, source.mode)
        if missing := [name for name in self.columns if name not in found]:
            raise BadInput(f"{source.name} has no column {missing[0]!r}; it has {', '.join(found) or 'none'}")
        return {name: found[name] for name in self.columns}
