// Scores on the device: a block takes a tile of one module of one frame. Integer atomics: exact in any order.
#pragma once

#include <cstdint>

#include "../cpp/core/scores.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kScoreThreads = 256;
constexpr int kScoreTile = 8192;  // pixels of a block
constexpr int kMostSums = 1 + kMostRings + kMostMaps;

__global__ void clear_scores_kernel(std::int64_t* sums, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) sums[i] = 0;
}

__global__ void score_sums_kernel(ScoresCall c) {
  SS_SHARED(unsigned long long, totals, kMostSums);
  const int width = 1 + c.n_rings + c.n_maps;
  for (int k = static_cast<int>(threadIdx.x); k < width; k += kScoreThreads) totals[k] = 0;
  __syncthreads();

  const std::int64_t tiles = (c.n_pixels + kScoreTile - 1) / kScoreTile;
  const std::int64_t image = blockIdx.x / tiles;  // of all frames' modules
  const std::int64_t first = (blockIdx.x % tiles) * kScoreTile;
  const std::int64_t stop = first + kScoreTile < c.n_pixels ? first + kScoreTile : c.n_pixels;
  const std::int64_t module = image % c.n_modules;
  const std::int64_t plane = c.n_modules * c.n_pixels;
  const float* pixels = c.pixels + image * c.n_pixels;
  int lit = 0;
  std::int64_t scores[kMostMaps] = {};
  for (std::int64_t p = first + threadIdx.x; p < stop; p += kScoreThreads) {
    const math::ScorePixel pixel = math::score_pixel(pixels[p], c.rules);
    const std::int64_t at = module * c.n_pixels + p;
    lit += pixel.lit;
    if (c.n_rings > 0 && pixel.photons != 0) {
      const int ring = c.ring[at];
      if (ring >= 0 && ring < c.n_rings) {
        atomicAdd(&totals[1 + ring], static_cast<unsigned long long>(pixel.photons));
      }
    }
    // Unrolled, so that the sums stay in registers.
#pragma unroll
    for (int m = 0; m < kMostMaps; ++m) {
      if (m < c.n_maps) {
        const bool photons = (c.of_photons >> m & 1u) != 0;
        const std::int32_t* weight = c.map + 2 * m * plane + at;
        scores[m] += math::score_term(weight[0], weight[plane], photons ? pixel.photons : pixel.intensity,
                                      photons ? 1 : static_cast<int>(math::kIntensityScale), pixel.counts);
      }
    }
  }
  if (lit != 0) atomicAdd(&totals[0], static_cast<unsigned long long>(lit));
#pragma unroll
  for (int m = 0; m < kMostMaps; ++m) {
    if (m < c.n_maps && scores[m] != 0) {
      atomicAdd(&totals[1 + c.n_rings + m], static_cast<unsigned long long>(scores[m]));
    }
  }
  __syncthreads();
  auto* sums = reinterpret_cast<unsigned long long*>(c.sums + image * width);
  for (int k = static_cast<int>(threadIdx.x); k < width; k += kScoreThreads) {
    if (totals[k] != 0) atomicAdd(&sums[k], totals[k]);
  }
}

}  // namespace shotsieve::device
