"""Runs a reduction again and again in forked children, each of which meets a fault at one system call.

    python harness.py RUN RECIPE CONSTANTS FOLDER [prepared]

With ``prepared`` run, recipe and constants are opened once, before the first child: nothing of that touches
the folder, and it takes longer than reducing so small a run.

It needs ``LD_PRELOAD`` with the library made of ``shim.c``, and ``FAULT_ROOT`` = FOLDER. It reads lines of
JSON from its standard input and answers each with one:

    {"out": "a", "mode": "kill", "at": N, "log": "trace.txt", "resume": true}

Modes are ``count``; ``kill``, ``full`` and ``fail``, at that call: ``fail`` refuses it as a broken disk does;
and ``time``, which kills after so many microseconds from the first call that changes the folder. The answer
holds the status of the child (-9 killed, 0 done, 1 an error of ours, 2 another one), its calls, its seconds,
the error and its class.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import shotsieve
import shotsieve.engine  # everything is imported before the first fork
from shotsieve import backend
from shotsieve.engine.branches import open_branches
from shotsieve.recipe import Recipe
from shotsieve.sources.run import open_run

BLOCK_BYTES = 1 << 20
MODES = {"count": 0, "time": 0, "kill": 1, "full": 2, "fail": 3}


def kill_later(shim: ctypes.CDLL, microseconds: int) -> None:
    """Kill this process so long after the first call that changes the folder."""

    def wait() -> None:
        while shim.fault_calls() == 0:
            time.sleep(0.0001)
        time.sleep(microseconds / 1e6)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def prepare(run: str, recipe: str, constants: str) -> None:
    """Open everything that a reduction reads; children take their own copies of it."""
    opened = open_branches(
        run, Recipe.of(recipe), constants, backend.get("cpu"), force=False, block_bytes=BLOCK_BYTES
    )
    shotsieve.engine.open_branches = lambda *_, **__: opened


def child(order: dict, arguments: list[str], answer: int) -> None:
    """Reduce once, in a process of its own, and say how it ended."""
    run, recipe, constants, folder, *_ = arguments
    shim = ctypes.CDLL(None)
    shim.fault_calls.restype = ctypes.c_long
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if order.get("log") else -1
    status, text, kind, began = 0, "", "", time.perf_counter()
    shim.fault_arm(MODES[order["mode"]], ctypes.c_long(order.get("at", 0)), log)
    if order["mode"] == "time":
        kill_later(shim, order["at"])
    try:
        shotsieve.reduce(
            run, recipe, Path(folder, order["out"]), constants, "cpu",
            resume=order.get("resume", False), overwrite=order.get("overwrite", False),
            block_bytes=BLOCK_BYTES,
        )  # fmt: skip
    except shotsieve.ShotsieveError as error:
        status, text = 1, "\n".join([str(error), *getattr(error, "__notes__", ())])
        kind = type(error).__name__
    except BaseException:
        status, text = 2, traceback.format_exc()
    calls = shim.fault_calls()
    shim.fault_arm(0, 0, -1)
    told = {"calls": calls, "seconds": time.perf_counter() - began, "text": text, "error": kind}
    os.write(answer, json.dumps(told).encode())
    os._exit(status)


def main(arguments: list[str]) -> None:
    """Answer orders until there are no more."""
    backend.get("cpu")
    open_run(arguments[0], detector="AGIPD1M")
    if "prepared" in arguments:
        prepare(*arguments[:3])
    gc.freeze()  # or every child would copy all of it
    for line in sys.stdin:
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read)
            child(json.loads(line), arguments, write)
        os.close(write)
        with os.fdopen(read) as pipe:
            told = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        print(json.dumps({"status": status, **json.loads(told or "{}")}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
