"""The shim misses no call that changes a folder, as the system itself sees them."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from .cases import RECIPES
from .server import HERE

# Calls of the system by what the shim calls them. Modes of a folder and locks are nobody's data; to begin
# early with what fsync ends promises nothing.
NAMES = {
    "write": "write pwrite64 writev pwritev sendfile copy_file_range",
    "fsync": "fsync fdatasync",
    "truncate": "ftruncate",
    "cut": "truncate",
    "create": "creating",
    "mkdir": "mkdir mkdirat",
    "link": "link linkat",
    "rename": "rename renameat renameat2",
    "unlink": "unlink unlinkat",
    "rmdir": "rmdir removing",
}
HARMLESS = (
    "openat",
    "flock",
    "fcntl",
    "ioctl",
    "chmod",
    "statx",
    "statfs",
    "fadvise64",
    "execve",
    "sync_file_range",
)
READING = (
    "read,pread64,readv,mmap,munmap,mprotect,madvise,brk,futex,lseek,close,fstat,newfstatat,stat,lstat,access,"
    "faccessat,faccessat2,getdents64,readlink,readlinkat,rt_sigaction,rt_sigprocmask,poll,clone,clone3,getcwd"
)


def test_strace_sees_what_the_shim_does(serve, tmp_path):
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs strace, and a machine that allows it")
    case, folder, log, trace = serve.case, tmp_path / "out", tmp_path / "log", tmp_path / "trace"
    folder.mkdir()
    (tmp_path / "recipe.toml").write_text(case.recipe(RECIPES["two detectors"]))
    arguments = [case.sim.raw, tmp_path / "recipe.toml", case.sim.constants, folder]
    done = subprocess.run(
        [
            *(strace, "-f", "-y", "-s", "0", "-o", str(trace), "-e", f"trace=!{READING}"),
            *(sys.executable, str(HERE / "harness.py"), *map(str, arguments)),
        ],
        input=json.dumps({"out": "red", "mode": "count", "log": str(log)}) + "\n",
        text=True, capture_output=True, check=True,
        env={**os.environ, "LD_PRELOAD": str(serve.shim), "FAULT_ROOT": str(folder)},
    )  # fmt: skip
    assert json.loads(done.stdout)["status"] == 0, done.stdout
    ours = {call: ours for ours, calls in NAMES.items() for call in calls.split()}
    seen = collections.Counter()
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"\d+ +(\w+)\(", line)
        if found and re.search(f'{folder}["/>]', line):
            call = found.group(1)
            if call == "openat" and "O_CREAT" in line:
                call = "creating"
            if call == "unlinkat" and "AT_REMOVEDIR" in line:
                call = "removing"
            assert call in ours or call in HARMLESS, line
            seen[ours.get(call, "")] += 1
    del seen[""]
    assert seen == collections.Counter(line.split()[0] for line in log.read_text().splitlines())
