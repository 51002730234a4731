// Lets g++ compile cuda/*.cu and run the kernels on the CPU, for tests:
//
//   g++ -std=c++17 -O2 -ffp-contract=off -fno-trapping-math -pthread -I cpp/emu -x c++ cuda/compact.cu ...
//
// It is no model of speed. It looks for what tests on a GPU may miss: barriers and waits that are not there
// (CUDA threads, warps, blocks and streams run in an order shuffled by the seed, and streams as late as
// possible), reading what was never written (all memory is poisoned), reading and writing out of bounds
// (guard bytes, pages that fault), and warp operations whose lanes do not meet. Proof of a fault ends the
// process with a message.
//
//   CUEMU_SEED=n      the order, 0 for the natural one (default 1); cuemu::Runtime::set_seed at run time
//   CUEMU_WORKERS=n   OS threads that run blocks (default: the processors of this process)
//   CUEMU_FENCE=0     device memory from the heap: no fault on reading out of bounds, but quicker to allocate
//   -DCUEMU_THREADS   a kernel's threads are OS threads: for -fsanitize=thread, tiny launches only
//
// Not there: weak memory order (a missing __threadfence goes unnoticed), cooperative groups, textures,
// products on tensor cores but one (cuemu::mma_m16n8k32), cp.async, inline PTX, CUB, and blocks that spin
// until another block has done something.
#pragma once

#include "intrinsics.hpp"
#include "kernel_launch.hpp"
#include "runtime_api.hpp"
#include "warp.hpp"

// Tells one place in the source, and one instance of a template, from all others.
// clang-format off
#define CUEMU_KEY() ([] { static char key; return &key; }())

// A shared array, one for the block wherever its declaration is reached.
#define SS_SHARED(T, name, count) \
  T (&name)[count] = ::cuemu::shared_array<T, (count)>(CUEMU_KEY(), #name, ::cuemu::Site::here())
// clang-format on

// The block's dynamic shared memory, as many bytes as the launch says.
#define SS_DYN_SHARED(T, name) T* name = static_cast<T*>(::cuemu::dynamic_place(::cuemu::Site::here()))

// kernel<<<grid, block, dynamic_bytes, stream>>>(arguments...)
#define SS_LAUNCH(kernel, grid, block, dynamic_bytes, stream, ...) \
  ::cuemu::launch(kernel, ::cuemu::extent(grid), ::cuemu::extent(block), dynamic_bytes, stream, __VA_ARGS__)
