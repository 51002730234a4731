// peakfinder8 on the CPU: shots in parallel, each by one thread. Only bins that own a candidate need their
// statistics, so a shot without candidates costs one look at its candidate bits.
#include "../core/peaks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "bits.hpp"
#include "clip.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

using math::PeakRecord;

// Above this share of the good pixels, sorting the whole shot by bin is faster than gathering bin by bin; so
// is not to look for the bins in need, where so many candidates a bin are expected.
constexpr double kSortShare = 0.35;
constexpr double kManyCandidates = 0.9;
constexpr std::int64_t kSampledWords = 31;  // one of so many tells how many candidates to expect
constexpr std::int64_t kAhead = 48;         // pixels that are asked for before they are gathered
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class Visit>
void for_each_bit(std::uint32_t word, const Visit& visit) {
  for (; word != 0; word &= word - 1) visit(__builtin_ctz(word));
}

// Sums in 32 lanes, for the few values of a component or a ring.
struct Lanes {
  alignas(64) double value[math::kLanes] = {};

  void add(int lane, double v) { value[lane & (math::kLanes - 1)] += v; }
  double total() { return cpu::tree_sum(value); }
};

// The search of one shot after another by one thread, with the buffers for it.
class ShotSearch {
 public:
  explicit ShotSearch(const PeaksCall& call)
      : call_(call),
        plan_(call.plan),
        limits_(static_cast<std::size_t>(plan_.n_bins)),
        known_(static_cast<std::size_t>(plan_.n_bins)),
        strong_(static_cast<std::size_t>(plan_.words())),
        has_strong_(static_cast<std::size_t>(plan_.rows)) {}

  void search(std::int64_t shot, std::vector<PeakRecord>& found) {
    pixels_ = call_.pixels + shot * plan_.n_pixels;
    panel_counts_ = call_.panel_counts + shot * plan_.n_panels;
    rejected_ = call_.rejected + shot * math::kFilters;
    std::fill_n(panel_counts_, plan_.n_panels, 0);
    std::fill_n(rejected_, math::kFilters, 0);
    if (!find_needed_bins(call_.candidates != nullptr ? call_.candidates + shot * plan_.words() : nullptr)) {
      return;
    }
    clip_needed_bins();
    if (strong_pixels_.empty()) return;
    for (std::int32_t panel = 0; panel < plan_.n_panels; ++panel) search_panel(panel, found);
    for (const std::int32_t p : strong_pixels_) {
      strong_[static_cast<std::size_t>(p / 32)] = 0;
      has_strong_[static_cast<std::size_t>(p / plan_.columns)] = 0;
    }
  }

 private:
  bool is_good(std::int64_t p) const { return (plan_.good[p / 32] >> (p % 32) & 1u) != 0; }

  // Bins that own a candidate; false: there is none. With many candidates nearly every bin owns one, and all
  // are taken without looking further, which changes no result.
  bool find_needed_bins(const std::uint32_t* words) {
    const bool take_all = call_.all_bins || has_many_candidates(words);
    std::fill(known_.begin(), known_.end(), take_all ? 1 : 0);
    if (take_all) return true;
    bool any = false;
    for (std::int64_t w = 0; w < plan_.words(); ++w) {
      const std::uint32_t word = good_candidates(words, w);
      any = any || word != 0;
      for_each_bit(word, [&](int bit) { known_[plan_.bin_of[32 * w + bit]] = 1; });
    }
    return any;
  }

  // Told from a few words all over the shot.
  bool has_many_candidates(const std::uint32_t* words) const {
    std::int64_t candidates = 0;
    for (std::int64_t w = 0; w < plan_.words(); w += kSampledWords) {
      candidates += __builtin_popcount(good_candidates(words, w));
    }
    return static_cast<double>(candidates * kSampledWords) > kManyCandidates * plan_.n_bins;
  }

  std::uint32_t good_candidates(const std::uint32_t* words, std::int64_t w) const {
    return (words != nullptr ? words[w] : mark_candidates(w)) & plan_.good[w];
  }

  std::uint32_t mark_candidates(std::int64_t w) const {
    return word_of(pixels_ + 32 * w, plan_.n_pixels - 32 * w, static_cast<float>(call_.rules.threshold));
  }

  // Bits of those of up to 32 values that are finite and reach the threshold.
  static std::uint32_t word_of(const float* values, std::int64_t n, float threshold) {
    if (n >= 32) return cpu::candidate_word(values, threshold);
    float rest[32];
    std::fill_n(rest, 32, std::numeric_limits<float>::quiet_NaN());
    std::copy_n(values, n, rest);
    return cpu::candidate_word(rest, threshold);
  }

  std::int64_t bin_size(std::int32_t bin) const { return plan_.bin_start[bin + 1] - plan_.bin_start[bin]; }

  void clip_needed_bins() {
    strong_pixels_.clear();
    std::int64_t needed = 0;
    for (std::int32_t bin = 0; bin < plan_.n_bins; ++bin) needed += known_[bin] != 0 ? bin_size(bin) : 0;
    const bool sort = static_cast<double>(needed) > kSortShare * static_cast<double>(plan_.n_good);
    if (sort) sort_by_bin();
    for (std::int32_t bin = 0; bin < plan_.n_bins; ++bin) {
      if (known_[bin] == 0) continue;
      const float* values = sort ? values_.data() + plan_.bin_start[bin] : gather(bin);
      const cpu::ClippedBin clipped = cpu::clip_bin(values, bin_size(bin), call_.rules);
      limits_[bin] = clipped.limits;
      if (clipped.may_be_strong) mark_strong(bin, values);
    }
  }

  // All pixels in the order of their bins. Panels lie one after the other in memory and each meets a few bins
  // only, so the writes stay in cache; reading bin by bin would not. Two pixels and their two places are one
  // load each, a third less time than four loads.
  void sort_by_bin() {
    values_.resize(static_cast<std::size_t>(plan_.n_good) + 1);  // the last place is for pixels not in use
    float* __restrict values = values_.data();
    const std::int32_t* __restrict place = plan_.place;
    const float* __restrict pixels = pixels_;
    const std::int64_t n = plan_.n_pixels;
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first of a pair is its low half");
#pragma GCC unroll 8
    for (std::int64_t p = 0; p + 1 < n; p += 2) {
      std::uint64_t places, pair;
      std::memcpy(&places, place + p, sizeof places);
      std::memcpy(&pair, pixels + p, sizeof pair);
      const auto first = static_cast<std::uint32_t>(pair);
      const auto second = static_cast<std::uint32_t>(pair >> 32);
      std::memcpy(values + static_cast<std::uint32_t>(places), &first, sizeof first);
      std::memcpy(values + (places >> 32), &second, sizeof second);
    }
    if (n % 2 != 0) values[place[n - 1]] = pixels[n - 1];
  }

  // The pixels of one bin: a ring through the slab, so that nearly every pixel lies in another cache line.
  const float* gather(std::int32_t bin) {
    const std::int32_t* order = plan_.order + plan_.bin_start[bin];
    const std::int64_t n = bin_size(bin);
    if (static_cast<std::int64_t>(values_.size()) < n) values_.resize(static_cast<std::size_t>(n));
    float* __restrict values = values_.data();
    for (std::int64_t i = 0; i < n; ++i) {
      if (i + kAhead < n) __builtin_prefetch(pixels_ + order[i + kAhead]);
      values[i] = pixels_[order[i]];
    }
    return values;
  }

  double offset_of(std::int32_t bin) {
    if (known_[bin] == 0) {
      limits_[bin] = cpu::clip_bin(gather(bin), bin_size(bin), call_.rules).limits;
      known_[bin] = 1;
    }
    return limits_[bin].mean;
  }

  // Strong pixels of a bin, while its values are in cache.
  void mark_strong(std::int32_t bin, const float* values) {
    // `>` a float64 threshold is `>=` the next float32 above it.
    const float threshold = nextafterf(math::floor_to_float(limits_[bin].upper), kInfinity);
    const std::int64_t n = bin_size(bin);
    const std::int32_t* order = plan_.order + plan_.bin_start[bin];
    for (std::int64_t first = 0; first < n; first += 32) {
      for_each_bit(word_of(values + first, n - first, threshold), [&](int bit) {
        const std::int32_t p = order[first + bit];
        strong_[static_cast<std::size_t>(p / 32)] |= 1u << (p % 32);
        has_strong_[static_cast<std::size_t>(p / plan_.columns)] = 1;
        strong_pixels_.push_back(p);
      });
    }
  }

  // Strong pixels of a row of the slab between two columns, from left to right.
  template <class Visit>
  void for_each_strong(std::int64_t row, std::int32_t first_column, std::int32_t stop_column,
                       const Visit& visit) {
    const std::int64_t first = row * plan_.columns + first_column;
    const std::int64_t stop = row * plan_.columns + stop_column;
    for (std::int64_t w = first / 32; w * 32 < stop; ++w) {
      std::uint32_t word = strong_[static_cast<std::size_t>(w)];
      if (word == 0) continue;
      if (w * 32 < first) word &= ~0u << (first % 32);
      if (stop - w * 32 < 32) word &= ~(~0u << (stop % 32));
      // Read again before each visit, since a visit takes the pixels of its component away.
      for_each_bit(word, [&](int bit) {
        if ((strong_[static_cast<std::size_t>(w)] >> bit & 1u) != 0) {
          visit(static_cast<std::int32_t>(w * 32 + bit));
        }
      });
    }
  }

  void search_panel(std::int32_t panel, std::vector<PeakRecord>& found) {
    const PanelRect& rect = plan_.panels[panel];
    for (std::int32_t row = rect.ss_start + 1; row < rect.ss_stop - 1; ++row) {
      if (has_strong_[static_cast<std::size_t>(row)] == 0) continue;
      for_each_strong(row, rect.fs_start + 1, rect.fs_stop - 1, [&](std::int32_t seed) {
        collect_component(seed, rect);
        PeakRecord peak;
        const math::Filter filter = judge_component(rect, peak);
        if (filter != math::kAccepted) {
          ++rejected_[filter];
          return;
        }
        peak.fs += rect.fs_start;
        peak.ss += rect.ss_start;
        peak.panel = panel;
        peak.n_pixels = static_cast<std::int32_t>(members_.size());
        ++panel_counts_[panel];
        if (static_cast<std::int64_t>(found.size()) < call_.max_num_peaks) found.push_back(peak);
      });
    }
  }

  bool take_strong(std::int64_t p) {
    std::uint32_t& word = strong_[static_cast<std::size_t>(p / 32)];
    const std::uint32_t bit = 1u << (p % 32);
    const bool was_strong = (word & bit) != 0;
    word &= ~bit;
    return was_strong;
  }

  // Strong pixels of the panel that hang together with the seed by edges or corners, in raster order.
  void collect_component(std::int32_t seed, const PanelRect& rect) {
    members_.assign(1, seed);
    take_strong(seed);
    for (std::size_t done = 0; done < members_.size(); ++done) {
      const std::int32_t row = members_[done] / plan_.columns;
      const std::int32_t column = members_[done] % plan_.columns;
      for (std::int32_t y = std::max(row - 1, rect.ss_start); y < std::min(row + 2, rect.ss_stop); ++y) {
        for (std::int32_t x = std::max(column - 1, rect.fs_start); x < std::min(column + 2, rect.fs_stop);
             ++x) {
          const std::int32_t p = y * plan_.columns + x;
          if (take_strong(p)) members_.push_back(p);
        }
      }
    }
    std::sort(members_.begin(), members_.end());
  }

  math::Filter judge_component(const PanelRect& rect, PeakRecord& peak) {
    const auto n = static_cast<std::int64_t>(members_.size());
    if (n < call_.rules.min_pix_count) return math::kTooFewPixels;
    if (n > call_.rules.max_pix_count) return math::kTooManyPixels;
    Lanes weight, weight_fs, weight_ss;
    for (const std::int32_t p : members_) {
      const std::int32_t y = p / plan_.columns - rect.ss_start;
      const std::int32_t x = p % plan_.columns - rect.fs_start;
      const double w = static_cast<double>(pixels_[p]) - limits_[plan_.bin_of[p]].mean;
      weight.add(y, w);
      weight_fs.add(y, w * x);
      weight_ss.add(y, w * y);
    }
    const double all = weight.total();
    if (all < math::kLeastWeight) return math::kNoWeight;
    const std::int32_t fs = math::ring_centre(weight_fs.total(), all, rect.width());
    const std::int32_t ss = math::ring_centre(weight_ss.total(), all, rect.height());
    const math::LocalBackground ring = ring_background(rect, rect.ss_start + ss, rect.fs_start + fs);
    return math::judge_peak(sum_members(rect, ring.mean), ring, call_.rules, rect.width(), rect.height(),
                            peak);
  }

  math::LocalBackground ring_background(const PanelRect& rect, std::int32_t row, std::int32_t column) {
    Lanes sum, squares;
    math::RingSums ring{};
    for (std::int32_t k = 0; k < plan_.n_ring; ++k) {
      const std::int32_t y = row + plan_.ring[k].ss;
      const std::int32_t x = column + plan_.ring[k].fs;
      if (y < rect.ss_start || y >= rect.ss_stop || x < rect.fs_start || x >= rect.fs_stop) continue;
      const std::int64_t p = std::int64_t{y} * plan_.columns + x;
      const float v = pixels_[p];
      if (!is_good(p) || !is_background(p, v)) continue;
      const double d = v;
      ring.n += 1.0;
      sum.add(k, d);
      squares.add(k, d * d);
      ring.highest = std::max(ring.highest, d);
    }
    ring.sum = sum.total();
    ring.squares = squares.total();
    const double fallback =
        ring.n > 0.0 ? 0.0 : offset_of(plan_.bin_of[std::int64_t{row} * plan_.columns + column]);
    return math::local_background(ring, fallback, call_.rules);
  }

  // A pixel below the lowest threshold is background in any bin; any other one is a candidate, whose bin is
  // known.
  bool is_background(std::int64_t p, float v) const {
    if (!(v >= std::numeric_limits<float>::lowest())) return false;
    return static_cast<double>(v) < call_.rules.threshold ||
           static_cast<double>(v) < limits_[plan_.bin_of[p]].upper;
  }

  math::MemberSums sum_members(const PanelRect& rect, double background) {
    Lanes total, raw, raw_fs, raw_ss;
    double highest = 0.0;
    for (const std::int32_t p : members_) {
      const std::int32_t y = p / plan_.columns - rect.ss_start;
      const std::int32_t x = p % plan_.columns - rect.fs_start;
      const double v = pixels_[p];
      total.add(y, v - background);
      raw.add(y, v);
      raw_fs.add(y, v * x);
      raw_ss.add(y, v * y);
      highest = std::max(highest, v - background);
    }
    return {total.total(), raw.total(), raw_fs.total(), raw_ss.total(), highest};
  }

  const PeaksCall& call_;
  const PeakPlan& plan_;
  const float* pixels_ = nullptr;
  std::int32_t* panel_counts_ = nullptr;
  std::int32_t* rejected_ = nullptr;
  std::vector<math::ClipLimits> limits_;  // of the bins that are known
  std::vector<std::uint8_t> known_;
  std::vector<std::uint32_t> strong_;     // bits of pixels, all zero between two shots
  std::vector<std::uint8_t> has_strong_;  // rows of the slab, the same
  std::vector<std::int32_t> strong_pixels_, members_;
  std::vector<float> values_;
};

}  // namespace

std::int64_t peaks_scratch_bytes(std::int64_t, const PeakPlan&, std::int32_t) { return 0; }

void find_peaks(const PeaksCall& c, const Where& where) {
  std::vector<std::vector<PeakRecord>> found(static_cast<std::size_t>(c.n_shots));
  cpu::parallel_for(
      c.n_shots, where.threads, [&] { return ShotSearch(c); },
      [&](ShotSearch& search, std::int64_t shot) {
        search.search(shot, found[static_cast<std::size_t>(shot)]);
      });
  c.first[0] = 0;
  for (std::int64_t shot = 0; shot < c.n_shots; ++shot) {
    const auto& peaks = found[static_cast<std::size_t>(shot)];
    std::copy(peaks.begin(), peaks.end(), c.peaks + c.first[shot]);
    c.first[shot + 1] = c.first[shot] + static_cast<std::int32_t>(peaks.size());
  }
  *c.overflow = 0;
}

}  // namespace shotsieve
