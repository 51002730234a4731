// Statistics of every pixel over frames, by groups of frames.
#pragma once

#include <cstdint>

#include "where.hpp"

namespace shotsieve {

struct StatsCall {
  const float* pixels;         // (n_all, n_pixels)
  const std::int32_t* frames;  // (n_frames,) which are added, in their order; none for a number out of range
  const std::int32_t* group;   // (n_frames,) group of each of them; none for a number out of range
  const double* scale;         // (n_frames,) what the values of each are multiplied with
  // Accumulators, (n_groups, n_pixels); see math::PixelStats. At first 0, and -inf for the maximum.
  double* shift;
  double* sum;
  double* squares;
  std::int32_t* count;
  float* maximum;
  std::int64_t n_all, n_frames, n_pixels, n_groups;
};

// Adds frames to the accumulators of their groups, one after the other.
// Promise: exact; the same bits however frames are cut into calls. Never synchronises, never allocates.
void frame_stats(const StatsCall& call, const Where& where);

}  // namespace shotsieve
