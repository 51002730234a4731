// A run of pixels of one frame: its words and constants, and the sums over it.
#pragma once

#include <cstdint>

#include "../core/calibrate.hpp"

namespace shotsieve::cpu {

// The words and constants of a run of pixels of one frame.
struct Span {
  const std::uint16_t* adc;
  const std::uint16_t* digital;
  std::int64_t word_step;   // words from plane to plane
  const float* table;       // planes of this cell, at the first pixel of the span
  std::int64_t plane_step;  // floats from plane to plane
  const float* offsets;     // those planes that are offsets, or what they are with shifts
  std::int64_t offset_step;
  float* pixels;  // null when only counts are wanted
  std::uint8_t* stage;
  std::int64_t n;
  const std::uint16_t* levels;  // thresholds that digital levels compare with as they are, or null

  const float* plane(int p) const { return table + p * plane_step; }
  const float* offset(int stage_of_it) const { return offsets + stage_of_it * offset_step; }
  void set_table(const float* planes) {
    offsets = planes + (offsets - table);
    table = planes;
  }
  // Words of a plane between the first and the last one.
  const std::uint16_t* words(int p) const { return adc + p * word_step; }
  Span part(std::int64_t first, std::int64_t count) const {
    return {adc + first,
            digital + first,
            word_step,
            table + first,
            plane_step,
            offsets + first,
            offset_step,
            pixels != nullptr ? pixels + first : nullptr,
            stage != nullptr ? stage + first : nullptr,
            count,
            levels != nullptr ? levels + first : nullptr};
  }
};

// What a loop makes besides the counts that there always are. Candidates are a choice since they cost up to a
// tenth of the time; where pixels are written they are counted with their bits, afterwards.
enum class Output { kCounts, kCandidateCounts, kPixels };

// Sums of a span in 32 bits, which keeps the loops twice as wide as 64-bit sums would. `seen` collects the
// bits of every summand, so that afterwards it is known whether the sums could have overflowed.
struct SpanSums {
  // Unsigned, since they may wrap before `fits` says that they are of no use.
  std::uint32_t tally = 0, intensity = 0, photons = 0, candidates = 0;
  std::int32_t seen = 0;

  template <Output O>
  void add(const math::PixelResult& r) {
    if (O == Output::kCandidateCounts) candidates += static_cast<std::uint32_t>(r.candidate);
    tally += static_cast<std::uint32_t>(r.tally);
    intensity += static_cast<std::uint32_t>(r.intensity);
    photons += static_cast<std::uint32_t>(r.photons);
    seen |= r.intensity ^ (r.intensity >> 31);
    seen |= r.photons;
  }
  // True for a single pixel in any case: each summand is below 2^31.
  bool fits(std::int64_t n) const { return std::int64_t{seen} * n + n <= std::int64_t{1} << 31; }
  void add_to(FrameCounts& counts) const {
    counts.lit += tally / math::kLitUnit;
    counts.unmasked += tally % math::kLitUnit;
    counts.intensity += static_cast<std::int32_t>(intensity);
    counts.photons += static_cast<std::int32_t>(photons);
    counts.candidates += candidates;
  }
  // False, and nothing added, if the sums over n pixels might have overflowed.
  bool settle(std::int64_t n, FrameCounts& counts) const {
    if (!fits(n)) return false;
    add_to(counts);
    return true;
  }
};

// Loop over the span, in halves where its sums might overflow.
template <class S, bool (*Loop)(const S&, const math::PixelRules&, FrameCounts&)>
void in_halves(const S& s, const math::PixelRules& rules, FrameCounts& counts) {
  if (Loop(s, rules, counts)) return;
  in_halves<S, Loop>(s.part(0, s.n / 2), rules, counts);
  in_halves<S, Loop>(s.part(s.n / 2, s.n - s.n / 2), rules, counts);
}

}  // namespace shotsieve::cpu
