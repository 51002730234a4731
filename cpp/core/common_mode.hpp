// The calls that every backend of common_mode and cell_common_mode takes.
#pragma once

#include <cstdint>

#include "../math/common_mode.hpp"
#include "calibrate.hpp"
#include "shift.hpp"
#include "where.hpp"

namespace shotsieve {

// What both need to know of words, constants and the dark range.
struct DarkRules {
  const std::uint16_t* raw;     // (n_frames, planes, n_pixels)
  const float* table;           // (n_rows, table_planes, n_pixels), or null where constants are packed
  const std::uint16_t* packed;  // (n_rows, table_planes, math::kPackedHead + n_pixels) or null
  std::int64_t n_frames, n_rows, n_pixels;
  int planes, table_planes;
  Encoding encoding;
  int fixed_stage;     // -1 adaptive, else the only stage of the run
  std::int32_t low;    // a pixel in high gain is dark from low to high, both included, in 1/256 ADU
  std::int32_t high;   //
  std::int64_t least;  // a group is corrected if strictly more of its pixels are dark

  constexpr const std::uint16_t* words(std::int64_t frame) const { return raw + frame * planes * n_pixels; }
};

struct CommonModeCall {
  DarkRules rules;
  const std::int32_t* frames;  // (n_listed,) indices into raw
  const FrameGroup* groups;    // (n_groups,)
  std::int32_t* shift;         // (n_frames, n_tiles); written for every listed frame with constants
  Shifts shifts;               // its tiles, and shifts of pixels that come before
  std::int64_t n_listed, n_groups;
  int n_itr;
  bool add;  // start from what is in `shift`, instead of 0
};

struct CellModeCall {
  DarkRules rules;
  const std::int32_t* unit_frames;  // (n_units, cells) indices into raw: the cells of a row in one train
  const std::int32_t* unit_rows;    // (n_units, cells) rows of the table
  std::int32_t* pixel_shift;        // (n_units, n_pixels), overwritten, or added to
  Shifts shifts;                    // of the tiles, which come before
  std::int64_t n_units, cells;
  bool add;
};

// The common mode of each tile (an ASIC) of each frame. Promise: exact.
void common_mode(const CommonModeCall& call, const Where& where);

// The common mode of each pixel over the cells of a row. Promise: exact.
void cell_common_mode(const CellModeCall& call, const Where& where);

}  // namespace shotsieve
