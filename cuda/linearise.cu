#include "linearise.cuh"

#include "launch.cuh"

namespace shotsieve {

void linearise(const LineariseCall& call, const Where& where) {
  constexpr std::int64_t kMostRows = 65535;  // of a grid
  for (std::int64_t first = 0; first < call.n_groups; first += kMostRows) {
    LineariseCall part = call;
    part.groups += first;
    part.n_groups = call.n_groups - first < kMostRows ? call.n_groups - first : kMostRows;
    const std::int64_t across = (call.n_pixels + device::kLineariseThreads - 1) / device::kLineariseThreads;
    const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(part.n_groups));
    SS_LAUNCH(device::linearise_kernel, grid, device::kLineariseThreads, 0, stream_of(where), part);
    check_launch("linearise");
  }
}

}  // namespace shotsieve
