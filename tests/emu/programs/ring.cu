// A ring of two slots and three streams: upload, kernel, download. Every wait in it is needed, the host's and
// the streams'; the tests take each out in turn.
#include <cstdio>
#include <vector>

#include "cuda/portable.cuh"

namespace {

constexpr int kValues = 256;
constexpr int kSlots = 2;
constexpr int kBlocks = 96;
constexpr std::size_t kBytes = kValues * sizeof(float);

__global__ void twice(const float* __restrict__ in, float* __restrict__ out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = 2.0f * in[i];
}

struct Slot {
  float *host_in, *host_out, *device_in, *device_out;
  cudaEvent_t uploaded, computed, downloaded;
};

float value(int block, int i) { return static_cast<float>(block * 1000 + i); }

}  // namespace

int main(int, char**) {
  cudaStream_t up, compute, down;
  for (cudaStream_t* s : {&up, &compute, &down}) cudaStreamCreateWithFlags(s, cudaStreamNonBlocking);
  Slot slots[kSlots];
  for (Slot& s : slots) {
    cudaHostAlloc(&s.host_in, kBytes, cudaHostAllocDefault);
    cudaHostAlloc(&s.host_out, kBytes, cudaHostAllocDefault);
    cudaMalloc(&s.device_in, kBytes);
    cudaMalloc(&s.device_out, kBytes);
    for (cudaEvent_t* e : {&s.uploaded, &s.computed, &s.downloaded}) {
      cudaEventCreateWithFlags(e, cudaEventDisableTiming);
    }
  }
  std::vector<float> results;
  const auto collect = [&](const Slot& s) {
    cudaEventSynchronize(s.downloaded);
    results.insert(results.end(), s.host_out, s.host_out + kValues);
  };
  for (int block = 0; block < kBlocks; ++block) {
    const Slot& s = slots[block % kSlots];
    cudaEventSynchronize(s.uploaded);  // the last block of this slot has left host_in
    for (int i = 0; i < kValues; ++i) s.host_in[i] = value(block, i);
    cudaStreamWaitEvent(up, s.computed);  // ... and device_in
    cudaMemcpyAsync(s.device_in, s.host_in, kBytes, cudaMemcpyHostToDevice, up);
    cudaEventRecord(s.uploaded, up);
    cudaStreamWaitEvent(compute, s.uploaded);
    cudaStreamWaitEvent(compute, s.downloaded);  // ... and device_out
    SS_LAUNCH(twice, kValues / 128, 128, 0, compute, s.device_in, s.device_out, kValues);
    cudaEventRecord(s.computed, compute);
    if (block >= kSlots) collect(s);  // ... and host_out
    cudaStreamWaitEvent(down, s.computed);
    cudaMemcpyAsync(s.host_out, s.device_out, kBytes, cudaMemcpyDeviceToHost, down);
    cudaEventRecord(s.downloaded, down);
  }
  for (int block = kBlocks; block < kBlocks + kSlots; ++block) collect(slots[block % kSlots]);
  int wrong = 0;
  for (int block = 0; block < kBlocks; ++block) {
    for (int i = 0; i < kValues; ++i) {
      wrong += results[static_cast<std::size_t>(block * kValues + i)] != 2.0f * value(block, i);
    }
  }
  std::printf(wrong == 0 ? "right\n" : "wrong: %d values\n", wrong);
  return wrong == 0 ? 0 : 1;
}
