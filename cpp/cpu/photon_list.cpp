#include "../core/photon_list.hpp"

#include <cstring>

#include "parallel.hpp"

namespace shotsieve {
namespace {

// Calls found(pixel) for every pixel that is not 0, ascending. Nearly all are 0, so they are passed over in
// groups: 64 bytes that are 0 cost one test, which compilers make of vector instructions.
template <class T, class Found>
void each_lit(const T* frame, std::int64_t pixels, const Found& found) {
  constexpr std::int64_t kGroup = 64 / static_cast<std::int64_t>(sizeof(T));
  std::int64_t i = 0;
  for (; i + kGroup <= pixels; i += kGroup) {
    std::uint64_t words[8];
    std::memcpy(words, frame + i, sizeof(words));
    std::uint64_t any = 0;
    for (const std::uint64_t word : words) any |= word;
    if (any == 0) continue;
    for (std::int64_t j = i; j < i + kGroup; ++j) {
      if (frame[j] != 0) found(j);
    }
  }
  for (; i < pixels; ++i) {
    if (frame[i] != 0) found(i);
  }
}

template <class T>
void numbers_of(const T* frames, const PhotonFrames& all, std::int32_t* number, const Where& where) {
  cpu::parallel_for(all.n, where.threads, [&](std::int64_t k) {
    std::int32_t lit = 0;
    const T* frame = frames + k * all.pixels;
    for (std::int64_t i = 0; i < all.pixels; ++i) lit += frame[i] != 0 ? 1 : 0;
    number[k] = lit;
  });
}

template <class T>
void list_of(const T* frames, const PhotonFrames& all, const std::int64_t* first, std::uint32_t* pixel,
             T* count, const Where& where) {
  cpu::parallel_for(all.n, where.threads, [&](std::int64_t k) {
    const T* frame = frames + k * all.pixels;
    std::int64_t at = first[k];
    each_lit(frame, all.pixels, [&](std::int64_t i) {
      if (at >= first[k + 1]) return;
      pixel[at] = static_cast<std::uint32_t>(i);
      count[at++] = frame[i];
    });
  });
}

}  // namespace

void photon_numbers(const PhotonFrames& frames, std::int32_t* number, const Where& where) {
  if (frames.narrow != nullptr) {
    numbers_of(frames.narrow, frames, number, where);
  } else {
    numbers_of(frames.wide, frames, number, where);
  }
}

void photon_list(const PhotonFrames& frames, const std::int64_t* first, std::uint32_t* pixel, void* count,
                 const Where& where) {
  if (frames.narrow != nullptr) {
    list_of(frames.narrow, frames, first, pixel, static_cast<std::uint8_t*>(count), where);
  } else {
    list_of(frames.wide, frames, first, pixel, static_cast<std::uint16_t*>(count), where);
  }
}

}  // namespace shotsieve
