// calibrate_count on the device: a block takes a tile of pixels and walks over the frames of one memory cell,
// with that tile's constants in registers.
#pragma once

#include <cstdint>

#include "../cpp/core/calibrate.hpp"
#include "eight.cuh"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kCalibrateThreads = 256;
constexpr int kCalibrateWarps = kCalibrateThreads / 32;
constexpr int kTilePixels = kCalibrateThreads * kPixelsPerThread;
constexpr int kSums = 6;
// Left alone, the compiler takes so many registers on some devices that one block fewer fits.
template <bool Write>
constexpr int kBlocksPerMultiprocessor = Write ? 3 : 4;

// Sums of one thread. Intensities and photons are summed as halves, so that nothing overflows 32 bits within
// a block and no order matters.
struct ThreadSums {
  int tally = 0;
  unsigned candidates = 0;  // bit i is the thread's pixel i
  int intensity_low = 0, intensity_high = 0, photons_low = 0, photons_high = 0;

  __device__ void add(const math::PixelResult& r, int i) {
    tally += r.tally;
    candidates |= static_cast<unsigned>(r.candidate) << i;
    intensity_low += r.intensity & 0xFFFF;
    intensity_high += r.intensity >> 16;
    photons_low += r.photons & 0xFFFF;
    photons_high += r.photons >> 16;
  }
};

__device__ inline void store_pixels(const CalibrateCall& c, std::int64_t at,
                                    const math::PixelResult (&results)[kPixelsPerThread],
                                    const int (&stages)[kPixelsPerThread]) {
  float4* values = reinterpret_cast<float4*>(c.pixels + at);
  values[0] = {results[0].value, results[1].value, results[2].value, results[3].value};
  values[1] = {results[4].value, results[5].value, results[6].value, results[7].value};
  unsigned low = 0;
  unsigned high = 0;
  for (int i = 0; i < 4; ++i) {
    low |= static_cast<unsigned>(stages[i] | results[i].flags) << (8 * i);
    high |= static_cast<unsigned>(stages[i + 4] | results[i + 4].flags) << (8 * i);
  }
  uint2 packed;
  packed.x = low;
  packed.y = high;
  *reinterpret_cast<uint2*>(c.stage + at) = packed;
}

// Words are little-endian: bit p % 32 of word p / 32 is bit p % 8 of byte p / 8.
__device__ inline void store_candidates(const CalibrateCall& c, std::int64_t at, unsigned bits) {
  if (c.candidates == nullptr) return;
  reinterpret_cast<std::uint8_t*>(c.candidates)[at / kPixelsPerThread] = static_cast<std::uint8_t>(bits);
}

// Adds the sums of a block to the counts of its frame. Integer atomics: exact in any order.
__device__ inline void add_to_frame(const ThreadSums& sums, int* shared, FrameCounts* counts) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int totals[kSums] = {warp_sum(sums.tally),          warp_sum(sums.intensity_low),
                             warp_sum(sums.intensity_high), warp_sum(sums.photons_low),
                             warp_sum(sums.photons_high),   warp_sum(__popc(sums.candidates))};
  if (lane == 0) {
    for (int k = 0; k < kSums; ++k) shared[k * kCalibrateWarps + warp] = totals[k];
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    long long block[kSums] = {};
    for (int k = 0; k < kSums; ++k) {
      for (int w = 0; w < kCalibrateWarps; ++w) block[k] += shared[k * kCalibrateWarps + w];
    }
    auto* target = reinterpret_cast<unsigned long long*>(counts);
    atomicAdd(target + 0, static_cast<unsigned long long>(block[0] / math::kLitUnit));
    atomicAdd(target + 1, static_cast<unsigned long long>(block[0] % math::kLitUnit));
    atomicAdd(target + 2, static_cast<unsigned long long>(block[2] * 65536 + block[1]));
    atomicAdd(target + 3, static_cast<unsigned long long>(block[4] * 65536 + block[3]));
    atomicAdd(target + 4, static_cast<unsigned long long>(block[5]));
  }
  __syncthreads();  // the next frame overwrites the shared sums
}

// Where a block works: the frames of one memory cell, and the pixels of this thread.
struct Place {
  FrameGroup group;
  std::int64_t pixel;
  bool inside, known;
};

__device__ inline Place place_of_thread(const CalibrateCall& c) {
  const std::int64_t n = c.n_pixels;
  const std::int64_t tiles = (n + kTilePixels - 1) / kTilePixels;
  const FrameGroup group = c.groups[blockIdx.x / tiles];
  const std::int64_t pixel = (blockIdx.x % tiles) * kTilePixels + threadIdx.x * kPixelsPerThread;
  const bool inside = pixel < n;
  return {group, pixel, inside, group.table_row >= 0};
}

__device__ inline void results_without_constants(math::PixelResult (&results)[kPixelsPerThread],
                                                 int (&stages)[kPixelsPerThread]) {
  for (int i = 0; i < kPixelsPerThread; ++i) {
    stages[i] = 0;
    results[i] = {};
    results[i].value = std::numeric_limits<float>::quiet_NaN();
    results[i].flags = math::kNoConstants;
  }
}

// What a thread leaves of its pixels, where they are wanted; `at` is the first of them.
template <bool Write>
__device__ inline void finish_pixels(const CalibrateCall& c, std::int64_t at,
                                     const math::PixelResult (&results)[kPixelsPerThread],
                                     const int (&stages)[kPixelsPerThread], const ThreadSums& sums) {
  if (!Write) return;
  store_pixels(c, at, results, stages);
  store_candidates(c, at, sums.candidates);
}

// How the raw words lie: a choice at compile time, so that none costs another a register.
enum class Words { kPair, kWord, kPlain, kParallel };

// Gain stage and word flags of one pixel of two planes.
template <class Constants>
__device__ inline void choose_stage(const CalibrateCall& c, const Constants& constants, int i, int adc,
                                    int digital, float threshold0, int& stage, int& flags) {
  flags = 0;
  if (c.encoding == Encoding::kCode) {
    stage = math::stage_by_code(digital, c.rules.words);
    flags = math::flags_of_code(digital, adc, c.rules.fixed_stage, c.rules.words);
  } else if (c.rules.fixed_stage >= 0) {
    stage = c.rules.fixed_stage;
    return;
  } else if (static_cast<float>(digital) > threshold0) {
    stage = math::stage_by_threshold(static_cast<float>(digital), threshold0,
                                     constants.one(math::kThreshold1, i));
  } else {
    stage = 0;
  }
  if (stage != 0 && c.table_planes == math::kForcedPlanes) {
    stage = math::force_stage(stage, static_cast<float>(adc), constants.one(math::kForceMedium, i),
                              constants.one(math::kForceHigh, i));
  }
}

// What a word says, beside what is known of its pixel: the signal, and the stage that it was taken in. `raw`
// is pixel i of the thread in the first plane.
template <Words W, class Constants>
__device__ inline int read_word(const CalibrateCall& c, const std::uint16_t* raw, int word, float threshold0,
                                const Constants& constants, int i, int& stage, int& flags) {
  const math::WordRules& words = c.rules.words;
  stage = 0;
  flags = 0;
  if (W == Words::kPlain) return math::adc_of_single(word, words);
  const int adc = math::adc_of_word(word, words);
  if (W == Words::kWord) {
    const int code = math::code_of_word(word, words);
    stage = math::stage_by_code(code, words);
    flags = math::flags_of_code(code, adc, c.rules.fixed_stage, words);
    return adc;
  }
  if (!(static_cast<float>(adc) > threshold0)) return adc;  // nearly always: the other planes are not read
  const int medium = math::adc_of_word(raw[c.n_pixels], words);
  const int low = math::adc_of_word(raw[2 * c.n_pixels], words);
  stage = math::stage_of_parallel(static_cast<float>(adc), static_cast<float>(medium), threshold0,
                                  constants.one(math::kThreshold1, i));
  return stage == 2 ? low : medium;
}

template <bool Round, bool Write, Words W, bool Shift, bool Packed>
__global__ void __launch_bounds__(kCalibrateThreads, kBlocksPerMultiprocessor<Write>)
    calibrate_count_kernel(CalibrateCall c) {
  SS_SHARED(int, shared, kSums* kCalibrateWarps);
  const std::int64_t n = c.n_pixels;
  const Place at = place_of_thread(c);
  constexpr int offsets = W == Words::kPlain ? math::kSingleOffset : math::kOffset;
  constexpr int gains = W == Words::kPlain ? math::kSingleGain : math::kGain;
  const int common_stage =
      c.encoding == Encoding::kThreshold && c.rules.fixed_stage > 0 ? c.rules.fixed_stage : 0;

  // Where there are none, nothing of them is read. Which way costs fewer registers depends on the form: to
  // choose the place, or not to.
  CellConstants<Packed> constants =
      constants_of_cell<Packed>(c, Packed ? at.group.table_row : 0, Packed ? at.pixel : 0);
  EightFloats threshold{}, offset{}, gain{};
  if (at.inside && at.known) {
    if (!Packed) constants = constants_of_cell<Packed>(c, at.group.table_row, at.pixel);
    if (W == Words::kPair || W == Words::kParallel) threshold = constants.eight(math::kThreshold0);
    offset = constants.eight(offsets + common_stage);
    gain = constants.eight(gains + common_stage);
  }
  for (std::int32_t k = at.group.start; k < at.group.stop; ++k) {
    const std::int64_t frame = c.frames[k];
    ThreadSums sums;
    if (at.inside) {
      math::PixelResult results[kPixelsPerThread];
      int stages[kPixelsPerThread];
      if (at.known) {
        const std::uint16_t* raw = c.raw + frame * c.planes * n + at.pixel;
        const EightWords adc = load_words(raw);
        EightWords digital{};
        if (W == Words::kPair) digital = load_words(raw + (c.planes - 1) * n);
        EightShifts shift{};
        if (Shift) shift = load_shifts(c.shifts, frame, at.pixel, n);
        for (int i = 0; i < kPixelsPerThread; ++i) {
          int flags = 0;
          int signal = adc.value[i];
          if (W == Words::kPair) {
            choose_stage(c, constants, i, signal, digital.value[i], threshold.value[i], stages[i], flags);
          } else {
            signal = read_word<W>(c, raw + i, signal, threshold.value[i], constants, i, stages[i], flags);
          }
          float pixel_offset = offset.value[i];
          float pixel_gain = gain.value[i];
          if (stages[i] != common_stage) {  // rare: these planes are read only where a pixel switched
            pixel_offset = constants.one(offsets + stages[i], i);
            pixel_gain = constants.one(gains + stages[i], i);
          }
          if (Shift) pixel_offset = math::shift_offset(pixel_offset, shift.value[i]);
          const float x = (static_cast<float>(signal) - pixel_offset) * pixel_gain;
          results[i] =
              math::measure_pixel<Round, true>(math::lift_medium(x, stages[i], c.rules), flags, c.rules);
          sums.add(results[i], i);
        }
      } else {
        results_without_constants(results, stages);
      }
      finish_pixels<Write>(c, std::int64_t{c.places[k]} * n + at.pixel, results, stages, sums);
    }
    add_to_frame(sums, shared, c.counts + c.places[k]);
  }
}

// Counts are added up by many blocks, so they start from 0.
__global__ void clear_counts_kernel(const std::int32_t* __restrict__ places, std::int64_t n_listed,
                                    FrameCounts* __restrict__ counts) {
  const std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k < n_listed) counts[places[k]] = FrameCounts{};
}

}  // namespace shotsieve::device
