// The kernels of scores on random input, against a loop over pixels. Arguments: how often, "small" for
// ThreadSanitizer, where every CUDA thread is an OS thread, or "large", and which barrier is left out.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace {
int gone = -1;  // the barrier that is left out: see optional_barriers() in workshop.py
}

#include "cuda/scores.cu"
#include "harness.cuh"

namespace {

// Values are whole numbers of 1/128, and a photon is 2: all sums can be made in integers.
constexpr int kUnit = 128, kPhoton = 2 * kUnit, kLit = 3 * kUnit, kLimit = 20 * kUnit;

void once(const shotsieve::Where& where, bool small) {
  shotsieve::ScoresCall c{};
  c.n_frames = small ? 1 : between(1, 3);
  c.n_modules = small ? 1 : between(1, 2);
  c.n_pixels = small ? 600 : between(1, 2 * shotsieve::device::kScoreTile);
  c.n_rings = small ? 3 : between(0, shotsieve::kMostRings);
  c.n_maps = small ? 1 : between(0, shotsieve::kMostMaps);
  c.of_photons = static_cast<unsigned>(between(0, 15));
  c.rules = {static_cast<float>(kLit) / kUnit, static_cast<float>(kUnit) / kPhoton, 0.5f,
             static_cast<float>(kLimit) / kUnit};

  const std::int64_t plane = c.n_modules * c.n_pixels, width = 1 + c.n_rings + c.n_maps;
  std::vector<int> units(c.n_frames * plane);  // beyond the limit: masked
  std::vector<float> pixels(units.size());
  for (std::size_t i = 0; i < units.size(); ++i) {
    units[i] = between(-2 * kUnit, kLimit + kUnit);
    pixels[i] = static_cast<float>(units[i]) / kUnit;
    if (between(0, 30) == 0) {
      units[i] = kLimit + 1;
      pixels[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  std::vector<std::int16_t> ring(plane);
  for (auto& r : ring) r = static_cast<std::int16_t>(between(-1, c.n_rings));
  std::vector<std::int32_t> map(2 * c.n_maps * plane);
  for (auto& m : map) m = between(-1000000, 1000000);

  std::vector<std::int64_t> sums(c.n_frames * c.n_modules * width);
  for (std::int64_t i = 0; i < c.n_frames * plane; ++i) {
    if (units[i] > kLimit) continue;
    const std::int64_t at = i % plane;  // in its frame
    const int photons = units[i] > 0 ? (units[i] + kPhoton / 2) / kPhoton : 0;
    std::int64_t* own = sums.data() + i / c.n_pixels * width;
    if (units[i] > kLit) own[0] += 1;
    if (ring[at] >= 0 && ring[at] < c.n_rings) own[1 + ring[at]] += photons;
    for (int m = 0; m < c.n_maps; ++m) {
      const bool of_photons = (c.of_photons >> m & 1u) != 0;
      const std::int64_t weight = map[2 * m * plane + at], constant = map[(2 * m + 1) * plane + at];
      own[1 + c.n_rings + m] +=
          weight * (of_photons ? photons : units[i]) - constant * (of_photons ? 1 : kUnit);
    }
  }

  c.pixels = to_device(pixels);
  c.ring = to_device(ring);
  c.map = to_device(map);
  c.sums = to_device(std::vector<std::int64_t>(sums.size(), -1));
  shotsieve::score_sums(c, where);
  expect_same(to_host(c.sums, sums.size()), sums);
  release_all();
}

}  // namespace

int main(int, char** argv) {
  generator.seed(20261128);
  const shotsieve::Where where{nullptr, 1};
  const bool small = std::strcmp(argv[2], "small") == 0;
  gone = std::atoi(argv[3]);
  for (int repetition = std::atoi(argv[1]); repetition > 0; --repetition) once(where, small);
  return verdict();
}
