// Sigma clipping of one radial bin: the values lie one after the other, and 32 lanes of float64 sums run over
// them in explicit vectors, since g++ turns such a loop into vector code at one level of instructions only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../math/peaks.hpp"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

struct LaneSums {
  alignas(64) double sum[math::kLanes] = {};
  alignas(64) double squares[math::kLanes] = {};
  alignas(64) float lowest[math::kLanes] = {};  // of the values that were added and of 0
  alignas(64) float highest[math::kLanes] = {};
  std::int64_t n = 0;
};

// The fixed tree that ends everything that is gathered in lanes; overwrites them.
template <class Value, class Join>
Value fold_lanes(Value* lanes, const Join& join) {
  for (int step = math::kLanes / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) lanes[i] = join(lanes[i], lanes[i + step]);
  }
  return lanes[0];
}

inline double tree_sum(double* lanes) {
  return fold_lanes(lanes, [](double a, double b) { return a + b; });
}

// Adds the values strictly between the limits, or all of them without a look at the limits; n is a multiple
// of 32. A square of a float32 is exact in float64, so fused and separate multiplication and addition give
// the same bits.
#if defined(__AVX512F__)

template <bool kAll>
void add_selected(const float* v, std::int64_t n, float above, float below, LaneSums& lanes) {
  const __m256 low = _mm256_set1_ps(above);
  const __m256 high = _mm256_set1_ps(below);
  __m512d sum[4], squares[4];
  __m256 lowest[4], highest[4];
  for (int g = 0; g < 4; ++g) {
    sum[g] = _mm512_load_pd(lanes.sum + 8 * g);
    squares[g] = _mm512_load_pd(lanes.squares + 8 * g);
    lowest[g] = _mm256_load_ps(lanes.lowest + 8 * g);
    highest[g] = _mm256_load_ps(lanes.highest + 8 * g);
  }
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += math::kLanes) {
    unsigned chosen = 0;
    for (int g = 0; g < 4; ++g) {
      const __m256 x = _mm256_loadu_ps(v + i + 8 * g);
      __mmask8 in = 0xff;
      if (!kAll) in = _mm256_mask_cmp_ps_mask(_mm256_cmp_ps_mask(x, low, _CMP_GT_OQ), x, high, _CMP_LT_OQ);
      const __m512d d = _mm512_maskz_cvtps_pd(in, x);
      sum[g] = _mm512_add_pd(sum[g], d);
      squares[g] = _mm512_fmadd_pd(d, d, squares[g]);
      lowest[g] = _mm256_mask_min_ps(lowest[g], in, x, lowest[g]);
      highest[g] = _mm256_mask_max_ps(highest[g], in, x, highest[g]);
      if (!kAll) chosen |= static_cast<unsigned>(in) << (8 * g);
    }
    count += __builtin_popcount(chosen);
  }
  for (int g = 0; g < 4; ++g) {
    _mm512_store_pd(lanes.sum + 8 * g, sum[g]);
    _mm512_store_pd(lanes.squares + 8 * g, squares[g]);
    _mm256_store_ps(lanes.lowest + 8 * g, lowest[g]);
    _mm256_store_ps(lanes.highest + 8 * g, highest[g]);
  }
  lanes.n += count;
}

#elif defined(__AVX2__)

// Half of the lanes at a time: the sums of all would not fit into sixteen registers.
template <bool kAll>
void add_selected_half(const float* v, std::int64_t n, float above, float below, int first, LaneSums& lanes) {
  const __m128 low = _mm_set1_ps(above);
  const __m128 high = _mm_set1_ps(below);
  __m128 lowest = _mm_load_ps(lanes.lowest + first);
  __m128 highest = _mm_load_ps(lanes.highest + first);
  __m256d sum[4], squares[4];
  for (int g = 0; g < 4; ++g) {
    sum[g] = _mm256_load_pd(lanes.sum + first + 4 * g);
    squares[g] = _mm256_load_pd(lanes.squares + first + 4 * g);
  }
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += math::kLanes) {
    unsigned chosen = 0;
    for (int g = 0; g < 4; ++g) {
      const __m128 x = _mm_loadu_ps(v + first + i + 4 * g);
      const __m128 in = _mm_and_ps(_mm_cmpgt_ps(x, low), _mm_cmplt_ps(x, high));
      const __m128 added = kAll ? x : _mm_and_ps(in, x);
      const __m256d d = _mm256_cvtps_pd(added);
      lowest = _mm_min_ps(added, lowest);
      highest = _mm_max_ps(added, highest);
      sum[g] = _mm256_add_pd(sum[g], d);
      squares[g] = _mm256_add_pd(squares[g], _mm256_mul_pd(d, d));
      if (!kAll) chosen |= static_cast<unsigned>(_mm_movemask_ps(in)) << (4 * g);
    }
    count += __builtin_popcount(chosen);
  }
  for (int g = 0; g < 4; ++g) {
    _mm256_store_pd(lanes.sum + first + 4 * g, sum[g]);
    _mm256_store_pd(lanes.squares + first + 4 * g, squares[g]);
  }
  _mm_store_ps(lanes.lowest + first, lowest);
  _mm_store_ps(lanes.highest + first, highest);
  lanes.n += count;
}

template <bool kAll>
void add_selected(const float* v, std::int64_t n, float above, float below, LaneSums& lanes) {
  add_selected_half<kAll>(v, n, above, below, 0, lanes);
  add_selected_half<kAll>(v, n, above, below, math::kLanes / 2, lanes);
}

#else

template <bool kAll>
void add_selected(const float* v, std::int64_t n, float above, float below, LaneSums& lanes) {
  for (std::int64_t i = 0; i < n; i += math::kLanes) {
    for (int l = 0; l < math::kLanes; ++l) {
      const float x = v[i + l];
      const bool in = kAll || (x > above && x < below);
      const float added = in ? x : 0.0f;
      const double d = added;
      lanes.lowest[l] = added < lanes.lowest[l] ? added : lanes.lowest[l];
      lanes.highest[l] = added > lanes.highest[l] ? added : lanes.highest[l];
      lanes.sum[l] += d;
      lanes.squares[l] += d * d;
      lanes.n += in ? 1 : 0;
    }
  }
}

#endif

// The same for any n. With kAll the rest is filled up with zeros, which count, but change nothing else.
template <bool kAll>
void add_values(const float* values, std::int64_t n, const math::ClipLimits& limits, LaneSums& lanes) {
  const float above = math::floor_to_float(limits.lower);
  const float below = math::ceil_to_float(limits.upper);
  const std::int64_t whole = n - n % math::kLanes;
  add_selected<kAll>(values, whole, above, below, lanes);
  if (whole < n) {
    float rest[math::kLanes];
    std::fill_n(rest, math::kLanes, kAll ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    std::memcpy(rest, values + whole, static_cast<std::size_t>(n - whole) * sizeof(float));
    add_selected<kAll>(rest, math::kLanes, above, below, lanes);
  }
}

struct PassSums {
  double sum, squares;
  double lowest, highest;  // of the selected values and of 0
  std::int64_t n;
};

inline PassSums fold(LaneSums& lanes) {
  const float lowest = fold_lanes(lanes.lowest, [](float a, float b) { return b < a ? b : a; });
  const float highest = fold_lanes(lanes.highest, [](float a, float b) { return b > a ? b : a; });
  return {tree_sum(lanes.sum), tree_sum(lanes.squares), lowest, highest, lanes.n};
}

inline PassSums sum_between(const float* values, std::int64_t n, const math::ClipLimits& limits) {
  LaneSums lanes;
  add_values<false>(values, n, limits, lanes);
  return fold(lanes);
}

// The first pass, whose limits hardly a value ever exceeds: it adds all, and only where the sums show that a
// value was not finite or beyond the limits does it select.
inline PassSums sum_first(const float* values, std::int64_t n, const math::ClipLimits& limits) {
  LaneSums lanes;
  add_values<true>(values, n, limits, lanes);
  PassSums all = fold(lanes);
  all.n = n;
  const bool within = all.lowest > limits.lower && all.highest < limits.upper && !std::isnan(all.sum);
  return within ? all : sum_between(values, n, limits);
}

// What the clipping of a bin found.
struct ClippedBin {
  math::ClipLimits limits;  // `upper` is the threshold, `mean` the offset
  bool may_be_strong;       // false: no value is above the threshold
};

// A pass that selects the values of the pass before gives back its limits, and would do so for ever. That is
// seen without the pass where the new limits lie within the old ones and hold all that was selected: most
// bins need one pass instead of five.
inline ClippedBin clip_bin(const float* values, std::int64_t n, const math::PeakRules& rules) {
  math::ClipLimits limits = math::first_limits();
  PassSums sums = sum_first(values, n, limits);
  const bool know_highest = sums.n == n;
  const double highest = sums.highest;
  for (int pass = 1;; ++pass) {
    const math::ClipLimits next = math::clip_limits(sums.sum, sums.squares, sums.n, rules);
    const bool selects_the_same = limits.lower <= next.lower && next.lower < sums.lowest &&
                                  sums.highest < next.upper && next.upper <= limits.upper;
    const bool last = selects_the_same || next.same_range(limits) || pass == math::kClipPasses;
    limits = next;
    if (last) break;
    sums = sum_between(values, n, limits);
  }
  return {limits, !know_highest || highest > limits.upper};
}

}  // namespace shotsieve::cpu
