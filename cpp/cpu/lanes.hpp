// Frames in the lanes of vectors: a square of pixels and frames is loaded along pixels and turned, so that one
// vector holds the same pixel of all frames. Wide<L> is that square for L frames; L = 1 needs no turning.
#pragma once

#include <cstdint>
#include <cstring>

#include "../math/bins.hpp"

#if defined(__AVX512F__) || defined(__AVX2__)
// g++ 12 takes the undefined registers in its own header for a mistake, wherever they are inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

// Bit k: value k is not finite. Vectors compare magnitudes with infinity: NaN is not below it either.
template <int L>
struct Wide;

template <>
struct Wide<1> {
  static constexpr int kPixels = 16;
  float row[1][kPixels];

  void load(int frame, const float* source) { std::memcpy(row[frame], source, sizeof(row[frame])); }
  std::uint32_t not_finite(int frame) const {
    std::uint32_t bits = 0;
    for (int j = 0; j < kPixels; ++j) {
      bits |= static_cast<std::uint32_t>(!math::is_finite(row[frame][j])) << j;
    }
    return bits;
  }
  void clear(int frame, std::uint32_t bits) {
    for (int j = 0; j < kPixels; ++j) row[frame][j] = (bits >> j & 1u) != 0 ? 0.0f : row[frame][j];
  }
  void turn(float* out) const { std::memcpy(out, row[0], sizeof(row[0])); }
};

#if defined(__AVX2__)

template <>
struct Wide<8> {
  static constexpr int kPixels = 8;
  __m256 row[8];

  void load(int frame, const float* source) { row[frame] = _mm256_loadu_ps(source); }
  std::uint32_t not_finite(int frame) const {
    const __m256 infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), row[frame]);
    return static_cast<std::uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(magnitude, infinity, _CMP_NLT_UQ)));
  }
  void clear(int frame, std::uint32_t bits) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), each);
    const __m256i keep = _mm256_cmpeq_epi32(chosen, _mm256_setzero_si256());
    row[frame] = _mm256_and_ps(row[frame], _mm256_castsi256_ps(keep));
  }
  void turn(float* out) const {
    __m256 t[8];
    __m256 u[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
      u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_store_ps(out + 8 * i, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
      _mm256_store_ps(out + 8 * (i + 4), _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
  }
};

#endif

#if defined(__AVX512F__)

template <>
struct Wide<16> {
  static constexpr int kPixels = 16;
  __m512 row[16];

  void load(int frame, const float* source) { row[frame] = _mm512_loadu_ps(source); }
  std::uint32_t not_finite(int frame) const {
    const __m512 infinity = _mm512_set1_ps(std::numeric_limits<float>::infinity());
    return _mm512_cmp_ps_mask(_mm512_abs_ps(row[frame]), infinity, _CMP_NLT_UQ);
  }
  void clear(int frame, std::uint32_t bits) {
    row[frame] = _mm512_maskz_mov_ps(static_cast<__mmask16>(~bits), row[frame]);
  }
  void turn(float* out) const {
    __m512 t[16];
    __m512 u[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
      u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
      u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xDD);
      t[i + 8] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xDD);
    }
    for (int i = 0; i < 8; ++i) {
      _mm512_store_ps(out + 16 * i, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
      _mm512_store_ps(out + 16 * (i + 8), _mm512_shuffle_f32x4(t[i], t[i + 8], 0xDD));
    }
  }
};

#endif

// The widest that this level of instructions has.
#if defined(__AVX512F__)
constexpr int kWidest = 16;
#elif defined(__AVX2__)
constexpr int kWidest = 8;
#else
constexpr int kWidest = 1;
#endif

}  // namespace shotsieve::cpu
