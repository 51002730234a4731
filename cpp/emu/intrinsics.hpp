// Device functions that need no other thread: bits, conversions, atomics. Overloads are CUDA's own set, so
// that what compiles here compiles with nvcc (which has, for one, no atomicAdd for unsigned long).
#pragma once

#include <climits>
#include <cmath>
#include <limits>

#include "common.hpp"

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz(static_cast<unsigned>(v)); }
inline int __clzll(long long v) { return v == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(v)); }

// Four products of signed bytes, added to c.
inline int __dp4a(int a, int b, int c) {
  for (int shift = 0; shift < 32; shift += 8) {
    c += static_cast<signed char>(a >> shift) * static_cast<signed char>(b >> shift);
  }
  return c;
}

namespace cuemu {

template <class To, class From>
To reinterpret(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// As the hardware converts: clamped to the range of the integer, NaN becomes `nan`. `whole` is already
// rounded.
template <class To>
To saturate(double whole, To nan) {
  constexpr auto low = std::numeric_limits<To>::min();
  constexpr auto high = std::numeric_limits<To>::max();
  if (std::isnan(whole)) return nan;
  if (whole <= static_cast<double>(low)) return low;
  if (whole >= static_cast<double>(high)) return high;
  return static_cast<To>(whole);
}

template <class T, class Change>
T update(T* place, Change change) {
  T old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(place, &old, change(old), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

// Atomics on floats work on the bits: the type that g++ has atomics for.
template <class Bits, class T>
T update_float(T* place, T value) {
  const Bits old = update(reinterpret_cast<Bits*>(place),
                          [=](Bits bits) { return reinterpret<Bits>(reinterpret<T>(bits) + value); });
  return reinterpret<T>(old);
}

}  // namespace cuemu

inline int __float_as_int(float v) { return cuemu::reinterpret<int>(v); }
inline float __int_as_float(int v) { return cuemu::reinterpret<float>(v); }
inline unsigned __float_as_uint(float v) { return cuemu::reinterpret<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return cuemu::reinterpret<float>(v); }
inline long long __double_as_longlong(double v) { return cuemu::reinterpret<long long>(v); }
inline double __longlong_as_double(long long v) { return cuemu::reinterpret<double>(v); }

inline int __float2int_rz(float v) { return cuemu::saturate<int>(std::trunc(v), 0); }
inline int __float2int_rn(float v) { return cuemu::saturate<int>(std::nearbyint(v), 0); }
inline int __float2int_rd(float v) { return cuemu::saturate<int>(std::floor(v), 0); }
inline int __float2int_ru(float v) { return cuemu::saturate<int>(std::ceil(v), 0); }
inline unsigned __float2uint_rz(float v) { return cuemu::saturate<unsigned>(std::trunc(v), 0); }
inline unsigned __float2uint_rn(float v) { return cuemu::saturate<unsigned>(std::nearbyint(v), 0); }
inline long long __float2ll_rz(float v) { return cuemu::saturate<long long>(std::trunc(v), LLONG_MIN); }
inline long long __float2ll_rn(float v) { return cuemu::saturate<long long>(std::nearbyint(v), LLONG_MIN); }
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
inline float __ll2float_rn(long long v) { return static_cast<float>(v); }

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }

template <class T>
T __ldg(const T* place) {
  return *place;
}

// Atomics are relaxed, as CUDA's are; blocks run on several OS threads, so they are real.
#define CUEMU_ATOMICS(T)                                                                         \
  inline T atomicAdd(T* place, T v) { return __atomic_fetch_add(place, v, __ATOMIC_RELAXED); }   \
  inline T atomicExch(T* place, T v) { return __atomic_exchange_n(place, v, __ATOMIC_RELAXED); } \
  inline T atomicAnd(T* place, T v) { return __atomic_fetch_and(place, v, __ATOMIC_RELAXED); }   \
  inline T atomicOr(T* place, T v) { return __atomic_fetch_or(place, v, __ATOMIC_RELAXED); }     \
  inline T atomicXor(T* place, T v) { return __atomic_fetch_xor(place, v, __ATOMIC_RELAXED); }   \
  inline T atomicMax(T* place, T v) {                                                            \
    return cuemu::update(place, [=](T old) { return old > v ? old : v; });                       \
  }                                                                                              \
  inline T atomicMin(T* place, T v) {                                                            \
    return cuemu::update(place, [=](T old) { return old < v ? old : v; });                       \
  }                                                                                              \
  inline T atomicCAS(T* place, T expected, T v) {                                                \
    __atomic_compare_exchange_n(place, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
    return expected;                                                                             \
  }
CUEMU_ATOMICS(int)
CUEMU_ATOMICS(unsigned)
CUEMU_ATOMICS(unsigned long long)
#undef CUEMU_ATOMICS

inline int atomicSub(int* place, int v) { return __atomic_fetch_sub(place, v, __ATOMIC_RELAXED); }
inline unsigned atomicSub(unsigned* place, unsigned v) {
  return __atomic_fetch_sub(place, v, __ATOMIC_RELAXED);
}
inline float atomicAdd(float* place, float v) { return cuemu::update_float<unsigned>(place, v); }
inline double atomicAdd(double* place, double v) { return cuemu::update_float<unsigned long long>(place, v); }

// The emulator has no weak memory model: a missing fence goes unnoticed here. TSan does not know fences at
// all.
inline void __threadfence() {
#if !defined(__SANITIZE_THREAD__)
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
inline void __threadfence_block() { __threadfence(); }
