// Lists of frames as they come from Python. On the CPU they can be looked at, so that a wrong index is an
// error and not a crash.
#pragma once

#include <string>
#include <vector>

#include "../core/calibrate.hpp"
#include "shift.hpp"

namespace shotsieve::bind {

inline void check_lists(const FrameGroup* groups, std::int64_t n_groups, const std::int32_t* frames,
                        std::int64_t n_listed, std::int64_t n_frames, std::int64_t n_rows,
                        const Shifts& shifts) {
  for (std::int64_t g = 0; g < n_groups; ++g) {
    const FrameGroup& group = groups[g];
    const bool inside = 0 <= group.start && group.start <= group.stop && group.stop <= n_listed;
    check_that(inside, "groups", "start and stop within frames, in row " + std::to_string(g));
    check_that(-1 <= group.table_row && group.table_row < n_rows, "groups",
               "a row of table or -1, in row " + std::to_string(g));
  }
  for (std::int64_t k = 0; k < n_listed; ++k) {
    check_that(0 <= frames[k] && frames[k] < n_frames, "frames",
               "indices into raw, at position " + std::to_string(k));
    if (shifts.pixel == nullptr) continue;
    const std::int32_t row = shifts.pixel_row[frames[k]];
    check_that(-1 <= row && row < shifts.n_rows, "pixel_shift_row", "a row of pixel_shift or -1");
  }
}

inline void check_places(const std::int32_t* places, std::int64_t n_listed, std::int64_t n_places) {
  std::vector<bool> taken(static_cast<std::size_t>(n_places));
  for (std::int64_t k = 0; k < n_listed; ++k) {
    const bool inside = 0 <= places[k] && places[k] < n_places;
    check_that(inside && !taken[static_cast<std::size_t>(places[k])], "places",
               "indices into counts, none of them twice, at position " + std::to_string(k));
    taken[static_cast<std::size_t>(places[k])] = true;
  }
}

}  // namespace shotsieve::bind
