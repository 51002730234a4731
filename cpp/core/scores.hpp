// Scores of shots on calibrated frames: lit pixels, photons in rings, and weighted sums, module by module.
#pragma once

#include <cstdint>

#include "../math/scores.hpp"
#include "where.hpp"

namespace shotsieve {

constexpr int kMostMaps = 4;
constexpr int kMostRings = 64;

struct ScoresCall {
  const float* pixels;       // (n_frames, n_modules, n_pixels)
  const std::int16_t* ring;  // (n_modules, n_pixels), below 0 in none; null where n_rings is 0
  const std::int32_t* map;  // (n_maps, 2, n_modules, n_pixels): weights and constants; null where n_maps is 0
  std::int64_t* sums;       // (n_frames, n_modules, 1 + n_rings + n_maps), overwritten
  std::int64_t n_frames, n_modules, n_pixels;
  int n_rings, n_maps;
  unsigned of_photons;  // bit m: map m is multiplied with photons, else with values in 1/128
  math::ScoreRules rules;
};

// Promise: exact; the caller sees to it that no sum of a module passes 2^63. Never synchronises, never
// allocates device memory.
void score_sums(const ScoresCall& call, const Where& where);

}  // namespace shotsieve
