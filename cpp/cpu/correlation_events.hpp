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

// Adds the products of all pairs of N events, of each of some places.
template <int N>
void add_pairs_of(const Events& lists, const std::int32_t* first, const std::int32_t* last,
                  std::int32_t n_frames, std::int32_t* __restrict__ sums) {
  for (; first != last; ++first) {
    const std::uint32_t* events = lists.of(*first);
    std::int32_t frame[N], count[N];
    for (int i = 0; i < N; ++i) {
      frame[i] = math::event_frame(events[i]);
      count[i] = math::event_count(events[i]);
    }
#pragma GCC unroll 8
    for (int i = 1; i < N; ++i) {
      std::int32_t* row = sums + std::int64_t{frame[i]} * n_frames;
#pragma GCC unroll 8
      for (int j = 0; j < i; ++j) row[frame[j]] += count[i] * count[j];
    }
  }
}

// Adds the products of each event with those before it of its pixel; takes what has few events, and returns
// the first place that has more, of those in the order of their length.
inline std::int32_t* add_short(const Events& lists, std::int32_t* order, std::int32_t* last,
                               std::int32_t n_frames, std::int32_t* sums) {
  using Add = void (*)(const Events&, const std::int32_t*, const std::int32_t*, std::int32_t, std::int32_t*);
  constexpr Add kAdd[] = {add_pairs_of<2>, add_pairs_of<3>, add_pairs_of<4>, add_pairs_of<5>,
                          add_pairs_of<6>, add_pairs_of<7>, add_pairs_of<8>};
  const auto longer_than = [&](std::int32_t n) {
    return std::partition_point(order, last, [&](std::int32_t place) { return lists.length(place) <= n; });
  };
  order = longer_than(1);
  std::int32_t length = 2;
  for (const Add add : kAdd) {
    std::int32_t* end = longer_than(length++);
    add(lists, order, end, n_frames, sums);
    order = end;
  }
  return order;
}

// Adds the products of the events of each pixel: of all pairs, or of each with those before it.
inline void add_events(const Events& first, const Events* second, std::int32_t places, std::int32_t n_others,
                       std::int32_t* __restrict__ sums) {
  std::int32_t order[kEventPlaces];
  sort_by_length(first, places, order);
  const std::int32_t* at =
      second != nullptr ? order : add_short(first, order, order + places, n_others, sums);
  for (; at != order + places; ++at) {
    const std::uint32_t* events = first.of(*at);
    const std::uint32_t* others = second == nullptr ? events : second->of(*at);
    const std::int32_t n = first.length(*at);
    for (std::int32_t i = 0; i < n; ++i) {
      std::int32_t* row = sums + std::int64_t{math::event_frame(events[i])} * n_others;
      const std::int32_t count = math::event_count(events[i]);
      const std::int32_t stop = second == nullptr ? i : second->length(*at);
      for (std::int32_t j = 0; j < stop; ++j) {
        row[math::event_frame(others[j])] += count * math::event_count(others[j]);
      }
    }
  }
}

}  // namespace shotsieve::cpu
