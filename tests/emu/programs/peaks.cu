// The peak finder's kernels on random input, against loops that are too simple to be wrong. Arguments: how
// often, and "small" for ThreadSanitizer, where every CUDA thread is an OS thread.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "cuda/peaks.cu"
#include "harness.cuh"

namespace {

using shotsieve::PanelRect;
using shotsieve::PeaksCall;
using shotsieve::RingOffset;
namespace math = shotsieve::math;

// --- the definition ---

struct Lanes {
  double value[32] = {};

  void add(int lane, double v) { value[lane % 32] += v; }
  double total() {
    for (int step = 16; step > 0; step /= 2) {
      for (int i = 0; i < step; ++i) value[i] += value[i + step];
    }
    return value[0];
  }
};

struct Case {
  int rows, columns, n_bins, shots, most;
  math::PeakRules rules;
  std::vector<PanelRect> panels;
  std::vector<RingOffset> ring;
  std::vector<std::uint8_t> good;
  std::vector<std::uint16_t> bin_of;
  std::vector<float> pixels;

  int n() const { return rows * columns; }
};

class Shot {
 public:
  std::vector<math::PeakRecord> peaks;
  std::vector<std::int32_t> counts;
  std::vector<std::int32_t> rejected = std::vector<std::int32_t>(math::kFilters);

  Shot(const Case& c, int shot) : c_(c), v_(c.pixels.data() + shot * c.n()) {
    std::vector<std::vector<float>> values(static_cast<std::size_t>(c.n_bins));
    for (int p = 0; p < c.n(); ++p) {
      if (c.good[p] != 0) values[c.bin_of[p]].push_back(v_[p]);
    }
    for (const std::vector<float>& of_bin : values) limits_.push_back(clip(of_bin));
    for (std::size_t k = 0; k < c.panels.size(); ++k) {
      const std::size_t before = peaks.size();
      search(c.panels[k], static_cast<int>(k));
      counts.push_back(static_cast<std::int32_t>(peaks.size() - before));
    }
  }

 private:
  math::ClipLimits clip(const std::vector<float>& values) const {
    math::ClipLimits limits = math::first_limits();
    for (int pass = 0; pass < math::kClipPasses; ++pass) {
      Lanes sum, squares;
      int n = 0;
      for (std::size_t rank = 0; rank < values.size(); ++rank) {
        const double v = values[rank];
        if (!(v > limits.lower && v < limits.upper)) continue;
        sum.add(static_cast<int>(rank), v);
        squares.add(static_cast<int>(rank), v * v);
        ++n;
      }
      limits = math::clip_limits(sum.total(), squares.total(), n, c_.rules);
    }
    return limits;
  }

  bool usable(int p) const { return c_.good[p] != 0 && std::isfinite(v_[p]); }
  bool strong(int p) const { return usable(p) && v_[p] > limits_[c_.bin_of[p]].upper; }

  void search(const PanelRect& r, int panel) {
    std::set<int> used;
    for (int y = r.ss_start + 1; y < r.ss_stop - 1; ++y) {
      for (int x = r.fs_start + 1; x < r.fs_stop - 1; ++x) {
        if (!strong(y * c_.columns + x) || used.count(y * c_.columns + x) != 0) continue;
        std::set<int> members;
        fill(r, y, x, members);
        used.insert(members.begin(), members.end());
        math::PeakRecord peak{};
        const math::Filter filter = judge(r, members, peak);
        peak.fs += r.fs_start;
        peak.ss += r.ss_start;
        peak.panel = panel;
        peak.n_pixels = static_cast<int>(members.size());
        if (filter == math::kAccepted) {
          peaks.push_back(peak);
        } else {
          ++rejected[filter];
        }
      }
    }
  }

  void fill(const PanelRect& r, int y, int x, std::set<int>& members) const {
    const int p = y * c_.columns + x;
    if (y < r.ss_start || y >= r.ss_stop || x < r.fs_start || x >= r.fs_stop || !strong(p)) return;
    if (!members.insert(p).second) return;
    for (int k = 0; k < 9; ++k) fill(r, y + k / 3 - 1, x + k % 3 - 1, members);
  }

  math::Filter judge(const PanelRect& r, const std::set<int>& members, math::PeakRecord& peak) const {
    if (static_cast<int>(members.size()) < c_.rules.min_pix_count) return math::kTooFewPixels;
    if (static_cast<int>(members.size()) > c_.rules.max_pix_count) return math::kTooManyPixels;
    Lanes w, w_fs, w_ss, total, raw, raw_fs, raw_ss, sum, squares;
    for (const int p : members) {
      const int y = p / c_.columns - r.ss_start;
      const int x = p % c_.columns - r.fs_start;
      const double weight = v_[p] - limits_[c_.bin_of[p]].mean;
      w.add(y, weight);
      w_fs.add(y, weight * x);
      w_ss.add(y, weight * y);
    }
    const double all = w.total();
    if (all < math::kLeastWeight) return math::kNoWeight;
    const int fs = math::ring_centre(w_fs.total(), all, r.width()) + r.fs_start;
    const int ss = math::ring_centre(w_ss.total(), all, r.height()) + r.ss_start;
    math::RingSums ring{};
    for (std::size_t k = 0; k < c_.ring.size(); ++k) {
      const int y = ss + c_.ring[k].ss;
      const int x = fs + c_.ring[k].fs;
      const int p = y * c_.columns + x;
      if (y < r.ss_start || y >= r.ss_stop || x < r.fs_start || x >= r.fs_stop || !usable(p)) continue;
      const double v = v_[p];
      if (!(v < limits_[c_.bin_of[p]].upper)) continue;
      ring.n += 1.0;
      sum.add(static_cast<int>(k), v);
      squares.add(static_cast<int>(k), v * v);
      ring.highest = std::max(ring.highest, v);
    }
    ring.sum = sum.total();
    ring.squares = squares.total();
    const double offset = limits_[c_.bin_of[ss * c_.columns + fs]].mean;
    const math::LocalBackground background = math::local_background(ring, offset, c_.rules);
    double highest = 0.0;
    for (const int p : members) {
      const int y = p / c_.columns - r.ss_start;
      const int x = p % c_.columns - r.fs_start;
      const double v = v_[p];
      total.add(y, v - background.mean);
      raw.add(y, v);
      raw_fs.add(y, v * x);
      raw_ss.add(y, v * y);
      highest = std::max(highest, v - background.mean);
    }
    return math::judge_peak({total.total(), raw.total(), raw_fs.total(), raw_ss.total(), highest}, background,
                            c_.rules, r.width(), r.height(), peak);
  }

  const Case& c_;
  const float* v_;
  std::vector<math::ClipLimits> limits_;
};

// --- a random case ---

std::vector<int> cuts(int n) {
  std::vector<int> at{0, n};
  for (int k = between(0, 2); k > 0; --k) at.push_back(between(0, n));
  std::sort(at.begin(), at.end());
  at.erase(std::unique(at.begin(), at.end()), at.end());
  return at;
}

// Surrounds a pixel with eight bright ones and all of them with masked ones: no pixel is left for the ring,
// whose centre may lie in a bin without candidates.
void isolate(Case& c, int row, int column) {
  for (int y = std::max(row - 9, 0); y < std::min(row + 10, c.rows); ++y) {
    for (int x = std::max(column - 9, 0); x < std::min(column + 10, c.columns); ++x) {
      const int far = std::max(std::abs(y - row), std::abs(x - column));
      c.good[y * c.columns + x] = far == 1 ? 1 : 0;
      if (far == 1) c.pixels[y * c.columns + x] = 40.0f;
    }
  }
}

Case random_case(bool small) {
  Case c{};
  const bool wide = !small && between(0, 5) == 0;  // all in one bin, which is more than a warp holds
  const bool scattered = !small && !wide && between(0, 2) == 0;
  c.rows = small ? 12 : wide ? 45 : between(0, 5) == 0 ? between(1, 4) : between(5, 45);
  c.columns = small ? 40 : wide ? 70 : between(0, 5) == 0 ? between(1, 32) : between(33, 75);
  c.shots = small ? 1 : between(1, 3);
  c.most = between(0, 3) == 0 ? 2 : 1000;
  const double snr = between(0, 4);
  const bool noise_floor = between(0, 3) == 0;
  c.rules = {static_cast<double>(between(-2, 6)), snr, noise_floor ? 0.5 : 0.0, between(1, 3),
             between(0, 1) == 0 ? 8 : 10000};
  // A panel that begins inside a word and one that is thinner than three pixels are common.
  const std::vector<int> ss = cuts(c.rows);
  const std::vector<int> fs = cuts(c.columns);
  for (std::size_t i = 0; i + 1 < ss.size(); ++i) {
    for (std::size_t j = 0; j + 1 < fs.size(); ++j) c.panels.push_back({ss[i], ss[i + 1], fs[j], fs[j + 1]});
  }
  const int reach = 2 * between(1, 3);
  for (int y = -reach; y < reach; ++y) {
    for (int x = -reach; x < reach; ++x) {
      if (y * y + x * x <= reach * reach) c.ring.push_back({y, x});
    }
  }
  const int width = small ? 20 : wide ? 200 : between(1, 30);  // of a bin
  c.n_bins = scattered ? c.n() / 16 + 1 : (c.rows + c.columns) / width + 1;
  if (scattered) c.rules.threshold = 8.0;  // few candidates
  if (scattered) c.rules.min_snr = 2.0;    // a bin of 16 pixels cannot have one far above
  const int skipped = wide ? 20 : between(2, 20);
  for (int p = 0; p < c.n(); ++p) {
    c.good.push_back(between(0, skipped) != 0 ? 1 : 0);
    const int bin = scattered ? between(0, c.n_bins - 1) : (p / c.columns + p % c.columns) / width;
    c.bin_of.push_back(static_cast<std::uint16_t>(bin));
  }
  const int noise = between(0, 3);        // 0: nothing but spots
  const bool whole = between(0, 1) == 0;  // equal values, and sums without rounding
  c.pixels.resize(static_cast<std::size_t>(c.shots) * c.n());
  for (float& v : c.pixels) {
    v = static_cast<float>(between(-4000 * noise, 4000 * noise)) / 3777.0f;
    if (whole) v = std::rint(v);
    if (between(0, scattered ? 500 : 25) == 0)
      v += static_cast<float>(between(1, 40)) / (whole ? 1.0f : 3.0f);
    if (between(0, 200) == 0) v = between(0, 1) == 0 ? NAN : between(0, 1) == 0 ? INFINITY : -INFINITY;
  }
  for (int spot = scattered ? 0 : between(2, 9) * c.shots; spot > 0; --spot) {
    const int y = between(0, c.shots * c.rows - 1);
    const int x = between(0, c.columns - 1);
    const int width_of_spot = between(0, 5) == 0 ? c.columns : between(1, 5);
    const int slant = between(-3, 1);  // most grow to the left, across words
    const int stop = std::min(y + between(1, 7), c.shots * c.rows);
    for (int i = y; i < stop; ++i) {
      for (int k = 0; k < width_of_spot; ++k) {
        const int j = x + k + slant * (i - y);
        if (j >= 0 && j < c.columns && between(0, 9) != 0) c.pixels[i * c.columns + j] += 15.0f + noise;
      }
    }
  }
  if (scattered) isolate(c, c.rows / 2, c.columns / 2);
  return c;
}

template <class Is>
std::vector<std::uint32_t> bits(int n, Is is) {
  std::vector<std::uint32_t> words(static_cast<std::size_t>((n + 31) / 32));
  for (int p = 0; p < n; ++p) words[p / 32] |= static_cast<std::uint32_t>(is(p)) << (p % 32);
  return words;
}

void run_case(const Case& c, const shotsieve::Where& where) {
  const int n = c.n();
  std::vector<std::int32_t> order, bin_start, place(n);
  for (int bin = 0; bin <= c.n_bins; ++bin) {
    bin_start.push_back(static_cast<std::int32_t>(order.size()));
    for (int p = 0; p < n; ++p) {
      if (c.bin_of[p] == bin && c.good[p] != 0) order.push_back(p);
    }
  }
  PeaksCall call{};
  shotsieve::PeakPlan& plan = call.plan;
  plan.good = to_device(bits(n, [&](int p) { return c.good[p] != 0; }));
  plan.bin_of = to_device(c.bin_of);
  plan.order = to_device(order);
  plan.bin_start = to_device(bin_start);
  plan.panels = to_device(c.panels);
  plan.ring = to_device(c.ring);
  plan.n_pixels = n;
  plan.n_good = static_cast<std::int64_t>(order.size());
  plan.rows = c.rows;
  plan.columns = c.columns;
  plan.n_bins = c.n_bins;
  plan.n_panels = static_cast<std::int32_t>(c.panels.size());
  plan.n_ring = static_cast<std::int32_t>(c.ring.size());
  for (const PanelRect& r : c.panels) {
    plan.panel_words = std::max<std::int64_t>(plan.panel_words, r.height() * ((r.width() + 31) / 32));
  }
  // A panel that says to be large has its bitmaps in scratch.
  if (between(0, 2) == 0) plan.panel_words += 6200;
  call.rules = c.rules;
  call.pixels = to_device(c.pixels);
  std::vector<std::uint32_t> candidates;
  for (int shot = 0; shot < c.shots; ++shot) {
    const float* v = c.pixels.data() + shot * n;
    const auto own = bits(n, [&](int p) { return std::isfinite(v[p]) && v[p] >= c.rules.threshold; });
    candidates.insert(candidates.end(), own.begin(), own.end());
  }
  if (between(0, 1) == 0) call.candidates = to_device(candidates);
  call.slots = between(0, 2) == 0 ? between(1, 3) : 64;
  call.max_num_peaks = c.most;
  call.n_shots = c.shots;
  call.capacity = std::min<std::int64_t>(c.most, call.slots * plan.n_panels) * c.shots;
  call.all_bins = between(0, 2) == 0;
  const std::size_t panels = c.panels.size() * c.shots;
  call.peaks = device_only<math::PeakRecord>(call.capacity);
  call.first = device_only<std::int32_t>(c.shots + 1);
  call.panel_counts = device_only<std::int32_t>(panels);
  call.rejected = device_only<std::int32_t>(c.shots * math::kFilters);
  call.overflow = device_only<std::int32_t>(1);
  call.scratch = device_only<std::uint8_t>(shotsieve::peaks_scratch_bytes(c.shots, plan, call.slots));
  shotsieve::find_peaks(call, where);

  std::vector<math::PeakRecord> peaks;
  std::vector<std::int32_t> first{0}, counts, rejected;
  for (int shot = 0; shot < c.shots; ++shot) {
    const Shot found(c, shot);
    const std::size_t stored = std::min<std::size_t>(found.peaks.size(), c.most);
    peaks.insert(peaks.end(), found.peaks.begin(), found.peaks.begin() + stored);
    first.push_back(static_cast<std::int32_t>(peaks.size()));
    counts.insert(counts.end(), found.counts.begin(), found.counts.end());
    rejected.insert(rejected.end(), found.rejected.begin(), found.rejected.end());
  }
  const std::int32_t largest = *std::max_element(counts.begin(), counts.end());
  const bool overflows = largest > call.slots;
  expect_same(to_host(call.overflow, 1), {overflows ? largest : 0});
  expect_same(to_host(call.panel_counts, panels), counts);
  expect_same(to_host(call.rejected, rejected.size()), rejected);
  if (!overflows) {
    expect_same(to_host(call.first, first.size()), first);
    expect_same(to_host(call.peaks, peaks.size()), peaks);
  }
  release_all();
}

}  // namespace

int main(int argc, char** argv) {
  generator.seed(20251129);
  for (int repetition = std::atoi(argv[1]); repetition > 0; --repetition) {
    run_case(random_case(argc > 2), {nullptr, 1});
  }
  return verdict();
}
