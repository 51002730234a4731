// Stable compaction: the list of kept rows, and those rows gathered to the front of another buffer.
#pragma once

#include <cstdint>

#include "where.hpp"

namespace shotsieve {

// index[0..count) = positions of the non-zero flags, ascending. Promise: exact.
void keep_list(const std::uint8_t* keep, std::int64_t n, std::int32_t* index, std::int32_t* count,
               const Where& where);

// target[k] = source[index[k]] for k < min(*count, capacity). Promise: exact.
void gather_rows(const std::uint8_t* source, std::int64_t row_bytes, const std::int32_t* index,
                 const std::int32_t* count, std::int64_t capacity, std::uint8_t* target, const Where& where);

}  // namespace shotsieve
