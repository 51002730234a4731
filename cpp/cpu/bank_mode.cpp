// bank_mode on the CPU: a bank of a frame is one piece of work, whose values stay in the second cache.
#include "../core/bank_mode.hpp"

#include <algorithm>
#include <vector>

#include "parallel.hpp"

namespace shotsieve {
namespace {

// Subtracts the median of `count` values, `stride` apart, from each of them.
void subtract_median(std::int32_t* values, std::int64_t count, std::int64_t stride, int limit,
                     std::vector<std::int32_t>& good) {
  good.clear();
  for (std::int64_t i = 0; i < count; ++i) {
    if (values[i * stride] != math::kNoValue) good.push_back(values[i * stride]);
  }
  const auto n = static_cast<std::int64_t>(good.size());
  if (n < math::kLeastOfMedian) return;
  const auto high = good.begin() + n / 2;
  std::nth_element(good.begin(), high, good.end());
  const std::int32_t low = n % 2 == 0 ? *std::max_element(good.begin(), high) : *high;
  const int step = math::bank_step(math::middle_of(low, *high), n, limit);
  if (step == 0) return;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t& value = values[i * stride];
    value = value == math::kNoValue ? value : value - step;
  }
}

struct Scratch {
  std::vector<std::int32_t> values, good;
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
  std::int32_t* values = s.values.data();
  for (int pass = 0; pass < c.passes; ++pass) {
    if (c.bank_medians) subtract_median(values, rows * columns, 1, c.limit, s.good);
    for (std::int64_t y = 0; c.row_medians && y < rows; ++y) {
      subtract_median(values + y * columns, columns, 1, c.limit, s.good);
    }
    for (std::int64_t x = 0; c.column_medians && x < columns; ++x) {
      subtract_median(values + x, rows, columns, c.limit, s.good);
    }
  }
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      std::int32_t& before = shift[y * c.columns + x];
      before = before == math::kNoValue ? 0 : before - values[y * columns + x];
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
