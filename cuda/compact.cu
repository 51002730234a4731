#include "compact.cuh"

#include "../cpp/core/compact.hpp"
#include "launch.cuh"

namespace shotsieve {

void keep_list(const std::uint8_t* keep, std::int64_t n, std::int32_t* index, std::int32_t* count,
               const Where& where) {
  SS_LAUNCH(device::keep_list_kernel, 1, device::kKeepThreads, 0, stream_of(where), keep, n, index, count);
  check_launch("keep_list");
}

void gather_rows(const std::uint8_t* source, std::int64_t row_bytes, const std::int32_t* index,
                 const std::int32_t* count, std::int64_t capacity, std::uint8_t* target, const Where& where) {
  if (capacity == 0) return;
  const std::int64_t words = row_bytes / 16;
  const std::int64_t blocks = (words + device::kGatherThreads - 1) / device::kGatherThreads;
  const dim3 grid(static_cast<unsigned>(blocks < 64 ? blocks : 64),
                  static_cast<unsigned>(capacity < 65535 ? capacity : 65535));
  const uint4* from = reinterpret_cast<const uint4*>(source);
  uint4* to = reinterpret_cast<uint4*>(target);
  SS_LAUNCH(device::gather_rows_kernel, grid, device::kGatherThreads, 0, stream_of(where), from, words, index,
            count, capacity, to);
  check_launch("gather_rows");
}

}  // namespace shotsieve
