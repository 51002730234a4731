// Kernel of the linearisation.
#pragma once

#include <cstdint>

#include "../cpp/core/linearise.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kLineariseThreads = 256;

// A block takes some pixels of all frames of a group: their tables are a few kilobytes each, and stay in the
// cache from frame to frame.
__global__ void linearise_kernel(LineariseCall c) {
  const FrameGroup group = c.groups[blockIdx.y];
  const std::int64_t i = std::int64_t{blockIdx.x} * kLineariseThreads + threadIdx.x;
  if (i >= c.n_pixels) return;
  for (std::int32_t k = group.start; k < group.stop; ++k) {
    const std::int64_t at = std::int64_t{c.frames[k]} * c.planes * c.n_pixels + i;
    int word = c.raw[at];
    if (group.table_row >= 0) {
      const std::int64_t pixel = std::int64_t{group.table_row} * c.n_pixels + i;
      word = c.linear[pixel * c.pitch + math::linear_entry(word, c.entries)];
    }
    c.words[at] = static_cast<std::uint16_t>(word);
    for (int plane = 1; plane < c.planes; ++plane) {
      c.words[at + plane * c.n_pixels] = c.raw[at + plane * c.n_pixels];
    }
  }
}

}  // namespace shotsieve::device
