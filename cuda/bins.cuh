// Sums over bins on the device: a block takes a part of the slab and 32 frames, one in each lane. Pixels are
// brought in by chunks, along pixels, and added along bins: a warp owns some bins of the chunk, so that every
// sum has one owner and the order of pixels, and nothing is atomic.
#pragma once

#include <cstdint>
#include <limits>

#include "../cpp/core/bins.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kBinThreads = 32 * kBinWarps;
constexpr int kBinLanes = 32;               // frames of a block
constexpr int kTileStride = kBinLanes + 1;  // neither loading nor adding meets a bank twice
constexpr float kLeastValue = -std::numeric_limits<float>::infinity();
constexpr float kNotThere = std::numeric_limits<float>::quiet_NaN();

// What a call keeps for every slot of the plan and every frame, frames padded to whole groups of lanes.
struct BinScratch {
  double* signal;  // (n_slots, padded)
  double* second;  // the same; null for kPlain
  double* lost;    // (n_columns, n_slots, padded)
  float* maximum;  // (n_slots, padded) for kMoments
  std::int64_t padded;
};

// The sums of one bin that a lane holds while its warp stays in that bin.
template <BinMode Mode>
struct BinSum {
  double signal = 0.0, second = 0.0;
  double low = 0.0, high = 0.0, centre = 0.0;
  float maximum = kLeastValue;

  __device__ void open(const BinsCall& c, const BinScratch& s, std::int64_t slot, std::int64_t frame) {
    const std::int64_t at = slot * s.padded + frame;
    signal = s.signal[at];
    if (Mode != BinMode::kPlain) second = s.second[at];
    if (Mode == BinMode::kMoments) maximum = s.maximum[at];
    if (Mode == BinMode::kResidual) {
      const std::int64_t known = frame < c.n_frames ? frame : c.n_frames - 1;
      const std::int64_t own = known * c.plan.n_bins + c.plan.slot_bin[slot];
      const std::int64_t step = c.n_frames * c.plan.n_bins;
      low = c.limits[own];
      high = c.limits[own + step];
      centre = c.limits[own + 2 * step];
    }
  }

  __device__ void close(const BinScratch& s, std::int64_t slot, std::int64_t frame) const {
    const std::int64_t at = slot * s.padded + frame;
    s.signal[at] = signal;
    if (Mode != BinMode::kPlain) s.second[at] = second;
    if (Mode == BinMode::kMoments) s.maximum[at] = maximum;
  }

  // Adds an entry; returns whether it counts.
  __device__ bool add(const BinPlan& plan, std::int64_t own, double coef, float value, float variance) {
    bool counts = value == value;
    const double wide = static_cast<double>(counts ? value : 0.0f);
    if (Mode == BinMode::kResidual) {
      const double bare = wide - plan.dark[own];
      counts = counts & math::in_limits(bare, plan.norm[own], low, high);
      second += counts ? math::residual(bare, plan.norm[own], centre, coef) : 0.0;
    } else if (Mode == BinMode::kVariance) {
      second += static_cast<double>(counts ? variance : 0.0f) * (coef * coef);
    } else if (Mode == BinMode::kMoments) {
      second += (wide * coef) * (wide * coef);
      maximum = counts & (value > maximum) ? value : maximum;
    }
    signal += counts ? wide * coef : 0.0;
    return counts;
  }
};

// Whether the caller masks a pixel of a frame.
__device__ inline bool is_masked(const BinsCall& c, std::int64_t at) {
  if (c.bad_bytes != nullptr) return c.bad_bytes[at] != 0;
  if (c.bad_words != nullptr) return c.bad_words[at] != 0;
  return false;
}

// Brings a chunk of a part into shared memory, NaN for what must not count; one frame after the other, so
// that neighbouring threads read neighbouring pixels.
template <BinMode Mode>
__device__ inline void load_chunk(const BinsCall& c, const PartRect& part, std::int32_t first_pixel,
                                  std::int64_t first_frame, float* tile, float* variance) {
  const std::int32_t area = part.height() * part.width();
  for (int i = static_cast<int>(threadIdx.x); i < kBinChunk * kBinLanes; i += kBinThreads) {
    const int pixel = i % kBinChunk;
    const int lane = i / kBinChunk;
    const std::int64_t frame = first_frame + lane;
    float value = 0.0f;
    float spread = 0.0f;
    if (first_pixel + pixel < area && frame < c.n_frames) {
      const std::int64_t at = frame * c.plan.n_pixels + c.plan.slab_pixel(part, first_pixel + pixel);
      value = c.pixels[at];
      bool fine = math::is_finite(value) && !is_masked(c, at);
      if (Mode == BinMode::kVariance) {
        spread = c.variance[at];
        fine = fine && math::is_finite(spread);
      }
      value = fine ? value : kNotThere;
    }
    tile[pixel * kTileStride + lane] = value;
    if (Mode == BinMode::kVariance) variance[pixel * kTileStride + lane] = spread;
  }
}

// Takes a lost entry out of the static sums of its slot.
__device__ inline void lose(const BinPlan& plan, const BinScratch& s, std::int64_t slot, std::int64_t frame,
                            std::int64_t entry) {
  for (std::int32_t q = 0; q < plan.n_columns; ++q) {
    s.lost[(std::int64_t{q} * plan.n_slots + slot) * s.padded + frame] +=
        plan.columns[entry * plan.n_columns + q];
  }
}

template <BinMode Mode>
__global__ void part_sums_kernel(BinsCall c, BinScratch s) {
  SS_SHARED(float, tile, kBinChunk* kTileStride);
  SS_SHARED(float, variance, Mode == BinMode::kVariance ? kBinChunk * kTileStride : 1);
  const BinPlan& plan = c.plan;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t first_frame = std::int64_t{blockIdx.x} * kBinLanes;
  const std::int64_t frame = first_frame + lane;
  for (std::int32_t p = static_cast<std::int32_t>(blockIdx.y); p < plan.n_parts;
       p += static_cast<std::int32_t>(gridDim.y)) {
    const PartRect part = plan.parts[p];
    const std::int64_t first_slot = plan.slot_start[p];
    for (std::int32_t chunk = plan.chunk_start[p]; chunk < plan.chunk_start[p + 1]; ++chunk) {
      const std::int32_t first_pixel = (chunk - plan.chunk_start[p]) * kBinChunk;
      __syncthreads();  // slower warps still add the chunk before
      load_chunk<Mode>(c, part, first_pixel, first_frame, tile, variance);
      __syncthreads();
      BinSum<Mode> sum;
      std::int32_t open = -1;
      const std::int32_t* runs = plan.run_start + std::int64_t{chunk} * kBinWarps + warp;
      for (std::int32_t r = runs[0]; r < runs[1]; ++r) {
        const std::int32_t bin = plan.run_bin[r];
        if (bin != open) {
          if (open >= 0) sum.close(s, first_slot + open, frame);
          sum.open(c, s, first_slot + bin, frame);
          open = bin;
        }
        const std::int64_t entry = plan.run_entry[r];
        const int pixel = plan.run_pixel[r];
        const std::int64_t own = std::int64_t{plan.part_start[p]} + first_pixel + pixel;
        const double coef = plan.coef != nullptr ? plan.coef[entry] : 1.0;
        const int at = pixel * kTileStride + lane;
        const bool counts =
            sum.add(plan, own, coef, tile[at], Mode == BinMode::kVariance ? variance[at] : 0.0f);
        if (!counts && frame < c.n_frames) lose(plan, s, first_slot + bin, frame, entry);
      }
      if (open >= 0) sum.close(s, first_slot + open, frame);
    }
  }
}

// A thread for every bin of a frame adds the sums of the parts in their order.
template <BinMode Mode>
__global__ void add_parts_kernel(BinsCall c, BinScratch s) {
  const BinPlan& plan = c.plan;
  const std::int64_t frame = std::int64_t{blockIdx.x} * kBinLanes + threadIdx.x % kBinLanes;
  const std::int64_t bins_of_grid = std::int64_t{gridDim.y} * kBinWarps;
  if (frame >= c.n_frames) return;
  for (std::int64_t bin = std::int64_t{blockIdx.y} * kBinWarps + threadIdx.x / kBinLanes; bin < plan.n_bins;
       bin += bins_of_grid) {
    const std::int32_t first = plan.bin_start[bin];
    const std::int32_t stop = plan.bin_start[bin + 1];
    const std::int64_t to = frame * plan.n_bins + bin;
    double signal = 0.0;
    double second = 0.0;
    float maximum = kLeastValue;
    for (std::int32_t i = first; i < stop; ++i) {
      const std::int64_t at = plan.bin_slot[i] * s.padded + frame;
      signal += s.signal[at];
      if (Mode != BinMode::kPlain) second += s.second[at];
      if (Mode == BinMode::kMoments) maximum = s.maximum[at] > maximum ? s.maximum[at] : maximum;
    }
    c.signal[to] = signal;
    if (Mode != BinMode::kPlain) c.second[to] = second;
    if (Mode == BinMode::kMoments) c.maximum[to] = maximum;
    for (std::int32_t q = 0; q < plan.n_columns; ++q) {
      double lost = 0.0;
      for (std::int32_t i = first; i < stop; ++i) {
        lost += s.lost[(std::int64_t{q} * plan.n_slots + plan.bin_slot[i]) * s.padded + frame];
      }
      c.lost[q * c.n_frames * plan.n_bins + to] = lost;
    }
  }
}

// Sums start from 0, and maxima below every value.
__global__ void clear_slots_kernel(BinScratch s, std::int64_t n, std::int64_t n_lost) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n_lost; i += step) {
    s.lost[i] = 0.0;
    if (i >= n) continue;
    s.signal[i] = 0.0;
    if (s.second != nullptr) s.second[i] = 0.0;
    if (s.maximum != nullptr) s.maximum[i] = kLeastValue;
  }
}

}  // namespace shotsieve::device
