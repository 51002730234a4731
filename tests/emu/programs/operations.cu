// What CUDA says about warp operations, atomics, conversions, launches and streams, checked value by value.
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/portable.cuh"

namespace {

constexpr unsigned kAll = 0xFFFFFFFFu;
int failures = 0;

#define EXPECT(condition)                                          \
  do {                                                             \
    if (!(condition)) {                                            \
      std::printf("line %d: %s is false\n", __LINE__, #condition); \
      ++failures;                                                  \
    }                                                              \
  } while (false)

struct WarpResults {
  int shuffle[64], wrapped[64], up[64], down[64], exclusive[64], part[64];
  double wide[64];
  unsigned ballot[64], sum[64];
  int any[64], all[64], negative_sum[64], most[64];
  int half[64];
};

__global__ void warp_operations(WarpResults* r) {
  const int t = static_cast<int>(threadIdx.x);
  const int lane = t % 32;
  r->shuffle[t] = __shfl_sync(kAll, 10 * t, 5);
  r->wrapped[t] = __shfl_sync(kAll, t, 9, 8);
  r->up[t] = __shfl_up_sync(kAll, t, 3, 8);
  r->down[t] = __shfl_down_sync(kAll, t, 3);
  r->exclusive[t] = __shfl_xor_sync(kAll, t, 1);
  r->wide[t] = __shfl_xor_sync(kAll, t + 0.5, 31);
  r->ballot[t] = __ballot_sync(kAll, lane % 3 == 0);
  r->any[t] = __any_sync(kAll, t == 40);
  r->all[t] = __all_sync(kAll, t < 40);
  r->sum[t] = __reduce_add_sync(kAll, 0x80000001u);
  r->negative_sum[t] = __reduce_add_sync(kAll, -t);
  r->most[t] = __reduce_max_sync(kAll, -t);
  // Halves of a warp may go separate ways, with a mask each.
  const unsigned own_half = lane < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  if (lane < 16) {
    r->half[t] = __reduce_add_sync(own_half, 1) + __reduce_add_sync(own_half, 1);
  } else {
    r->half[t] = static_cast<int>(__ballot_sync(own_half, 1) >> 16);
  }
  __syncwarp();
  r->part[t] = lane < 8 ? 1 : 0;
  if (lane >= 8) return;  // lanes that returned take no part
  r->part[t] = __reduce_add_sync(kAll, 1);
}

void check_warp_operations() {
  WarpResults* device = nullptr;
  cudaMalloc(&device, sizeof(WarpResults));
  WarpResults r;
  SS_LAUNCH(warp_operations, 1, 64, 0, nullptr, device);
  cudaMemcpy(&r, device, sizeof r, cudaMemcpyDeviceToHost);
  for (int t = 0; t < 64; ++t) {
    const int lane = t % 32;
    const int base = t - lane;
    EXPECT(r.shuffle[t] == 10 * (base + 5));
    EXPECT(r.wrapped[t] == t / 8 * 8 + 1);
    EXPECT(r.up[t] == (t % 8 < 3 ? t : t - 3));
    EXPECT(r.down[t] == (lane > 28 ? t : t + 3));
    EXPECT(r.exclusive[t] == (t ^ 1));
    EXPECT(r.wide[t] == base + (31 - lane) + 0.5);
    EXPECT(r.ballot[t] == 0x49249249u);
    EXPECT(r.any[t] == (t >= 32 ? 1 : 0));
    EXPECT(r.all[t] == (t < 32 ? 1 : 0));
    EXPECT(r.sum[t] == 32u);  // wraps
    EXPECT(r.negative_sum[t] == -(32 * base + 496));
    EXPECT(r.most[t] == -base);
    EXPECT(r.half[t] == (lane < 16 ? 32 : 0xFFFF));
    EXPECT(r.part[t] == (lane < 8 ? 8 : 0));
  }
  cudaFree(device);
}

struct Atomics {
  int sum, most;
  unsigned bits, tickets;
  unsigned long long wide, least;
  float real;
};

__global__ void atomics(Atomics* a, int* seen) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&a->sum, i);
  atomicMax(&a->most, i);
  atomicOr(&a->bits, 1u << (i % 32));
  atomicAdd(&a->wide, 1ULL << 33);
  atomicMin(&a->least, static_cast<unsigned long long>(i + 7));
  atomicAdd(&a->real, 0.25f);
  seen[atomicAdd(&a->tickets, 1u)] = 1;
}

// Elements by the formulas of PTX ISA, "Matrix fragments for mma.m16n8k32": element i of a lane's registers.
struct Products {
  signed char a[16][32], b[32][8];
  int d[16][8];
};

__global__ void tensor_product(Products* p) {
  const int lane = static_cast<int>(threadIdx.x), group = lane >> 2, within = lane % 4;
  unsigned a[4] = {}, b[2] = {};
  for (int i = 0; i < 16; ++i) {
    const int row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
    const int column = within * 4 + (i & 3) + (i < 8 ? 0 : 16);
    a[i / 4] |= static_cast<unsigned>(static_cast<unsigned char>(p->a[row][column])) << (8 * (i % 4));
  }
  for (int i = 0; i < 8; ++i) {
    const int row = within * 4 + (i & 3) + (i < 4 ? 0 : 16);
    b[i / 4] |= static_cast<unsigned>(static_cast<unsigned char>(p->b[row][group])) << (8 * (i % 4));
  }
  int d[4];
  for (int i = 0; i < 4; ++i) d[i] = i;
  cuemu::mma_m16n8k32(d, a, b);
  for (int i = 0; i < 4; ++i) p->d[i < 2 ? group : group + 8][within * 2 + (i & 1)] = d[i];
}

void check_tensor_product() {
  Products* p = nullptr;
  cudaMallocHost(reinterpret_cast<void**>(&p), sizeof *p);
  for (int k = 0; k < 32; ++k) {
    for (int row = 0; row < 16; ++row) p->a[row][k] = static_cast<signed char>(37 * row + 11 * k * k - 128);
    for (int column = 0; column < 8; ++column) {
      p->b[k][column] = static_cast<signed char>(53 * column + 7 * k * k + 19);
    }
  }
  SS_LAUNCH(tensor_product, 1, 32, 0, nullptr, p);
  cudaStreamSynchronize(nullptr);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      int sum = 2 * (row / 8) + column % 2;  // what was there before
      for (int k = 0; k < 32; ++k) sum += p->a[row][k] * p->b[k][column];
      EXPECT(p->d[row][column] == sum);
    }
  }
  cudaFreeHost(p);
}

void check_atomics() {
  constexpr int kBlocks = 33;
  constexpr int kCount = kBlocks * 96;
  Atomics start{0, -1, 0, 0, 0, ~0ULL, 0.0f};
  Atomics* device = nullptr;
  int* seen = nullptr;
  cudaMalloc(&device, sizeof start);
  cudaMalloc(&seen, kCount * sizeof(int));
  cudaMemcpy(device, &start, sizeof start, cudaMemcpyHostToDevice);
  SS_LAUNCH(atomics, kBlocks, 96, 0, nullptr, device, seen);
  Atomics a;
  std::vector<int> host(kCount);
  cudaMemcpy(&a, device, sizeof a, cudaMemcpyDeviceToHost);
  cudaMemcpy(host.data(), seen, kCount * sizeof(int), cudaMemcpyDeviceToHost);
  EXPECT(a.sum == kCount * (kCount - 1) / 2);
  EXPECT(a.most == kCount - 1);
  EXPECT(a.bits == ~0u);
  EXPECT(a.tickets == kCount);
  EXPECT(a.wide == (1ULL << 33) * kCount);
  EXPECT(a.least == 7);
  EXPECT(a.real == 0.25f * kCount);
  int missing = 0;
  for (int s : host) missing += s != 1;
  EXPECT(missing == 0);
}

void check_conversions() {
  EXPECT(__float2int_rz(-2.7f) == -2);
  EXPECT(__float2int_rn(2.5f) == 2);
  EXPECT(__float2int_rn(3.5f) == 4);
  EXPECT(__float2int_rz(1e20f) == INT_MAX);
  EXPECT(__float2int_rz(-INFINITY) == INT_MIN);
  EXPECT(__float2int_rz(NAN) == 0);
  EXPECT(__float2uint_rz(-3.0f) == 0u);
  EXPECT(__float_as_uint(1.0f) == 0x3F800000u);
  EXPECT(__float_as_int(-0.0f) == INT_MIN);
  EXPECT(std::isnan(__int_as_float(0x7fc00000)));
  EXPECT(__clz(0) == 32);
  EXPECT(__clz(1) == 31);
  EXPECT(__ffs(0) == 0);
  EXPECT(__ffs(8) == 4);
  EXPECT(__popc(0xF0F0u) == 8);
  EXPECT(sizeof(float4) == 16 && alignof(float4) == 16 && alignof(int2) == 8 && alignof(ushort4) == 8);
}

struct Place {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
__global__ void where(Place* places) {
  const auto inside = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const auto outside = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  places[outside * blockDim.x * blockDim.y * blockDim.z + inside] = {threadIdx, blockIdx, blockDim, gridDim};
}

void check_indices() {
  const dim3 grid(3, 2, 2);
  const dim3 block(5, 3, 2);
  const std::size_t n = 12 * 30;
  Place* device = nullptr;
  cudaMalloc(&device, n * sizeof(Place));
  SS_LAUNCH(where, grid, block, 0, nullptr, device);
  std::vector<Place> host(n);
  cudaMemcpy(host.data(), device, n * sizeof(Place), cudaMemcpyDeviceToHost);
  for (std::size_t i = 0; i < n; ++i) {
    const Place& p = host[i];
    const std::size_t inside = p.thread.x + 5 * (p.thread.y + 3 * p.thread.z);
    const std::size_t outside = p.block.x + 3 * (p.block.y + 2 * p.block.z);
    EXPECT(outside * 30 + inside == i);
    EXPECT(p.block_dim.y == 3 && p.grid_dim.z == 2);
  }
}

template <int N>
__device__ int through_shared(int value) {
  SS_SHARED(int, place, N);
  place[threadIdx.x] = value;
  __syncthreads();
  const int result = place[N - 1 - threadIdx.x];
  __syncthreads();
  return result;
}
__global__ void shared_memory(int* out) {
  SS_DYN_SHARED(int, dynamic);
  const int t = static_cast<int>(threadIdx.x);
  dynamic[t] = t;
  const int first = through_shared<64>(t);
  const int second = through_shared<64>(first + 1);  // the same declaration: the same array
  out[t] = 100 * second + dynamic[t];
}

void check_shared_memory() {
  int* device = nullptr;
  cudaMalloc(&device, 64 * sizeof(int));
  SS_LAUNCH(shared_memory, 1, 64, 64 * sizeof(int), nullptr, device);
  int host[64];
  cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost);
  for (int t = 0; t < 64; ++t) EXPECT(host[t] == 100 * (t + 1) + t);
}

__global__ void add(int* values, int what) { values[threadIdx.x] += what; }

void check_streams() {
  cudaStream_t lazy, ordered;
  cudaStreamCreateWithFlags(&lazy, cudaStreamNonBlocking);
  cudaStreamCreate(&ordered);
  int* device = nullptr;
  cudaMalloc(&device, 64 * sizeof(int));
  cudaMemset(device, 0, 64 * sizeof(int));
  int host[64];
  int argument = 5;  // arguments are taken when the launch is queued
  SS_LAUNCH(add, 1, 64, 0, ordered, device, argument);
  argument = 7;
  cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost);  // the null stream waits for `ordered`
  EXPECT(host[63] == 5);

  std::vector<int> pageable(64, 1);  // read before the call returns
  cudaMemcpyAsync(device, pageable.data(), 64 * sizeof(int), cudaMemcpyHostToDevice, lazy);
  pageable.assign(64, 2);
  SS_LAUNCH(add, 1, 64, 0, lazy, device, argument);
  cudaMemcpyAsync(host, device, sizeof host, cudaMemcpyDeviceToHost, lazy);  // returns when it is there
  EXPECT(host[0] == 8);

  cudaEvent_t event;
  cudaEventCreate(&event);
  EXPECT(cudaEventQuery(event) == cudaSuccess);  // never recorded: nothing to wait for
  cudaStreamWaitEvent(lazy, event);
  for (int i = 0; i < 9; ++i) SS_LAUNCH(add, 1, 64, 0, lazy, device, 1);
  cudaEventRecord(event, lazy);
  cudaFree(device);  // work queued before may still use it
  cudaStreamDestroy(lazy);
  int asked = 0;
  while (cudaEventQuery(event) == cudaErrorNotReady && asked < 100) ++asked;
  EXPECT(asked < 100);
  cudaStreamDestroy(ordered);
  cudaEventDestroy(event);
}

// No thread of the emulator stands around between launches, so a forked child can launch too.
void check_fork() {
  const pid_t child = fork();
  if (child == 0) {
    check_atomics();
    check_shared_memory();
    _exit(failures);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

int main(int, char**) {
  check_warp_operations();
  check_tensor_product();
  check_atomics();
  check_conversions();
  check_indices();
  check_shared_memory();
  check_streams();
  check_fork();
  if (failures == 0) std::puts("right");
  return failures == 0 ? 0 : 1;
}
