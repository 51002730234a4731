// Finds the bytes of a row that are not 0, with the widest compare that the processor has.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

constexpr std::int32_t kLitRoom = 64;  // what is too much is written over: so many more may be written

// Lists the bytes of `from` that are not 0 as (place + index) << 8 | byte, and returns how many there are.
// What lies at `soon` is asked for on the way.
using FindLit = std::int32_t (*)(const std::uint8_t* from, const std::uint8_t* soon, std::int32_t length,
                                 std::int32_t place, std::uint32_t* found);

// One bit for each of n bytes, at most 64, that is not 0.
inline std::uint64_t nonzero_bytes(const std::uint8_t* bytes, std::int32_t n) {
#if defined(__AVX512BW__)
  const __mmask64 there = n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
  const __m512i values = _mm512_maskz_loadu_epi8(there, bytes);
  return _mm512_test_epi8_mask(values, values);
#else
  std::uint64_t bits = 0;
  std::int32_t k = 0;
#if defined(__AVX2__)
  for (; k + 32 <= n; k += 32) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + k));
    const __m256i empty = _mm256_cmpeq_epi8(values, _mm256_setzero_si256());
    const auto found = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(empty));
    bits |= std::uint64_t{found} << k;
  }
#elif defined(__x86_64__)
  for (; k + 16 <= n; k += 16) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + k));
    const __m128i empty = _mm_cmpeq_epi8(values, _mm_setzero_si128());
    const auto found = ~static_cast<std::uint32_t>(_mm_movemask_epi8(empty)) & 0xFFFFu;
    bits |= std::uint64_t{found} << k;
  }
#endif
  for (; k < n; ++k) bits |= std::uint64_t{bytes[k] != 0} << k;
  return bits;
#endif
}

// How many of 64 bytes are lit cannot be foreseen, so as many are taken always.
inline std::int32_t find_lit(const std::uint8_t* from, const std::uint8_t* soon, std::int32_t length,
                             std::int32_t place, std::uint32_t* found) {
  constexpr std::int32_t kAtOnce = 2;
  constexpr std::uint64_t kStop = std::uint64_t{1} << 63;  // there is a lowest bit
  std::uint32_t* to = found;
  for (std::int32_t k = 0; k < length; k += 64) {
    __builtin_prefetch(soon + k, 0, 2);
    std::uint64_t bits = nonzero_bytes(from + k, length - k < 64 ? length - k : 64);
    const std::int32_t lit = __builtin_popcountll(bits);
    std::int32_t taken = 0;
    do {
      for (std::int32_t i = 0; i < kAtOnce; ++i, ++taken, bits &= bits - 1) {
        to[taken] = static_cast<std::uint32_t>(k + __builtin_ctzll(bits | kStop));
      }
    } while (taken < lit);
    to += lit;
  }
  for (std::uint32_t* at = found; at != to; ++at) {
    *at = (static_cast<std::uint32_t>(place) + *at) << 8 | from[*at];
  }
  return static_cast<std::int32_t>(to - found);
}

#if defined(__AVX512BW__)

// The same, with what is lit put together by the processor: eight of 64 always, and the rest where there is
// more.
__attribute__((target("avx512vbmi2"))) inline std::int32_t find_lit_vbmi2(const std::uint8_t* from,
                                                                          const std::uint8_t* soon,
                                                                          std::int32_t length,
                                                                          std::int32_t place,
                                                                          std::uint32_t* found) {
  alignas(64) std::uint8_t first[64];
  for (int i = 0; i < 64; ++i) first[i] = static_cast<std::uint8_t>(i);
  const __m512i index = _mm512_load_si512(first);
  std::uint32_t* to = found;
  const auto take = [&](std::int32_t k, __m512i bytes) __attribute__((target("avx512vbmi2"))) {
    __builtin_prefetch(soon + k, 0, 2);
    const __mmask64 lit = _mm512_test_epi8_mask(bytes, bytes);
    const auto number = static_cast<std::int32_t>(__builtin_popcountll(lit));
    const __m512i at = _mm512_maskz_compress_epi8(lit, index);
    const __m512i counts = _mm512_maskz_compress_epi8(lit, bytes);
    const int base = (place + k) << 8;
    const __m128i pairs = _mm_unpacklo_epi8(_mm512_castsi512_si128(counts), _mm512_castsi512_si128(at));
    const __m256i eight = _mm256_add_epi32(_mm256_cvtepu16_epi32(pairs), _mm256_set1_epi32(base));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), eight);
    if (number > 8) {
      alignas(64) std::uint8_t places[64], values[64];
      _mm512_store_si512(places, at);
      _mm512_store_si512(values, counts);
      for (std::int32_t i = 8; i < number; ++i) {
        to[i] = static_cast<std::uint32_t>(base + (places[i] << 8 | values[i]));
      }
    }
    to += number;
  };
  std::int32_t k = 0;
  for (; k + 64 <= length; k += 64) take(k, _mm512_loadu_si512(from + k));
  if (k < length) take(k, _mm512_maskz_loadu_epi8((__mmask64{1} << (length - k)) - 1, from + k));
  return static_cast<std::int32_t>(to - found);
}

#endif

inline FindLit best_find_lit() {
#if defined(__AVX512BW__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vbmi2")) return find_lit_vbmi2;
#endif
  return find_lit;
}

}  // namespace shotsieve::cpu
