// Words and constants of frames as they come from Python, checked.
#pragma once

#include "../core/frame_words.hpp"
#include "array.hpp"
#include "table.hpp"

namespace shotsieve::bind {

inline FrameWords view_words(const py::object& raw, const py::object& table, int encoding, int fixed_stage) {
  const ArrayView raw_view = view_array(raw, "raw", "<u2", {kAny, kAny, kAny}, false);
  const TableView table_view = view_table(table, raw_view.shape[2]);
  FrameWords r{};
  r.raw = raw_view.as<const std::uint16_t>();
  r.table = table_view.planes;
  r.packed = table_view.packed;
  r.n_frames = raw_view.shape[0];
  r.n_pixels = raw_view.shape[2];
  r.n_rows = table_view.rows;
  r.planes = static_cast<int>(raw_view.shape[1]);
  r.table_planes = table_view.n_planes;
  r.fixed_stage = fixed_stage;
  check_that(r.n_pixels % 8 == 0, "raw", "a multiple of 8 pixels in a frame");
  check_that(encoding == 0 || encoding == 1, "encoding", "0 (digital level) or 1 (gain code)");
  check_that(fixed_stage >= -1 && fixed_stage <= 2, "fixed_stage", "-1, 0, 1 or 2");
  const bool needs_gain_plane = encoding == 1 || fixed_stage < 0;
  check_that(r.planes == 2 || (r.planes == 1 && !needs_gain_plane), "raw",
             "2 planes, or 1 where stages do not come from plane 1");
  check_that(r.table_planes == math::kPlainPlanes || r.table_planes == math::kForcedPlanes, "table",
             "8 or 10 planes");
  r.encoding = static_cast<Encoding>(encoding);
  return r;
}

}  // namespace shotsieve::bind
