#include "../core/stats.hpp"

#include <algorithm>

#include "../math/stats.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

constexpr std::int64_t kTile = 512;  // pixels whose sums stay in the nearest cache over all frames of a call

// Adds a stretch of one frame.
void add_stretch(const float* __restrict__ pixels, std::int64_t n, double scale, double* __restrict__ shift,
                 double* __restrict__ sum, double* __restrict__ squares, std::int32_t* __restrict__ count,
                 float* __restrict__ maximum) {
  for (std::int64_t i = 0; i < n; ++i) {
    math::PixelStats s{shift[i], sum[i], squares[i], count[i], maximum[i]};
    math::add_value(s, pixels[i], scale);
    shift[i] = s.shift;
    sum[i] = s.sum;
    squares[i] = s.squares;
    count[i] = s.count;
    maximum[i] = s.maximum;
  }
}

}  // namespace

void frame_stats(const StatsCall& c, const Where& where) {
  const std::int64_t tiles = (c.n_pixels + kTile - 1) / kTile;
  cpu::parallel_for(tiles, where.threads, [&](std::int64_t tile) {
    const std::int64_t first = tile * kTile;
    const std::int64_t n = std::min(kTile, c.n_pixels - first);
    for (std::int64_t k = 0; k < c.n_frames; ++k) {
      const std::int64_t group = c.group[k];
      const std::int64_t frame = c.frames[k];
      if (group < 0 || group >= c.n_groups || frame < 0 || frame >= c.n_all) continue;
      const std::int64_t at = group * c.n_pixels + first;
      add_stretch(c.pixels + frame * c.n_pixels + first, n, c.scale[k], c.shift + at, c.sum + at,
                  c.squares + at, c.count + at, c.maximum + at);
    }
  });
}

}  // namespace shotsieve
