// Correlation over time on the device. Sums of counts are integers, so that atomic additions give the same in
// any order; sums of values have one owner each, and the order of the CPU.
#pragma once

#include <cstdint>

#include "../cpp/core/correlation.hpp"
#include "../cpp/math/correlation.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kPairThreads = 256;

constexpr int kEventThreads = 128;
constexpr int kEventBlocks = 512;

constexpr int kValueTile = 16;        // frames
constexpr int kValueStride = 64 + 1;  // pixels at a time, in float64

// The place of a tile in the lower triangle, row by row; or in the whole square.
__device__ inline void tile_of(std::int64_t number, std::int32_t columns, bool whole, std::int32_t& row,
                               std::int32_t& column) {
  if (whole) {
    row = static_cast<std::int32_t>(number / columns);
    column = static_cast<std::int32_t>(number % columns);
    return;
  }
  row = 0;
  while (number > row) number -= ++row;
  column = static_cast<std::int32_t>(number);
}

// The last part for which `begun` holds; it holds for the first, and for none after one for which it does
// not.
template <class Begun>
__device__ inline std::int32_t last_part(std::int32_t n_parts, Begun begun) {
  std::int32_t low = 0, high = n_parts;
  while (high - low > 1) {
    const std::int32_t middle = (low + high) / 2;
    if (begun(middle)) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ inline std::int32_t part_of(const PartPlan& plan, std::int32_t place) {
  return last_part(plan.n_parts, [&](std::int32_t p) { return plan.part_start[p] <= place; });
}

// A thread takes a pixel and keeps a list of what is not 0; each event is paired with those before it.
__global__ void count_events_kernel(CountPairs c, std::uint32_t* lists) {
  const std::int64_t n_threads = std::int64_t{gridDim.x} * blockDim.x;
  const std::int64_t own = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t all = c.n_trains * c.plan.n_places;
  for (std::int64_t number = own; number < all; number += n_threads) {
    const std::int64_t train = number / c.plan.n_places;
    const auto place = static_cast<std::int32_t>(number % c.plan.n_places);
    std::int32_t* out = c.sums + (train * c.plan.n_parts + part_of(c.plan, place)) * c.n_frames * c.n_others;
    const std::int32_t pixel = c.plan.order[place];
    std::int32_t kept = 0;
    for (std::int32_t t = 0; t < c.n_frames; ++t) {
      const std::uint32_t count = c.counts[(train * c.n_frames + t) * c.plan.n_pixels + pixel];
      if (count != 0) lists[kept++ * n_threads + own] = math::make_event(t, count);
      if (count == 0 || c.others != nullptr) continue;
      for (std::int32_t k = 0; k < kept; ++k) {
        const std::uint32_t event = lists[k * n_threads + own];
        const std::int32_t before = math::event_frame(event);
        const int product = static_cast<int>(count) * math::event_count(event);
        atomicAdd(out + std::int64_t{t} * c.n_others + before, product);
        if (before != t) atomicAdd(out + std::int64_t{before} * c.n_others + t, product);
      }
    }
    for (std::int32_t t = 0; c.others != nullptr && t < c.n_others; ++t) {
      const int count = c.others[(train * c.n_others + t) * c.plan.n_pixels + pixel];
      for (std::int32_t k = 0; count != 0 && k < kept; ++k) {
        const std::uint32_t event = lists[k * n_threads + own];
        atomicAdd(out + std::int64_t{math::event_frame(event)} * c.n_others + t,
                  count * math::event_count(event));
      }
    }
  }
}

__device__ inline void load_values(const PartPlan& plan, const float* frames, std::int32_t n_frames,
                                   std::int32_t first_frame, std::int32_t place, std::int32_t stop,
                                   double* tile) {
  for (int i = static_cast<int>(threadIdx.x); i < kValueTile * 64; i += kPairThreads) {
    const int t = i / 64, k = i % 64;
    const bool there = (first_frame + t < n_frames) & (place + k < stop);
    tile[t * kValueStride + k] =
        there ? static_cast<double>(frames[(first_frame + t) * plan.n_pixels + plan.order[place + k]]) : 0.0;
  }
}

// A thread makes the sum of a frame with another, in the order of cpp/math/correlation.hpp.
__global__ void value_pairs_kernel(ValuePairs c, std::int32_t tile_columns, std::int64_t tiles) {
  SS_SHARED(double, left, kValueTile* kValueStride);
  SS_SHARED(double, right, kValueTile* kValueStride);
  const std::int64_t task = blockIdx.x / tiles;
  const std::int64_t train = task / c.plan.n_parts;
  const auto part = static_cast<std::int32_t>(task % c.plan.n_parts);
  const bool whole = c.others != nullptr;
  std::int32_t tile_row, tile_column;
  tile_of(blockIdx.x % tiles, tile_columns, whole, tile_row, tile_column);
  const std::int32_t row = tile_row * kValueTile, column = tile_column * kValueTile;
  const float* first = c.values + train * c.n_frames * c.plan.n_pixels;
  const float* second = whole ? c.others + train * c.n_others * c.plan.n_pixels : first;
  const int y = static_cast<int>(threadIdx.x) / kValueTile, x = static_cast<int>(threadIdx.x) % kValueTile;
  double total = 0.0, frame_total = 0.0;
  const std::int32_t stop = c.plan.part_start[part + 1];
  for (std::int32_t stretch = c.plan.part_start[part]; stretch < stop; stretch += math::kProductStretch) {
    double lanes[math::kProductLanes] = {}, frame_lanes[math::kProductLanes] = {};
    for (std::int32_t place = stretch; place < stretch + math::kProductStretch; place += 64) {
      __syncthreads();
      load_values(c.plan, first, c.n_frames, row, place, stop, left);
      load_values(c.plan, second, c.n_others, column, place, stop, right);
      __syncthreads();
      for (int k = 0; k < 64; k += math::kProductLanes) {
        for (int lane = 0; lane < math::kProductLanes; ++lane) {
          const double value = left[y * kValueStride + k + lane];
          lanes[lane] += value * right[x * kValueStride + k + lane];
          frame_lanes[lane] += value;
        }
      }
    }
    total += math::add_lanes(lanes);
    frame_total += math::add_lanes(frame_lanes);
  }
  const std::int32_t t = row + y, u = column + x;
  if (t >= c.n_frames || u >= c.n_others) return;
  double* out = c.sums + task * c.n_frames * c.n_others;
  out[std::int64_t{t} * c.n_others + u] = total;
  // A tile on the diagonal has both of each pair.
  if (!whole && tile_row != tile_column) out[std::int64_t{u} * c.n_others + t] = total;
  if (u == 0) c.frame_sums[task * c.n_frames + t] = frame_total;
}

__device__ inline double value_at(const LagCall& c, std::int64_t at) {
  return c.counts != nullptr ? static_cast<double>(c.counts[at]) : static_cast<double>(c.values[at]);
}

// A frame of a level: its frames added in pairs, pairs of pairs and so on.
__device__ inline double level_value(const LagCall& c, std::int64_t first, std::int32_t t,
                                     std::int32_t level) {
  double stack[32], value = 0.0;
  const std::int32_t count = 1 << level;
  for (std::int32_t k = 0; k < count; ++k) {
    value = value_at(c, first + (std::int64_t{t} * count + k) * c.plan.n_pixels);
    int depth = 0;
    for (; ((k >> depth) & 1) != 0; ++depth) value = stack[depth] + value;
    stack[depth] = value;
  }
  return value;
}

__device__ inline double add_block(double* shared, double value) {
  const int own = static_cast<int>(threadIdx.x);
  __syncthreads();
  shared[own] = value;
  for (int half = kLagPlaces / 2; half > 0; half /= 2) {
    __syncthreads();
    if (own < half) shared[own] += shared[own + half];
  }
  return own == 0 ? shared[0] : 0.0;  // others may be here before it is whole
}

// Blocks are numbered part by part; a thread owns a pixel.
__global__ void lag_blocks_kernel(LagCall c, double* scratch, std::int32_t n_blocks) {
  SS_SHARED(double, shared, kLagPlaces);
  const std::int64_t train = blockIdx.x / n_blocks;
  std::int32_t block = static_cast<std::int32_t>(blockIdx.x % n_blocks), part = 0;
  double* out = scratch + std::int64_t{blockIdx.x} * (c.n_lags + c.n_frames);
  for (; part < c.plan.n_parts; ++part) {
    const std::int32_t size = c.plan.part_start[part + 1] - c.plan.part_start[part];
    const std::int32_t own_blocks = (size + kLagPlaces - 1) / kLagPlaces;
    if (block < own_blocks) break;
    block -= own_blocks;
  }
  if (part == c.plan.n_parts) return;  // more blocks than the parts have: the last ones have nothing to do
  const std::int32_t place =
      c.plan.part_start[part] + block * kLagPlaces + static_cast<std::int32_t>(threadIdx.x);
  const bool there = place < c.plan.part_start[part + 1];
  const std::int64_t first =
      train * c.n_frames * c.plan.n_pixels + (there ? c.plan.order[place] : std::int32_t{0});
  for (std::int32_t entry = 0; entry < c.n_lags; ++entry) {
    const LevelLag own = c.lags[entry];
    const std::int32_t n = c.n_frames >> own.level;
    double sum = 0.0;
    for (std::int32_t t = 0; there && t + own.lag < n; ++t) {
      sum += level_value(c, first, t, own.level) * level_value(c, first, t + own.lag, own.level);
    }
    const double found = add_block(shared, sum);
    if (threadIdx.x == 0) out[entry] = found;
  }
  for (std::int32_t t = 0; t < c.n_frames; ++t) {
    const double found = add_block(shared, there ? value_at(c, first + t * c.plan.n_pixels) : 0.0);
    if (threadIdx.x == 0) out[c.n_lags + t] = found;
  }
}

// A thread adds what the blocks of a part have for one lag or one frame, in their order.
__global__ void lag_parts_kernel(LagCall c, const double* scratch, std::int32_t n_blocks) {
  const std::int64_t width = std::int64_t{c.n_lags} + c.n_frames;
  const std::int64_t all = c.n_trains * c.plan.n_parts * width;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all; i += step) {
    const std::int64_t task = i / width, column = i % width;
    const std::int64_t train = task / c.plan.n_parts;
    const auto part = static_cast<std::int32_t>(task % c.plan.n_parts);
    std::int64_t block = train * n_blocks;
    for (std::int32_t p = 0; p < part; ++p) {
      block += (c.plan.part_start[p + 1] - c.plan.part_start[p] + kLagPlaces - 1) / kLagPlaces;
    }
    const std::int32_t size = c.plan.part_start[part + 1] - c.plan.part_start[part];
    double sum = 0.0;
    for (std::int32_t b = 0; b < (size + kLagPlaces - 1) / kLagPlaces; ++b) {
      sum += scratch[(block + b) * width + column];
    }
    if (column < c.n_lags) {
      c.sums[task * c.n_lags + column] = sum;
    } else {
      c.frame_sums[task * c.n_frames + column - c.n_lags] = sum;
    }
  }
}

}  // namespace shotsieve::device
