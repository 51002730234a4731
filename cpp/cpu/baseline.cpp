// baseline on the CPU: a frame is counted in parts that stay in the first cache, and its peak looked for.
#include "../core/baseline.hpp"

#include <algorithm>
#include <vector>

#include "dark_values.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

constexpr std::int64_t kPart = 4096;  // pixels whose values are made at once
constexpr int kMostBins = std::max(math::kCoarseBins, math::kFineBins);

struct BaselineScratch {
  std::vector<std::int32_t> values = std::vector<std::int32_t>(kPart);
  std::vector<int> adu = std::vector<int>(math::kAduBins + 1);  // the last for what is outside
  std::vector<int> bins = std::vector<int>(kMostBins);
  std::vector<std::int64_t> response = std::vector<std::int64_t>(kMostBins);
  std::vector<std::int32_t> wavelet;  // both halves
  std::vector<float> unpacked;        // empty where they are not packed
};

// response += count times the wavelet around bin `at`; most bins are empty, so this is less than a
// convolution.
void add_response(std::int64_t* __restrict response, const std::int32_t* __restrict wavelet,
                  std::int32_t count, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {  // hot: add_response
    response[i] += std::int64_t{count} * wavelet[i];
  }
}

// Bin of the largest response to the three wavelets; the first of equals, narrow wavelets before wide ones.
int best_bin(BaselineScratch& s, const std::int32_t* taps, const std::int32_t* reach, std::int64_t n_taps,
             int n_bins) {
  std::int64_t most = 0;
  int best = -1;
  for (int w = 0; w < math::kWavelets; ++w) {
    const std::int32_t* half = taps + w * n_taps;
    const std::int64_t far = reach[w];
    s.wavelet.resize(static_cast<std::size_t>(2 * far + 1));
    for (std::int64_t k = 0; k <= far; ++k) {
      s.wavelet[static_cast<std::size_t>(far - k)] = half[k];
      s.wavelet[static_cast<std::size_t>(far + k)] = half[k];
    }
    std::fill_n(s.response.data(), n_bins, std::int64_t{0});
    for (int at = 0; at < n_bins; ++at) {
      const int count = s.bins[static_cast<std::size_t>(at)];
      if (count == 0) continue;
      const std::int64_t from = std::max<std::int64_t>(0, at - far);
      const std::int64_t stop = std::min<std::int64_t>(n_bins, at + far + 1);
      add_response(s.response.data() + from, s.wavelet.data() + (far + from - at), count, stop - from);
    }
    const auto* end = s.response.data() + n_bins;
    const auto* here = std::max_element(static_cast<const std::int64_t*>(s.response.data()), end);
    if (best >= 0 && *here <= most) continue;
    most = *here;
    best = static_cast<int>(here - s.response.data());
  }
  return best;
}

std::int32_t baseline_of(const BaselineCall& c, cpu::Values values_of_run, std::int64_t frame,
                         std::int64_t row, BaselineScratch& s) {
  std::fill(s.adu.begin(), s.adu.end(), 0);
  int pixels = 0;
  for (std::int64_t first = 0; first < c.words.n_pixels; first += kPart) {
    const std::int64_t n = std::min(kPart, c.words.n_pixels - first);
    std::int32_t* __restrict values = s.values.data();
    cpu::values_of_cell(c.words, values_of_run, frame, row, first, n, s.unpacked.data(), values);
    for (std::int64_t i = 0; i < n; ++i) {  // hot: adu_bins
      pixels += math::has_value(values[i]);
      values[i] = math::adu_bin(values[i]);
    }
    int* adu = s.adu.data();
    for (std::int64_t i = 0; i < n; ++i) ++adu[values[i]];
  }
  int inside = 0;
  for (int bin = 0; bin < math::kCoarseBins; ++bin) {
    const int count = math::sum_bins(s.adu.data(), math::coarse_start(bin), math::kCoarseWidth);
    s.bins[static_cast<std::size_t>(bin)] = count;
    inside += count;
  }
  const std::int32_t* taps = c.taps + row * 2 * math::kWavelets * c.n_taps;
  const std::int32_t* reach = c.reach + row * 2 * math::kWavelets;
  const int coarse = best_bin(s, taps, reach, c.n_taps, math::kCoarseBins);
  for (int bin = 0; bin < math::kFineBins; ++bin) {
    s.bins[static_cast<std::size_t>(bin)] =
        math::sum_bins(s.adu.data(), math::fine_start(coarse, bin), math::kFineWidth);
  }
  const int fine =
      best_bin(s, taps + math::kWavelets * c.n_taps, reach + math::kWavelets, c.n_taps, math::kFineBins);
  return math::peak_of(coarse, fine, inside, pixels, c.lowest);
}

}  // namespace

void baseline(const BaselineCall& c, const Where& where) {
  const cpu::Values values_of_run = cpu::choose_values(c.words);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(c.n_listed), -1);
  for (std::int64_t g = 0; g < c.n_groups; ++g) {
    const FrameGroup& group = c.groups[g];
    std::fill(rows.begin() + group.start, rows.begin() + group.stop, std::int64_t{group.table_row});
  }
  const auto make = [&c] {
    BaselineScratch scratch;
    scratch.unpacked.resize(cpu::unpacked_room(c.words, cpu::kUnpacked));
    return scratch;
  };
  cpu::parallel_for(c.n_listed, where.threads, make, [&](BaselineScratch& scratch, std::int64_t k) {
    const std::int64_t row = rows[static_cast<std::size_t>(k)];
    if (row < 0) return;
    const std::int64_t frame = c.frames[k];
    std::fill_n(c.shift + frame * c.n_tiles, c.n_tiles, baseline_of(c, values_of_run, frame, row, scratch));
  });
}

}  // namespace shotsieve
