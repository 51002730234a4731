#include "common_mode.cuh"

#include "launch.cuh"

namespace shotsieve {

void common_mode(const CommonModeCall& call, const Where& where) {
  if (call.n_groups == 0 || call.n_listed == 0) return;
  const auto blocks = static_cast<unsigned>(call.n_groups * call.shifts.n_tiles);
  const CommonModeCall c = call;
  const auto kernel =
      c.rules.packed != nullptr ? device::common_mode_kernel<true> : device::common_mode_kernel<false>;
  SS_LAUNCH(kernel, blocks, device::kModeThreads, 0, stream_of(where), c);
  check_launch("common_mode");
}

void cell_common_mode(const CellModeCall& call, const Where& where) {
  if (call.n_units == 0) return;
  constexpr int kBlockPixels = device::kModeThreads * device::kPixelsPerThread;
  const std::int64_t parts = (call.rules.n_pixels + kBlockPixels - 1) / kBlockPixels;
  const auto blocks = static_cast<unsigned>(call.n_units * parts);
  const CellModeCall c = call;
  const auto kernel = c.rules.packed != nullptr ? device::cell_common_mode_kernel<true>
                                                : device::cell_common_mode_kernel<false>;
  SS_LAUNCH(kernel, blocks, device::kModeThreads, 0, stream_of(where), c);
  check_launch("cell_common_mode");
}

}  // namespace shotsieve
