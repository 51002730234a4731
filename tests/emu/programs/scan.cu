// Running sums along rows: shuffles inside a warp, shared memory between warps, a carry between chunks. The
// tests take single lines out of this file or change a bound; each such change must be noticed.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/portable.cuh"

namespace {

constexpr int kThreads = 64;
constexpr int kWarps = kThreads / 32;

__global__ void __launch_bounds__(kThreads)
    scan_rows(const int* __restrict__ in, int* __restrict__ out, int n) {
  SS_SHARED(int, warp_total, kWarps);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int* from = in + static_cast<int>(blockIdx.x) * n;
  int* to = out + static_cast<int>(blockIdx.x) * n;
  int carry = 0;
  for (int first = 0; first < n; first += kThreads) {
    const int i = first + static_cast<int>(threadIdx.x);
    int sum = i < n ? from[i] : 0;
    for (int step = 1; step < 32; step *= 2) {
      const int below = __shfl_up_sync(0xFFFFFFFFu, sum, step);
      sum += lane >= step ? below : 0;
    }
    if (lane == 31) warp_total[warp] = sum;
    __syncthreads();  // every total is there
    int before = carry;
    for (int w = 0; w < kWarps; ++w) {
      before += w < warp ? warp_total[w] : 0;
      carry += warp_total[w];
    }
    if (i < n) to[i] = before + sum;
    __syncthreads();  // nobody reads the totals any more
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rows = argc > 1 ? std::atoi(argv[1]) : 24;
  const int n = 4 * kThreads - 4;  // the last chunk is not full; rows end where the fence begins
  std::vector<int> in(static_cast<std::size_t>(rows * n)), out(in.size());
  for (std::size_t k = 0; k < in.size(); ++k) in[k] = static_cast<int>(k * 2654435761u >> 24);
  int* device_in = nullptr;
  int* device_out = nullptr;
  cudaMalloc(&device_in, in.size() * sizeof(int));
  cudaMalloc(&device_out, in.size() * sizeof(int));
  cudaMemcpy(device_in, in.data(), in.size() * sizeof(int), cudaMemcpyHostToDevice);
  SS_LAUNCH(scan_rows, rows, kThreads, 0, nullptr, device_in, device_out, n);
  if (cudaGetLastError() != cudaSuccess) return 3;
  cudaMemcpy(out.data(), device_out, in.size() * sizeof(int), cudaMemcpyDeviceToHost);
  cudaFree(device_in);
  cudaFree(device_out);
  int wrong = 0;
  for (int r = 0; r < rows; ++r) {
    int sum = 0;
    for (int i = 0; i < n; ++i) {
      const auto k = static_cast<std::size_t>(r * n + i);
      sum += in[k];
      wrong += out[k] != sum;
    }
  }
  std::printf(wrong == 0 ? "right\n" : "wrong: %d sums\n", wrong);
  return wrong == 0 ? 0 : 1;
}
