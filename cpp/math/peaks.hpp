// What peakfinder8 computes for ONE radial bin, one ring of background and one component of strong pixels.
//
// Source: Barty et al. 2014 (J. Appl. Cryst. 47, 1118) as implemented in CrystFEL, with the corrected flood
// fill of its development version; docs/peaks.md has every step. All sums are float64, which leaves float32
// frames exact squares.
//
// Promise: exact. A sum of many values runs in 32 virtual lanes, each in a fixed order, and the lanes are
// added as one fixed tree (lane i gets lane i + 16, then i + 8, ... i + 1). Which value falls into which lane
// depends on the geometry alone: the rank of a pixel in its bin, of an offset in the ring, the row of a
// member in its panel, each modulo 32.
//
// This is arithmetic of a bin or a peak, not of every pixel, so that it may branch.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "hd.hpp"

namespace shotsieve::math {

constexpr int kLanes = 32;
constexpr int kClipPasses = 5;
constexpr double kFirstLimit = 1e9;     // the limits of the first pass, in both directions
constexpr double kLeastWeight = 1e-10;  // a component with less has no centroid
constexpr double kLeastSigma = 1e-10;   // a ring with less has no signal-to-noise ratio
constexpr double kUnknownSigma = 0.01;  // of a ring without pixels, or whose variance is below zero

struct PeakRules {
  double threshold;  // lowest value of a strong pixel; a float32 number
  double min_snr;    // of a peak, and the multiplier of the clipping
  double noise_floor;
  std::int32_t min_pix_count, max_pix_count;  // both inclusive
};

// The largest float32 that is not above d, so that `v > d` is `v > floor_to_float(d)` for a float32 v.
SS_HD float floor_to_float(double d) {
  const float nearest = static_cast<float>(d);
  return static_cast<double>(nearest) > d ? nextafterf(nearest, -std::numeric_limits<float>::infinity())
                                          : nearest;
}

// The smallest float32 that is not below d, so that `v < d` is `v < ceil_to_float(d)` for a float32 v.
SS_HD float ceil_to_float(double d) {
  const float nearest = static_cast<float>(d);
  return static_cast<double>(nearest) < d ? nextafterf(nearest, std::numeric_limits<float>::infinity())
                                          : nearest;
}

// What a clipping pass leaves: pixels strictly between the limits take part in the next one.
struct ClipLimits {
  double lower, upper;  // after the last pass `upper` is the threshold of a strong pixel
  double mean;          // and `mean` the offset of the bin

  SS_HD bool same_range(const ClipLimits& other) const {
    return lower == other.lower && upper == other.upper;
  }
};

SS_HD ClipLimits first_limits() { return {-kFirstLimit, kFirstLimit, 0.0}; }

// An empty bin: nothing is strong, and the next pass looks at every positive pixel (the smallest positive
// normal number as lower limit is part of the algorithm). A noise floor stands in for the missing statistics.
SS_HD ClipLimits empty_limits(const PeakRules& rules) {
  if (rules.noise_floor > 0.0) {
    const double reach = rules.min_snr * rules.noise_floor;
    return {-reach, reach > rules.threshold ? reach : rules.threshold, 0.0};
  }
  return {static_cast<double>((std::numeric_limits<float>::min)()),
          static_cast<double>((std::numeric_limits<float>::max)()), 0.0};
}

SS_HD ClipLimits clip_limits(double sum, double squares, std::int64_t n, const PeakRules& rules) {
  if (n == 0) return empty_limits(rules);
  const double count = static_cast<double>(n);
  const double mean = sum / count;
  const double variance = squares / count - mean * mean;
  // Rounding may leave a variance below zero; the algorithm then takes it for sigma, without a root.
  double sigma = variance >= 0.0 ? sqrt(variance) : variance;
  if (rules.noise_floor > 0.0) {
    const double positive = variance > 0.0 ? variance : 0.0;
    sigma = sqrt(positive + rules.noise_floor * rules.noise_floor);
  }
  const double upper = mean + rules.min_snr * sigma;
  return {mean - rules.min_snr * sigma, upper > rules.threshold ? upper : rules.threshold, mean};
}

// The pixel nearest to a centroid, halves to even; with weights of both signs it may lie outside the panel.
SS_HD std::int32_t ring_centre(double weighted, double weight, std::int32_t size) {
  const double at = rint(weighted / weight);
  const double last = static_cast<double>(size - 1);
  return static_cast<std::int32_t>(at > 0.0 ? (at < last ? at : last) : 0.0);
}

// Sums over the ring: pixels around a peak that are below the threshold of their bin.
struct RingSums {
  double n, sum, squares;
  double highest;  // at least 0
};

struct LocalBackground {
  double mean, sigma, highest;
};

SS_HD LocalBackground local_background(const RingSums& ring, double offset_of_bin, const PeakRules& rules) {
  double mean = offset_of_bin;
  double sigma = kUnknownSigma;
  if (ring.n > 0.0) {
    mean = ring.sum / ring.n;
    const double variance = ring.squares / ring.n - mean * mean;
    if (variance >= 0.0) sigma = sqrt(variance);
  }
  if (rules.noise_floor > 0.0) sigma = sqrt(sigma * sigma + rules.noise_floor * rules.noise_floor);
  return {mean, sigma, ring.highest};
}

// Sums over the members of a component, once the local background is known.
struct MemberSums {
  double total;  // above the local background
  double raw, raw_fs, raw_ss;
  double highest;  // above the local background, at least 0
};

// Why a component is no peak, in the order of the filters; kAccepted comes after the last.
enum Filter : int {
  kTooFewPixels = 0,
  kTooManyPixels = 1,
  kNoWeight = 2,
  kLowSnr = 3,
  kBackgroundHigher = 4,
  kOutsidePanel = 5,
  kFilters = 6,
  kAccepted = 6,
};

// One found peak: 64 bytes, as the structured array of Python.
struct PeakRecord {
  double fs, ss;  // centre of the first pixel of the slab is 0
  double total, max, snr, background, sigma;
  std::int32_t panel, n_pixels;
};

// Fills everything of `peak` but panel and n_pixels, positions relative to the panel's first pixel.
SS_HD Filter judge_peak(const MemberSums& members, const LocalBackground& ring, const PeakRules& rules,
                        std::int32_t width, std::int32_t height, PeakRecord& peak) {
  const double weight = fabs(members.raw);
  if (weight < kLeastWeight) return kNoWeight;
  peak.fs = members.raw_fs / weight;
  peak.ss = members.raw_ss / weight;
  peak.total = members.total;
  peak.max = members.highest;
  peak.snr = ring.sigma > kLeastSigma ? members.total / ring.sigma : 0.0;
  peak.background = ring.mean;
  peak.sigma = ring.sigma;
  if (peak.snr < rules.min_snr) return kLowSnr;
  if (members.highest < ring.highest - ring.mean) return kBackgroundHigher;
  const bool inside = peak.fs >= 0.0 && peak.fs <= static_cast<double>(width - 1) && peak.ss >= 0.0 &&
                      peak.ss <= static_cast<double>(height - 1);
  return inside ? kAccepted : kOutsidePanel;
}

}  // namespace shotsieve::math
