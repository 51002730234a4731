#include "stats.cuh"

#include <algorithm>

#include "launch.cuh"

namespace shotsieve {

void frame_stats(const StatsCall& call, const Where& where) {
  if (call.n_frames == 0 || call.n_pixels == 0) return;
  const std::int64_t blocks = (call.n_pixels + device::kStatsThreads - 1) / device::kStatsThreads;
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(blocks, 65535));
  SS_LAUNCH(device::frame_stats_kernel, grid, device::kStatsThreads, 0, stream_of(where), call);
  check_launch("frame_stats");
}

}  // namespace shotsieve
