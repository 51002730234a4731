// The kernels of sums over bins on random input, against loops that are too simple to be wrong. Arguments:
// how often, and "small" for ThreadSanitizer, where every CUDA thread is an OS thread.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "cuda/bins.cu"
#include "harness.cuh"

namespace {

using shotsieve::BinMode;
using shotsieve::BinsCall;
using shotsieve::kBinChunk;
using shotsieve::kBinWarps;
using shotsieve::PartRect;
namespace math = shotsieve::math;

double uniform() { return static_cast<double>(generator()) / 4294967296.0; }

// A slab of two parts side by side; every pixel has one entry at most, or with splitting up to three.
struct Plan {
  int rows, columns, n_bins, n_columns = 2;
  bool split;
  std::vector<PartRect> parts;
  std::vector<std::int32_t> part_start{0}, slot_start{0}, slot_bin, bin_start{0}, bin_slot, chunk_start{0},
      run_start{0};
  std::vector<std::uint8_t> run_pixel;
  std::vector<std::uint16_t> run_bin;
  std::vector<std::int32_t> run_entry;
  std::vector<double> columns_of, coef, norm, dark;
  struct Entry {
    int part, own, bin, local, number;
  };
  std::vector<Entry> entries;

  Plan(int rows_, int columns_, int n_bins_, bool split_)
      : rows(rows_), columns(columns_), n_bins(n_bins_), split(split_) {
    const int cut = between(1, columns - 1);
    parts = {{0, rows, 0, cut}, {0, rows, cut, columns}};
    int number = 0;
    for (int p = 0; p < 2; ++p) {
      const int area = parts[p].height() * parts[p].width();
      for (int i = 0; i < area; ++i) {
        norm.push_back(0.5 + uniform());
        dark.push_back(uniform());
        const int own = part_start[p] + i;
        if (!split) number = own;
        int bin = between(-1, 3);
        for (int k = 0; k < (split ? 3 : 1) && bin < n_bins; ++k, bin += between(1, 4)) {
          if (bin >= 0) entries.push_back({p, own, bin, 0, split ? number++ : own});
        }
      }
      part_start.push_back(part_start[p] + area);
    }
    const int n_entries = split ? number : part_start[2];
    for (int i = 0; i < n_entries * n_columns; ++i) columns_of.push_back(between(0, 9));
    for (int i = 0; i < n_entries; ++i) coef.push_back(split ? uniform() : 1.0);
    make_slots();
    make_runs();
  }

  void make_slots() {
    for (int p = 0; p < 2; ++p) {
      for (int bin = 0; bin < n_bins; ++bin) {
        bool met = false;
        for (Entry& e : entries) {
          if (e.part != p || e.bin != bin) continue;
          met = true;
          e.local = static_cast<int>(slot_bin.size()) - slot_start[p];
        }
        if (met) slot_bin.push_back(bin);
      }
      slot_start.push_back(static_cast<std::int32_t>(slot_bin.size()));
    }
    for (int bin = 0; bin < n_bins; ++bin) {
      for (std::size_t s = 0; s < slot_bin.size(); ++s) {
        if (slot_bin[s] == bin) bin_slot.push_back(static_cast<std::int32_t>(s));
      }
      bin_start.push_back(static_cast<std::int32_t>(bin_slot.size()));
    }
  }

  // A warp gets every eighth local bin, but not those of which it writes the sums in the end.
  void make_runs() {
    for (int p = 0; p < 2; ++p) {
      const int area = part_start[p + 1] - part_start[p];
      for (int first = 0; first < area; first += kBinChunk) {
        for (int w = 0; w < kBinWarps; ++w) {
          for (int local = (w + 3) % kBinWarps; local < slot_start[p + 1] - slot_start[p];
               local += kBinWarps) {
            for (const Entry& e : entries) {
              const int within = e.own - part_start[p] - first;
              if (e.part != p || e.local != local || within < 0 || within >= kBinChunk) continue;
              run_pixel.push_back(static_cast<std::uint8_t>(within));
              run_bin.push_back(static_cast<std::uint16_t>(local));
              run_entry.push_back(e.number);
            }
          }
          run_start.push_back(static_cast<std::int32_t>(run_pixel.size()));
        }
      }
      chunk_start.push_back(static_cast<std::int32_t>((run_start.size() - 1) / kBinWarps));
    }
  }

  // Sums of a part lie in shared memory where its slots are few, which 1000 are not.
  shotsieve::BinPlan on_device(bool shared) const {
    shotsieve::BinPlan plan{};
    plan.most_slots = shared ? std::max(slot_start[1], slot_start[2] - slot_start[1]) : 1000;
    plan.parts = to_device(parts);
    plan.part_start = to_device(part_start);
    plan.coef = split ? to_device(coef) : nullptr;
    plan.slot_start = to_device(slot_start);
    plan.slot_bin = to_device(slot_bin);
    plan.bin_start = to_device(bin_start);
    plan.bin_slot = to_device(bin_slot);
    plan.chunk_start = to_device(chunk_start);
    plan.run_start = to_device(run_start);
    plan.run_pixel = to_device(run_pixel);
    plan.run_bin = to_device(run_bin);
    plan.run_entry = to_device(run_entry);
    plan.columns = to_device(columns_of);
    plan.norm = to_device(norm);
    plan.dark = to_device(dark);
    plan.n_pixels = std::int64_t{rows} * columns;
    plan.n_entries = static_cast<std::int64_t>(coef.size());
    plan.n_parts = 2;
    plan.n_bins = n_bins;
    plan.n_slots = static_cast<std::int32_t>(slot_bin.size());
    plan.n_columns = n_columns;
    plan.row_pixels = columns;
    return plan;
  }
};

void one_case(BinMode mode, bool split, bool shared, bool small) {
  // Also a small one has a part of several chunks.
  const Plan plan(small ? between(6, 8) : between(2, 16), small ? between(50, 60) : between(20, 60),
                  between(4, 14), split);
  const int frames = small ? 2 : between(1, 40);
  const std::size_t n_pixels = static_cast<std::size_t>(plan.rows) * plan.columns;
  const std::size_t sums = static_cast<std::size_t>(frames) * plan.n_bins;
  std::vector<float> pixels(frames * n_pixels), variance(frames * n_pixels);
  std::vector<std::uint8_t> bad(frames * n_pixels);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<float>(uniform() * 8 - 2);
    if (between(0, 30) == 0) pixels[i] = std::numeric_limits<float>::quiet_NaN();
    if (between(0, 60) == 0) pixels[i] = std::numeric_limits<float>::infinity();
    variance[i] =
        between(0, 40) == 0 ? std::numeric_limits<float>::infinity() : static_cast<float>(uniform());
    bad[i] = between(0, 20) == 0 ? 255 : 0;
  }
  std::vector<double> limits(3 * sums);
  for (std::size_t i = 0; i < sums; ++i) {
    limits[i] = -uniform() * 3;
    limits[sums + i] = uniform() * 9;
    limits[2 * sums + i] = uniform() * 4;
  }

  std::vector<double> signal(sums), second(sums), lost(plan.n_columns * sums);
  std::vector<float> maximum(sums, -std::numeric_limits<float>::infinity());
  for (int f = 0; f < frames; ++f) {
    for (int p = 0; p < 2; ++p) {
      std::vector<double> part_signal(plan.n_bins), part_second(plan.n_bins);
      for (const Plan::Entry& e : plan.entries) {
        if (e.part != p) continue;
        const PartRect& rect = plan.parts[p];
        const int i = e.own - plan.part_start[p];
        const std::size_t at = f * n_pixels + (rect.ss_start + i / rect.width()) * std::size_t(plan.columns) +
                               rect.fs_start + i % rect.width();
        const std::size_t to = std::size_t(f) * plan.n_bins + e.bin;
        const double c = plan.coef[e.number];
        const double v = pixels[at];
        bool counts = std::isfinite(pixels[at]) && bad[at] == 0;
        if (mode == BinMode::kVariance) counts = counts && std::isfinite(variance[at]);
        const double bare = v - plan.dark[e.own];
        const double w = plan.norm[e.own];
        if (mode == BinMode::kResidual)
          counts = counts && bare >= limits[to] * w && bare <= limits[sums + to] * w;
        if (!counts) {
          for (int q = 0; q < plan.n_columns; ++q)
            lost[q * sums + to] += plan.columns_of[e.number * plan.n_columns + q];
          continue;
        }
        part_signal[e.bin] += v * c;
        if (mode == BinMode::kVariance) part_second[e.bin] += static_cast<double>(variance[at]) * (c * c);
        if (mode == BinMode::kMoments) part_second[e.bin] += (v * c) * (v * c);
        if (mode == BinMode::kResidual) {
          const double d = (bare - limits[2 * sums + to] * w) * c;
          part_second[e.bin] += d * d;
        }
        maximum[to] = std::max(maximum[to], pixels[at]);
      }
      for (int b = 0; b < plan.n_bins; ++b) {
        signal[std::size_t(f) * plan.n_bins + b] += part_signal[b];
        second[std::size_t(f) * plan.n_bins + b] += part_second[b];
      }
    }
  }

  BinsCall call{};
  call.plan = plan.on_device(shared);
  call.mode = mode;
  call.n_frames = frames;
  call.pixels = to_device(pixels);
  call.variance = to_device(variance);
  call.bad_bytes = to_device(bad);
  call.limits = to_device(limits);
  call.signal = device_only<double>(sums);
  call.second = device_only<double>(sums);
  call.lost = device_only<double>(plan.n_columns * sums);
  call.maximum = device_only<float>(sums);
  call.scratch = device_only<std::uint8_t>(
      static_cast<std::size_t>(shotsieve::bins_scratch_bytes(frames, call.plan, mode)));
  cudaStream_t stream = nullptr;
  cudaStreamCreate(&stream);
  shotsieve::bin_sums(call, {stream, 1});
  cudaStreamSynchronize(stream);
  expect_same(to_host(call.signal, signal.size()), signal);
  expect_same(to_host(call.lost, lost.size()), lost);
  if (mode != BinMode::kPlain) expect_same(to_host(call.second, second.size()), second);
  if (mode == BinMode::kMoments) expect_same(to_host(call.maximum, maximum.size()), maximum);
  cudaStreamDestroy(stream);
  release_all();
}

}  // namespace

int main(int argc, char** argv) {
  generator.seed(20261127);
  const int cases = argc > 1 ? std::atoi(argv[1]) : 1;
  const bool small = argc > 2 && std::strcmp(argv[2], "small") == 0;
  for (int i = 0; i < cases; ++i) {
    for (const BinMode mode : {BinMode::kPlain, BinMode::kVariance, BinMode::kMoments, BinMode::kResidual}) {
      for (const bool split : {false, true}) {
        for (const bool shared : {false, true}) one_case(mode, split, shared, small);
      }
    }
  }
  return verdict();
}
