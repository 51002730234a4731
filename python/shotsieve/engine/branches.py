"""The detectors of a reduction: one branch for each, what they know of each other, and their order."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..recipe_detectors import KEEPS, OWN_RULE
from ..sources.base import Source
from ..write.part import Part
from .flow import Plan, hand_over, measure, open_constants, open_source, prepare, run_job
from .job import leave_out_gain
from .matching import Match, MatchKeeper
from .user import stages_given
from .views import Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..accounts import Accounts
    from ..backend import Backend
    from ..recipe import Recipe
    from .job import Job
    from .user import UserStage

MATCHED = KEEPS[0]
LABEL, KEEP = "detector_label", "detector_keep"
"""Settings of an output that say which of several detectors it is of, and what was kept of it."""


@dataclass
class Branch:
    """One detector of a reduction.

    Attributes
    ----------
    job : Job
    looked_at : int
        Raw bytes that were read to prepare it.
    label : str
        Empty for the leading detector, whose rule decides.
    keep : str
        As `shotsieve.recipe_detectors.Other`; of the leading detector "own".
    match : Match or None
        What belongs to what; None for the leading detector.
    parts : list of Part
    views : Views or None
    bytes_read : int
        Raw bytes, once it has run.
    seconds : float
        That took.
    accounts : Accounts or None
        At the end.
    """

    job: Job
    looked_at: int
    label: str = ""
    keep: str = OWN_RULE
    match: Match | None = None
    parts: list[Part] = field(default_factory=list)
    views: Views | None = None
    bytes_read: int = 0
    seconds: float = 0.0
    accounts: Accounts | None = None

    def side(self, side: Path) -> Path:
        """Return the folder for what is not detector data: of the leading detector the one that is given."""
        return side / self.label if self.label else side

    @property
    def step_prefix(self) -> str:
        """What names of its steps in the journal begin with."""
        return f"{self.label}_" if self.label else ""

    def owns(self, name: str) -> bool:
        """Whether a file of the output, by name, has frames of this detector."""
        return self._own_name.match(name) is not None

    @cached_property
    def _own_name(self) -> re.Pattern[str]:
        return re.compile(f"(RAW|CORR)-R\\d+-({'|'.join(map(re.escape, self.names()))})[-.]")

    def names(self) -> list[str]:
        """List what names of its data files have in the middle."""
        source, detector = self.job.source, self.job.source.detector
        return [*(detector.aggregator.format(module=module) for module in self.job.modules), source.name]


def open_branches(
    run: Any,
    recipe: Recipe,
    constants: Any,
    backend: Backend,
    *,
    force: bool,
    block_bytes: int,
    tolerant: bool = False,
    stages: Any = (),
) -> list[Branch]:
    """Open all detectors of a recipe and decide everything about their reduction.

    Parameters
    ----------
    run, recipe, backend, force, block_bytes, tolerant
        As for `shotsieve.reduce`.
    constants
        The same; a mapping has those of several detectors by label, of the leading one without label by "".
    stages
        Measures of the user's own, likewise.

    Returns
    -------
    list of Branch
        The leading one first.

    Raises
    ------
    BadInput
        If something is missing or does not fit together.
    """
    if recipe.others and isinstance(run, Source):
        raise BadInput(
            f"the recipe has {1 + len(recipe.others)} sections [[detector]], and what was given is one "
            "detector that was opened already: give the folder of the run"
        )
    own_stages = stages_by_label(stages, recipe)
    source = open_source(run, recipe, tolerant)
    given = by_label(constants, recipe, "constants")
    branches: list[Branch] = []
    for label, other in recipe.others.items():
        its = open_source(run, other.recipe, tolerant)
        for name, before in [("the first one", source), *((b.label, b.job.source) for b in branches)]:
            if its.name == before.name:
                raise BadInput(
                    f"[[detector]] {label} is {its.name}, and so is {name}: set source to the name of "
                    "another detector of the run"
                )
        with _told_of(label):
            own = open_constants(other.recipe, given.get(label), its.detector)
            job, looked_at = prepare(
                its,
                other.recipe,
                own,
                backend,
                force=force,
                block_bytes=block_bytes,
                stages=own_stages.get(label, ()),
            )
        branches.append(Branch(job, looked_at, label, other.keep))
    tables = {branch.label: branch.job.table for branch in branches}
    with _told_of(recipe.detector.label or source.name if recipe.others else ""):
        own = open_constants(recipe, given.get(""), source.detector)
        job, looked_at = prepare(
            source,
            recipe,
            own,
            backend,
            force=force,
            block_bytes=block_bytes,
            others=tables,
            stages=own_stages.get("", ()),
        )
    for branch in branches:
        _join(branch, job)
    branches.insert(0, Branch(job, looked_at))
    for branch in branches:
        leave_out_gain(branch.job)
    _refuse_collisions(branches)
    return branches


@contextmanager
def _told_of(label: str) -> Iterator[None]:
    """Say in front of what is refused of which of several detectors it is; nothing where there is one."""
    try:
        yield
    except BadInput as error:
        if not label:
            raise
        raise BadInput(f"[[detector]] {label}: {error}") from error


def by_label(given: Any, recipe: Recipe, what: str) -> dict[str, Any]:
    """Return what was given for each detector, by label, for the leading one by "".

    Parameters
    ----------
    given
        A mapping of labels, or what is for the leading detector.
    recipe : Recipe
    what : str
        For the error text.

    Raises
    ------
    BadInput
        If there is no detector with such a label.
    """
    if not isinstance(given, Mapping):
        return {"": given}
    lead = recipe.detector.label or ""
    known = [lead, *recipe.others]
    if strange := [label for label in given if label not in known]:
        raise BadInput(
            f"{what} for {strange[0]!r}: the recipe has no detector with that label; it has "
            f"{', '.join(map(repr, known))}"
        )
    return {"" if label == lead else label: value for label, value in given.items()}


def stages_by_label(stages: Any, recipe: Recipe) -> dict[str, tuple[UserStage, ...]]:
    """Return checked stages of each detector, by label, of the leading one by ""; see `stages_given`."""
    return {label: stages_given(one) for label, one in by_label(stages, recipe, "stages").items()}


def _join(branch: Branch, lead: Job) -> None:
    """Tell a branch which shots belong to those of the leading detector, and what is kept of it."""
    job = branch.job
    branch.match = Match(lead, job, branch.label)
    told = "all shots are kept"
    if branch.keep == MATCHED:
        job.keeper = MatchKeeper(match=branch.match)
        job.keeper.prepare(job.table)
        what = "the train and pulse" if branch.match.by_pulse else "the train"
        told = f"kept are shots of {what} of a kept shot of {lead.source.name}"
    elif branch.keep == OWN_RULE:
        told = "its own rule decides"
    job.notes.insert(0, f"label {branch.label}: {told}")
    job.settings |= {LABEL: branch.label, KEEP: branch.keep, "notes": list(job.notes)}


def _refuse_collisions(branches: Sequence[Branch]) -> None:
    """Refuse two detectors whose data files would have the same names."""
    owners: dict[str, Branch] = {}
    for branch in branches:
        if branch.job.content is None:
            continue
        for name in branch.names():
            before = owners.setdefault(name, branch)
            if before is not branch:
                raise BadInput(
                    f"{before.job.source.name} and {branch.job.source.name} would both write files "
                    f"...-{name}-...: in one output names have to differ. Reduce them into two folders, or "
                    "choose [write] modules so that they do"
                )


def add_views(branches: Sequence[Branch]) -> None:
    """Prepare the files that show others; there is one overview, of all."""
    asked = any(branch.job.recipe.write and branch.job.recipe.write.overview for branch in branches)
    for branch in branches:
        branch.views = Views(branch.job, overview=asked and not branch.label)


def belongs(name: str, branches: Sequence[Branch], branch: Branch) -> bool:
    """Whether a data file is told of with a branch; with the leading one go those without frames of any."""
    if branch.label:
        return branch.owns(name)
    return not any(other.owns(name) for other in branches if other.label)


def run_branches(branches: Sequence[Branch], backend: Backend, plans: Sequence[Plan]) -> None:
    """Measure all detectors, decide, and hand over what is kept.

    The leading detector comes after the others, whose columns its rule sees; what is kept of them because of
    it is read once more at the end.
    """
    (lead, *others), (first, *rest) = branches, plans
    for branch, plan in zip(others, rest, strict=True):
        go = measure if branch.keep == MATCHED else run_job
        _timed(branch, go, backend, plan)
    for branch in others:
        branch.match.fill()
    _timed(lead, run_job, backend, first)
    for branch, plan in zip(others, rest, strict=True):
        if branch.keep == MATCHED:
            _timed(branch, hand_over, backend, plan)


def _timed(branch: Branch, go: Callable[[Job, Backend, Plan], int], backend: Backend, plan: Plan) -> None:
    began = time.perf_counter()
    branch.bytes_read += go(branch.job, backend, plan)
    branch.seconds += time.perf_counter() - began
