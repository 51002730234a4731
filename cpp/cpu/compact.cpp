#include "../core/compact.hpp"

#include <algorithm>
#include <cstring>

#include "parallel.hpp"

namespace shotsieve {

void keep_list(const std::uint8_t* keep, std::int64_t n, std::int32_t* index, std::int32_t* count,
               const Where&) {
  std::int32_t kept = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (keep[i] != 0) index[kept++] = static_cast<std::int32_t>(i);
  }
  *count = kept;
}

void gather_rows(const std::uint8_t* source, std::int64_t row_bytes, const std::int32_t* index,
                 const std::int32_t* count, std::int64_t capacity, std::uint8_t* target, const Where& where) {
  const std::int64_t rows = std::min<std::int64_t>(*count, capacity);
  cpu::parallel_for(rows, where.threads, [&](std::int64_t k) {
    std::memcpy(target + k * row_bytes, source + index[k] * row_bytes, static_cast<std::size_t>(row_bytes));
  });
}

}  // namespace shotsieve
