#include "photon_list.cuh"

#include "../cpp/core/photon_list.hpp"
#include "launch.cuh"

namespace shotsieve {
namespace {

dim3 list_grid(std::int64_t n) {
  const std::int64_t blocks = (n + device::kListWarps - 1) / device::kListWarps;
  return dim3(static_cast<unsigned>(blocks < 65535 ? blocks : 65535));
}

template <class T, bool kWrite>
void launch(const T* given, const PhotonFrames& frames, const std::int64_t* first, std::int32_t* number,
            std::uint32_t* pixel, T* count, const Where& where) {
  if (frames.n == 0) return;
  const auto kernel = device::photon_list_kernel<T, kWrite>;
  SS_LAUNCH(kernel, list_grid(frames.n), device::kListThreads, 0, stream_of(where), given, frames.n,
            frames.pixels, first, number, pixel, count);
  check_launch(kWrite ? "photon_list" : "photon_numbers");
}

}  // namespace

void photon_numbers(const PhotonFrames& frames, std::int32_t* number, const Where& where) {
  if (frames.narrow != nullptr) {
    launch<std::uint8_t, false>(frames.narrow, frames, nullptr, number, nullptr, nullptr, where);
  } else {
    launch<std::uint16_t, false>(frames.wide, frames, nullptr, number, nullptr, nullptr, where);
  }
}

void photon_list(const PhotonFrames& frames, const std::int64_t* first, std::uint32_t* pixel, void* count,
                 const Where& where) {
  if (frames.narrow != nullptr) {
    launch<std::uint8_t, true>(frames.narrow, frames, first, nullptr, pixel,
                               static_cast<std::uint8_t*>(count), where);
  } else {
    launch<std::uint16_t, true>(frames.wide, frames, first, nullptr, pixel,
                                static_cast<std::uint16_t*>(count), where);
  }
}

}  // namespace shotsieve
