// Finding and judging the components of strong pixels of one panel, by one warp.
//
// The panel's strong pixels are a bitmap. The lowest interior bit in raster order seeds a component, which
// grows by the bits that touch it until nothing changes, and is then taken out of the bitmap: no labels, no
// merging, and the order of the peaks comes by itself.
#pragma once

#include "peaks.cuh"

namespace shotsieve::device {

// Part of a panel's bitmap: rows and words of a row, stop exclusive.
struct BitBox {
  int row, row_stop, word, word_stop;

  __device__ int width() const { return word_stop - word; }
  __device__ int words() const { return (row_stop - row) * width(); }
};

struct Seed {
  int word;  // of the bitmap; below 0: there is none
  int bit;
};

// A panel of a shot. Rows and columns count from the panel's first pixel; so do the words of a bitmap, since
// a panel may begin at any bit of the shot's words.
struct PanelSearch {
  const PeaksCall& c;
  const float* pixels;              // of the shot
  const std::uint32_t* candidates;  // of the shot
  const BinLimits* limits;          // of the shot
  const std::uint32_t* needed;      // of the shot
  PanelRect rect;
  int height, width, row_words, words;
  std::uint32_t* strong;   // (words,) bits not yet in a component
  std::uint32_t* members;  // (words,) bits of the component at hand; else 0

  __device__ std::int64_t pixel(int row, int column) const {
    return std::int64_t{rect.ss_start + row} * c.plan.columns + rect.fs_start + column;
  }

  __device__ unsigned bits_in_row(int word) const {
    const int left = width - 32 * word;
    return left < 32 ? (1u << left) - 1u : 0xFFFFFFFFu;
  }

  // 32 candidate bits of a row, from two neighbouring words of the shot.
  __device__ unsigned usable_candidates(std::int64_t p, unsigned wanted) const {
    const std::int64_t w = p / 32;
    const int shift = static_cast<int>(p % 32);
    unsigned bits = (candidates[w] & c.plan.good[w]) >> shift;
    if (shift != 0 && w + 1 < c.plan.words()) {
      bits |= (candidates[w + 1] & c.plan.good[w + 1]) << (32 - shift);
    }
    return bits & wanted;
  }

  // Fills the bitmaps; false: there is no strong pixel.
  __device__ bool load() {
    unsigned any = 0;
    for (int i = lane_index(); i < words; i += 32) {
      const int row = i / row_words;
      const int word = i - row * row_words;
      const std::int64_t p = pixel(row, 32 * word);
      unsigned bits = usable_candidates(p, bits_in_row(word));
      for (unsigned rest = bits; rest != 0; rest &= rest - 1) {
        const int bit = __ffs(static_cast<int>(rest)) - 1;
        const double v = pixels[p + bit];
        if (!(v > limits[c.plan.bin_of[p + bit]].upper)) bits &= ~(1u << bit);
      }
      strong[i] = bits;
      members[i] = 0;
      any |= bits;
    }
    return __any_sync(kAllLanes, any != 0 ? 1 : 0) != 0;  // every lane has read and written its own words
  }

  // The bits of a word that are not in the first or last row or column.
  __device__ unsigned interior(int i) const {
    const int row = i / row_words;
    const int word = i - row * row_words;
    if (row == 0 || row == height - 1) return 0;
    unsigned bits = bits_in_row(word);
    if (word == 0) bits &= ~1u;
    if (word == row_words - 1) bits &= ~(1u << ((width - 1) % 32));
    return bits;
  }

  // The first interior bit from word `from` on.
  __device__ Seed next_seed(int from) const {
    for (int begin = from; begin < words; begin += 32) {
      const int i = begin + lane_index();
      const unsigned bits = i < words ? strong[i] & interior(i) : 0;
      const unsigned found = __ballot_sync(kAllLanes, bits != 0 ? 1 : 0);
      if (found == 0) continue;
      const int source = __ffs(static_cast<int>(found)) - 1;
      const unsigned lowest = __shfl_sync(kAllLanes, bits, source);
      return {begin + source, __ffs(static_cast<int>(lowest)) - 1};
    }
    return {-1, 0};
  }

  // A word of the component, spread by one column to both sides.
  __device__ unsigned spread(int row, int word) const {
    const std::uint32_t* at = members + row * row_words + word;
    unsigned bits = *at | *at << 1 | *at >> 1;
    if (word > 0) bits |= at[-1] >> 31;
    if (word < row_words - 1) bits |= at[1] << 31;
    return bits;
  }

  // Lets a component grow from its seed. Returns a box that holds it.
  __device__ BitBox grow(Seed seed) {
    const int row = seed.word / row_words;
    const int word = seed.word - row * row_words;
    if (lane_index() == 0) members[seed.word] = 1u << seed.bit;
    __syncwarp();
    BitBox box{row, row + 1, word, word + 1};
    for (bool changed = true; changed;) {
      box = {box.row > 0 ? box.row - 1 : 0, box.row_stop < height ? box.row_stop + 1 : height,
             box.word > 0 ? box.word - 1 : 0, box.word_stop < row_words ? box.word_stop + 1 : row_words};
      changed = false;
      for (int begin = 0; begin < box.words(); begin += 32) changed |= grow_words(box, begin);
      changed = __any_sync(kAllLanes, changed ? 1 : 0) != 0;
    }
    return box;
  }

  // One step for 32 words of the box. Words of the same step may or may not see what the steps before have
  // added: growth ends at the same component either way.
  __device__ bool grow_words(const BitBox& box, int begin) {
    const int j = begin + lane_index();
    const bool active = j < box.words();
    const int row = box.row + j / box.width();
    const int word = box.word + j % box.width();
    const int i = row * row_words + word;
    unsigned old = 0;
    unsigned grown = 0;
    if (active) {
      old = members[i];
      grown = spread(row, word);
      if (row > 0) grown |= spread(row - 1, word);
      if (row < height - 1) grown |= spread(row + 1, word);
      grown &= strong[i];
      for (unsigned before = 0; before != grown;) {  // on along the row, without waiting for the next step
        before = grown;
        grown |= (grown << 1 | grown >> 1) & strong[i];
      }
    }
    __syncwarp();  // all lanes have read their neighbours' words
    if (active && grown != old) members[i] = grown;
    __syncwarp();
    return grown != old;
  }

  // This lane's words of a box, by their place in the bitmaps.
  template <class Visit>
  __device__ void for_each_word(const BitBox& box, const Visit& visit) const {
    for (int j = lane_index(); j < box.words(); j += 32) {
      visit((box.row + j / box.width()) * row_words + box.word + j % box.width());
    }
  }

  // Takes the component out of the bitmap and returns how many pixels it has.
  __device__ int take(const BitBox& box) {
    int n = 0;
    for_each_word(box, [&](int i) {
      n += __popc(members[i]);
      strong[i] &= ~members[i];
    });
    return __reduce_add_sync(kAllLanes, n);
  }

  // What is left of a component would cost the next one some steps of growth.
  __device__ void forget(const BitBox& box) {
    __syncwarp();  // all lanes have visited their members
    for_each_word(box, [&](int i) { members[i] = 0; });
    __syncwarp();
  }

  // The members in this lane's rows, in raster order.
  template <class Visit>
  __device__ void for_each_member(const BitBox& box, const Visit& visit) const {
    for (int row = box.row + ((lane_index() - box.row) & 31); row < box.row_stop; row += 32) {
      for (int word = box.word; word < box.word_stop; ++word) {
        for (unsigned rest = members[row * row_words + word]; rest != 0; rest &= rest - 1) {
          visit(row, 32 * word + __ffs(static_cast<int>(rest)) - 1);
        }
      }
    }
  }

  // Fills everything of `peak` but the panel; every lane gets the same.
  __device__ math::Filter judge(const BitBox& box, int n, math::PeakRecord& peak) const {
    if (n < c.rules.min_pix_count) return math::kTooFewPixels;
    if (n > c.rules.max_pix_count) return math::kTooManyPixels;
    double weight = 0.0;
    double weight_fs = 0.0;
    double weight_ss = 0.0;
    for_each_member(box, [&](int row, int column) {
      const std::int64_t p = pixel(row, column);
      const double w = static_cast<double>(pixels[p]) - limits[c.plan.bin_of[p]].offset;
      weight += w;
      weight_fs += w * column;
      weight_ss += w * row;
    });
    const double all = lanes_total(weight);
    if (all < math::kLeastWeight) return math::kNoWeight;
    const int column = math::ring_centre(lanes_total(weight_fs), all, width);
    const int row = math::ring_centre(lanes_total(weight_ss), all, height);
    const math::LocalBackground ring = background(row, column);
    const math::Filter filter =
        math::judge_peak(sum_members(box, ring.mean), ring, c.rules, width, height, peak);
    peak.fs += rect.fs_start;
    peak.ss += rect.ss_start;
    peak.n_pixels = n;
    return filter;
  }

  __device__ math::LocalBackground background(int row, int column) const {
    double sum = 0.0;
    double squares = 0.0;
    double highest = 0.0;
    int count = 0;
    for (int k = lane_index(); k < c.plan.n_ring; k += 32) {
      const int y = row + c.plan.ring[k].ss;
      const int x = column + c.plan.ring[k].fs;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const std::int64_t p = pixel(y, x);
      const float v = pixels[p];
      if (!has_bit(c.plan.good, p) || !is_background(p, v)) continue;
      const double d = v;
      sum += d;
      squares += d * d;
      highest = d > highest ? d : highest;
      ++count;
    }
    const int n = __reduce_add_sync(kAllLanes, count);
    const math::RingSums ring{static_cast<double>(n), lanes_total(sum), lanes_total(squares),
                              lanes_highest(highest)};
    return math::local_background(ring, n > 0 ? 0.0 : offset_of(c.plan.bin_of[pixel(row, column)]), c.rules);
  }

  // A pixel below the lowest threshold is background in any bin; any other one is a candidate, whose bin is
  // needed.
  __device__ bool is_background(std::int64_t p, float v) const {
    if (!(v >= std::numeric_limits<float>::lowest())) return false;
    return static_cast<double>(v) < c.rules.threshold ||
           static_cast<double>(v) < limits[c.plan.bin_of[p]].upper;
  }

  // Rare: a ring without pixels, whose centre may lie in a bin that nobody needed so far.
  __device__ double offset_of(int bin) const {
    if (has_bit(needed, bin)) return limits[bin].offset;
    const std::int32_t start = c.plan.bin_start[bin];
    return clip_bin<0>(pixels, c.plan.order + start, c.plan.bin_start[bin + 1] - start, c.rules).mean;
  }

  __device__ math::MemberSums sum_members(const BitBox& box, double background) const {
    math::MemberSums sums{};
    for_each_member(box, [&](int row, int column) {
      const double v = pixels[pixel(row, column)];
      const double above = v - background;
      sums.total += above;
      sums.raw += v;
      sums.raw_fs += v * column;
      sums.raw_ss += v * row;
      sums.highest = above > sums.highest ? above : sums.highest;
    });
    return {lanes_total(sums.total), lanes_total(sums.raw), lanes_total(sums.raw_fs),
            lanes_total(sums.raw_ss), lanes_highest(sums.highest)};
  }
};

// The peaks of one panel of one shot, in order, into their slots: a block of one warp. A panel without
// candidates costs the reading of its bits, 1/32 of its bytes; a component about a thousand instructions of
// the warp and two visits to its few pixels and its ring.
template <bool Shared>
__global__ void __launch_bounds__(32)
    find_components_kernel(PeaksCall c, PeakScratch scratch, std::int32_t words_of_bins) {
  const std::int64_t i = blockIdx.x;
  const std::int64_t shot = i / c.plan.n_panels;
  const int panel = static_cast<int>(i - shot * c.plan.n_panels);
  std::uint32_t* bitmaps = nullptr;
  if constexpr (Shared) {
    SS_DYN_SHARED(std::uint32_t, place);
    bitmaps = place;
  } else {
    bitmaps = scratch.bitmaps + i * 2 * c.plan.panel_words;
  }
  const PanelRect rect = c.plan.panels[panel];
  const int row_words = (rect.width() + 31) / 32;
  PanelSearch search{c,
                     c.pixels + shot * c.plan.n_pixels,
                     c.candidates + shot * c.plan.words(),
                     scratch.limits + shot * c.plan.n_bins,
                     scratch.needed + shot * words_of_bins,
                     rect,
                     rect.height(),
                     rect.width(),
                     row_words,
                     rect.height() * row_words,
                     bitmaps,
                     bitmaps + c.plan.panel_words};
  std::int32_t count = 0;
  std::int32_t rejected = 0;  // by the filter of this lane's number
  if (search.load()) {
    __syncwarp();
    for (Seed seed = search.next_seed(0); seed.word >= 0; seed = search.next_seed(seed.word)) {
      const BitBox box = search.grow(seed);
      math::PeakRecord peak;
      const math::Filter filter = search.judge(box, search.take(box), peak);
      search.forget(box);
      rejected += filter == lane_index() ? 1 : 0;
      if (filter != math::kAccepted) continue;
      peak.panel = panel;
      if (lane_index() == 0 && count < c.slots) scratch.slots[i * c.slots + count] = peak;
      ++count;
    }
  }
  if (lane_index() == 0) {
    c.panel_counts[i] = count;
    if (count > c.slots) atomicMax(c.overflow, count);
  }
  if (lane_index() < math::kFilters && rejected != 0) {
    atomicAdd(c.rejected + shot * math::kFilters + lane_index(), rejected);
  }
}

}  // namespace shotsieve::device
