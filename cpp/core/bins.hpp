// Sums over bins of pixels: profiles, cakes and regions of interest are this one call with different maps.
#pragma once

#include <cstdint>

#include "../math/bins.hpp"
#include "where.hpp"

namespace shotsieve {

constexpr int kBinChunk = 128;  // pixels of a part that a block of the device handles at once
constexpr int kBinWarps = 8;    // warps of that block; each owns some bins of the chunk

// What is summed beside the values themselves.
enum class BinMode : std::int32_t {
  kPlain = 0,     // nothing
  kVariance = 1,  // second: coef^2 * variance
  kMoments = 2,   // second: coef^2 * value^2; maximum
  kResidual = 3,  // second: the spread around a centre; values outside of limits are left out
};

// A rectangle of the slab, such as an ASIC; stop is exclusive.
struct PartRect {
  std::int32_t ss_start, ss_stop, fs_start, fs_stop;

  SS_HD std::int32_t height() const { return ss_stop - ss_start; }
  SS_HD std::int32_t width() const { return fs_stop - fs_start; }
};

// The map from pixels to bins. Pixels are numbered part by part, row by row inside a part ("part pixels");
// the bins that a part meets are its slots, numbered part by part, and a local bin is a slot within its part.
// Without splitting a pixel has one entry, its own number; with splitting a list of them.
struct BinPlan {
  const PartRect* parts;             // (n_parts,)
  const std::int32_t* part_start;    // (n_parts + 1,) first part pixel of each part
  const std::uint16_t* local;        // (n_part_pixels,) local bin or kNoBin; null with splitting
  const std::int32_t* entry_start;   // (n_part_pixels + 1,) entries of each pixel; null without splitting
  const std::uint16_t* entry_bin;    // (n_entries,) local bin
  const double* coef;                // (n_entries,) share of the pixel; null without splitting
  const std::int32_t* slot_start;    // (n_parts + 1,)
  const std::int32_t* slot_bin;      // (n_slots,) bin of each slot, ascending inside a part
  const std::int32_t* bin_start;     // (n_bins + 1,) where bin_slot has the slots of each bin
  const std::int32_t* bin_slot;      // (n_slots,) slots of every bin, in the order of parts
  const std::int32_t* chunk_start;   // (n_parts + 1,) first chunk of each part
  const std::int32_t* run_start;     // (n_chunks * kBinWarps + 1,) what each warp adds, in the three below
  const std::uint8_t* run_pixel;     // (n_runs,) pixel of the chunk; sorted by bin, then by pixel
  const std::uint16_t* run_bin;      // (n_runs,) local bin
  const std::int32_t* run_entry;     // (n_runs,) entry
  const double* columns;             // (n_entries, n_columns) what a lost entry takes from the static sums
  const double* norm;                // (n_part_pixels,) for kResidual; else null
  const double* dark;                // (n_part_pixels,) for kResidual; else null
  std::int64_t n_pixels, n_entries;  // of the slab; with splitting n_entries, else the number of part pixels
  std::int32_t n_parts, n_bins, n_slots, n_columns, row_pixels, most_slots;

  SS_HD std::int64_t slab_pixel(const PartRect& part, std::int32_t i) const {
    return std::int64_t{part.ss_start + i / part.width()} * row_pixels + part.fs_start + i % part.width();
  }
};

struct BinsCall {
  BinPlan plan;
  BinMode mode;
  const float* pixels;             // (n_frames, n_pixels)
  const float* variance;           // the same, for kVariance; else null
  const std::uint8_t* bad_bytes;   // (n_frames, n_pixels) not 0: left out; or null
  const std::uint32_t* bad_words;  // the same with 32-bit masks; at most one of the two is given
  const double* limits;            // (3, n_frames, n_bins) low, high, centre, for kResidual; else null
  double* signal;                  // (n_frames, n_bins)
  double* lost;                    // (n_columns, n_frames, n_bins)
  double* second;                  // (n_frames, n_bins); null for kPlain
  float* maximum;                  // (n_frames, n_bins) for kMoments, -inf in a bin without values; else null
  std::uint8_t* scratch;           // bins_scratch_bytes()
  std::int64_t n_frames;
};

// Bytes of device memory a call needs beside its arguments; 0 on the CPU.
std::int64_t bins_scratch_bytes(std::int64_t n_frames, const BinPlan& plan, BinMode mode);

// signal, second: float64 sums over the valid entries of each bin: part by part in the order of pixels, then
// the sums of the parts in their order. lost: sums of the columns over the entries that are not valid (not
// finite, bad, or outside of the limits); exact when every partial sum of the columns fits into float64.
// Promise: exact. Never synchronises, never allocates device memory.
void bin_sums(const BinsCall& call, const Where& where);

}  // namespace shotsieve
