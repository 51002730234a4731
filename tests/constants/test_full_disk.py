"""Constants on a disk that takes no more: an error of ours, and nothing is left, wherever it happens."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Constants
from shotsieve.constants.mask_file import save_mask
from shotsieve.constants.masks import StaticMask
from shotsieve.constants.own_writer import ConstantsWriter
from shotsieve.errors import OutputError

SMALL = dataclasses.replace(detectors.load("JUNGFRAU"), shape=(32, 64))


def arrays():
    rng = np.random.default_rng(1)
    return {name: rng.normal(100, 9, (3, 2, *SMALL.shape)).astype("f4") for name in ("offset", "noise")}


def by_module(path):
    with ConstantsWriter(path, SMALL, [1], np.array([0, 1]), {}) as file:
        for name, array in arrays().items():
            file.add(name, 1, array)


def at_once(path):
    Constants.from_arrays(SMALL, {name: {1: array} for name, array in arrays().items()}).save(path)


@pytest.mark.parametrize("method", ["flush", "close"])
@pytest.mark.parametrize("write", [by_module, at_once])
def test_a_full_disk_is_an_error_of_ours(tmp_path, monkeypatch, write, method):
    """HDF5 writes late, and h5py has errors of its own for it."""
    real = getattr(h5py.File, method)

    def full(file):
        real(file)
        raise RuntimeError("Can't decrement id ref count (file write failed: errno = 28)")

    monkeypatch.setattr(h5py.File, method, full)
    with pytest.raises(OutputError, match=r"constants cannot be written to .*c\.h5: .*errno = 28"):
        write(tmp_path / "c.h5")
    assert not list(tmp_path.iterdir())


LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from test_full_disk import at_once, by_module, one_mask
    from shotsieve.errors import OutputError

    path, limit, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        {"at_once": at_once, "by_module": by_module, "one_mask": one_mask}[name](path)
    except OutputError as error:
        sys.exit(f"told: {error}")
"""


def one_mask(path):
    bits = np.random.default_rng(2).integers(0, 2**32, (1, 3, SMALL.pixels), "u4")
    save_mask(path, StaticMask(bits, (1,), (0, 1, 2)), SMALL.shape)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of files")
@pytest.mark.parametrize("limit", [0, 1000, 9000, 20000])
@pytest.mark.parametrize("name", ["at_once", "by_module", "one_mask"])
def test_a_disk_that_takes_no_more_is_told_and_no_crash(tmp_path, name, limit):
    """Opened by h5py alone, HDF5 may end the process."""
    path = tmp_path / "c.h5"
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(path), str(limit), name]
    folder = Path(__file__).parent
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), *sys.path]))},
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "told: The " in done.stderr
    assert "cannot be written to" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_table_of_words_is_one_chunk_of_each_cell(tmp_path):
    """The same in both ways of writing."""
    line = detectors.load("GOTTHARD2")
    table = np.zeros((4096, 1, *line.shape), "u2")
    with ConstantsWriter(tmp_path / "c.h5", line, [1], np.array([0]), {}) as file:
        file.add("linearisation", 1, table)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["constants/linearisation"].chunks == (1, 4096, 1, *line.shape)
