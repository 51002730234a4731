// Correlation over time: sums over pixels of products of two frames, and of products at some lags.
#pragma once

#include <cstdint>

#include "../math/correlation.hpp"
#include "where.hpp"

namespace shotsieve {

// The largest count that a byte of the matrix product may hold, and the most pixels of a part for which every
// sum of products of such counts stays an int32: 127 * 127 * 131072 < 2^31.
constexpr std::int32_t kMostCount = 127;
constexpr std::int32_t kMostPlaces = 131072;

// Pixels of one block of lag_sums.
constexpr int kLagPlaces = 64;

// A stretch of pixels that follow one another in the frame and in the plan; never across parts.
struct PixelRun {
  std::int32_t place, pixel, length;
};

// Pixels sorted by part: a bin, or a piece of one. A pixel's position in that order is its place.
struct PartPlan {
  const std::int32_t* order;       // (n_places,) pixel of each place
  const std::int32_t* part_start;  // (n_parts + 1,) first place of each part
  const PixelRun* runs;            // (n_runs,) the same order, as stretches
  const std::int32_t* part_run;    // (n_parts + 1,) first run of each part
  std::int64_t n_pixels;           // of a frame
  std::int32_t n_places, n_parts;
};

// Photon counts: sums[train][part][t1][t2] = sum over the places of the part of
// counts[train][t1][pixel] * others[train][t2][pixel].
struct CountPairs {
  PartPlan plan;
  const std::uint8_t* counts;  // (n_trains, n_frames, n_pixels)
  const std::uint8_t* others;  // the same with n_others frames; null: the counts themselves
  std::int32_t* sums;          // (n_trains, n_parts, n_frames, n_others)
  std::int32_t* frame_sums;    // (n_trains, n_parts, n_frames) of the counts
  std::int32_t* largest;  // (n_trains, n_parts) largest count of a pixel; beyond kMostCount sums are wrong
  std::uint8_t* scratch;  // pair_scratch_bytes(), on a device
  std::int64_t n_trains;
  std::int32_t n_frames, n_others;
  bool events;  // by lists of what is not 0; else by a product of matrices of bytes
};

// The same for any values, in float64.
struct ValuePairs {
  PartPlan plan;
  const float* values;
  const float* others;
  double* sums;
  double* frame_sums;
  std::int64_t n_trains;
  std::int32_t n_frames, n_others;
};

// A lag in frames of a level; a frame of level l is the sum of 2^l frames.
struct LevelLag {
  std::int32_t level, lag;
};

// sums[train][part][k] = sum over places and t of x(t) * x(t + lag), x the series of lags[k].level.
struct LagCall {
  PartPlan plan;
  const std::uint8_t* counts;  // (n_trains, n_frames, n_pixels); null where values are given
  const float* values;         // the same
  const LevelLag* lags;        // (n_lags,) levels ascending
  double* sums;                // (n_trains, n_parts, n_lags)
  double* frame_sums;          // (n_trains, n_parts, n_frames)
  std::uint8_t* scratch;       // lag_scratch_bytes()
  std::int64_t n_trains;
  std::int32_t n_frames, n_lags;
};

// Photons of trains by place, in the order of their frames: what sort_events makes of photon lists.
struct EventTable {
  const std::uint32_t* events;      // math::make_event
  const std::int64_t* train_start;  // (n_trains,) first event of each train
  const std::int32_t*
      place_start;  // (n_trains, n_places + 1) events of each place, from the train's first on
};

// The sums of CountPairs, of photons that are listed.
struct EventPairs {
  PartPlan plan;
  EventTable own, other;  // other.events null: the events themselves
  std::int32_t* sums;     // (n_trains, n_parts, n_frames, n_others)
  std::int64_t n_trains;
  std::int32_t n_frames, n_others;
};

// The sums of LagCall, of photons that are listed: whole numbers.
struct EventLags {
  PartPlan plan;
  EventTable own;
  const LevelLag* lags;  // (n_lags,)
  std::int64_t* sums;    // (n_trains, n_parts, n_lags)
  std::int64_t n_trains;
  std::int32_t n_frames, n_lags;
};

// Bytes of device memory that a call needs beside its arguments; 0 on the CPU. `events`: lists are made.
// n_others: 0 where frames are multiplied with themselves.
std::int64_t pair_scratch_bytes(std::int32_t n_frames, std::int32_t n_others, std::int32_t n_places,
                                std::int32_t n_parts, bool events);
std::int64_t lag_scratch_bytes(std::int64_t n_trains, std::int32_t n_frames, std::int32_t n_places,
                               std::int32_t n_parts, std::int32_t n_lags);

// Promise: exact; events and matrices give the same sums of counts, and sums of values are made in the order
// of cpp/math/correlation.hpp. Never synchronise, never allocate device memory.
void pair_sums(const CountPairs& call, const Where& where);
void pair_sums(const ValuePairs& call, const Where& where);
void lag_sums(const LagCall& call, const Where& where);
void pair_sums(const EventPairs& call, const Where& where);
void lag_sums(const EventLags& call, const Where& where);

}  // namespace shotsieve
