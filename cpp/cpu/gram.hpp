// Products of rows of bytes, with sums in int32: four rows by four at a time, with the widest multiplication
// that the processor has. Bytes are at most 127, so that all of them are exact.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

constexpr int kGramRows = 4;
constexpr std::int64_t kGramAlign = 64;  // rows are as long as a multiple of this

// out[i][j] = sum over k of a[i * stride + k] * b[j * stride + k], k below n, a multiple of kGramAlign.
using GramTile = void (*)(const std::uint8_t* a, const std::uint8_t* b, std::int64_t stride, std::int64_t n,
                          std::int32_t out[kGramRows][kGramRows]);

#if defined(__AVX512BW__)

// Adds the sixteen sums of a vector; g++ 12 warns about what its own header has for it.
inline std::int32_t add_all(__m512i v) {
  alignas(64) std::int32_t lanes[16];
  _mm512_store_si512(lanes, v);
  std::int32_t sum = 0;
  for (const std::int32_t lane : lanes) sum += lane;
  return sum;
}

__attribute__((target("avx512vnni"))) inline void gram_tile_vnni(const std::uint8_t* a, const std::uint8_t* b,
                                                                 std::int64_t stride, std::int64_t n,
                                                                 std::int32_t out[kGramRows][kGramRows]) {
  __m512i sums[kGramRows][kGramRows];
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm512_setzero_si512();
  }
  for (std::int64_t k = 0; k < n; k += 64) {
    __m512i left[kGramRows];
    for (int i = 0; i < kGramRows; ++i) left[i] = _mm512_loadu_si512(a + i * stride + k);
    for (int j = 0; j < kGramRows; ++j) {
      const __m512i right = _mm512_loadu_si512(b + j * stride + k);
      for (int i = 0; i < kGramRows; ++i) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], left[i], right);
    }
  }
  for (int i = 0; i < kGramRows; ++i) {
    for (int j = 0; j < kGramRows; ++j) out[i][j] = add_all(sums[i][j]);
  }
}

inline void gram_tile_wide(const std::uint8_t* a, const std::uint8_t* b, std::int64_t stride, std::int64_t n,
                           std::int32_t out[kGramRows][kGramRows]) {
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sums[kGramRows][kGramRows];
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm512_setzero_si512();
  }
  for (std::int64_t k = 0; k < n; k += 64) {
    __m512i left[kGramRows];
    for (int i = 0; i < kGramRows; ++i) left[i] = _mm512_loadu_si512(a + i * stride + k);
    for (int j = 0; j < kGramRows; ++j) {
      const __m512i right = _mm512_loadu_si512(b + j * stride + k);
      for (int i = 0; i < kGramRows; ++i) {
        // Two products of 127 * 127 at most: the 16-bit sums do not saturate.
        const __m512i pairs = _mm512_maddubs_epi16(left[i], right);
        sums[i][j] = _mm512_add_epi32(sums[i][j], _mm512_madd_epi16(pairs, ones));
      }
    }
  }
  for (int i = 0; i < kGramRows; ++i) {
    for (int j = 0; j < kGramRows; ++j) out[i][j] = add_all(sums[i][j]);
  }
}

#elif defined(__AVX2__)

inline std::int32_t add_all(__m256i v) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

inline void gram_tile_wide(const std::uint8_t* a, const std::uint8_t* b, std::int64_t stride, std::int64_t n,
                           std::int32_t out[kGramRows][kGramRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int half = 0; half < kGramRows; half += 2) {  // eight sums at a time: all of them in registers
    __m256i sums[2][kGramRows];
    for (auto& row : sums) {
      for (auto& sum : row) sum = _mm256_setzero_si256();
    }
    for (std::int64_t k = 0; k < n; k += 32) {
      __m256i left[2];
      for (int i = 0; i < 2; ++i) {
        left[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + (half + i) * stride + k));
      }
      for (int j = 0; j < kGramRows; ++j) {
        const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + j * stride + k));
        for (int i = 0; i < 2; ++i) {
          const __m256i pairs = _mm256_maddubs_epi16(left[i], right);
          sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < kGramRows; ++j) out[half + i][j] = add_all(sums[i][j]);
    }
  }
}

#else

inline void gram_tile_wide(const std::uint8_t* a, const std::uint8_t* b, std::int64_t stride, std::int64_t n,
                           std::int32_t out[kGramRows][kGramRows]) {
  for (int i = 0; i < kGramRows; ++i) {
    for (int j = 0; j < kGramRows; ++j) {
      std::int32_t sum = 0;
      const auto* left = reinterpret_cast<const std::int8_t*>(a + i * stride);
      const auto* right = reinterpret_cast<const std::int8_t*>(b + j * stride);
      for (std::int64_t k = 0; k < n; ++k) sum += std::int16_t{left[k]} * std::int16_t{right[k]};
      out[i][j] = sum;
    }
  }
}

#endif

// The fastest of them that this processor has.
inline GramTile best_gram_tile() {
#if defined(__AVX512BW__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni")) return gram_tile_vnni;
#endif
  return gram_tile_wide;
}

}  // namespace shotsieve::cpu
