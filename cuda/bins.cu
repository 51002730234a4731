#include "bins.cuh"

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#include "launch.cuh"

namespace shotsieve {
namespace {

constexpr std::int64_t kMostBlocks = 65535;  // along the second axis of a grid

// Sums of a part go into shared memory up to this: with more, too few blocks would share a multiprocessor.
constexpr std::int64_t kMostSums = 64 * 1024;

template <BinMode Mode>
bool sums_fit(const BinPlan& plan) {
  return device::kSlotBytes<Mode> * plan.most_slots <= kMostSums;
}

// Lays the parts out one after the other, the widest elements first; returns how many bytes they take.
std::int64_t lay_out(std::uint8_t* base, std::int64_t n_frames, const BinPlan& plan, BinMode mode,
                     device::BinScratch& scratch) {
  const std::int64_t groups = (n_frames + device::kBinLanes - 1) / device::kBinLanes;
  scratch.padded = groups * device::kBinLanes;
  const std::int64_t cells = scratch.padded * plan.n_slots;
  const auto begin = reinterpret_cast<std::uintptr_t>(base);  // 0 where only the size is asked for
  std::uintptr_t used = 0;
  const auto take = [&](auto*& part, std::int64_t n) {
    part = n == 0 ? nullptr : reinterpret_cast<std::remove_reference_t<decltype(part)>>(begin + used);
    used += static_cast<std::uintptr_t>(n) * sizeof(*part);
  };
  take(scratch.signal, cells);
  take(scratch.second, mode == BinMode::kPlain ? 0 : cells);
  take(scratch.lost, cells * plan.n_columns);
  take(scratch.maximum, mode == BinMode::kMoments ? cells : 0);
  take(scratch.any_lost, cells);
  return static_cast<std::int64_t>(used);
}

template <BinMode Mode, bool Split>
void sum_parts(const BinsCall& c, const device::BinScratch& scratch, unsigned groups, cudaStream_t stream) {
  // One part after the other: blocks of the same part share what they read of the plan.
  const std::int64_t blocks = std::int64_t{groups} * c.plan.n_parts;
  if (blocks > 0x7FFFFFFF) {
    throw DeviceFault("part_sums: " + std::to_string(blocks) +
                      " blocks, and a launch takes at most 2147483647: give fewer frames in one call");
  }
  const auto grid = static_cast<unsigned>(blocks);
  if (sums_fit<Mode>(c.plan)) {
    const auto bytes = static_cast<std::size_t>(device::kSlotBytes<Mode> * c.plan.most_slots);
    // Beside what the kernel has of its own it may be more than a device gives without being asked.
    const cudaError_t status = cudaFuncSetAttribute(device::part_sums_kernel<Mode, true, Split>,
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, kMostSums);
    if (status != cudaSuccess) {
      cudaGetLastError();  // the next launch must not find it
      throw DeviceFault(std::string("part_sums: no 64 KB of shared memory: ") + cudaGetErrorString(status));
    }
    SS_LAUNCH((device::part_sums_kernel<Mode, true, Split>), grid, device::kBinThreads, bytes, stream, c,
              scratch, groups);
  } else {
    SS_LAUNCH((device::part_sums_kernel<Mode, false, Split>), grid, device::kBinThreads, 0, stream, c,
              scratch, groups);
  }
  check_launch("part_sums");
}

template <BinMode Mode>
void run_mode(const BinsCall& c, const device::BinScratch& scratch, cudaStream_t stream) {
  const auto groups = static_cast<unsigned>(scratch.padded / device::kBinLanes);
  const std::int64_t cells = scratch.padded * c.plan.n_slots;
  const auto clearing = static_cast<unsigned>(std::min<std::int64_t>((cells + 255) / 256, 4096));
  const std::int64_t rows = (std::int64_t{c.plan.n_bins} + kBinWarps - 1) / kBinWarps;
  const auto bins = static_cast<unsigned>(std::min(rows, kMostBlocks));
  if (cells > 0) {
    SS_LAUNCH(device::clear_slots_kernel, clearing, 256, 0, stream, scratch,
              sums_fit<Mode>(c.plan) ? 0 : cells, cells);
    check_launch("clear_slots");
    if (c.plan.coef != nullptr) {
      sum_parts<Mode, true>(c, scratch, groups, stream);
    } else {
      sum_parts<Mode, false>(c, scratch, groups, stream);
    }
  }
  SS_LAUNCH((device::add_parts_kernel<Mode>), dim3(groups, bins), device::kBinThreads, 0, stream, c, scratch);
  check_launch("add_parts");
}

}  // namespace

std::int64_t bins_scratch_bytes(std::int64_t n_frames, const BinPlan& plan, BinMode mode) {
  device::BinScratch scratch{};
  return lay_out(nullptr, n_frames, plan, mode, scratch);
}

void bin_sums(const BinsCall& call, const Where& where) {
  device::BinScratch scratch{};
  lay_out(call.scratch, call.n_frames, call.plan, call.mode, scratch);
  const cudaStream_t stream = stream_of(where);
  switch (call.mode) {
    case BinMode::kPlain:
      return run_mode<BinMode::kPlain>(call, scratch, stream);
    case BinMode::kVariance:
      return run_mode<BinMode::kVariance>(call, scratch, stream);
    case BinMode::kMoments:
      return run_mode<BinMode::kMoments>(call, scratch, stream);
    case BinMode::kResidual:
      return run_mode<BinMode::kResidual>(call, scratch, stream);
  }
}

}  // namespace shotsieve
