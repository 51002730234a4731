// What every launcher needs: the stream of a call and the check of a launch.
#pragma once

#include <string>

#include "../cpp/core/where.hpp"
#include "portable.cuh"

namespace shotsieve {

inline cudaStream_t stream_of(const Where& where) { return static_cast<cudaStream_t>(where.stream); }

inline void check_launch(const char* kernel) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw DeviceFault(std::string(kernel) + ": launch refused: " + cudaGetErrorString(status));
  }
}

}  // namespace shotsieve
