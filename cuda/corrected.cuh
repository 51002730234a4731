// calibrate_count on the device for frames that are calibrated already: values are masked and counted.
#pragma once

#include "calibrate.cuh"

namespace shotsieve::device {

struct EightMasks {
  std::uint32_t value[kPixelsPerThread];
};

__device__ inline EightMasks load_masks(const std::uint32_t* source) {
  const uint4 low = reinterpret_cast<const uint4*>(source)[0];
  const uint4 high = reinterpret_cast<const uint4*>(source)[1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

template <bool Round, bool Write>
__global__ void __launch_bounds__(kCalibrateThreads, kBlocksPerMultiprocessor<Write>)
    count_corrected_kernel(CalibrateCall c) {
  SS_SHARED(int, shared, kSums* kCalibrateWarps);
  const std::int64_t n = c.n_pixels;
  const Place at = place_of_thread(c);
  for (std::int32_t k = at.group.start; k < at.group.stop; ++k) {
    const std::int64_t frame = c.frames[k];
    ThreadSums sums;
    if (at.inside) {
      math::PixelResult results[kPixelsPerThread];
      int stages[kPixelsPerThread];
      if (at.known) {
        const std::uint16_t* raw = c.raw + frame * c.planes * n;
        const EightFloats value =
            load_floats(reinterpret_cast<const float*>(raw + math::kCorrectedValue * n) + at.pixel);
        const EightMasks mask =
            load_masks(reinterpret_cast<const std::uint32_t*>(raw + math::kCorrectedMask * n) + at.pixel);
        uint2 gain{};
        if (Write) {
          gain = *reinterpret_cast<const uint2*>(
              reinterpret_cast<const std::uint8_t*>(raw + math::kCorrectedGain * n) + at.pixel);
        }
        for (int i = 0; i < kPixelsPerThread; ++i) {
          stages[i] = static_cast<int>((i < 4 ? gain.x : gain.y) >> (8 * (i % 4))) & math::kStageBits;
          const float x = math::corrected_value(value.value[i], mask.value[i], c.rules);
          results[i] = math::measure_pixel<Round, true>(x, 0, c.rules);
          sums.add(results[i], i);
        }
      } else {
        results_without_constants(results, stages);
      }
      finish_pixels<Write>(c, std::int64_t{c.places[k]} * n + at.pixel, results, stages, sums);
    }
    add_to_frame(sums, shared, c.counts + c.places[k]);
  }
}

}  // namespace shotsieve::device
