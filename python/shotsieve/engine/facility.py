"""What a recipe's [redu] asks for: files for the facility's tools, made of the finished table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .._version import __version__
from ..errors import BadInput
from ..write.redu import HITFINDER, HitFinding, file_name, write_redu

if TYPE_CHECKING:
    from .job import Job


def facility_files(job: Job, folder: Path) -> list[Path]:
    """Write what the recipe's [redu] asks for; nothing without that section.

    Parameters
    ----------
    job : Job
        Measured and decided.
    folder : Path
        The output.

    Returns
    -------
    list of Path
        The file, or none.
    """
    if job.recipe.redu is None:
        return []
    path = write_redu(
        folder,
        job.source,
        job.table,
        lit_threshold=job.settings["lit_threshold"],
        unit=job.settings["intensity_unit"],
        hits=hit_finding(job),
        settings={"version": __version__, "unit": job.unit, **job.settings},
    )
    return [path]


def check_redu(job: Job) -> None:
    """Refuse what [redu] cannot do, before anything is read, and note what it leaves open.

    Raises
    ------
    BadInput
        If a module is not the detector's, a threshold is given twice, or a file of the run that is to be
        copied has the name of the new one.
    """
    section, write = job.recipe.redu, job.recipe.write
    if section is None:
        return
    name = file_name(job.source.meta.run)
    if write is not None and write.others and name in {path.name for path in job.source.others}:
        raise BadInput(
            f"[write] others copies the {name} of the run, and [redu] writes one: leave one of the two out"
        )
    hits = hit_finding(job)
    if hits is None:
        job.notes.append(f"no {HITFINDER} is written: there is no rule that says what a hit is")
    elif hits.adaptive is None and section.threshold is None:
        job.notes.append(
            f"{HITFINDER} has no threshold: the rule compares no adaptive column of the lit fraction of its "
            "modules, and [redu] threshold is not set"
        )


def hit_finding(job: Job) -> HitFinding | None:
    """Return how hits are found, None without a rule.

    The threshold is the adaptive column that the rule asks for, where it follows the lit fraction of the
    very modules of the score: only then do the two have one scale.
    """
    recipe, section = job.recipe, job.recipe.redu
    if recipe.keep is None:
        return None
    modules = job.source.modules if section.modules is None else _modules(job, section.modules)
    followed = {"lit_fraction"} if len(modules) == len(job.source.modules) else set()
    if len(modules) == 1:
        followed.add(f"lit_fraction[{modules[0]}]")
    names = () if job.keeper.rule is None else job.keeper.rule.names
    columns = [
        (name, derived)
        for name, derived in recipe.derive.items()
        if name in names and derived.kind == "adaptive" and derived.of in followed and not derived.per_cell
    ]
    if columns and section.threshold is not None:
        raise BadInput(
            f"[redu] threshold = {section.threshold:g}: the rule's threshold is the adaptive column "
            f"{columns[0][0]}; leave it out"
        )
    fixed = float("nan") if section.threshold is None else section.threshold
    # Of two thresholds none is the one.
    adaptive = columns[0] if len(columns) == 1 else None
    return HitFinding(modules, fixed, adaptive, recipe.keep.misses)


def _modules(job: Job, text: str) -> tuple[int, ...]:
    """Read the list of modules of the hit score."""
    known = job.source.modules
    words = text.replace(",", " ").split()
    modules = [int(word) for word in words if word.isdecimal()]
    if len(modules) != len(words) or len(set(modules)) != len(modules) or not set(modules) <= set(known):
        raise BadInput(
            f'[redu] modules = "{text}": expected numbers of modules, each once, as in "3, 4, 8, 15"; '
            f"{job.source.name} has {', '.join(map(str, known))}"
        )
    return tuple(sorted(modules))
