"""Whether a block that comes from outside is one that an engine can take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.arrays import CELL_IDS, check_raw
from .stream import Block

if TYPE_CHECKING:
    from .stream import StreamRunner

_KEYS = {"train_id": (0, 2**64), "pulse_id": (0, 2**64), "cell_id": CELL_IDS}
"""What is a key of shots, and from where to where its numbers go."""


def check_block(block: Any, runner: StreamRunner, names: tuple[str, ...]) -> Block:
    """Return a block, or refuse one that does not fit the engine.

    Raises
    ------
    BadInput
        The text says what came and what was expected.
    """
    if not isinstance(block, Block):
        raise BadInput(f"a block is a shotsieve.Block, not {type(block).__name__}")
    if np.ndim(block.cell_id) != 1:
        raise BadInput("block: cell_id: expected one memory cell per shot, in a list or an array (n,)")
    n, shape = len(block), runner.frame_shape
    check_raw(block.raw, [(n, *shape)], "cell_id", runner.backend, "block")
    if n > runner.block_shots:
        raise BadInput(
            f"block: {n} shots, and a slot of this engine has room for {runner.block_shots}: make it with "
            f"block_shots={n}"
        )
    for name, (least, most) in _KEYS.items():
        _check_key(name, getattr(block, name), n, least, most)
    if not isinstance(block.columns, Mapping):
        raise BadInput(f"block: columns: expected a mapping of name to values, not {block.columns!r}")
    if unknown := set(block.columns) - set(names):
        raise BadInput(
            f"block: column {sorted(unknown)[0]!r} is none that the engine was told of "
            f"({', '.join(names) or 'none'}): name it in Engine(columns=...)"
        )
    if block.present is not None and np.shape(block.present) != (n, shape[0]):
        raise BadInput(f"block: present has shape {np.shape(block.present)}; expected {(n, shape[0])}")
    return block


def _check_key(name: str, values: Any, n: int, least: int, most: int) -> None:
    """Refuse what would be another train, pulse or cell once it is a whole number."""
    array = np.asarray(values)
    shapes = ((n,), ()) if name == "train_id" else ((n,),)
    if array.shape not in shapes:
        raise BadInput(f"block: {name}: expected shape ({n},), got {array.shape}: one value per shot")
    whole = array.size == 0 or array.dtype.kind in "ui" or (array.dtype.kind == "f" and _are_whole(array))
    if not whole or (array.size and not least <= int(array.min()) <= int(array.max()) < most):
        raise BadInput(
            f"block: {name}: expected whole numbers of at least {least}, got {array.dtype} {values!r:.80}"
        )


def _are_whole(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and (values == np.rint(values)).all())
