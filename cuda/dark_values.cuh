// Values of eight pixels of a frame that are in high gain, for stages that look for what they share.
#pragma once

#include <cstdint>

#include "../cpp/core/frame_words.hpp"
#include "../cpp/math/common_mode.hpp"
#include "eight.cuh"
#include "portable.cuh"

namespace shotsieve::device {

struct EightInts {
  int value[kPixelsPerThread];
};

// Whether pixel i of a thread is in high gain.
template <class Constants>
__device__ inline bool in_high_gain(const FrameWords& r, const Constants& constants, int i, int adc,
                                    int digital) {
  if (r.encoding == Encoding::kCode) return r.fixed_stage <= 0 && digital == 0;
  if (r.fixed_stage >= 0) return r.fixed_stage == 0;
  const float level = static_cast<float>(digital);
  if (!(level > constants.one(math::kThreshold0, i))) return true;
  if (r.table_planes != math::kForcedPlanes) return false;
  const int stage = math::stage_by_threshold(level, constants.one(math::kThreshold0, i),
                                             constants.one(math::kThreshold1, i));
  return math::force_stage(stage, static_cast<float>(adc), constants.one(math::kForceMedium, i),
                           constants.one(math::kForceHigh, i)) == 0;
}

// adc - offset of eight pixels in 1/256 ADU, kNeverDark where a pixel is not in high gain or bad.
template <bool Packed>
__device__ inline EightInts load_values(const FrameWords& r, std::int64_t frame, std::int64_t row,
                                        std::int64_t pixel) {
  const std::uint16_t* words = r.words(frame) + pixel;
  const CellConstants<Packed> constants = constants_of_cell<Packed>(r, row, pixel);
  const EightWords adc = load_words(words);
  const EightWords digital = load_words(words + (r.planes - 1) * r.n_pixels);
  const EightFloats offset = constants.eight(math::kOffset);
  const EightFloats gain = constants.eight(math::kGain);
  EightInts result;
  for (int i = 0; i < kPixelsPerThread; ++i) {
    const bool usable = math::usable_gain(gain.value[i]) != 0 &&
                        in_high_gain(r, constants, i, adc.value[i], digital.value[i]);
    const int value = math::offset_units(static_cast<float>(adc.value[i]), offset.value[i]);
    result.value[i] = usable ? value : math::kNeverDark;
  }
  return result;
}

}  // namespace shotsieve::device
