// Shifts of frames: one number for each tile of a frame, and one for each pixel of a row of shifts.
#pragma once

#include <cstdint>

namespace shotsieve {

// A frame is cut into tiles of tile_rows x tile_columns pixels, counted along its rows.
struct Tiles {
  std::int64_t rows, columns;  // pixels of a tile
  std::int64_t frame_columns;  // pixels of a row of the frame

  constexpr std::int64_t across() const { return frame_columns / columns; }
};

struct Shifts {
  const std::int32_t* tile;       // (n_frames, n_tiles) or null
  const std::int32_t* pixel;      // (n_rows, n_pixels) or null
  const std::int32_t* pixel_row;  // (n_frames,), -1 for a frame without; null exactly where pixel is
  Tiles tiles;                    // where tile is not null
  std::int64_t n_tiles, n_rows;

  bool any() const { return tile != nullptr || pixel != nullptr; }
};

}  // namespace shotsieve
