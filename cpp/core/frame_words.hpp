// Raw words and the folded constants of their pixels, for stages that look at pixels in high gain.
#pragma once

#include <cstdint>

#include "../math/packed.hpp"
#include "calibrate.hpp"

namespace shotsieve {

struct FrameWords {
  const std::uint16_t* raw;     // (n_frames, planes, n_pixels)
  const float* table;           // (n_rows, table_planes, n_pixels), or null where constants are packed
  const std::uint16_t* packed;  // (n_rows, table_planes, math::kPackedHead + n_pixels) or null
  std::int64_t n_frames, n_rows, n_pixels;
  int planes, table_planes;
  Encoding encoding;
  int fixed_stage;  // -1 adaptive, else the only stage of the run

  constexpr const std::uint16_t* words(std::int64_t frame) const { return raw + frame * planes * n_pixels; }
};

}  // namespace shotsieve
