// The part of the CUDA runtime API that shotsieve uses. Wrong arguments end the process with a message where
// CUDA would return an error that is easily overlooked or do something undefined; what a correct program may
// meet (no memory, a launch out of limits) is returned as in CUDA.
#pragma once

#include "shared.hpp"
#include "streams.hpp"

using cudaStream_t = cuemu::Stream*;
using cudaEvent_t = cuemu::Event*;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};
enum : unsigned {
  cudaStreamDefault = 0,
  cudaStreamNonBlocking = 1,
  cudaEventDefault = 0,
  cudaEventBlockingSync = 1,
  cudaEventDisableTiming = 2,
  cudaHostAllocDefault = 0,
  cudaHostAllocPortable = 1,
};
struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  std::size_t sharedMemPerBlock;
  std::size_t sharedMemPerBlockOptin;
  int major, minor;
  int multiProcessorCount;
  int maxThreadsPerBlock;
  int warpSize;
};

namespace cuemu {

// The error that cudaGetLastError reports and forgets; one per host thread, as in CUDA.
inline thread_local cudaError_t last_error = cudaSuccess;

inline cudaError_t fail(cudaError_t error) {
  last_error = error;
  return error;
}

template <class Call>
cudaError_t guarded(const char* name, Call call) {
  try {
    return call();
  } catch (const Misuse& misuse) {
    die(std::string(name) + ": " + misuse.what());
  }
}

inline cudaError_t allocate(void** pointer, std::size_t bytes, MemoryKind kind) {
  *pointer = Memory::get().allocate(bytes, kind);
  return *pointer == nullptr && bytes != 0 ? fail(cudaErrorMemoryAllocation) : cudaSuccess;
}

// The direction that the caller states, against what the addresses are.
inline void check_direction(const void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0 || kind == cudaMemcpyDefault) return;
  const auto on_device = [&](const void* p, const char* role) {
    const Memory::Place place = Memory::get().place(p, bytes, role);
    return place.known && place.kind == MemoryKind::Device;
  };
  const bool to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (on_device(target, "target") != to)
    throw Misuse("the target of the copy is not where its direction says");
  if (on_device(source, "source") != from)
    throw Misuse("the source of the copy is not where its direction says");
}

}  // namespace cuemu

// --- memory ---
template <class T>
cudaError_t cudaMalloc(T** pointer, std::size_t bytes) {
  return cuemu::allocate(reinterpret_cast<void**>(pointer), bytes, cuemu::MemoryKind::Device);
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, std::size_t bytes, unsigned /*flags*/) {
  return cuemu::allocate(reinterpret_cast<void**>(pointer), bytes, cuemu::MemoryKind::Pinned);
}
template <class T>
cudaError_t cudaMallocHost(T** pointer, std::size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}
inline cudaError_t cudaFree(void* pointer) {
  return cuemu::guarded("cudaFree", [=] {
    cuemu::Runtime::get().free_later(pointer, cuemu::MemoryKind::Device);
    return cudaSuccess;
  });
}
inline cudaError_t cudaFreeHost(void* pointer) {
  return cuemu::guarded("cudaFreeHost", [=] {
    cuemu::Runtime::get().free_later(pointer, cuemu::MemoryKind::Pinned);
    return cudaSuccess;
  });
}
inline cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream = nullptr) {
  return cuemu::guarded("cudaMemcpyAsync", [=] {
    cuemu::check_direction(target, source, bytes, kind);
    cuemu::Runtime::get().copy(target, source, bytes, stream);
    return cudaSuccess;
  });
}
inline cudaError_t cudaMemcpy(void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(target, source, bytes, kind, nullptr);
}
inline cudaError_t cudaMemsetAsync(void* target, int value, std::size_t bytes,
                                   cudaStream_t stream = nullptr) {
  return cuemu::guarded("cudaMemsetAsync", [=] {
    cuemu::Runtime::get().fill(target, value, bytes, stream);
    return cudaSuccess;
  });
}
inline cudaError_t cudaMemset(void* target, int value, std::size_t bytes) {
  return cudaMemsetAsync(target, value, bytes, nullptr);
}

// --- streams and events ---
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = cuemu::Runtime::get().create_stream((flags & cudaStreamNonBlocking) == 0);
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return cuemu::guarded("cudaStreamDestroy", [=] {
    cuemu::Runtime::get().destroy_stream(stream);
    return cudaSuccess;
  });
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return cuemu::guarded("cudaStreamSynchronize", [=] {
    cuemu::Runtime::get().synchronize(stream);
    return cudaSuccess;
  });
}
inline cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return cuemu::guarded("cudaStreamQuery",
                        [=] { return cuemu::Runtime::get().done(stream) ? cudaSuccess : cudaErrorNotReady; });
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/ = 0) {
  return cuemu::guarded("cudaStreamWaitEvent", [=] {
    cuemu::Runtime::get().wait(stream, event);
    return cudaSuccess;
  });
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  *event = cuemu::Runtime::get().create_event();
  return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return cuemu::guarded("cudaEventDestroy", [=] {
    cuemu::Runtime::get().destroy_event(event);
    return cudaSuccess;
  });
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr) {
  return cuemu::guarded("cudaEventRecord", [=] {
    cuemu::Runtime::get().record(event, stream);
    return cudaSuccess;
  });
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return cuemu::guarded("cudaEventSynchronize", [=] {
    cuemu::Runtime::get().synchronize(event);
    return cudaSuccess;
  });
}
inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  return cuemu::guarded("cudaEventQuery",
                        [=] { return cuemu::Runtime::get().done(event) ? cudaSuccess : cudaErrorNotReady; });
}

// --- the one device there is ---
inline cudaError_t cudaDeviceSynchronize() {
  cuemu::Runtime::get().synchronize_device();
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : cuemu::fail(cudaErrorInvalidDevice);
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return cuemu::fail(cudaErrorInvalidDevice);
  *properties = {"emulated CUDA device",
                 std::size_t{1} << 33,
                 cuemu::kMaxDynamicShared,
                 cuemu::kMaxOptInShared,
                 9,
                 0,
                 4,
                 1024,
                 32};  // few multiprocessors, so that loops over the grid are run more than once
  return cudaSuccess;
}

// --- errors ---
inline cudaError_t cudaGetLastError() { return std::exchange(cuemu::last_error, cudaSuccess); }
inline cudaError_t cudaPeekAtLastError() { return cuemu::last_error; }
inline const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
  }
  return "unrecognized error code";
}
inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNotReady:
      return "device not ready";
  }
  return "unrecognized error code";
}
