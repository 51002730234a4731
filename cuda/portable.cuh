// What lets one .cu file be compiled by nvcc for a GPU and by g++ for the emulator of cpp/emu. Kernels use
// these three macros in place of `__shared__`, `extern __shared__` and `<<<>>>`, and otherwise CUDA's own
// words.
#pragma once

#if defined(__CUDACC__)

#include <cuda_runtime.h>

// A shared array of `count` (a constant) elements. Uninitialised; the emulator poisons it.
#define SS_SHARED(T, name, count) __shared__ T name[count]

// The dynamic shared memory of the launch, 16-byte aligned; once per kernel.
#define SS_DYN_SHARED(T, name)                                       \
  extern __shared__ __align__(16) unsigned char name##_shared_raw[]; \
  T* name = reinterpret_cast<T*>(name##_shared_raw)

// Queues kernel(arguments...) on the stream. A template kernel with commas in its arguments goes in
// parentheses.
#define SS_LAUNCH(kernel, grid, block, dynamic_bytes, stream, ...) \
  kernel<<<grid, block, dynamic_bytes, stream>>>(__VA_ARGS__)

#else

#include "cuemu.hpp"

#endif
