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

// Whether a pixel is in high gain; `plane` are the constants of its cell at the pixel.
__device__ inline bool in_high_gain(const FrameWords& r, const float* plane, int adc, int digital) {
  if (r.encoding == Encoding::kCode) return r.fixed_stage <= 0 && digital == 0;
  if (r.fixed_stage >= 0) return r.fixed_stage == 0;
  const float level = static_cast<float>(digital);
  if (!(level > plane[math::kThreshold0 * r.n_pixels])) return true;
  if (r.table_planes != math::kForcedPlanes) return false;
  const int stage = math::stage_by_threshold(level, plane[math::kThreshold0 * r.n_pixels],
                                             plane[math::kThreshold1 * r.n_pixels]);
  return math::force_stage(stage, static_cast<float>(adc), plane[math::kForceMedium * r.n_pixels],
                           plane[math::kForceHigh * r.n_pixels]) == 0;
}

// adc - offset of eight pixels in 1/256 ADU, kNeverDark where a pixel is not in high gain or bad.
__device__ inline EightInts load_values(const FrameWords& r, std::int64_t frame, std::int64_t row,
                                        std::int64_t pixel) {
  const std::uint16_t* words = r.words(frame) + pixel;
  const float* table = r.table + row * r.table_planes * r.n_pixels + pixel;
  const EightWords adc = load_words(words);
  const EightWords digital = load_words(words + (r.planes - 1) * r.n_pixels);
  const EightFloats offset = load_floats(table + math::kOffset * r.n_pixels);
  const EightFloats gain = load_floats(table + math::kGain * r.n_pixels);
  EightInts result;
  for (int i = 0; i < kPixelsPerThread; ++i) {
    const bool usable =
        math::usable_gain(gain.value[i]) != 0 && in_high_gain(r, table + i, adc.value[i], digital.value[i]);
    const int value = math::offset_units(static_cast<float>(adc.value[i]), offset.value[i]);
    result.value[i] = usable ? value : math::kNeverDark;
  }
  return result;
}

}  // namespace shotsieve::device
