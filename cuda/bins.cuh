// Sums over bins on the device: a block takes a part of the slab and 32 frames, one in each lane. Pixels are
// brought in by chunks, along pixels, and added along bins: a warp owns some bins of the chunk, so that every
// sum has one owner and the order of pixels, and nothing is atomic.
#pragma once

#include <cmath>
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
  // (n_slots, padded): 1 where `lost` holds something. Mostly nothing is lost, and bytes are cleared and read
  // back sooner than columns of doubles.
  std::uint8_t* any_lost;
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
    // A value that does not count is 0 already, but for those outside of limits.
    signal += Mode != BinMode::kResidual || counts ? wide * coef : 0.0;
    return counts;
  }
};

// Whether the caller masks a pixel of a frame.
__device__ inline bool is_masked(const BinsCall& c, std::int64_t at) {
  if (c.bad_bytes != nullptr) return c.bad_bytes[at] != 0;
  if (c.bad_words != nullptr) return c.bad_words[at] != 0;
  return false;
}

// math::is_finite, in one comparison of the device.
__device__ inline bool is_finite(float v) { return fabsf(v) <= (std::numeric_limits<float>::max)(); }

// Where a thread's pixel of a chunk lies in the slab, chunk by chunk.
struct PixelWalk {
  const PartRect part;
  std::int32_t row_pixels, ss, fs;

  __device__ PixelWalk(const BinPlan& plan, const PartRect& rect)
      : part(rect),
        row_pixels(plan.row_pixels),
        ss(rect.ss_start + static_cast<int>(threadIdx.x) % kBinChunk / rect.width()),
        fs(rect.fs_start + static_cast<int>(threadIdx.x) % kBinChunk % rect.width()) {}

  __device__ bool inside() const { return ss < part.ss_stop; }
  __device__ std::int64_t pixel() const { return std::int64_t{ss} * row_pixels + fs; }
  __device__ void advance() {
    for (fs += kBinChunk; fs >= part.fs_stop; fs -= part.width()) ++ss;
  }
};

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

  __device__ void fetch(const BinsCall& c, const PixelWalk& walk, std::int64_t first_frame) {
    const int first = static_cast<int>(threadIdx.x) / kBinChunk;
    const std::int64_t rest = c.n_frames - first_frame;
    const int frames = !walk.inside() ? 0 : rest < kBinLanes ? static_cast<int>(rest) : kBinLanes;
    const std::int64_t at = (first_frame + first) * c.plan.n_pixels + walk.pixel();
    const std::int64_t step = c.plan.n_pixels * kPixelThreads;
    if (frames == kBinLanes) {  // the usual case, without a question for every load
      load(c.pixels + at, step, value);
      if constexpr (Mode == BinMode::kVariance) load(c.variance + at, step, spread);
    } else {
      for (int k = 0; k < kLoads; ++k) {
        const bool there = first + k * kPixelThreads < frames;
        value[k] = there ? c.pixels[at + k * step] : 0.0f;
        if (Mode == BinMode::kVariance) spread[k] = there ? c.variance[at + k * step] : 0.0f;
      }
    }
    if (c.bad_bytes == nullptr && c.bad_words == nullptr) return;
    for (int k = 0; k < kLoads; ++k) {
      if (first + k * kPixelThreads < frames && is_masked(c, at + k * step)) value[k] = kNotThere;
    }
  }

  __device__ static void load(const float* source, std::int64_t step, float (&target)[kLoads]) {
    for (int k = 0; k < kLoads; ++k, source += step) target[k] = *source;
  }

  // Puts the values where lanes find their frame; NaN for what must not count.
  __device__ void store(float* tile, float* variance) const {
    const int first = static_cast<int>(threadIdx.x) % kBinChunk * kTileStride + threadIdx.x / kBinChunk;
    for (int k = 0; k < kLoads; ++k) {
      bool fine = is_finite(value[k]);
      if (Mode == BinMode::kVariance) {
        fine = fine && is_finite(spread[k]);
        variance[first + k * kPixelThreads] = spread[k];
      }
      tile[first + k * kPixelThreads] = fine ? value[k] : kNotThere;
    }
  }
};

// An entry that a warp adds; its lanes read 32 of them at a time.
struct Run {
  std::int32_t bin, pixel;
};

// Reads a lane's entry of a chunk; where pixels are split, also its number.
template <bool Split>
__device__ inline Run fetch_run(const BinPlan& plan, std::int32_t r, std::int32_t stop, std::int32_t& entry) {
  if (r >= stop) return {};
  if (Split) entry = plan.run_entry[r];
  return {plan.run_bin[r], plan.run_pixel[r]};
}

// Takes a lost entry out of the static sums of its slot.
__device__ inline void lose(const BinPlan& plan, const BinScratch& s, std::int64_t slot, std::int64_t frame,
                            std::int64_t entry) {
  const std::int64_t at = slot * s.padded + frame;
  const bool first = s.any_lost[at] == 0;
  s.any_lost[at] = 1;
  for (std::int32_t q = 0; q < plan.n_columns; ++q) {
    double& lost = s.lost[std::int64_t{q} * plan.n_slots * s.padded + at];
    lost = (first ? 0.0 : lost) + plan.columns[entry * plan.n_columns + q];
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

// Blocks that share a multiprocessor: as many as the registers of a mode allow for, but for a few spills.
template <BinMode Mode>
constexpr int kBinBlocks = Mode == BinMode::kPlain      ? 4
                           : Mode == BinMode::kVariance ? 2
                                                        : 3;

template <BinMode Mode, bool Shared, bool Split>
__global__ void __launch_bounds__(kBinThreads, kBinBlocks<Mode>)
    part_sums_kernel(BinsCall c, BinScratch s, unsigned groups) {
  SS_SHARED(float, tile, kBinChunk* kTileStride);
  SS_SHARED(float, variance, Mode == BinMode::kVariance ? kBinChunk * kTileStride : 1);
  SS_SHARED(Run, all_runs, kBinThreads);
  SS_SHARED(std::int32_t, all_entries, Split ? kBinThreads : 1);
  const BinPlan& plan = c.plan;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  Run* runs = all_runs + warp * 32;
  std::int32_t* entries = all_entries + (Split ? warp * 32 : 0);
  const auto p = static_cast<std::int32_t>(blockIdx.x / groups);
  const std::int64_t first_frame = std::int64_t{blockIdx.x % groups} * kBinLanes;
  const std::int64_t frame = first_frame + lane;
  // Lanes without a frame have zeros, all of which count, unless limits say no.
  const bool live = Mode != BinMode::kResidual || frame < c.n_frames;
  const std::int64_t first_slot = plan.slot_start[p];
  const int cells = static_cast<int>(plan.slot_start[p + 1] - first_slot) * kBinLanes;
  const PartSums sums = place_sums<Shared>(plan, s, first_slot, first_frame);
  if (Shared) clear_sums<Mode>(sums, cells);
  const std::int32_t chunks = plan.chunk_start[p + 1] - plan.chunk_start[p];
  const std::int32_t* starts = plan.run_start + std::int64_t{plan.chunk_start[p]} * kBinWarps + warp;
  std::int64_t chunk_pixel = plan.part_start[p];  // first part pixel of the chunk
  PixelWalk walk(plan, plan.parts[p]);
  ChunkValues<Mode> next;
  std::int32_t first_run = 0, stop_run = 0, next_entry = 0;
  Run next_run{};
  if (chunks > 0) {
    next.fetch(c, walk, first_frame);
    first_run = starts[0];
    stop_run = starts[1];
    next_run = fetch_run<Split>(plan, first_run + lane, stop_run, next_entry);
  }
  for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
    __syncthreads();  // slower warps still add the chunk before
    next.store(tile, variance);
    runs[lane] = next_run;
    if (Split) entries[lane] = next_entry;
    __syncthreads();
    const std::int32_t from = first_run;
    const std::int32_t to = stop_run;
    if (chunk + 1 < chunks) {
      walk.advance();
      next.fetch(c, walk, first_frame);
      starts += kBinWarps;
      first_run = starts[0];
      stop_run = starts[1];
      next_run = fetch_run<Split>(plan, first_run + lane, stop_run, next_entry);
    }
    BinSum<Mode> sum;
    int open = -1;
    for (std::int32_t r = from; r < to; r += 32) {
      if (r > from) {
        std::int32_t entry = 0;
        const Run more = fetch_run<Split>(plan, r + lane, to, entry);
        __syncwarp();
        runs[lane] = more;
        if (Split) entries[lane] = entry;
        __syncwarp();
      }
      const int count = to - r < 32 ? to - r : 32;
      Run ahead = runs[0];
#pragma unroll 8
      for (int k = 0; k < count; ++k) {
        const Run run = ahead;
        ahead = runs[(k + 1) % 32];
        if (run.bin != open) {
          if (open >= 0) sum.close(sums, open, lane);
          sum.open(c, sums, first_slot, run.bin, lane, frame);
          open = run.bin;
        }
        const std::int64_t own = chunk_pixel + run.pixel;
        const std::int64_t entry = Split ? entries[k] : own;
        const int at = run.pixel * kTileStride + lane;
        const float spread = Mode == BinMode::kVariance ? variance[at] : 0.0f;
        if (!sum.add(plan, own, Split ? plan.coef[entry] : 1.0, tile[at], spread) && live) {
          lose(plan, s, first_slot + run.bin, frame, entry);
        }
      }
    }
    if (open >= 0) sum.close(sums, open, lane);
    chunk_pixel += kBinChunk;
  }
  if (!Shared) return;
  __syncthreads();
  write_sums<Mode>(sums, cells, s, first_slot, first_frame);
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
        const std::int64_t at = plan.bin_slot[i] * s.padded + frame;
        if (s.any_lost[at] != 0) lost += s.lost[std::int64_t{q} * plan.n_slots * s.padded + at];
      }
      c.lost[q * c.n_frames * plan.n_bins + to] = lost;
    }
  }
}

// Nothing is lost yet. Sums start from 0, and maxima below every value; of the first n cells, 0 where blocks
// keep them themselves.
__global__ void clear_slots_kernel(BinScratch s, std::int64_t n, std::int64_t cells) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < cells; i += step) {
    s.any_lost[i] = 0;
    if (i >= n) continue;
    s.signal[i] = 0.0;
    if (s.second != nullptr) s.second[i] = 0.0;
    if (s.maximum != nullptr) s.maximum[i] = kLeastValue;
  }
}

}  // namespace shotsieve::device
