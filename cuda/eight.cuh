// What kernels over frames share: eight pixels of a thread, their shifts, and sums of a warp.
#pragma once

#include <cstdint>

#include "../cpp/core/shift.hpp"
#include "../cpp/math/packed.hpp"
#include "../cpp/math/shift.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kPixelsPerThread = 8;  // 16 bytes of raw words: one load

__device__ inline int warp_sum(int value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xFFFFFFFFu, value, step);
  return value;
#else
  return __reduce_add_sync(0xFFFFFFFFu, value);
#endif
}

struct EightWords {
  std::uint16_t value[kPixelsPerThread];
};
struct EightFloats {
  float value[kPixelsPerThread];
};

// Rows and planes are multiples of 8 pixels, so each of these is one or two aligned 16-byte loads.
__device__ inline EightWords load_words(const std::uint16_t* source) {
  const uint4 four = *reinterpret_cast<const uint4*>(source);
  const unsigned words[4] = {four.x, four.y, four.z, four.w};
  EightWords result;
  for (int i = 0; i < 4; ++i) {
    result.value[2 * i] = static_cast<std::uint16_t>(words[i] & 0xFFFFu);
    result.value[2 * i + 1] = static_cast<std::uint16_t>(words[i] >> 16);
  }
  return result;
}

__device__ inline EightFloats load_floats(const float* source) {
  const float4 low = reinterpret_cast<const float4*>(source)[0];
  const float4 high = reinterpret_cast<const float4*>(source)[1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

// Folded constants of a memory cell, from the first pixel of a thread on. Their form is a choice at compile
// time, so that neither costs the other a register.
template <bool Packed>
struct CellConstants;

template <>
struct CellConstants<false> {
  const float* first;
  std::int64_t plane_step;

  __device__ EightFloats eight(int plane) const { return load_floats(first + plane * plane_step); }
  __device__ float one(int plane, int i) const { return first[plane * plane_step + i]; }
};

template <>
struct CellConstants<true> {
  const std::uint16_t* head;  // of the first plane
  std::int64_t plane_step, pixel;

  __device__ math::PackedScale scale(int plane) const {
    const float4 found = *reinterpret_cast<const float4*>(head + plane * plane_step);
    return {found.x, found.y, found.z};
  }
  __device__ const std::uint16_t* codes(int plane) const {
    return head + plane * plane_step + math::kPackedHead + pixel;
  }
  __device__ EightFloats eight(int plane) const {
    const math::PackedScale s = scale(plane);
    const EightWords words = load_words(codes(plane));
    EightFloats result;
    for (int i = 0; i < kPixelsPerThread; ++i) result.value[i] = math::unpack_constant(words.value[i], s);
    return result;
  }
  __device__ float one(int plane, int i) const {
    return math::unpack_constant(codes(plane)[i], scale(plane));
  }
};

// Call is what has a table: CalibrateCall or FrameWords.
template <bool Packed, class Call>
__device__ CellConstants<Packed> constants_of_cell(const Call& c, std::int64_t row, std::int64_t pixel) {
  if constexpr (Packed) {
    const std::int64_t step = c.n_pixels + math::kPackedHead;
    return {c.packed + row * c.table_planes * step, step, pixel};
  } else {
    return {c.table + row * c.table_planes * c.n_pixels + pixel, c.n_pixels};
  }
}

struct EightShifts {
  int value[kPixelsPerThread];
};

// Shifts of a thread's pixels of one frame. They lie in one tile, whose columns are a multiple of 8.
__device__ inline EightShifts load_shifts(const Shifts& s, std::int64_t frame, std::int64_t pixel,
                                          std::int64_t n_pixels) {
  EightShifts result{};
  if (s.pixel != nullptr && s.pixel_row[frame] >= 0) {
    const int4* source = reinterpret_cast<const int4*>(s.pixel + s.pixel_row[frame] * n_pixels + pixel);
    const int4 low = source[0];
    const int4 high = source[1];
    result = {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
  }
  if (s.tile != nullptr) {
    const std::int64_t row = pixel / s.tiles.frame_columns;
    const std::int64_t column = pixel % s.tiles.frame_columns;
    const std::int64_t tile = row / s.tiles.rows * s.tiles.across() + column / s.tiles.columns;
    const int shift = s.tile[frame * s.n_tiles + tile];
    for (int& value : result.value) value = math::add_shifts(value, shift);
  }
  return result;
}

}  // namespace shotsieve::device
