"""Faults planted in small programs are noticed with every seed; the programs without them never blamed."""

from __future__ import annotations

import pytest

from .workshop import Fault, Program, Variant, Workshop

WRONG = "^wrong: "
CLEAN = ("scan.cu", "ring.cu", "operations.cu")

FILL = "    for (int i = 0; i < kValues; ++i) s.host_in[i] = value(block, i);\n"
UPLOADED = "    cudaEventRecord(s.uploaded, up);\n"

# name -> (the faults, how they show)
FAULTS = {
    "barrier after writing": ([Fault("scan.cu", "__syncthreads();", nth=0)], WRONG),
    "barrier after reading": ([Fault("scan.cu", "__syncthreads();", nth=1)], WRONG),
    "upload does not wait for kernel": ([Fault("ring.cu", "cudaStreamWaitEvent(up, s.computed);")], WRONG),
    "kernel does not wait for upload": (
        [Fault("ring.cu", "cudaStreamWaitEvent(compute, s.uploaded);")],
        WRONG,
    ),
    "kernel does not wait for download": (
        [Fault("ring.cu", "cudaStreamWaitEvent(compute, s.downloaded);")],
        WRONG,
    ),
    "download does not wait for kernel": (
        [Fault("ring.cu", "cudaStreamWaitEvent(down, s.computed);")],
        WRONG,
    ),
    "host does not wait for upload": ([Fault("ring.cu", "cudaEventSynchronize(s.uploaded);")], WRONG),
    "host does not wait for download": ([Fault("ring.cu", "cudaEventSynchronize(s.downloaded);")], WRONG),
    "event not recorded": ([Fault("ring.cu", "cudaEventRecord(s.downloaded, down);")], WRONG),
    "copy queued before its source is filled": (
        [Fault("ring.cu", FILL), Fault("ring.cu", UPLOADED, UPLOADED + FILL)],
        WRONG,
    ),
    "global read beyond": ([Fault("scan.cu", "i < n ? from[i]", "i <= n ? from[i]")], "crash"),
    "global write beyond": ([Fault("scan.cu", "if (i < n) to[i]", "if (i <= n) to[i]")], "crash"),
    "shared write beyond": (
        [Fault("scan.cu", "warp_total[warp] =", "warp_total[warp + 1] =")],
        "shared array overrun: warp_total declared at scan.cu:[0-9]+ was written beyond its end",
    ),
    "shared read beyond": ([Fault("scan.cu", "w < kWarps; ++w", "w <= kWarps; ++w")], WRONG),
}

CASES = {
    "diverge": r"threads wait at different __syncthreads: one at faults\.cu:\d+, another at faults\.cu:\d+",
    "leave_early": r"__syncthreads after some threads of the block returned at faults\.cu:\d+",
    "outside_mask": r"lane not in its own mask at faults\.cu:\d+ \[block \(\d,0,0\), thread \((31|63),0,",
    "deadlock": r"deadlock: 64 threads wait for each other; 32 in __syncthreads .*; 32 in warp operations",
    "different_operations": r"lanes of one warp meet in different operations or with different masks: f",
    "shared_overrun": r"shared array overrun: first declared at faults\.cu:\d+ was written beyond its end",
    "shared_underrun": r"shared array overrun: first declared at faults\.cu:\d+ was written before its start",
    "dynamic_overrun": r"shared array overrun: dynamic shared memory was written beyond its end",
    "dynamic_not_asked_for": r"the launch asked for 0 bytes at faults\.cu",
    "read_beyond": "crash",
    "read_far_before": "crash",
    "write_beyond": "crash",
    "write_in_slack": r"device memory overrun: a byte at offset 100 of an allocation of 100 bytes was",
    "write_before": r"device memory overrun: a byte at offset -1 of",
    "use_after_free": "crash",
    "double_free": r"cudaFree: .* freed twice",
    "free_of_the_middle": r"cudaFree: free of a pointer that is not the start of an allocation",
    "long_copy": r"101 bytes from offset 0 of an allocation of 100 bytes of device memory",
    "wrong_direction": r"the target of the copy is not where its direction says",
    "destroyed_stream": r"use of a stream that was destroyed",
    "destroyed_event": r"use of an event that was destroyed",
}


@pytest.fixture(scope="module")
def programs(workshop: Workshop) -> dict[str, Program]:
    """Every program of this file: clean ones by file name, faulty ones by the name of their fault."""
    variants = {name: Variant(name) for name in (*CLEAN, "faults.cu")}
    variants |= {name: Variant(faults[0].file, tuple(faults)) for name, (faults, _) in FAULTS.items()}
    return dict(zip(variants, workshop.build(variants.values()), strict=True))


@pytest.mark.parametrize("name", CLEAN)
def test_clean_program_is_right_with_every_seed(programs, name):
    programs[name].check_clean()


@pytest.mark.parametrize("name", CLEAN)
def test_natural_order_is_right_too(programs, name):
    assert programs[name].run(seed=0).stdout == "right\n"


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(programs, name):
    programs[name].check_faulty(sign=FAULTS[name][1])


@pytest.mark.parametrize("case", CASES)
def test_wrong_kernel_or_call_ends_the_process(programs, case):
    programs["faults.cu"].check_faulty(case, sign=CASES[case])


@pytest.mark.parametrize("case", ["device_poison", "shared_poison", "pinned_poison", "bad_launches"])
def test_memory_nobody_wrote_is_poisoned(programs, case):
    done = programs["faults.cu"].run(case)
    assert (done.returncode, done.stderr) == (0, "")
    assert "poison seen" in done.stdout


def test_without_fences_overruns_are_still_noticed(programs):
    for case in ("write_in_slack", "write_before", "write_beyond"):
        assert "device memory overrun" in programs["faults.cu"].run(case, CUEMU_FENCE="0").stderr
    assert programs["scan.cu"].run(CUEMU_FENCE="0").stdout == "right\n"


@pytest.mark.parametrize("workers", ["1", "5"])
@pytest.mark.parametrize("name", CLEAN)
def test_number_of_workers_changes_nothing(programs, name, workers):
    assert programs[name].run(CUEMU_WORKERS=workers).stdout == "right\n"


@pytest.mark.parametrize("name", ["CUEMU_SEED", "CUEMU_WORKERS", "CUEMU_FENCE"])
def test_bad_setting_is_refused(programs, name):
    done = programs["scan.cu"].run(**{name: "many"})
    assert done.returncode != 0
    assert f"{name}=many: expected a whole number" in done.stderr


def test_fault_that_cannot_be_planted_is_an_error(workshop):
    for fault in (Fault("scan.cu", "no such text"), Fault("cuda/compact.cuh", "__syncthreads();")):
        with pytest.raises(AssertionError, match=r"to plant a fault in|no fault planted"):
            workshop.build([Variant("scan.cu", (fault,))])
