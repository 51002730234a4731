// Sums of products of two values: in float64, in one fixed order on every backend.
#pragma once

#include <cstdint>

#include "hd.hpp"

namespace shotsieve::math {

// Values of a stretch of pixels go round this many sums.
constexpr int kProductLanes = 8;

// Pixels that are summed at once; the sums of the stretches are added one after the other.
constexpr int kProductStretch = 512;

// Adds the lanes of a stretch.
SS_HD double add_lanes(const double* lane) {
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// A photon count with its frame, in one word: frames up to 2^24.
SS_HD std::uint32_t make_event(std::int32_t frame, std::uint32_t count) {
  return static_cast<std::uint32_t>(frame) << 8 | count;
}
SS_HD std::int32_t event_frame(std::uint32_t event) { return static_cast<std::int32_t>(event >> 8); }
SS_HD std::int32_t event_count(std::uint32_t event) { return static_cast<std::int32_t>(event & 0xFFu); }

}  // namespace shotsieve::math
