// Full masks of frames: what the constants say of every pixel in its gain stage, and what was found in it.
#pragma once

#include <cstdint>

namespace shotsieve::io {

// What a flag of a stage byte means in a mask. The first explains why a pixel has no value, and is told only
// where no bit of `bad_bits` does.
struct MaskFlags {
  std::uint8_t flag[3];
  std::uint32_t bit[3];
  std::uint32_t bad_bits;
};

// Write the mask of one frame: `planes` are the static ones of its stages, `stages` of `pixels` each, and the
// two lowest bits of `found` are the stage. Returns false where there is no such stage; then `mask` is
// worthless. Promise: exact.
bool full_mask(const std::uint8_t* found, std::int64_t pixels, const std::uint32_t* planes,
               std::int64_t stages, const MaskFlags& flags, std::uint32_t* mask);

}  // namespace shotsieve::io
