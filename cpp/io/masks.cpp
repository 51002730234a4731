#include "masks.hpp"

#include <algorithm>
#include <cstring>

namespace shotsieve::io {
namespace {

constexpr std::uint8_t kStage = 3;
constexpr std::int64_t kTogether = 8;

}  // namespace

bool full_mask(const std::uint8_t* found, std::int64_t pixels, const std::uint32_t* planes,
               std::int64_t stages, const MaskFlags& flags, std::uint32_t* mask) {
  std::copy_n(planes, pixels, mask);
  // Nearly all pixels are in the first stage, and nothing was found in them: the others are looked for.
  for (std::int64_t first = 0; first < pixels; first += kTogether) {
    const std::int64_t count = std::min(kTogether, pixels - first);
    std::uint64_t word = 0;
    std::memcpy(&word, found + first, static_cast<std::size_t>(count));
    if (word == 0) continue;
    for (std::int64_t p = first; p < first + count; ++p) {
      if (found[p] == 0) continue;
      const std::int64_t stage = found[p] & kStage;
      if (stage >= stages) return false;
      const std::uint32_t known = planes[stage * pixels + p];
      std::uint32_t bits = known;
      if ((found[p] & flags.flag[0]) && !(known & flags.bad_bits)) bits |= flags.bit[0];
      for (int i = 1; i < 3; ++i)
        if (found[p] & flags.flag[i]) bits |= flags.bit[i];
      mask[p] = bits;
    }
  }
  return true;
}

}  // namespace shotsieve::io
