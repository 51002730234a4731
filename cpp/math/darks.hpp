// What happens to ONE sample of a dark frame: whether it is one of the expected stage, and what it adds.
// Promise: exact; integers only, so that sums do not depend on any order. Branch-free.
#pragma once

#include <cstdint>

#include "hd.hpp"

namespace shotsieve::math {

// How a sample is read from its words; the same for all pixels of a call.
struct DarkWords {
  std::uint32_t value_mask;  // bits of the first plane that are the value
  std::uint32_t code_shift;  // the gain code is (word >> code_shift) & code_mask
  std::uint32_t code_mask;   // 0 where there is no code
  std::uint32_t code;        // that of the expected stage
  std::uint32_t zero_as;     // what a value of 0 stands for
  std::uint32_t least;       // a value outside [least, most] is no measurement
  std::uint32_t most;
};

struct DarkSample {
  std::uint32_t value;    // 0 unless it counts
  std::uint32_t counts;   // 1: inside the gate
  std::uint32_t outside;  // 1: of the right stage, but outside the gate
  std::uint32_t wrong;    // 1: of another stage, or no measurement
};

SS_HD DarkSample read_dark(std::uint32_t word, std::uint32_t code_word, const DarkWords& w, std::uint32_t low,
                           std::uint32_t high) {
  const std::uint32_t stored = word & w.value_mask;
  const std::uint32_t value = stored == 0 ? w.zero_as : stored;
  const std::uint32_t code = (code_word >> w.code_shift) & w.code_mask;
  const std::uint32_t wrong = (code != w.code) | (value < w.least) | (value > w.most);
  const std::uint32_t apart = (value < low) | (value > high);
  const std::uint32_t counts = (wrong ^ 1u) & (apart ^ 1u);
  return {counts != 0 ? value : 0u, counts, (wrong ^ 1u) & apart, wrong};
}

}  // namespace shotsieve::math
