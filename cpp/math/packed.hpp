// Folded constants in 16 bits: a whole number of steps above a base, both of which belong to one plane of one
// module and cell. Promise: exact; every backend computes this text, without contraction of a*b+c.
#pragma once

#include <cstdint>

#include "hd.hpp"

namespace shotsieve::math {

// Words before the codes of a plane: a PackedScale, then two that are not used, so that the codes of every
// plane start at a multiple of 16 bytes.
constexpr int kPackedHead = 8;
constexpr int kLastCode = 0xFFFF;

struct PackedScale {
  float base, step;
  float last;  // what the last code stands for: NaN where gains are bad, else the number that it is
};

SS_HD float unpack_number(std::uint16_t code, const PackedScale& scale) {
  return scale.base + scale.step * static_cast<float>(code);
}

// Codes are compared as floats, which they are turned into in any case: vectors need no masks of 16 bits.
SS_HD float unpack_constant(std::uint16_t code, const PackedScale& scale) {
  const float steps = static_cast<float>(code);
  const float number = scale.base + scale.step * steps;
  return steps == static_cast<float>(kLastCode) ? scale.last : number;
}

}  // namespace shotsieve::math
