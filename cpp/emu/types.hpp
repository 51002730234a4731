// CUDA's words and small vector types, spelled for a host compiler.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

// The alignments are CUDA's: UBSan reports a wide load from an address that CUDA would refuse. may_alias:
// kernels read arrays of plain numbers through these types, which C++ would otherwise let the compiler
// ignore.
#define CUEMU_VECTORS(base, scalar, align2, align4)                                    \
  struct __attribute__((may_alias, aligned(align2))) base##2 { scalar x, y; };         \
  struct __attribute__((may_alias)) base##3 { scalar x, y, z; };                       \
  struct __attribute__((may_alias, aligned(align4))) base##4 { scalar x, y, z, w; };   \
  constexpr base##2 make_##base##2(scalar x, scalar y) { return {x, y}; }              \
  constexpr base##3 make_##base##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
  constexpr base##4 make_##base##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

CUEMU_VECTORS(char, signed char, 2, 4)
CUEMU_VECTORS(uchar, unsigned char, 2, 4)
CUEMU_VECTORS(short, short, 4, 8)
CUEMU_VECTORS(ushort, unsigned short, 4, 8)
CUEMU_VECTORS(int, int, 8, 16)
CUEMU_VECTORS(uint, unsigned, 8, 16)
CUEMU_VECTORS(longlong, long long, 16, 16)
CUEMU_VECTORS(ulonglong, unsigned long long, 16, 16)
CUEMU_VECTORS(float, float, 8, 16)
CUEMU_VECTORS(double, double, 16, 16)
#undef CUEMU_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

constexpr int warpSize = 32;
