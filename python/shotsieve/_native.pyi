"""The one contract of the compiled backends: _cpu, _cpu_v2, _cpu_v3, _cpu_v4, _cuda, _emu.

CPU modules take NumPy arrays, the device modules take arrays that speak ``__cuda_array_interface__``.
Shapes, dtypes and promises stand in the docstrings of the functions themselves.
"""

from typing import Any

def calibrate_count(
    raw: Any,
    frames: Any,
    groups: Any,
    table: Any,
    counts: Any,
    pixels: Any = None,
    stage: Any = None,
    *,
    encoding: int,
    fixed_stage: int = -1,
    set_min: bool = False,
    round_photons: bool = False,
    rounding_threshold: float = 0.5,
    value_limit: float = 1e7,
    lit_threshold: float = ...,
    to_photon: float = 0.0,
    stream: int = 0,
    threads: int = 1,
) -> None: ...
def keep_list(keep: Any, index: Any, count: Any, *, stream: int = 0, threads: int = 1) -> None: ...
def gather_rows(
    source: Any, index: Any, count: Any, target: Any, *, stream: int = 0, threads: int = 1
) -> None: ...
def cpu_level() -> int: ...
