// Barriers, shuffles, votes and reductions under CUDA's names.
#pragma once

#include <type_traits>

#if defined(CUEMU_THREADS)
#include "threads.hpp"
#else
#include "fibers.hpp"
#endif

namespace cuemu {

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_arithmetic<T>::value, "warp operations take plain numbers");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// `source` gives the lane to read from; one outside this lane's segment of `width` lanes means its own value.
template <class T, class Source>
T shuffle(unsigned mask, T value, int width, Site at, Source source) {
  if (width <= 0 || width > kWarp || (width & (width - 1)) != 0) {
    die("shuffle width is not a power of two up to 32", at);
  }
  const int own = lane().index % kWarp;
  const int from = source(own, own & ~(width - 1), own | (width - 1));
  return exchange(WarpOp::Shuffle, mask, to_bits(value), at,
                  [&](Gathered& all) { return from < 0 ? value : from_bits<T>(all.value[from]); });
}

inline unsigned vote(unsigned mask, bool predicate, Site at) {
  return exchange(WarpOp::Vote, mask, predicate ? 1 : 0, at, [](Gathered& all) {
    return static_cast<unsigned>(all.once([&] {
      std::uint64_t ballot = 0;
      for (int l = 0; l < kWarp; ++l) ballot |= (all.present >> l & all.value[l] & 1u) << l;
      return ballot;
    }));
  });
}

template <class T, class Combine>
T reduce(unsigned mask, T value, Site at, Combine combine) {
  return exchange(WarpOp::Reduce, mask, to_bits(value), at, [&](Gathered& all) {
    return from_bits<T>(all.once([&] {
      const int first = __builtin_ctz(all.present);
      T total = from_bits<T>(all.value[first]);
      for (int l = first + 1; l < kWarp; ++l) {
        if ((all.present >> l & 1u) != 0) total = combine(total, from_bits<T>(all.value[l]));
      }
      return to_bits(total);
    }));
  });
}

// mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 with d for c: d += a b, by the places that PTX gives to the
// elements. Of lane 4 g + q are row g of a (a[0], a[2]) and row g + 8 (a[1], a[3]), column g of b, both at k
// from 4 q (a[0], a[1], b[0]) and 16 + 4 q on; rows g and g + 8 of d at columns 2 q and 2 q + 1.
inline void mma_m16n8k32(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                         Site at = Site::here()) {
  struct Fragments {
    const unsigned *a, *b;
  } const own{a, b};
  const int g = lane().index % kWarp / 4, q = lane().index % 4;
  const auto bits = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(&own));
  exchange(WarpOp::Product, ~0u, bits, at, [&](Gathered& all) {
    const auto of = [&](int l) {
      return reinterpret_cast<const Fragments*>(static_cast<std::uintptr_t>(all.value[l]));
    };
    for (int k = 0; k < 8; ++k) {  // four bytes each
      for (int e = 0; e < 4; ++e) {
        const unsigned left = of(4 * g + k % 4)->a[2 * (k / 4) + e / 2];
        const unsigned right = of(4 * (2 * q + e % 2) + k % 4)->b[k / 4];
        d[e] = __dp4a(static_cast<int>(left), static_cast<int>(right), d[e]);
      }
    }
    return 0;
  });
  // What a lane handed in must stay until all have read it.
  exchange(WarpOp::Product, ~0u, 0, at, [](Gathered&) { return 0; });
}

template <class T, std::size_t N>
T (&shared_array(const void* key, const char* name, Site at))
[N] {
  static_assert(std::is_trivially_default_constructible<T>::value, "shared memory runs no constructors");
  static_assert(alignof(T) <= 64, "shared arrays are aligned to 64 bytes");
  return *static_cast<T(*)[N]>(shared_place(key, name, N * sizeof(T), at));
}

}  // namespace cuemu

#define threadIdx (::cuemu::lane().thread)
#define blockIdx (::cuemu::lane().block)
#define blockDim (::cuemu::lane().block_dim)
#define gridDim (::cuemu::lane().grid_dim)

inline void __syncthreads(cuemu::Site at = cuemu::Site::here()) { cuemu::sync_block(at); }

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, cuemu::Site at = cuemu::Site::here()) {
  cuemu::exchange(cuemu::WarpOp::Sync, mask, 0, at, [](cuemu::Gathered&) { return 0; });
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::shuffle(mask, value, width, at,
                        [=](int, int first, int) { return first + (source & (width - 1)); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 cuemu::Site at = cuemu::Site::here()) {
  return cuemu::shuffle(mask, value, width, at, [=](int own, int first, int) {
    const int from = own - static_cast<int>(delta);
    return from < first ? -1 : from;
  });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   cuemu::Site at = cuemu::Site::here()) {
  return cuemu::shuffle(mask, value, width, at, [=](int own, int, int last) {
    const int from = own + static_cast<int>(delta);
    return from > last ? -1 : from;
  });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::shuffle(mask, value, width, at, [=](int own, int, int last) {
    const int from = own ^ bits;
    return from > last ? -1 : from;
  });
}

inline unsigned __ballot_sync(unsigned mask, int predicate, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::vote(mask, predicate != 0, at);
}
inline int __any_sync(unsigned mask, int predicate, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::vote(mask, predicate != 0, at) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::vote(mask, predicate == 0, at) == 0 ? 1 : 0;
}

// Sums wrap as the hardware's do; the detour over unsigned keeps that defined for int.
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::reduce(mask, value, at, [](unsigned a, unsigned b) { return a + b; });
}
inline int __reduce_add_sync(unsigned mask, int value, cuemu::Site at = cuemu::Site::here()) {
  return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value), at));
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::reduce(mask, value, at, [](unsigned a, unsigned b) { return a > b ? a : b; });
}
inline int __reduce_max_sync(unsigned mask, int value, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::reduce(mask, value, at, [](int a, int b) { return a > b ? a : b; });
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::reduce(mask, value, at, [](unsigned a, unsigned b) { return a < b ? a : b; });
}
inline int __reduce_min_sync(unsigned mask, int value, cuemu::Site at = cuemu::Site::here()) {
  return cuemu::reduce(mask, value, at, [](int a, int b) { return a < b ? a : b; });
}
