#include "probe.hpp"

#include <cuda_runtime.h>

namespace shotsieve {

Probe probe() {
  Probe result{0, "", ""};
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  cudaGetLastError();  // a failed probe must not be found by the next launch
  if (status != cudaSuccess || count == 0) {
    result.error = std::string(status != cudaSuccess ? cudaGetErrorName(status) : "cudaErrorNoDevice") +
                   " (driver API " + (driver == 0 ? "not found" : std::to_string(driver)) +
                   ", built with runtime " + std::to_string(runtime) + ")";
    return result;
  }
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    cudaGetLastError();
    result.error = "cudaGetDeviceProperties fails on device 0";
    return result;
  }
  if (properties.major < 8) {
    result.error = std::string(properties.name) + " has compute capability " +
                   std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                   ", and 8.0 or newer is needed";
    return result;
  }
  result.name = properties.name;
  result.devices = count;
  return result;
}

}  // namespace shotsieve
