"""Memory that folding took is the system's again when the constants are there."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import os, threading
    import numpy as np
    from shotsieve.memory import give_back_freed

    def resident():
        return os.sysconf("SC_PAGE_SIZE") * int(open("/proc/self/statm").read().split()[1])

    def take():
        # Below what the C library takes from the system piece by piece; the last keeps it from shrinking.
        pieces = [np.ones(64_000, "u1") for _ in range(1000)]
        kept.append(pieces.pop())

    kept, before = [], resident()
    thread = threading.Thread(target=take)
    thread.start(), thread.join()
    between = resident()
    give_back_freed()
    print(between - before, resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc can give memory back")
def test_what_was_freed_is_given_back():
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    between, after = map(int, answer.stdout.split())
    assert between > 32_000_000  # else nothing is tested
    assert after < between / 4
