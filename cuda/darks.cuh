// Sums of dark frames on the device: a thread owns a pixel and keeps the sums of the open row in registers.
#pragma once

#include <cstdint>

#include "../cpp/core/darks.hpp"
#include "../cpp/math/darks.hpp"
#include "portable.cuh"

namespace shotsieve::device {

constexpr int kDarkThreads = 256;
constexpr int kDarkAhead = 8;  // frames whose words a thread has under way at a time

struct DarkPixel {
  std::uint64_t squares, level_squares;
  std::uint32_t count, sum, wrong, outside, level_count, level_sum, low, high;
};

__device__ inline DarkPixel load_dark(const DarkCall& c, std::int64_t at) {
  DarkPixel s{};
  s.high = 0xffffffffu;
  s.count = c.count[at];
  s.sum = c.sum[at];
  s.squares = c.squares[at];
  s.wrong = c.wrong[at];
  if (c.low != nullptr) {
    s.outside = c.outside[at];
    s.low = c.low[at];
    s.high = c.high[at];
  }
  if (c.level_sum != nullptr) {
    s.level_count = c.level_count[at];
    s.level_sum = c.level_sum[at];
    s.level_squares = c.level_squares[at];
  }
  return s;
}

__device__ inline void store_dark(const DarkCall& c, std::int64_t at, const DarkPixel& s) {
  c.count[at] = s.count;
  c.sum[at] = s.sum;
  c.squares[at] = s.squares;
  c.wrong[at] = s.wrong;
  if (c.low != nullptr) c.outside[at] = s.outside;
  if (c.level_sum != nullptr) {
    c.level_count[at] = s.level_count;
    c.level_sum[at] = s.level_sum;
    c.level_squares[at] = s.level_squares;
  }
}

__device__ inline void add_dark(DarkPixel& s, const DarkCall& c, std::uint32_t word, std::uint32_t code,
                                std::uint32_t level) {
  const math::DarkSample found = math::read_dark(word, code, c.words, s.low, s.high);
  s.count += found.counts;
  s.sum += found.value;
  s.squares += std::uint64_t{found.value} * found.value;
  s.wrong += found.wrong;
  s.outside += found.outside;
  const std::uint32_t counts = level <= c.words.most;
  const std::uint32_t value = counts != 0 ? level : 0u;
  s.level_count += counts;
  s.level_sum += value;
  s.level_squares += std::uint64_t{value} * value;
}

__global__ void dark_sums_kernel(DarkCall c) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  const bool levels = c.level_sum != nullptr;
  for (std::int64_t p = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; p < c.n_pixels; p += step) {
    std::int64_t open = -1;  // the row whose sums are in registers
    DarkPixel sums{};
    for (std::int64_t first = 0; first < c.n_listed; first += kDarkAhead) {
      std::uint32_t word[kDarkAhead], code[kDarkAhead], level[kDarkAhead];
      std::int64_t row[kDarkAhead];
      for (int i = 0; i < kDarkAhead; ++i) {
        const std::int64_t k = first + i;
        const std::int64_t frame = k < c.n_listed ? c.frames[k] : -1;
        const bool there = (frame >= 0) & (frame < c.n_frames);
        row[i] = there ? c.row[k] : -1;
        const std::uint16_t* planes = c.raw + (there ? frame : 0) * c.n_planes * c.n_pixels + p;
        word[i] = there ? planes[c.value_plane * c.n_pixels] : 0;
        code[i] = there ? planes[c.code_plane * c.n_pixels] : 0;
        level[i] = there && levels ? planes[c.level_plane * c.n_pixels] : 0;
      }
      for (int i = 0; i < kDarkAhead; ++i) {
        if (row[i] < 0 || row[i] >= c.n_rows) continue;
        if (row[i] != open) {
          if (open >= 0) store_dark(c, open * c.n_pixels + p, sums);
          sums = load_dark(c, row[i] * c.n_pixels + p);
          open = row[i];
        }
        add_dark(sums, c, word[i], code[i], level[i]);
      }
    }
    if (open >= 0) store_dark(c, open * c.n_pixels + p, sums);
  }
}

}  // namespace shotsieve::device
