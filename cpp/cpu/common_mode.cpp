// common_mode and cell_common_mode on the CPU. Values of a tile are made once, in 16 KB that stay in the
// first cache for all iterations.
#include "../core/common_mode.hpp"

#include <algorithm>
#include <vector>

#include "dark_values.hpp"
#include "parallel.hpp"
#include "shifted.hpp"

namespace shotsieve {
namespace {

constexpr std::int64_t kCellTile = 4096;  // pixels of a row of cells that are summed at once

struct DarkSums {
  std::uint32_t sum = 0;  // of value - shift - low
  std::uint32_t count = 0;
};

DarkSums sum_dark(const std::int32_t* __restrict values, std::int64_t n, std::int32_t shift_and_low,
                  std::uint32_t width) {
  DarkSums s;
  for (std::int64_t i = 0; i < n; ++i) {  // hot: dark_sums
    const std::uint32_t above = math::above_low(values[i], shift_and_low);
    const std::uint32_t dark = above <= width ? 1u : 0u;
    s.count += dark;
    s.sum += dark != 0 ? above : 0u;
  }
  return s;
}

// The shift of a tile whose values are there, from `shift` on.
std::int32_t tile_shift(const CommonModeCall& c, const std::int32_t* values, std::int64_t n,
                        std::int32_t shift) {
  const DarkRules& r = c.rules;
  const auto width = static_cast<std::uint32_t>(r.high - r.low);
  for (int itr = 0; itr < c.n_itr; ++itr) {
    const DarkSums s = sum_dark(values, n, math::add_shifts(shift, r.low), width);
    if (std::int64_t{s.count} <= r.least) return shift;  // and so in every later iteration
    const std::int32_t step = math::mean_shift(std::int64_t{s.sum} + std::int64_t{s.count} * r.low, s.count);
    if (step == 0) return shift;
    shift = math::add_shifts(shift, step);
  }
  return shift;
}

struct TileRoom {
  std::vector<std::int32_t> values;
  std::vector<float> unpacked;               // empty where constants are not packed
  std::vector<cpu::RunConstants> constants;  // of each row of pixels
};

void common_mode_group(const CommonModeCall& c, cpu::Values values_of_run, const FrameGroup& group,
                       TileRoom& room) {
  const DarkRules& r = c.rules;
  const Tiles& t = c.shifts.tiles;
  const std::size_t row_room = room.unpacked.size() / static_cast<std::size_t>(t.rows);
  const bool once = group.stop - group.start == 1;  // unpacked constants then stay in L1
  for (std::int64_t tile = 0; tile < c.shifts.n_tiles; ++tile) {
    const std::int64_t first = tile / t.across() * t.rows * t.frame_columns + tile % t.across() * t.columns;
    for (std::int32_t k = group.start; k < group.stop; ++k) {
      const std::int64_t frame = c.frames[k];
      const std::int32_t row = c.shifts.pixel != nullptr ? c.shifts.pixel_row[frame] : -1;
      for (std::int64_t y = 0; y < t.rows; ++y) {
        const std::int64_t pixel = first + y * t.frame_columns;
        std::int32_t* out = room.values.data() + y * t.columns;
        const auto at = static_cast<std::size_t>(y);
        cpu::RunConstants& constants = room.constants[at];
        if (k == group.start) {
          constants = cpu::constants_of(r, group.table_row, pixel, t.columns,
                                        room.unpacked.data() + (once ? 0 : at * row_room));
        }
        values_of_run(cpu::run_of(r, frame, pixel, constants), t.columns, out);
        if (row < 0) continue;
        const std::int32_t* before = c.shifts.pixel + row * r.n_pixels + pixel;
        for (std::int64_t i = 0; i < t.columns; ++i) out[i] = math::add_shifts(out[i], -before[i]);
      }
      std::int32_t& shift = c.shift[frame * c.shifts.n_tiles + tile];
      shift = tile_shift(c, room.values.data(), t.rows * t.columns, c.add ? shift : 0);
    }
  }
}

// Sums of a part of the pixels over the cells of a row.
struct CellSums {
  std::vector<std::int32_t> values = std::vector<std::int32_t>(kCellTile);
  std::vector<std::int32_t> sum = std::vector<std::int32_t>(kCellTile);
  std::vector<std::int32_t> count = std::vector<std::int32_t>(kCellTile);
  std::vector<float> unpacked;  // empty where constants are not packed
};

// Adds one frame of a unit; `before` are the shifts of its pixels so far.
void add_cell(const CellModeCall& c, CellSums& s, std::int64_t frame, std::int64_t first, std::int64_t n,
              const std::int32_t* before) {
  const DarkRules& r = c.rules;
  const std::int64_t run = c.shifts.tile != nullptr ? c.shifts.tiles.columns : n;
  const auto width = static_cast<std::uint32_t>(r.high - r.low);
  for (std::int64_t i = 0; i < n;) {
    const std::int64_t more = c.shifts.tile != nullptr ? run - (first + i) % run : n;
    const std::int64_t stop = std::min(n, i + more);
    const std::int32_t of_tile =
        c.shifts.tile != nullptr ? cpu::shift_of_tile(c.shifts, frame, first + i) : 0;
    const std::int32_t* __restrict values = s.values.data();
    std::int32_t* __restrict sum = s.sum.data();
    std::int32_t* __restrict count = s.count.data();
    for (; i < stop; ++i) {  // hot: cell_sums
      const std::int32_t shift = math::add_shifts(before != nullptr ? before[i] : 0, of_tile);
      const std::uint32_t above = math::above_low(values[i], math::add_shifts(shift, r.low));
      const bool dark = above <= width;
      count[i] += dark ? 1 : 0;
      sum[i] += dark ? static_cast<std::int32_t>(above) + r.low : 0;
    }
  }
}

void cell_mode_part(const CellModeCall& c, cpu::Values values_of_run, std::int64_t unit, std::int64_t first,
                    CellSums& s) {
  const DarkRules& r = c.rules;
  const std::int64_t n = std::min(kCellTile, r.n_pixels - first);
  std::int32_t* out = c.pixel_shift + unit * r.n_pixels + first;
  std::fill_n(s.sum.data(), n, 0);
  std::fill_n(s.count.data(), n, 0);
  for (std::int64_t k = 0; k < c.cells; ++k) {
    const std::int64_t frame = c.unit_frames[unit * c.cells + k];
    const std::int64_t row = c.unit_rows[unit * c.cells + k];
    cpu::values_of_cell(r, values_of_run, frame, row, first, n, s.unpacked.data(), s.values.data());
    add_cell(c, s, frame, first, n, c.add ? out : nullptr);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t step = s.count[i] > r.least ? math::mean_shift(s.sum[i], s.count[i]) : 0;
    out[i] = math::add_shifts(c.add ? out[i] : 0, step);
  }
}

}  // namespace

void common_mode(const CommonModeCall& c, const Where& where) {
  const cpu::Values values_of_run = cpu::choose_values(c.rules);
  const std::int64_t pixels = c.shifts.tiles.rows * c.shifts.tiles.columns;
  const auto make = [&] {
    return TileRoom{std::vector<std::int32_t>(static_cast<std::size_t>(pixels)),
                    std::vector<float>(cpu::unpacked_room(c.rules, pixels)),
                    std::vector<cpu::RunConstants>(static_cast<std::size_t>(c.shifts.tiles.rows))};
  };
  cpu::parallel_for(c.n_groups, where.threads, make, [&](TileRoom& room, std::int64_t g) {
    if (c.groups[g].table_row >= 0) common_mode_group(c, values_of_run, c.groups[g], room);
  });
}

void cell_common_mode(const CellModeCall& c, const Where& where) {
  const cpu::Values values_of_run = cpu::choose_values(c.rules);
  const std::int64_t parts = (c.rules.n_pixels + kCellTile - 1) / kCellTile;
  const auto make = [&c] {
    CellSums sums;
    sums.unpacked.resize(cpu::unpacked_room(c.rules, cpu::kUnpacked));
    return sums;
  };
  cpu::parallel_for(c.n_units * parts, where.threads, make, [&](CellSums& sums, std::int64_t i) {
    cell_mode_part(c, values_of_run, i / parts, i % parts * kCellTile, sums);
  });
}

}  // namespace shotsieve
