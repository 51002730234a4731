// calibrate_count on the CPU: frames of one cell follow each other through tiles of pixels, so that the
// constants of a tile are read from memory once and stay in cache for all of them.
#include "../core/calibrate.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate_chosen.hpp"
#include "calibrate_ends.hpp"
#include "calibrate_span.hpp"
#include "cell_constants.hpp"
#include "corrected.hpp"
#include "parallel.hpp"
#include "shifted.hpp"

namespace shotsieve {
namespace {

using cpu::CellConstants;
using cpu::Chosen;
using cpu::ChosenSpan;
using cpu::in_halves;
using cpu::kSpan;
using cpu::Listed;
using cpu::Output;
using cpu::Span;
using cpu::SpanSums;
using cpu::UnpackedTile;
using math::PixelResult;
using math::PixelRules;

constexpr std::int64_t kAhead = 4;  // spans from the one that is calibrated to the one that is fetched
constexpr std::int64_t kPart = 32;  // pixels of a span that are calibrated alike
static_assert(kSpan / kPart < 32, "a bit for each part");

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

// Bits of the parts of a span in which some pixel has left high gain.
template <bool (*AllHigh)(const Span&, const PixelRules&)>
std::uint32_t mixed_parts(const Span& s, const PixelRules& rules) {
  std::uint32_t mixed = 0;
  std::int64_t at = 0;
  for (; at + kPart <= s.n; at += kPart) {
    mixed |= (AllHigh(s.part(at, kPart), rules) ? 0u : 1u) << (at / kPart);
  }
  if (at < s.n) mixed |= (AllHigh(s.part(at, s.n - at), rules) ? 0u : 1u) << (at / kPart);
  return mixed;
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

// Any mixture of stages.
template <bool Round, bool Photons, Output O>
bool chosen_loop(const ChosenSpan& s, const PixelRules& rules, FrameCounts& counts) {
  const std::uint16_t* __restrict adc = s.adc;
  const std::uint8_t* __restrict marks = s.marks;
  const float* __restrict offset = s.offset;
  const float* __restrict gain = s.gain;
  float* __restrict pixels = s.pixels;
  std::uint8_t* __restrict stages = s.stage;
  const PixelRules r = rules;
  const std::int64_t n = s.n;
  SpanSums sums;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: chosen_loop
    const int stage = marks[i] & math::kStageBits;
    const float x = math::lift_medium((static_cast<float>(adc[i]) - offset[i]) * gain[i], stage, r);
    const PixelResult p = math::measure_pixel<Round, Photons>(x, marks[i] & ~math::kStageBits, r);
    if (O == Output::kPixels) {
      pixels[i] = p.value;
      stages[i] = static_cast<std::uint8_t>(stage | p.flags);
    }
    sums.add<O>(p);
  }
  return sums.settle(n, counts);
}

template <bool Round, bool Photons, Output O>
void calibrate_chosen(const ChosenSpan& s, const PixelRules& rules, FrameCounts& counts) {
  in_halves<ChosenSpan, chosen_loop<Round, Photons, O>>(s, rules, counts);
}

// How the spans of a call are calibrated, chosen once per call.
struct Loops {
  std::uint32_t (*mixed_parts)(const Span&, const PixelRules&);  // null: every span is in the fixed stage
  void (*uniform)(const Span&, const PixelRules&, FrameCounts&);
  void (*choose)(const Span&, const PixelRules&, Chosen&);  // null where `mixed_parts` is
  void (*chosen)(const ChosenSpan&, const PixelRules&, FrameCounts&);
};

template <Encoding E, bool Round, bool Photons, Output O>
Loops choose_loops(const CalibrateCall& c) {
  if constexpr (E == Encoding::kPlain) {
    return {nullptr, calibrate_uniform<kOnly, Round, Photons, O>, nullptr, nullptr};
  } else {
    Loops loops{nullptr, calibrate_uniform<kHigh, Round, Photons, O>, cpu::choose<E, false>,
                calibrate_chosen<Round, Photons, O>};
    if constexpr (E == Encoding::kWord || E == Encoding::kParallel) {
      loops.mixed_parts = E == Encoding::kWord ? mixed_parts<all_words_plain> : mixed_parts<all_within_high>;
      return loops;
    } else {
      if (c.table_planes == math::kForcedPlanes) loops.choose = cpu::choose<E, true>;
      if (E == Encoding::kCode) {
        loops.mixed_parts = mixed_parts<all_codes_zero>;
        return loops;
      }
      if (c.rules.fixed_stage < 0) loops.mixed_parts = mixed_parts<all_below_threshold>;
      if (c.rules.fixed_stage == 1) loops.uniform = calibrate_uniform<kMedium, Round, Photons, O>;
      if (c.rules.fixed_stage == 2) loops.uniform = calibrate_uniform<kLow, Round, Photons, O>;
      return loops;
    }
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

// Calls for each run of parts of a span of n pixels whose bits in `parts` are set.
template <class Call>
void for_runs(std::uint32_t parts, std::int64_t n, const Call& call) {
  while (parts != 0) {
    const int first = __builtin_ctz(parts);
    const int count = __builtin_ctz(~(parts >> first));
    parts &= ~(((1u << count) - 1) << first);
    call(first * kPart, std::min(count * kPart, n - first * kPart));
  }
}

// Nearly every span is in high gain throughout and reads three planes of constants instead of eight; where it
// is not, most of its parts are. With gain codes and a fixed lower stage no part is taken for granted, since
// a code 0 is then wrong. `first` is the first pixel of the span in its frame.
void calibrate_span(const Span& plain, const Loops& loops, const CalibrateCall& c,
                    const CellConstants& constants, const Listed& at, std::int64_t first) {
  FrameCounts& counts = c.counts[at.place];
  alignas(64) float shifted[3 * kSpan];
  Span s = plain;
  const auto shift = [&](int first_stage, int last_stage) {
    if (!c.shifts.any()) return;
    for (int g = first_stage; g <= last_stage; ++g) {
      cpu::shifted_offsets(c.shifts, at.frame, c.n_pixels, first, s.n, plain.offset(g), shifted + g * kSpan);
    }
    s.offsets = shifted;
    s.offset_step = kSpan;
  };
  if (loops.mixed_parts == nullptr) {
    const int stage = std::max(c.rules.fixed_stage, 0);  // a detector with one stage may be called adaptive
    shift(stage, stage);
    loops.uniform(s, c.rules, counts);
    return;
  }
  const std::uint32_t all = (1u << ((s.n + kPart - 1) / kPart)) - 1;
  const std::uint32_t mixed = c.rules.fixed_stage <= 0 ? loops.mixed_parts(s, c.rules) : all;
  if (mixed == 0) {
    shift(0, 0);
    loops.uniform(s, c.rules, counts);
    return;
  }
  constants.want_all(first % cpu::kTile, s.n);
  shift(0, 2);
  for_runs(all & ~mixed, s.n,
           [&](std::int64_t start, std::int64_t n) { loops.uniform(s.part(start, n), c.rules, counts); });
  for_runs(mixed, s.n, [&](std::int64_t start, std::int64_t n) {
    const Span run = s.part(start, n);
    Chosen chosen;
    loops.choose(run, c.rules, chosen);
    loops.chosen(chosen.span(run), c.rules, counts);
  });
}

// The words of one tile of one frame, and its constants.
Span tile_of(const CalibrateCall& c, const CellConstants& constants, const Listed& at, std::int64_t first) {
  const std::uint16_t* raw = c.raw + at.frame * c.planes * c.n_pixels + first;
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
          c.pixels != nullptr ? c.pixels + at.place * c.n_pixels + first : nullptr,
          c.stage != nullptr ? c.stage + at.place * c.n_pixels + first : nullptr,
          std::min(cpu::kTile, c.n_pixels - first),
          constants.levels(first)};
}

// A tile of one frame, and what comes after it. Constants are new to the cache in the first frame of a cell
// alone.
struct Step {
  Listed listed;
  Span tile;
  std::int64_t first;  // pixel in the frame
  bool new_constants;
};

Step step_of(const CalibrateCall& c, const CellConstants& constants, std::int64_t k, std::int64_t first,
             bool new_constants) {
  const Listed at = cpu::listed(c, k);
  return {at, tile_of(c, constants, at, first), first, new_constants};
}

// Asks for what a span in high gain reads.
[[gnu::always_inline]] inline void prefetch(const Step& step, std::int64_t at, const CellConstants& constants,
                                            bool last_words) {
  const Span& tile = step.tile;
  const std::int64_t n = std::min(kSpan, tile.n - at);
  cpu::prefetch_run(tile.adc + at, n);
  if (last_words) cpu::prefetch_run(tile.digital + at, n);
  if (step.new_constants) constants.prefetch(step.first + at, n);
}

// The next frame of a cell lies megabytes away, where no hardware prefetcher follows; and those that follow
// within a tile start too late.
void calibrate_tile(const CalibrateCall& c, const Loops& loops, const CellConstants& constants,
                    const Step& here, const Step& next) {
  const bool mark = cpu::marks_candidates(c);
  const bool last_words = cpu::reads_last_words(c);
  const Span& tile = here.tile;
  const std::int64_t spans = (tile.n + kSpan - 1) / kSpan;
  for (std::int64_t k = 0; k < spans; ++k) {
    const std::int64_t at = k * kSpan;
    const Step& then = k + kAhead < spans ? here : next;
    const std::int64_t soon = (k + kAhead < spans ? k + kAhead : k + kAhead - spans) * kSpan;
    if (soon < then.tile.n) prefetch(then, soon, constants, last_words);
    Span span = tile.part(at, std::min(kSpan, tile.n - at));
    constants.want_usual(at, span.n);
    span.set_table(constants.planes(here.first, at));
    calibrate_span(span, loops, c, constants, here.listed, here.first + at);
    if (mark) cpu::mark_candidates(c, span.pixels, span.n, c.counts[here.listed.place]);
  }
}

void calibrate_group(const CalibrateCall& c, const Loops& loops, const FrameGroup& group,
                     UnpackedTile& unpacked) {
  for (std::int32_t k = group.start; k < group.stop; ++k) {
    if (group.table_row < 0) {
      cpu::mark_no_constants(c, cpu::listed(c, k).place);
    } else {
      c.counts[cpu::listed(c, k).place] = FrameCounts{};
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
      const Step here = step_of(c, constants, k, first, k == group.start);
      const Step next = step_of(c, constants, last ? group.start : k + 1, next_first, last);
      calibrate_tile(c, loops, constants, here, next);
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
