// One macro that lets the arithmetic of a pixel compile for the host and for the device.
#pragma once

#if defined(__CUDACC__)
#define SS_HD __host__ __device__ __forceinline__
#else
#define SS_HD inline __attribute__((always_inline))
#endif
