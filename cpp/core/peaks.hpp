// The calls of the peak finder: frames of whole shots ("slabs") in, lists of peaks out.
#pragma once

#include <cstdint>

#include "../math/peaks.hpp"
#include "where.hpp"

namespace shotsieve {

// A rectangle of the slab that is searched by itself; stop is exclusive.
struct PanelRect {
  std::int32_t ss_start, ss_stop, fs_start, fs_stop;

  SS_HD std::int32_t height() const { return ss_stop - ss_start; }
  SS_HD std::int32_t width() const { return fs_stop - fs_start; }
};

// An offset of the ring of local background.
struct RingOffset {
  std::int32_t ss, fs;
};

// What does not change from frame to frame. Built once for a geometry, a mask and parameters.
struct PeakPlan {
  const std::uint32_t* good;      // (words,) bit p % 32 of word p / 32: the pixel may be used
  const std::uint16_t* bin_of;    // (n_pixels,) radial bin of every pixel
  const std::int32_t* order;      // (n_good,) good pixels sorted by bin, in raster order inside a bin
  const std::int32_t* place;      // (n_pixels,) where `order` has the pixel; n_good for one that is not good
  const std::int32_t* bin_start;  // (n_bins + 1,) first entry of each bin in `order`
  const PanelRect* panels;        // (n_panels,)
  const RingOffset* ring;         // (n_ring,)
  std::int64_t n_pixels, n_good;
  std::int64_t panel_words;  // words of the largest panel's bitmap, whose rows begin with a word each
  std::int32_t rows, columns, n_bins, n_panels, n_ring;

  SS_HD std::int64_t words() const { return (n_pixels + 31) / 32; }
};

struct PeaksCall {
  PeakPlan plan;
  math::PeakRules rules;
  const float* pixels;  // (n_shots, n_pixels)
  const std::uint32_t*
      candidates;              // (n_shots, words) finite pixels at or above the threshold; null: find them
  math::PeakRecord* peaks;     // (capacity,) peaks of all shots, in order
  std::int32_t* first;         // (n_shots + 1,) where the peaks of a shot begin
  std::int32_t* panel_counts;  // (n_shots, n_panels) every accepted peak, also beyond max_num_peaks
  std::int32_t* rejected;      // (n_shots, kFilters)
  std::int32_t* overflow;      // (1,) largest number of peaks in a panel if above `slots`, else 0
  std::uint8_t* scratch;       // peaks_scratch_bytes(); contents do not matter
  std::int64_t n_shots, capacity, max_num_peaks;
  std::int32_t slots;  // peaks per panel that the scratch has room for; the CPU has no such limit
  bool all_bins;       // statistics of every bin, not only of those that own a candidate
};

// Bytes of device memory a call needs beside its arguments; 0 on the CPU.
std::int64_t peaks_scratch_bytes(std::int64_t n_shots, const PeakPlan& plan, std::int32_t slots);

// peaks, first: at most max_num_peaks of each shot, the first in order. Where `overflow` is not 0 everything
// else is undefined and the call has to be repeated with as many slots. capacity is at least
// n_shots * max_num_peaks or n_shots * n_panels * slots. Promise: exact. Never synchronises, never allocates
// device memory.
void find_peaks(const PeaksCall& call, const Where& where);

}  // namespace shotsieve
