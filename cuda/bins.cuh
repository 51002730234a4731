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

// The sums of a part's slots for the frames of a block: `step` elements lie between two slots of a frame.
struct PartSums {
  double* signal;
  double* second;
  float* maximum;
  std::int64_t step;
};

template <BinMode Mode>
constexpr std::int64_t kSlotBytes = kBinLanes * (Mode == BinMode::kPlain     ? 8
                                                 : Mode == BinMode::kMoments ? 8 + 8 + 4
                                                                             : 8 + 8);

// The sums of one bin that a lane holds while its warp stays in that bin.
template <BinMode Mode>
struct BinSum {
  double signal = 0.0, second = 0.0;
  double low = 0.0, high = 0.0, centre = 0.0;
  float maximum = kLeastValue;

  __device__ void open(const BinsCall& c, const PartSums& sums, std::int64_t first_slot, int bin, int lane,
                       std::int64_t frame) {
    const std::int64_t at = bin * sums.step + lane;
    signal = sums.signal[at];
    if (Mode != BinMode::kPlain) second = sums.second[at];
    if (Mode == BinMode::kMoments) maximum = sums.maximum[at];
    if (Mode == BinMode::kResidual) {
      const std::int64_t known = frame < c.n_frames ? frame : c.n_frames - 1;
      const std::int64_t own = known * c.plan.n_bins + c.plan.slot_bin[first_slot + bin];
      const std::int64_t step = c.n_frames * c.plan.n_bins;
      low = c.limits[own];
      high = c.limits[own + step];
      centre = c.limits[own + 2 * step];
    }
  }

  __device__ void close(const PartSums& sums, int bin, int lane) const {
    const std::int64_t at = bin * sums.step + lane;
    sums.signal[at] = signal;
    if (Mode != BinMode::kPlain) sums.second[at] = second;
    if (Mode == BinMode::kMoments) sums.maximum[at] = maximum;
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

// What a thread brings of a chunk: one pixel of every few frames, so that neighbouring threads read
// neighbouring pixels. All loads are under way before the first is waited for, and while the chunk before is
// added up.
template <BinMode Mode>
struct ChunkValues {
  static constexpr int kPixelThreads = kBinThreads / kBinChunk;  // threads that share a pixel
  static constexpr int kLoads = kBinLanes / kPixelThreads;
  static_assert(kBinThreads % kBinChunk == 0 && kBinLanes % kPixelThreads == 0);
  float value[kLoads];
  float spread[Mode == BinMode::kVariance ? kLoads : 1];

  __device__ void fetch(const BinsCall& c, const PartRect& part, std::int32_t first_pixel,
                        std::int64_t first_frame) {
    const std::int32_t pixel = first_pixel + static_cast<int>(threadIdx.x) % kBinChunk;
    const bool inside = pixel < part.height() * part.width();
    const std::int64_t frame = first_frame + threadIdx.x / kBinChunk;
    const std::int64_t at = frame * c.plan.n_pixels + (inside ? c.plan.slab_pixel(part, pixel) : 0);
    const std::int64_t step = c.plan.n_pixels * kPixelThreads;
    bool there[kLoads];
    for (int k = 0; k < kLoads; ++k) {
      there[k] = inside && frame + k * kPixelThreads < c.n_frames;
      value[k] = there[k] ? c.pixels[at + k * step] : 0.0f;
      if (Mode == BinMode::kVariance) spread[k] = there[k] ? c.variance[at + k * step] : 0.0f;
    }
    if (c.bad_bytes == nullptr && c.bad_words == nullptr) return;
    for (int k = 0; k < kLoads; ++k) {
      if (there[k] && is_masked(c, at + k * step)) value[k] = kNotThere;
    }
  }

  // Puts the values where lanes find their frame; NaN for what must not count.
  __device__ void store(float* tile, float* variance) const {
    const int pixel = static_cast<int>(threadIdx.x) % kBinChunk;
    const int first_lane = static_cast<int>(threadIdx.x) / kBinChunk;
    for (int k = 0; k < kLoads; ++k) {
      const int at = pixel * kTileStride + first_lane + k * kPixelThreads;
      bool fine = math::is_finite(value[k]);
      if (Mode == BinMode::kVariance) {
        fine = fine && math::is_finite(spread[k]);
        variance[at] = spread[k];
      }
      tile[at] = fine ? value[k] : kNotThere;
    }
  }
};

// What a warp adds of a chunk, read 32 entries at a time by its lanes.
struct Run {
  std::int32_t bin_and_pixel, entry;

  __device__ void fetch(const BinPlan& plan, std::int32_t r, std::int32_t stop) {
    if (r >= stop) return;
    bin_and_pixel = static_cast<std::int32_t>(plan.run_bin[r]) << 8 | plan.run_pixel[r];
    entry = plan.run_entry[r];
  }
};
static_assert(kBinChunk <= 256, "a pixel of the chunk takes 8 bits");

// Takes a lost entry out of the static sums of its slot.
__device__ inline void lose(const BinPlan& plan, const BinScratch& s, std::int64_t slot, std::int64_t frame,
                            std::int64_t entry) {
  for (std::int32_t q = 0; q < plan.n_columns; ++q) {
    s.lost[(std::int64_t{q} * plan.n_slots + slot) * s.padded + frame] +=
        plan.columns[entry * plan.n_columns + q];
  }
}

// Where a block keeps the sums of a part: in shared memory, or where they are for good.
template <bool Shared>
__device__ inline PartSums place_sums(const BinPlan& plan, const BinScratch& s, std::int64_t first_slot,
                                      std::int64_t first_frame) {
  if constexpr (!Shared) {
    const std::int64_t at = first_slot * s.padded + first_frame;
    return {s.signal + at, s.second + at, s.maximum + at, s.padded};
  }
  SS_DYN_SHARED(double, shared);
  const std::int64_t cells = std::int64_t{plan.most_slots} * kBinLanes;
  return {shared, shared + cells, reinterpret_cast<float*>(shared + 2 * cells), kBinLanes};
}

template <BinMode Mode>
__device__ inline void clear_sums(const PartSums& sums, int cells) {
  for (int i = static_cast<int>(threadIdx.x); i < cells; i += kBinThreads) {
    sums.signal[i] = 0.0;
    if (Mode != BinMode::kPlain) sums.second[i] = 0.0;
    if (Mode == BinMode::kMoments) sums.maximum[i] = kLeastValue;
  }
}

template <BinMode Mode>
__device__ inline void write_sums(const PartSums& sums, int cells, const BinScratch& s,
                                  std::int64_t first_slot, std::int64_t first_frame) {
  for (int i = static_cast<int>(threadIdx.x); i < cells; i += kBinThreads) {
    const std::int64_t to = (first_slot + i / kBinLanes) * s.padded + first_frame + i % kBinLanes;
    s.signal[to] = sums.signal[i];
    if (Mode != BinMode::kPlain) s.second[to] = sums.second[i];
    if (Mode == BinMode::kMoments) s.maximum[to] = sums.maximum[i];
  }
}

template <BinMode Mode, bool Shared>
__global__ void __launch_bounds__(kBinThreads) part_sums_kernel(BinsCall c, BinScratch s) {
  SS_SHARED(float, tile, kBinChunk* kTileStride);
  SS_SHARED(float, variance, Mode == BinMode::kVariance ? kBinChunk * kTileStride : 1);
  SS_SHARED(Run, runs, kBinThreads);
  const BinPlan& plan = c.plan;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t first_frame = std::int64_t{blockIdx.x} * kBinLanes;
  const std::int64_t frame = first_frame + lane;
  for (std::int32_t p = static_cast<std::int32_t>(blockIdx.y); p < plan.n_parts;
       p += static_cast<std::int32_t>(gridDim.y)) {
    const PartRect part = plan.parts[p];
    const std::int64_t first_slot = plan.slot_start[p];
    const int cells = static_cast<int>(plan.slot_start[p + 1] - first_slot) * kBinLanes;
    const PartSums sums = place_sums<Shared>(plan, s, first_slot, first_frame);
    if (Shared) clear_sums<Mode>(sums, cells);
    const std::int32_t first_chunk = plan.chunk_start[p];
    const std::int32_t stop_chunk = plan.chunk_start[p + 1];
    const auto run_of = [&](std::int32_t chunk) { return std::int64_t{chunk} * kBinWarps + warp; };
    ChunkValues<Mode> next;
    Run next_run;
    if (first_chunk < stop_chunk) {
      next.fetch(c, part, 0, first_frame);
      next_run.fetch(plan, plan.run_start[run_of(first_chunk)] + lane,
                     plan.run_start[run_of(first_chunk) + 1]);
    }
    for (std::int32_t chunk = first_chunk; chunk < stop_chunk; ++chunk) {
      const std::int32_t first_pixel = (chunk - first_chunk) * kBinChunk;
      __syncthreads();  // slower warps still add the chunk before
      next.store(tile, variance);
      runs[threadIdx.x] = next_run;
      __syncthreads();
      if (chunk + 1 < stop_chunk) {
        next.fetch(c, part, first_pixel + kBinChunk, first_frame);
        next_run.fetch(plan, plan.run_start[run_of(chunk + 1)] + lane, plan.run_start[run_of(chunk + 1) + 1]);
      }
      BinSum<Mode> sum;
      int open = -1;
      const std::int32_t first_run = plan.run_start[run_of(chunk)];
      const std::int32_t stop_run = plan.run_start[run_of(chunk) + 1];
      for (std::int32_t r = first_run; r < stop_run; ++r) {
        const int k = (r - first_run) % 32;
        if (k == 0 && r > first_run) {
          __syncwarp();
          runs[threadIdx.x].fetch(plan, r + lane, stop_run);
          __syncwarp();
        }
        const Run run = runs[warp * 32 + k];
        const int bin = run.bin_and_pixel >> 8;
        const int pixel = run.bin_and_pixel & 255;
        if (bin != open) {
          if (open >= 0) sum.close(sums, open, lane);
          sum.open(c, sums, first_slot, bin, lane, frame);
          open = bin;
        }
        const std::int64_t own = std::int64_t{plan.part_start[p]} + first_pixel + pixel;
        const double coef = plan.coef != nullptr ? plan.coef[run.entry] : 1.0;
        const int at = pixel * kTileStride + lane;
        const bool counts =
            sum.add(plan, own, coef, tile[at], Mode == BinMode::kVariance ? variance[at] : 0.0f);
        if (!counts && frame < c.n_frames) lose(plan, s, first_slot + bin, frame, run.entry);
      }
      if (open >= 0) sum.close(sums, open, lane);
    }
    if (!Shared) continue;
    __syncthreads();
    write_sums<Mode>(sums, cells, s, first_slot, first_frame);
    __syncthreads();  // the next part clears them
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

// Sums start from 0, and maxima below every value; of the first n cells, 0 where blocks keep them themselves.
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
