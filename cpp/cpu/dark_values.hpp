// Values of the pixels of a frame that are in high gain, for stages that look for what they share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../core/frame_words.hpp"
#include "../math/common_mode.hpp"
#include "packed.hpp"

namespace shotsieve::cpu {

// How it is known that a pixel is in high gain.
enum class HighGain { kAlways, kNever, kThreshold, kForced, kCode };

// A run of pixels of one frame.
struct Run {
  const std::uint16_t* adc;
  const std::uint16_t* digital;
  const float* table;  // of its cell, at the first pixel
  std::int64_t plane_step;

  const float* plane(int p) const { return table + p * plane_step; }
};

// adc - offset of pixels in high gain with a good gain, else kNeverDark.
template <HighGain How>
void values_of(const Run& r, std::int64_t n, std::int32_t* __restrict out) {
  const std::uint16_t* __restrict adc = r.adc;
  const std::uint16_t* __restrict digital = r.digital;
  const float* __restrict offset = r.plane(math::kOffset);
  const float* __restrict gain = r.plane(math::kGain);
  const float* __restrict threshold0 = r.plane(math::kThreshold0);
  const float* __restrict threshold1 = r.plane(math::kThreshold1);
  const float* __restrict medium = r.plane(How == HighGain::kForced ? math::kForceMedium : math::kGain);
  const float* __restrict high = r.plane(How == HighGain::kForced ? math::kForceHigh : math::kGain);
  for (std::int64_t i = 0; i < n; ++i) {  // hot: dark_values
    const float a = static_cast<float>(adc[i]);
    int usable = math::usable_gain(gain[i]);
    if (How == HighGain::kNever) usable = 0;
    if (How == HighGain::kCode) usable &= digital[i] == 0 ? 1 : 0;
    if (How == HighGain::kThreshold) usable &= static_cast<float>(digital[i]) > threshold0[i] ? 0 : 1;
    if (How == HighGain::kForced) {
      const int stage =
          math::stage_by_threshold(static_cast<float>(digital[i]), threshold0[i], threshold1[i]);
      usable &= math::force_stage(stage, a, medium[i], high[i]) == 0 ? 1 : 0;
    }
    const int value = math::offset_units(a, offset[i]);
    out[i] = usable != 0 ? value : math::kNeverDark;
  }
}

using Values = void (*)(const Run&, std::int64_t, std::int32_t* __restrict);

inline Values choose_values(const FrameWords& r) {
  if (r.encoding == Encoding::kCode) {
    return r.fixed_stage > 0 ? values_of<HighGain::kNever> : values_of<HighGain::kCode>;
  }
  if (r.fixed_stage >= 0) {
    return r.fixed_stage == 0 ? values_of<HighGain::kAlways> : values_of<HighGain::kNever>;
  }
  return r.table_planes == math::kForcedPlanes ? values_of<HighGain::kForced>
                                               : values_of<HighGain::kThreshold>;
}

// Constants of a run of pixels of a cell: where they lie in the table, or unpacked.
struct RunConstants {
  const float* first;
  std::int64_t plane_step;
};

// Floats of the room that constants_of needs for n pixels: none where constants are not packed.
inline std::size_t unpacked_room(const FrameWords& r, std::int64_t n) {
  return r.packed != nullptr ? static_cast<std::size_t>(r.table_planes * n) : 0;
}

// Constants of n pixels; packed ones are unpacked to `room`, those planes alone that values_of reads.
inline RunConstants constants_of(const FrameWords& r, std::int64_t row, std::int64_t pixel, std::int64_t n,
                                 float* room) {
  if (r.packed == nullptr) return {r.table + row * r.table_planes * r.n_pixels + pixel, r.n_pixels};
  std::uint32_t read = 1u << math::kOffset | 1u << math::kGain;
  if (r.encoding == Encoding::kThreshold && r.fixed_stage < 0) {
    read |= 1u << math::kThreshold0;
    if (r.table_planes == math::kForcedPlanes) {
      read |= 1u << math::kThreshold1 | 1u << math::kForceMedium | 1u << math::kForceHigh;
    }
  }
  const PackedPlanes source = packed_planes(r.packed, row, r.table_planes, r.n_pixels);
  for (; read != 0; read &= read - 1) {
    const int plane = __builtin_ctz(read);
    source.unpack(plane, pixel, n, room + plane * n);
  }
  return {room, n};
}

inline Run run_of(const FrameWords& r, std::int64_t frame, std::int64_t pixel,
                  const RunConstants& constants) {
  const std::uint16_t* words = r.words(frame) + pixel;
  return {words, words + (r.planes - 1) * r.n_pixels, constants.first, constants.plane_step};
}

// Values of n pixels of a frame; the room is for kUnpacked pixels.
constexpr std::int64_t kUnpacked = 512;  // pixels whose packed constants are unpacked at once: within L1
inline void values_of_cell(const FrameWords& r, Values values, std::int64_t frame, std::int64_t row,
                           std::int64_t pixel, std::int64_t n, float* room, std::int32_t* out) {
  const std::int64_t most = r.packed != nullptr ? kUnpacked : n;
  for (std::int64_t at = 0; at < n; at += most) {
    const std::int64_t some = std::min(most, n - at);
    const RunConstants constants = constants_of(r, row, pixel + at, some, room);
    values(run_of(r, frame, pixel + at, constants), some, out + at);
  }
}

}  // namespace shotsieve::cpu
