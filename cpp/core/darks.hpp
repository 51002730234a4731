// Sums of dark frames, for every pixel and memory cell.
#pragma once

#include <cstdint>

#include "../math/darks.hpp"
#include "where.hpp"

namespace shotsieve {

struct DarkCall {
  const std::uint16_t* raw;    // (n_frames, n_planes, n_pixels)
  const std::int32_t* frames;  // (n_listed,) which frames are added
  const std::int32_t* row;     // (n_listed,) row of the accumulators of each; none for a number out of range
  // Accumulators, (n_rows, n_pixels), 0 at first.
  std::uint32_t* count;
  std::uint32_t* sum;
  std::uint64_t* squares;
  std::uint32_t* wrong;
  // With a gate only, else null: values inside [low, high] count.
  std::uint32_t* outside;
  const std::uint16_t* low;
  const std::uint16_t* high;
  // Of a digital level that comes in a plane of its own, else null.
  std::uint32_t* level_count;
  std::uint32_t* level_sum;
  std::uint64_t* level_squares;
  std::int64_t n_frames, n_planes, n_pixels, n_listed, n_rows;
  std::int64_t value_plane, code_plane, level_plane;
  math::DarkWords words;
};

// Adds frames to the accumulators of their rows. The caller sees to it that a sum fits: a row takes at most
// (2^32 - 1) / most frames. Frames of one row should follow each other.
// Promise: exact; the same bits in whatever order and cut frames come. Never synchronises, never allocates.
void dark_sums(const DarkCall& call, const Where& where);

}  // namespace shotsieve
