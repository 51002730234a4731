// Which of 32 pixels reach a threshold, as the bits of one word.
#pragma once

#include <cstdint>
#include <limits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace shotsieve::cpu {

// Bit k is set where v[k] >= threshold and v[k] is finite; a NaN threshold sets none. v holds 32 values and
// needs no alignment. A compare and its bits are one or two instructions per vector, and no compiler finds
// them in the plain loop.
inline std::uint32_t candidate_word(const float* v, float threshold) {
  constexpr float kLargest = (std::numeric_limits<float>::max)();
  const float smallest = threshold < -kLargest ? -kLargest : threshold;  // -inf is not finite either
  std::uint32_t word = 0;
#if defined(__AVX512F__)
  const __m512 lowest = _mm512_set1_ps(smallest);
  const __m512 largest = _mm512_set1_ps(kLargest);
  for (int k = 0; k < 32; k += 16) {
    const __m512 x = _mm512_loadu_ps(v + k);
    const __mmask16 enough = _mm512_cmp_ps_mask(x, lowest, _CMP_GE_OQ);
    word |= static_cast<std::uint32_t>(_mm512_mask_cmp_ps_mask(enough, x, largest, _CMP_LE_OQ)) << k;
  }
#elif defined(__AVX__)
  const __m256 lowest = _mm256_set1_ps(smallest);
  const __m256 largest = _mm256_set1_ps(kLargest);
  for (int k = 0; k < 32; k += 8) {
    const __m256 x = _mm256_loadu_ps(v + k);
    const __m256 both =
        _mm256_and_ps(_mm256_cmp_ps(x, lowest, _CMP_GE_OQ), _mm256_cmp_ps(x, largest, _CMP_LE_OQ));
    word |= static_cast<std::uint32_t>(_mm256_movemask_ps(both)) << k;
  }
#elif defined(__SSE2__)
  const __m128 lowest = _mm_set1_ps(smallest);
  const __m128 largest = _mm_set1_ps(kLargest);
  for (int k = 0; k < 32; k += 4) {
    const __m128 x = _mm_loadu_ps(v + k);
    const __m128 both = _mm_and_ps(_mm_cmpge_ps(x, lowest), _mm_cmple_ps(x, largest));
    word |= static_cast<std::uint32_t>(_mm_movemask_ps(both)) << k;
  }
#else
  for (int k = 0; k < 32; ++k) {
    word |= static_cast<std::uint32_t>((v[k] >= smallest) & (v[k] <= kLargest)) << k;
  }
#endif
  return word;
}

}  // namespace shotsieve::cpu
