"""A survey from its beginning to its page."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend as backends
from ..constants.container import Constants
from ..derive import listed
from ..engine.content import form_of
from ..engine.flow import BLOCK_BYTES, begins_anew, open_constants, open_source, prepare, refuse_changes
from ..engine.passes import Pass
from ..engine.selection import whole_of
from ..errors import BadInput, OutputError
from ..keep import Keeper
from ..pages import need_matplotlib
from ..recipe import Recipe, Write
from ..write.part import Part
from .forms import Forms
from .grid import WRITE_KEYS, Grid, parse_scan
from .judge import Outcome, Sizes, ask, compared, judge
from .misses import Reduction, false_negatives, table_beside
from .predict import Prediction, Traced, predict
from .sample import Sample, draw
from .scan import Scanner
from .store import refuse_neighbours, write_table
from .suggest import Suggestion, suggest_form, suggest_rule

if TYPE_CHECKING:
    from ..engine.job import Job
    from ..table import Table
    from .forms import Coded
    from .intervals import Share

SHOTS = 500
"""Shots that are looked at where the user names no number."""


@dataclass(frozen=True)
class Survey:
    """What a survey found.

    Attributes
    ----------
    path : Path
        The page; the table stands beside it as ``.csv``, what was counted of every shot as ``.h5``.
    sample : Sample
    grid : Grid
    outcomes : list of Outcome
        Of every setting: first the recipe's, then the most permissive one, then key by key.
    forms : list of Coded
    sizes : list of Sizes
        Bytes of a kept shot, of each form.
    prediction : Prediction
    suggestions : list of Suggestion
    false_negatives : list of Share or None
        Of each setting's hits, those that an earlier reduction did not keep; None where that is not known.
    notes : list of str
    """

    path: Path
    sample: Sample
    grid: Grid
    outcomes: list[Outcome]
    forms: list[Coded]
    sizes: list[Sizes]
    prediction: Prediction
    suggestions: list[Suggestion]
    false_negatives: list[Share] | None = None
    notes: list[str] = field(default_factory=list)

    def of(self, key: str, value: Any = None) -> Outcome:
        """Return the outcome of a setting.

        Parameters
        ----------
        key : str
            As in `Setting`; ``"recipe"`` and ``"most permissive"`` need no value.
        value
            As it was given.

        Raises
        ------
        KeyError
            If there is no such setting.

        Examples
        --------
        >>> survey.of("measure.peaks.min_snr", 5.0).rate.value    # doctest: +SKIP
        0.061
        """
        asked = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for outcome in self.outcomes:
            if (outcome.setting.key, outcome.setting.value) == (key, asked):
                return outcome
        raise KeyError(f"{key} = {asked}")


@begins_anew
def survey(
    run: Any,
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str] = "survey.html",
    constants: Constants | str | os.PathLike[str] | None = None,
    backend: str = "auto",
    *,
    shots: int | None = SHOTS,
    scan: Iterable[str] | Mapping[str, Sequence[Any]] | None = None,
    truth: str | os.PathLike[str] | None = None,
    misses: str | os.PathLike[str] | None = None,
    seed: int = 0,
    force: bool = False,
    tolerant: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Survey:
    """Look at a sample of a run with many settings at once, and write a page about what each costs.

    Every frame of the sample is read and calibrated once. Nothing of the run is changed.

    Promise: exact, but for predictions: counts and verdicts are those of `shotsieve.reduce` with the same
    setting; the same run, recipe, seed and version give the same table on every backend. Intervals are
    stated with every rate; see ``docs/survey.md``.

    Parameters
    ----------
    run : path or Source
        As for `shotsieve.reduce`: raw, corrected or reduced.
    recipe : path, Recipe or dict
        With a rule, and lit pixels or peaks. Several detectors: the leading one alone is looked at.
    out : path
        HTML file to write; the table goes beside it. Files of these names are replaced.
    constants : path, Constants or None
        None takes what the recipe names.
    backend : {"auto", "cpu", "cuda", "emu"}
    shots : int or None
        That are looked at; None takes all.
    scan : iterable of str or mapping
        Values instead of the usual ones: ``["measure.peaks.min_snr=4,5,6"]``.
    truth : path or None
        Which shots are hits: ``truth.h5`` of a simulated run, or a list of shots as text.
    misses : path or None
        A reduced run (or its table) that kept misses at random: the shots that it kept are looked at, and
        what it lost is estimated. None takes `run`, where that is one.
    seed : int
        Of the choice of the shots.
    force, tolerant, progress, block_bytes
        As for `shotsieve.reduce`.

    Returns
    -------
    Survey

    Raises
    ------
    BadInput
        If something is missing or does not fit together.
    UnreadableData
        If data cannot be read, unless ``tolerant``.
    OutputError
        If the page cannot be written.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> found = shotsieve.survey("raw/r0001", "recipe.toml", "survey.html")    # doctest: +SKIP
    >>> print(found.outcomes[0].rate)    # doctest: +SKIP
    5.2 % (3.4 to 7.5 %)
    """
    began = time.perf_counter()
    need_matplotlib("survey")
    target = Path(out)
    if not target.parent.is_dir():
        raise OutputError(f"{target}: the page cannot be written: there is no folder {target.parent}")
    refuse_neighbours(target)
    recipe, given = Recipe.of(recipe), parse_scan(scan)
    notes = _check(recipe)
    chosen = backends.get(backend)
    with Traced() as opening:
        source = open_source(run, recipe, tolerant)
        own = open_constants(recipe, constants, source.detector)
        job, _ = prepare(source, _to_look(recipe), own, chosen, force=force, block_bytes=block_bytes)
    prepared_s = time.perf_counter() - began
    written, job.form = job.form.written, replace(job.form, written=None)
    named = misses if misses is not None else table_beside(run)
    reduction = None if named is None else Reduction.find(named, job.table, source.detector)
    sample = draw(job, shots, seed, None if reduction is None else reduction.kept)
    grid = Grid(job, recipe, given)
    forms = Forms(job, recipe, {key: given[key] for key in WRITE_KEYS if key in given}, written)
    hits = None if truth is None else hits_of(truth, job.table)
    keeper = _keeper(recipe, grid, source.detector)
    whole = _whole(job, recipe, keeper, written)
    drawn = np.zeros(len(job.table), bool)
    drawn[sample.rows] = True
    job.source = job.source.selected(drawn)
    scanner = Scanner(job, grid, forms, sample, chosen, seed)
    one = Pass(job, chosen, [Part.whole(job.source)], None, lambda *_: scanner, progress, block_bytes)
    one.tells_losses = True
    one.run(measures=True)
    refuse_changes(source)
    if not scanner.seen.any():
        raise BadInput(f"{source.name}: none of the {len(sample.rows)} shots that were drawn could be read")

    rows = sample.rows[scanner.seen]
    mine = grid.settings[0]
    is_hit = _verdict_of(scanner, mine)[scanner.encoded]
    sizes = [Sizes.of(coded, is_hit) for coded in forms.coded]
    outcomes = judge(scanner, grid.settings, keeper, sizes[0], None if hits is None else hits[rows])
    encoding_s = forms.seconds / max(len(scanner.encoded), 1)
    folder = target.parent
    prediction = predict(
        job, whole, scanner, outcomes[0], sizes[0], keeper, sample, chosen, folder, prepared_s,
        opening.peak, encoding_s, block_bytes,
    )  # fmt: skip
    lost = None
    if reduction is not None:
        probability = reduction.probability[rows]
        lost = [false_negatives(outcome.hit, probability, reduction) for outcome in outcomes]
    counted = compared(scanner, mine, grid.compared)
    rule, why_not = suggest_rule(grid, counted)
    suggestions = [one for one in (rule, suggest_form(forms.coded, is_hit, sizes)) if one is not None]
    notes += [*job.notes, *grid.notes, *forms.notes, *one.notes, *([why_not] if why_not else [])]
    found = Survey(target, sample, grid, outcomes, forms.coded, sizes, prediction, suggestions, lost, notes)
    from .page import write_page

    write_table(found, scanner)
    write_page(found, job, scanner, truth is not None)
    return found


def _check(recipe: Recipe) -> list[str]:
    """Refuse a recipe of which nothing can be surveyed; return what is left out."""
    if recipe.keep is None:
        raise BadInput(
            "survey: the recipe has no rule, so that every shot is kept whatever is measured: add a section "
            '[keep] with a rule, such as rule = "n_peaks >= 10"'
        )
    measure = recipe.measure
    if recipe.calibrate is None or not (measure.lit or measure.peaks or measure.rings or measure.scores):
        raise BadInput(
            "survey: the recipe measures neither lit pixels nor peaks, rings or scores: add [calibrate], and "
            "[measure.lit], [measure.peaks], [measure.rings] or [measure.score.NAME]"
        )
    if not recipe.others:
        return []
    return [f"the leading detector alone was looked at, and not {', '.join(recipe.others)}"]


def _to_look(recipe: Recipe) -> Recipe:
    """Return the recipe that gives every shot as it is calibrated, and measures what rules ask for."""
    regions = {name: one for name, one in (recipe.measure.roi or {}).items() if one.kind != "projection"}
    measure = replace(
        recipe.measure, roi=regions or None, azint=None, xcca=None, pump_probe=None, average=None
    )
    write = recipe.write or Write()
    plain = Write(modules=write.modules, regions=write.regions)
    return replace(recipe, measure=measure, keep=None, redu=None, others={}, write=plain)


def _keeper(recipe: Recipe, grid: Grid, detector: Any) -> Keeper:
    keep, rule = recipe.keep, grid.settings[0].rule
    try:
        return Keeper(
            rule, keep.undecided, keep.misses, keep.seed, whole_of(recipe, detector), detector.row_cells
        )
    except BadInput as err:
        raise BadInput(f"[keep] {err}") from None


def _whole(job: Job, recipe: Recipe, keeper: Keeper, written: np.ndarray | None) -> Job:
    """Return the job of the whole run, as far as predictions need it."""
    own = replace(job.recipe, keep=recipe.keep, write=recipe.write)
    form = form_of(own, job.unit, job.mode.photon_energy_kev, written)
    return replace(job, recipe=own, form=form, keeper=keeper)


def _verdict_of(scanner: Scanner, setting: Any) -> np.ndarray:
    """Return which shots of the sample are hits of a setting, bool (n,): False where none was seen."""
    hit = np.zeros(len(scanner.seen), bool)
    hit[scanner.seen] = ask(scanner, setting) == 1
    return hit


def hits_of(truth: str | os.PathLike[str], table: Table) -> np.ndarray:
    """Return which shots of a table are hits, bool (S,).

    Parameters
    ----------
    truth : path
        ``truth.h5`` of a simulated run, or a list of shots as text, as ``[derive.NAME] kind = "list"`` takes
        it.
    table : Table

    Raises
    ------
    BadInput
        If it is of another run.
    UnreadableData
        If it is a damaged truth file.
    """
    path = Path(truth)
    if path.suffix != ".h5":
        return listed(table, path)
    from ..simulate.truth import SpiTruth

    told = SpiTruth.open(path)
    known = dict(
        zip(zip(told.train_id.tolist(), told.cell_id.tolist(), strict=True), told.hit.tolist(), strict=True)
    )
    mine = zip(table.train_id.tolist(), table.cell_id.tolist(), strict=True)
    found = np.array([known.get(key, -1) for key in mine], "i1")
    if (found < 0).all():
        raise BadInput(f"{path}: this truth has none of the shots of the run: it is that of another run")
    return found > 0
