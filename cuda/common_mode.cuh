// common_mode on the device: a block takes a tile of pixels, an ASIC, through all iterations with its values
// in registers, and walks over the frames of one memory cell. cell_common_mode: a thread takes eight pixels
// through all cells of a row.
#pragma once

#include <cstdint>

#include "../cpp/core/common_mode.hpp"
#include "dark_values.cuh"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kModeThreads = 256;
constexpr int kModeWarps = kModeThreads / 32;
constexpr int kModeRuns = 2;  // runs of eight pixels of a thread: a tile has at most 4096 pixels
constexpr int kMaxTilePixels = kModeThreads * kPixelsPerThread * kModeRuns;

// Sums of value - shift - low over the dark pixels of a block, and their number, known to all its threads.
// `turn` alternates, so that one barrier is enough: who still reads the sums of a turn reads the other half.
__device__ inline void sum_block(unsigned& sum, int& count, unsigned* shared, int turn) {
  unsigned* half = shared + turn * 2 * kModeWarps;
  const unsigned warp_total = static_cast<unsigned>(warp_sum(static_cast<int>(sum)));
  const int warp_count = warp_sum(count);
  if (threadIdx.x % 32 == 0) {
    half[threadIdx.x / 32] = warp_total;
    half[kModeWarps + threadIdx.x / 32] = static_cast<unsigned>(warp_count);
  }
  __syncthreads();
  sum = 0;
  unsigned all = 0;
  for (int w = 0; w < kModeWarps; ++w) {
    sum += half[w];
    all += half[kModeWarps + w];
  }
  count = static_cast<int>(all);
}

template <bool Packed>
__global__ void __launch_bounds__(kModeThreads) common_mode_kernel(CommonModeCall c) {
  SS_SHARED(unsigned, shared, 4 * kModeWarps);
  const DarkRules& r = c.rules;
  const Tiles& t = c.shifts.tiles;
  const FrameGroup group = c.groups[blockIdx.x / c.shifts.n_tiles];
  if (group.table_row < 0) return;
  const std::int64_t tile = blockIdx.x % c.shifts.n_tiles;
  const std::int64_t corner = tile / t.across() * t.rows * t.frame_columns + tile % t.across() * t.columns;
  const auto width = static_cast<unsigned>(r.high - r.low);
  int turn = 0;
  for (std::int32_t k = group.start; k < group.stop; ++k) {
    const std::int64_t frame = c.frames[k];
    EightInts values[kModeRuns];
    for (int run = 0; run < kModeRuns; ++run) {
      const std::int64_t at = (run * kModeThreads + static_cast<int>(threadIdx.x)) * kPixelsPerThread;
      for (int& value : values[run].value) value = math::kNeverDark;
      if (at >= t.rows * t.columns) continue;
      const std::int64_t pixel = corner + at / t.columns * t.frame_columns + at % t.columns;
      values[run] = load_values<Packed>(r, frame, group.table_row, pixel);
      if (c.shifts.pixel == nullptr || c.shifts.pixel_row[frame] < 0) continue;
      const std::int32_t* before = c.shifts.pixel + c.shifts.pixel_row[frame] * r.n_pixels + pixel;
      for (int i = 0; i < kPixelsPerThread; ++i) {
        values[run].value[i] = math::add_shifts(values[run].value[i], -before[i]);
      }
    }
    std::int32_t* target = c.shift + frame * c.shifts.n_tiles + tile;
    int shift = c.add ? *target : 0;
    for (int itr = 0; itr < c.n_itr; ++itr) {
      const int from = math::add_shifts(shift, r.low);
      unsigned sum = 0;
      int count = 0;
      for (int run = 0; run < kModeRuns; ++run) {
        for (int i = 0; i < kPixelsPerThread; ++i) {
          const unsigned above = math::above_low(values[run].value[i], from);
          count += above <= width ? 1 : 0;
          sum += above <= width ? above : 0u;
        }
      }
      sum_block(sum, count, shared, turn);
      turn = 1 - turn;
      if (count <= r.least) break;
      const int step = math::mean_shift(std::int64_t{sum} + std::int64_t{count} * r.low, count);
      if (step == 0) break;
      shift = math::add_shifts(shift, step);
    }
    if (threadIdx.x == 0) *target = shift;  // after a barrier of sum_block: all have read it
  }
}

template <bool Packed>
__global__ void __launch_bounds__(kModeThreads) cell_common_mode_kernel(CellModeCall c) {
  const DarkRules& r = c.rules;
  constexpr int kBlockPixels = kModeThreads * kPixelsPerThread;
  const std::int64_t parts = (r.n_pixels + kBlockPixels - 1) / kBlockPixels;
  const std::int64_t unit = blockIdx.x / parts;
  const std::int64_t pixel = (blockIdx.x % parts) * kBlockPixels + threadIdx.x * kPixelsPerThread;
  if (pixel >= r.n_pixels) return;
  const auto width = static_cast<unsigned>(r.high - r.low);
  std::int32_t* target = c.pixel_shift + unit * r.n_pixels + pixel;
  EightInts before{}, sum{}, count{};
  if (c.add) {
    for (int i = 0; i < kPixelsPerThread; ++i) before.value[i] = target[i];
  }
  for (std::int64_t k = 0; k < c.cells; ++k) {
    const std::int64_t frame = c.unit_frames[unit * c.cells + k];
    const EightInts values = load_values<Packed>(r, frame, c.unit_rows[unit * c.cells + k], pixel);
    const EightShifts of_tile = load_shifts(c.shifts, frame, pixel, r.n_pixels);
    for (int i = 0; i < kPixelsPerThread; ++i) {
      const int shift = math::add_shifts(before.value[i], of_tile.value[i]);
      const unsigned above = math::above_low(values.value[i], math::add_shifts(shift, r.low));
      count.value[i] += above <= width ? 1 : 0;
      sum.value[i] += above <= width ? static_cast<int>(above) + r.low : 0;
    }
  }
  for (int i = 0; i < kPixelsPerThread; ++i) {
    const int step = count.value[i] > r.least ? math::mean_shift(sum.value[i], count.value[i]) : 0;
    target[i] = math::add_shifts(before.value[i], step);
  }
}

}  // namespace shotsieve::device
