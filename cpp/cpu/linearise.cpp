// linearise on the CPU: frames of a cell go through tiles of pixels together, so that what is looked up of
// the tables of a tile stays in cache for the frames of a group.
#include "../core/linearise.hpp"

#include <algorithm>
#include <cstring>

#include "parallel.hpp"

namespace shotsieve {
namespace {

// Of so many tables the lines that usual signals need fit the caches of a core.
constexpr std::int64_t kPixels = 256;

void look_up(const LineariseCall& call, const std::uint16_t* __restrict linear,
             const std::uint16_t* __restrict raw, std::uint16_t* __restrict words, std::int64_t n) {
  const int entries = call.entries;
  const std::int64_t pitch = call.pitch;
#pragma GCC unroll 16
  for (std::int64_t i = 0; i < n; ++i) {
    words[i] = linear[i * pitch + math::linear_entry(raw[i], entries)];
  }
}

}  // namespace

void linearise(const LineariseCall& call, const Where& where) {
  const std::int64_t n = call.n_pixels;
  const std::int64_t frame_words = call.planes * n;
  cpu::parallel_for(call.n_groups, where.threads, [&](std::int64_t g) {
    const FrameGroup& group = call.groups[g];
    const bool found = group.table_row >= 0;
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      const std::int64_t at = call.frames[k] * frame_words + (found ? n : 0);
      const std::int64_t copied = frame_words - (found ? n : 0);
      std::memcpy(call.words + at, call.raw + at, static_cast<std::size_t>(copied) * sizeof(std::uint16_t));
    }
    if (!found) return;
    const std::uint16_t* linear = call.linear + group.table_row * n * call.pitch;
    for (std::int64_t first = 0; first < n; first += kPixels) {
      for (std::int32_t k = group.start; k < group.stop; ++k) {
        const std::int64_t at = call.frames[k] * frame_words + first;
        look_up(call, linear + first * call.pitch, call.raw + at, call.words + at,
                std::min(kPixels, n - first));
      }
    }
  });
}

}  // namespace shotsieve
