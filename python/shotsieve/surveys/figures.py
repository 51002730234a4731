"""The pictures of a survey."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pages import new_figure
from .grid import PERMISSIVE, RECIPE, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .intervals import Share
    from .judge import Outcome
    from .run import Survey

HIT, MISS, LIMIT, LOST = "tab:red", "0.6", "tab:blue", "tab:orange"
_WHAT = "survey"
PERMISSIVE_LOST = "hits of the most permissive setting lost"


def scores(counts: np.ndarray, name: str, limit: float, suggested: float | None) -> Figure:
    """Draw how many shots have at least so much of what the rule compares, beside the limit."""
    drawn = new_figure(4.9, 3.1, _WHAT)
    ax = drawn.subplots()
    ordered = np.sort(counts)
    ax.step(ordered, np.arange(len(ordered), 0, -1), where="pre", color=HIT, lw=1.2)
    ax.axvline(limit, color=LIMIT, lw=1, label=f"recipe: {limit:g}")
    if suggested is not None and suggested != limit:
        ax.axvline(suggested, color="tab:green", lw=1, ls="--", label=f"suggested: {suggested:g}")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_yscale("log")
    ax.set(xlabel=f"n: {shorten(name, 60)}", ylabel="shots with at least n")
    if not len(ordered) or ordered[0] >= 0:
        ax.set_xlim(0, None)
    ax.legend(fontsize="small")
    return drawn


def along(found: Survey, key: str) -> Figure:
    """Draw what one key of the recipe does: hits with their interval, and what is lost."""
    outcomes = [outcome for outcome in found.outcomes if outcome.setting.key == key]
    x = np.arange(len(outcomes))
    drawn = new_figure(4.9, 3.1, _WHAT)
    ax = drawn.subplots()
    _bars(ax, x, [outcome.rate for outcome in outcomes], HIT, "hits of all shots")
    if outcomes[0].missed is not None:
        _bars(ax, x + 0.12, [outcome.missed for outcome in outcomes], LOST, "true hits that are lost")
    else:
        _bars(ax, x + 0.12, [outcome.lost for outcome in outcomes], LOST, PERMISSIVE_LOST)
    if found.false_negatives is not None:
        of_key = zip(found.outcomes, found.false_negatives, strict=True)
        before = [share for one, share in of_key if one.setting.key == key]
        _bars(ax, x + 0.24, before, "tab:purple", "lost before")
    mine = [i for i, one in enumerate(outcomes) if one.setting.measured == found.outcomes[0].setting.measured]
    if key != RULE and mine:
        ax.axvline(x[mine[0]], color=LIMIT, lw=0.8, ls=":")
    _name_settings(ax, x, outcomes, key)
    ax.set(ylabel="share (%)", ylim=(0, None))
    ax.legend(fontsize="x-small")
    return drawn


def _name_settings(ax: Any, x: np.ndarray, outcomes: list[Outcome], key: str) -> None:
    """Write the values of a key below the axis, and their unit once where they share one."""
    words = [outcome.setting.value.split() for outcome in outcomes]
    units = {word[1] if len(word) == 2 else "" for word in words}
    shared = len(units) == 1 and units != {""}
    names = [word[0] if shared else " ".join(word) for word in words]
    turned = {"rotation": 90} if sum(map(len, names)) > 60 else {}
    ax.set_xticks(x, names, fontsize="small", **turned)
    ax.set_xlabel(f"{key} ({units.pop()})" if shared else key)


def _bars(ax: Any, x: np.ndarray, shares: list[Share], colour: str | None, label: str, **style: Any) -> None:
    """Draw shares in percent with their intervals; those of nothing, or at no place, are left out."""
    value, low, high = (
        100 * np.array([getattr(share, name) for share in shares]) for name in ("value", "low", "high")
    )
    known = np.isfinite(value) & np.isfinite(x)
    if not known.any():
        return
    errors = np.maximum([value - low, high - value], 0)[:, known]
    style = {"lw": 1, "capsize": 2, **style}
    ax.errorbar(x[known], value[known], errors, fmt="o-", ms=3, color=colour, label=label, **style)


def cost(found: Survey) -> Figure:
    """Draw what each setting keeps in bytes against what it loses, with the interval of the loss."""
    drawn = new_figure(6.4, 3.6, _WHAT)
    ax = drawn.subplots()
    keys = dict.fromkeys(o.setting.key for o in found.outcomes if o.setting.key not in (RECIPE, PERMISSIVE))
    for key in keys:
        _cost_line(ax, [o for o in found.outcomes if o.setting.key == key], key)
    for key, marker in ((RECIPE, "*"), (PERMISSIVE, "s")):
        one = next(o for o in found.outcomes if o.setting.key == key)
        ax.plot(
            one.bytes_per_shot / 1e6, 100 * _loss(one).value, marker, ms=10, color="k", label=key, zorder=5
        )
    truth = found.outcomes[0].missed is not None
    loss = f"{'true hits lost' if truth else PERMISSIVE_LOST} (%)"
    ax.set(xlabel="MB kept for each shot of the run", ylabel=loss)
    ax.legend(fontsize="x-small")
    return drawn


def _loss(outcome: Outcome) -> Share:
    return outcome.lost if outcome.missed is None else outcome.missed


def _cost_line(ax: Any, outcomes: list[Outcome], key: str) -> None:
    x = np.array([outcome.bytes_per_shot for outcome in outcomes]) / 1e6
    order = np.argsort(x, kind="stable")
    shares = [_loss(outcomes[k]) for k in order]
    _bars(ax, x[order], shares, None, key, lw=0.8, elinewidth=0.5, capsize=0)


def peaks(found: Survey, key: str) -> Figure | None:
    """Draw the peaks of hits and of misses, by the recipe's verdict, along one key; None without peaks."""
    outcomes = [outcome for outcome in found.outcomes if outcome.setting.key == key]
    if not outcomes or outcomes[0].peaks is None:
        return None
    hit = found.outcomes[0].hit
    drawn = new_figure(4.9, 3.1, _WHAT)
    ax = drawn.subplots()
    x = np.arange(len(outcomes))
    for which, colour, label in ((hit, HIT, "hits"), (~hit, MISS, "misses")):
        if which.any():
            ax.plot(x, [o.mean_of(which) for o in outcomes], "o-", ms=3, lw=1, color=colour, label=label)
    ax.set_yscale("symlog", linthresh=0.1)
    _name_settings(ax, x, outcomes, key)
    ax.set(ylabel="peaks of a shot, mean", ylim=(0, None))
    ax.legend(fontsize="small", title="by the recipe", title_fontsize="x-small")
    return drawn


def forms(found: Survey) -> Figure:
    """Draw the bytes of a kept shot in every form."""
    known = [(one.hit / 1e6, coded) for one, coded in zip(found.sizes, found.forms, strict=True)]
    known = [(size, coded) for size, coded in known if np.isfinite(size)]
    drawn = new_figure(7, 0.7 + 0.2 * max(len(known), 1), _WHAT)
    ax = drawn.subplots()
    colours = ["k" if coded.is_recipe else LIMIT if coded.lossless else LOST for _, coded in known]
    ax.barh(np.arange(len(known))[::-1], [size for size, _ in known], color=colours)
    ax.set_yticks(np.arange(len(known))[::-1], [coded.name for _, coded in known], fontsize="x-small")
    ax.set(xlabel="MB of a kept shot")
    return drawn
