// The call that every backend of baseline takes.
#pragma once

#include <cstdint>

#include "../math/baseline.hpp"
#include "frame_words.hpp"
#include "where.hpp"

namespace shotsieve {

struct BaselineCall {
  FrameWords words;
  const std::int32_t* frames;  // (n_listed,) indices into raw
  const FrameGroup* groups;    // (n_groups,)
  const std::int32_t* taps;   // (n_rows, 2, kWavelets, n_taps): half a wavelet each, from its middle outwards
  const std::int32_t* reach;  // (n_rows, 2, kWavelets): the last tap that counts
  std::int32_t* shift;        // (n_frames, n_tiles); all of a listed frame with constants become its baseline
  std::int64_t n_listed, n_groups, n_taps, n_tiles;
  int lowest;  // a peak below it is none, 1/256 ADU
};

// The place of the noise peak of each frame, 0 where there is none. Promise: exact. Never synchronises, never
// allocates device memory.
void baseline(const BaselineCall& call, const Where& where);

}  // namespace shotsieve
