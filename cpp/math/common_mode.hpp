// Common mode: the mean of the dark pixels of a group, which is subtracted from the whole group.
//
// Source of the formulas: the public description of the facility's step (dark range and fraction, several
// iterations, ASICs and rows of memory cells). Promise: exact. Values are whole numbers of 1/256 ADU, sums
// are integers, and a mean is one quotient of two integers, rounded once.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "calibrate.hpp"
#include "shift.hpp"

namespace shotsieve::math {

// What a pixel without a value in high gain is: far outside every dark range, whatever is subtracted.
constexpr int kNeverDark = 1 << 28;
// Largest |bound| of a dark range times the pixels of a group: sums then stay within 32 bits.
constexpr std::int64_t kMaxDarkSum = std::numeric_limits<std::int32_t>::max();

// adc - offset in 1/256 ADU; what is not a number is never dark, and neither is what is far away.
SS_HD int offset_units(float adc, float offset) {
  constexpr float kFar = static_cast<float>(kNeverDark);
  const float units = (adc - offset) * kShiftScale;
  const float below = units < kFar ? units : kFar;  // NaN compares false
  return round_to_int(below > -kFar ? below : -kFar);
}

// A gain that is not finite marks a bad pixel.
SS_HD int usable_gain(float gain) { return fabsf(gain) <= (std::numeric_limits<float>::max)() ? 1 : 0; }

// value - shift - low, which is within [0, high - low] where the pixel is dark; wraps around far outside.
SS_HD std::uint32_t above_low(int value, int shift_and_low) {
  return static_cast<std::uint32_t>(value) - static_cast<std::uint32_t>(shift_and_low);
}

// The mean of n >= 1 values, rounded to a whole number, halves to even. Both numbers are exact as doubles.
SS_HD int mean_shift(std::int64_t sum, std::int64_t n) {
  const double mean = static_cast<double>(sum) / static_cast<double>(n);
#if defined(__CUDA_ARCH__)
  return __double2int_rn(mean);
#else
  return __builtin_irint(mean);
#endif
}

}  // namespace shotsieve::math
