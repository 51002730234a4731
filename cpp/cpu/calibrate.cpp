// calibrate_count on the CPU: frames of one cell follow each other through tiles of pixels, so that the
// constants of a tile are read from memory once and stay in cache for all of them.
#include "../core/calibrate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bits.hpp"
#include "parallel.hpp"
#include "shifted.hpp"

namespace shotsieve {
namespace {

using math::PixelResult;
using math::PixelRules;

constexpr std::int64_t kTile = 16384;  // three planes of constants of a tile: 192 KB, within L2
constexpr std::int64_t kSpan = 256;    // calibrated while the same pixels of the next frame are fetched
constexpr std::int64_t kGroup = 64;    // the unit that is looked at again in a span with gain switches

// The words and constants of a run of pixels of one frame.
struct Span {
  const std::uint16_t* adc;
  const std::uint16_t* digital;
  const float* table;       // planes of this cell, at the first pixel of the span
  std::int64_t plane_step;  // floats from plane to plane
  const float* offsets;     // three of those planes, or what they are with shifts
  std::int64_t offset_step;
  float* pixels;  // null when only counts are wanted
  std::uint8_t* stage;
  std::int64_t n;

  const float* plane(int p) const { return table + p * plane_step; }
  const float* offset(int stage_of_it) const { return offsets + stage_of_it * offset_step; }
  Span part(std::int64_t first, std::int64_t count) const {
    return {adc + first,
            digital + first,
            table + first,
            plane_step,
            offsets + first,
            offset_step,
            pixels != nullptr ? pixels + first : nullptr,
            stage != nullptr ? stage + first : nullptr,
            count};
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
  void add(const PixelResult& r) {
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
};

// True when every pixel of the span is in high gain.
bool all_below_threshold(const Span& s) {
  const std::uint16_t* __restrict digital = s.digital;
  const float* __restrict threshold = s.plane(math::kThreshold0);
  int switched = 0;
  for (std::int64_t i = 0; i < s.n; ++i) {  // hot: threshold_scan
    switched |= static_cast<float>(digital[i]) > threshold[i] ? 1 : 0;
  }
  return switched == 0;
}

bool all_codes_zero(const Span& s) {
  const std::uint16_t* __restrict digital = s.digital;
  std::uint32_t seen = 0;
  for (std::int64_t i = 0; i < s.n; ++i) {  // hot: code_scan
    seen |= digital[i];
  }
  return seen == 0;
}

// Every pixel of the span is in Stage. False, and nothing counted, if the sums might have overflowed.
template <int Stage, bool Round, bool Photons, Output O>
bool uniform_loop(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  const std::uint16_t* __restrict adc = s.adc;
  const float* __restrict offset = s.offset(Stage);
  const float* __restrict gain = s.plane(math::kGain + Stage);
  float* __restrict pixels = s.pixels;
  std::uint8_t* __restrict stages = s.stage;
  const PixelRules r = rules;
  const std::int64_t n = s.n;
  SpanSums sums;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: uniform_loop
    float x = (static_cast<float>(adc[i]) - offset[i]) * gain[i];
    if (Stage == 1) x = math::lift_medium(x, Stage, r);
    const PixelResult p = math::measure_pixel<Round, Photons>(x, 0, r);
    if (O == Output::kPixels) {
      pixels[i] = p.value;
      stages[i] = static_cast<std::uint8_t>(Stage | p.flags);
    }
    sums.add<O>(p);
  }
  if (!sums.fits(n)) return false;
  sums.add_to(counts);
  return true;
}

// The span, in halves where its sums might overflow.
template <int Stage, bool Round, bool Photons, Output O>
void calibrate_uniform(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  if (uniform_loop<Stage, Round, Photons, O>(s, rules, counts)) return;
  calibrate_uniform<Stage, Round, Photons, O>(s.part(0, s.n / 2), rules, counts);
  calibrate_uniform<Stage, Round, Photons, O>(s.part(s.n / 2, s.n - s.n / 2), rules, counts);
}

// Any mixture of stages. Forced is a compile-time choice since the two planes exist only then.
template <Encoding E, bool Forced, bool Round, bool Photons, Output O>
bool mixed_loop(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  const std::uint16_t* __restrict adc = s.adc;
  const std::uint16_t* __restrict digital = s.digital;
  const float* __restrict threshold0 = s.plane(math::kThreshold0);
  const float* __restrict threshold1 = s.plane(math::kThreshold1);
  const float* __restrict offset0 = s.offset(0);
  const float* __restrict offset1 = s.offset(1);
  const float* __restrict offset2 = s.offset(2);
  const float* __restrict gain0 = s.plane(math::kGain);
  const float* __restrict gain1 = s.plane(math::kGain + 1);
  const float* __restrict gain2 = s.plane(math::kGain + 2);
  const float* __restrict medium_level = s.plane(Forced ? math::kForceMedium : math::kThreshold0);
  const float* __restrict high_level = s.plane(Forced ? math::kForceHigh : math::kThreshold0);
  float* __restrict pixels = s.pixels;
  std::uint8_t* __restrict stages = s.stage;
  const PixelRules r = rules;
  const std::int64_t n = s.n;
  SpanSums sums;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: mixed_loop
    const float a = static_cast<float>(adc[i]);
    int stage = 0;
    int flags = 0;
    if (E == Encoding::kThreshold) {
      stage = math::stage_by_threshold(static_cast<float>(digital[i]), threshold0[i], threshold1[i]);
    } else {
      stage = math::stage_by_code(digital[i]);
      flags = math::flags_of_code(digital[i], adc[i], r.fixed_stage);
    }
    if (Forced) stage = math::force_stage(stage, a, medium_level[i], high_level[i]);
    const float offset = math::select_stage(stage, offset0[i], offset1[i], offset2[i]);
    const float gain = math::select_stage(stage, gain0[i], gain1[i], gain2[i]);
    const float x = math::lift_medium((a - offset) * gain, stage, r);
    const PixelResult p = math::measure_pixel<Round, Photons>(x, flags, r);
    if (O == Output::kPixels) {
      pixels[i] = p.value;
      stages[i] = static_cast<std::uint8_t>(stage | p.flags);
    }
    sums.add<O>(p);
  }
  if (!sums.fits(n)) return false;
  sums.add_to(counts);
  return true;
}

template <Encoding E, bool Forced, bool Round, bool Photons, Output O>
void calibrate_mixed(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  if (mixed_loop<E, Forced, Round, Photons, O>(s, rules, counts)) return;
  calibrate_mixed<E, Forced, Round, Photons, O>(s.part(0, s.n / 2), rules, counts);
  calibrate_mixed<E, Forced, Round, Photons, O>(s.part(s.n / 2, s.n - s.n / 2), rules, counts);
}

// How the spans of a call are calibrated, chosen once per call.
struct Loops {
  bool (*all_high_gain)(const Span&);  // null: every span is in the fixed stage
  void (*uniform)(const Span&, const PixelRules&, FrameCounts&);
  void (*mixed)(const Span&, const PixelRules&, FrameCounts&);
};

template <Encoding E, bool Round, bool Photons, Output O>
Loops choose_loops(const CalibrateCall& c) {
  Loops loops{};
  loops.uniform = calibrate_uniform<0, Round, Photons, O>;
  loops.mixed = c.table_planes == math::kForcedPlanes ? calibrate_mixed<E, true, Round, Photons, O>
                                                      : calibrate_mixed<E, false, Round, Photons, O>;
  if (E == Encoding::kCode) {
    loops.all_high_gain = all_codes_zero;
    return loops;
  }
  if (c.rules.fixed_stage < 0) loops.all_high_gain = all_below_threshold;
  if (c.rules.fixed_stage == 1) loops.uniform = calibrate_uniform<1, Round, Photons, O>;
  if (c.rules.fixed_stage == 2) loops.uniform = calibrate_uniform<2, Round, Photons, O>;
  return loops;
}

template <Encoding E, bool Round, bool Photons>
Loops choose_loops(const CalibrateCall& c) {
  if (c.pixels != nullptr) return choose_loops<E, Round, Photons, Output::kPixels>(c);
  return std::isnan(c.rules.candidate_threshold)
             ? choose_loops<E, Round, Photons, Output::kCounts>(c)
             : choose_loops<E, Round, Photons, Output::kCandidateCounts>(c);
}

template <Encoding E, bool Round>
Loops choose_loops(const CalibrateCall& c) {
  return c.rules.to_photon > 0.0f ? choose_loops<E, Round, true>(c) : choose_loops<E, Round, false>(c);
}

template <Encoding E>
Loops choose_loops(const CalibrateCall& c) {
  return c.round_photons ? choose_loops<E, true>(c) : choose_loops<E, false>(c);
}

Loops choose_loops(const CalibrateCall& c) {
  return c.encoding == Encoding::kCode ? choose_loops<Encoding::kCode>(c)
                                       : choose_loops<Encoding::kThreshold>(c);
}

// Nearly every span is in high gain throughout and reads three planes of constants instead of eight. With
// gain codes and a fixed lower stage no span is taken for granted, since a code 0 is then wrong.
// `first` is the first pixel of the span in its frame.
void calibrate_span(const Span& plain, const Loops& loops, const CalibrateCall& c, std::int64_t frame,
                    std::int64_t first) {
  FrameCounts& counts = c.counts[frame];
  alignas(64) float shifted[3 * kSpan];
  Span s = plain;
  const auto shift = [&](int first_stage, int last_stage) {
    if (!c.shifts.any()) return;
    for (int g = first_stage; g <= last_stage; ++g) {
      cpu::shifted_offsets(c.shifts, frame, c.n_pixels, first, s.n, plain.offset(g), shifted + g * kSpan);
    }
    s.offsets = shifted;
    s.offset_step = kSpan;
  };
  if (loops.all_high_gain == nullptr) {
    shift(c.rules.fixed_stage, c.rules.fixed_stage);
    loops.uniform(s, c.rules, counts);
    return;
  }
  const bool high_gain_expected = c.rules.fixed_stage <= 0;
  if (high_gain_expected && loops.all_high_gain(s)) {
    shift(0, 0);
    loops.uniform(s, c.rules, counts);
    return;
  }
  shift(0, 2);
  for (std::int64_t at = 0; at < s.n; at += kGroup) {
    const Span group = s.part(at, std::min(kGroup, s.n - at));
    const bool high_gain = high_gain_expected && loops.all_high_gain(group);
    (high_gain ? loops.uniform : loops.mixed)(group, c.rules, counts);
  }
}

// Counts the candidates among the written pixels of a span, which are still in cache, and writes their bits
// where those are wanted; spans are whole words then.
void mark_candidates(const CalibrateCall& c, const Span& s, FrameCounts& counts) {
  const float threshold = c.rules.candidate_threshold;
  std::uint32_t unused[kSpan / 32];
  std::uint32_t* words = c.candidates != nullptr ? c.candidates + (s.pixels - c.pixels) / 32 : unused;
  std::int64_t i = 0;
  std::int64_t found = 0;
  for (; i + 32 <= s.n; i += 32) {
    const std::uint32_t word = cpu::candidate_word(s.pixels + i, threshold);
    found += __builtin_popcount(word);
    words[i / 32] = word;
  }
  for (; i < s.n; ++i) found += s.pixels[i] >= threshold ? 1 : 0;
  counts.candidates += found;
}

void mark_no_constants(const CalibrateCall& c, std::int64_t frame) {
  c.counts[frame] = FrameCounts{};
  if (c.pixels == nullptr) return;
  std::fill_n(c.pixels + frame * c.n_pixels, c.n_pixels, std::numeric_limits<float>::quiet_NaN());
  std::fill_n(c.stage + frame * c.n_pixels, c.n_pixels, static_cast<std::uint8_t>(math::kNoConstants));
  if (c.candidates == nullptr) return;
  std::fill_n(c.candidates + frame * (c.n_pixels / 32), c.n_pixels / 32, std::uint32_t{0});
}

// The words of one tile of one frame.
Span tile_of(const CalibrateCall& c, const float* table, std::int64_t frame, std::int64_t first) {
  const std::uint16_t* raw = c.raw + frame * c.planes * c.n_pixels;
  const Span whole{raw,
                   raw + (c.planes - 1) * c.n_pixels,
                   table,
                   c.n_pixels,
                   table + math::kOffset * c.n_pixels,
                   c.n_pixels,
                   c.pixels != nullptr ? c.pixels + frame * c.n_pixels : nullptr,
                   c.stage != nullptr ? c.stage + frame * c.n_pixels : nullptr,
                   c.n_pixels};
  return whole.part(first, std::min(kTile, c.n_pixels - first));
}

// The next frame of a cell lies megabytes away, where no hardware prefetcher follows: asking for its words
// while this frame is calibrated saves a quarter of the time.
void prefetch(const Span& s, bool constants_too) {
  constexpr std::int64_t kLine = 64;
  for (std::int64_t i = 0; i < s.n; i += kLine / 2) {
    __builtin_prefetch(s.adc + i, 0, 2);
    __builtin_prefetch(s.digital + i, 0, 2);
  }
  if (!constants_too) return;
  for (const int plane : {int{math::kThreshold0}, int{math::kOffset}, int{math::kGain}}) {
    for (std::int64_t i = 0; i < s.n; i += kLine / 4) __builtin_prefetch(s.plane(plane) + i, 0, 2);
  }
}

// Calibrates a tile of one frame, and fetches what comes after it.
void calibrate_tile(const CalibrateCall& c, const Loops& loops, std::int64_t frame, std::int64_t first,
                    const Span& tile, const Span& next, bool new_constants) {
  const bool mark =
      c.candidates != nullptr || (c.pixels != nullptr && !std::isnan(c.rules.candidate_threshold));
  for (std::int64_t at = 0; at < tile.n; at += kSpan) {
    if (at < next.n) prefetch(next.part(at, std::min(kSpan, next.n - at)), new_constants);
    const Span span = tile.part(at, std::min(kSpan, tile.n - at));
    calibrate_span(span, loops, c, frame, first + at);
    if (mark) mark_candidates(c, span, c.counts[frame]);
  }
}

void calibrate_group(const CalibrateCall& c, const Loops& loops, const FrameGroup& group) {
  for (std::int32_t k = group.start; k < group.stop; ++k) {
    if (group.table_row < 0) {
      mark_no_constants(c, c.frames[k]);
    } else {
      c.counts[c.frames[k]] = FrameCounts{};
    }
  }
  if (group.table_row < 0 || group.start == group.stop) return;
  const float* table = c.table + std::int64_t{group.table_row} * c.table_planes * c.n_pixels;
  for (std::int64_t first = 0; first < c.n_pixels; first += kTile) {
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      // After the last frame comes the next tile of the first one.
      const bool last = k + 1 == group.stop;
      const std::int64_t next_first = last ? std::min(first + kTile, c.n_pixels) : first;
      const Span tile = tile_of(c, table, c.frames[k], first);
      const Span next = tile_of(c, table, c.frames[last ? group.start : k + 1], next_first);
      calibrate_tile(c, loops, c.frames[k], first, tile, next, last);
    }
  }
}

}  // namespace

void calibrate_count(const CalibrateCall& c, const Where& where) {
  const Loops loops = choose_loops(c);
  cpu::parallel_for(c.n_groups, where.threads,
                    [&](std::int64_t g) { calibrate_group(c, loops, c.groups[g]); });
}

}  // namespace shotsieve
