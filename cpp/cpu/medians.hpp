// Medians of many groups of whole numbers at once: each lane of a vector is a group, whose median is bisected
// by counting what is not above a limit. Groups one after the other, each partly sorted, took four times as
// long for an ePix100.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../math/bank_mode.hpp"

namespace shotsieve::cpu {

constexpr int kLanes = 16;  // of 32 bits

using Lanes = std::int32_t[kLanes];

// Values of groups, lane by lane: value i of lane l is values[i * kLanes + l]. `together`: all lanes are one
// group, and numbers that are found are the same in each.
struct Groups {
  const std::int32_t* values;
  std::int64_t count;
  bool together;

  // How many values are at most `most`.
  void count_up_to(const Lanes& most, Lanes& found) const {
    Lanes sums = {};
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t* __restrict row = values + i * kLanes;
      for (int l = 0; l < kLanes; ++l) sums[l] += row[l] <= most[l] ? 1 : 0;
    }
    std::int32_t all = 0;
    for (int l = 0; l < kLanes; ++l) all += sums[l];
    for (int l = 0; l < kLanes; ++l) found[l] = together ? all : sums[l];
  }

  // The largest value that is below `limit`; kNoValue without one.
  void largest_below(const Lanes& limit, Lanes& found) const {
    Lanes most;
    std::fill_n(most, kLanes, math::kNoValue);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t* __restrict row = values + i * kLanes;
      for (int l = 0; l < kLanes; ++l)
        most[l] = std::max(most[l], row[l] < limit[l] ? row[l] : math::kNoValue);
    }
    const std::int32_t all = *std::max_element(most, most + kLanes);
    for (int l = 0; l < kLanes; ++l) found[l] = together ? all : most[l];
  }

  // The same as `steps` for one group of enough values, wherever its median is.
  std::int32_t step_of_lane(int lane, int limit) const {
    std::vector<std::int32_t> good;
    for (std::int64_t i = 0; i < count * kLanes; ++i) {
      if ((together || i % kLanes == lane) && values[i] != math::kNoValue) good.push_back(values[i]);
    }
    const auto n = static_cast<std::int64_t>(good.size());
    const auto high = good.begin() + n / 2;
    std::nth_element(good.begin(), high, good.end());
    const std::int32_t low = n % 2 == 0 ? *std::max_element(good.begin(), high) : *high;
    return math::bank_step(math::middle_of(low, *high), n, limit);
  }

  // What is to be subtracted from each group: its median, where that is nearer to 0 than `limit`.
  void steps(int limit, Lanes& step) const {
    // The values in the middle of such a group are nearly always within the limit too.
    constexpr int kFarthest = 1 << 27;
    const int reach = std::min(limit, kFarthest);
    int width = 1;
    while (width < 2 * (reach + 1)) width *= 2;
    Lanes bad, rank, below, probe, found, high, low;
    std::fill_n(probe, kLanes, math::kNoValue);  // the least of all numbers, where a value is bad
    count_up_to(probe, bad);
    const std::int64_t all = together ? count * kLanes : count;
    for (int l = 0; l < kLanes; ++l) {
      rank[l] = bad[l] + static_cast<std::int32_t>((all - bad[l]) / 2);  // of the higher value in the middle
      below[l] = -reach - 1;
    }
    for (int part = width / 2; part >= 1; part /= 2) {
      for (int l = 0; l < kLanes; ++l) probe[l] = below[l] + part;
      count_up_to(probe, found);
      for (int l = 0; l < kLanes; ++l) below[l] = found[l] <= rank[l] ? probe[l] : below[l];
    }
    for (int l = 0; l < kLanes; ++l) high[l] = below[l] + 1;
    Lanes less, not_more;
    count_up_to(below, less);
    count_up_to(high, not_more);
    largest_below(high, low);
    std::fill_n(step, kLanes, 0);
    for (int l = 0; l < (together ? 1 : kLanes); ++l) {
      const std::int64_t n = all - bad[l];
      if (n < math::kLeastOfMedian) continue;
      const bool inside = less[l] <= rank[l] && rank[l] < not_more[l];
      const std::int32_t lower = n % 2 == 0 && less[l] == rank[l] ? low[l] : high[l];
      step[l] = inside ? math::bank_step(math::middle_of(lower, high[l]), n, limit) : step_of_lane(l, limit);
    }
    if (together) std::fill_n(step, kLanes, step[0]);
  }
};

}  // namespace shotsieve::cpu
