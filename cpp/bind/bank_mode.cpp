#include "../core/bank_mode.hpp"

#include <string>

#include "array.hpp"
#include "bind.hpp"

namespace shotsieve::bind {
namespace {

constexpr const char* kBankModeDoc =
    R"(Find the common mode of banks, of their rows and of their columns by medians.

Promise: exact, the same numbers on every backend and thread count.

Parameters
----------
raw : uint16 (F, 1, n_pixels)
frames : int32 (L,)
    Indices into raw of the frames to work on.
groups : int32 (G, 3)
    start, stop into frames, and the row of table for them; frames of row -1 are left alone.
table : float32 (R, 2, n_pixels)
    Folded constants of a detector with one gain stage; a pixel with a gain that is not a number has no say.
shift : int32 (F, n_pixels)
    Receives what pixels share, in 1/256 ADU; 0 for those that have no say.
row_pixels, bank_rows, bank_columns : int
    Pixels of a row of a frame, and of a bank.
limit : int
    A median counts if it is nearer to 0, in 1/256 ADU, and of at least ten pixels.
banks, rows, columns : bool
    Which medians are subtracted, in this order.
passes : int
    How often all of them are, 1 or 2.
stream : int
threads : int)";

void bank_mode_py(const py::object& raw, const py::object& frames, const py::object& groups,
                  const py::object& table, const py::object& shift, int row_pixels, int bank_rows,
                  int bank_columns, int limit, bool banks, bool rows, bool columns, int passes,
                  std::uintptr_t stream, int threads) {
  const ArrayView raw_view = view_array(raw, "raw", "<u2", {kAny, 1, kAny}, false);
  const std::int64_t n_frames = raw_view.shape[0];
  const std::int64_t n_pixels = raw_view.shape[2];
  const ArrayView frames_view = view_array(frames, "frames", "<i4", {kAny}, false);
  const ArrayView groups_view = view_array(groups, "groups", "<i4", {kAny, 3}, false);
  const ArrayView table_view =
      view_array(table, "table", "<f4", {kAny, math::kSinglePlanes, n_pixels}, false);
  const ArrayView shift_view = view_array(shift, "shift", "<i4", {n_frames, n_pixels}, true);
  check_that(row_pixels > 0 && n_pixels % row_pixels == 0, "row_pixels",
             "pixels of a row, which divide a frame");
  check_that(bank_columns > 0 && row_pixels % bank_columns == 0, "bank_columns",
             "a number that divides row_pixels");
  check_that(bank_rows > 0 && n_pixels / row_pixels % bank_rows == 0, "bank_rows",
             "a number that divides the rows of a frame");
  check_that(limit >= 0, "limit", "at least 0");
  check_that(passes == 1 || passes == 2, "passes", "1 or 2");
  BankModeCall call{};
  call.raw = raw_view.as<const std::uint16_t>();
  call.frames = frames_view.as<const std::int32_t>();
  call.groups = groups_view.as<const FrameGroup>();
  call.table = table_view.as<const float>();
  call.shift = shift_view.as<std::int32_t>();
  call.n_frames = n_frames;
  call.n_listed = frames_view.shape[0];
  call.n_groups = groups_view.shape[0];
  call.n_rows = table_view.shape[0];
  call.n_pixels = n_pixels;
  call.columns = row_pixels;
  call.bank_rows = bank_rows;
  call.bank_columns = bank_columns;
  call.limit = limit;
  call.passes = passes;
  call.bank_medians = banks;
  call.row_medians = rows;
  call.column_medians = columns;
#if !defined(SHOTSIEVE_DEVICE_BACKEND)
  // On the CPU the lists can be looked at, so that a wrong index is an error and not a crash.
  for (std::int64_t g = 0; g < call.n_groups; ++g) {
    const FrameGroup& group = call.groups[g];
    check_that(group.start >= 0 && group.stop >= group.start && group.stop <= call.n_listed, "groups",
               "start and stop inside frames");
    check_that(group.table_row >= -1 && group.table_row < call.n_rows, "groups", "rows of table, or -1");
  }
  for (std::int64_t k = 0; k < call.n_listed; ++k) {
    check_that(call.frames[k] >= 0 && call.frames[k] < n_frames, "frames", "indices into raw");
  }
#endif
  const py::gil_scoped_release release;
  bank_mode(call, {reinterpret_cast<void*>(stream), threads});
}

}  // namespace

void bind_bank_mode(py::module_& m) {
  m.def("bank_mode", &bank_mode_py, kBankModeDoc, py::arg("raw"), py::arg("frames"), py::arg("groups"),
        py::arg("table"), py::arg("shift"), py::kw_only(), py::arg("row_pixels"), py::arg("bank_rows"),
        py::arg("bank_columns"), py::arg("limit"), py::arg("banks") = true, py::arg("rows") = true,
        py::arg("columns") = true, py::arg("passes") = 1, py::arg("stream") = 0, py::arg("threads") = 1);
}

}  // namespace shotsieve::bind
