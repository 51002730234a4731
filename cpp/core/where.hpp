// Where a stage runs, and how a backend reports what went wrong.
#pragma once

#include <stdexcept>
#include <string>

namespace shotsieve {

struct Where {
  void* stream;  // a cudaStream_t for device backends, unused on the CPU
  int threads;   // CPU threads; device backends ignore it
};

// A launch was refused by the device runtime. Becomes RuntimeError in Python.
class DeviceFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace shotsieve
