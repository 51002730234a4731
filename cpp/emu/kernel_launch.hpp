// From a launch in a .cu file to a queued piece of work.
#pragma once

#include <tuple>
#include <type_traits>

#include "runtime_api.hpp"
#include "warp.hpp"

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

namespace cuemu {

// Sizes as the launch states them, not yet cut to 32 bits: a grid computed in 64 bits that does not fit is
// refused here, while dim3 would wrap it silently.
struct Extent {
  long long x, y, z;
};
inline Extent extent(dim3 d) { return {d.x, d.y, d.z}; }
template <class Integer, class = std::enable_if_t<std::is_integral<Integer>::value>>
Extent extent(Integer n) {
  return {static_cast<long long>(n), 1, 1};
}

// Kernels that asked for more dynamic shared memory than every device gives, and how much.
class SharedLimits {
 public:
  static SharedLimits& get() {
    static SharedLimits limits;
    return limits;
  }
  void set(const void* kernel, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    limits_[kernel] = bytes;
  }
  std::size_t of(const void* kernel) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = limits_.find(kernel);
    return found == limits_.end() ? kMaxDynamicShared : std::max(found->second, kMaxDynamicShared);
  }

 private:
  std::mutex mutex_;
  std::map<const void*, std::size_t> limits_;
};

// The limits of compute capability 7.5 to 12: what is outside them, a device refuses too.
inline bool launchable(Extent grid, Extent block) {
  const auto within = [](long long n, long long most) { return n >= 1 && n <= most; };
  return within(grid.x, 0x7FFFFFFF) && within(grid.y, 65535) && within(grid.z, 65535) &&
         within(block.x, 1024) && within(block.y, 1024) && within(block.z, 64) &&
         block.x * block.y * block.z <= 1024;
}

// Arguments are taken when the launch is queued, converted to the kernel's parameters, as CUDA does.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Extent grid, Extent block, std::size_t dynamic_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument per parameter of the kernel");
  static_assert((... && std::is_trivially_copyable<std::remove_cv_t<Parameters>>::value),
                "kernel parameters are copied to the device byte by byte");
  static_assert((... && !std::is_reference<Parameters>::value),
                "a kernel cannot take references to host memory");
  if (!launchable(grid, block)) {
    fail(cudaErrorInvalidConfiguration);
    return;
  }
  if (dynamic_bytes > SharedLimits::get().of(reinterpret_cast<const void*>(kernel))) {
    fail(cudaErrorInvalidValue);
    return;
  }
  const std::tuple<std::remove_cv_t<Parameters>...> parameters(std::forward<Arguments>(arguments)...);
  Launch l;
  l.grid = {static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z)};
  l.block = {static_cast<unsigned>(block.x), static_cast<unsigned>(block.y), static_cast<unsigned>(block.z)};
  l.dynamic_bytes = dynamic_bytes;
  l.seed = Runtime::get().launch_seed();
  l.body = [kernel, parameters] { std::apply(kernel, parameters); };
  guarded("kernel launch", [&] {
    Runtime::get().enqueue(stream, [l = std::move(l)] { run_grid(l); });
    return cudaSuccess;
  });
}

}  // namespace cuemu

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > cuemu::kMaxOptInShared)
    return cuemu::fail(cudaErrorInvalidValue);
  cuemu::SharedLimits::get().set(reinterpret_cast<const void*>(kernel), static_cast<std::size_t>(bytes));
  return cudaSuccess;
}
