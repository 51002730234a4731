// One pixel of one frame on its way into the sums over bins.
#pragma once

#include <cstdint>
#include <limits>

#include "hd.hpp"

namespace shotsieve::math {

// The local bin of a pixel that belongs to none.
constexpr std::uint16_t kNoBin = 0xFFFF;

// NaN and infinities count as masked.
SS_HD bool is_finite(float v) {
  const float magnitude = v < 0.0f ? -v : v;
  return magnitude <= (std::numeric_limits<float>::max)();
}

// Whether a value is between the limits of its bin, which are for value / norm; the norm is positive.
SS_HD bool in_limits(double value, double norm, double low, double high) {
  return (value >= low * norm) & (value <= high * norm);
}

// coef^2 * (value - centre * norm)^2: what a pixel adds to the spread around the mean of its bin.
SS_HD double residual(double value, double norm, double centre, double coef) {
  const double d = (value - centre * norm) * coef;
  return d * d;
}

}  // namespace shotsieve::math
