// bank_mode on the CPU: a bank of a frame is one piece of work, whose values stay in the second cache.
#include "../core/bank_mode.hpp"

#include <algorithm>
#include <vector>

#include "medians.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

using cpu::kLanes;

// A bank: rows of `columns` values each.
struct Bank {
  std::int32_t* values;
  std::int64_t rows, columns;
  int limit;
};

void subtract(std::int32_t& value, std::int32_t step) {
  value = value == math::kNoValue ? value : value - step;
}

// Subtracts from `groups` groups of `count` values their medians. Value i of group g is at
// g * group_step + i * value_step; a lane without a group has no values.
void subtract_medians(const Bank& bank, std::int64_t groups, std::int64_t group_step, std::int64_t count,
                      std::int64_t value_step, std::vector<std::int32_t>& lanes) {
  for (std::int64_t first = 0; first < groups; first += kLanes) {
    const std::int64_t n = std::min<std::int64_t>(kLanes, groups - first);
    std::int32_t* values = bank.values + first * group_step;
    lanes.assign(static_cast<std::size_t>(count * kLanes), math::kNoValue);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t l = 0; l < n; ++l) lanes[i * kLanes + l] = values[l * group_step + i * value_step];
    }
    cpu::Lanes step;
    cpu::Groups{lanes.data(), count, false}.steps(bank.limit, step);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t l = 0; l < n; ++l) subtract(values[l * group_step + i * value_step], step[l]);
    }
  }
}

void subtract_median_of_all(const Bank& bank, std::vector<std::int32_t>& lanes) {
  const std::int64_t n = bank.rows * bank.columns;
  lanes.assign(static_cast<std::size_t>((n + kLanes - 1) / kLanes * kLanes), math::kNoValue);
  std::copy_n(bank.values, n, lanes.begin());
  cpu::Lanes step;
  cpu::Groups{lanes.data(), static_cast<std::int64_t>(lanes.size()) / kLanes, true}.steps(bank.limit, step);
  for (std::int64_t i = 0; i < n; ++i) subtract(bank.values[i], step[0]);
}

struct Scratch {
  std::vector<std::int32_t> values, lanes;
};

void correct_bank(const BankModeCall& c, std::int64_t frame, std::int64_t row, std::int64_t bank,
                  Scratch& s) {
  const std::int64_t rows = c.bank_rows;
  const std::int64_t columns = c.bank_columns;
  const std::uint16_t* raw = c.raw + frame * c.n_pixels + c.corner(bank);
  const float* offset =
      c.table + (row * math::kSinglePlanes + math::kSingleOffset) * c.n_pixels + c.corner(bank);
  const float* gain = c.table + (row * math::kSinglePlanes + math::kSingleGain) * c.n_pixels + c.corner(bank);
  std::int32_t* shift = c.shift + frame * c.n_pixels + c.corner(bank);
  s.values.resize(static_cast<std::size_t>(rows * columns));
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      const std::int64_t at = y * c.columns + x;
      const int value = math::bank_value(static_cast<float>(raw[at]), offset[at], gain[at]);
      s.values[static_cast<std::size_t>(y * columns + x)] = value;
      shift[at] = value;
    }
  }
  const Bank values{s.values.data(), rows, columns, c.limit};
  for (int pass = 0; pass < c.passes; ++pass) {
    if (c.bank_medians) subtract_median_of_all(values, s.lanes);
    if (c.row_medians) subtract_medians(values, rows, columns, columns, 1, s.lanes);
    if (c.column_medians) subtract_medians(values, columns, 1, rows, columns, s.lanes);
  }
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      std::int32_t& before = shift[y * c.columns + x];
      before = before == math::kNoValue ? 0 : before - s.values[static_cast<std::size_t>(y * columns + x)];
    }
  }
}

}  // namespace

void bank_mode(const BankModeCall& call, const Where& where) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(call.n_listed), -1);
  for (std::int64_t g = 0; g < call.n_groups; ++g) {
    const FrameGroup& group = call.groups[g];
    std::fill(rows.begin() + group.start, rows.begin() + group.stop, std::int64_t{group.table_row});
  }
  const std::int64_t n_banks = call.n_banks();
  cpu::parallel_for(
      call.n_listed * n_banks, where.threads, [] { return Scratch(); },
      [&](Scratch& scratch, std::int64_t i) {
        const std::int64_t row = rows[static_cast<std::size_t>(i / n_banks)];
        if (row >= 0) correct_bank(call, call.frames[i / n_banks], row, i % n_banks, scratch);
      });
}

}  // namespace shotsieve
