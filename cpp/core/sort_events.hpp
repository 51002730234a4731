// Photon lists, which go frame by frame, sorted by pixel: on the host, for every backend.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../math/correlation.hpp"

namespace shotsieve {

struct PhotonLists {
  const std::int64_t* first;   // (n_trains * n_frames + 1) entries of each frame
  const std::uint32_t* pixel;  // (entries,)
  const std::uint8_t* count;   // (entries,)
  const std::int32_t* place;   // (n_pixels,) place of each pixel in the plan; -1 for none
  const std::int32_t* part;    // (n_places,) part of each place
  std::int64_t n_trains;
  std::int32_t n_frames, n_places, n_parts;
};

struct SortedEvents {
  std::uint32_t* events;      // (entries,) as many of them as have a place
  std::int64_t* train_start;  // (n_trains,)
  std::int32_t* place_start;  // (n_trains, n_places + 1)
  std::int32_t* frame_sums;   // (n_trains, n_parts, n_frames)
};

namespace detail {

constexpr std::int32_t kBlockBits =
    12;  // places of a block, whose events stay in a cache while they are sorted

struct Listed {
  std::uint32_t event, place;
};

// Sorts the events of some places, which come in the order of their frames. Returns the largest count.
inline std::uint32_t sort_block(const PhotonLists& lists, const Listed* first, const Listed* last,
                                std::int32_t block, std::int32_t done, std::uint32_t* events,
                                std::int32_t* start, std::int32_t* frame_sums) {
  const std::int32_t begin = block << kBlockBits;
  const std::int32_t end = std::min(lists.n_places, begin + (1 << kBlockBits));
  std::uint32_t largest = 0;
  for (const Listed* one = first; one != last; ++one) {
    const std::uint32_t count = one->event & 0xFFu;
    ++start[one->place];
    frame_sums[std::int64_t{lists.part[one->place]} * lists.n_frames + math::event_frame(one->event)] +=
        static_cast<std::int32_t>(count);
    largest = std::max(largest, count);
  }
  for (std::int32_t place = begin; place < end; ++place) {
    const std::int32_t here = start[place];
    start[place] = done;
    done += here;
  }
  // The start of a place moves on to its end, and is then that of the place before.
  for (const Listed* one = first; one != last; ++one) events[start[one->place]++] = one->event;
  for (std::int32_t place = end - 1; place > begin; --place) start[place] = start[place - 1];
  if (end > begin) start[begin] = done - static_cast<std::int32_t>(last - first);
  return largest;
}

}  // namespace detail

// Sorts by counting, twice: by blocks of places, and in each block. Returns the largest count of a pixel that
// has a place.
inline std::int32_t sort_events(const PhotonLists& lists, const SortedEvents& out) {
  std::int64_t done = 0;
  std::uint32_t largest = 0;
  std::vector<detail::Listed> listed;
  std::fill_n(out.frame_sums, lists.n_trains * lists.n_parts * lists.n_frames, 0);
  for (std::int64_t train = 0; train < lists.n_trains; ++train) {
    const std::int64_t* first = lists.first + train * lists.n_frames;
    std::int32_t* start = out.place_start + train * (lists.n_places + std::int64_t{1});
    std::fill_n(start, lists.n_places + std::int64_t{1}, 0);
    const std::int32_t n_blocks = (lists.n_places >> detail::kBlockBits) + 1;
    std::vector<std::int32_t> next(static_cast<std::size_t>(n_blocks) + 2);
    for (std::int64_t i = first[0]; i < first[lists.n_frames]; ++i) {
      const std::int32_t place = lists.place[lists.pixel[i]];
      if (place >= 0) ++next[static_cast<std::size_t>(place >> detail::kBlockBits) + 2];
    }
    for (std::size_t block = 2; block < next.size(); ++block) next[block] += next[block - 1];
    listed.resize(static_cast<std::size_t>(next.back()));
    for (std::int32_t t = 0; t < lists.n_frames; ++t) {
      for (std::int64_t i = first[t]; i < first[t + 1]; ++i) {
        const std::int32_t place = lists.place[lists.pixel[i]];
        if (place < 0) continue;
        const auto at = next[static_cast<std::size_t>(place >> detail::kBlockBits) + 1]++;
        listed[static_cast<std::size_t>(at)] = {math::make_event(t, lists.count[i]),
                                                static_cast<std::uint32_t>(place)};
      }
    }
    for (std::int32_t block = 0; block < n_blocks; ++block) {
      const std::int32_t begin = next[static_cast<std::size_t>(block)];
      largest =
          std::max(largest, detail::sort_block(lists, listed.data() + begin,
                                               listed.data() + next[static_cast<std::size_t>(block) + 1],
                                               block, begin, out.events + done, start,
                                               out.frame_sums + train * lists.n_parts * lists.n_frames));
    }
    start[lists.n_places] = next.back();
    out.train_start[train] = done;
    done += next.back();
  }
  return static_cast<std::int32_t>(largest);
}

}  // namespace shotsieve
