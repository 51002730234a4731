// Kernels of stable compaction.
#pragma once

#include <cstdint>

#include "portable.cuh"

namespace shotsieve::device {

constexpr int kKeepThreads = 256;
constexpr int kKeepWarps = kKeepThreads / 32;
constexpr int kGatherThreads = 256;

// Positions of kept rows, in order, by one block: ballots count inside a warp, one warp scans the warps.
__global__ void keep_list_kernel(const std::uint8_t* __restrict__ keep, std::int64_t n,
                                 std::int32_t* __restrict__ index, std::int32_t* __restrict__ count) {
  SS_SHARED(int, warp_start, kKeepWarps);
  SS_SHARED(int, chunk_total, 1);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  int done = 0;
  for (std::int64_t first = 0; first < n; first += kKeepThreads) {
    const std::int64_t i = first + threadIdx.x;
    const int kept = i < n ? (keep[i] != 0 ? 1 : 0) : 0;
    const unsigned ballot = __ballot_sync(0xFFFFFFFFu, kept);
    if (lane == 0) warp_start[warp] = __popc(ballot);
    __syncthreads();
    if (warp == 0) {
      const int own = lane < kKeepWarps ? warp_start[lane] : 0;
      int sum = own;
      for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(0xFFFFFFFFu, sum, step);
        sum += lane >= step ? below : 0;
      }
      if (lane < kKeepWarps) warp_start[lane] = sum - own;
      if (lane == 31) chunk_total[0] = sum;
    }
    __syncthreads();
    if (kept != 0) {
      const int before = __popc(ballot & ((1u << lane) - 1u));
      index[done + warp_start[warp] + before] = static_cast<std::int32_t>(i);
    }
    done += chunk_total[0];
    __syncthreads();  // the next chunk overwrites what slower warps still read
  }
  if (threadIdx.x == 0) *count = done;
}

// The one place that moves a row's bytes; a faster copy would go here.
__device__ inline void copy_tile(uint4* __restrict__ target, const uint4* __restrict__ source,
                                 std::int64_t words) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words; i += step) {
    target[i] = source[i];
  }
}

// blockIdx.y walks over rows; how many there are stands in device memory.
__global__ void gather_rows_kernel(const uint4* __restrict__ source, std::int64_t row_words,
                                   const std::int32_t* __restrict__ index,
                                   const std::int32_t* __restrict__ count, std::int64_t capacity,
                                   uint4* __restrict__ target) {
  const std::int64_t rows = *count < capacity ? *count : capacity;
  for (std::int64_t k = blockIdx.y; k < rows; k += gridDim.y) {
    copy_tile(target + k * row_words, source + index[k] * row_words, row_words);
  }
}

}  // namespace shotsieve::device
