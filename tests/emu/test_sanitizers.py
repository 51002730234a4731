"""The emulator under sanitizers: they see what no order of execution shows, and name the kernel's line."""

from __future__ import annotations

import re

import pytest

from .workshop import Fault, Program, Variant, Workshop

BARRIER = "__syncthreads();"
VARIANTS = {
    "scan": Variant("scan.cu"),
    "scan without its first barrier": Variant("scan.cu", (Fault("scan.cu", BARRIER),)),
    "kernels": Variant("kernels.cu"),
    "keep_list without its last barrier": Variant("kernels.cu", (Fault("cuda/compact.cuh", BARRIER, nth=2),)),
}


@pytest.fixture(scope="module")
def programs(workshop: Workshop) -> dict[str, Program]:
    """The programs under ThreadSanitizer, where it can run; each CUDA thread is an OS thread then."""
    built = dict(zip(VARIANTS, workshop.build(VARIANTS.values(), "thread"), strict=True))
    done = built["scan"].run("2")
    if "FATAL: ThreadSanitizer" in done.stderr:
        pytest.skip(f"ThreadSanitizer cannot run here: {done.stderr.strip().splitlines()[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")
    return built


@pytest.mark.parametrize("kernel", ["keep_list", "gather_rows", "calibrate"])
def test_kernel_has_no_race(programs, kernel):
    done = programs["kernels"].run(kernel, "1", "small")
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.parametrize(
    ("name", "arguments", "where"),
    [
        ("scan without its first barrier", ["2"], "scan.cu:"),
        ("keep_list without its last barrier", ["keep_list", "1", "small"], "cuda/compact.cuh:"),
    ],
)
def test_removed_barrier_is_a_race_with_its_line(programs, name, arguments, where):
    programs[name].check_race(*arguments, where=where)


def test_address_sanitizer_follows_fibers_and_knows_shared_arrays(workshop):
    clean, faults = workshop.build([Variant("scan.cu"), Variant("faults.cu")], "address")
    done = clean.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")
    for case, kernel in (("shared_overrun", "shared_overrun"), ("read_in_slack", "read_byte_at")):
        done = faults.run(case)
        assert done.returncode != 0
        assert "AddressSanitizer: use-after-poison" in done.stderr
        assert re.search(rf"in .*{kernel}.*faults\.cu:\d+", done.stderr)
