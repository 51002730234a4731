// Correlation in float64: products of frames of any values, and products at lags that grow with the level.
#include <algorithm>
#include <vector>

#include "../core/correlation.hpp"
#include "correlation.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

using math::kProductLanes;
using math::kProductStretch;

// A stretch of all frames of a train in float64, frame by frame, filled up with zeros.
struct Stretch {
  std::vector<double> values;

  explicit Stretch(std::int32_t frames) : values(static_cast<std::size_t>(frames) * kProductStretch) {}

  const double* row(std::int32_t t) const { return values.data() + std::int64_t{t} * kProductStretch; }

  void fill(const PartPlan& plan, std::int32_t part, std::int32_t start, std::int32_t stop,
            const float* frames, std::int32_t n_frames) {
    const cpu::RunSpan span = cpu::runs_between(plan, part, start, stop);
    std::fill(values.begin(), values.end(), 0.0);
    for (std::int32_t t = 0; t < n_frames; ++t) {
      double* to = values.data() + std::int64_t{t} * kProductStretch;
      for (const PixelRun* run = span.first; run != span.last; ++run) {
        const cpu::Piece piece = cpu::cut(*run, start, stop);
        const float* from = frames + t * plan.n_pixels + piece.pixel;
        for (std::int32_t k = 0; k < piece.length; ++k) to[piece.place - start + k] = from[k];
      }
    }
  }
};

// Two frames of the first with two of the second: what is read is used twice.
void add_tile(const double* __restrict__ a, const double* __restrict__ b, const double* __restrict__ c,
              const double* __restrict__ d, double out[4]) {
  double lanes[4][kProductLanes] = {};
  for (int k = 0; k < kProductStretch; k += kProductLanes) {
    for (int lane = 0; lane < kProductLanes; ++lane) {
      lanes[0][lane] += a[k + lane] * c[k + lane];
      lanes[1][lane] += a[k + lane] * d[k + lane];
      lanes[2][lane] += b[k + lane] * c[k + lane];
      lanes[3][lane] += b[k + lane] * d[k + lane];
    }
  }
  for (int i = 0; i < 4; ++i) out[i] = math::add_lanes(lanes[i]);
}

double add_frame(const double* values) {
  double lanes[kProductLanes] = {};
  for (int k = 0; k < kProductStretch; k += kProductLanes) {
    for (int lane = 0; lane < kProductLanes; ++lane) lanes[lane] += values[k + lane];
  }
  return math::add_lanes(lanes);
}

void sum_products(const ValuePairs& c, double* sums, const Stretch& first, const Stretch* second) {
  const Stretch& right = second == nullptr ? first : *second;
  for (std::int32_t i = 0; i < c.n_frames; i += 2) {
    const std::int32_t next_i = std::min(i + 1, c.n_frames - 1);
    const std::int32_t stop = second == nullptr ? next_i + 1 : c.n_others;
    for (std::int32_t j = 0; j < stop; j += 2) {
      const std::int32_t next_j = std::min(j + 1, c.n_others - 1);
      double found[4];
      add_tile(first.row(i), first.row(next_i), right.row(j), right.row(next_j), found);
      double* row = sums + std::int64_t{i} * c.n_others;
      double* next = row + c.n_others;
      row[j] += found[0];
      if (next_j > j) row[next_j] += found[1];
      if (next_i > i) next[j] += found[2];
      if (next_i > i && next_j > j) next[next_j] += found[3];
    }
  }
}

// The series of some pixels: frame by frame, kLagPlaces values each.
struct Series {
  std::vector<double> values;

  explicit Series(std::int32_t frames) : values(static_cast<std::size_t>(frames) * kLagPlaces) {}

  template <class T>
  void fill(const PartPlan& plan, std::int32_t start, std::int32_t stop, const T* frames,
            std::int32_t n_frames) {
    for (std::int32_t t = 0; t < n_frames; ++t) {
      const T* from = frames + t * plan.n_pixels;
      double* to = values.data() + std::int64_t{t} * kLagPlaces;
      for (std::int32_t k = 0; k < kLagPlaces; ++k) {
        to[k] = start + k < stop ? static_cast<double>(from[plan.order[start + k]]) : 0.0;
      }
    }
  }

  // To frames of the next level; returns how many there are.
  std::int32_t pair_up(std::int32_t n) {
    for (std::int32_t t = 0; t < n / 2; ++t) {
      const double* from = values.data() + std::int64_t{2} * t * kLagPlaces;
      double* to = values.data() + std::int64_t{t} * kLagPlaces;
      for (std::int32_t k = 0; k < kLagPlaces; ++k) to[k] = from[k] + from[k + kLagPlaces];
    }
    return n / 2;
  }
};

double add_halves(double* values) {
  for (int half = kLagPlaces / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) values[k] += values[k + half];
  }
  return values[0];
}

void sum_lags(const LagCall& c, Series& series, double* sums) {
  std::int32_t level = 0, n = c.n_frames;
  for (std::int32_t entry = 0; entry < c.n_lags; ++entry) {
    for (; level < c.lags[entry].level; ++level) n = series.pair_up(n);
    double products[kLagPlaces] = {};
    const std::int32_t lag = c.lags[entry].lag;
    for (std::int32_t t = 0; t + lag < n; ++t) {
      const double* first = series.values.data() + std::int64_t{t} * kLagPlaces;
      const double* second = first + std::int64_t{lag} * kLagPlaces;
      for (std::int32_t k = 0; k < kLagPlaces; ++k) products[k] += first[k] * second[k];
    }
    sums[entry] += add_halves(products);
  }
}

}  // namespace

std::int64_t lag_scratch_bytes(std::int64_t, std::int32_t, std::int32_t, std::int32_t, std::int32_t) {
  return 0;
}

void pair_sums(const ValuePairs& c, const Where& where) {
  struct Pair {
    Stretch first, second;
  };
  const auto make = [&] { return Pair{Stretch(c.n_frames), Stretch(c.others ? c.n_others : 0)}; };
  cpu::parallel_for(c.n_trains * c.plan.n_parts, where.threads, make, [&](Pair& pair, std::int64_t task) {
    const std::int64_t train = task / c.plan.n_parts;
    const auto part = static_cast<std::int32_t>(task % c.plan.n_parts);
    double* sums = c.sums + task * c.n_frames * c.n_others;
    double* frame_sums = c.frame_sums + task * c.n_frames;
    std::fill_n(sums, std::int64_t{c.n_frames} * c.n_others, 0.0);
    std::fill_n(frame_sums, c.n_frames, 0.0);
    for (std::int32_t place = c.plan.part_start[part]; place < c.plan.part_start[part + 1];
         place += kProductStretch) {
      const std::int32_t stop = std::min(place + kProductStretch, c.plan.part_start[part + 1]);
      pair.first.fill(c.plan, part, place, stop, c.values + train * c.n_frames * c.plan.n_pixels, c.n_frames);
      if (c.others != nullptr) {
        pair.second.fill(c.plan, part, place, stop, c.others + train * c.n_others * c.plan.n_pixels,
                         c.n_others);
      }
      sum_products(c, sums, pair.first, c.others == nullptr ? nullptr : &pair.second);
      for (std::int32_t t = 0; t < c.n_frames; ++t) frame_sums[t] += add_frame(pair.first.row(t));
    }
    if (c.others != nullptr) return;
    for (std::int32_t i = 0; i < c.n_frames; ++i) {
      for (std::int32_t j = 0; j < i; ++j) {
        sums[std::int64_t{j} * c.n_frames + i] = sums[std::int64_t{i} * c.n_frames + j];
      }
    }
  });
}

void lag_sums(const LagCall& c, const Where& where) {
  const auto make = [&] { return Series(c.n_frames); };
  cpu::parallel_for(c.n_trains * c.plan.n_parts, where.threads, make, [&](Series& series, std::int64_t task) {
    const std::int64_t first = task / c.plan.n_parts * c.n_frames * c.plan.n_pixels;
    const auto part = static_cast<std::int32_t>(task % c.plan.n_parts);
    double* sums = c.sums + task * c.n_lags;
    double* frame_sums = c.frame_sums + task * c.n_frames;
    std::fill_n(sums, c.n_lags, 0.0);
    std::fill_n(frame_sums, c.n_frames, 0.0);
    const std::int32_t stop = c.plan.part_start[part + 1];
    for (std::int32_t place = c.plan.part_start[part]; place < stop; place += kLagPlaces) {
      if (c.counts != nullptr) {
        series.fill(c.plan, place, stop, c.counts + first, c.n_frames);
      } else {
        series.fill(c.plan, place, stop, c.values + first, c.n_frames);
      }
      for (std::int32_t t = 0; t < c.n_frames; ++t) {
        double values[kLagPlaces];
        std::copy_n(series.values.data() + std::int64_t{t} * kLagPlaces, kLagPlaces, values);
        frame_sums[t] += add_halves(values);
      }
      sum_lags(c, series, sums);
    }
  });
}

}  // namespace shotsieve
