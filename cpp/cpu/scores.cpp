#include "../core/scores.hpp"

#include <algorithm>

#include "parallel.hpp"

namespace shotsieve {
namespace {

constexpr std::int64_t kTile = 2048;  // pixels that stay in the nearest cache from one sum to the next

// What the pixels of a tile count as.
struct Tile {
  std::int32_t counts[kTile], photons[kTile], intensity[kTile];
};

std::int64_t look(const float* __restrict pixels, std::int64_t n, const math::ScoreRules& rules, Tile& tile) {
  const math::ScoreRules r = rules;
  std::int32_t lit = 0;
  std::int32_t* __restrict counts = tile.counts;
  std::int32_t* __restrict photons = tile.photons;
  std::int32_t* __restrict intensity = tile.intensity;
  for (std::int64_t i = 0; i < n; ++i) {
    const math::ScorePixel p = math::score_pixel(pixels[i], r);
    counts[i] = p.counts;
    photons[i] = p.photons;
    intensity[i] = p.intensity;
    lit += p.lit;
  }
  return lit;
}

std::int64_t weighted(const std::int32_t* __restrict weight, const std::int32_t* __restrict constant,
                      const std::int32_t* __restrict amount, const std::int32_t* __restrict counts, int unit,
                      std::int64_t n) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    sum += math::score_term(weight[i], constant[i], amount[i], unit, counts[i]);
  }
  return sum;
}

void sum_module(const ScoresCall& c, std::int64_t frame, std::int64_t module, Tile& tile) {
  const std::int64_t width = 1 + c.n_rings + c.n_maps;
  std::int64_t* sums = c.sums + (frame * c.n_modules + module) * width;
  std::int64_t* rings = sums + 1;
  std::fill(sums, sums + width, 0);
  for (std::int64_t first = 0; first < c.n_pixels; first += kTile) {
    const std::int64_t n = std::min(kTile, c.n_pixels - first);
    const std::int64_t at = module * c.n_pixels + first;
    sums[0] += look(c.pixels + (frame * c.n_modules * c.n_pixels) + at, n, c.rules, tile);
    if (c.n_rings > 0) {
      for (std::int64_t i = 0; i < n; ++i) {
        const int ring = c.ring[at + i];
        if (tile.photons[i] != 0 && ring >= 0 && ring < c.n_rings) rings[ring] += tile.photons[i];
      }
    }
    for (int m = 0; m < c.n_maps; ++m) {
      const bool photons = (c.of_photons >> m & 1u) != 0;
      const std::int32_t* weight = c.map + 2 * m * c.n_modules * c.n_pixels + at;
      sums[1 + c.n_rings + m] +=
          weighted(weight, weight + c.n_modules * c.n_pixels, photons ? tile.photons : tile.intensity,
                   tile.counts, photons ? 1 : static_cast<int>(math::kIntensityScale), n);
    }
  }
}

}  // namespace

void score_sums(const ScoresCall& c, const Where& where) {
  const std::int64_t number = c.n_frames * c.n_modules;
  cpu::parallel_for(
      number, where.threads, [] { return Tile{}; },
      [&](Tile& tile, std::int64_t i) { sum_module(c, i / c.n_modules, i % c.n_modules, tile); });
}

}  // namespace shotsieve
