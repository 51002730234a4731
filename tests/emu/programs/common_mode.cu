// The common mode of tiles on random input, against a loop over pixels. Argument: how often.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "cuda/common_mode.cu"
#include "harness.cuh"

namespace {

constexpr std::int64_t kRows = 32, kColumns = 128, kPixels = kRows * kColumns;
constexpr std::int64_t kTileRows = 16, kTileColumns = 64, kTiles = 4, kTilePixels = kTileRows * kTileColumns;
constexpr int kFrames = 5, kIterations = 3, kLow = -20 * 256, kHigh = 20 * 256, kLeast = 100;

// Pixels of one tile of a frame, in 1/256 ADU after the offset; those that do not count are left out.
std::vector<int> values_of(const std::vector<std::uint16_t>& raw, const std::vector<float>& offset,
                           const std::vector<float>& gain, int frame, std::int64_t tile) {
  std::vector<int> values;
  for (std::int64_t i = 0; i < kTilePixels; ++i) {
    const std::int64_t row = tile / 2 * kTileRows + i / kTileColumns;
    const auto pixel = static_cast<std::size_t>(row * kColumns + tile % 2 * kTileColumns + i % kTileColumns);
    if (!std::isfinite(gain[pixel])) continue;
    const float adc = raw[static_cast<std::size_t>(frame) * 2 * kPixels + pixel];
    values.push_back(static_cast<int>(std::lrint((adc - offset[pixel]) * 256.0f)));
  }
  return values;
}

int shift_of(const std::vector<int>& values) {
  int shift = 0;
  for (int itr = 0; itr < kIterations; ++itr) {
    std::int64_t sum = 0, count = 0;
    for (const int value : values) {
      if (value - shift < kLow || value - shift > kHigh) continue;
      sum += value - shift;
      ++count;
    }
    if (count <= kLeast) break;
    const int step = static_cast<int>(std::lrint(static_cast<double>(sum) / static_cast<double>(count)));
    if (step == 0) break;
    shift += step;
  }
  return shift;
}

void once(const shotsieve::Where& where) {
  std::vector<std::uint16_t> raw(kFrames * 2 * kPixels);
  std::vector<float> offset(kPixels), table(8 * kPixels, 1.0f);
  for (std::size_t p = 0; p < kPixels; ++p) {
    offset[p] = 1000.0f + static_cast<float>(between(0, 4000)) / 16.0f;
    table[2 * kPixels + p] = offset[p];
    if (between(0, 50) == 0) table[5 * kPixels + p] = NAN;
  }
  const std::vector<float> gain(table.begin() + 5 * kPixels, table.begin() + 6 * kPixels);
  for (int frame = 0; frame < kFrames; ++frame) {
    const int common = between(-12, 12);
    for (std::size_t p = 0; p < kPixels; ++p) {
      const int signal = between(0, 9) == 0 ? 100 : 0;
      const float word = offset[p] + static_cast<float>(common + signal + between(-8, 8));
      raw[static_cast<std::size_t>(frame) * 2 * kPixels + p] = static_cast<std::uint16_t>(word);
    }
  }
  const std::vector<std::int32_t> frames{4, 0, 3, 1, 2};
  const std::vector<shotsieve::FrameGroup> groups{{0, 3, 0}, {3, 5, 0}};
  shotsieve::CommonModeCall c{};
  c.rules = {to_device(raw),
             to_device(table),
             nullptr,
             kFrames,
             1,
             kPixels,
             2,
             8,
             shotsieve::Encoding::kThreshold,
             0,
             kLow,
             kHigh,
             kLeast};
  c.frames = to_device(frames);
  c.groups = to_device(groups);
  c.shift = to_device(std::vector<std::int32_t>(kFrames * kTiles, -1));
  c.shifts.tiles = {kTileRows, kTileColumns, kColumns};
  c.shifts.n_tiles = kTiles;
  c.n_listed = kFrames;
  c.n_groups = 2;
  c.n_itr = kIterations;
  shotsieve::common_mode(c, where);
  const std::vector<std::int32_t> found = to_host(c.shift, kFrames * kTiles);
  for (int frame = 0; frame < kFrames; ++frame) {
    for (std::int64_t tile = 0; tile < kTiles; ++tile) {
      const int wanted = shift_of(values_of(raw, offset, gain, frame, tile));
      wrong += found[static_cast<std::size_t>(frame * kTiles + tile)] != wanted;
    }
  }
  release_all();
}

}  // namespace

int main(int, char** argv) {
  generator.seed(20240917);
  const shotsieve::Where where{nullptr, 1};
  for (int repetition = std::atoi(argv[1]); repetition > 0; --repetition) once(where);
  return verdict();
}
