"""The compacting stage: rows that are kept move to the front of another buffer, in their order.

Promise: exact on every backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend import Backend


def queue_compaction(
    backend: Backend, source: Any, keep: Any, index: Any, count: Any, target: Any, stream: Any = None
) -> None:
    """Queue the gathering of kept rows on a stream; returns at once. Promise: exact.

    Parameters
    ----------
    backend : Backend
        All arrays live on its device.
    source : uint8 (n, row_bytes)
        Rows of a multiple of 16 bytes.
    keep : uint8 (n,)
        Non-zero marks a row to keep.
    index : int32 (n,)
        Receives the positions of the kept rows.
    count : int32 (1,)
        Receives their number.
    target : uint8 (capacity, row_bytes)
        Receives the rows; at most ``capacity`` of them.
    stream : object
        A stream of ``backend.device``.

    Examples
    --------
    >>> queue_compaction(backend, rows, keep, index, count, target, stream)  # doctest: +SKIP
    """
    call = backend.on(stream)
    backend.native.keep_list(keep, index, count, **call)
    backend.native.gather_rows(source, index, count, target, **call)
