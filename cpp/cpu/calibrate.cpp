// calibrate_count on the CPU: frames of one cell follow each other through tiles of pixels, so that the
// constants of a tile are read from memory once and stay in cache for all of them.
#include "../core/calibrate.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate_ends.hpp"
#include "calibrate_span.hpp"
#include "cell_constants.hpp"
#include "corrected.hpp"
#include "parallel.hpp"
#include "shifted.hpp"

namespace shotsieve {
namespace {

using cpu::CellConstants;
using cpu::in_halves;
using cpu::kSpan;
using cpu::Output;
using cpu::Span;
using cpu::SpanSums;
using cpu::UnpackedTile;
using math::PixelResult;
using math::PixelRules;

constexpr std::int64_t kGroup = 64;  // the unit that is looked at again in a span with gain switches

// True when no digital level is above that of its pixel; 16 bits throughout, so that vectors hold the most.
bool all_below_level(const std::uint16_t* __restrict digital, const std::uint16_t* __restrict level,
                     std::int64_t n) {
  std::uint16_t above = 0;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: level_scan
    above |= static_cast<std::uint16_t>(std::max(digital[i], level[i]) ^ level[i]);
  }
  return above == 0;
}

// True when every pixel of the span is in high gain.
bool all_below_threshold(const Span& s, const PixelRules&) {
  if (s.levels != nullptr) return all_below_level(s.digital, s.levels, s.n);
  const std::uint16_t* __restrict digital = s.digital;
  const float* __restrict threshold = s.plane(math::kThreshold0);
  int switched = 0;
  for (std::int64_t i = 0; i < s.n; ++i) {  // hot: threshold_scan
    switched |= static_cast<float>(digital[i]) > threshold[i] ? 1 : 0;
  }
  return switched == 0;
}

std::uint32_t bits_seen(const std::uint16_t* __restrict words, std::int64_t n) {
  std::uint32_t seen = 0;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: code_scan
    seen |= words[i];
  }
  return seen;
}

bool all_codes_zero(const Span& s, const PixelRules&) { return bits_seen(s.digital, s.n) == 0; }

// Nothing above the signal either, so that the words are the signals.
bool all_words_plain(const Span& s, const PixelRules& rules) {
  return bits_seen(s.adc, s.n) >> rules.words.adc_bits == 0;
}

bool all_within_high(const Span& s, const PixelRules& rules) {
  const std::uint16_t* __restrict adc = s.adc;
  const float* __restrict threshold = s.plane(math::kThreshold0);
  const math::WordRules words = rules.words;
  std::uint32_t seen = 0;
  int left = 0;
  for (std::int64_t i = 0; i < s.n; ++i) {  // hot: parallel_scan
    seen |= adc[i];
    left |= static_cast<float>(math::adc_of_word(adc[i], words)) > threshold[i] ? 1 : 0;
  }
  return left == 0 && seen >> words.adc_bits == 0;
}

// Which stage all pixels of a span are in: a gain stage, or the only one of a table with one stage.
enum Uniform : int { kHigh = 0, kMedium = 1, kLow = 2, kOnly = 3 };

// Every pixel of the span is in Stage. False, and nothing counted, if the sums might have overflowed.
template <Uniform U, bool Round, bool Photons, Output O>
bool uniform_loop(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  constexpr int Stage = U == kOnly ? 0 : U;
  const std::uint16_t* __restrict adc = s.adc;
  const float* __restrict offset = s.offset(Stage);
  const float* __restrict gain = s.plane(U == kOnly ? math::kSingleGain : math::kGain + Stage);
  float* __restrict pixels = s.pixels;
  std::uint8_t* __restrict stages = s.stage;
  const PixelRules r = rules;
  const std::int64_t n = s.n;
  SpanSums sums;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: uniform_loop
    const int word = U == kOnly ? math::adc_of_single(adc[i], r.words) : adc[i];
    float x = (static_cast<float>(word) - offset[i]) * gain[i];
    if (Stage == 1) x = math::lift_medium(x, Stage, r);
    const PixelResult p = math::measure_pixel<Round, Photons>(x, 0, r);
    if (O == Output::kPixels) {
      pixels[i] = p.value;
      stages[i] = static_cast<std::uint8_t>(Stage | p.flags);
    }
    sums.add<O>(p);
  }
  return sums.settle(n, counts);
}

template <Uniform U, bool Round, bool Photons, Output O>
void calibrate_uniform(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  in_halves<Span, uniform_loop<U, Round, Photons, O>>(s, rules, counts);
}

// Any mixture of stages. Forced is a compile-time choice since the two planes exist only then.
template <Encoding E, bool Forced, bool Round, bool Photons, Output O>
bool mixed_loop(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  const std::uint16_t* __restrict adc = s.adc;
  const std::uint16_t* __restrict digital = s.digital;
  const std::uint16_t* __restrict middle = E == Encoding::kParallel ? s.words(1) : s.adc;
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
    float a = static_cast<float>(adc[i]);
    int stage = 0;
    int flags = 0;
    if (E == Encoding::kThreshold) {
      stage = math::stage_by_threshold(static_cast<float>(digital[i]), threshold0[i], threshold1[i]);
    } else if (E == Encoding::kCode) {
      stage = math::stage_by_code(digital[i], r.words);
      flags = math::flags_of_code(digital[i], adc[i], r.fixed_stage, r.words);
    } else if (E == Encoding::kWord) {
      const int signal = math::adc_of_word(adc[i], r.words);
      const int code = math::code_of_word(adc[i], r.words);
      a = static_cast<float>(signal);
      stage = math::stage_by_code(code, r.words);
      flags = math::flags_of_code(code, signal, r.fixed_stage, r.words);
    } else {
      const float high = static_cast<float>(math::adc_of_word(adc[i], r.words));
      const float medium = static_cast<float>(math::adc_of_word(middle[i], r.words));
      const float low = static_cast<float>(math::adc_of_word(digital[i], r.words));
      stage = math::stage_of_parallel(high, medium, threshold0[i], threshold1[i]);
      a = math::select_stage(stage, high, medium, low);
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
  return sums.settle(n, counts);
}

template <Encoding E, bool Forced, bool Round, bool Photons, Output O>
void calibrate_mixed(const Span& s, const PixelRules& rules, FrameCounts& counts) {
  in_halves<Span, mixed_loop<E, Forced, Round, Photons, O>>(s, rules, counts);
}

// How the spans of a call are calibrated, chosen once per call.
struct Loops {
  bool (*all_high_gain)(const Span&, const PixelRules&);  // null: every span is in the fixed stage
  void (*uniform)(const Span&, const PixelRules&, FrameCounts&);
  void (*mixed)(const Span&, const PixelRules&, FrameCounts&);  // null where `all_high_gain` is
  bool last_plane;  // whether the last plane of words is always read, or only where gain has switched
};

template <Encoding E, bool Round, bool Photons, Output O>
Loops choose_loops(const CalibrateCall& c) {
  if constexpr (E == Encoding::kPlain) {
    return {nullptr, calibrate_uniform<kOnly, Round, Photons, O>, nullptr, false};
  } else if constexpr (E == Encoding::kWord || E == Encoding::kParallel) {
    return {E == Encoding::kWord ? all_words_plain : all_within_high,
            calibrate_uniform<kHigh, Round, Photons, O>, calibrate_mixed<E, false, Round, Photons, O>, false};
  } else {
    Loops loops{nullptr, calibrate_uniform<kHigh, Round, Photons, O>, nullptr, true};
    loops.mixed = c.table_planes == math::kForcedPlanes ? calibrate_mixed<E, true, Round, Photons, O>
                                                        : calibrate_mixed<E, false, Round, Photons, O>;
    if (E == Encoding::kCode) {
      loops.all_high_gain = all_codes_zero;
      return loops;
    }
    if (c.rules.fixed_stage < 0) loops.all_high_gain = all_below_threshold;
    if (c.rules.fixed_stage == 1) loops.uniform = calibrate_uniform<kMedium, Round, Photons, O>;
    if (c.rules.fixed_stage == 2) loops.uniform = calibrate_uniform<kLow, Round, Photons, O>;
    return loops;
  }
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
  switch (c.encoding) {
    case Encoding::kCode:
      return choose_loops<Encoding::kCode>(c);
    case Encoding::kWord:
      return choose_loops<Encoding::kWord>(c);
    case Encoding::kPlain:
      return choose_loops<Encoding::kPlain>(c);
    case Encoding::kParallel:
      return choose_loops<Encoding::kParallel>(c);
    default:
      return choose_loops<Encoding::kThreshold>(c);
  }
}

// Nearly every span is in high gain throughout and reads three planes of constants instead of eight. With
// gain codes and a fixed lower stage no span is taken for granted, since a code 0 is then wrong.
// `first` is the first pixel of the span in its frame.
void calibrate_span(const Span& plain, const Loops& loops, const CalibrateCall& c,
                    const CellConstants& constants, std::int64_t frame, std::int64_t first) {
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
    const int stage = std::max(c.rules.fixed_stage, 0);  // a detector with one stage may be called adaptive
    shift(stage, stage);
    loops.uniform(s, c.rules, counts);
    return;
  }
  const bool high_gain_expected = c.rules.fixed_stage <= 0;
  if (high_gain_expected && loops.all_high_gain(s, c.rules)) {
    shift(0, 0);
    loops.uniform(s, c.rules, counts);
    return;
  }
  constants.want_all(first % cpu::kTile, s.n);
  shift(0, 2);
  for (std::int64_t at = 0; at < s.n; at += kGroup) {
    const Span group = s.part(at, std::min(kGroup, s.n - at));
    const bool high_gain = high_gain_expected && loops.all_high_gain(group, c.rules);
    (high_gain ? loops.uniform : loops.mixed)(group, c.rules, counts);
  }
}

// The words of one tile of one frame, and its constants.
Span tile_of(const CalibrateCall& c, const CellConstants& constants, std::int64_t frame, std::int64_t first) {
  const std::uint16_t* raw = c.raw + frame * c.planes * c.n_pixels + first;
  const float* table = constants.planes(first, 0);
  const std::int64_t step = constants.plane_step();
  const int offsets = c.table_planes == math::kSinglePlanes ? int{math::kSingleOffset} : int{math::kOffset};
  return {raw,
          raw + (c.planes - 1) * c.n_pixels,
          c.n_pixels,
          table,
          step,
          table + offsets * step,
          step,
          c.pixels != nullptr ? c.pixels + frame * c.n_pixels + first : nullptr,
          c.stage != nullptr ? c.stage + frame * c.n_pixels + first : nullptr,
          std::min(cpu::kTile, c.n_pixels - first),
          constants.levels(first)};
}

// The next frame of a cell lies megabytes away, where no hardware prefetcher follows: asking for its words
// while this frame is calibrated saves a quarter of the time.
void prefetch_words(const Span& s, bool last_plane) {
  for (std::int64_t i = 0; i < s.n; i += cpu::kLine / 2) {
    __builtin_prefetch(s.adc + i, 0, 2);
    if (last_plane) __builtin_prefetch(s.digital + i, 0, 2);
  }
}

// Calibrates a tile of one frame, and fetches what comes after it.
void calibrate_tile(const CalibrateCall& c, const Loops& loops, const CellConstants& constants,
                    std::int64_t frame, std::int64_t first, const Span& tile, const Span& next,
                    bool new_constants) {
  const bool mark = cpu::marks_candidates(c);
  for (std::int64_t at = 0; at < tile.n; at += kSpan) {
    if (at < next.n) {
      const std::int64_t n = std::min(kSpan, next.n - at);
      prefetch_words(next.part(at, n), loops.last_plane);
      if (new_constants) constants.prefetch(first + cpu::kTile + at, n);
    }
    Span span = tile.part(at, std::min(kSpan, tile.n - at));
    constants.want_usual(at, span.n);
    span.set_table(constants.planes(first, at));
    calibrate_span(span, loops, c, constants, frame, first + at);
    if (mark) cpu::mark_candidates(c, span.pixels, span.n, c.counts[frame]);
  }
}

void calibrate_group(const CalibrateCall& c, const Loops& loops, const FrameGroup& group,
                     UnpackedTile& unpacked) {
  for (std::int32_t k = group.start; k < group.stop; ++k) {
    if (group.table_row < 0) {
      cpu::mark_no_constants(c, c.frames[k]);
    } else {
      c.counts[c.frames[k]] = FrameCounts{};
    }
  }
  if (group.table_row < 0 || group.start == group.stop) return;
  CellConstants constants(c, group.table_row, group.stop - group.start, unpacked);
  for (std::int64_t first = 0; first < c.n_pixels; first += cpu::kTile) {
    constants.start_tile(first);
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      // After the last frame comes the next tile of the first one.
      const bool last = k + 1 == group.stop;
      const std::int64_t next_first = last ? std::min(first + cpu::kTile, c.n_pixels) : first;
      const Span tile = tile_of(c, constants, c.frames[k], first);
      const Span next = tile_of(c, constants, c.frames[last ? group.start : k + 1], next_first);
      calibrate_tile(c, loops, constants, c.frames[k], first, tile, next, last);
    }
  }
}

}  // namespace

void calibrate_count(const CalibrateCall& c, const Where& where) {
  if (c.encoding == Encoding::kCorrected) {
    cpu::count_corrected(c, where);
    return;
  }
  const Loops loops = choose_loops(c);
  const int planes = c.packed != nullptr ? c.table_planes : 0;
  cpu::parallel_for(
      c.n_groups, where.threads, [planes] { return UnpackedTile(planes, cpu::kTile, kSpan); },
      [&](UnpackedTile& unpacked, std::int64_t g) { calibrate_group(c, loops, c.groups[g], unpacked); });
}

}  // namespace shotsieve
