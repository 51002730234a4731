#include "darks.cuh"

#include <algorithm>

#include "launch.cuh"

namespace shotsieve {

void dark_sums(const DarkCall& call, const Where& where) {
  if (call.n_listed == 0 || call.n_frames == 0 || call.n_pixels == 0) return;
  const std::int64_t blocks = (call.n_pixels + device::kDarkThreads - 1) / device::kDarkThreads;
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(blocks, 65535));
  SS_LAUNCH(device::dark_sums_kernel, grid, device::kDarkThreads, 0, stream_of(where), call);
  check_launch("dark_sums");
}

}  // namespace shotsieve
