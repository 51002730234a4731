// Photon lists: the pixels of a frame that hold photons, in their order, and how many each holds.
#pragma once

#include <cstdint>

#include "where.hpp"

namespace shotsieve {

// Frames of whole photons, uint8 or uint16 (exactly one of the two is given), (n, pixels).
struct PhotonFrames {
  const std::uint8_t* narrow;
  const std::uint16_t* wide;
  std::int64_t n;
  std::int64_t pixels;
};

// number[k] = pixels of frame k that hold at least one photon. Promise: exact.
void photon_numbers(const PhotonFrames& frames, std::int32_t* number, const Where& where);

// Entries first[k] to first[k + 1] of pixel and count = the pixels of frame k that hold photons, ascending,
// and their photons; no entry is written outside of these. `count` has the dtype of the frames. Promise:
// exact.
void photon_list(const PhotonFrames& frames, const std::int64_t* first, std::uint32_t* pixel, void* count,
                 const Where& where);

}  // namespace shotsieve
