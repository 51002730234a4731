// Shifts of frames as they come from Python, checked.
#pragma once

#include "../core/shift.hpp"
#include "array.hpp"

namespace shotsieve::bind {

// Tiles that cut frames of n_pixels without a rest.
inline Tiles make_tiles(int tile_rows, int tile_columns, int row_pixels, std::int64_t n_pixels) {
  check_that(row_pixels > 0 && n_pixels % row_pixels == 0, "row_pixels",
             "the pixels of a row, which divide those of a frame (" + std::to_string(n_pixels) + ")");
  check_that(tile_columns > 0 && tile_columns % 8 == 0 && row_pixels % tile_columns == 0, "tile_columns",
             "a multiple of 8 that divides row_pixels");
  check_that(tile_rows > 0 && n_pixels / row_pixels % tile_rows == 0, "tile_rows",
             "a number that divides the rows of a frame");
  return {tile_rows, tile_columns, row_pixels};
}

inline std::int64_t count_tiles(const Tiles& tiles, std::int64_t n_pixels) {
  return n_pixels / (tiles.rows * tiles.columns);
}

inline Shifts view_shifts(const py::object& shift, const py::object& pixel_shift,
                          const py::object& pixel_shift_row, int tile_rows, int tile_columns, int row_pixels,
                          std::int64_t n_frames, std::int64_t n_pixels) {
  Shifts shifts{};
  if (!shift.is_none()) {
    shifts.tiles = make_tiles(tile_rows, tile_columns, row_pixels, n_pixels);
    shifts.n_tiles = count_tiles(shifts.tiles, n_pixels);
    shifts.tile =
        view_array(shift, "shift", "<i4", {n_frames, shifts.n_tiles}, false).as<const std::int32_t>();
  }
  check_that(pixel_shift.is_none() == pixel_shift_row.is_none(), "pixel_shift, pixel_shift_row",
             "both arrays or both None");
  if (!pixel_shift.is_none()) {
    const ArrayView view = view_array(pixel_shift, "pixel_shift", "<i4", {kAny, n_pixels}, false);
    shifts.pixel = view.as<const std::int32_t>();
    shifts.n_rows = view.shape[0];
    shifts.pixel_row =
        view_array(pixel_shift_row, "pixel_shift_row", "<i4", {n_frames}, false).as<const std::int32_t>();
  }
  return shifts;
}

}  // namespace shotsieve::bind
