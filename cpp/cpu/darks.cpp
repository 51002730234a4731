#include "../core/darks.hpp"

#include <algorithm>

#include "parallel.hpp"

namespace shotsieve {
namespace {

constexpr std::int64_t kTile = 512;  // pixels whose sums stay in the nearest cache over the frames of a row

// Adds a stretch of one frame; `at` is its place in the accumulators.
template <bool kGate>
void add_values(const DarkCall& c, const std::uint16_t* __restrict__ words,
                const std::uint16_t* __restrict__ codes, std::int64_t at, std::int64_t n) {
  const math::DarkWords w = c.words;
  std::uint32_t* __restrict__ count = c.count + at;
  std::uint32_t* __restrict__ sum = c.sum + at;
  std::uint64_t* __restrict__ squares = c.squares + at;
  std::uint32_t* __restrict__ wrong = c.wrong + at;
  std::uint32_t* __restrict__ outside = kGate ? c.outside + at : nullptr;
  const std::uint16_t* __restrict__ low = kGate ? c.low + at : nullptr;
  const std::uint16_t* __restrict__ high = kGate ? c.high + at : nullptr;
  for (std::int64_t i = 0; i < n; ++i) {
    const math::DarkSample s =
        math::read_dark(words[i], codes[i], w, kGate ? low[i] : 0u, kGate ? high[i] : 0xffffffffu);
    count[i] += s.counts;
    sum[i] += s.value;
    squares[i] += std::uint64_t{s.value} * s.value;
    wrong[i] += s.wrong;
    if constexpr (kGate) outside[i] += s.outside;
  }
}

void add_levels(const DarkCall& c, const std::uint16_t* __restrict__ words, std::int64_t at, std::int64_t n) {
  const std::uint32_t most = c.words.most;
  std::uint32_t* __restrict__ count = c.level_count + at;
  std::uint32_t* __restrict__ sum = c.level_sum + at;
  std::uint64_t* __restrict__ squares = c.level_squares + at;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t counts = words[i] <= most;
    const std::uint32_t value = counts != 0 ? words[i] : 0u;
    count[i] += counts;
    sum[i] += value;
    squares[i] += std::uint64_t{value} * value;
  }
}

}  // namespace

void dark_sums(const DarkCall& c, const Where& where) {
  const std::int64_t tiles = (c.n_pixels + kTile - 1) / kTile;
  cpu::parallel_for(tiles, where.threads, [&](std::int64_t tile) {
    const std::int64_t first = tile * kTile;
    const std::int64_t n = std::min(kTile, c.n_pixels - first);
    for (std::int64_t k = 0; k < c.n_listed; ++k) {
      const std::int64_t row = c.row[k];
      const std::int64_t frame = c.frames[k];
      if (row < 0 || row >= c.n_rows || frame < 0 || frame >= c.n_frames) continue;
      const std::uint16_t* planes = c.raw + frame * c.n_planes * c.n_pixels + first;
      const std::uint16_t* words = planes + c.value_plane * c.n_pixels;
      const std::uint16_t* codes = planes + c.code_plane * c.n_pixels;
      const std::int64_t at = row * c.n_pixels + first;
      if (c.low != nullptr) {
        add_values<true>(c, words, codes, at, n);
      } else {
        add_values<false>(c, words, codes, at, n);
      }
      if (c.level_sum != nullptr) add_levels(c, planes + c.level_plane * c.n_pixels, at, n);
    }
  });
}

}  // namespace shotsieve
