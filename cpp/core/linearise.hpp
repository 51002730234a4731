// Raw words made linear by a table of every pixel, before they are calibrated.
#pragma once

#include <cstdint>

#include "../math/linearise.hpp"
#include "calibrate.hpp"
#include "where.hpp"

namespace shotsieve {

struct LineariseCall {
  const std::uint16_t* raw;     // (n_frames, planes, n_pixels)
  const std::int32_t* frames;   // (n_listed,) indices into raw
  const FrameGroup* groups;     // (n_groups,); their row is one of `linear`, -1: words stay as they are
  const std::uint16_t* linear;  // (n_rows, n_pixels, pitch), of which the first entries count
  std::uint16_t* words;         // (n_frames, planes, n_pixels), written whole for every listed frame
  std::int64_t n_frames, n_listed, n_groups, n_rows, n_pixels, pitch;
  int planes, entries;  // entries is a power of two
};

// Plane 0 is replaced by the entries of its words, other planes are copied. Promise: exact. Never
// synchronises, never allocates device memory.
void linearise(const LineariseCall& call, const Where& where);

}  // namespace shotsieve
