// Spans in which some pixels have left high gain: the constants of the stage that each pixel is in are put
// side by side, so that one loop calibrates all of them.
#pragma once

#include <cstdint>
#include <cstring>

#include "calibrate_ends.hpp"
#include "calibrate_span.hpp"

namespace shotsieve::cpu {

// What is known of a pixel before it is calibrated.
struct Found {
  int adc;
  int marks;  // the stage, and flags of its words
};

// Forced is a compile-time choice since the two planes exist only then.
template <Encoding E, bool Forced>
Found find_stage(const Span& s, const math::PixelRules& r, std::int64_t i) {
  int adc = s.adc[i];
  int stage = 0;
  int flags = 0;
  if (E == Encoding::kThreshold) {
    stage = math::stage_by_threshold(static_cast<float>(s.digital[i]), s.plane(math::kThreshold0)[i],
                                     s.plane(math::kThreshold1)[i]);
  } else if (E == Encoding::kCode || E == Encoding::kWord) {
    const int code = E == Encoding::kCode ? s.digital[i] : math::code_of_word(adc, r.words);
    if (E == Encoding::kWord) adc = math::adc_of_word(adc, r.words);
    stage = math::stage_by_code(code, r.words);
    flags = math::flags_of_code(code, adc, r.fixed_stage, r.words);
  } else {
    const int high = math::adc_of_word(adc, r.words);
    const int medium = math::adc_of_word(s.words(1)[i], r.words);
    const int low = math::adc_of_word(s.digital[i], r.words);
    stage = math::stage_of_parallel(static_cast<float>(high), static_cast<float>(medium),
                                    s.plane(math::kThreshold0)[i], s.plane(math::kThreshold1)[i]);
    adc = stage == 2 ? low : stage == 1 ? medium : high;
  }
  if (Forced) {
    stage = math::force_stage(stage, static_cast<float>(adc), s.plane(math::kForceMedium)[i],
                              s.plane(math::kForceHigh)[i]);
  }
  return {adc, stage | flags};
}

// One of three by bits: a choice between loads would be taken for a branch, and not become vector code.
inline float pick(int stage, float high, float medium, float low) {
  std::uint32_t of[3];
  std::memcpy(&of[0], &high, sizeof(float));
  std::memcpy(&of[1], &medium, sizeof(float));
  std::memcpy(&of[2], &low, sizeof(float));
  const std::uint32_t is_medium = stage == 1 ? ~0u : 0u;
  const std::uint32_t is_low = stage == 2 ? ~0u : 0u;
  const std::uint32_t bits = (of[0] & ~(is_medium | is_low)) | (of[1] & is_medium) | (of[2] & is_low);
  float picked;
  std::memcpy(&picked, &bits, sizeof(float));
  return picked;
}

// A run of pixels with their constants beside them.
struct ChosenSpan {
  const float* offset;
  const float* gain;
  const std::uint16_t* adc;
  const std::uint8_t* marks;
  float* pixels;  // null when only counts are wanted
  std::uint8_t* stage;
  std::int64_t n;

  ChosenSpan part(std::int64_t first, std::int64_t count) const {
    return {offset + first,
            gain + first,
            adc + first,
            marks + first,
            pixels != nullptr ? pixels + first : nullptr,
            stage != nullptr ? stage + first : nullptr,
            count};
  }
};

// Signals of a span, and the constants of the stage that each pixel is in.
struct Chosen {
  alignas(64) float offset[kSpan];
  alignas(64) float gain[kSpan];
  alignas(64) std::uint16_t adc[kSpan];
  alignas(64) std::uint8_t marks[kSpan];  // of Found

  ChosenSpan span(const Span& s) const { return {offset, gain, adc, marks, s.pixels, s.stage, s.n}; }
};

// The loops are two, and the choice one of bits, so that they are vector code on every level.
template <Encoding E, bool Forced>
void choose(const Span& span, const math::PixelRules& rules, Chosen& to) {
  const Span s = span;
  const math::PixelRules r = rules;
  std::uint16_t* __restrict adc = to.adc;
  std::uint8_t* __restrict marks = to.marks;
  for (std::int64_t i = 0; i < s.n; ++i) {  // hot: stage_loop
    const Found found = find_stage<E, Forced>(s, r, i);
    adc[i] = static_cast<std::uint16_t>(found.adc);
    marks[i] = static_cast<std::uint8_t>(found.marks);
  }
  float* __restrict offset = to.offset;
  float* __restrict gain = to.gain;
  const float* __restrict offset0 = s.offset(0);
  const float* __restrict offset1 = s.offset(1);
  const float* __restrict offset2 = s.offset(2);
  const float* __restrict gain0 = s.plane(math::kGain);
  const float* __restrict gain1 = s.plane(math::kGain + 1);
  const float* __restrict gain2 = s.plane(math::kGain + 2);
  for (std::int64_t i = 0; i < s.n; ++i) {  // hot: constant_loop
    const int stage = marks[i] & math::kStageBits;
    offset[i] = pick(stage, offset0[i], offset1[i], offset2[i]);
    gain[i] = pick(stage, gain0[i], gain1[i], gain2[i]);
  }
}

}  // namespace shotsieve::cpu
