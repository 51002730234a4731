// Products of what is not 0, which events by lists and by frames have in common.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../math/correlation.hpp"
#include "correlation.hpp"

namespace shotsieve::cpu {

inline void mirror(std::int32_t* sums, std::int32_t n) {
  constexpr std::int32_t kBlock = 16;  // a block and its mirror image fit into the nearest cache
  for (std::int32_t row = 0; row < n; row += kBlock) {
    for (std::int32_t column = 0; column <= row; column += kBlock) {
      for (std::int32_t i = row; i < std::min(row + kBlock, n); ++i) {
        for (std::int32_t j = column; j < std::min(column + kBlock, i); ++j) {
          sums[std::int64_t{j} * n + i] = sums[std::int64_t{i} * n + j];
        }
      }
    }
  }
}

// Places in the order of the length of their lists: loops over lists of one length can be foreseen.
inline void sort_by_length(const Events& lists, std::int32_t places, std::int32_t* order) {
  constexpr std::int32_t kLengths = 64;
  std::int32_t next[kLengths + 1] = {};
  const auto length = [&](std::int32_t place) { return std::min(lists.length(place), kLengths - 1); };
  for (std::int32_t place = 0; place < places; ++place) ++next[length(place) + 1];
  for (std::int32_t k = 1; k <= kLengths; ++k) next[k] += next[k - 1];
  for (std::int32_t place = 0; place < places; ++place) order[next[length(place)]++] = place;
}

// Adds the products of the events of each pixel: of all pairs, or of each with those before it.
inline void add_events(const Events& first, const Events* second, std::int32_t places, std::int32_t n_others,
                       std::int32_t* __restrict__ sums) {
  std::int32_t order[kEventPlaces];
  sort_by_length(first, places, order);
  for (std::int32_t k = 0; k < places; ++k) {
    const std::uint32_t* events = first.of(order[k]);
    const std::uint32_t* others = second == nullptr ? events : second->of(order[k]);
    const std::int32_t n = first.length(order[k]);
    for (std::int32_t i = 0; i < n; ++i) {
      std::int32_t* row = sums + std::int64_t{math::event_frame(events[i])} * n_others;
      const std::int32_t count = math::event_count(events[i]);
      const std::int32_t stop = second == nullptr ? i : second->length(order[k]);
      for (std::int32_t j = 0; j < stop; ++j) {
        row[math::event_frame(others[j])] += count * math::event_count(others[j]);
      }
    }
  }
}

}  // namespace shotsieve::cpu
