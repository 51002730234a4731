// Baseline shift: the place of the noise peak in a histogram of the pixels of a frame that are in high gain.
//
// Source of the steps: what is known of the facility's blc-noise, from recollection; the definition is ours.
// Promise: exact. Pixels are counted in bins of 1 ADU, from which both histograms follow: bins of 10 ADU
// from -2000 to 100, then bins of 2 ADU, 200 to both sides of the peak of the first. Wavelets are whole
// numbers, so a response is one too, whatever the order of its terms.
#pragma once

#include <cstdint>

#include "common_mode.hpp"

namespace shotsieve::math {

constexpr int kPeakLowest = -2000, kCoarseBins = 210, kCoarseWidth = 10;  // ADU
constexpr int kPeakReach = 200, kFineBins = 200, kFineWidth = 2;
constexpr int kPeakHighest = 50;  // pixels up to this are counted, ADU
constexpr int kPeakShare = 64;    // of this many pixels one has to be in the first histogram
constexpr int kWavelets = 3;      // for each histogram, from narrow to wide
constexpr int kFirstAdu = kPeakLowest + kCoarseWidth / 2 - kPeakReach;  // where a second one can begin
constexpr int kAduBins = kPeakHighest + 1 - kFirstAdu;
constexpr int kAduPerUnit = 8;  // as a shift of bits

// A pixel that has a value: in high gain, good, and near enough.
SS_HD int has_value(int value) { return (value < kNeverDark) & (value > -kNeverDark) ? 1 : 0; }

// Bin of 1 ADU of a value in 1/256 ADU, kAduBins where it is outside.
SS_HD int adu_bin(int value) {
  const int bin = (value >> kAduPerUnit) - kFirstAdu;  // rounds down
  const int inside = (bin >= 0) & (value <= kPeakHighest * (1 << kAduPerUnit));
  return inside != 0 ? bin : kAduBins;
}

// Sum of `width` bins of 1 ADU from `first` on; bins beyond the last are empty.
SS_HD int sum_bins(const int* adu, int first, int width) {
  int sum = 0;
  for (int k = first; k < first + width; ++k) sum += k < kAduBins ? adu[k] : 0;
  return sum;
}

// First bin of 1 ADU of a bin of the first histogram, and of the second around bin `peak` of the first.
SS_HD int coarse_start(int bin) { return kPeakLowest - kFirstAdu + bin * kCoarseWidth; }
SS_HD int fine_start(int peak, int bin) { return peak * kCoarseWidth + bin * kFineWidth; }

// The baseline in 1/256 ADU: the middle of a bin of the second histogram, if there are pixels enough.
SS_HD int peak_of(int coarse, int fine, int inside, int pixels, int lowest) {
  const int middle =
      (kFirstAdu + fine_start(coarse, fine)) * (1 << kAduPerUnit) + kFineWidth * (1 << kAduPerUnit) / 2;
  const int enough = (pixels > 0) & (std::int64_t{inside} * kPeakShare >= pixels);
  return (enough & (middle >= lowest)) != 0 ? middle : 0;
}

}  // namespace shotsieve::math
