// The package's own kernels on random input, against loops that are too simple to be wrong. Arguments: the
// kernel, how often, and "small" for ThreadSanitizer, where every CUDA thread is an OS thread.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/calibrate.cu"
#include "cuda/compact.cu"
#include "harness.cuh"

namespace {

using shotsieve::CalibrateCall;
using shotsieve::FrameCounts;
using shotsieve::FrameGroup;

template <class T>
void expect_value(const T& got, const T& wanted) {
  wrong += std::memcmp(&got, &wanted, sizeof(T)) != 0;
}

std::vector<std::uint8_t> random_bytes(std::size_t n) {
  std::vector<std::uint8_t> bytes(n);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator());
  return bytes;
}

void keep_list_once(const shotsieve::Where& where) {
  const int n =
      16 * between(33, 80);  // several chunks; a multiple of 16: the flags end where the fence begins
  std::vector<std::uint8_t> keep = random_bytes(static_cast<std::size_t>(n));
  std::vector<int> wanted;
  for (int i = 0; i < n; ++i) {
    std::uint8_t& flag = keep[static_cast<std::size_t>(i)];
    if (between(0, 2) != 0) flag = 0;
    if (flag != 0) wanted.push_back(i);
  }
  std::uint8_t* keep_d = to_device(keep);
  int* index = device_only<int>(keep.size());
  int* count = device_only<int>(1);
  shotsieve::keep_list(keep_d, n, index, count, where);
  expect_value(to_host(count, 1)[0], static_cast<int>(wanted.size()));
  wanted.resize(keep.size(), static_cast<int>(0xCDCDCDCD));  // what lies behind the list is left alone
  const std::vector<int> list = to_host(index, keep.size());
  for (std::size_t k = 0; k < list.size(); ++k) expect_value(list[k], wanted[k]);
  release_all();
}

void gather_rows_once(const shotsieve::Where& where, bool small) {
  const int n = small ? 4 : between(1, 100);
  const std::size_t row_bytes = 16 * static_cast<std::size_t>(small ? 3 : between(1, 300));
  const std::vector<std::uint8_t> rows = random_bytes(static_cast<std::size_t>(n) * row_bytes);
  std::vector<int> list;
  for (int i = 0; i < n; ++i) {
    if (i == 0 || between(0, 2) == 0) list.push_back(i);
  }
  std::uint8_t* rows_d = to_device(rows);
  int* index = to_device(list);
  int* count = to_device(std::vector<int>{static_cast<int>(list.size())});
  std::uint8_t* target = device_only<std::uint8_t>(list.size() * row_bytes);
  shotsieve::gather_rows(rows_d, static_cast<std::int64_t>(row_bytes), index, count,
                         static_cast<std::int64_t>(list.size()), target, where);
  const std::vector<std::uint8_t> gathered = to_host(target, list.size() * row_bytes);
  for (std::size_t k = 0; k < list.size(); ++k) {
    const std::uint8_t* source = rows.data() + static_cast<std::size_t>(list[k]) * row_bytes;
    wrong += std::memcmp(gathered.data() + k * row_bytes, source, row_bytes) != 0;
  }
  release_all();
}

// One pixel by the definition of calibrate_count; it is within range for the input made below.
struct Pixel {
  std::uint8_t stage;
  float x;
};
Pixel pixel_alone(const std::uint16_t* raw, const float* table, std::size_t n, std::size_t p) {
  const float digital = raw[n + p];
  const bool above0 = digital > table[p];
  const bool above1 = digital > table[n + p];
  const std::size_t stage = above0 ? (above1 ? 2 : 1) : 0;
  const float x = (static_cast<float>(raw[p]) - table[(2 + stage) * n + p]) * table[(5 + stage) * n + p];
  return {static_cast<std::uint8_t>(stage), x};
}

void calibrate_once(const shotsieve::Where& where) {
  constexpr std::size_t kPixels = 2048 + 32 * 9;  // the second tile is not full
  constexpr std::size_t kFrames = 6;
  constexpr std::size_t kRows = 2;
  constexpr std::size_t kPlanes = 8;
  constexpr float kLit = 40000.0f;
  constexpr float kCandidate = 60000.0f;
  constexpr float kToPhoton = 0.01f;
  std::vector<std::uint16_t> raw(kFrames * 2 * kPixels);
  for (std::uint16_t& word : raw) word = static_cast<std::uint16_t>(generator() % 16384);
  std::vector<float> table(kRows * kPlanes * kPixels);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const bool threshold = i / kPixels % kPlanes < 2;
    table[i] = threshold ? static_cast<float>(between(6000, 16000))
                         : static_cast<float>(between(-100, 3000)) / 256.0f;
  }
  const std::vector<std::int32_t> frames{4, 0, 2, 5, 1, 3};
  const std::vector<FrameGroup> groups{{0, 2, 1}, {2, 5, 0}, {5, 6, -1}};

  CalibrateCall c{};
  c.raw = to_device(raw);
  c.frames = to_device(frames);
  c.places = c.frames;
  c.groups = to_device(groups);
  c.table = to_device(table);
  c.counts = device_only<FrameCounts>(kFrames);
  c.pixels = device_only<float>(kFrames * kPixels);
  c.stage = device_only<std::uint8_t>(kFrames * kPixels);
  c.candidates = device_only<std::uint32_t>(kFrames * kPixels / 32);
  c.n_frames = kFrames;
  c.n_places = kFrames;
  c.n_listed = kFrames;
  c.n_groups = static_cast<std::int64_t>(groups.size());
  c.n_rows = kRows;
  c.n_pixels = kPixels;
  c.planes = 2;
  c.table_planes = kPlanes;
  c.encoding = shotsieve::Encoding::kThreshold;
  c.rules.rounding_threshold = 0.5f;
  c.rules.value_limit = 1e7f;
  c.rules.lit_threshold = kLit;
  c.rules.candidate_threshold = kCandidate;
  c.rules.to_photon = kToPhoton;
  c.rules.medium_floor = -INFINITY;
  c.rules.fixed_stage = -1;
  shotsieve::calibrate_count(c, where);
  const std::vector<FrameCounts> counts = to_host(c.counts, kFrames);
  const std::vector<float> pixels = to_host(c.pixels, kFrames * kPixels);
  const std::vector<std::uint32_t> candidates = to_host(c.candidates, kFrames * kPixels / 32);
  const std::vector<std::uint8_t> stages = to_host(c.stage, kFrames * kPixels);
  for (const FrameGroup& group : groups) {
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      const auto frame = static_cast<std::size_t>(frames[static_cast<std::size_t>(k)]);
      FrameCounts sum{};
      for (std::size_t p = 0; p < kPixels; ++p) {
        const std::size_t at = frame * kPixels + p;
        const bool marked = ((candidates[at / 32] >> (at % 32)) & 1u) != 0;
        if (group.table_row < 0) {
          wrong += !std::isnan(pixels[at]) || stages[at] != 0x80 || marked;
          continue;
        }
        const float* rows = table.data() + static_cast<std::size_t>(group.table_row) * kPlanes * kPixels;
        const Pixel wanted = pixel_alone(raw.data() + frame * 2 * kPixels, rows, kPixels, p);
        expect_value(pixels[at], wanted.x);
        expect_value(stages[at], wanted.stage);
        const float photons = wanted.x * kToPhoton;
        expect_value(marked, wanted.x >= kCandidate);
        sum.lit += wanted.x > kLit;
        sum.candidates += wanted.x >= kCandidate;
        sum.unmasked += 1;
        sum.intensity += std::lrint(wanted.x * 128.0f);
        sum.photons +=
            std::max(0L, std::lrint(std::floor(photons)) + (photons - std::floor(photons) >= 0.5f));
      }
      expect_value(counts[frame], sum);
    }
  }
  release_all();
}

}  // namespace

int main(int argc, char** argv) {
  generator.seed(20240917);
  const shotsieve::Where where{nullptr, 1};
  const std::string kernel = argv[1];
  const bool small = argc > 3;
  for (int repetition = std::atoi(argv[2]); repetition > 0; --repetition) {
    if (kernel == "keep_list") keep_list_once(where);
    if (kernel == "gather_rows") gather_rows_once(where, small);
    if (kernel == "calibrate") calibrate_once(where);
  }
  return verdict();
}
