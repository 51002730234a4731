"""Which error of the system is behind an exception."""

from __future__ import annotations

import errno

import pytest
from shotsieve.errors import OutputError
from shotsieve.write.disk_errors import disk_error, reason_of

FLUSH = "Unable to flush file (file write failed: errno = 28, error message = 'No space left on device')"


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (RuntimeError(FLUSH), errno.ENOSPC),  # as h5py says it when a file is closed
        (OSError(FLUSH.replace("28", "5")), errno.EIO),
        (RuntimeError(FLUSH.replace("28", "2")), None),
        (ValueError(FLUSH), None),
    ],
)
def test_the_reason_is_found_behind_our_own_error(tmp_path, behind, reason):
    ours = OutputError("the file could not be completed")
    ours.__cause__ = behind
    assert reason_of(ours, tmp_path) == reason
    told = str(disk_error(tmp_path / "out", tmp_path, ours))
    assert ("the disk is full" in told) == (reason == errno.ENOSPC)
