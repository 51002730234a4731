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
    candidates: Any = None,
    *,
    encoding: int,
    fixed_stage: int = -1,
    set_min: bool = False,
    round_photons: bool = False,
    rounding_threshold: float = 0.5,
    value_limit: float = 1e7,
    lit_threshold: float = ...,
    to_photon: float = 0.0,
    candidate_threshold: float = ...,
    shift: Any = None,
    pixel_shift: Any = None,
    pixel_shift_row: Any = None,
    tile_rows: int = 0,
    tile_columns: int = 0,
    row_pixels: int = 0,
    stream: int = 0,
    threads: int = 1,
) -> None: ...
def keep_list(keep: Any, index: Any, count: Any, *, stream: int = 0, threads: int = 1) -> None: ...
def gather_rows(
    source: Any, index: Any, count: Any, target: Any, *, stream: int = 0, threads: int = 1
) -> None: ...
def find_peaks(
    pixels: Any,
    candidates: Any,
    good: Any,
    bin_of: Any,
    order: Any,
    place: Any,
    bin_start: Any,
    panels: Any,
    ring: Any,
    peaks: Any,
    first: Any,
    panel_counts: Any,
    rejected: Any,
    overflow: Any,
    scratch: Any,
    *,
    rows: int,
    columns: int,
    panel_words: int,
    threshold: float,
    min_snr: float,
    noise_floor: float,
    min_pix_count: int,
    max_pix_count: int,
    max_num_peaks: int,
    slots: int,
    all_bins: bool = False,
    stream: int = 0,
    threads: int = 1,
) -> None: ...
def peaks_scratch_bytes(
    *, n_shots: int, rows: int, columns: int, n_bins: int, n_panels: int, panel_words: int, slots: int
) -> int: ...
def bin_sums(
    pixels: Any,
    variance: Any,
    bad: Any,
    limits: Any,
    signal: Any,
    lost: Any,
    second: Any,
    maximum: Any,
    scratch: Any,
    *,
    plan: dict[str, Any],
    mode: str,
    row_pixels: int,
    n_bins: int,
    most_slots: int,
    stream: int = 0,
    threads: int = 1,
) -> None: ...
def bins_scratch_bytes(*, n_frames: int, n_slots: int, n_columns: int, mode: str) -> int: ...
def frame_stats(
    pixels: Any,
    group: Any,
    scale: Any,
    shift: Any,
    sum: Any,
    squares: Any,
    count: Any,
    maximum: Any,
    *,
    stream: int = 0,
    threads: int = 1,
) -> None: ...
def cpu_level() -> int: ...
