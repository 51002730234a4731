"""What a disk refuses, in words that say what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError, ShotsieveError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def reason_of(exc: BaseException, folder: Path) -> int | None:
    """Return the errno of the first error of the system on files in a folder behind an exception."""
    seen: BaseException | None = exc
    while seen is not None:
        # What was read has errors of its own by now, so a fault of a disk is one of writing.
        if isinstance(seen, OSError) and seen.errno in (*NO_SPACE, errno.EIO):
            return seen.errno
        name = getattr(seen, "filename", None)
        if isinstance(seen, OSError) and name and str(name).startswith(str(folder)):
            return seen.errno
        seen = seen.__cause__
    return None


@contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Say which file the disk refuses, and what could not be done there; errors of ours say it already."""
    try:
        yield
    except ShotsieveError:
        raise
    except (OSError, RuntimeError) as err:
        raise OutputError(f"{path}: {what} ({err})") from err


def disk_error(path: Path, folder: Path, err: BaseException, written: int = 0) -> OutputError:
    """Explain why an output cannot be written.

    Parameters
    ----------
    path, folder : Path
        Final and temporary name.
    err : BaseException
    written : int
        Bytes that were written before.
    """
    reason = reason_of(err, folder) or getattr(err, "errno", None)
    if reason in NO_SPACE:
        place = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(place).free
        return OutputError(
            f"{path}: the disk is full, or a quota or size limit was met, after {_bytes(written)}"
            f" were written. More than {_bytes(written)} are needed; {_bytes(free)} are free now that"
            " what was incomplete was removed. Free more space, choose another folder, or keep fewer"
            " shots"
        )
    if reason in _REFUSED:
        return OutputError(
            f"{path}: no permission to write here ({err}); choose another folder or ask its owner"
        )
    return OutputError(
        f"{path}: the output cannot be written ({err}); look at the disk, or choose another folder"
    )


def _bytes(number: float) -> str:
    """Return a size for people: ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def remove_folder(folder: Path) -> None:
    """Remove a folder, and give its space back also where a file is still open."""
    for entry in folder.rglob("*"):
        if entry.is_file():
            with suppress(OSError):
                os.truncate(entry, 0)
    shutil.rmtree(folder, ignore_errors=True)
