// The call that every backend of bank_mode takes.
#pragma once

#include <cstdint>

#include "../math/bank_mode.hpp"
#include "calibrate.hpp"
#include "where.hpp"

namespace shotsieve {

struct BankModeCall {
  const std::uint16_t* raw;    // (n_frames, n_pixels): one plane, one gain stage
  const std::int32_t* frames;  // (n_listed,) indices into raw
  const FrameGroup* groups;    // (n_groups,)
  const float* table;          // (n_rows, kSinglePlanes, n_pixels)
  std::int32_t* shift;         // (n_frames, n_pixels), written for every listed frame with constants
  std::int64_t n_frames, n_listed, n_groups, n_rows, n_pixels;
  std::int64_t columns;  // pixels of a row of a frame
  std::int64_t bank_rows, bank_columns;
  int limit;   // of a median, 1/256 ADU
  int passes;  // how often all of them are subtracted, 1 or 2
  bool bank_medians, row_medians,
      column_medians;  // which medians are subtracted: of banks, of their rows, their columns

  constexpr std::int64_t across() const { return columns / bank_columns; }
  constexpr std::int64_t n_banks() const { return n_pixels / (bank_rows * bank_columns); }
  // First pixel of a bank in its frame.
  constexpr std::int64_t corner(std::int64_t bank) const {
    return bank / across() * bank_rows * columns + bank % across() * bank_columns;
  }
};

// What the pixels of a bank, of its rows and of its columns share, as shifts of single pixels; 0 for bad
// ones. Promise: exact. Never synchronises, never allocates device memory.
void bank_mode(const BankModeCall& call, const Where& where);

}  // namespace shotsieve
