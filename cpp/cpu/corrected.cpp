// Frames that are calibrated already: no constants are shared, so that every frame is read from end to end.
#include "corrected.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate_ends.hpp"
#include "calibrate_span.hpp"
#include "parallel.hpp"

namespace shotsieve::cpu {
namespace {

using math::PixelResult;
using math::PixelRules;

// A run of pixels of one frame.
struct CorrectedSpan {
  const float* value;
  const std::uint32_t* mask;
  const std::uint8_t* gain;
  float* pixels;  // null when only counts are wanted
  std::uint8_t* stage;
  std::int64_t n;

  CorrectedSpan part(std::int64_t first, std::int64_t count) const {
    return {value + first,
            mask + first,
            gain + first,
            pixels != nullptr ? pixels + first : nullptr,
            stage != nullptr ? stage + first : nullptr,
            count};
  }
};

CorrectedSpan span_of(const CalibrateCall& c, const Listed& at) {
  const std::uint16_t* raw = c.raw + at.frame * c.planes * c.n_pixels;
  return {reinterpret_cast<const float*>(raw + math::kCorrectedValue * c.n_pixels),
          reinterpret_cast<const std::uint32_t*>(raw + math::kCorrectedMask * c.n_pixels),
          reinterpret_cast<const std::uint8_t*>(raw + math::kCorrectedGain * c.n_pixels),
          c.pixels != nullptr ? c.pixels + at.place * c.n_pixels : nullptr,
          c.stage != nullptr ? c.stage + at.place * c.n_pixels : nullptr,
          c.n_pixels};
}

// False, and nothing counted, if the sums might have overflowed.
template <bool Round, bool Photons, Output O>
bool corrected_loop(const CorrectedSpan& s, const PixelRules& rules, FrameCounts& counts) {
  const float* __restrict value = s.value;
  const std::uint32_t* __restrict mask = s.mask;
  const std::uint8_t* __restrict gain = s.gain;
  float* __restrict pixels = s.pixels;
  std::uint8_t* __restrict stages = s.stage;
  const PixelRules r = rules;
  const std::int64_t n = s.n;
  SpanSums sums;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: corrected_loop
    const PixelResult p =
        math::measure_pixel<Round, Photons>(math::corrected_value(value[i], mask[i], r), 0, r);
    if (O == Output::kPixels) {
      pixels[i] = p.value;
      stages[i] = static_cast<std::uint8_t>((gain[i] & math::kStageBits) | p.flags);
    }
    sums.add<O>(p);
  }
  return sums.settle(n, counts);
}

template <bool Round, bool Photons, Output O>
void count_span(const CorrectedSpan& s, const PixelRules& rules, FrameCounts& counts) {
  in_halves<CorrectedSpan, corrected_loop<Round, Photons, O>>(s, rules, counts);
}

using Loop = void (*)(const CorrectedSpan&, const PixelRules&, FrameCounts&);

template <bool Round, bool Photons>
Loop choose_loop(const CalibrateCall& c) {
  if (c.pixels != nullptr) return count_span<Round, Photons, Output::kPixels>;
  return std::isnan(c.rules.candidate_threshold) ? count_span<Round, Photons, Output::kCounts>
                                                 : count_span<Round, Photons, Output::kCandidateCounts>;
}

Loop choose_loop(const CalibrateCall& c) {
  const bool photons = c.rules.to_photon > 0.0f;
  if (c.round_photons) return photons ? choose_loop<true, true>(c) : choose_loop<true, false>(c);
  return photons ? choose_loop<false, true>(c) : choose_loop<false, false>(c);
}

}  // namespace

void count_corrected(const CalibrateCall& c, const Where& where) {
  const Loop loop = choose_loop(c);
  const bool mark = marks_candidates(c);
  parallel_for(c.n_groups, where.threads, [&](std::int64_t g) {
    const FrameGroup& group = c.groups[g];
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      const Listed here = listed(c, k);
      if (group.table_row < 0) {
        mark_no_constants(c, here.place);
        continue;
      }
      const CorrectedSpan whole = span_of(c, here);
      FrameCounts counts{};
      for (std::int64_t at = 0; at < c.n_pixels; at += kSpan) {
        const CorrectedSpan span = whole.part(at, std::min(kSpan, c.n_pixels - at));
        loop(span, c.rules, counts);
        if (mark) mark_candidates(c, span.pixels, span.n, counts);
      }
      c.counts[here.place] = counts;
    }
  });
}

}  // namespace shotsieve::cpu
