// Peak finding on the device: which radial bins are needed, their statistics, and peaks put in order. Finding
// the components of a panel is in peaks_label.cuh.
//
// Every warp works alone, so there are no barriers; floating-point sums run in the 32 lanes and the tree of
// math/peaks.hpp, so that the bits are those of the CPU. Atomics are integer only: no order matters.
#pragma once

#include <cstdint>
#include <limits>

#include "../cpp/core/peaks.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kPeakThreads = 128;  // of blocks whose warps have nothing to do with each other
constexpr int kPeakWarps = kPeakThreads / 32;

// Values of a bin that a lane holds in registers: 1536 in a warp, enough for most bins of a megapixel. What
// exceeds them is read again in each pass.
constexpr int kHeldValues = 48;

struct BinLimits {
  double upper, offset;
};

// Where the parts of the scratch begin.
struct PeakScratch {
  math::PeakRecord* slots;    // (n_shots, n_panels, slots)
  BinLimits* limits;          // (n_shots, n_bins) of needed bins
  std::uint32_t* bitmaps;     // (n_shots, n_panels, 2, panel_words) of panels too large for shared memory
  std::int32_t* start;        // (n_shots, n_panels) peaks of the shot before those of the panel
  std::int32_t* stored;       // (n_shots,) peaks of the shot that are stored
  std::uint32_t* candidates;  // (n_shots, words) where the caller has none
  std::uint32_t* needed;      // (n_shots, words_of_bins) bit b % 32 of word b / 32: bin b is needed
};

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % 32; }

// The number of a warp in a grid of kPeakThreads.
__device__ inline std::int64_t warp_index() {
  return std::int64_t{blockIdx.x} * kPeakWarps + static_cast<int>(threadIdx.x) / 32;
}

// The fixed tree that ends every sum over lanes; all lanes get the same bits.
__device__ inline double lanes_total(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

__device__ inline double lanes_highest(double value) {
  for (int step = 16; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, value, step);
    value = other > value ? other : value;
  }
  return value;
}

// Sum over lanes up to this one.
__device__ inline std::int32_t lanes_running(std::int32_t value) {
  for (int step = 1; step < 32; step *= 2) {
    const std::int32_t below = __shfl_up_sync(kAllLanes, value, step);
    value += lane_index() >= step ? below : 0;
  }
  return value;
}

__device__ inline bool has_bit(const std::uint32_t* words, std::int64_t at) {
  return (words[at / 32] >> (at % 32) & 1u) != 0;
}

// Candidate bits of 1024 pixels by one warp, where the caller has none: bound by reading the frames once.
__global__ void mark_candidates_kernel(PeaksCall c, std::uint32_t* __restrict__ candidates) {
  const std::int64_t words = c.plan.words();
  const std::int64_t groups = (words + 31) / 32;
  const std::int64_t i = warp_index();
  if (i >= c.n_shots * groups) return;
  const std::int64_t shot = i / groups;
  const std::int64_t first = (i - shot * groups) * 32;
  const float* pixels = c.pixels + shot * c.plan.n_pixels;
  const auto threshold = static_cast<float>(c.rules.threshold);
  const int lane = lane_index();
  unsigned own = 0;
#pragma unroll 8
  for (int k = 0; k < 32; ++k) {
    const std::int64_t p = (first + k) * 32 + lane;
    const float v = p < c.plan.n_pixels ? pixels[p] : std::numeric_limits<float>::quiet_NaN();
    const bool candidate = v >= threshold && v <= (std::numeric_limits<float>::max)();
    const unsigned word = __ballot_sync(kAllLanes, candidate ? 1 : 0);
    if (k == lane) own = word;
  }
  if (first + lane < words) candidates[shot * words + first + lane] = own;
}

// Marks the bins that own a candidate: one thread for 32 pixels. Neighbours share a bin word, so their bits
// are gathered first; a frame without candidates costs the reading of its bits, 1/32 of its bytes.
__global__ void needed_bins_kernel(PeaksCall c, std::int32_t words_of_bins,
                                   std::uint32_t* __restrict__ needed) {
  const std::int64_t words = c.plan.words();
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= c.n_shots * words) return;
  const std::int64_t shot = i / words;
  const std::int64_t w = i - shot * words;
  std::uint32_t* own = needed + shot * words_of_bins;
  int at = 0;
  unsigned bits = 0;
  for (unsigned word = c.candidates[i] & c.plan.good[w]; word != 0; word &= word - 1) {
    const int bin = c.plan.bin_of[32 * w + __ffs(static_cast<int>(word)) - 1];
    if (bin / 32 != at) {
      if (bits != 0) atomicOr(own + at, bits);
      at = bin / 32;
      bits = 0;
    }
    bits |= 1u << (bin % 32);
  }
  if (bits != 0) atomicOr(own + at, bits);
}

// Threshold (`upper`) and offset (`mean`) of a bin with n pixels, by one warp; every lane gets them. A pass
// that gives back the limits it was given would do so for ever, so it is the last.
template <int Held>
__device__ math::ClipLimits clip_bin(const float* __restrict__ pixels, const std::int32_t* __restrict__ order,
                                     int n, const math::PeakRules& rules) {
  const int lane = lane_index();
  float held[Held > 0 ? Held : 1];
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    const int j = lane + 32 * k;
    held[k] = j < n ? pixels[order[j]] : std::numeric_limits<float>::quiet_NaN();
  }
  math::ClipLimits limits = math::first_limits();
  for (int pass = 0; pass < math::kClipPasses; ++pass) {
    const float above = math::floor_to_float(limits.lower);
    const float below = math::ceil_to_float(limits.upper);
    double sum = 0.0;
    double squares = 0.0;
    int count = 0;
    const auto add = [&](float v) {
      const bool in = v > above && v < below;  // never of a NaN
      const double d = in ? v : 0.0f;
      sum += d;
      squares += d * d;
      count += in ? 1 : 0;
    };
#pragma unroll
    for (int k = 0; k < Held; ++k) add(held[k]);
    for (int j = lane + 32 * Held; j < n; j += 32) add(pixels[order[j]]);
    const math::ClipLimits next =
        math::clip_limits(lanes_total(sum), lanes_total(squares), __reduce_add_sync(kAllLanes, count), rules);
    const bool settled = next.same_range(limits);
    limits = next;
    if (settled) break;
  }
  return limits;
}

// Statistics of one bin by one warp; of bins that are not needed, none. A needed bin of n pixels reads n
// indices in order and n scattered values (several times their bytes from L2, since a bin is a ring), and
// spends about ten instructions on each value in each pass.
__global__ void __launch_bounds__(kPeakThreads, 5)
    bin_limits_kernel(PeaksCall c, std::int32_t words_of_bins, const std::uint32_t* __restrict__ needed,
                      BinLimits* __restrict__ limits) {
  const std::int64_t i = warp_index();
  if (i >= c.n_shots * c.plan.n_bins) return;
  const std::int64_t shot = i / c.plan.n_bins;
  const int bin = static_cast<int>(i - shot * c.plan.n_bins);
  if (!has_bit(needed + shot * words_of_bins, bin)) return;
  const std::int32_t start = c.plan.bin_start[bin];
  const math::ClipLimits found = clip_bin<kHeldValues>(
      c.pixels + shot * c.plan.n_pixels, c.plan.order + start, c.plan.bin_start[bin + 1] - start, c.rules);
  if (lane_index() == 0) limits[i] = {found.upper, found.mean};
}

// Where the peaks of each panel come among those of its shot: one warp for a shot, 4 bytes for a panel.
__global__ void panel_starts_kernel(PeaksCall c, std::int32_t* __restrict__ start,
                                    std::int32_t* __restrict__ stored) {
  const std::int64_t shot = warp_index();
  if (shot >= c.n_shots) return;
  const std::int64_t row = shot * c.plan.n_panels;
  std::int32_t before = 0;
  for (std::int32_t first = 0; first < c.plan.n_panels; first += 32) {
    const std::int32_t panel = first + lane_index();
    const bool inside = panel < c.plan.n_panels;
    std::int32_t own = inside ? c.panel_counts[row + panel] : 0;
    own = own < c.slots ? own : c.slots;
    const std::int32_t upto = lanes_running(own);
    if (inside) start[row + panel] = before + upto - own;
    before += __shfl_sync(kAllLanes, upto, 31);
  }
  if (lane_index() == 0) {
    stored[shot] = static_cast<std::int32_t>(before < c.max_num_peaks ? before : c.max_num_peaks);
  }
}

// Where the peaks of each shot begin: one warp, 8 bytes for a shot. Also without any shot.
__global__ void shot_starts_kernel(const std::int32_t* __restrict__ stored, std::int64_t n_shots,
                                   std::int32_t* __restrict__ first) {
  std::int32_t before = 0;
#pragma unroll 4
  for (std::int64_t begin = 0; begin < n_shots; begin += 32) {
    const std::int64_t shot = begin + lane_index();
    const std::int32_t own = shot < n_shots ? stored[shot] : 0;
    const std::int32_t upto = lanes_running(own);
    if (shot < n_shots) first[shot] = before + upto - own;
    before += __shfl_sync(kAllLanes, upto, 31);
  }
  if (lane_index() == 0) first[n_shots] = before;
}

// Puts the peaks of a panel to their place: one warp for a panel, 128 bytes moved for a peak.
__global__ void copy_peaks_kernel(PeaksCall c, PeakScratch scratch) {
  const std::int64_t i = warp_index();
  if (i >= c.n_shots * c.plan.n_panels) return;
  const std::int64_t shot = i / c.plan.n_panels;
  const std::int32_t room = scratch.stored[shot] - scratch.start[i];  // below 0 beyond max_num_peaks
  std::int32_t n = c.panel_counts[i] < c.slots ? c.panel_counts[i] : c.slots;
  n = n < room ? n : room;
  constexpr int kParts = sizeof(math::PeakRecord) / sizeof(uint2);
  const auto* from = reinterpret_cast<const uint2*>(scratch.slots + i * c.slots);
  auto* to = reinterpret_cast<uint2*>(c.peaks + c.first[shot] + scratch.start[i]);
  for (std::int64_t part = lane_index(); part < std::int64_t{n} * kParts; part += 32) to[part] = from[part];
}

}  // namespace shotsieve::device
