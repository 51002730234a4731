"""The pictures of a report, drawn by matplotlib and put into the page as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .. import plot
from ..errors import UnreadableData
from ..pages import new_figure
from ..table import ModuleStatus
from ..write.output import SIDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..geometry import PixelMap
    from .reduced import Reduced

MOST_FRAMES = 100
"""Frames in a mean image."""
STRONGEST = 4


def score_over_time(run: Reduced) -> Figure:
    """Draw the score of every shot against its train, and the limit of the rule."""
    return _drawn(9.5, 3, lambda ax: plot.scores(run, ax=ax))


def score_histogram(run: Reduced) -> Figure:
    """Draw how many shots have which score, beside the limit, or which distance from a limit that moves."""
    return _drawn(4.2, 3, lambda ax: plot.histogram(run, ax=ax))


def hit_rate(run: Reduced) -> Figure:
    """Draw the share of kept shots in stretches of the run."""
    return _drawn(5.2, 3, lambda ax: plot.hit_rate(run, ax=ax))


def _drawn(width: float, height: float, draw: Callable[[Any], Any]) -> Figure:
    drawn = new_figure(width, height, "report")
    draw(drawn.subplots())
    return drawn


def images(run: Reduced) -> list[tuple[str, Figure]]:
    """Draw the mean of kept shots, the mean of misses kept by chance, and the strongest shots with peaks."""
    if run.frames is None:
        return []
    rows = run.frames.rows
    chance = run.by_chance[rows]
    score = np.where(np.isfinite(run.score[1][rows]), run.score[1][rows], -np.inf)
    groups = [("mean of the shots kept", np.flatnonzero(~chance))]
    groups += [("mean of the misses kept by chance", np.flatnonzero(chance))] if chance.any() else []
    found = []
    for title, shots in groups:
        if len(shots):
            some = shots[np.unique(np.linspace(0, len(shots) - 1, MOST_FRAMES).astype(int))]
            found.append((f"{title} ({len(some)} of {len(shots)})", _image(run, run.frames.mean(some), None)))
    for shot in np.argsort(-score, kind="stable")[:STRONGEST].tolist():
        row = int(rows[shot])
        where = f"train {run.table.train_id[row]}, cell {run.table.cell_id[row]}"
        known = f"{score[shot]:.4g}" if np.isfinite(score[shot]) else "unknown"
        peaks = None if run.peaks is None else run.peaks.records(row)
        found.append((f"{where}: {run.score[0]} {known}".rstrip(), _image(run, run.frames.read(shot), peaks)))
    return found


def _image(run: Reduced, frame: np.ndarray, peaks: np.ndarray | None) -> Figure:
    return frame_image(frame, run.pixels, peaks, modules=run.table.modules, unit=run.settings.get("unit", ""))


def frame_image(
    frame: np.ndarray,
    pixels: PixelMap | None,
    peaks: np.ndarray | None = None,
    what: str = "report",
    modules: Sequence[int] | None = None,
    unit: str = "",
) -> Figure:
    """Draw a frame (M, ss, fs) as the detector stands, or module beside module where that is not known."""
    told = {"photon": "photons"}.get(unit, unit) or "value"
    drawn = new_figure(4.4, 3.8, what)
    ax = drawn.subplots()
    if frame.shape[1] == 1:
        for place, strips in enumerate(frame[:, 0]):
            ax.plot(strips, lw=0.8, label=f"module {place if modules is None else modules[place]}")
        ax.set(xlabel="strip", ylabel=told)
        ax.legend(fontsize="small")
        return drawn
    finite = frame[np.isfinite(frame)]
    least, most = np.percentile(finite, [1, 99.8]) if len(finite) else (0.0, 1.0)
    log = most > 100 * max(np.median(finite) if len(finite) else 0.0, 1e-6)
    if log:  # four decades show what is weak, and not what is noise
        least = max(least, most / 1e4)
    if pixels is not None and pixels.shape == (frame.shape[0] * frame.shape[1], frame.shape[2]):
        plot.image(frame, pixels, ax, peaks=peaks, log=log, vmin=least, vmax=most)
        drawn.axes[-1].set_ylabel(told)
    else:
        shown = np.concatenate(list(frame), axis=1 if frame.shape[1] >= frame.shape[2] else 0)
        norm = {"norm": "log" if log else "linear", "vmin": least, "vmax": most}
        drawn.colorbar(ax.imshow(shown, aspect="auto", **norm), ax=ax, label=told)
        ax.set(xlabel="modules side by side", xticks=[], yticks=[])
    # A page has fewer points than the detector pixels: the mean of what falls on one is shown.
    ax.images[0].set_interpolation("auto")
    # The layout is found twice: the first time the axes are not yet as narrow as the detector makes them.
    drawn.get_layout_engine().execute(drawn)
    return drawn


def mean_profile(run: Reduced) -> Figure | None:
    """Draw the average profile of the run, where there is one."""
    path = run.out / SIDE / run.label / "profiles.h5"
    if not path.is_file():
        return None
    try:
        with h5py.File(path) as file:
            if "entry/average" not in file:
                return None
            group = file["entry/average"]
            axis = str(group.attrs["axes"][-1] if np.ndim(group.attrs["axes"]) else group.attrs["axes"])
            x, y, errors = group[axis][()], group["intensity"][()], group["intensity_errors"][()]
    except (OSError, KeyError) as err:
        raise UnreadableData(f"{path}: the profiles cannot be read ({err})") from err
    return _drawn(5.5, 3, lambda ax: plot.curve(x, y, errors, ax, axis=axis))


def health(run: Reduced) -> Figure:
    """Draw what share of the pixels counts, and how many are lit, by module and by memory cell."""
    drawn = new_figure(8.5, 4.4, "report")
    plot.health(run, drawn.subplots(2, 2, sharey="row"))
    return drawn


def shares_of_status(run: Reduced) -> list[tuple[int, dict[str, Any]]]:
    """Return for each module that was not complete how many shots it lacks, by reason."""
    read = (run.table.module_status != ModuleStatus.NOT_READ).any(axis=1)
    found = []
    for place, module in enumerate(run.table.modules):
        status = run.table.module_status[read, place]
        reasons = {
            one.name.lower().replace("_", " "): int((status == one).sum())
            for one in ModuleStatus
            if one not in (ModuleStatus.OK, ModuleStatus.NOT_READ) and (status == one).any()
        }
        if reasons:
            found.append((int(module), reasons))
    return found
