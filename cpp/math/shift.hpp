// What is subtracted from a pixel beside its offset: baselines and common mode.
//
// Shifts are whole numbers of 1/256 ADU, so that they can be added up in any order. They are added to the
// offset before it is subtracted: x = (adc - (offset + shift)) * gain.
#pragma once

#include <cstdint>

#include "hd.hpp"

namespace shotsieve::math {

constexpr float kShiftScale = 256.0f;  // units of a shift per ADU

// Wraps around where the sum leaves 32 bits, which no shift of real words comes near.
SS_HD int add_shifts(int a, int b) {
  return static_cast<int>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

SS_HD float shift_offset(float offset, int shift) {
  return offset + static_cast<float>(shift) * (1.0f / kShiftScale);
}

}  // namespace shotsieve::math
