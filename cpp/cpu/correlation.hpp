// Pixels of a part on their way into sums: stretches of frames, and lists of what is not 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../core/correlation.hpp"
#include "lit_bytes.hpp"

namespace shotsieve::cpu {

// Pixels whose lists are made at a time: long stretches are read at once.
constexpr std::int32_t kEventPlaces = 16384;
constexpr std::int32_t kFramesAhead = 2;  // how far ahead of the frame at hand memory is asked for

struct RunSpan {
  const PixelRun* first;
  const PixelRun* last;
};

// The runs of a part that meet the places from start to stop.
inline RunSpan runs_between(const PartPlan& plan, std::int32_t part, std::int32_t start, std::int32_t stop) {
  const PixelRun* begin = plan.runs + plan.part_run[part];
  const PixelRun* end = plan.runs + plan.part_run[part + 1];
  const PixelRun* first =
      std::partition_point(begin, end, [=](const PixelRun& run) { return run.place + run.length <= start; });
  const PixelRun* last =
      std::partition_point(first, end, [=](const PixelRun& run) { return run.place < stop; });
  return {first, last};
}

struct Piece {
  std::int32_t place, pixel, length;
};

// What lies of a run between two places.
inline Piece cut(const PixelRun& run, std::int32_t start, std::int32_t stop) {
  const std::int32_t low = std::max(run.place, start);
  const std::int32_t high = std::min(run.place + run.length, stop);
  return {low, run.pixel + (low - run.place), high - low};
}

// What is not 0 of some pixels, pixel by pixel in the order of the frames.
struct Events {
  const std::uint32_t* events;
  const std::int32_t* start;  // (places + 1,)

  const std::uint32_t* of(std::int32_t place) const { return events + start[place]; }
  std::int32_t length(std::int32_t place) const { return start[place + 1] - start[place]; }
};

// Finds it: frame by frame, and sorts what was found by place.
class EventLists {
 public:
  explicit EventLists(std::int32_t n_frames)
      : found_of_(static_cast<std::size_t>(n_frames)), start_(kEventPlaces + 2), n_frames_(n_frames) {}

  Events events() const { return {events_.data(), start_.data()}; }

  // Makes the lists of the places from start to stop. Returns the largest count; adds the sums of the frames,
  // and of the squares of their counts to the diagonal of the sums, where they are given.
  std::int32_t fill(const PartPlan& plan, std::int32_t part, std::int32_t start, std::int32_t stop,
                    const std::uint8_t* counts, std::int32_t* frame_sums, std::int32_t* sums) {
    const RunSpan span = runs_between(plan, part, start, stop);
    std::fill(start_.begin(), start_.end(), 0);
    std::uint32_t largest = 0;
    std::size_t n = 0;
    for (std::int32_t t = 0; t < n_frames_; ++t) {
      const std::uint8_t* frame = counts + t * plan.n_pixels;
      const std::size_t before = n;
      if (found_.size() < n + kEventPlaces + kLitRoom) found_.resize(2 * n + kEventPlaces + kLitRoom);
      for (const PixelRun* run = span.first; run != span.last; ++run) {
        const Piece piece = cut(*run, start, stop);
        const std::uint8_t* from = frame + piece.pixel;
        // Frames lie far apart: what is wanted of one soon to come is asked for now.
        const std::uint8_t* soon = t + kFramesAhead < n_frames_ ? from + kFramesAhead * plan.n_pixels : from;
        const std::int32_t lit = find_lit_(from, soon, piece.length, piece.place - start, &found_[n]);
        n += static_cast<std::size_t>(lit);
      }
      std::uint32_t sum = 0, squares = 0;
      for (std::size_t i = before; i < n; ++i) ++start_[(found_[i] >> 8) + 2];
      for (std::size_t i = before; i < n; ++i) {
        const std::uint32_t count = found_[i] & 0xFFu;
        sum += count;
        squares += count * count;
        largest = std::max(largest, count);
      }
      found_of_[static_cast<std::size_t>(t)] = n;
      if (frame_sums != nullptr) frame_sums[t] += static_cast<std::int32_t>(sum);
      if (sums != nullptr) sums[std::int64_t{t} * (n_frames_ + 1)] += static_cast<std::int32_t>(squares);
    }
    sort();
    return static_cast<std::int32_t>(largest);
  }

 private:
  void sort() {
    const std::size_t n = found_of_.empty() ? 0 : found_of_.back();
    if (events_.size() < n) events_.resize(found_.size());
    for (std::size_t k = 2; k < start_.size(); ++k) start_[k] += start_[k - 1];
    std::size_t i = 0;
    for (std::int32_t t = 0; t < n_frames_; ++t) {
      for (; i < found_of_[static_cast<std::size_t>(t)]; ++i) {
        // The start of the next place moves on until it is where it belongs.
        std::int32_t& to = start_[(found_[i] >> 8) + 1];
        events_[static_cast<std::size_t>(to++)] = math::make_event(t, found_[i] & 0xFFu);
      }
    }
  }

  FindLit find_lit_ = best_find_lit();
  std::vector<std::uint32_t> found_;   // place << 8 | count, frame by frame
  std::vector<std::size_t> found_of_;  // where those of each frame end
  std::vector<std::uint32_t> events_;  // by place
  std::vector<std::int32_t> start_;
  std::int32_t n_frames_;
};

}  // namespace shotsieve::cpu
