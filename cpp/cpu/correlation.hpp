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

constexpr std::int32_t kEventPlaces = 1024;  // pixels whose lists are made at a time: they stay in a cache
constexpr std::int32_t kFramesAhead = 8;     // how far ahead of the frame at hand memory is asked for

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

// For each of some pixels, what is not 0 of it, frame by frame.
class EventLists {
 public:
  explicit EventLists(std::int32_t n_frames)
      : events_(static_cast<std::size_t>(n_frames) * kEventPlaces),
        length_(kEventPlaces),
        n_frames_(n_frames) {}

  const std::uint32_t* of(std::int32_t place) const {
    return events_.data() + std::int64_t{place} * n_frames_;
  }
  std::int32_t length(std::int32_t place) const { return length_[static_cast<std::size_t>(place)]; }

  // Makes the lists of the places from start to stop. Returns the largest count; adds the sums of the frames.
  std::int32_t fill(const PartPlan& plan, std::int32_t part, std::int32_t start, std::int32_t stop,
                    const std::uint8_t* counts, std::int32_t* frame_sums) {
    const RunSpan span = runs_between(plan, part, start, stop);
    std::fill(length_.begin(), length_.end(), 0);
    std::uint32_t largest = 0;
    std::uint32_t* __restrict__ events = events_.data();
    std::int32_t* __restrict__ length = length_.data();
    for (std::int32_t t = 0; t < n_frames_; ++t) {
      const std::uint8_t* frame = counts + t * plan.n_pixels;
      std::uint32_t sum = 0;
      for (const PixelRun* run = span.first; run != span.last; ++run) {
        const Piece piece = cut(*run, start, stop);
        const std::uint8_t* from = frame + piece.pixel;
        // Frames lie far apart: what is wanted of one soon to come is asked for now.
        const std::uint8_t* soon = t + kFramesAhead < n_frames_ ? from + kFramesAhead * plan.n_pixels : from;
        for (std::int32_t k = 0; k < piece.length; k += 64) {
          __builtin_prefetch(soon + k);
          for (std::uint64_t bits = nonzero_bytes(from + k, std::min(64, piece.length - k)); bits != 0;
               bits &= bits - 1) {
            const std::int32_t at = k + __builtin_ctzll(bits);
            const std::int32_t place = piece.place - start + at;
            const std::uint32_t count = from[at];
            events[std::int64_t{place} * n_frames_ + length[place]++] = math::make_event(t, count);
            sum += count;
            largest = std::max(largest, count);
          }
        }
      }
      if (frame_sums != nullptr) frame_sums[t] += static_cast<std::int32_t>(sum);
    }
    return static_cast<std::int32_t>(largest);
  }

 private:
  std::vector<std::uint32_t> events_;
  std::vector<std::int32_t> length_;
  std::int32_t n_frames_;
};

}  // namespace shotsieve::cpu
