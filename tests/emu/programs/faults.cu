// One wrong kernel or host call per case, chosen by name; the emulator must end the process, or show the
// poison.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/portable.cuh"

namespace {

constexpr int kThreads = 64;
constexpr unsigned kAll = 0xFFFFFFFFu;

__device__ int thread() { return static_cast<int>(threadIdx.x); }

__global__ void diverge(int* out) {
  if (thread() < 40) {
    __syncthreads();
  } else {
    out[0] = 1;
    __syncthreads();
  }
}
__global__ void leave_early(int* out) {
  if (thread() == 3) return;
  __syncthreads();
  out[0] = 1;
}
__global__ void outside_mask(int* out) { out[thread()] = __shfl_sync(0x7FFFFFFFu, thread(), 0); }
__global__ void deadlock(int* out) {
  if (thread() % 32 < 16) {
    out[thread()] = static_cast<int>(__ballot_sync(kAll, 1));  // waits for the other half of the warp
  } else {
    __syncthreads();
  }
}
__global__ void different_operations(int* out) {
  if (thread() % 2 == 0) {
    out[thread()] = __shfl_sync(kAll, 1, 0);
  } else {
    out[thread()] = static_cast<int>(__ballot_sync(kAll, 1));
  }
}
__global__ void shared_overrun(int* out, int at) {
  SS_SHARED(int, first, 8);
  SS_SHARED(int, second, 8);
  second[thread() % 8] = 2;
  int* p = first;
  if (thread() == 0) p[at] = 1;
  __syncthreads();
  out[0] = second[0];
}
__global__ void dynamic_overrun(int* out, int at) {
  SS_DYN_SHARED(int, values);
  if (thread() == 0) values[at] = 1;
  out[0] = 0;
}
__global__ void read_at(const int* in, int* out, long long at) { out[0] = in[at]; }
__global__ void read_byte_at(const unsigned char* in, int* out, long long at) { out[0] = in[at]; }
__global__ void write_byte_at(unsigned char* out, long long at) { out[at] = 1; }
__global__ void read_shared(int* out) {
  SS_SHARED(int, values, kThreads);
  out[thread()] = values[thread()];
}
__global__ void fill(int* out, int value) { out[thread()] = value; }

template <class T>
T* device(std::size_t n) {
  T* p = nullptr;
  cudaMalloc(&p, n * sizeof(T));
  return p;
}

int all_equal(const int* device_values, unsigned pattern) {
  int host[kThreads];
  cudaMemcpy(host, device_values, sizeof host, cudaMemcpyDeviceToHost);
  for (int v : host) {
    if (static_cast<unsigned>(v) != pattern) return 1;
  }
  std::puts("poison seen");
  return 0;
}

int run(const std::string& name) {
  int* out = device<int>(kThreads);
  unsigned char* bytes = device<unsigned char>(100);
  const auto launch = [&](auto kernel, auto... arguments) {
    SS_LAUNCH(kernel, 3, kThreads, 0, nullptr, arguments...);
  };
  const auto write_byte = [&](long long at) { launch(write_byte_at, bytes, at); };
  if (name == "diverge") launch(diverge, out);
  if (name == "leave_early") launch(leave_early, out);
  if (name == "outside_mask") launch(outside_mask, out);
  if (name == "deadlock") launch(deadlock, out);
  if (name == "different_operations") launch(different_operations, out);
  if (name == "shared_overrun") launch(shared_overrun, out, 8);
  if (name == "shared_underrun") launch(shared_overrun, out, -1);
  if (name == "dynamic_overrun") SS_LAUNCH(dynamic_overrun, 1, kThreads, 16 * sizeof(int), nullptr, out, 16);
  if (name == "dynamic_not_asked_for") launch(dynamic_overrun, out, 0);
  if (name == "read_beyond") launch(read_at, static_cast<const int*>(out), out, kThreads + 0LL);
  if (name == "read_far_before") launch(read_at, static_cast<const int*>(out), out, -2048LL);
  if (name == "read_in_slack") launch(read_byte_at, static_cast<const unsigned char*>(bytes), out, 100LL);
  if (name == "write_beyond") write_byte(112);
  if (name == "write_in_slack") write_byte(100);
  if (name == "write_before") write_byte(-1);
  if (name == "use_after_free") {
    cudaFree(out);
    launch(fill, out, 1);
  }
  if (name == "double_free") {
    cudaFree(out);
    cudaFree(out);
  }
  if (name == "free_of_the_middle") cudaFree(out + 4);
  if (name == "long_copy") {
    std::vector<char> host(101);
    cudaMemcpy(bytes, host.data(), 101, cudaMemcpyHostToDevice);
  }
  if (name == "wrong_direction") cudaMemcpy(out, bytes, 16, cudaMemcpyDeviceToHost);
  if (name == "destroyed_stream") {
    cudaStream_t stream;
    cudaStreamCreate(&stream);
    cudaStreamDestroy(stream);
    SS_LAUNCH(fill, 1, kThreads, 0, stream, out, 1);
  }
  if (name == "destroyed_event") {
    cudaEvent_t event;
    cudaEventCreate(&event);
    cudaEventDestroy(event);
    cudaEventSynchronize(event);
  }
  if (name == "device_poison") return all_equal(out, 0xCDCDCDCDu);
  if (name == "shared_poison") {
    launch(read_shared, out);
    return all_equal(out, 0xFBFBFBFBu);
  }
  if (name == "pinned_poison") {
    int* host = nullptr;
    cudaHostAlloc(&host, sizeof(int) * kThreads, cudaHostAllocDefault);
    cudaMemcpy(out, host, sizeof(int) * kThreads, cudaMemcpyHostToDevice);
    return all_equal(out, 0xCBCBCBCBu);
  }
  if (name == "bad_launches") {
    SS_LAUNCH(fill, 0, kThreads, 0, nullptr, out, 1);
    if (cudaGetLastError() != cudaErrorInvalidConfiguration) return 1;
    SS_LAUNCH(fill, 1LL << 32, kThreads, 0, nullptr, out, 1);
    if (cudaGetLastError() != cudaErrorInvalidConfiguration) return 1;
    SS_LAUNCH(fill, 1, 2048, 0, nullptr, out, 1);
    if (cudaGetLastError() != cudaErrorInvalidConfiguration) return 1;
    SS_LAUNCH(fill, 1, kThreads, 64 * 1024, nullptr, out, 1);
    if (cudaGetLastError() != cudaErrorInvalidValue) return 1;
    return all_equal(out, 0xCDCDCDCDu);  // none of them ran
  }
  cudaDeviceSynchronize();
  return 0;
}

}  // namespace

int main(int, char** argv) {
  const int status = run(argv[1]);
  std::printf("end of %s\n", argv[1]);
  return status;
}
