// What ONE pixel of a calibrated frame adds to the scores of its shot.
//
// Source of the formula: the logarithm of the ratio of two Poisson likelihoods, n * log(1 + s / b) - s for n
// photons where a signal s is expected on a background b; any other weight and constant do as well.
// Promise: exact. Weights are whole numbers, so that a sum does not depend on its order.
#pragma once

#include <cstdint>
#include <limits>

#include "calibrate.hpp"

namespace shotsieve::math {

// Whole numbers that a pixel counts as.
struct ScorePixel {
  int counts;     // 1 where the pixel is not masked
  int lit;        // 1 where it is strictly above the threshold
  int photons;    // rounded, never negative
  int intensity;  // in units of 1/128
};

struct ScoreRules {
  float threshold;           // strictly above it a pixel is lit; NaN counts none
  float to_photon;           // photons per unit of the values; 0 counts none
  float rounding_threshold;  // photons are rounded up from this fraction on
  float value_limit;         // a larger absolute value counts as a masked pixel
};

// As calibrate_count counts it: what is NaN, or out of range, does not count.
SS_HD ScorePixel score_pixel(float x, const ScoreRules& rules) {
  const int counts = fabsf(x) <= rules.value_limit ? 1 : 0;
  const float counted = counts != 0 ? x : 0.0f;
  ScorePixel p;
  p.counts = counts;
  p.lit = x > rules.threshold ? counts : 0;
  p.photons = count_photons(counted * rules.to_photon, rules.rounding_threshold);
  p.intensity = round_to_int(counted * kIntensityScale);
  return p;
}

// weight * amount - constant * unit, 0 for a masked pixel.
SS_HD std::int64_t score_term(int weight, int constant, int amount, int unit, int counts) {
  const std::int64_t gain = std::int64_t{weight} * amount;
  const std::int64_t share = std::int64_t{constant} * unit;
  return counts != 0 ? gain - share : 0;
}

}  // namespace shotsieve::math
