// Statistics over frames on the device: a thread owns a pixel and takes the frames in their order.
#pragma once

#include <cstdint>
#include <limits>

#include "../cpp/core/stats.hpp"
#include "../cpp/math/stats.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kStatsThreads = 256;
constexpr int kStatsAhead = 8;  // values that a thread has under way at a time
constexpr float kNoValue = std::numeric_limits<float>::quiet_NaN();  // is left out

__device__ inline math::PixelStats load_stats(const StatsCall& c, std::int64_t at) {
  return {c.shift[at], c.sum[at], c.squares[at], c.count[at], c.maximum[at]};
}

__device__ inline void store_stats(const StatsCall& c, std::int64_t at, const math::PixelStats& s) {
  c.shift[at] = s.shift;
  c.sum[at] = s.sum;
  c.squares[at] = s.squares;
  c.count[at] = s.count;
  c.maximum[at] = s.maximum;
}

__global__ void frame_stats_kernel(StatsCall c) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t p = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; p < c.n_pixels; p += step) {
    std::int64_t open = -1;  // the group whose sums are in registers
    math::PixelStats sums{};
    for (std::int64_t first = 0; first < c.n_frames; first += kStatsAhead) {
      float values[kStatsAhead];
      for (int i = 0; i < kStatsAhead; ++i) {
        const std::int64_t frame = first + i < c.n_frames ? c.frames[first + i] : -1;
        values[i] = frame >= 0 && frame < c.n_all ? c.pixels[frame * c.n_pixels + p] : kNoValue;
      }
      for (int i = 0; i < kStatsAhead && first + i < c.n_frames; ++i) {
        const std::int64_t group = c.group[first + i];
        if (group < 0 || group >= c.n_groups) continue;
        if (group != open) {
          if (open >= 0) store_stats(c, open * c.n_pixels + p, sums);
          sums = load_stats(c, group * c.n_pixels + p);
          open = group;
        }
        math::add_value(sums, values[i], c.scale[first + i]);
      }
    }
    if (open >= 0) store_stats(c, open * c.n_pixels + p, sums);
  }
}

}  // namespace shotsieve::device
