#include "peaks.cuh"

#include <cstdint>
#include <string>
#include <type_traits>

#include "launch.cuh"
#include "peaks_label.cuh"

namespace shotsieve {
namespace {

// Two bitmaps of a panel go into shared memory up to what every device gives without being asked. More would
// leave a multiprocessor with one warp or two; then the caches do better.
constexpr std::int64_t kMostSharedBytes = 48 * 1024;

std::int64_t bitmap_bytes(const PeakPlan& plan) { return std::int64_t{2} * 4 * plan.panel_words; }

std::int32_t words_of_bins(const PeakPlan& plan) { return (plan.n_bins + 31) / 32; }

// Lays the parts out one after the other, the widest elements first; returns how many bytes they take.
std::int64_t lay_out(std::uint8_t* base, std::int64_t n_shots, const PeakPlan& plan, std::int32_t slots,
                     device::PeakScratch& scratch) {
  const std::int64_t panels = n_shots * plan.n_panels;
  const auto begin = reinterpret_cast<std::uintptr_t>(base);  // 0 where only the size is asked for
  std::uintptr_t used = 0;
  const auto take = [&](auto*& part, std::int64_t n) {
    part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(begin + used);
    used += static_cast<std::uintptr_t>(n) * sizeof(*part);
  };
  take(scratch.slots, panels * slots);
  take(scratch.limits, n_shots * plan.n_bins);
  take(scratch.bitmaps, bitmap_bytes(plan) > kMostSharedBytes ? panels * 2 * plan.panel_words : 0);
  take(scratch.start, panels);
  take(scratch.stored, n_shots);
  take(scratch.candidates, n_shots * plan.words());
  take(scratch.needed, n_shots * words_of_bins(plan));
  return static_cast<std::int64_t>(used);
}

unsigned blocks_for(std::int64_t n, int of_block, const char* kernel) {
  const std::int64_t blocks = (n + of_block - 1) / of_block;
  if (blocks > 0x7FFFFFFF) {
    throw DeviceFault(std::string(kernel) + ": " + std::to_string(blocks) +
                      " blocks, and a launch takes at most 2147483647: give fewer shots in one call");
  }
  return static_cast<unsigned>(blocks);
}

void clear(void* place, int value, std::int64_t bytes, const char* name, cudaStream_t stream) {
  if (bytes == 0) return;
  const cudaError_t status = cudaMemsetAsync(place, value, static_cast<std::size_t>(bytes), stream);
  if (status != cudaSuccess) {
    cudaGetLastError();  // the next launch must not find it
    throw DeviceFault(std::string("find_peaks: clearing ") + name + ": " + cudaGetErrorString(status));
  }
}

void mark_candidates(const PeaksCall& c, std::uint32_t* candidates, cudaStream_t stream) {
  const std::int64_t groups = (c.plan.words() + 31) / 32;
  SS_LAUNCH(device::mark_candidates_kernel,
            blocks_for(c.n_shots * groups, device::kPeakWarps, "mark_candidates"), device::kPeakThreads, 0,
            stream, c, candidates);
  check_launch("mark_candidates");
}

void find_statistics(const PeaksCall& c, const device::PeakScratch& scratch, cudaStream_t stream) {
  const std::int32_t bin_words = words_of_bins(c.plan);
  clear(scratch.needed, c.all_bins ? 0xFF : 0, c.n_shots * bin_words * 4, "the needed bins", stream);
  if (!c.all_bins) {
    SS_LAUNCH(device::needed_bins_kernel, blocks_for(c.n_shots * c.plan.words(), 256, "needed_bins"), 256, 0,
              stream, c, bin_words, scratch.needed);
    check_launch("needed_bins");
  }
  SS_LAUNCH(device::bin_limits_kernel,
            blocks_for(c.n_shots * c.plan.n_bins, device::kPeakWarps, "bin_limits"), device::kPeakThreads, 0,
            stream, c, bin_words, scratch.needed, scratch.limits);
  check_launch("bin_limits");
}

void find_components(const PeaksCall& c, const device::PeakScratch& scratch, cudaStream_t stream) {
  const unsigned blocks = blocks_for(c.n_shots * c.plan.n_panels, 1, "find_components");
  const std::int64_t bytes = bitmap_bytes(c.plan);
  if (bytes <= kMostSharedBytes) {
    SS_LAUNCH(device::find_components_kernel<true>, blocks, 32, static_cast<std::size_t>(bytes), stream, c,
              scratch, words_of_bins(c.plan));
  } else {
    SS_LAUNCH(device::find_components_kernel<false>, blocks, 32, 0, stream, c, scratch,
              words_of_bins(c.plan));
  }
  check_launch("find_components");
}

}  // namespace

std::int64_t peaks_scratch_bytes(std::int64_t n_shots, const PeakPlan& plan, std::int32_t slots) {
  device::PeakScratch scratch{};
  return lay_out(nullptr, n_shots, plan, slots, scratch);
}

void find_peaks(const PeaksCall& call, const Where& where) {
  const cudaStream_t stream = stream_of(where);
  PeaksCall c = call;
  device::PeakScratch scratch{};
  lay_out(c.scratch, c.n_shots, c.plan, c.slots, scratch);
  clear(c.overflow, 0, sizeof(std::int32_t), "overflow", stream);
  clear(c.rejected, 0, c.n_shots * math::kFilters * 4, "rejected", stream);
  const std::int64_t panels = c.n_shots * c.plan.n_panels;
  if (panels > 0) {
    if (c.candidates == nullptr) {
      mark_candidates(c, scratch.candidates, stream);
      c.candidates = scratch.candidates;
    }
    find_statistics(c, scratch, stream);
    find_components(c, scratch, stream);
  }
  if (c.n_shots > 0) {
    SS_LAUNCH(device::panel_starts_kernel, blocks_for(c.n_shots, device::kPeakWarps, "panel_starts"),
              device::kPeakThreads, 0, stream, c, scratch.start, scratch.stored);
    check_launch("panel_starts");
  }
  SS_LAUNCH(device::shot_starts_kernel, 1, 32, 0, stream, scratch.stored, c.n_shots, c.first);
  check_launch("shot_starts");
  if (panels > 0) {
    SS_LAUNCH(device::copy_peaks_kernel, blocks_for(panels, device::kPeakWarps, "copy_peaks"),
              device::kPeakThreads, 0, stream, c, scratch);
    check_launch("copy_peaks");
  }
}

}  // namespace shotsieve
