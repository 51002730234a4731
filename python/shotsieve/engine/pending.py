"""A block that was submitted to an engine, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .embed import Engine
    from .stream import BlockResult


class Pending:
    """A block on its way; `result` waits for it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked = False
        self._answer: BlockResult | BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._answer is not None

    def result(self) -> BlockResult:
        """Return what was found, after all blocks that were submitted before.

        Raises
        ------
        BaseException
            What happened instead.
        """
        while self._answer is None:
            self._engine._collect_next()
        self._asked = True
        if not isinstance(self._answer, BaseException):
            return self._answer
        try:
            raise self._answer.with_traceback(None)
        finally:
            self = None  # the error knows this frame: no cycle


def without_frames(error: BaseException) -> None:
    """Take the frames from an error that is kept, and from those it came from."""
    todo, seen = [error], set()
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
