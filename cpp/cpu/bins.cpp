#include "../core/bins.hpp"

#include <algorithm>
#include <limits>

#include "lanes.hpp"
#include "parallel.hpp"

namespace shotsieve {
namespace {

constexpr float kLeast = -std::numeric_limits<float>::infinity();
constexpr float kNotThere = std::numeric_limits<float>::quiet_NaN();

// The sums of L frames; each row of L numbers belongs to a slot or a bin. One per thread.
template <int L>
struct Sums {
  cpu::Aligned<double> part_signal, part_second;  // (most_slots, L) of the part at hand
  cpu::Aligned<double> part_lost;                 // (most_slots, n_columns, L), 0 but while a part is summed
  cpu::Aligned<double> signal, second;            // (n_bins, L)
  cpu::Aligned<double> lost;                      // (n_bins, n_columns, L)
  cpu::Aligned<double> limits;                    // (n_bins, 3, L) low, high, centre
  cpu::Aligned<float> maximum;                    // (n_bins, L)

  Sums(const BinPlan& plan, BinMode mode) {
    const auto slots = static_cast<std::size_t>(plan.most_slots) * L;
    const auto bins = static_cast<std::size_t>(plan.n_bins) * L;
    part_signal.resize(slots);
    signal.resize(bins);
    part_lost.resize(slots * static_cast<std::size_t>(plan.n_columns));
    lost.resize(bins * static_cast<std::size_t>(plan.n_columns));
    if (mode != BinMode::kPlain) {
      part_second.resize(slots);
      second.resize(bins);
    }
    if (mode == BinMode::kMoments) maximum.resize(bins);
    if (mode == BinMode::kResidual) limits.resize(3 * bins);
  }
};

// One group of up to L frames, passed over part by part.
template <int L, BinMode Mode, bool Split>
class Group {
  using Wide = cpu::Wide<L>;
  static constexpr int kPixels = Wide::kPixels;
  static constexpr std::uint32_t kAll = (1u << kPixels) - 1u;

 public:
  Group(const BinsCall& call, Sums<L>& sums, std::int64_t first, int frames)
      : c_(call), plan_(call.plan), sums_(sums), first_(first), frames_(frames) {}

  void run() {
    begin();
    for (std::int32_t p = 0; p < plan_.n_parts; ++p) {
      const PartRect rect = plan_.parts[p];
      slot_ = plan_.slot_start[p];
      const std::int32_t slots = plan_.slot_start[p + 1] - slot_;
      if (slots == 0) continue;
      clear_part(slots);
      std::int64_t own = plan_.part_start[p];
      for (std::int32_t ss = rect.ss_start; ss < rect.ss_stop; ++ss) {
        const std::int64_t row = std::int64_t{ss} * plan_.row_pixels;
        for (std::int32_t fs = rect.fs_start; fs < rect.fs_stop; fs += kPixels) {
          const int n = std::min<int>(kPixels, rect.fs_stop - fs);
          square(row + fs, own, n);
          own += n;
        }
      }
      add_part(slots);
    }
    finish();
  }

 private:
  void begin() {
    std::fill_n(sums_.signal.data(), sums_.signal.size(), 0.0);
    std::fill_n(sums_.second.data(), sums_.second.size(), 0.0);
    std::fill_n(sums_.lost.data(), sums_.lost.size(), 0.0);
    std::fill_n(sums_.maximum.data(), sums_.maximum.size(), kLeast);
    if (Mode != BinMode::kResidual) return;
    for (std::int32_t which = 0; which < 3; ++which) {
      for (int k = 0; k < L; ++k) {
        const std::int64_t frame = first_ + std::min(k, frames_ - 1);
        const double* from = c_.limits + (which * c_.n_frames + frame) * plan_.n_bins;
        double* to = sums_.limits.data() + which * L + k;
        for (std::int32_t b = 0; b < plan_.n_bins; ++b) to[std::size_t{3} * L * b] = from[b];
      }
    }
  }

  void clear_part(std::int32_t slots) {
    const auto n = static_cast<std::size_t>(slots) * L;
    std::fill_n(sums_.part_signal.data(), n, 0.0);
    if (Mode != BinMode::kPlain) std::fill_n(sums_.part_second.data(), n, 0.0);
  }

  void add_part(std::int32_t slots) {
    const auto columns = static_cast<std::size_t>(plan_.n_columns);
    for (std::int32_t s = 0; s < slots; ++s) {
      const std::size_t bin = static_cast<std::size_t>(plan_.slot_bin[slot_ + s]) * L;
      const std::size_t own = static_cast<std::size_t>(s) * L;
      cpu::add_lanes<L>(sums_.signal.data() + bin, sums_.part_signal.data() + own);
      if (Mode != BinMode::kPlain) {
        cpu::add_lanes<L>(sums_.second.data() + bin, sums_.part_second.data() + own);
      }
      if (!any_lost_) continue;
      for (std::size_t q = 0; q < columns; ++q) {
        cpu::add_lanes<L>(sums_.lost.data() + bin * columns + q * L,
                          sums_.part_lost.data() + own * columns + q * L);
      }
    }
    if (any_lost_) std::fill_n(sums_.part_lost.data(), static_cast<std::size_t>(slots) * columns * L, 0.0);
    any_lost_ = false;
  }

  void finish() {
    for (int k = 0; k < frames_; ++k) {
      const std::int64_t at = (first_ + k) * plan_.n_bins;
      for (std::int32_t b = 0; b < plan_.n_bins; ++b) {
        const std::size_t from = static_cast<std::size_t>(b) * L + k;
        c_.signal[at + b] = sums_.signal.data()[from];
        if (Mode != BinMode::kPlain) c_.second[at + b] = sums_.second.data()[from];
        if (Mode == BinMode::kMoments) c_.maximum[at + b] = sums_.maximum.data()[from];
        for (std::int32_t q = 0; q < plan_.n_columns; ++q) {
          const std::size_t lost = (static_cast<std::size_t>(b) * plan_.n_columns + q) * L + k;
          c_.lost[q * c_.n_frames * plan_.n_bins + at + b] = sums_.lost.data()[lost];
        }
      }
    }
  }

  // Bit j: pixel j of the square has an entry.
  std::uint32_t used_pixels(std::int64_t own, int n) const {
    if (!Split && n == kPixels) return cpu::bins_present<kPixels>(plan_.local + own);
    std::uint32_t bits = 0;
    for (int j = 0; j < n; ++j) bits |= static_cast<std::uint32_t>(has_entry(own + j)) << j;
    return bits;
  }

  bool has_entry(std::int64_t own) const {
    if (Split) return plan_.entry_start[own + 1] > plan_.entry_start[own];
    return plan_.local[own] != math::kNoBin;
  }

  // Bit j: pixel j of a frame is masked by the caller.
  std::uint32_t masked(std::int64_t frame, std::int64_t pixel, int n) const {
    std::uint32_t bits = 0;
    const std::int64_t at = frame * plan_.n_pixels + pixel;
    if (c_.bad_bytes != nullptr) {
      for (int j = 0; j < n; ++j) bits |= static_cast<std::uint32_t>(c_.bad_bytes[at + j] != 0) << j;
    } else if (c_.bad_words != nullptr) {
      for (int j = 0; j < n; ++j) bits |= static_cast<std::uint32_t>(c_.bad_words[at + j] != 0) << j;
    }
    return bits;
  }

  // Loads n pixels of all frames, and adds the bits of those that are not finite to lost; returns whether any
  // is lost. Lanes without a frame repeat the last one.
  bool load(Wide& wide, const float* frames, std::int64_t pixel, int n, std::uint32_t used,
            std::uint32_t (&lost)[L]) const {
    std::uint32_t any = 0;
    for (int k = 0; k < L; ++k) {
      const float* source = frames + (first_ + std::min(k, frames_ - 1)) * plan_.n_pixels + pixel;
      if (n == kPixels) {
        wide.load(k, source);
      } else {
        float padded[kPixels] = {};
        std::copy_n(source, n, padded);
        wide.load(k, padded);
      }
      lost[k] |= wide.not_finite(k) & used;
      any |= lost[k];
    }
    return any != 0;
  }

  // A square of kPixels pixels (n of them there) and L frames.
  void square(std::int64_t pixel, std::int64_t own, int n) {
    const std::uint32_t used = used_pixels(own, n);
    if (used == 0) return;
    std::uint32_t lost[L] = {};
    if (c_.bad_bytes != nullptr || c_.bad_words != nullptr) {
      for (int k = 0; k < frames_; ++k) lost[k] = masked(first_ + k, pixel, n) & used;
    }
    alignas(64) float value[kPixels * L];
    alignas(64) float variance[Mode == BinMode::kVariance ? kPixels * L : 1];
    Wide wide;
    bool any = load(wide, c_.pixels, pixel, n, used, lost);
    if (Mode == BinMode::kVariance) {
      Wide other;
      any = load(other, c_.variance, pixel, n, used, lost);
      if (any) {
        for (int k = 0; k < L; ++k) other.replace(k, lost[k], 0.0f);
      }
      other.turn(variance);
    }
    // NaN lies within no limits and above no maximum.
    constexpr bool kNeedsNaN = Mode == BinMode::kResidual || Mode == BinMode::kMoments;
    constexpr float kReplaced = kNeedsNaN ? kNotThere : 0.0f;
    if (any) {
      for (int k = 0; k < L; ++k) wide.replace(k, lost[k], kReplaced);
    }
    wide.turn(value);
    if (used == kAll) {
      for (int j = 0; j < kPixels; ++j) add_pixel(own + j, value + j * L, variance_of(variance, j));
    } else {
      for (int j = 0; j < n; ++j) {
        if ((used >> j & 1u) != 0) add_pixel(own + j, value + j * L, variance_of(variance, j));
      }
    }
    if (any && Mode != BinMode::kResidual) lose_all(own, lost);  // there they are outside of the limits
  }

  static const float* variance_of(const float* variance, int j) {
    return Mode == BinMode::kVariance ? variance + j * L : nullptr;
  }

  // Adds a pixel of all frames to its bins.
  void add_pixel(std::int64_t own, const float* value, const float* variance) {
    if (!Split) {
      add_entry(own, own, plan_.local[own], 1.0, value, variance);
      return;
    }
    for (std::int32_t e = plan_.entry_start[own]; e < plan_.entry_start[own + 1]; ++e) {
      add_entry(own, e, plan_.entry_bin[e], plan_.coef[e], value, variance);
    }
  }

  void add_entry(std::int64_t own, std::int64_t entry, std::int32_t local, double coef, const float* value,
                 const float* variance) {
    if constexpr (Mode == BinMode::kResidual) {
      add_residual(own, entry, local, coef, value);
      return;
    }
    const std::size_t at = static_cast<std::size_t>(local) * L;
    double* signal = sums_.part_signal.data() + at;
    if constexpr (Mode == BinMode::kMoments) {
      float* most = sums_.maximum.data() + static_cast<std::size_t>(plan_.slot_bin[slot_ + local]) * L;
      cpu::add_moments<L>(signal, sums_.part_second.data() + at, most, value, coef);
      return;
    }
    if constexpr (Split) {
      cpu::add_lanes<L>(signal, value, coef);
    } else {
      cpu::add_lanes<L>(signal, value);
    }
    if constexpr (Mode == BinMode::kVariance) {
      cpu::add_lanes<L>(sums_.part_second.data() + at, variance, coef * coef);
    }
  }

  // The same around a centre; a value outside of the limits is lost too.
  void add_residual(std::int64_t own, std::int64_t entry, std::int32_t local, double coef,
                    const float* value) {
    const std::size_t at = static_cast<std::size_t>(local) * L;
    const double* limits =
        sums_.limits.data() + static_cast<std::size_t>(plan_.slot_bin[slot_ + local]) * 3 * L;
    alignas(64) long long inside[L];
    const bool all = cpu::add_residuals<L>(sums_.part_signal.data() + at, sums_.part_second.data() + at,
                                           value, limits, plan_.norm[own], plan_.dark[own], coef, inside);
    if (all) return;
    any_lost_ = true;
    lose(entry, local, inside);
  }

  // Takes the lost pixels of a square out of the static sums: pixel by pixel, for all frames at once, since a
  // bad pixel is often lost in many, and the sums of the frames lie side by side.
  void lose_all(std::int64_t own, const std::uint32_t (&lost)[L]) {
    any_lost_ = true;
    std::uint32_t any = 0;
    for (int k = 0; k < L; ++k) any |= lost[k];
    for (; any != 0; any &= any - 1) {
      const int j = __builtin_ctz(any);
      alignas(64) long long inside[L];
      for (int k = 0; k < L; ++k) inside[k] = static_cast<long long>(lost[k] >> j & 1u) - 1;
      const std::int64_t pixel = own + j;
      if (!Split) {
        lose(pixel, plan_.local[pixel], inside);
        continue;
      }
      for (std::int32_t e = plan_.entry_start[pixel]; e < plan_.entry_start[pixel + 1]; ++e) {
        lose(e, plan_.entry_bin[e], inside);
      }
    }
  }

  void lose(std::int64_t entry, std::int32_t local, const long long* inside) {
    const double* column = plan_.columns + entry * plan_.n_columns;
    double* sum = sums_.part_lost.data() + static_cast<std::size_t>(local) * plan_.n_columns * L;
    for (std::int32_t q = 0; q < plan_.n_columns; ++q) cpu::add_outside<L>(sum + q * L, column[q], inside);
  }

  const BinsCall& c_;
  const BinPlan& plan_;
  Sums<L>& sums_;
  std::int64_t first_;
  int frames_;
  std::int32_t slot_ = 0;
  bool any_lost_ = false;
};

// Frames from `first` on, in groups of L; returns how far it got: a last group that is less than half full is
// left to fewer lanes.
template <int L, BinMode Mode, bool Split>
std::int64_t run_groups(const BinsCall& call, std::int64_t first, int threads) {
  const std::int64_t left = call.n_frames - first;
  std::int64_t groups = left / L;
  if (left % L > L / 2) ++groups;
  cpu::parallel_for(
      groups, threads, [&] { return Sums<L>(call.plan, Mode); },
      [&](Sums<L>& sums, std::int64_t g) {
        const std::int64_t start = first + g * L;
        const int frames = static_cast<int>(std::min<std::int64_t>(L, call.n_frames - start));
        Group<L, Mode, Split>(call, sums, start, frames).run();
      });
  return std::min(call.n_frames, first + groups * L);
}

template <BinMode Mode, bool Split>
void run_mode(const BinsCall& call, int threads) {
  std::int64_t done = 0;
  // With few frames narrower groups give every thread one.
#if defined(__AVX512F__)
  if (call.n_frames > 8 * std::int64_t{threads}) done = run_groups<16, Mode, Split>(call, done, threads);
#endif
#if defined(__AVX2__)
  if (call.n_frames - done > 1) done = run_groups<8, Mode, Split>(call, done, threads);
#endif
  run_groups<1, Mode, Split>(call, done, threads);
}

template <BinMode Mode>
void run_split(const BinsCall& call, int threads) {
  if (call.plan.coef != nullptr) {
    run_mode<Mode, true>(call, threads);
  } else {
    run_mode<Mode, false>(call, threads);
  }
}

}  // namespace

std::int64_t bins_scratch_bytes(std::int64_t, const BinPlan&, BinMode) { return 0; }

void bin_sums(const BinsCall& call, const Where& where) {
  switch (call.mode) {
    case BinMode::kPlain:
      return run_split<BinMode::kPlain>(call, where.threads);
    case BinMode::kVariance:
      return run_split<BinMode::kVariance>(call, where.threads);
    case BinMode::kMoments:
      return run_split<BinMode::kMoments>(call, where.threads);
    case BinMode::kResidual:
      return run_split<BinMode::kResidual>(call, where.threads);
  }
}

}  // namespace shotsieve
