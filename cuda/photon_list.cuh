// Kernels of photon lists: one warp a frame, so that nothing has to wait for another warp.
#pragma once

#include <cstdint>

#include "portable.cuh"

namespace shotsieve::device {

constexpr int kListThreads = 128;
constexpr int kListWarps = kListThreads / 32;
constexpr int kListPixels = 8;  // consecutive ones of a lane

// Counts the pixels of each frame that hold photons into `number`, or, where kWrite, puts them and their
// photons into the entries that `first` gives the frame.
template <class T, bool kWrite>
__global__ void photon_list_kernel(const T* __restrict__ frames, std::int64_t n, std::int64_t pixels,
                                   const std::int64_t* __restrict__ first, std::int32_t* __restrict__ number,
                                   std::uint32_t* __restrict__ pixel, T* __restrict__ count) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t warps = std::int64_t{gridDim.x} * kListWarps;
  for (std::int64_t k = std::int64_t{blockIdx.x} * kListWarps + warp; k < n; k += warps) {
    const T* frame = frames + k * pixels;
    std::int64_t done = kWrite ? first[k] : 0;
    const std::int64_t end = kWrite ? first[k + 1] : 0;
    for (std::int64_t start = 0; start < pixels; start += 32 * kListPixels) {
      const std::int64_t mine = start + std::int64_t{lane} * kListPixels;
      int own = 0;
      for (int j = 0; j < kListPixels; ++j) {
        if (mine + j < pixels && frame[mine + j] != 0) ++own;
      }
      int sum = own;
      for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(0xFFFFFFFFu, sum, step);
        sum += lane >= step ? below : 0;
      }
      if (kWrite && own != 0) {
        std::int64_t at = done + sum - own;
        for (int j = 0; j < kListPixels; ++j) {
          if (mine + j < pixels && frame[mine + j] != 0 && at < end) {
            pixel[at] = static_cast<std::uint32_t>(mine + j);
            count[at] = frame[mine + j];
            ++at;
          }
        }
      }
      done += __shfl_sync(0xFFFFFFFFu, sum, 31);
    }
    if (!kWrite && lane == 0) number[k] = static_cast<std::int32_t>(done);
  }
}

}  // namespace shotsieve::device
