// What every way of calibrating ends with: the bits of candidates, and frames that cannot be calibrated.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../core/calibrate.hpp"
#include "bits.hpp"

namespace shotsieve::cpu {

constexpr std::int64_t kSpan = 256;  // calibrated while the same pixels of the next frame are fetched

// A listed frame: where it lies in raw, and where what comes of it goes.
struct Listed {
  std::int64_t frame, place;
};

inline Listed listed(const CalibrateCall& c, std::int64_t k) { return {c.frames[k], c.places[k]}; }

// Whether candidates are looked for among the pixels that are written.
inline bool marks_candidates(const CalibrateCall& c) {
  return c.candidates != nullptr || (c.pixels != nullptr && !std::isnan(c.rules.candidate_threshold));
}

// Counts the candidates among the n written pixels of a span, which are still in cache, and writes their bits
// where those are wanted; spans are whole words then.
inline void mark_candidates(const CalibrateCall& c, const float* pixels, std::int64_t n,
                            FrameCounts& counts) {
  const float threshold = c.rules.candidate_threshold;
  std::uint32_t unused[kSpan / 32];
  std::uint32_t* words = c.candidates != nullptr ? c.candidates + (pixels - c.pixels) / 32 : unused;
  std::int64_t i = 0;
  std::int64_t found = 0;
  for (; i + 32 <= n; i += 32) {
    const std::uint32_t word = candidate_word(pixels + i, threshold);
    found += __builtin_popcount(word);
    words[i / 32] = word;
  }
  for (; i < n; ++i) found += pixels[i] >= threshold ? 1 : 0;
  counts.candidates += found;
}

inline void mark_no_constants(const CalibrateCall& c, std::int64_t place) {
  c.counts[place] = FrameCounts{};
  if (c.pixels == nullptr) return;
  std::fill_n(c.pixels + place * c.n_pixels, c.n_pixels, std::numeric_limits<float>::quiet_NaN());
  std::fill_n(c.stage + place * c.n_pixels, c.n_pixels, static_cast<std::uint8_t>(math::kNoConstants));
  if (c.candidates == nullptr) return;
  std::fill_n(c.candidates + place * (c.n_pixels / 32), c.n_pixels / 32, std::uint32_t{0});
}

}  // namespace shotsieve::cpu
