// What happens to ONE pixel between its raw words and its calibrated value.
//
// Source of the formulas: the public step order of the facility's calibration (thresholding, forced stages,
// offset, gain, sanitising), with the constants folded beforehand to x = (adc - offset[g]) * gain[g].
// Promise: exact. Every backend compiles this text without contraction of a*b+c, so that the same words give
// the same bits. Branch-free: both sides of a choice are computed, then one is selected, which is what lets a
// compiler turn the loops over pixels into vector code.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "hd.hpp"

namespace shotsieve::math {

// Planes of the folded table, in the order in which they lie in memory for each (module, cell).
enum TablePlane : int {
  kThreshold0 = 0,   // digital level above which a pixel left high gain
  kThreshold1 = 1,   // digital level above which it is in low gain
  kOffset = 2,       // three planes, raw ADC units
  kGain = 5,         // three planes, output unit per ADC unit; NaN marks a bad pixel
  kForceMedium = 8,  // raw ADC below which low gain is taken for medium gain
  kForceHigh = 9,    // raw ADC below which any lower stage is taken for high gain
  kPlainPlanes = 8,
  kForcedPlanes = 10,
  // The table of a detector with one gain stage.
  kSingleOffset = 0,
  kSingleGain = 1,
  kSinglePlanes = 2,
};

// Bits of the stage byte beside the stage itself (bits 0-1).
enum StageFlag : int {
  kStageBits = 0x03,
  kNotFinite = 0x10,
  kOutOfRange = 0x20,
  kWrongGain = 0x40,
  kNoConstants = 0x80,
};

// Intensities are summed as integers in units of 1/128, so that a sum does not depend on its order.
// With |x| <= kMaxValueLimit, rint(x * 128) stays below 2^31.
constexpr float kIntensityScale = 128.0f;
constexpr float kMaxValueLimit = 16777214.0f;
// value_limit * to_photon must stay at or below this; the bindings refuse what does not (a clamp here would
// keep g++ from turning the loops into vector code).
constexpr float kMaxPhotonCount = 2147483000.0f;

// How the raw words of a detector are to be read. -1 among the ADC values: there is no such word.
struct WordRules {
  int medium_code, low_code;  // gain codes of these stages; high gain has code 0
  int lost_adc;               // with the code of low gain: the word of a lost packet
  int saturated_adc;          // with the code of medium or low gain: the word of a saturated pixel
  int adc_bits;               // where one word holds both: bits of the signal, below two of the gain code
  int zero_adc;               // one gain stage: what a stored 0 stands for
};

// What is the same for every pixel of a call.
struct PixelRules {
  float rounding_threshold;   // photons are rounded up from this fraction on
  float value_limit;          // |x| above this is out of range
  float lit_threshold;        // a pixel is lit strictly above this; NaN counts nothing
  float candidate_threshold;  // a pixel is a candidate of a peak from this on; NaN counts nothing
  float to_photon;            // photons per unit of x; 0 counts nothing
  float medium_floor;         // medium-gain values below this become 0: 0 or -inf
  int fixed_stage;            // -1 adaptive, else the only stage of the run
  WordRules words;
};

struct PixelResult {
  float value;    // NaN 0x7fc00000 where the pixel does not count
  int flags;      // StageFlag bits
  int tally;      // 1 where the pixel counts, plus kLitUnit where it is lit as well
  int candidate;  // 1 where value, as written, is at least candidate_threshold
  int intensity;  // rint(value * 128), 0 where the pixel does not count
  int photons;    // rounded photons, never negative, 0 where the pixel does not count
};

// Lit pixels are counted in the upper half of the word that counts unmasked pixels: up to 32767 fit.
constexpr int kLitUnit = 0x10000;

// Stage from the digital level; a NaN threshold compares false, so such a pixel stays in high gain.
SS_HD int stage_by_threshold(float digital, float threshold0, float threshold1) {
  const int above0 = digital > threshold0;
  const int above1 = digital > threshold1;
  return above0 + (above0 & above1);
}

// Stage from a gain code: anything but the codes of medium and low gain counts as high gain.
SS_HD int stage_by_code(int code, const WordRules& words) {
  return (code == words.medium_code) + 2 * (code == words.low_code);
}

// Codes that no stage has, a stage other than that of the run, and words sent in place of a measurement.
SS_HD int flags_of_code(int code, int adc, int fixed_stage, const WordRules& words) {
  const int medium = code == words.medium_code;
  const int low = code == words.low_code;
  const int known = (code == 0) | medium | low;
  const int mismatch = (fixed_stage >= 0) & (stage_by_code(code, words) != fixed_stage);
  const int lost = low & (adc == words.lost_adc);
  const int saturated = (low | medium) & (adc == words.saturated_adc);
  return ((1 - known) | mismatch | lost) * kWrongGain | saturated * kOutOfRange;
}

// Signal and gain code of a word that holds both.
SS_HD int adc_of_word(int word, const WordRules& words) { return word & ((1 << words.adc_bits) - 1); }
SS_HD int code_of_word(int word, const WordRules& words) { return (word >> words.adc_bits) & 3; }

// The signal of a detector with one stage.
SS_HD int adc_of_single(int word, const WordRules& words) { return word == 0 ? words.zero_adc : word; }

// Stage of a pixel that was measured in all three at once: the first that is not near the end of its range.
SS_HD int stage_of_parallel(float high, float medium, float threshold0, float threshold1) {
  const int above0 = high > threshold0;
  const int above1 = medium > threshold1;
  return above0 + (above0 & above1);
}

// A weak signal in a low stage is noise of the digital level: low -> medium, then any -> high.
SS_HD int force_stage(int stage, float adc, float medium_level, float high_level) {
  const int medium = (stage == 2) & (adc < medium_level);
  const int lowered = stage - medium;
  const int high = (lowered > 0) & (adc < high_level);
  return lowered * (1 - high);
}

SS_HD float select_stage(int stage, float high, float medium, float low) {
  const float upper = stage == 1 ? medium : high;
  return stage == 2 ? low : upper;
}

// Set-min: negative medium-gain values become 0 where rules.medium_floor is 0; -0 and NaN stay as they are.
SS_HD float lift_medium(float x, int stage, const PixelRules& rules) {
  const float lowest = stage == 1 ? rules.medium_floor : -std::numeric_limits<float>::infinity();
  return x < lowest ? 0.0f : x;
}

// rint() to an integer: one instruction on every target. |v| must stay below 2^31.
SS_HD int round_to_int(float v) {
#if defined(__CUDA_ARCH__)
  return __float2int_rn(v);
#else
  return __builtin_irintf(v);
#endif
}

// n = floor(y) + (frac(y) >= threshold): halves go up for the usual threshold 0.5, unlike rint.
SS_HD float round_photons(float y, float rounding_threshold) {
  const float whole = floorf(y);
  const float step = y - whole >= rounding_threshold ? 1.0f : 0.0f;
  return whole + step;
}

// max(0, round_photons(y)) as an integer: for y >= 0 the whole part is a truncation, which is cheaper than a
// floor, and everything below 0 gives 0 either way.
SS_HD int count_photons(float y, float rounding_threshold) {
  const float positive = y > 0.0f ? y : 0.0f;
  const int whole = static_cast<int>(positive);
  const int step = positive - static_cast<float>(whole) >= rounding_threshold ? 1 : 0;
  return whole + step;
}

// From the calibrated number to everything a frame counts. `flags` are those already found in the word.
template <bool Round, bool Photons>
SS_HD PixelResult measure_pixel(float x, int flags, const PixelRules& rules) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  if (Round) x = round_photons(x, rules.rounding_threshold);
  const float size = fabsf(x);
  const float checked = flags == 0 ? size : kNaN;  // compares false below, as any NaN does
  const int finite = size <= (std::numeric_limits<float>::max)() ? 1 : 0;
  const int in_range = size <= rules.value_limit ? 1 : 0;
  const float counted = checked <= rules.value_limit ? x : 0.0f;
  const int lit = counted > rules.lit_threshold ? kLitUnit : 0;

  PixelResult r;
  r.value = checked <= rules.value_limit ? x : kNaN;
  r.flags = flags | (1 - finite) * kNotFinite | (finite & (1 - in_range)) * kOutOfRange;
  r.tally = checked <= rules.value_limit ? lit + 1 : 0;
  r.candidate = r.value >= rules.candidate_threshold ? 1 : 0;
  r.intensity = round_to_int(counted * kIntensityScale);
  r.photons = Photons ? count_photons(counted * rules.to_photon, rules.rounding_threshold) : 0;
  return r;
}

}  // namespace shotsieve::math
