"""Stages of a user's own in the embedded engine: a function of Python, and a compiled kernel."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from shotsieve import UserStage

from .embed_case import SECTIONS, make


def test_a_stage_of_ones_own(embedded, embedded_source, reduced, backend_name):
    def brightest(frames):
        assert frames.shape[1:] == (16, 512, 128)
        flat = frames.reshape(len(frames), -1)
        values = np.array([np.nanmax(np.asarray(frame)) for frame in getattr(flat, "get", lambda: flat)()])
        return {"brightest": values}

    sections = SECTIONS | {"keep": {"rule": "brightest > 50"}}
    stage = UserStage("mine", brightest, {"brightest": "largest pixel"})
    with make(embedded, embedded_source, backend_name, embedded.recipe(**sections), stages=[stage]) as engine:
        results = list(engine.run(embedded_source))
    values = np.concatenate([result.table.columns["brightest"] for result in results])
    fates = np.concatenate([result.table.fate for result in results])
    assert np.array_equal(fates == 0, values > 50)
    assert 0 < (values > 50).sum() < len(values)
    for result in results:
        for k, row in enumerate(result.kept):
            assert np.nanmax(result.frames["data"][k]) == np.float32(result.table.columns["brightest"][row])


KERNEL = """
#include <stdint.h>
extern "C" void saturated(const float* frames, int64_t shots, int64_t pixels, double limit, double* out) {
  for (int64_t k = 0; k < shots; ++k) {
    out[k] = 0;
    for (int64_t i = 0; i < pixels; ++i) out[k] += frames[k * pixels + i] > limit;
  }
}
"""


def test_a_compiled_kernel_of_ones_own(embedded, embedded_source, tmp_path):
    compiler = shutil.which("c++") or pytest.skip(
        "no c++ on the PATH, which a user would compile the kernel with; one in Python is tested above"
    )
    (tmp_path / "kernel.cpp").write_text(KERNEL)
    library = tmp_path / "kernel.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, tmp_path / "kernel.cpp"], check=True)
    kernel = ctypes.CDLL(str(library)).saturated
    kernel.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 2, ctypes.c_double, ctypes.c_void_p]

    def saturated(frames):
        assert frames.flags.c_contiguous
        out = np.empty(len(frames))
        kernel(frames.ctypes.data, len(frames), frames[0].size, 20.0, out.ctypes.data)
        return {"saturated": out}

    sections = SECTIONS | {"keep": {"rule": "n_peaks >= 0"}}
    stage = UserStage("mine", saturated, {"saturated": "pixels above 20 keV"})
    with make(embedded, embedded_source, recipe=embedded.recipe(**sections), stages=[stage]) as engine:
        results = list(engine.run(embedded_source))
    for result in results:
        counted = (result.frames["data"] > 20).sum(axis=(1, 2, 3))
        assert result.table.columns["saturated"][result.kept].tolist() == counted.tolist()
    assert sum(len(result.kept) for result in results) > 1
    assert counted.any()
