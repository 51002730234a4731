// Common mode by medians: of banks of pixels that are read out together, of their rows and of their columns.
//
// Source of the formulas: the public practice of LCLS (psana, epix100: banks of 352 x 96, rows of 96, columns
// of 352, in this order; only good pixels; a median counts below a limit, of at least ten pixels), once, or
// twice as in Tukey's median polish. Promise: exact. Values are whole numbers of 1/256 ADU, and a median is
// one of them or half the sum of two, rounded down, so that no order of pixels matters.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "calibrate.hpp"

namespace shotsieve::math {

constexpr float kBankScale = 256.0f;  // units of a value per ADU
constexpr int kNoValue = std::numeric_limits<int>::min();
constexpr int kLeastOfMedian = 10;

// adc - offset in 1/256 ADU; kNoValue where the pixel is bad: its gain is then not a number.
SS_HD int bank_value(float adc, float offset, float gain) {
  constexpr float kFar = 16777216.0f;  // words of 16 bits do not reach it; six medians later 32 bits hold
  const float units = (adc - offset) * kBankScale;
  const float below = units < kFar ? units : kFar;  // NaN compares false
  const int value = round_to_int(below > -kFar ? below : -kFar);
  const int good = (fabsf(gain) <= (std::numeric_limits<float>::max)()) & (units == units);
  return good != 0 ? value : kNoValue;
}

// Keys that are unsigned order as their values do; kNoValue has key 0.
SS_HD std::uint32_t order_key(int value) { return static_cast<std::uint32_t>(value) ^ 0x80000000u; }
SS_HD int value_of_key(std::uint32_t key) { return static_cast<int>(key ^ 0x80000000u); }

// Half the sum of the two middle values, rounded down.
SS_HD int middle_of(int low, int high) {
  const std::int64_t sum = std::int64_t{low} + high;
  return static_cast<int>(sum >> 1);
}

// What is subtracted from a group of n good pixels: its median if it is near enough to 0, else nothing.
SS_HD int bank_step(int median, std::int64_t n, int limit) {
  const int size = median < 0 ? -median : median;
  return (n >= kLeastOfMedian) & (size < limit) ? median : 0;
}

}  // namespace shotsieve::math
