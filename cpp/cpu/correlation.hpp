// Pixels of a part on their way into sums: stretches of frames, and lists of what is not 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../core/correlation.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

constexpr std::int32_t kEventPlaces = 4096;  // pixels whose lists are made at a time: pages are read whole
constexpr std::int32_t kFramesAhead = 4;     // how far ahead of the frame at hand memory is asked for

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

// One bit for each of n bytes, at most 64, that is not 0.
inline std::uint64_t nonzero_bytes(const std::uint8_t* bytes, std::int32_t n) {
#if defined(__AVX512BW__)
  const __mmask64 there = n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
  const __m512i values = _mm512_maskz_loadu_epi8(there, bytes);
  return _mm512_test_epi8_mask(values, values);
#else
  std::uint64_t bits = 0;
  std::int32_t k = 0;
#if defined(__AVX2__)
  for (; k + 32 <= n; k += 32) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + k));
    const __m256i empty = _mm256_cmpeq_epi8(values, _mm256_setzero_si256());
    const auto found = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(empty));
    bits |= std::uint64_t{found} << k;
  }
#elif defined(__x86_64__)
  for (; k + 16 <= n; k += 16) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + k));
    const __m128i empty = _mm_cmpeq_epi8(values, _mm_setzero_si128());
    const auto found = ~static_cast<std::uint32_t>(_mm_movemask_epi8(empty)) & 0xFFFFu;
    bits |= std::uint64_t{found} << k;
  }
#endif
  for (; k < n; ++k) bits |= std::uint64_t{bytes[k] != 0} << k;
  return bits;
#endif
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
      if (found_.size() < n + kEventPlaces) found_.resize(2 * n + kEventPlaces);
      for (const PixelRun* run = span.first; run != span.last; ++run) {
        const Piece piece = cut(*run, start, stop);
        const std::uint8_t* from = frame + piece.pixel;
        // Frames lie far apart: what is wanted of one soon to come is asked for now.
        const std::uint8_t* soon = t + kFramesAhead < n_frames_ ? from + kFramesAhead * plan.n_pixels : from;
        const std::int32_t lit = find_lit(from, soon, piece.length);
        for (std::int32_t i = 0; i < lit; ++i) {
          const std::uint32_t count = from[lit_[i]];
          const std::int32_t place = piece.place - start + lit_[i];
          found_[n + static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(place) << 8 | count;
          ++start_[static_cast<std::size_t>(place) + 2];
        }
        n += static_cast<std::size_t>(lit);
      }
      std::uint32_t sum = 0, squares = 0;
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
  // Lists the bytes that are not 0, and returns how many there are. How many of 64 cannot be foreseen, so as
  // many are taken always, and what is too much is written over.
  std::int32_t find_lit(const std::uint8_t* from, const std::uint8_t* soon, std::int32_t length) {
    constexpr std::int32_t kAtOnce = 2;
    constexpr std::uint64_t kStop = std::uint64_t{1} << 63;  // there is a lowest bit
    std::int32_t n = 0;
    const auto take = [&](std::int32_t k, std::uint64_t bits) {
      __builtin_prefetch(soon + k);
      const std::int32_t lit = __builtin_popcountll(bits);
      std::int32_t taken = 0;
      do {
        for (std::int32_t i = 0; i < kAtOnce; ++i, ++taken, bits &= bits - 1) {
          lit_[n + taken] = k + __builtin_ctzll(bits | kStop);
        }
      } while (taken < lit);
      n += lit;
    };
    std::int32_t k = 0;
    for (; k + 64 <= length; k += 64) take(k, nonzero_bytes(from + k, 64));
    if (k < length) take(k, nonzero_bytes(from + k, length - k));
    return n;
  }

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

  std::int32_t lit_[kEventPlaces + 64];
  std::vector<std::uint32_t> found_;   // place << 8 | count, frame by frame
  std::vector<std::size_t> found_of_;  // where those of each frame end
  std::vector<std::uint32_t> events_;  // by place
  std::vector<std::int32_t> start_;
  std::int32_t n_frames_;
};

}  // namespace shotsieve::cpu
