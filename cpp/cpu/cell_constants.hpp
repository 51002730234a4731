// The constants of one memory cell on the way through the tiles of its frames: where they lie in the table,
// or unpacked.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../core/calibrate.hpp"
#include "packed.hpp"

namespace shotsieve::cpu {

constexpr std::int64_t kTile = 16384;  // three planes of constants of a tile: 192 KB, within L2

// Asks for a run of n values. Always inlined: g++ 12 takes a function that does nothing else for one without
// effect, and leaves out the calls.
template <class T>
[[gnu::always_inline]] inline void prefetch_run(const T* from, std::int64_t n) {
  constexpr std::int64_t kLine = 64;
  for (std::int64_t i = 0; i < n; i += kLine / std::int64_t{sizeof(T)}) __builtin_prefetch(from + i);
}

// Whether stages come from the last plane of words, where a span is in high gain.
inline bool reads_last_words(const CalibrateCall& c) {
  return c.encoding == Encoding::kCode || (c.encoding == Encoding::kThreshold && c.rules.fixed_stage < 0);
}

class CellConstants {
 public:
  CellConstants(const CalibrateCall& call, std::int64_t row, std::int64_t frames, UnpackedTile& unpacked)
      : call_(call), row_(row), usual_(usual_planes(call)) {
    if (call.packed == nullptr) return;
    packed_ = packed_planes(call.packed, row, call.table_planes, call.n_pixels);
    unpacked_ = &unpacked;
    once_ = frames == 1;
    const bool levels = call.encoding == Encoding::kThreshold && call.table_planes != math::kSinglePlanes;
    const math::PackedScale scale = packed_.scale(math::kThreshold0);
    if (levels && scale.base == 0.0f && scale.step == 1.0f &&
        scale.last == static_cast<float>(math::kLastCode)) {
      levels_ = packed_.codes(math::kThreshold0);
      usual_ &= ~(1u << math::kThreshold0);
    }
  }

  void start_tile(std::int64_t first) {
    if (unpacked_ != nullptr) unpacked_->start(packed_, first, once_);
  }
  // Planes from `at` of the tile that starts at pixel `first`, and the floats from one to the next.
  const float* planes(std::int64_t first, std::int64_t at) const {
    return unpacked_ != nullptr ? unpacked_->planes(at)
                                : call_.table + row_ * call_.table_planes * call_.n_pixels + first + at;
  }
  std::int64_t plane_step() const { return unpacked_ != nullptr ? unpacked_->plane_step() : call_.n_pixels; }
  // Thresholds to medium gain that digital levels compare with as they are; null where there are none.
  const std::uint16_t* levels(std::int64_t first) const {
    return levels_ != nullptr ? levels_ + first : nullptr;
  }
  // See to it that the planes that every span is read with, or all, are there for a span from `at` of the
  // tile on.
  void want_usual(std::int64_t at, std::int64_t n) const {
    if (unpacked_ != nullptr) unpacked_->want(at, n, usual_);
  }
  void want_all(std::int64_t at, std::int64_t n) const {
    if (unpacked_ != nullptr) unpacked_->want(at, n, (1u << call_.table_planes) - 1);
  }
  // Asks for the usual planes of n pixels, which are needed soon.
  [[gnu::always_inline]] void prefetch(std::int64_t pixel, std::int64_t n) const {
    for (std::uint32_t left = usual_; left != 0; left &= left - 1) {
      const int plane = __builtin_ctz(left);
      if (unpacked_ != nullptr) {
        prefetch_run(packed_.codes(plane) + pixel, n);
      } else {
        prefetch_run(call_.table + (row_ * call_.table_planes + plane) * call_.n_pixels + pixel, n);
      }
    }
    if (levels_ != nullptr) prefetch_run(levels_ + pixel, n);
  }

 private:
  // The planes that every span is read with, one bit each.
  static std::uint32_t usual_planes(const CalibrateCall& c) {
    if (c.table_planes == math::kSinglePlanes) return 1u << math::kSingleOffset | 1u << math::kSingleGain;
    const bool levels = c.encoding == Encoding::kThreshold;
    const int stage = levels && c.rules.fixed_stage > 0 ? c.rules.fixed_stage : 0;
    const bool compared = c.encoding == Encoding::kParallel || (levels && c.rules.fixed_stage < 0);
    const std::uint32_t used = 1u << (math::kOffset + stage) | 1u << (math::kGain + stage);
    return compared ? used | 1u << math::kThreshold0 : used;
  }

  const CalibrateCall& call_;
  std::int64_t row_;
  std::uint32_t usual_;
  PackedPlanes packed_{};
  UnpackedTile* unpacked_ = nullptr;
  const std::uint16_t* levels_ = nullptr;
  bool once_ = false;
};

}  // namespace shotsieve::cpu
