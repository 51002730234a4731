// baseline on the device: a block counts the pixels of a frame in bins of 1 ADU in shared memory, and looks
// for the peak there. Integer atomics: exact in any order.
#pragma once

#include <cstdint>

#include "../cpp/core/baseline.hpp"
#include "dark_values.cuh"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kBaselineThreads = 256;
constexpr int kBaselineFrames = 16;  // most frames of a group that are worked on at once
constexpr int kMostPeakBins = math::kCoarseBins > math::kFineBins ? math::kCoarseBins : math::kFineBins;
constexpr int kItems = 1024;  // more than the responses of one histogram: 630

// The largest response wins, of equals the first, narrow wavelets before wide ones. A key is a response with
// the number of its wavelet and bin, 53 bits and 10, and unsigned keys are in the order of the responses.
__device__ inline unsigned long long response_key(std::int64_t response, int item) {
  const std::int64_t key = response * kItems + (kItems - 1 - item);
  return static_cast<unsigned long long>(key) ^ (1ull << 63);
}
__device__ inline int bin_of_key(unsigned long long key, int n_bins) {
  return (kItems - 1 - static_cast<int>(key % kItems)) % n_bins;
}

// Makes `best` the largest key of all bins and wavelets. `taps` and `reach` are those of this histogram.
__device__ inline void find_best(const int* bins, int n_bins, const std::int32_t* taps,
                                 const std::int32_t* reach, std::int64_t n_taps, unsigned long long* best) {
  unsigned long long mine = 0;
  for (int item = static_cast<int>(threadIdx.x); item < math::kWavelets * n_bins; item += kBaselineThreads) {
    const int wavelet = item / n_bins;
    const int bin = item % n_bins;
    const std::int32_t* half = taps + wavelet * n_taps;
    const int far = reach[wavelet];
    std::int64_t response = std::int64_t{bins[bin]} * half[0];
    for (int k = 1; k <= far; ++k) {
      const int below = bin - k >= 0 ? bins[bin - k] : 0;
      const int above = bin + k < n_bins ? bins[bin + k] : 0;
      response += std::int64_t{below + above} * half[k];
    }
    const unsigned long long key = response_key(response, item);
    mine = key > mine ? key : mine;
  }
  atomicMax(best, mine);
}

template <bool Packed>
__global__ void __launch_bounds__(kBaselineThreads) baseline_kernel(BaselineCall c) {
  SS_SHARED(int, adu, math::kAduBins);
  SS_SHARED(int, bins, kMostPeakBins);
  SS_SHARED(int, counts, 2);  // pixels with a value; those in the first histogram
  SS_SHARED(unsigned long long, best, 2);
  const FrameWords& w = c.words;
  const FrameGroup group = c.groups[blockIdx.x];
  if (group.table_row < 0) return;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int32_t* taps = c.taps + group.table_row * 2 * math::kWavelets * c.n_taps;
  const std::int32_t* reach = c.reach + group.table_row * 2 * math::kWavelets;
  for (std::int32_t k = group.start + static_cast<int>(blockIdx.y); k < group.stop;
       k += static_cast<int>(gridDim.y)) {
    const std::int64_t frame = c.frames[k];
    for (int bin = thread; bin < math::kAduBins; bin += kBaselineThreads) adu[bin] = 0;
    if (thread < 2) counts[thread] = 0;
    __syncthreads();
    if (thread < 2) best[thread] = 0;  // now that all have read those of the frame before
    int pixels = 0;
    for (std::int64_t p = std::int64_t{thread} * kPixelsPerThread; p < w.n_pixels;
         p += kBaselineThreads * kPixelsPerThread) {
      const EightInts values = load_values<Packed>(w, frame, group.table_row, p);
      for (const int value : values.value) {
        pixels += math::has_value(value);
        const int bin = math::adu_bin(value);
        if (bin < math::kAduBins) atomicAdd(&adu[bin], 1);
      }
    }
    atomicAdd(&counts[0], pixels);
    __syncthreads();
    if (thread < math::kCoarseBins) {
      bins[thread] = math::sum_bins(adu, math::coarse_start(thread), math::kCoarseWidth);
      atomicAdd(&counts[1], bins[thread]);
    }
    __syncthreads();
    find_best(bins, math::kCoarseBins, taps, reach, c.n_taps, &best[0]);
    __syncthreads();
    const int coarse = bin_of_key(best[0], math::kCoarseBins);
    const int all = counts[0], inside = counts[1];
    if (thread < math::kFineBins) {
      bins[thread] = math::sum_bins(adu, math::fine_start(coarse, thread), math::kFineWidth);
    }
    __syncthreads();
    find_best(bins, math::kFineBins, taps + math::kWavelets * c.n_taps, reach + math::kWavelets, c.n_taps,
              &best[1]);
    __syncthreads();
    const int peak = math::peak_of(coarse, bin_of_key(best[1], math::kFineBins), inside, all, c.lowest);
    for (std::int64_t t = thread; t < c.n_tiles; t += kBaselineThreads) {
      c.shift[frame * c.n_tiles + t] = peak;
    }
  }
}

}  // namespace shotsieve::device
