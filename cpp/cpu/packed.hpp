// Packed constants on the CPU: those of a tile are unpacked where they are needed first, for all frames of a
// memory cell, and stay in cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../math/packed.hpp"

namespace shotsieve::cpu {

// Where the packed planes of a module and cell lie.
struct PackedPlanes {
  const std::uint16_t* first;
  std::int64_t n_pixels;

  const std::uint16_t* head(int plane) const { return first + plane * (n_pixels + math::kPackedHead); }
  const std::uint16_t* codes(int plane) const { return head(plane) + math::kPackedHead; }
  math::PackedScale scale(int plane) const {
    math::PackedScale scale;
    std::memcpy(&scale, head(plane), sizeof scale);
    return scale;
  }
  void unpack(int plane, std::int64_t pixel, std::int64_t n, float* __restrict out) const {
    const std::uint16_t* __restrict from = codes(plane) + pixel;
    const math::PackedScale s = scale(plane);
    if (s.last == math::unpack_number(math::kLastCode, s)) {  // nothing is special: a third faster
      for (std::int64_t i = 0; i < n; ++i) {                  // hot: unpack_numbers
        out[i] = math::unpack_number(from[i], s);
      }
      return;
    }
    for (std::int64_t i = 0; i < n; ++i) {  // hot: unpack_constants
      out[i] = math::unpack_constant(from[i], s);
    }
  }
};

inline PackedPlanes packed_planes(const std::uint16_t* table, std::int64_t row, int planes,
                                  std::int64_t n_pixels) {
  return {table + row * planes * (n_pixels + math::kPackedHead), n_pixels};
}

// Unpacked planes of a tile; spans of it are unpacked one by one, and none twice.
class UnpackedTile {
  static constexpr std::int64_t kLineFloats = 16;
  static constexpr std::int64_t kApart = 5 * kLineFloats;  // so that planes do not share lines of the cache

 public:
  UnpackedTile(int planes, std::int64_t tile, std::int64_t span)
      : step_(tile + kApart),
        span_(span),
        room_(static_cast<std::size_t>((planes * step_ + kLineFloats - 1) / kLineFloats)),
        there_(static_cast<std::size_t>((tile + span - 1) / span)) {}

  // Once: every span is looked at once, so that all of them take turns in one place, which stays in L1.
  void start(const PackedPlanes& source, std::int64_t first, bool once) {
    source_ = source;
    first_ = first;
    once_ = once;
    std::fill(there_.begin(), there_.end(), std::uint32_t{0});
  }
  // Planes of a span from `at` on.
  const float* planes(std::int64_t at) const { return room() + place(at); }
  std::int64_t plane_step() const { return step_; }

  // Sees to it that a span of n pixels from `at` on is there; bit p of `wanted` is plane p.
  void want(std::int64_t at, std::int64_t n, std::uint32_t wanted) {
    std::uint32_t& there = there_[static_cast<std::size_t>(at / span_)];
    float* to = room() + place(at);
    for (std::uint32_t missing = wanted & ~there; missing != 0; missing &= missing - 1) {
      const int plane = __builtin_ctz(missing);
      source_.unpack(plane, first_ + at, n, to + plane * step_);
    }
    there |= wanted;
  }

 private:
  struct alignas(64) Line {
    float values[kLineFloats];
  };

  float* room() { return room_.data()->values; }
  const float* room() const { return room_.data()->values; }
  std::int64_t place(std::int64_t at) const { return once_ ? 0 : at; }

  PackedPlanes source_{};
  std::int64_t first_ = 0, step_, span_;
  bool once_ = false;
  std::vector<Line> room_;
  std::vector<std::uint32_t> there_;
};

}  // namespace shotsieve::cpu
