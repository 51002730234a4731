"""Which error of the system is behind an exception."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from shotsieve.errors import OutputError
from shotsieve.write.disk_errors import disk_error, reason_of
from shotsieve.write.hdf5 import EarlySync, sync_all
from shotsieve.write.nxdata import KEYS
from shotsieve.write.profiles import ProfileFile


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (OSError(errno.EIO, "Input/output error"), errno.EIO),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (RuntimeError("HDF5 could not do it"), None),
        (ValueError("errno = 28"), None),
    ],
)
def test_the_reason_is_found_behind_our_own_error(tmp_path, behind, reason):
    ours = OutputError("the file could not be completed")
    ours.__cause__ = behind
    assert reason_of(ours, tmp_path) == reason
    told = str(disk_error(tmp_path / "out", tmp_path, ours))
    assert ("the disk is full" in told) == (reason == errno.ENOSPC)


FULL = """
    import resource, signal, sys
    import numpy as np
    from shotsieve.steady_file import SteadyHdf5

    path, limit = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with SteadyHdf5(path, ("v110", "v110")) as out:
            for k in range(300):
                out.file.require_group(f"RUN/{k}").create_dataset("value", data=np.arange(50.0))
    except OSError as error:
        sys.exit(f"told: {error.errno}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of files")
@pytest.mark.parametrize("limit", [4000, 30000])
def test_a_file_that_meets_its_limit_is_an_error_and_no_crash(tmp_path, limit):
    """Opened by h5py alone, HDF5 ends the process here: a dataset that it cannot write when it closes it."""
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "a.h5"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert done.stderr == f"told: {errno.EFBIG}\n"


@pytest.mark.parametrize("method", ["extend", "grow"])
def test_a_disk_that_refuses_rows_of_another_file_is_no_damage_of_that_file(tmp_path, monkeypatch, method):
    """Rows are taken over from the file of a part: the error is of the one that is written."""
    bins = np.arange(3.0), np.arange(4.0) - 0.5
    keys = {name: np.ones(1, dtype) for name, dtype in KEYS.items()}
    files = [tmp_path / name for name in ("part.h5", "whole.h5")]
    with ProfileFile(files[0], "q", "1/nm", "keV", *bins, {}) as part:
        part.append(keys, *np.ones((3, 1, 3)))

    def refused(self, *_):
        raise OSError(errno.EIO, "file write failed")

    monkeypatch.setattr(ProfileFile, method, refused)
    with (
        pytest.raises(OutputError, match=r"whole\.h5.*rows could not be written.*file write failed"),
        ProfileFile(files[1], "q", "1/nm", "keV", *bins, {}) as whole,
    ):
        whole.take(files[0])


def test_files_that_cannot_be_put_on_the_disk_are_named(tmp_path):
    there, gone = tmp_path / "a.h5", tmp_path / "b.h5"
    there.write_bytes(bytes(1 << 20))
    early = EarlySync()
    early.begin([there, gone])  # promises nothing, and never fails
    early.begin([there])
    sync_all([there])
    with pytest.raises(OutputError, match=r"b\.h5: the file could not be completed"):
        sync_all([there, gone])
