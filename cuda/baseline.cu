#include "baseline.cuh"

#include "launch.cuh"

namespace shotsieve {

void baseline(const BaselineCall& call, const Where& where) {
  if (call.n_groups == 0 || call.n_listed == 0) return;
  static_assert(math::kCoarseBins <= device::kBaselineThreads && math::kFineBins <= device::kBaselineThreads,
                "a thread makes a bin");
  const auto together = static_cast<unsigned>(
      call.n_listed < device::kBaselineFrames ? call.n_listed : device::kBaselineFrames);
  const dim3 blocks(static_cast<unsigned>(call.n_groups), together);
  const BaselineCall c = call;
  const auto kernel =
      c.words.packed != nullptr ? device::baseline_kernel<true> : device::baseline_kernel<false>;
  SS_LAUNCH(kernel, blocks, device::kBaselineThreads, 0, stream_of(where), c);
  check_launch("baseline");
}

}  // namespace shotsieve
