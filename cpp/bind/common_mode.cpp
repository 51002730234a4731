#include "../core/common_mode.hpp"

#include <algorithm>
#include <cstdlib>

#include "array.hpp"
#include "bind.hpp"
#include "lists.hpp"
#include "shift.hpp"
#include "table.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kModeDoc = R"doc(Find the common mode of each tile of each frame.

Promise: exact, the same bits on every backend, thread count and order of frames.

Parameters
----------
raw, frames, groups, table, encoding, fixed_stage
    As for calibrate_count.
shift : int32 (F, n_tiles)
    Written for listed frames with constants: what is to be subtracted from the tile, in 1/256 ADU.
low, high : int
    A pixel in high gain with a good gain is dark from low to high, both included, in 1/256 ADU.
least : int
    A tile is corrected if strictly more of its pixels are dark.
n_itr : int
    Iterations, at least 1; each looks at the values that the one before left.
tile_rows, tile_columns, row_pixels : int
    Pixels of a tile, at most 4096 in all, and of a row of a frame; tile_columns is a multiple of 8.
pixel_shift, pixel_shift_row
    As for calibrate_count: subtracted before.
add : bool
    Start from what stands in shift; False starts from 0.
stream : int
    Handle of the device stream, 0 for the default one.
threads : int
    CPU threads.)doc";

constexpr const char* kCellDoc = R"doc(Find the common mode of each pixel over the memory cells of a row.

Promise: exact, the same bits on every backend, thread count and order of units.

Parameters
----------
raw, table, encoding, fixed_stage, low, high
    As for common_mode.
unit_frames, unit_rows : int32 (U, cells)
    Indices into raw of the frames of a row of cells in one train, and the rows of table that belong to them.
pixel_shift : int32 (U, n_pixels)
    Written: what is to be subtracted from a pixel in all frames of the unit, in 1/256 ADU.
least : int
    A pixel is corrected if it is dark in strictly more of the cells.
shift, tile_rows, tile_columns, row_pixels
    As for calibrate_count: subtracted before.
add : bool
    Add to what stands in pixel_shift, and subtract that before; False starts from 0.
stream : int
    Handle of the device stream, 0 for the default one.
threads : int
    CPU threads.)doc";

DarkRules make_rules(const py::object& raw, const py::object& table, int encoding, int fixed_stage, int low,
                     int high, std::int64_t least, std::int64_t of_pixels) {
  const ArrayView raw_view = view_array(raw, "raw", "<u2", {kAny, kAny, kAny}, false);
  const TableView table_view = view_table(table, raw_view.shape[2]);
  DarkRules r{};
  r.raw = raw_view.as<const std::uint16_t>();
  r.table = table_view.planes;
  r.packed = table_view.packed;
  r.n_frames = raw_view.shape[0];
  r.n_pixels = raw_view.shape[2];
  r.n_rows = table_view.rows;
  r.planes = static_cast<int>(raw_view.shape[1]);
  r.table_planes = table_view.n_planes;
  r.fixed_stage = fixed_stage;
  r.low = low;
  r.high = high;
  r.least = least;
  check_that(r.n_pixels % 8 == 0, "raw", "a multiple of 8 pixels in a frame");
  check_that(encoding == 0 || encoding == 1, "encoding", "0 (digital level) or 1 (gain code)");
  check_that(fixed_stage >= -1 && fixed_stage <= 2, "fixed_stage", "-1, 0, 1 or 2");
  const bool needs_gain_plane = encoding == 1 || fixed_stage < 0;
  check_that(r.planes == 2 || (r.planes == 1 && !needs_gain_plane), "raw",
             "2 planes, or 1 where stages do not come from plane 1");
  check_that(r.table_planes == math::kPlainPlanes || r.table_planes == math::kForcedPlanes, "table",
             "8 or 10 planes");
  check_that(low <= high, "low, high", "low to be at most high");
  const std::int64_t size = std::max(std::abs(std::int64_t{low}), std::abs(std::int64_t{high}));
  check_that(size * of_pixels < math::kMaxDarkSum, "low, high",
             "bounds whose product with the pixels of a group stays below 2^31");
  check_that(least >= 0, "least", "at least 0");
  r.encoding = static_cast<Encoding>(encoding);
  return r;
}

void common_mode_py(const py::object& raw, const py::object& frames, const py::object& groups,
                    const py::object& table, const py::object& shift, int encoding, int fixed_stage, int low,
                    int high, std::int64_t least, int n_itr, int tile_rows, int tile_columns, int row_pixels,
                    const py::object& pixel_shift, const py::object& pixel_shift_row, bool add,
                    std::uintptr_t stream, int threads) {
  CommonModeCall call{};
  const std::int64_t tile_pixels = std::int64_t{tile_rows} * tile_columns;
  check_that(tile_pixels <= 4096, "tile_rows, tile_columns", "at most 4096 pixels in a tile");
  call.rules = make_rules(raw, table, encoding, fixed_stage, low, high, least, tile_pixels);
  const DarkRules& r = call.rules;
  const ArrayView frames_view = view_array(frames, "frames", "<i4", {kAny}, false);
  const ArrayView groups_view = view_array(groups, "groups", "<i4", {kAny, 3}, false);
  call.frames = frames_view.as<const std::int32_t>();
  call.groups = groups_view.as<const FrameGroup>();
  call.n_listed = frames_view.shape[0];
  call.n_groups = groups_view.shape[0];
  call.shifts = view_shifts(py::none(), pixel_shift, pixel_shift_row, 0, 0, 0, r.n_frames, r.n_pixels);
  call.shifts.tiles = make_tiles(tile_rows, tile_columns, row_pixels, r.n_pixels);
  call.shifts.n_tiles = count_tiles(call.shifts.tiles, r.n_pixels);
  call.shift = view_array(shift, "shift", "<i4", {r.n_frames, call.shifts.n_tiles}, true).as<std::int32_t>();
  call.n_itr = n_itr;
  call.add = add;
  check_that(n_itr >= 1, "n_itr", "at least 1");
  check_that(threads >= 1, "threads", "at least 1");
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  check_lists(call.groups, call.n_groups, call.frames, call.n_listed, r.n_frames, r.n_rows, call.shifts);
#endif
  const py::gil_scoped_release release;
  common_mode(call, {reinterpret_cast<void*>(stream), threads});
}

void cell_common_mode_py(const py::object& raw, const py::object& unit_frames, const py::object& unit_rows,
                         const py::object& table, const py::object& pixel_shift, int encoding,
                         int fixed_stage, int low, int high, std::int64_t least, const py::object& shift,
                         int tile_rows, int tile_columns, int row_pixels, bool add, std::uintptr_t stream,
                         int threads) {
  CellModeCall call{};
  const ArrayView frames_view = view_array(unit_frames, "unit_frames", "<i4", {kAny, kAny}, false);
  call.n_units = frames_view.shape[0];
  call.cells = frames_view.shape[1];
  call.rules = make_rules(raw, table, encoding, fixed_stage, low, high, least, call.cells);
  const DarkRules& r = call.rules;
  call.unit_frames = frames_view.as<const std::int32_t>();
  call.unit_rows =
      view_array(unit_rows, "unit_rows", "<i4", {call.n_units, call.cells}, false).as<const std::int32_t>();
  call.pixel_shift =
      view_array(pixel_shift, "pixel_shift", "<i4", {call.n_units, r.n_pixels}, true).as<std::int32_t>();
  call.shifts =
      view_shifts(shift, py::none(), py::none(), tile_rows, tile_columns, row_pixels, r.n_frames, r.n_pixels);
  call.add = add;
  check_that(threads >= 1, "threads", "at least 1");
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  for (std::int64_t k = 0; k < call.n_units * call.cells; ++k) {
    check_that(0 <= call.unit_frames[k] && call.unit_frames[k] < r.n_frames, "unit_frames",
               "indices into raw");
    check_that(0 <= call.unit_rows[k] && call.unit_rows[k] < r.n_rows, "unit_rows", "rows of table");
  }
#endif
  const py::gil_scoped_release release;
  cell_common_mode(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_common_mode(py::module_& m) {
  m.def("common_mode", &common_mode_py, kModeDoc, py::arg("raw"), py::arg("frames"), py::arg("groups"),
        py::arg("table"), py::arg("shift"), py::kw_only(), py::arg("encoding"), py::arg("fixed_stage"),
        py::arg("low"), py::arg("high"), py::arg("least"), py::arg("n_itr"), py::arg("tile_rows"),
        py::arg("tile_columns"), py::arg("row_pixels"), py::arg("pixel_shift") = py::none(),
        py::arg("pixel_shift_row") = py::none(), py::arg("add") = false, py::arg("stream") = 0,
        py::arg("threads") = 1);
  m.def("cell_common_mode", &cell_common_mode_py, kCellDoc, py::arg("raw"), py::arg("unit_frames"),
        py::arg("unit_rows"), py::arg("table"), py::arg("pixel_shift"), py::kw_only(), py::arg("encoding"),
        py::arg("fixed_stage"), py::arg("low"), py::arg("high"), py::arg("least"),
        py::arg("shift") = py::none(), py::arg("tile_rows") = 0, py::arg("tile_columns") = 0,
        py::arg("row_pixels") = 0, py::arg("add") = false, py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
