"""Constants of any form in the layout of the facility's store, for programs that read that one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .container import Constants
from .facility_writer import write_facility

__all__ = ["save_facility"]

LEFT_OUT = ("levels", "level_noise")
SLOPE_PLANES = 10
_LIKE = 2.0**-22  # a few units in the last place of float32: how exactly low gain follows from medium gain


def save_facility(constants: Constants, folder: Path) -> list[Path]:
    """Write constants as the facility's store has them, with a ``modules.toml``.

    What it has no name for is left out: `LEFT_OUT`; the levels go beside the thresholds that were made of
    them. Reading the rest back gives the same bits, but for the relative gain of low gain where there is a
    baseline of medium gain: it then follows from medium gain, within 2^-22.

    Parameters
    ----------
    constants : Constants
    folder : Path
        Made if it is not there.

    Returns
    -------
    list of Path

    Raises
    ------
    BadInput
        If the layout cannot hold them: it counts cells from 0, and has names for some constants only.
    UnreadableData
        If a file of the constants is damaged.

    Examples
    --------
    >>> save_facility(Constants.open("constants.h5"), Path("store"))  # doctest: +SKIP
    """
    detector = constants.detector
    if not np.array_equal(constants.cell_ids, detector.default_cell_ids(len(constants.cell_ids))):
        raise BadInput(
            f"the facility's layout counts cells from 0 (or has the one of single-cell operation); these "
            f"constants are of cells {constants.cell_ids.tolist()[:8]}: write our own file."
        )
    names = {ours: theirs for theirs, ours in reversed(detector.facility_constants.items())}
    held = set(constants.names) - {"mg_baseline", *LEFT_OUT}
    if unknown := sorted(held - set(names)):
        raise BadInput(f"the facility's layout has no name for {unknown[0]!r} of {detector.name}.")
    if constants.has("mg_baseline") and not constants.has("relative_gain"):
        raise BadInput("the facility's layout keeps mg_baseline with relative_gain, which is not there.")
    told = constants.provenance.get("pdus", {})
    pdus = {module: told.get(str(module), f"{detector.name}_M{module}") for module in constants.modules}
    if len(set(pdus.values())) != len(pdus):
        raise BadInput(f"two modules have the same physical name: {pdus}.")

    def arrays() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for module, pdu in pdus.items():
            mine = {}
            for name in sorted(held):
                if constants.has(name, module):
                    array = constants.load(name, module)
                    if name == "thresholds" and constants.has("levels", module):
                        array = np.concatenate([array, constants.load("levels", module)])
                    if name == "relative_gain" and constants.has("mg_baseline", module):
                        array = _slopes(
                            array, constants.load("mg_baseline", module), detector.medium_low_ratio
                        )
                    # The facility leaves the axis out where a constant has no gains.
                    array = array if detector.dimensions == 2 else array[:, :, 0]
                    mine[names[name]] = (array[0] if len(array) == 1 else array).T
            yield pdu, mine

    modules = {pdu: module for module, pdu in pdus.items()}
    return write_facility(folder, detector, arrays(), modules, constants.conditions, dtype="f4")


def _slopes(relative: np.ndarray, baseline: np.ndarray, ratio: float) -> np.ndarray:
    """Return planes of SlopesPC from which the reader makes these two."""
    high, medium, low = relative
    expected = ratio * medium.astype(np.float64)
    with np.errstate(invalid="ignore"):
        wrong = (high != 1) | (np.abs(low - expected) > _LIKE * np.abs(expected))
    if (wrong & np.isfinite(medium)).any():
        raise BadInput(
            "the facility's layout keeps the relative gain of medium gain alone where there is a baseline: "
            "high "
            f"gain is 1 there and low gain {ratio:g} times medium gain, which these constants are not."
        )
    planes = np.zeros((SLOPE_PLANES, *medium.shape), np.float32)
    planes[0], planes[1], planes[3] = (
        medium,
        baseline[0],
        1,
    )  # slope and start of high gain, slope of medium gain
    return planes
