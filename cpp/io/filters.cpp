#include "filters.hpp"

#include <cstring>

namespace shotsieve::io {
namespace {

// The size known at compile time lets the compiler interleave whole vectors.
template <int Size>
void interleave(const std::uint8_t* from, std::int64_t total, std::int64_t count, std::uint8_t* to) {
  for (std::int64_t i = 0; i < count; ++i)
    for (int b = 0; b < Size; ++b) to[i * Size + b] = from[b * total + i];
}

std::uint64_t big_endian(const std::uint8_t* at, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return value;
}

}  // namespace

void unshuffle(const std::uint8_t* from, std::int64_t size, std::int64_t total, std::int64_t first,
               std::int64_t count, std::uint8_t* to) {
  from += first;
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
