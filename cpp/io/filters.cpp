#include "filters.hpp"

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace shotsieve::io {
namespace {

// The size known at compile time lets the compiler interleave whole vectors.
template <int Size>
void interleave(const std::uint8_t* from, std::int64_t total, std::int64_t count, std::uint8_t* to) {
  for (std::int64_t i = 0; i < count; ++i)
    for (int b = 0; b < Size; ++b) to[i * Size + b] = from[b * total + i];
}

#if defined(__SSE2__)
constexpr std::int64_t kVector = 16;  // bytes, and elements at once

__m128i load(const std::uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

void stream(std::uint8_t* to, __m128i low, __m128i high) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), low);
  _mm_stream_si128(reinterpret_cast<__m128i*>(to + kVector), high);
}

// As `interleave`, of 2 or 4 bytes, with stores past the caches to `to`, which is aligned to vectors. Written
// by hand for the stores alone: the compiler's own loop is as fast otherwise, and into a large block takes
// three times as long as this.
template <int Size>
void interleave_past(const std::uint8_t* from, std::int64_t total, std::int64_t count, std::uint8_t* to) {
  static_assert(Size == 2 || Size == 4, "pairs of planes, or pairs of pairs");
  const std::int64_t whole = count / kVector * kVector;
  for (std::int64_t i = 0; i < whole; i += kVector) {
    const __m128i a = load(from + i), b = load(from + total + i);
    const __m128i ab = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b);
    if constexpr (Size == 2) {
      stream(to + Size * i, ab, ab_high);
    } else {
      const __m128i c = load(from + 2 * total + i), d = load(from + 3 * total + i);
      const __m128i cd = _mm_unpacklo_epi8(c, d), cd_high = _mm_unpackhi_epi8(c, d);
      stream(to + Size * i, _mm_unpacklo_epi16(ab, cd), _mm_unpackhi_epi16(ab, cd));
      stream(to + Size * i + 2 * kVector, _mm_unpacklo_epi16(ab_high, cd_high),
             _mm_unpackhi_epi16(ab_high, cd_high));
    }
  }
  _mm_sfence();  // these stores are not ordered by what threads else tell each other with
  interleave<Size>(from + whole, total, count - whole, to + whole * Size);
}
#endif

std::uint64_t big_endian(const std::uint8_t* at, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return value;
}

}  // namespace

void unshuffle(const std::uint8_t* from, std::int64_t size, std::int64_t total, std::int64_t first,
               std::int64_t count, std::uint8_t* to, bool past) {
  from += first;
#if defined(__SSE2__)
  if (past && reinterpret_cast<std::uintptr_t>(to) % kVector == 0) {
    if (size == 2) return interleave_past<2>(from, total, count, to);
    if (size == 4) return interleave_past<4>(from, total, count, to);
  }
#else
  static_cast<void>(past);
#endif
  switch (size) {
    case 1:
      std::memcpy(to, from, static_cast<std::size_t>(count));
      return;
    case 2:
      return interleave<2>(from, total, count, to);
    case 4:
      return interleave<4>(from, total, count, to);
    case 8:
      return interleave<8>(from, total, count, to);
    default:
      for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t b = 0; b < size; ++b) to[i * size + b] = from[b * total + i];
  }
}

std::int64_t bitshuffle_block(const std::uint8_t* chunk, std::int64_t stored, std::int64_t nbytes,
                              std::int64_t size) {
  constexpr std::int64_t kHeader = 12, kTogether = 8;
  if (size < 1 || nbytes < 0 || nbytes % size || stored < kHeader) return -1;
  if (big_endian(chunk, 8) != static_cast<std::uint64_t>(nbytes)) return -1;
  const std::int64_t block_bytes = static_cast<std::int64_t>(big_endian(chunk + 8, 4));
  if (block_bytes == 0 || block_bytes % size || block_bytes / size % kTogether) return -1;
  const std::int64_t elements = nbytes / size, block = block_bytes / size;
  const std::int64_t blocks = elements / block + (elements % block >= kTogether);
  std::int64_t at = kHeader;
  for (std::int64_t i = 0; i < blocks; ++i) {
    if (stored - at < 4) return -1;
    const std::int64_t length = static_cast<std::int64_t>(big_endian(chunk + at, 4));
    at += 4;
    if (stored - at < length) return -1;
    at += length;
  }
  return stored - at < elements % kTogether * size ? -1 : block;
}

}  // namespace shotsieve::io
