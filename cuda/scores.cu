#include "scores.cuh"

#include "launch.cuh"

namespace shotsieve {

void score_sums(const ScoresCall& call, const Where& where) {
  const std::int64_t images = call.n_frames * call.n_modules;
  if (images == 0 || call.n_pixels == 0) return;
  const cudaStream_t stream = stream_of(where);
  const std::int64_t sums = images * (1 + call.n_rings + call.n_maps);
  SS_LAUNCH(device::clear_scores_kernel, static_cast<unsigned>((sums + 255) / 256), 256, 0, stream, call.sums,
            sums);
  check_launch("clear_scores");

  const std::int64_t tiles = (call.n_pixels + device::kScoreTile - 1) / device::kScoreTile;
  SS_LAUNCH(device::score_sums_kernel, static_cast<unsigned>(tiles * images), device::kScoreThreads, 0,
            stream, call);
  check_launch("score_sums");
}

}  // namespace shotsieve
