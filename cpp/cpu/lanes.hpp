// Frames in the lanes of vectors: a square of pixels and frames is loaded along pixels and turned, so that
// one vector holds the same pixel of all frames. Wide<L> is that square for L frames; L = 1 needs no turning.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "../math/bins.hpp"

#if defined(__SSE2__)
// g++ 12 takes the undefined registers in its own header for a mistake, wherever they are inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

// Numbers that begin at a cache line, so that a vector never lies across two.
template <class T>
class Aligned {
 public:
  void resize(std::size_t n) {
    data_.resize(n + kLine / sizeof(T));
    size_ = n;
  }
  T* data() {
    const auto address = reinterpret_cast<std::uintptr_t>(data_.data());
    return reinterpret_cast<T*>((address + kLine - 1) / kLine * kLine);
  }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kLine = 64;
  std::vector<T> data_;
  std::size_t size_ = 0;
};

// Bit k: value k is not finite. Vectors compare magnitudes with infinity: NaN is not below it either.
template <int L>
struct Wide;

template <>
struct Wide<1> {
  static constexpr int kPixels = 16;
  float row[1][kPixels];

  void load(int frame, const float* source) { std::memcpy(row[frame], source, sizeof(row[frame])); }
  std::uint32_t not_finite(int frame) const {
    std::uint32_t bits = 0;
    for (int j = 0; j < kPixels; ++j) {
      bits |= static_cast<std::uint32_t>(!math::is_finite(row[frame][j])) << j;
    }
    return bits;
  }
  void replace(int frame, std::uint32_t bits, float by) {
    for (int j = 0; j < kPixels; ++j) row[frame][j] = (bits >> j & 1u) != 0 ? by : row[frame][j];
  }
  void turn(float* out) const { std::memcpy(out, row[0], sizeof(row[0])); }
};

#if defined(__AVX2__)

template <>
struct Wide<8> {
  static constexpr int kPixels = 8;
  __m256 row[8];

  void load(int frame, const float* source) { row[frame] = _mm256_loadu_ps(source); }
  std::uint32_t not_finite(int frame) const {
    const __m256 infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), row[frame]);
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(magnitude, infinity, _CMP_NLT_UQ)));
  }
  void replace(int frame, std::uint32_t bits, float by) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), each);
    const __m256 keep = _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, _mm256_setzero_si256()));
    row[frame] = _mm256_blendv_ps(_mm256_set1_ps(by), row[frame], keep);
  }
  void turn(float* out) const {
    __m256 t[8];
    __m256 u[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
      u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_store_ps(out + 8 * i, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
      _mm256_store_ps(out + 8 * (i + 4), _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
  }
};

#endif

#if defined(__AVX512F__)

template <>
struct Wide<16> {
  static constexpr int kPixels = 16;
  __m512 row[16];

  void load(int frame, const float* source) { row[frame] = _mm512_loadu_ps(source); }
  std::uint32_t not_finite(int frame) const {
    const __m512 infinity = _mm512_set1_ps(std::numeric_limits<float>::infinity());
    return _mm512_cmp_ps_mask(_mm512_abs_ps(row[frame]), infinity, _CMP_NLT_UQ);
  }
  void replace(int frame, std::uint32_t bits, float by) {
    row[frame] = _mm512_mask_mov_ps(row[frame], static_cast<__mmask16>(bits), _mm512_set1_ps(by));
  }
  void turn(float* out) const {
    __m512 t[16];
    __m512 u[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
      u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
      u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xDD);
      t[i + 8] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xDD);
    }
    for (int i = 0; i < 8; ++i) {
      _mm512_store_ps(out + 16 * i, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
      _mm512_store_ps(out + 16 * (i + 8), _mm512_shuffle_f32x4(t[i], t[i + 8], 0xDD));
    }
  }
};

#endif

// Bit j: pixel j of n has a bin.
template <int n>
std::uint32_t bins_present(const std::uint16_t* local) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  if constexpr (n == 16) {
    const __m256i bins = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(local));
    return _mm256_cmpneq_epu16_mask(bins, _mm256_set1_epi16(static_cast<short>(math::kNoBin)));
  }
#endif
#if defined(__SSE2__)
  if constexpr (n % 8 == 0) {
    std::uint32_t bits = 0;
    for (int j = 0; j < n; j += 8) {
      const __m128i bins = _mm_loadu_si128(reinterpret_cast<const __m128i*>(local + j));
      const __m128i none = _mm_cmpeq_epi16(bins, _mm_set1_epi16(static_cast<short>(math::kNoBin)));
      const int absent = _mm_movemask_epi8(_mm_packs_epi16(none, none)) & 0xFF;
      bits |= static_cast<std::uint32_t>(absent ^ 0xFF) << j;
    }
    return bits;
  }
#endif
  std::uint32_t bits = 0;
  for (int j = 0; j < n; ++j) bits |= static_cast<std::uint32_t>(local[j] != math::kNoBin) << j;
  return bits;
}

// As many frames as a register has float64 numbers. Left to itself the compiler makes scalar code of loops
// over lanes.
#if defined(__AVX512F__)
constexpr int kStep = 8;
#else
constexpr int kStep = 4;
#endif
typedef double Doubles __attribute__((vector_size(8 * kStep)));
typedef float Floats __attribute__((vector_size(4 * kStep)));
typedef long long Longs __attribute__((vector_size(8 * kStep)));

template <int L>
void add_lanes(double* sum, const float* value) {
  if constexpr (L == 1) {
    sum[0] += static_cast<double>(value[0]);
  } else {
    for (int k = 0; k < L; k += kStep) {
      auto& to = *reinterpret_cast<Doubles*>(sum + k);
      to += __builtin_convertvector(*reinterpret_cast<const Floats*>(value + k), Doubles);
    }
  }
}

template <int L>
void add_lanes(double* sum, const float* value, double factor) {
  if constexpr (L == 1) {
    sum[0] += static_cast<double>(value[0]) * factor;
  } else {
    for (int k = 0; k < L; k += kStep) {
      auto& to = *reinterpret_cast<Doubles*>(sum + k);
      to += __builtin_convertvector(*reinterpret_cast<const Floats*>(value + k), Doubles) * factor;
    }
  }
}

// Adds values and their squares, and takes the largest; NaN counts for nothing.
template <int L>
void add_moments(double* sum, double* squares, float* most, const float* value, double coef) {
  if constexpr (L == 1) {
    const bool there = value[0] == value[0];
    const double v = there ? static_cast<double>(value[0]) * coef : 0.0;
    sum[0] += v;
    squares[0] += v * v;
    most[0] = value[0] > most[0] ? value[0] : most[0];
  } else {
    for (int k = 0; k < L; k += kStep) {
      const auto x = *reinterpret_cast<const Floats*>(value + k);
      auto& largest = *reinterpret_cast<Floats*>(most + k);
      largest = x > largest ? x : largest;
      const Doubles v = __builtin_convertvector(x == x ? x : Floats{}, Doubles) * coef;
      *reinterpret_cast<Doubles*>(sum + k) += v;
      *reinterpret_cast<Doubles*>(squares + k) += v * v;
    }
  }
}

// Adds values, and their spread around a centre, where they are within limits; NaN never is. `limits` has L
// times low, L times high, L times centre. Sets `inside` (not 0) of every lane, returns whether all are.
template <int L>
bool add_residuals(double* signal, double* second, const float* value, const double* limits, double norm,
                   double dark, double coef, long long* inside) {
  if constexpr (L == 1) {
    const double wide = static_cast<double>(value[0]);
    inside[0] = math::in_limits(wide - dark, norm, limits[0], limits[1]) ? 1 : 0;
    signal[0] += inside[0] != 0 ? wide * coef : 0.0;
    second[0] += inside[0] != 0 ? math::residual(wide - dark, norm, limits[2], coef) : 0.0;
    return inside[0] != 0;
  } else {
    Longs all = ~Longs{};
    for (int k = 0; k < L; k += kStep) {
      const auto* low = reinterpret_cast<const Doubles*>(limits + k);
      const auto* high = reinterpret_cast<const Doubles*>(limits + L + k);
      const auto* centre = reinterpret_cast<const Doubles*>(limits + 2 * L + k);
      const Doubles wide = __builtin_convertvector(*reinterpret_cast<const Floats*>(value + k), Doubles);
      const Doubles bare = wide - dark;
      const Longs here = (bare >= *low * norm) & (bare <= *high * norm);
      const Doubles d = (bare - *centre * norm) * coef;
      *reinterpret_cast<Doubles*>(signal + k) += here ? wide * coef : Doubles{};
      *reinterpret_cast<Doubles*>(second + k) += here ? d * d : Doubles{};
      *reinterpret_cast<Longs*>(inside + k) = here;
      all &= here;
    }
    long long every = -1;
    for (int k = 0; k < kStep; ++k) every &= all[k];
    return every != 0;
  }
}

// Adds a number in the lanes that are outside.
template <int L>
void add_outside(double* sum, double number, const long long* inside) {
  if constexpr (L == 1) {
    sum[0] += inside[0] != 0 ? 0.0 : number;
  } else {
    const Doubles all = number - Doubles{};
    for (int k = 0; k < L; k += kStep) {
      const Longs here = *reinterpret_cast<const Longs*>(inside + k);
      *reinterpret_cast<Doubles*>(sum + k) += here ? Doubles{} : all;
    }
  }
}

template <int L>
void add_lanes(double* sum, const double* value) {
  if constexpr (L == 1) {
    sum[0] += value[0];
  } else {
    for (int k = 0; k < L; k += kStep) {
      *reinterpret_cast<Doubles*>(sum + k) += *reinterpret_cast<const Doubles*>(value + k);
    }
  }
}

}  // namespace shotsieve::cpu
