// Kernels of bank_mode. Values lie in the array of shifts while they are corrected: they are made, medians
// are subtracted from them, and what was subtracted in all takes their place. Every step is a kernel, so that
// none needs a barrier.
#pragma once

#include <cstdint>

#include "../cpp/core/bank_mode.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kBankThreads = 128;
constexpr int kBankFrames = 16;  // frames of a group that are worked on at once

__device__ inline int value_at(const BankModeCall& c, std::int64_t frame, std::int64_t row, std::int64_t p) {
  const float* table = c.table + row * math::kSinglePlanes * c.n_pixels + p;
  return math::bank_value(static_cast<float>(c.raw[frame * c.n_pixels + p]),
                          table[math::kSingleOffset * c.n_pixels], table[math::kSingleGain * c.n_pixels]);
}

// Finish = false: values instead of shifts; true: what was subtracted from them.
template <bool Finish>
__global__ void bank_values_kernel(BankModeCall c) {
  const FrameGroup group = c.groups[blockIdx.y];
  const std::int64_t p = std::int64_t{blockIdx.x} * kBankThreads + threadIdx.x;
  if (group.table_row < 0 || p >= c.n_pixels) return;
  for (std::int32_t k = group.start + static_cast<int>(blockIdx.z); k < group.stop; k += kBankFrames) {
    const std::int64_t frame = c.frames[k];
    std::int32_t& shift = c.shift[frame * c.n_pixels + p];
    const int value = value_at(c, frame, group.table_row, p);
    if (Finish) {
      shift = value == math::kNoValue ? 0 : value - shift;
    } else {
      shift = value;
    }
  }
}

// Some values of a frame: `lines` runs of `count`, of which this lane looks at every `lanes`-th.
struct Values {
  std::int32_t* first;
  std::int64_t count, stride, line_step, lines;
  int lane, lanes;

  template <class Body>
  __device__ void each(const Body& body) const {
    for (std::int64_t l = 0; l < lines; ++l) {
      for (std::int64_t i = lane; i < count; i += lanes) body(first[l * line_step + i * stride]);
    }
  }
};

// Sum, and smallest number, over the lanes that share a median.
__device__ inline int sum_lanes(int value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}
__device__ inline unsigned min_lanes(unsigned value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    const unsigned other = __shfl_xor_sync(0xFFFFFFFFu, value, step);
    value = other < value ? other : value;
  }
  return value;
}

// Finds the median bit by bit, from the highest: how many values lie below a key is the same in any order.
__device__ inline void subtract_median(const Values& v, int limit) {
  int mine = 0;
  v.each([&](std::int32_t value) { mine += value != math::kNoValue ? 1 : 0; });
  const int n = sum_lanes(mine, v.lanes);
  if (n < math::kLeastOfMedian) return;
  const int rank = (n - 1) / 2;
  std::uint32_t key = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const std::uint32_t trial = key | (1u << bit);
    mine = 0;
    v.each([&](std::int32_t value) {
      mine += (value != math::kNoValue && math::order_key(value) < trial) ? 1 : 0;
    });
    if (sum_lanes(mine, v.lanes) <= rank) key = trial;
  }
  // The value after it in order is the same again, or the smallest above it.
  mine = 0;
  std::uint32_t above = 0xFFFFFFFFu;
  v.each([&](std::int32_t value) {
    const std::uint32_t own = math::order_key(value);
    mine += (value != math::kNoValue && own <= key) ? 1 : 0;
    if (own > key && own < above) above = own;
  });
  const int up_to = sum_lanes(mine, v.lanes);
  above = min_lanes(above, v.lanes);
  const std::uint32_t next = n % 2 != 0 || up_to > n / 2 ? key : above;
  const int step =
      math::bank_step(math::middle_of(math::value_of_key(key), math::value_of_key(next)), n, limit);
  if (step == 0) return;
  v.each([&](std::int32_t& value) { value = value == math::kNoValue ? value : value - step; });
}

enum class Median { kBank, kRow, kColumn };

// A warp takes a bank; a thread takes a row or a column of a bank.
template <Median M>
__global__ void bank_median_kernel(BankModeCall c) {
  const FrameGroup group = c.groups[blockIdx.y];
  const int lanes = M == Median::kBank ? 32 : 1;
  const std::int64_t unit = (std::int64_t{blockIdx.x} * kBankThreads + threadIdx.x) / lanes;
  const std::int64_t per_bank = M == Median::kBank ? 1 : M == Median::kRow ? c.bank_rows : c.bank_columns;
  if (group.table_row < 0 || unit >= c.n_banks() * per_bank) return;
  const std::int64_t corner = c.corner(unit / per_bank);
  const std::int64_t within = unit % per_bank;
  for (std::int32_t k = group.start + static_cast<int>(blockIdx.z); k < group.stop; k += kBankFrames) {
    std::int32_t* first = c.shift + std::int64_t{c.frames[k]} * c.n_pixels + corner;
    Values v{first, c.bank_columns, 1, c.columns, c.bank_rows, static_cast<int>(threadIdx.x) % lanes, lanes};
    if (M == Median::kRow) {
      v.first = first + within * c.columns;
      v.lines = 1;
    } else if (M == Median::kColumn) {
      v.first = first + within;
      v.count = c.bank_rows;
      v.stride = c.columns;
      v.lines = 1;
    }
    subtract_median(v, c.limit);
  }
}

}  // namespace shotsieve::device
