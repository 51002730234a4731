// Sigma clipping of one radial bin: the values lie one after the other, and 32 lanes of float64 sums run over
// them in explicit vectors, since g++ turns such a loop into vector code at one level of instructions only.
#pragma once

#include <algorithm>
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
  std::int64_t n = 0;
};

// The fixed tree that ends every sum over lanes.
inline double tree_sum(double* lanes) {
  for (int step = math::kLanes / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  }
  return lanes[0];
}

// Adds the values strictly between the limits; n is a multiple of 32. A square of a float32 is exact in
// float64, so fused and separate multiplication and addition give the same bits.
#if defined(__AVX512F__)

inline void add_selected(const float* v, std::int64_t n, float above, float below, LaneSums& lanes) {
  const __m256 low = _mm256_set1_ps(above);
  const __m256 high = _mm256_set1_ps(below);
  __m512d sum[4], squares[4];
  for (int g = 0; g < 4; ++g) {
    sum[g] = _mm512_load_pd(lanes.sum + 8 * g);
    squares[g] = _mm512_load_pd(lanes.squares + 8 * g);
  }
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += math::kLanes) {
    unsigned chosen = 0;
    for (int g = 0; g < 4; ++g) {
      const __m256 x = _mm256_loadu_ps(v + i + 8 * g);
      const __mmask8 above_low = _mm256_cmp_ps_mask(x, low, _CMP_GT_OQ);
      const __mmask8 in = _mm256_mask_cmp_ps_mask(above_low, x, high, _CMP_LT_OQ);
      const __m512d d = _mm512_maskz_cvtps_pd(in, x);
      sum[g] = _mm512_add_pd(sum[g], d);
      squares[g] = _mm512_fmadd_pd(d, d, squares[g]);
      chosen |= static_cast<unsigned>(in) << (8 * g);
    }
    count += __builtin_popcount(chosen);
  }
  for (int g = 0; g < 4; ++g) {
    _mm512_store_pd(lanes.sum + 8 * g, sum[g]);
    _mm512_store_pd(lanes.squares + 8 * g, squares[g]);
  }
  lanes.n += count;
}

#elif defined(__AVX2__)

// Half of the lanes at a time: the sums of all would not fit into sixteen registers.
inline std::int64_t add_selected_half(const float* v, std::int64_t n, float above, float below, double* sums,
                                      double* squares_of) {
  const __m128 low = _mm_set1_ps(above);
  const __m128 high = _mm_set1_ps(below);
  __m256d sum[4], squares[4];
  for (int g = 0; g < 4; ++g) {
    sum[g] = _mm256_load_pd(sums + 4 * g);
    squares[g] = _mm256_load_pd(squares_of + 4 * g);
  }
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += math::kLanes) {
    unsigned chosen = 0;
    for (int g = 0; g < 4; ++g) {
      const __m128 x = _mm_loadu_ps(v + i + 4 * g);
      const __m128 in = _mm_and_ps(_mm_cmpgt_ps(x, low), _mm_cmplt_ps(x, high));
      const __m256d d = _mm256_cvtps_pd(_mm_and_ps(in, x));
      sum[g] = _mm256_add_pd(sum[g], d);
      squares[g] = _mm256_add_pd(squares[g], _mm256_mul_pd(d, d));
      chosen |= static_cast<unsigned>(_mm_movemask_ps(in)) << (4 * g);
    }
    count += __builtin_popcount(chosen);
  }
  for (int g = 0; g < 4; ++g) {
    _mm256_store_pd(sums + 4 * g, sum[g]);
    _mm256_store_pd(squares_of + 4 * g, squares[g]);
  }
  return count;
}

inline void add_selected(const float* v, std::int64_t n, float above, float below, LaneSums& lanes) {
  constexpr int kHalf = math::kLanes / 2;
  lanes.n += add_selected_half(v, n, above, below, lanes.sum, lanes.squares);
  lanes.n += add_selected_half(v + kHalf, n, above, below, lanes.sum + kHalf, lanes.squares + kHalf);
}

#else

inline void add_selected(const float* v, std::int64_t n, float above, float below, LaneSums& lanes) {
  for (std::int64_t i = 0; i < n; i += math::kLanes) {
    for (int l = 0; l < math::kLanes; ++l) {
      const float x = v[i + l];
      const bool in = x > above && x < below;
      const double d = in ? static_cast<double>(x) : 0.0;
      lanes.sum[l] += d;
      lanes.squares[l] += d * d;
      lanes.n += in ? 1 : 0;
    }
  }
}

#endif

// One pass over n values of a bin.
inline math::ClipLimits clip_pass(const float* values, std::int64_t n, const math::ClipLimits& limits,
                                  const math::PeakRules& rules) {
  const float above = math::floor_to_float(limits.lower);
  const float below = math::ceil_to_float(limits.upper);
  const std::int64_t whole = n - n % math::kLanes;
  LaneSums lanes;
  add_selected(values, whole, above, below, lanes);
  if (whole < n) {
    float rest[math::kLanes];
    std::fill_n(rest, math::kLanes, std::numeric_limits<float>::quiet_NaN());
    std::memcpy(rest, values + whole, static_cast<std::size_t>(n - whole) * sizeof(float));
    add_selected(rest, math::kLanes, above, below, lanes);
  }
  return math::clip_limits(tree_sum(lanes.sum), tree_sum(lanes.squares), lanes.n, rules);
}

// Threshold (`upper`) and offset (`mean`) of a bin. A pass that gives back the limits it was given would do
// so for ever, so it is the last; most bins need two passes instead of five.
inline math::ClipLimits clip_bin(const float* values, std::int64_t n, const math::PeakRules& rules) {
  math::ClipLimits limits = math::first_limits();
  for (int pass = 0; pass < math::kClipPasses; ++pass) {
    const math::ClipLimits next = clip_pass(values, n, limits, rules);
    const bool settled = next.same_range(limits);
    limits = next;
    if (settled) break;
  }
  return limits;
}

}  // namespace shotsieve::cpu
