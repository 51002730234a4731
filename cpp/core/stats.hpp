// Statistics of every pixel over frames, by groups of frames.
#pragma once

#include <cstdint>

#include "where.hpp"

namespace shotsieve {

struct StatsCall {
  const float* pixels;        // (n_frames, n_pixels)
  const std::int32_t* group;  // (n_frames,) group of each frame; none for a number out of range
  const double* scale;        // (n_frames,) what the values of a frame are multiplied with
  // Accumulators, (n_groups, n_pixels); see math::PixelStats. At first 0, and -inf for the maximum.
  double* shift;
  double* sum;
  double* squares;
  std::int32_t* count;
  float* maximum;
  std::int64_t n_frames, n_pixels, n_groups;
};

// Adds frames to the accumulators of their groups, one after the other.
// Promise: exact; the same bits however frames are cut into calls. Never synchronises, never allocates.
void frame_stats(const StatsCall& call, const Where& where);

}  // namespace shotsieve
