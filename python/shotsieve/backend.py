"""Finds the compiled backends, and says of each missing one why it is missing.

A backend is a native module (see ``_native.pyi``) and the device its arrays live on. Importing this module
touches no device; asking for ``"cuda"`` or ``"auto"`` does.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from .cpus import usable_cpus
from .errors import BackendUnavailable, BadInput, nearest
from .telling import tell

NAMES = ("cpu", "cuda", "emu")
"""Every backend there can be; ``"auto"`` picks ``cuda`` or ``cpu``."""

_CPU_LEVELS = {"v4": 4, "v3": 3, "v2": 2}


@dataclass(frozen=True)
class BackendStatus:
    """What is known of one backend on this machine.

    Attributes
    ----------
    name : str
        ``cpu``, ``cuda`` or ``emu``.
    available : bool
        Whether it can be used here and now.
    detail : str
        The device when it is available, else the reason why not.
    """

    name: str
    available: bool
    detail: str


@dataclass(frozen=True)
class Backend:
    """A usable backend: its kernels and its device.

    Attributes
    ----------
    name : str
        ``cpu``, ``cuda`` or ``emu``.
    native : module
        The compiled module; its functions are described in ``_native.pyi``.
    device : shotsieve.device.Device
        Makes the arrays, streams and events that the native functions take.
    detail : str
        The device in words.
    threads : int
        CPU threads a call may use.
    """

    name: str
    native: ModuleType
    device: object
    detail: str
    threads: int

    def on(self, stream: Any, threads: int | None = None) -> dict[str, int]:
        """Return the arguments that every native call takes beside its own: its stream, and its threads.

        Parameters
        ----------
        stream : object
            A stream of `device`, or None.
        threads : int or None
            None takes those of the backend.

        Examples
        --------
        >>> get("cpu").on(None, threads=2)
        {'stream': 0, 'threads': 2}
        """
        return {"stream": self.device.handle(stream), "threads": threads or self.threads}


def _import_native(name: str) -> ModuleType:
    return importlib.import_module(f"shotsieve.{name}")


def _missing(name: str, error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the module shotsieve.{name} was not built"
    return f"the module shotsieve.{name} does not load: {error}"


@cache
def _cpu_native(forced: str) -> ModuleType:
    """Return the CPU module of the highest level this processor has, or the forced one."""
    try:
        lowest = _import_native("_cpu_v2")
    except ImportError:
        try:
            return _import_native("_cpu")
        except ImportError as error:
            raise BackendUnavailable(
                f"no CPU backend: {_missing('_cpu_v2', error)}. Install shotsieve with 'pip install .'."
            ) from error
    level = lowest.cpu_level()
    if forced:
        if forced not in _CPU_LEVELS:
            raise BadInput(
                f"SHOTSIEVE_CPU={forced!r}: expected one of v2, v3, v4.{nearest(forced, _CPU_LEVELS)}"
            )
        if _CPU_LEVELS[forced] > level:
            raise BackendUnavailable(
                f"SHOTSIEVE_CPU={forced}: this processor is x86-64-v{level}. Unset the variable, or "
                f"choose a lower level."
            )
        return _import_native(f"_cpu_{forced}")
    for name, needed in _CPU_LEVELS.items():
        if level >= needed:
            return _import_native(f"_cpu_{name}")
    raise BackendUnavailable(f"no CPU backend: x86-64-v2 is needed, this processor is x86-64-v{level}.")


def _make_cpu() -> Backend:
    from .device import HostDevice

    native = _cpu_native(os.environ.get("SHOTSIEVE_CPU", ""))
    threads = usable_cpus()
    level = native.__name__.rpartition("_")[2]
    return Backend("cpu", native, HostDevice(), f"{threads} threads, {level}", threads)


class GpuNotUsable(BackendUnavailable):
    """There is a GPU, or may be one, and something else stands in the way."""

    def __init__(self, text: str, after_fork: bool = False) -> None:
        super().__init__(text)
        self.after_fork = after_fork


_first_cuda_pid: int | None = None


def _make_cuda() -> Backend:
    global _first_cuda_pid
    try:
        native = _import_native("_cuda")
    except ImportError as error:
        raise BackendUnavailable(
            f"{_missing('_cuda', error)}. Install the CUDA toolkit and build with SHOTSIEVE_CUDA=ON."
        ) from error
    from .device import AFTER_FORK, CupyDevice

    if _first_cuda_pid not in (None, os.getpid()):
        raise GpuNotUsable(AFTER_FORK, after_fork=True)
    devices, name, reason = native.probe()
    if devices == 0:
        error = BackendUnavailable if _no_gpu(reason) else GpuNotUsable
        raise error(f"no usable GPU: {reason}")
    try:
        import cupy
    except ImportError as error:
        raise GpuNotUsable(
            f"CuPy is not installed ({error}). Install it: pip install 'shotsieve[cuda13]' or "
            f"'shotsieve[cuda12]'."
        ) from error
    if not cupy.cuda.is_available():
        raise GpuNotUsable("CuPy finds no usable GPU; see 'python -c \"import cupy; cupy.show_config()\"'.")
    _first_cuda_pid = os.getpid()
    return Backend("cuda", native, CupyDevice(), name, usable_cpus())


def _no_gpu(reason: str) -> bool:
    """Whether what a probe says means that there is none, and nothing that anybody has to mend."""
    return reason.startswith("cudaErrorNoDevice") or "driver API not found" in reason


def _make_emu() -> Backend:
    try:
        native = _import_native("_emu")
    except ImportError as error:
        raise BackendUnavailable(
            f"{_missing('_emu', error)}. It is for tests: build with SHOTSIEVE_EMU=ON."
        ) from error
    from .emulated import EmulatedDevice

    return Backend(
        "emu", native, EmulatedDevice(native), "CUDA sources emulated on the CPU, for tests", usable_cpus()
    )


_MAKERS: dict[str, Callable[[], Backend]] = {"cpu": _make_cpu, "cuda": _make_cuda, "emu": _make_emu}


def get(name: str = "auto") -> Backend:
    """Return a usable backend.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "emu"}
        ``auto`` takes the GPU when there is one, else the CPU, and says once on standard error which it took.

    Returns
    -------
    Backend

    Raises
    ------
    BackendUnavailable
        The named backend cannot be used here; the text gives the reason. Nothing else is taken in its place.
    BadInput
        There is no backend of that name.

    Examples
    --------
    >>> get("cpu").name
    'cpu'
    """
    if name == "auto":
        chosen = _auto()
        tell(f"backend {chosen.name} ({chosen.detail})", once=True)
        return chosen
    if name not in _MAKERS:
        choices = ("auto", *NAMES)
        raise BadInput(f"backend {name!r}: expected one of {', '.join(choices)}.{nearest(name, choices)}")
    try:
        return _MAKERS[name]()
    except BackendUnavailable as error:
        raise BackendUnavailable(f"backend '{name}' cannot be used: {error}") from error


def _auto() -> Backend:
    """Take the GPU when there is one; one that cannot be used is never passed over in silence."""
    try:
        return _make_cuda()
    except GpuNotUsable as error:
        if error.after_fork:
            raise
        tell(f"the GPU is not used: {error}", once=True)
    except BackendUnavailable:
        pass  # there is no GPU, or this build has no CUDA: `shotsieve info` says which
    return get("cpu")


def describe() -> list[BackendStatus]:
    """Return the status of every backend on this machine, with the reason for each missing one.

    Examples
    --------
    >>> [status.name for status in describe()]
    ['cpu', 'cuda', 'emu']
    """
    found = []
    for name, make in _MAKERS.items():
        try:
            found.append(BackendStatus(name, True, make().detail))
        except BackendUnavailable as error:
            found.append(BackendStatus(name, False, str(error)))
    return found
