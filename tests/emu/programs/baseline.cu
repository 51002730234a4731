// The noise peak of frames on random input, against a loop over pixels. Arguments: how often, "small" for
// ThreadSanitizer, where every CUDA thread is an OS thread, or "large", and which barrier is left out.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {
int gone = -1;  // the barrier that is left out: see optional_barriers() in workshop.py
}

#include "cuda/baseline.cu"
#include "harness.cuh"

namespace {

constexpr int kBins[2] = {210, 200}, kAdu[2] = {10, 2}, kTaps = 21;

// Bin of the largest response of a histogram of `values` (ADU) from `low` on.
int best_of(const std::vector<int>& values, int which, int low, const std::int32_t* taps) {
  const int n = kBins[which];
  std::vector<std::int64_t> histogram(static_cast<std::size_t>(n));
  for (const int value : values) {
    if (value >= low && value < low + n * kAdu[which]) ++histogram[(value - low) / kAdu[which]];
  }
  std::int64_t most = 0;
  int best = -1;
  for (int w = 0; w < 3; ++w) {
    for (int at = 0; at < n; ++at) {
      std::int64_t response = 0;
      for (int other = 0; other < n; ++other) {
        const int far = std::abs(other - at);
        if (far < kTaps) response += histogram[other] * taps[(which * 3 + w) * kTaps + far];
      }
      if (best >= 0 && response <= most) continue;
      most = response;
      best = at;
    }
  }
  return best;
}

int peak_of(const std::vector<int>& values, const std::int32_t* taps) {
  const int coarse = -2000 + 10 * best_of(values, 0, -2000, taps) + 5;
  return 256 * (coarse - 200 + 2 * best_of(values, 1, coarse - 200, taps) + 1);
}

void once(const shotsieve::Where& where, bool small) {
  const int n_frames = small ? 1 : 18, n_tiles = 2;  // of one group: a block takes a second frame
  const std::int64_t n_pixels = small ? 256 : 64 * between(8, 40);
  std::vector<std::int32_t> taps(2 * 3 * kTaps), reach(6, kTaps - 1);
  for (int w = 0; w < 6; ++w) {
    const double width = 0.5 + 1.5 * (w % 3);
    for (int k = 0; k < kTaps; ++k) {
      const double t = k * k / (width * width);
      taps[static_cast<std::size_t>(w * kTaps + k)] =
          static_cast<std::int32_t>(1000.0 / std::sqrt(width) * (1 - t) * std::exp(-t / 2));
    }
  }
  std::vector<float> table(static_cast<std::size_t>(8 * n_pixels), 1.0f);
  for (std::int64_t p = 0; p < n_pixels; ++p) table[static_cast<std::size_t>(2 * n_pixels + p)] = 5000.0f;
  std::vector<std::uint16_t> raw(static_cast<std::size_t>(n_frames * 2 * n_pixels));
  std::vector<std::int32_t> frames, wanted;
  for (int frame = 0; frame < n_frames; ++frame) {
    frames.push_back(n_frames - 1 - frame);
    const int middle = between(-1900, 10);
    const bool bright = frame % 2 == 1;  // with as few pixels in the first histogram as there may be
    std::vector<int> values;
    for (std::int64_t p = 0; p < n_pixels; ++p) {
      const int lit = bright ? 3000 * (p % 64 != 0) : 70 * (between(0, 3) == 0);
      const int value = middle + between(-12, 12) + between(-12, 12) + lit;
      raw[static_cast<std::size_t>(frame * 2 * n_pixels + p)] = static_cast<std::uint16_t>(5000 + value);
      if (value <= 50) values.push_back(value);
    }
    wanted.insert(wanted.end(), n_tiles, peak_of(values, taps.data()));
  }
  shotsieve::BaselineCall c{};
  c.words = {to_device(raw),
             to_device(table),
             nullptr,
             n_frames,
             1,
             n_pixels,
             2,
             8,
             shotsieve::Encoding::kThreshold,
             0};
  c.frames = to_device(frames);
  c.groups = to_device(std::vector<shotsieve::FrameGroup>{{0, n_frames, 0}});
  c.taps = to_device(taps);
  c.reach = to_device(reach);
  c.shift = to_device(std::vector<std::int32_t>(wanted.size(), -1));
  c.n_listed = n_frames;
  c.n_groups = 1;
  c.n_taps = kTaps;
  c.n_tiles = n_tiles;
  c.lowest = -5000 * 256;
  shotsieve::baseline(c, where);
  expect_same(to_host(c.shift, wanted.size()), wanted);
  release_all();
}

}  // namespace

int main(int, char** argv) {
  generator.seed(20261129);
  const shotsieve::Where where{nullptr, 1};
  const bool small = std::strcmp(argv[2], "small") == 0;
  gone = std::atoi(argv[3]);
  for (int repetition = std::atoi(argv[1]); repetition > 0; --repetition) once(where, small);
  return verdict();
}
