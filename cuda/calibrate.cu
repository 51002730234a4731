#include "calibrate.cuh"

#include "corrected.cuh"
#include "launch.cuh"

namespace shotsieve {
namespace {

using Kernel = void (*)(CalibrateCall);

template <bool Round, bool Write, device::Words W, bool Shift>
Kernel choose_form(const CalibrateCall& call) {
  return call.packed != nullptr ? device::calibrate_count_kernel<Round, Write, W, Shift, true>
                                : device::calibrate_count_kernel<Round, Write, W, Shift, false>;
}

template <bool Round, bool Write, device::Words W>
Kernel choose_shift(const CalibrateCall& call) {
  return call.shifts.any() ? choose_form<Round, Write, W, true>(call)
                           : choose_form<Round, Write, W, false>(call);
}

template <bool Round, bool Write>
Kernel choose_kernel(const CalibrateCall& call) {
  switch (call.encoding) {
    case Encoding::kWord:
      return choose_shift<Round, Write, device::Words::kWord>(call);
    case Encoding::kPlain:
      return choose_shift<Round, Write, device::Words::kPlain>(call);
    case Encoding::kParallel:
      return choose_shift<Round, Write, device::Words::kParallel>(call);
    case Encoding::kCorrected:
      return device::count_corrected_kernel<Round, Write>;
    default:
      return choose_shift<Round, Write, device::Words::kPair>(call);
  }
}

Kernel choose_kernel(const CalibrateCall& call) {
  const bool write = call.pixels != nullptr;
  if (call.round_photons) return write ? choose_kernel<true, true>(call) : choose_kernel<true, false>(call);
  return write ? choose_kernel<false, true>(call) : choose_kernel<false, false>(call);
}

}  // namespace

void calibrate_count(const CalibrateCall& call, const Where& where) {
  if (call.n_groups == 0 || call.n_listed == 0) return;
  const cudaStream_t stream = stream_of(where);
  const auto clear_blocks = static_cast<unsigned>((call.n_listed + 255) / 256);
  SS_LAUNCH(device::clear_counts_kernel, clear_blocks, 256, 0, stream, call.places, call.n_listed,
            call.counts);
  check_launch("clear_counts");

  const std::int64_t tiles = (call.n_pixels + device::kTilePixels - 1) / device::kTilePixels;
  const auto blocks = static_cast<unsigned>(tiles * call.n_groups);
  const Kernel kernel = choose_kernel(call);
  const CalibrateCall c = call;
  SS_LAUNCH(kernel, blocks, device::kCalibrateThreads, 0, stream, c);
  check_launch("calibrate_count");
}

}  // namespace shotsieve
