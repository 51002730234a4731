// Offsets with the shifts of a frame, for some of its pixels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../core/shift.hpp"
#include "../math/shift.hpp"

namespace shotsieve::cpu {

inline std::int32_t shift_of_tile(const Shifts& s, std::int64_t frame, std::int64_t pixel) {
  const std::int64_t row = pixel / s.tiles.frame_columns / s.tiles.rows;
  const std::int64_t column = pixel % s.tiles.frame_columns / s.tiles.columns;
  return s.tile[frame * s.n_tiles + row * s.tiles.across() + column];
}

inline void add_shift(float* __restrict out, const float* __restrict offset,
                      const std::int32_t* __restrict of_pixel, std::int32_t of_tile, std::int64_t n) {
  if (of_pixel == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = math::shift_offset(offset[i], of_tile);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = math::shift_offset(offset[i], math::add_shifts(of_pixel[i], of_tile));
  }
}

// out[i] = offset[i] with the shift of pixel first + i of a frame of n_pixels.
inline void shifted_offsets(const Shifts& s, std::int64_t frame, std::int64_t n_pixels, std::int64_t first,
                            std::int64_t n, const float* offset, float* out) {
  const std::int32_t row = s.pixel != nullptr ? s.pixel_row[frame] : -1;
  const std::int32_t* of_pixel = row >= 0 ? s.pixel + row * n_pixels + first : nullptr;
  const std::int64_t run = s.tile != nullptr ? s.tiles.columns : n;
  for (std::int64_t i = 0; i < n;) {
    const std::int64_t more = s.tile != nullptr ? run - (first + i) % run : n;
    const std::int64_t count = std::min(n - i, more);
    add_shift(out + i, offset + i, of_pixel != nullptr ? of_pixel + i : nullptr,
              s.tile != nullptr ? shift_of_tile(s, frame, first + i) : 0, count);
    i += count;
  }
}

}  // namespace shotsieve::cpu
