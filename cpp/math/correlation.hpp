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

// Sum of x(t) * x(t + lag) of one pixel, whose events come in the order of their frames; x is the series of a
// level, whose frames are sums of 2^level frames. Those that do not fill up a frame of the level are left
// out.
SS_HD std::int64_t lag_product(const std::uint32_t* events, std::int32_t n, std::int32_t n_frames,
                               std::int32_t level, std::int32_t lag) {
  const std::int32_t stop = n_frames >> level;
  std::int64_t sum = 0;
  std::int32_t late = 0, early = 0;
  while (late < n && event_frame(events[late]) >> level < stop) {
    const std::int32_t t = event_frame(events[late]) >> level;
    std::int64_t x = 0, y = 0;
    for (; late < n && event_frame(events[late]) >> level == t; ++late) x += event_count(events[late]);
    while (early < n && event_frame(events[early]) >> level < t - lag) ++early;
    for (std::int32_t k = early; k < n && event_frame(events[k]) >> level == t - lag; ++k) {
      y += event_count(events[k]);
    }
    sum += x * y;
  }
  return sum;
}

}  // namespace shotsieve::math
