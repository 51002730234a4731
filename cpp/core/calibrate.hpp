// The call that every backend of calibrate_count takes: plain pointers, sizes and rules.
#pragma once

#include <cstdint>

#include "../math/calibrate.hpp"
#include "../math/packed.hpp"
#include "shift.hpp"
#include "where.hpp"

namespace shotsieve {

enum class Encoding : int {
  kThreshold = 0,  // plane 1 is a digital level, compared with two thresholds
  kCode = 1,       // plane 1 is the receiver's gain code
  kWord = 2,       // one plane, whose words hold signal and gain code
  kPlain = 3,      // one plane and one gain stage
  kParallel = 4,   // planes 0, 1, 2 are the words of the same pixel in high, medium and low gain
  kCorrected = 5,  // values, mask and gain stage of frames that are calibrated already: math::CorrectedPlane
};

// Frames of one memory cell of one module follow each other in `frames`, so that a backend reads the
// constants of that cell once for all of them.
struct FrameGroup {
  std::int32_t start;      // first entry in `frames`
  std::int32_t stop;       // one past the last
  std::int32_t table_row;  // row of `table`; -1: there are no constants
};

struct FrameCounts {
  std::int64_t lit;
  std::int64_t unmasked;
  std::int64_t intensity;  // units of 1/128
  std::int64_t photons;
  std::int64_t candidates;
};

struct CalibrateCall {
  const std::uint16_t* raw;     // (n_frames, planes, n_pixels)
  const std::int32_t* frames;   // (n_listed,) indices into raw
  const std::int32_t* places;   // (n_listed,) indices into what is written
  const FrameGroup* groups;     // (n_groups,)
  const float* table;           // (n_rows, table_planes, n_pixels), or null where constants are packed
  const std::uint16_t* packed;  // (n_rows, table_planes, math::kPackedHead + n_pixels) or null
  FrameCounts* counts;          // (n_places,), overwritten for every listed frame
  float* pixels;                // (n_places, n_pixels) or null
  std::uint8_t* stage;          // (n_places, n_pixels) or null, null exactly when pixels is
  std::uint32_t*
      candidates;  // (n_places, n_pixels / 32) or null, null where pixels is; bit p % 32 is pixel p
  std::int64_t n_frames, n_places, n_listed, n_groups, n_rows, n_pixels;
  int planes, table_planes;
  Encoding encoding;
  bool round_photons;
  math::PixelRules rules;
  Shifts shifts;  // added to the offsets of listed frames; none where neither array is there
};

// Promise: exact. n_pixels is a multiple of 8, and of 32 where candidates are written. Never synchronises,
// never allocates device memory.
void calibrate_count(const CalibrateCall& call, const Where& where);

}  // namespace shotsieve
