// Statistics of one pixel over frames: sums of differences from its first value, so that nothing cancels.
#pragma once

#include <cstdint>

#include "bins.hpp"
#include "hd.hpp"

namespace shotsieve::math {

// What is kept of a pixel.
struct PixelStats {
  double shift;    // the first value
  double sum;      // of value - shift
  double squares;  // of (value - shift)^2
  std::int32_t count;
  float maximum;
};

// Adds value * scale; a value that is not finite changes nothing.
SS_HD void add_value(PixelStats& s, float value, double scale) {
  const bool valid = is_finite(value);
  const double wide = static_cast<double>(value) * scale;
  const double x = valid ? wide : 0.0;
  const bool first = valid & (s.count == 0);
  s.shift = first ? x : s.shift;
  const double difference = valid ? x - s.shift : 0.0;
  s.sum += difference;
  s.squares += difference * difference;
  s.count += valid ? 1 : 0;
  const float narrow = static_cast<float>(x);
  s.maximum = valid & (narrow > s.maximum) ? narrow : s.maximum;
}

}  // namespace shotsieve::math
